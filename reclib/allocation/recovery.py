"""From prices to slates that hold every limit: mix, repair stock, fill, swap, and drop only at the very end.

Where value and cost are proportional, all customers of an item flip at one price, and no price is both legal and good.
So slates at a few prices around the best are mixed in the proportions of a small master programme; what is over stock
goes to those who would miss it most; what a row still lacks is bought by the cheapest swaps.
"""

from __future__ import annotations

import numpy as np

from reclib.allocation.desk import Desk, Moves, blocks, claim_rank
from reclib.allocation.polish import polish
from reclib.allocation.prices import (
    Prices,
    Sizes,
    Slates,
    as_shown,
    best_slates,
    coefficients,
    compensated,
    gathered,
)
from reclib.allocation.problem import Problem, added, limits

NUDGES = (0.997, 1.003, 0.98, 1.02)
MARGIN = 2e-4
N_ROUNDS = 12
N_ASKED = 24_000


def recover(problem: Problem, prices: Prices, sizes: Sizes, bound: float,
            rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Find slates that hold stock, quotas and every row, close to the bound of the prices.

    Rows that showing nothing would break (absolute floors) are met as far as moves can; the caller checks them.

    Args:
        problem: what is to be allocated.
        prices: near-optimal prices.
        sizes: typical sizes of the problem.
        bound: what no slates exceed.
        rng: splits ties between customers.

    Returns:
        Which pairs are shown, customers x candidates, and how many evaluations it took.
    """
    variants = _variants(problem, prices)
    columns = [best_slates(problem, variant, keep=True) for variant in variants]
    shares = _master(problem, prices, sizes, variants, columns)
    desk = Desk(problem, prices, _mixed(problem, columns, shares, rng))
    mend(desk, rng, bound=bound)
    return desk.shown, len(columns)


def mend(desk: Desk, rng: np.random.Generator, *, bound: float | None = None) -> None:
    """Make slates legal, whatever they claim: stock first, then rows, then what can still be gained.

    Rows that nothing shown would satisfy hold afterwards to the last unit, whatever the prices; so does stock.

    Args:
        desk: slates that hold quotas.
        rng: draws customers to ask.
        bound: what no slates exceed, where the desk's prices are near-optimal: then parts are decided anew as well.
    """
    _repair_stock(desk)
    _fill(desk, np.arange(desk.problem.n_customers), with_stock=False)
    _meet_rows(desk, rng)
    if bound is not None:
        polish(desk, bound, rng)
    drop_until_met(desk)
    _improve(desk, rng)


def _variants(problem: Problem, prices: Prices) -> list[Prices]:
    per_placement = coefficients(problem)[1]
    found = [prices]
    for place in np.flatnonzero(prices.row > 0):
        for nudge in NUDGES:
            row = prices.row.copy()
            row[place] *= nudge
            found.append(Prices(compensated(prices, prices.item, row, per_placement), row))
    if prices.item.any():
        found += [Prices(prices.item * nudge, prices.row) for nudge in (0.99, 1.01)]
    return found


def _master(problem: Problem, prices: Prices, sizes: Sizes, variants: list[Prices], columns: list[Slates]) -> np.ndarray:
    from scipy.optimize import linprog

    if len(columns) == 1:
        return np.ones(1)
    per_response, per_placement = coefficients(problem)
    demand = np.array([column.placements for column in columns]).T
    answers = np.array([column.responses for column in columns]).T
    worth = np.array([_worth(problem, variant, column) for variant, column in zip(variants, columns)])
    stock = problem.stock
    over = np.flatnonzero((demand > stock[:, None]).any(axis=1))
    rows = np.flatnonzero(np.isfinite(limits(problem)))
    limit = limits(problem)[rows]
    scale = sizes.row_scale[rows]
    rate = answers[over].sum(axis=1) / np.maximum(demand[over].sum(axis=1), 1e-12)
    lost = np.minimum(per_placement[rows][:, over] + per_response[rows][:, over] * rate, 0.0)
    use = added(per_placement[rows][:, None], demand.T) + added(per_response[rows][:, None], answers.T)
    n_columns, n_over, n_rows = len(columns), len(over), len(rows)
    matrix = np.block([
        [demand[over], -np.eye(n_over), np.zeros((n_over, n_rows))],
        [use / scale[:, None], -lost / scale[:, None], -np.eye(n_rows)]])
    penalty = np.r_[-worth, prices.item[over] + 0.02 * sizes.unit, 20 * sizes.row_unit[rows] * scale]
    found = linprog(penalty, A_ub=matrix, b_ub=np.r_[stock[over], limit / scale - MARGIN],
                    A_eq=np.r_[np.ones(n_columns), np.zeros(n_over + n_rows)][None, :], b_eq=[1.0], method="highs-ds")
    return np.ones(1) if found.x is None else np.maximum(found.x[:n_columns], 0.0)


def _worth(problem: Problem, prices: Prices, slates: Slates) -> float:
    by_response, by_item = gathered(problem, prices)
    return slates.score + float(added(by_response[:-1], slates.responses)) + float(added(by_item[:-1], slates.placements))


def _mixed(problem: Problem, columns: list[Slates], shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    order = rng.permutation(problem.n_customers)
    cuts = np.round(np.cumsum(shares / shares.sum()) * problem.n_customers).astype("int64")
    column = np.empty((problem.n_customers, problem.k), dtype="int16")
    for slates, mine in zip(columns, np.split(order, cuts[:-1])):
        column[mine] = slates.column[mine]
    return as_shown(problem, column)


def _repair_stock(desk: Desk) -> None:
    item_of = desk.problem.item
    is_over = desk.count > desk.stock
    if not is_over.any():
        return
    customer, column = np.nonzero(desk.shown)
    claims = np.flatnonzero(is_over[item_of[customer, column]])
    customer, column = customer[claims], column[claims]
    regret = np.concatenate([_regret(desk, customer[part], column[part]) for part in blocks(np.arange(len(customer)))])
    order = np.lexsort((customer, -regret))
    is_surplus = claim_rank(item_of[customer[order], column[order]]) >= desk.stock[item_of[customer[order], column[order]]]
    surplus = order[is_surplus]
    desk.drop(customer[surplus], column[surplus])
    _fill(desk, np.unique(customer[surplus]), with_stock=True)


def _regret(desk: Desk, customer: np.ndarray, column: np.ndarray) -> np.ndarray:
    held = desk.held(customer)
    held[held == column[:, None]] = -1
    scores = desk.scores(customer)
    own = scores[np.arange(len(customer)), column]
    best = np.where(desk.may_enter(customer, held), scores, 0.0).max(axis=1)
    return own - np.maximum(best, 0.0)


def _fill(desk: Desk, customers: np.ndarray, *, with_stock: bool) -> None:
    waiting = customers[desk.shown[customers].sum(axis=1) < desk.problem.k]
    for _ in range(4 * desk.problem.k):
        offers = [_best_entry(desk, part, with_stock) for part in blocks(waiting)]
        if not offers:
            return
        customer, column, gain = (np.concatenate(parts) for parts in zip(*offers))
        if not len(customer):
            return
        order = np.lexsort((customer, -gain))
        customer, column = customer[order], column[order]
        item = desk.problem.item[customer, column]
        fits = claim_rank(item) < (desk.stock - desk.count)[item]
        desk.shown[customer[fits], column[fits]] = True
        desk.count += np.bincount(item[fits], minlength=desk.problem.n_items)
        waiting = np.sort(customer)
    desk.recount()


def _best_entry(desk: Desk, customers: np.ndarray, with_stock: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    scores = np.where(desk.may_enter(customers, desk.held(customers)), desk.scores(customers, with_stock=with_stock), 0.0)
    column = scores.argmax(axis=1)
    gain = scores[np.arange(len(customers)), column]
    return customers[gain > 0], column[gain > 0], gain[gain > 0]


def _meet_rows(desk: Desk, rng: np.random.Generator) -> None:
    desk.recount()
    for _ in range(N_ROUNDS):
        excess = desk.excess
        if not excess.any():
            return
        worst = int(np.argmax(excess / np.maximum(np.abs(desk.limit), 1e-9 + np.abs(desk.use))))
        moves = _offers(desk, _asked(desk, rng), row=worst)
        if not desk.accept(moves, until=(worst, excess[worst])):
            return


def drop_until_met(desk: Desk) -> None:
    """Take pairs out until every row holds that showing nothing would satisfy, least value a unit first.

    Pairs that another tight row needs stay as long as others are left.
    """
    for is_gentle in (True, False):
        for _ in range(4 * len(desk.limit) + 8):
            excess = np.where(desk.limit >= 0, desk.excess, 0.0)
            if not excess.any():
                return
            if not any(_drop_for(desk, place, is_gentle) for place in np.flatnonzero(excess)):
                break
    while np.where(desk.limit >= 0, desk.excess, 0.0).any() and desk.shown.any():
        for place in np.flatnonzero(np.where(desk.limit >= 0, desk.excess, 0.0)):
            _drop_for(desk, place, False)


def _drop_for(desk: Desk, place: int, is_gentle: bool) -> bool:
    customer, column = np.nonzero(desk.shown)
    change = desk.row_changes(customer, column)
    helps = change[:, place] > 0
    if is_gentle:
        others = np.flatnonzero((desk.room < 0.01 * np.abs(desk.use)) & (np.arange(len(desk.limit)) != place))
        helps &= (change[:, others] >= 0).all(axis=1)
    at = np.flatnonzero(helps)
    if not len(at) or desk.excess[place] <= 0:
        return False
    cost = desk.problem.value[customer[at], column[at]] / change[at, place]
    at = at[np.lexsort((column[at], customer[at], cost))]
    given = np.cumsum(change[at, place])
    at = at[:int(np.searchsorted(given, desk.excess[place])) + 1]
    desk.drop(customer[at], column[at])
    return True


def _improve(desk: Desk, rng: np.random.Generator) -> None:
    for _ in range(N_ROUNDS):
        before = desk.value()
        moves = _offers(desk, _asked(desk, rng), row=None)
        if not desk.accept(moves) or desk.value() - before < 2e-6 * abs(before):
            return


def _asked(desk: Desk, rng: np.random.Generator) -> np.ndarray:
    n_customers = desk.problem.n_customers
    return np.arange(n_customers) if n_customers <= N_ASKED else np.sort(rng.choice(n_customers, N_ASKED, replace=False))


def _offers(desk: Desk, customers: np.ndarray, *, row: int | None) -> Moves:
    tight = np.flatnonzero(desk.room <= 1e-9 * np.abs(desk.use) + desk.slop)
    parts = [_offer(desk, part, row, tight) for part in blocks(customers)]
    return Moves(*(np.concatenate(pieces) for pieces in zip(*parts)))


def _offer(desk: Desk, customers: np.ndarray, row: int | None, tight: np.ndarray) -> tuple:
    """Each customer's best move: for a row, least score lost a unit given back; else most value gained."""
    n, width = desk.problem.item[customers].shape
    lines, held = np.arange(n), np.column_stack([desk.held(customers), np.full(n, -1)])
    worth = _with_none(desk.problem.value[customers] if row is None else desk.scores(customers))
    costs = {place: _with_none(desk.coefficient(customers, place)) for place in ({*tight.tolist()} | ({row} - {None}))}
    best = np.full(n, -np.inf), np.full(n, -1), np.full(n, -1)
    for slot, out in enumerate(held.T):
        is_out, is_adding = out >= 0, slot == held.shape[1] - 1
        if not (is_adding or is_out.any()):
            continue
        kept = held[:, :-1].copy()
        kept[:, slot:slot + 1] = -1
        may = np.column_stack([desk.may_enter(customers, kept) & (is_out | is_adding)[:, None], is_out])
        with np.errstate(invalid="ignore"):
            gain = np.where(may, worth - worth[lines, out][:, None], -np.inf)
        changes = {place: table - table[lines, out][:, None] for place, table in costs.items()}
        for place in changes.keys() - {row}:
            gain[changes[place] > 0] = -np.inf
        merit = gain if row is None else _per_unit(gain, -changes[row])
        into = merit.argmax(axis=1)
        found = merit[lines, into]
        better = found > best[0]
        for old, new in zip(best, (found, out, np.where(into == width, -1, into))):
            old[better] = new[better]
    at = np.flatnonzero(best[0] > (0.0 if row is None else -np.inf))
    moved = desk.row_changes(customers[at], best[2][at]) - desk.row_changes(customers[at], best[1][at])
    return customers[at], best[1][at], best[2][at], best[0][at], moved


def _with_none(table: np.ndarray) -> np.ndarray:
    """The table in float64 with a last column of zeros, which column -1 is: no pair taken out or put in."""
    return np.column_stack([table, np.zeros(len(table))])


def _per_unit(gain: np.ndarray, given: np.ndarray) -> np.ndarray:
    is_useful = given > 1e-12
    return np.where(is_useful & np.isfinite(gain), gain / np.where(is_useful, given, 1.0), -np.inf)
