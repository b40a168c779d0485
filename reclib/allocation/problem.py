"""What is to be allocated: pairs with their value, slates, stock, quotas and coupled rows, and the answer's shape.

    maximise  sum of value over shown pairs
    subject to  at most k pairs a customer; for each quota at most `limit` pairs of one group in a slate;
                at most `stock` placements an item; and for every row
                sum over shown pairs of (response x per_response[item] + per_placement[item]) <= limit

Every coefficient of a row is a constant of the item, times the pair's response or alone. That is what lets prices
replace rows: a pair's reduced score costs two look-ups however many rows there are.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

TOLERANCE = 1e-9
SHOWN, SLOTS = "shown", "slots"


class InfeasibleError(ValueError):
    """No slates satisfy the hard rows; `misses` names the rows that cannot hold and by how much."""

    def __init__(self, message: str, misses: pd.DataFrame) -> None:
        super().__init__(message)
        self.misses = misses


@dataclass(frozen=True)
class Quota:
    """At most `limit` items of one group in a slate.

    Attributes:
        name: name of the rule.
        group: group code of each item; -1 means that the quota does not count the item.
        limit: items of one group in a slate, at least 1.
    """

    name: str
    group: np.ndarray
    limit: int


@dataclass(frozen=True)
class Row:
    """One rule that couples customers: a weighted sum over all shown pairs that must not exceed `limit`.

    Attributes:
        name: name of the rule.
        kind: budget, margin_floor, min_share or min_exposure.
        limit: upper bound of the sum, in `unit`; floors are written with a minus sign.
        per_response: coefficient of each item, multiplied by the pair's response; None means 0.
        per_placement: coefficient of each item, counted once a placement; None means 0.
        is_hard: a hard row holds or the problem is infeasible; a soft one yields first.
        yields: soft rows yield in ascending order of this number, of equal ones the first row first.
        unit: what the sum is counted in.
        basis: for shares, whether they are shares of what is `shown` or of all `slots`; else empty.
    """

    name: str
    kind: str
    limit: float
    per_response: np.ndarray | None = None
    per_placement: np.ndarray | None = None
    is_hard: bool = True
    yields: int = 0
    unit: str = "placements"
    basis: str = ""


def budget(name: str, cost: np.ndarray, limit: float, *, per: str = "response", **options) -> Row:
    """Spend at most `limit`: an item costs `cost` for each expected response, or for each placement."""
    if per not in ("response", "placement"):
        raise ValueError(f"budget {name!r}: per == {per!r}, must be 'response' or 'placement'.")
    return Row(name, "budget", float(limit), **{f"per_{per}": _floats(cost)}, **({"unit": "money"} | options))


def margin_floor(name: str, price: np.ndarray, margin_rate: np.ndarray, floor: float, **options) -> Row:
    """Keep the margin rate of all expected sales at `floor` or above: sum p x price x (rate - floor) >= 0."""
    lacking = _floats(price) * (floor - _floats(margin_rate))
    return Row(name, "margin_floor", 0.0, per_response=lacking, **({"unit": "money"} | options))


def min_share(name: str, is_member: np.ndarray, share: float, *, of: str = SHOWN, n_slots: int | None = None,
              **options) -> Row:
    """Give members at least `share` of what is shown, or of all slots.

    A share of what is shown can always hold, in the worst case by showing less of the rest (watch the fill rate).
    A share of all `n_slots` slots (customers x k) cannot be starved, but it may be infeasible.
    """
    member = _floats(is_member)
    if of == SHOWN:
        return Row(name, "min_share", 0.0, per_placement=share - member, basis=of, **options)
    return Row(name, "min_share", -share * _slots(name, of, n_slots), per_placement=-member, basis=of, **options)


def min_exposure(name: str, is_member: np.ndarray, n_placements: float, **options) -> Row:
    """Show members at least `n_placements` times; may be infeasible."""
    return Row(name, "min_exposure", -float(n_placements), per_placement=-_floats(is_member), **options)


@dataclass(frozen=True)
class Problem:
    """Pairs in a table of customers x candidates, and all that limits them.

    Make it with `from_pairs`; make variants with `without_row`, `with_rows` or `dataclasses.replace`.

    Attributes:
        item: item code of each pair, customers x candidates; -1 where a customer has no such candidate.
        value: what is maximised, in money; -inf where a rule has filtered the pair. A pair of value 0 or less is
            shown only where a floor pays for it.
        response: expected response of each pair, 0 or more; None where no row needs it.
        k: slots in a slate.
        stock: placements of each item, whole, infinite where there is no limit.
        quotas: limits within a slate. Nested ones, and two families that cross, are exact in the bound and in the slates;
            a third family that crosses both is held by the slates alone.
        rows: limits across customers.
        pair_row, pair_column: where each pair of `from_pairs` stands in the table.
    """

    item: np.ndarray
    value: np.ndarray
    response: np.ndarray | None
    k: int
    stock: np.ndarray
    quotas: tuple[Quota, ...] = ()
    rows: tuple[Row, ...] = ()
    pair_row: np.ndarray | None = field(default=None, repr=False)
    pair_column: np.ndarray | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        _check(self)

    @property
    def n_customers(self) -> int:
        """Customers, those without candidates included."""
        return self.item.shape[0]

    @property
    def n_items(self) -> int:
        """Items in the catalogue."""
        return len(self.stock)

    @property
    def n_slots(self) -> int:
        """Slots of all slates."""
        return self.n_customers * self.k

    @property
    def row_names(self) -> list[str]:
        """Names of the coupled rows."""
        return [row.name for row in self.rows]

    def without_row(self, *names: str) -> Problem:
        """The same problem without the named rows and quotas."""
        known = self.row_names + [quota.name for quota in self.quotas]
        unknown = sorted(set(names) - set(known))
        if unknown:
            raise ValueError(f"unknown rows {unknown}; known rows: {known}.")
        return replace(self, rows=tuple(row for row in self.rows if row.name not in names),
                       quotas=tuple(quota for quota in self.quotas if quota.name not in names))

    def with_rows(self, rows: tuple[Row, ...]) -> Problem:
        """The same problem with other rows."""
        return replace(self, rows=tuple(rows))

    def of_customers(self, rows: np.ndarray) -> Problem:
        """The problem of some customers alone, with their share of stock and of every limit."""
        share = len(rows) / max(self.n_customers, 1)
        return replace(
            self, item=self.item[rows], value=self.value[rows],
            response=None if self.response is None else self.response[rows], stock=self.stock * share,
            rows=tuple(replace(row, limit=row.limit * share) for row in self.rows), pair_row=None, pair_column=None)

    def beside(self, rows: np.ndarray, shown: np.ndarray) -> Problem:
        """The problem of some customers alone, with what the slates shown to the others leave of stock and limits."""
        others = shown.copy()
        others[rows] = False
        used = np.bincount(self.item[others], minlength=self.n_items)
        left = tuple(replace(row, limit=row.limit - use) for row, use in zip(self.rows, usage(self, others)))
        return replace(self, item=self.item[rows], value=self.value[rows],
                       response=None if self.response is None else self.response[rows],
                       stock=np.maximum(np.floor(self.stock) - used, 0.0), rows=left, pair_row=None, pair_column=None)

    def of_pairs(self, table: np.ndarray) -> np.ndarray:
        """Read a customers x candidates table at the pairs of `from_pairs`, in their order."""
        return table[self.pair_row, self.pair_column]


@dataclass(frozen=True)
class Allocation:
    """Slates that hold every hard row, with what they are worth and what every limit costs.

    Attributes:
        position: slot of each pair from 1, customers x candidates; 0 where it is not shown.
        value: sum of value over what is shown.
        bound: no slates that hold the rows (as relaxed) are worth more.
        item_prices: value of one more placement of each item; 0 where stock is left. One of several where degenerate.
        row_prices: value of one more unit of each row's limit.
        rows: one row a coupled row: name, kind, basis, unit, limit, use, slack, price, is_hard, is_relaxed, miss.
        fill_rate: share of all slots that are filled.
        method: exact or prices.
        n_iterations: evaluations of all customers' slates (prices) or branch-and-bound nodes (exact).
        relaxed: soft rows that had to yield, in the order in which they did.
    """

    position: np.ndarray
    value: float
    bound: float
    item_prices: np.ndarray
    row_prices: dict[str, float]
    rows: pd.DataFrame
    fill_rate: float
    method: str
    n_iterations: int
    relaxed: tuple[str, ...] = ()

    @property
    def gap(self) -> float:
        """Share of the bound that the slates may miss; 0 where the bound is 0."""
        return max(self.bound - self.value, 0.0) / abs(self.bound) if self.bound else 0.0


def from_pairs(customer: np.ndarray, item: np.ndarray, value: np.ndarray, *, k: int, n_customers: int | None = None,
               n_items: int | None = None, response: np.ndarray | None = None, stock: np.ndarray | None = None,
               quotas: tuple[Quota, ...] = (), rows: tuple[Row, ...] = ()) -> Problem:
    """Make a problem from allowed pairs, one entry a pair.

    Args:
        customer: customer code of each pair, from 0; pairs may come in any order.
        item: item code of each pair, from 0; within a customer each item stands once.
        value: what showing the pair is worth; -inf filters it.
        k: slots in a slate.
        n_customers, n_items: how many there are, where some have no pair.
        response: expected response of each pair.
        stock: placements of each item; None means no limit.
        quotas, rows: see `Problem`.

    Raises:
        ValueError: a shape, code or number is not allowed; the sentence says which.
    """
    customer, item = np.asarray(customer, dtype="int64"), np.asarray(item, dtype="int64")
    n_customers = int(n_customers if n_customers is not None else customer.max(initial=-1) + 1)
    n_items = int(n_items if n_items is not None else len(stock) if stock is not None else item.max(initial=-1) + 1)
    _check_codes(customer, item, n_customers, n_items)
    order = np.lexsort((item, customer))
    starts = np.searchsorted(customer[order], np.arange(n_customers + 1))
    column = np.empty(len(customer), dtype="int64")
    column[order] = np.arange(len(customer)) - starts[customer[order]]
    width = max(int(np.diff(starts).max(initial=0)), 1)
    table = _placed(item, customer, column, (n_customers, width), -1, "int32")
    return Problem(
        item=table, value=_placed(value, customer, column, table.shape, -np.inf, "float64"),
        response=None if response is None else _placed(response, customer, column, table.shape, 0.0, "float64"),
        k=k, stock=np.full(n_items, np.inf) if stock is None else np.floor(_floats(stock)), quotas=tuple(quotas),
        rows=tuple(rows), pair_row=customer, pair_column=column)


def added(coefficients: np.ndarray, amounts: np.ndarray) -> np.ndarray:
    """Sum of coefficients x amounts over the last axis, in one order on every machine (a matrix product has many)."""
    return np.add.reduce(coefficients * amounts, axis=-1)


def limits(problem: Problem) -> np.ndarray:
    """The limit of every row, one entry a row."""
    return np.array([row.limit for row in problem.rows], dtype="float64")


def usage(problem: Problem, is_shown: np.ndarray) -> np.ndarray:
    """What the shown pairs use of every row, in float64."""
    shown = np.nonzero(is_shown)
    item = problem.item[shown]
    n_placements = np.bincount(item, minlength=problem.n_items).astype("float64")
    response = n_placements if problem.response is None else np.bincount(
        item, weights=problem.response[shown].astype("float64"), minlength=problem.n_items)
    return np.array([_use(row, response, n_placements) for row in problem.rows])


def tolerance(problem: Problem) -> np.ndarray:
    """Rounding that each row is allowed: a billionth of the size of its terms."""
    sizes = [max((np.abs(part).max(initial=0.0) for part in (row.per_response, row.per_placement) if part is not None),
                 default=0.0) for row in problem.rows]
    return TOLERANCE * np.maximum(np.abs([_finite(row.limit) for row in problem.rows]), np.array(sizes))


def holds(problem: Problem, is_shown: np.ndarray) -> bool:
    """Whether the shown pairs hold stock and every row."""
    used = np.bincount(problem.item[is_shown], minlength=problem.n_items)
    return bool((used <= problem.stock).all() and (usage(problem, is_shown) <= limits(problem) + tolerance(problem)).all())


def row_table(problem: Problem, use: np.ndarray, prices: np.ndarray, relaxed: tuple[str, ...] = ()) -> pd.DataFrame:
    """One row a coupled row, with limit, use, slack, price and, where it had to yield, by how much it is missed."""
    limit = limits(problem)
    slack = limit - use
    return pd.DataFrame({
        "name": problem.row_names, "kind": [row.kind for row in problem.rows],
        "basis": [row.basis for row in problem.rows], "unit": [row.unit for row in problem.rows],
        "limit": limit, "use": use, "slack": slack, "price": prices,
        "is_hard": [row.is_hard for row in problem.rows], "is_relaxed": [name in relaxed for name in problem.row_names],
        "miss": np.where(slack < -tolerance(problem), -slack, 0.0),
    })


def answer(problem: Problem, is_shown: np.ndarray, *, bound: float, item_prices: np.ndarray, row_prices: np.ndarray, method: str,
           n_iterations: int) -> Allocation:
    """Write down what is shown as an allocation: slots in order of value, what they are worth, and how every row stands."""
    value = float(problem.value[is_shown].sum(dtype="float64"))
    return Allocation(
        position=positions(problem, is_shown), value=value, bound=max(bound, value), item_prices=item_prices,
        row_prices=dict(zip(problem.row_names, row_prices.tolist())),
        rows=row_table(problem, usage(problem, is_shown), row_prices),
        fill_rate=float(is_shown.sum()) / max(problem.n_slots, 1), method=method, n_iterations=n_iterations)


def positions(problem: Problem, is_shown: np.ndarray) -> np.ndarray:
    """Put each slate in order of value, ties by item: the slot of each shown pair from 1, else 0."""
    row, column = np.nonzero(is_shown)
    order = np.lexsort((problem.item[row, column], -problem.value[row, column].astype("float64"), row))
    starts = np.searchsorted(row, np.arange(problem.n_customers))
    slot = np.zeros(problem.item.shape, dtype="int16")
    slot[row[order], column[order]] = 1 + np.arange(len(row)) - starts[row[order]]
    return slot


def _use(row: Row, response: np.ndarray, n_placements: np.ndarray) -> float:
    use = 0.0 if row.per_response is None else float(added(row.per_response, response))
    return use + (0.0 if row.per_placement is None else float(added(row.per_placement, n_placements)))


def _placed(numbers: np.ndarray, row: np.ndarray, column: np.ndarray, shape: tuple[int, int], empty: float,
            dtype: str) -> np.ndarray:
    table = np.full(shape, empty, dtype=dtype)
    table[row, column] = numbers
    return table


def _floats(numbers: np.ndarray) -> np.ndarray:
    return np.asarray(numbers, dtype="float64")


def _finite(number: float) -> float:
    return number if np.isfinite(number) else 0.0


def _slots(name: str, of: str, n_slots: int | None) -> int:
    if of != SLOTS or n_slots is None:
        raise ValueError(f"share {name!r}: of == {of!r} and n_slots == {n_slots}, must be 'shown', or 'slots' with n_slots.")
    return n_slots


def _check_codes(customer: np.ndarray, item: np.ndarray, n_customers: int, n_items: int) -> None:
    for name, codes, n_codes in (("customer", customer, n_customers), ("item", item, n_items)):
        if len(codes) and not 0 <= codes.min() <= codes.max() < n_codes:
            raise ValueError(f"{name}: codes from {codes.min()} to {codes.max()}, must be in [0, {n_codes}).")


def _check(problem: Problem) -> None:
    if problem.k < 1:
        raise ValueError(f"k == {problem.k}, must be at least 1.")
    if np.isnan(problem.value).any() or np.isposinf(problem.value).any():
        raise ValueError("value: holds NaN or +inf, must be finite, or -inf for a filtered pair.")
    if np.isnan(problem.stock).any() or (problem.stock < 0).any():
        raise ValueError("stock: holds NaN or a negative number, must be at least 0 or infinite.")
    names = problem.row_names + [quota.name for quota in problem.quotas]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"rows: names {repeated} are repeated; every row and quota has its own name.")
    for row in problem.rows:
        _check_row(row, problem)
    for quota in problem.quotas:
        if quota.limit < 1 or len(quota.group) != problem.n_items:
            raise ValueError(f"quota {quota.name!r}: limit {quota.limit} over {len(quota.group)} items, must be at least 1 "
                             f"over {problem.n_items} items.")


def _check_row(row: Row, problem: Problem) -> None:
    if np.isnan(row.limit) or np.isneginf(row.limit):
        raise ValueError(f"row {row.name!r}: limit == {row.limit}, must be a number or +inf.")
    for part in (row.per_response, row.per_placement):
        if part is not None and (len(part) != problem.n_items or not np.isfinite(part).all()):
            raise ValueError(f"row {row.name!r}: needs one finite coefficient for each of {problem.n_items} items.")
    if row.per_response is not None and problem.response is None:
        raise ValueError(f"row {row.name!r}: counts responses, but the problem has none.")
