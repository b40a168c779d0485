"""The one door to allocation: choose the method by size, let soft rows yield, check the answer."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import numpy as np

from reclib.allocation.exact import solve_exact
from reclib.allocation.infeasible import error, yield_soft
from reclib.allocation.prices import (
    Ascent,
    Prices,
    Sizes,
    ascend,
    best_slates,
    certified_bound,
    no_prices,
    typical_sizes,
)
from reclib.allocation.problem import (
    Allocation,
    InfeasibleError,
    Problem,
    answer,
    limits,
    row_table,
    tolerance,
    usage,
)
from reclib.allocation.recovery import recover
from reclib.allocation.warm import warm_start

EXACT_UP_TO, FALLBACK_UP_TO = 2_000, 30_000
SAMPLE, SAMPLE_FROM = 10_000, 20_000
METHODS = ("auto", "exact", "prices")


def solve(problem: Problem, *, method: str = "auto", seed: int = 0, start: tuple[Problem, Allocation] | None = None,
          ) -> Allocation:
    """Choose slates for all customers at once.

    Args:
        problem: what is to be allocated.
        method: `exact` decides by branch and bound; `prices` by one price for each shared limit, with a certified
            gap; `auto` is exact up to 2,000 pairs and prices beyond.
        seed: random seed of samples and of the order in which ties are split.
        start: a similar problem and its answer, over the same items: its prices are where the search begins, which
            saves most of the time of a small change.

    Returns:
        Slates that hold every hard row to the last unit, and every soft row that did not have to yield.

    Raises:
        InfeasibleError: hard rows contradict one another; the sentence names them.
    """
    if method not in METHODS:
        raise ValueError(f"method == {method!r}, must be one of {', '.join(METHODS)}.")
    eased, relaxed = yield_soft(problem, seed=seed)
    if method == "auto":
        method = "exact" if np.isfinite(problem.value).sum() <= EXACT_UP_TO else "prices"
    found = solve_exact(eased) if method == "exact" else solve_by_prices(eased, seed=seed, start=start)
    use = usage(problem, found.position > 0)
    missed = [row.name for row, is_missed in zip(eased.rows, use > limits(eased) + tolerance(eased)) if is_missed]
    relaxed = tuple(dict.fromkeys([*relaxed, *missed]))
    return replace(found, rows=row_table(problem, use, prices_of(problem, found).row, relaxed), relaxed=relaxed)


def solve_by_prices(problem: Problem, *, seed: int = 0, start: tuple[Problem, Allocation] | None = None) -> Allocation:
    """Choose slates by prices; all rows are taken as they stand, but a soft one may be missed by what moves cannot mend.

    Raises:
        InfeasibleError: a hard absolute floor could not be met.
    """
    rng = np.random.default_rng(seed)
    sizes = typical_sizes(problem)
    found = find_prices(problem, sizes, rng) if start is None else _from_start(problem, sizes, *start)
    slates = best_slates(problem, found.prices)
    bound = certified_bound(problem, found.prices, slates)
    is_shown, n_more = recover(problem, found.prices, sizes, bound, rng)
    use = usage(problem, is_shown)
    missed = [row for row, is_missed in zip(problem.rows, use > limits(problem) + tolerance(problem)) if is_missed]
    if missed and np.isfinite(problem.value).sum() <= FALLBACK_UP_TO:
        with suppress(*[] if any(row.is_hard for row in missed) else [InfeasibleError]):
            return solve_exact(problem, relative_gap=1e-4)
    if any(row.is_hard for row in missed):
        raise error(problem, row_table(problem, use, found.prices.row).query("miss > 0"), seed=seed)
    return answer(problem, is_shown, bound=bound, item_prices=found.prices.item, row_prices=found.prices.row, method="prices",
                  n_iterations=found.n_iterations + n_more + 2)


def find_prices(problem: Problem, sizes: Sizes, rng: np.random.Generator) -> Ascent:
    """Find near-optimal prices: on a sample of customers first where there are many, then on all of them."""
    if problem.n_customers <= SAMPLE_FROM:
        return _from_zero(problem, sizes)
    sample = problem.of_customers(np.sort(rng.choice(problem.n_customers, SAMPLE, replace=False)))
    first = _from_zero(sample, typical_sizes(sample))
    fine = ascend(problem, first.prices, sizes=sizes, n_iterations=40, rate=0.03, decay=0.92)
    return Ascent(fine.prices, fine.bound, fine.n_iterations + first.n_iterations * SAMPLE // problem.n_customers)


def prices_of(problem: Problem, found: Allocation) -> Prices:
    """The prices of an answer, rows in the order of the problem."""
    return Prices(found.item_prices, np.array([found.row_prices[name] for name in problem.row_names], dtype="float64"))


def _from_start(problem: Problem, sizes: Sizes, before: Problem, found: Allocation) -> Ascent:
    start = warm_start(before, prices_of(before, found), problem)
    return ascend(problem, start, sizes=sizes, n_iterations=30, rate=0.2, decay=0.85)


def _from_zero(problem: Problem, sizes: Sizes) -> Ascent:
    """Descend in large steps, and again in small ones: where all flip at one price, only those lower the bound.

    On a sample, what small steps gain by less than a ten-thousandth is the sample's own, and is not kept.
    """
    first = ascend(problem, no_prices(problem), sizes=sizes, n_iterations=600, rate=0.4, decay=1.0, stall=25, patience=3e-4)
    found = _again(problem, sizes, first)
    fine = ascend(problem, found.prices, sizes=sizes, n_iterations=120, rate=0.03, decay=0.95, stall=30)
    n_seen = found.n_iterations + fine.n_iterations
    if found.bound - fine.bound < 1e-4 * abs(found.bound):
        return Ascent(found.prices, found.bound, n_seen)
    return _again(problem, sizes, Ascent(fine.prices, fine.bound, n_seen))


def _again(problem: Problem, sizes: Sizes, found: Ascent) -> Ascent:
    n_seen = found.n_iterations
    for rate in (0.1,) + (0.2,) * 8:
        before = found.bound
        found = ascend(problem, found.prices, sizes=sizes, n_iterations=120, rate=rate, decay=0.95, stall=30)
        n_seen += found.n_iterations
        if rate > 0.1 and before - found.bound < 1e-5 * abs(before):
            break
    return Ascent(found.prices, found.bound, n_seen)
