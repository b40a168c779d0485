"""The one door to allocation: choose the method by size, let soft rows yield, check the answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from reclib.allocation.exact import solve_exact
from reclib.allocation.infeasible import yield_soft
from reclib.allocation.problem import Allocation, Problem, row_table, usage

EXACT_UP_TO = 5_000
METHODS = ("auto", "exact", "prices")


def solve(problem: Problem, *, method: str = "auto", seed: int = 0) -> Allocation:
    """Choose slates for all customers at once.

    Args:
        problem: what is to be allocated.
        method: `exact` decides by branch and bound; `prices` by one price for each shared limit, with a certified
            gap; `auto` is exact up to 5,000 pairs and prices beyond.
        seed: random seed of samples and of the order in which ties are split.

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
    found = solve_exact(eased)
    return _named(problem, found, relaxed)


def _named(problem: Problem, found: Allocation, relaxed: tuple[str, ...]) -> Allocation:
    use = usage(problem, found.position > 0)
    prices = np.array([found.row_prices[name] for name in problem.row_names])
    return replace(found, rows=row_table(problem, use, prices, relaxed), relaxed=relaxed)
