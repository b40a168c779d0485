"""Exact allocation with HiGHS: the oracle, and the engine where problems are small.

`relax` solves the linear relaxation: its optimum bounds every slate, its duals are the prices. `solve_exact` then
decides whole slates by branch and bound. Memory and time grow with pairs: 100,000 pairs take seconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from reclib.allocation.problem import (
    Allocation,
    InfeasibleError,
    Problem,
    answer,
    holds,
)

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

INTERIOR_POINT_FROM = 50_000
INFEASIBLE = 2
SLATE, STOCK = 0, 1  # blocks that no row can be named like


@dataclass(frozen=True)
class Programme:
    """The problem as `maximise value . x, matrix x <= limit, 0 <= x <= 1` over its pairs.

    Attributes:
        row, column: where each variable stands in the customers x candidates table.
        value: what each variable is worth.
        matrix: one row a limit: slates, quotas, stock, then coupled rows, each divided by its `scale`.
        limit: right-hand sides, scaled likewise.
        block: what each row of the matrix belongs to: `SLATE`, a quota's name, `STOCK`, or a coupled row's name.
        key: code of each matrix row in its block: the item of a stock row, the row of a coupled one.
        scale: what each row of the matrix was divided by.
    """

    row: np.ndarray
    column: np.ndarray
    value: np.ndarray
    matrix: sparse.csr_array
    limit: np.ndarray
    block: np.ndarray
    key: np.ndarray
    scale: np.ndarray


@dataclass(frozen=True)
class Relaxation:
    """Optimum of the linear relaxation: bound and prices."""

    bound: float
    item_prices: np.ndarray
    row_prices: np.ndarray


def programme(problem: Problem, is_open: np.ndarray | None = None) -> Programme:
    """Write the problem down as a matrix; limits that cannot bind are left out.

    Args:
        problem: what is to be allocated.
        is_open: pairs to consider, customers x candidates; None means all that are not filtered.
    """
    is_open = np.isfinite(problem.value) & (problem.item >= 0) if is_open is None else is_open
    row, column = np.nonzero(is_open)
    item = problem.item[row, column]
    parts = [_counted(SLATE, row, np.full(problem.n_customers, problem.k))]
    for quota in problem.quotas:
        parts.append(_quota_part(quota, row, item))
    parts.append(_counted(STOCK, item, problem.stock))
    parts.append(_coupled(problem, row, column, item))
    matrices, limits, blocks, keys, scales = zip(*parts)
    return Programme(
        row=row, column=column, value=problem.value[row, column].astype("float64"),
        matrix=sparse.vstack(matrices, format="csr"), limit=np.concatenate(limits), block=np.concatenate(blocks),
        key=np.concatenate(keys), scale=np.concatenate(scales))


def relax(problem: Problem) -> Relaxation:
    """Solve the linear relaxation, by simplex or, where it is large, by the interior point method; all quotas count.

    Raises:
        InfeasibleError: the rows contradict one another.
    """
    lp = programme(problem)
    if not len(lp.value):
        return Relaxation(0.0, np.zeros(problem.n_items), np.zeros(len(problem.rows)))
    found = _optimum(lp, "highs-ipm" if len(lp.value) >= INTERIOR_POINT_FROM else "highs-ds")
    if found.status == INFEASIBLE:
        raise _infeasible(problem)
    price = np.maximum(-found.ineqlin.marginals, 0.0) / lp.scale
    return Relaxation(-found.fun, _by_key(lp, price, lp.block == STOCK, problem.n_items),
                      _by_key(lp, price, np.isin(lp.block, problem.row_names), len(problem.rows)))


def solve_exact(problem: Problem, *, relative_gap: float = 1e-5, n_nodes: int = 2_000,
                is_open: np.ndarray | None = None) -> Allocation:
    """Find the best whole slates.

    Args:
        problem: what is to be allocated; all its rows must hold.
        relative_gap: branch and bound stops this close to the optimum.
        n_nodes: ... or after so many nodes, with the best slates found and their gap.
        is_open: pairs to consider; None means all.

    Raises:
        InfeasibleError: no slates hold all rows.
    """
    relaxed = relax(problem)
    found = best_whole(problem, is_open, relative_gap=relative_gap, n_nodes=n_nodes)
    if found is None:
        raise _infeasible(problem)
    is_shown, bound, n_visited = found
    return answer(problem, is_shown, bound=min(bound, relaxed.bound), item_prices=relaxed.item_prices, row_prices=relaxed.row_prices,
                  method="exact", n_iterations=n_visited)


def shares(problem: Problem, is_open: np.ndarray) -> np.ndarray | None:
    """The best shares of the open pairs, customers x candidates, at a corner: nearly all whole; None if none hold."""
    lp = programme(problem, is_open)
    share = np.zeros(problem.item.shape)
    if len(lp.value):
        found = _optimum(lp, "highs-ds")
        if found.x is None:
            return None
        share[lp.row, lp.column] = found.x
    return share


def _optimum(lp: Programme, method: str) -> OptimizeResult:
    from scipy.optimize import linprog

    return linprog(-lp.value, A_ub=lp.matrix, b_ub=lp.limit, bounds=(0, 1), method=method)


def best_whole(problem: Problem, is_open: np.ndarray | None = None, *, relative_gap: float,
               n_nodes: int) -> tuple[np.ndarray, float, int] | None:
    """The best whole slates of the open pairs by branch and bound, their bound and its nodes; None if none are found."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    lp = programme(problem, is_open)
    is_shown = np.zeros(problem.item.shape, dtype=bool)
    if not len(lp.value):
        return (is_shown, 0.0, 0) if holds(problem, is_shown) else None
    is_coupled = np.isin(lp.block, problem.row_names)
    for tightened in (0.0, 2e-6, 2e-5):
        with silent():
            found = milp(-lp.value, integrality=np.ones(len(lp.value)), bounds=Bounds(0, 1),
                         constraints=LinearConstraint(lp.matrix, -np.inf, lp.limit - tightened * is_coupled),
                         options={"mip_rel_gap": relative_gap, "node_limit": n_nodes})
        if found.x is None:
            return None
        is_shown[:] = False
        is_shown[lp.row, lp.column] = found.x > 0.5
        if holds(problem, is_shown):
            return is_shown, -float(found.mip_dual_bound), int(found.mip_node_count or 0)
    return None


@contextmanager
def silent() -> Iterator[None]:
    """Keep quiet: HiGHS leaves a debugging line of its own on the process's standard output, past Python's."""
    saved, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(nowhere)


def _infeasible(problem: Problem) -> InfeasibleError:
    from reclib.allocation.infeasible import error

    return error(problem)


def _counted(block: str | int, code: np.ndarray, limit: np.ndarray) -> tuple:
    counts = np.bincount(code, minlength=len(limit))
    kept = np.flatnonzero(counts > limit)
    place = np.full(len(limit), -1)
    place[kept] = np.arange(len(kept))
    at = place[code]
    used = at >= 0
    matrix = sparse.csr_array((np.ones(used.sum()), (at[used], np.flatnonzero(used))), shape=(len(kept), len(code)))
    return matrix, limit[kept].astype("float64"), np.full(len(kept), block, dtype=object), kept, np.ones(len(kept))


def _quota_part(quota, row: np.ndarray, item: np.ndarray) -> tuple:
    group = np.asarray(quota.group)[item]
    n_groups = int(np.max(quota.group, initial=-1)) + 1
    cell = np.where(group >= 0, row * (n_groups + 1) + group, row * (n_groups + 1) + n_groups)
    _, code = np.unique(cell, return_inverse=True)
    limit = np.full(code.max(initial=-1) + 1, float(quota.limit))
    limit[code[group < 0]] = np.inf
    return _counted(quota.name, code, limit)


def _coupled(problem: Problem, row: np.ndarray, column: np.ndarray, item: np.ndarray) -> tuple:
    kept = [place for place, rule in enumerate(problem.rows) if np.isfinite(rule.limit)]
    lines, limits, scales = [], [], []
    for place in kept:
        rule = problem.rows[place]
        line = np.zeros(len(item)) if rule.per_placement is None else rule.per_placement[item]
        if rule.per_response is not None:
            line = line + rule.per_response[item] * problem.response[row, column]
        scale = float(np.abs(line).max(initial=0.0)) or 1.0
        lines.append(line / scale)
        limits.append(rule.limit / scale)
        scales.append(scale)
    matrix = sparse.csr_array(np.array(lines).reshape(len(kept), len(item)))
    names = np.array([problem.rows[place].name for place in kept], dtype=object)
    return matrix, np.array(limits), names, np.array(kept, dtype="int64"), np.array(scales)


def _by_key(lp: Programme, price: np.ndarray, is_mine: np.ndarray, size: int) -> np.ndarray:
    prices = np.zeros(size)
    prices[lp.key[is_mine].astype("int64")] = price[is_mine]
    return prices
