"""Decide a part of the customers anew, all together: what single moves cannot mend, a small programme can.

Where several limits are tight at once, a move that helps one hurts another. So some customers are freed, with what the
others leave of every limit. The linear programme of their promising pairs has whole slates for nearly all of them; those
with shares, and some more to give it room, are then decided by branch and bound.
"""

from __future__ import annotations

import numpy as np

from reclib.allocation.desk import Desk
from reclib.allocation.exact import best_whole, shares
from reclib.allocation.problem import Problem, holds

N_FREED, N_WHOLE, N_SPARE = 6_000, (60, 240), 8
CLOSE_ENOUGH, N_PARTS = 5e-4, 4


def polish(desk: Desk, bound: float, rng: np.random.Generator) -> None:
    """Decide parts of the customers anew until the slates are legal and close to the bound; legal ones never get worse.

    Args:
        desk: slates that hold stock and quotas, with near-optimal prices; absolute floors may still be missed.
        bound: what no slates exceed.
        rng: draws the parts.
    """
    order = rng.permutation(desk.problem.n_customers)
    for start in range(0, len(order), N_FREED)[:N_PARTS]:
        is_legal = holds(desk.problem, desk.shown)
        if is_legal and desk.value() >= bound - CLOSE_ENOUGH * abs(bound):
            return
        part = np.sort(order[start:start + N_FREED])
        found = _decided(desk.problem.beside(part, desk.shown), _promising(desk, part), rng)
        if found is None:
            continue
        shown = desk.shown.copy()
        shown[part] = found
        if holds(desk.problem, shown) and (not is_legal or desk.problem.value[shown].sum(dtype="float64") > desk.value()):
            desk.shown = shown
            desk.recount()


def _promising(desk: Desk, part: np.ndarray) -> np.ndarray:
    """The pairs of best reduced score, a few more than fit a slate, and those that are shown."""
    scores = desk.scores(part)
    n_columns = scores.shape[1]
    n_kept = min(desk.problem.k + N_SPARE, n_columns)
    cut = np.partition(scores, n_columns - n_kept, axis=1)[:, n_columns - n_kept]
    return (scores >= cut[:, None]) & np.isfinite(scores) | desk.shown[part]


def _decided(problem: Problem, is_open: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    share = shares(problem, is_open)
    if share is None:
        return None
    is_split = ((share > 1e-6) & (share < 1 - 1e-6)).any(axis=1)
    shown = share > 0.5
    order = np.lexsort((rng.random(len(is_split)), ~is_split))
    for n_more in N_WHOLE:
        some = np.sort(order[:is_split.sum() + n_more])
        found = best_whole(problem.beside(some, shown), is_open[some], relative_gap=1e-3, n_nodes=50)
        if found is not None:
            shown[some] = found[0]
            return shown
    return None
