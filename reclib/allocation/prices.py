"""Prices instead of rows: a certified bound for any size, at a cost that grows like the pairs.

Every shared limit gets a price. At given prices each customer's best slate is found alone, from the reduced score
`value - response x P[item] - Q[item]`; the sum of those scores plus what the limits are worth is an upper bound for all
slates, whatever the prices. `ascend` lowers that bound. Where a floor's members are bound by stock, their item prices
move against the floor's price so that their net price stays put: without that, the two chase one another for ever.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from reclib.allocation.crossing import Family, best_of_two, breaks, families
from reclib.allocation.problem import Problem, added, limits

BLOCK, WINDOW = 1_024, 16
_SINGLE = 2.0 ** -22


@dataclass(frozen=True)
class Prices:
    """One price a placement of each item, and one a unit of each row's limit; none is negative."""

    item: np.ndarray
    row: np.ndarray


@dataclass(frozen=True)
class Slates:
    """Every customer's best slate at some prices, and what they add up to.

    Attributes:
        score: sum of reduced scores.
        placements: shown pairs of each item.
        responses: expected responses of each item.
        column: columns of the shown pairs, customers x k, -1 for an empty slot; None where it was not kept.
    """

    score: float
    placements: np.ndarray
    responses: np.ndarray
    column: np.ndarray | None = None


@dataclass(frozen=True)
class Ascent:
    """Where an ascent of prices ended.

    Attributes:
        prices, bound: the best prices, and the bound that they certify.
        n_iterations: evaluations of all slates.
        history: the best bound after each of them.
        steady: how far a row stayed over or under its limit in the last third of the steps, at what a unit of it is worth:
            the most of the rows that kept their side in four steps of five. Near the optimum they change sides.
    """

    prices: Prices
    bound: float
    n_iterations: int
    history: tuple[float, ...] = ()
    steady: float = 0.0


@dataclass(frozen=True)
class Sizes:
    """Typical sizes that make steps comparable: a placement's worth, and each row's use and unit price."""

    unit: float
    row_scale: np.ndarray
    row_unit: np.ndarray


def no_prices(problem: Problem) -> Prices:
    """Prices of zero."""
    return Prices(np.zeros(problem.n_items), np.zeros(len(problem.rows)))


def coefficients(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """The rows' coefficients as two matrices, rows x items: per response, and per placement."""
    empty = np.zeros(problem.n_items)
    per_response = [empty if row.per_response is None else row.per_response for row in problem.rows]
    per_placement = [empty if row.per_placement is None else row.per_placement for row in problem.rows]
    shape = (len(problem.rows), problem.n_items)
    return np.array(per_response).reshape(shape), np.array(per_placement).reshape(shape)


def gathered(problem: Problem, prices: Prices) -> tuple[np.ndarray, np.ndarray]:
    """What a response and a placement of each item cost at the prices; a last entry stands for missing pairs."""
    per_response, per_placement = coefficients(problem)
    by_response = np.append(added(per_response.T, prices.row), 0.0)
    by_item = np.append(prices.item + added(per_placement.T, prices.row), np.inf)
    return by_response.astype("float32"), by_item.astype("float32")


def best_slates(problem: Problem, prices: Prices, *, keep: bool = False) -> Slates:
    """Find every customer's best slate at the prices; exact where quotas are nested, or two families of them cross.

    Customers are taken in blocks whose sums are added in order, so the answer does not depend on the machine.

    Args:
        problem: what is to be allocated.
        prices: prices of items and rows.
        keep: whether to keep which columns are shown; then all quotas hold. Else, of three or more families that
            cross one another, only two do, so that the sum is a bound.
    """
    by_response, by_item = gathered(problem, prices)
    nested, *crossing = families(groups_of(problem)) or [[]]
    score, placements, responses = 0.0, np.zeros(problem.n_items), np.zeros(problem.n_items)
    kept = np.full((problem.n_customers, problem.k), -1, dtype="int16") if keep else None
    for start in range(0, problem.n_customers, BLOCK):
        part = slice(start, min(start + BLOCK, problem.n_customers))
        scores = reduced(problem, part, by_response, by_item)
        row, column, taken = pick(scores, problem.item[part], nested, problem.k)
        if crossing:
            row, column, taken = _crossed(scores, problem.item[part], as_columns(row, column, len(scores), problem.k),
                                          [nested, *crossing], keep)
        item = problem.item[part][row, column]
        score += float(taken.sum(dtype="float64"))
        placements += np.bincount(item, minlength=problem.n_items)
        if problem.response is not None:
            responses += np.bincount(item, weights=problem.response[part][row, column], minlength=problem.n_items)
        if keep:
            kept[part] = as_columns(row, column, scores.shape[0], problem.k)
    return Slates(score, placements, responses, kept)


def reduced(problem: Problem, part: slice | np.ndarray, by_response: np.ndarray, by_item: np.ndarray) -> np.ndarray:
    """Reduced scores of some customers' pairs, in single precision; -inf where there is no pair."""
    item = problem.item[part]
    scores = problem.value[part].astype("float32")
    scores -= by_item.take(item, mode="wrap")
    if problem.response is not None and by_response.any():
        cost = by_response.take(item, mode="wrap")
        cost *= problem.response[part]
        scores -= cost
    return scores


def pick(scores: np.ndarray, item: np.ndarray, groups: Family, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Take the best positive scores of each row, at most k, and at most `limit` of each group; ties by column.

    Returns:
        Row and column of what is taken, in order of rows and best first, and its score.
    """
    n_columns, window = scores.shape[1], max(WINDOW, 2 * k)
    if n_columns <= window or np.count_nonzero(scores > 0) <= 2 * window * len(scores):
        return _picked(scores, item, groups, k)
    cut = np.partition(scores, n_columns - window, axis=1)[:, n_columns - window, None]
    narrowed = np.where(scores >= cut, scores, 0.0)
    found = _picked(narrowed, item, groups, k)
    is_short = (np.bincount(found[0], minlength=len(scores)) < k) & ((scores > 0).sum(axis=1) > window)
    return _picked(np.where(is_short[:, None], scores, narrowed), item, groups, k) if is_short.any() else found


def _picked(scores: np.ndarray, item: np.ndarray, groups: Family, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    row, column = np.divmod(np.flatnonzero(scores > 0), scores.shape[1])
    width = int(scores.shape[1]).bit_length()
    falling = np.int64(2**31 - 1) - scores[row, column].view("int32")
    column = np.sort((row << 31 | falling) << width | column) & ((1 << width) - 1)
    taken = _taken(np.searchsorted(row, np.arange(len(scores) + 1)), column, item, groups, k)
    row, column = row[taken], column[taken]
    return row, column, scores[row, column]


def _taken(starts: np.ndarray, column: np.ndarray, item: np.ndarray, groups: Family, k: int) -> np.ndarray:
    """Which of each row's columns, best first, are taken: all rows together, from their best to what no row has room for."""
    taken, n_left = np.zeros(len(column), dtype=bool), np.full(len(item), k)
    n_positive, rows = np.diff(starts), np.arange(len(item))
    held: list[list[np.ndarray]] = [[] for _ in groups]
    for place in range(int(n_positive.max(initial=0))):
        may = (n_positive > place) & (n_left > 0)
        if not may.any():
            break
        at = np.minimum(starts[:-1] + place, len(column) - 1)
        codes = [group[item[rows, column[at]]] for group, _ in groups]
        for (_, limit), code, before in zip(groups, codes, held):
            if place >= limit:
                may &= sum(((code == other).view("int8") for other in before[1:]), (code == before[0]).view("int8")) < limit
        for code, before in zip(codes, held):
            before.append(np.where(may, code, -1))
        taken[at[may]] = True
        n_left -= may
    return taken


def _crossed(scores: np.ndarray, item: np.ndarray, held: np.ndarray, by_family: list[Family],
             keep: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slates that hold the first family, made anew where they break another: exact for two families, else greedy."""
    k = held.shape[1]
    again = np.flatnonzero(breaks(item, held, by_family[1]))
    held[again] = best_of_two(scores[again], item[again], (by_family[0], by_family[1]), k)
    if keep:
        again = np.flatnonzero(np.any([breaks(item, held, family) for family in by_family], axis=0))
        row, column, _ = pick(scores[again], item[again], [quota for family in by_family for quota in family], k)
        held[again] = as_columns(row, column, len(again), k)
    row, slot = np.nonzero(held >= 0)
    return row, held[row, slot], scores[row, held[row, slot]]


def as_columns(row: np.ndarray, column: np.ndarray, n_rows: int, k: int) -> np.ndarray:
    """Write taken pairs, in order of rows, as a table of rows x k columns; -1 for an empty slot."""
    starts = np.searchsorted(row, np.arange(n_rows))
    table = np.full((n_rows, k), -1, dtype="int16")
    table[row, np.arange(len(row)) - starts[row]] = column
    return table


def as_shown(problem: Problem, column: np.ndarray) -> np.ndarray:
    """Which pairs are shown, customers x candidates, where each slate shows these columns."""
    shown = np.zeros(problem.item.shape, dtype=bool)
    customer, slot = np.nonzero(column >= 0)
    shown[customer, column[customer, slot]] = True
    return shown


def groups_of(problem: Problem) -> list[tuple[np.ndarray, int]]:
    """Group code of each item and limit, one a quota; items outside a quota have a code of their own."""
    return [(_own_codes(quota.group), quota.limit) for quota in problem.quotas]


def bound_of(problem: Problem, prices: Prices, slates: Slates) -> float:
    """The upper bound that prices and their best slates certify."""
    stock = problem.stock
    paid = float(added(prices.item[prices.item > 0], stock[prices.item > 0]))
    return slates.score + paid + float(added(prices.row[prices.row > 0], limits(problem)[prices.row > 0]))


def certified_bound(problem: Problem, prices: Prices, slates: Slates) -> float:
    """The bound, raised by what rounding to single precision can have hidden."""
    parts = [problem.value[start:start + BLOCK] for start in range(0, problem.n_customers, BLOCK)]
    size = max((float(np.abs(part, where=np.isfinite(part), out=np.zeros_like(part)).max()) for part in parts), default=0.0)
    per_slot = max(abs(slates.score) / max(problem.n_customers, 1), size * problem.k * 1e-3)
    return bound_of(problem, prices, slates) + _SINGLE * per_slot * problem.n_customers


def typical_sizes(problem: Problem) -> Sizes:
    """Measure a placement's worth and the rows' use at prices of zero."""
    free = best_slates(problem, no_prices(problem))
    n_shown = max(free.placements.sum(), 1.0)
    per_response, per_placement = coefficients(problem)
    total = added(np.abs(per_response), free.responses) + added(np.abs(per_placement), free.placements)
    use = added(per_response, free.responses) + added(per_placement, free.placements)
    limit = np.where(np.isfinite(limits(problem)), limits(problem), 0.0)
    unit = max(free.score / n_shown, 1e-12)
    total = np.where(total > 0, total, np.maximum(np.abs(limit), 1.0))
    return Sizes(unit, np.maximum(np.maximum(np.abs(limit), np.abs(use)), 0.02 * total), unit * n_shown / total)


def ascend(problem: Problem, start: Prices, *, sizes: Sizes, n_iterations: int, rate: float, decay: float,
           stall: int = 50, patience: float = 1e-5) -> Ascent:
    """Lower the bound from the starting prices by a scaled, projected step with momentum.

    Args:
        problem: what is to be allocated.
        start: where to start.
        sizes: from `typical_sizes`.
        n_iterations: at most so many evaluations.
        rate: first step, as a share of a placement's worth.
        decay: factor of the step from one iteration to the next.
        stall: stop when the bound has moved by less than `patience` (relative) in so many iterations.
        patience: see `stall`.

    Returns:
        The best prices seen, or the mean of the last iterates where that is better.
    """
    state = _State(problem, start, sizes)
    tail_from = int(0.6 * n_iterations)
    for step in range(n_iterations):
        state.look()
        if state.is_settled() or state.has_stalled(stall, patience):
            break
        state.move(rate * decay ** step, step, is_tail=step >= tail_from)
    state.look()
    if state.n_tail:
        state.prices = Prices(state.tail.item / state.n_tail, state.tail.row / state.n_tail)
        state.look()
    return Ascent(state.best, state.best_bound, state.n_seen, tuple(state.history), state.steady())


class _State:
    def __init__(self, problem: Problem, start: Prices, sizes: Sizes) -> None:
        self.problem, self.prices, self.sizes = problem, start, sizes
        self.per_response, self.per_placement = coefficients(problem)
        self.stock = problem.stock
        self.limit = limits(problem)
        self.is_limited, self.is_finite = np.isfinite(self.stock), np.isfinite(self.limit)
        self.best, self.best_bound, self.n_seen = start, np.inf, 0
        self.history: list[float] = []
        self.excess: list[np.ndarray] = []
        self.tail, self.n_tail = replace(start, item=start.item * 0, row=start.row * 0), 0
        self.first = self.second = (np.zeros(problem.n_items), np.zeros(len(problem.rows)))

    def look(self) -> None:
        self.slates = best_slates(self.problem, self.prices)
        bound = bound_of(self.problem, self.prices, self.slates)
        self.n_seen += 1
        if bound < self.best_bound:
            self.best, self.best_bound = self.prices, bound
        self.history.append(self.best_bound)

    def is_settled(self) -> bool:
        """Without any price nothing is exceeded: no lower bound can be found."""
        return not (self.prices.item.any() or self.prices.row.any() or any((slope > 0).any() for slope in self.slopes()))

    def has_stalled(self, stall: int, patience: float) -> bool:
        if len(self.history) <= stall:
            return False
        before = self.history[-1 - stall]
        return before - self.history[-1] < patience * abs(before)

    def steady(self) -> float:
        if not len(self.limit) or not self.excess:
            return 0.0
        last = np.array(self.excess[-max(len(self.excess) // 3, 1):])
        worth = np.abs(np.median(last, axis=0)) * self.sizes.row_scale * self.sizes.row_unit
        keeps_side = np.abs(np.sign(last).mean(axis=0)) > 0.6
        return float(worth[keeps_side].max(initial=0.0))

    def slopes(self) -> tuple[np.ndarray, np.ndarray]:
        over = np.where(self.is_limited, self.slates.placements - np.where(self.is_limited, self.stock, 0.0), 0.0)
        by_item = np.clip(over / np.maximum(np.where(self.is_limited, self.stock, 1.0), 1.0), -1.0, 3.0)
        use = added(self.per_response, self.slates.responses) + added(self.per_placement, self.slates.placements)
        by_row = np.where(self.is_finite, use - np.where(self.is_finite, self.limit, 0.0), 0.0)
        bound_items = self.prices.item > 0
        by_row = by_row - np.where(self.is_finite, added(self.per_placement, np.where(bound_items, over, 0.0)), 0.0)
        return by_item, by_row / self.sizes.row_scale

    def move(self, rate: float, step: int, *, is_tail: bool) -> None:
        slopes = self.slopes()
        self.excess.append(np.where(self.prices.row > 0, slopes[1], np.maximum(slopes[1], 0.0)))
        self.first = tuple(0.8 * old + 0.2 * new for old, new in zip(self.first, slopes))
        self.second = tuple(0.95 * old + 0.05 * new * new for old, new in zip(self.second, slopes))
        size = [mean / (1 - 0.8 ** (step + 1)) / (np.sqrt(square / (1 - 0.95 ** (step + 1))) + floor)
                for mean, square, floor in zip(self.first, self.second, (1e-2, 1e-3))]
        item = np.maximum(self.prices.item + rate * self.sizes.unit * size[0], 0.0)
        row = np.maximum(self.prices.row + rate * self.sizes.row_unit * size[1], 0.0)
        self.prices = Prices(compensated(self.prices, item, row, self.per_placement), row)
        if is_tail:
            self.tail = Prices(self.tail.item + self.prices.item, self.tail.row + self.prices.row)
            self.n_tail += 1


def compensated(before: Prices, item: np.ndarray, row: np.ndarray, per_placement: np.ndarray) -> np.ndarray:
    """Item prices after the rows' prices moved: those of bound items move against it, so their net price stays put."""
    moved = added(per_placement.T, row - before.row)
    return np.where(before.item > 0, np.maximum(item - moved, 0.0), item)


def _own_codes(group: np.ndarray) -> np.ndarray:
    group = np.asarray(group, dtype="int64")
    free = group < 0
    return np.where(free, group.max(initial=0) + 1 + np.cumsum(free), group).astype("int32")
