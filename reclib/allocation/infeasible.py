"""When rules contradict one another: which one is missed, by how much, and the smallest set that cannot hold."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from reclib.allocation.exact import Programme, programme
from reclib.allocation.problem import InfeasibleError, Problem, Row

N_PAIRS = 40_000
_EASE = 1.0 + 1e-3


@dataclass(frozen=True)
class Infeasibility:
    """What cannot hold.

    Attributes:
        misses: one row a coupled row that cannot hold with the rest: name, kind, unit, limit, miss (in the unit).
        conflict: names of a smallest set of rows, quotas and `stock` that contradict one another; empty if none do.
        n_customers: customers behind the answer; fewer than all where a sample stood for them.
    """

    misses: pd.DataFrame
    conflict: tuple[str, ...]
    n_customers: int

    @property
    def is_feasible(self) -> bool:
        """No row has to be missed."""
        return not len(self.misses)

    def sentence(self) -> str:
        """Say in one line what is missed and what contradicts what."""
        if self.is_feasible:
            return "All rows can hold together."
        missed = "; ".join(f"{row.name} misses its limit by {row.miss:,.6g} {row.unit}" for row in self.misses.itertuples())
        return f"No slates hold all rows: {missed}; these cannot hold together: {', '.join(self.conflict)}."

    def error(self) -> InfeasibleError:
        """The same as an error."""
        return InfeasibleError(self.sentence(), self.misses)


def explain_infeasible(problem: Problem, *, seed: int = 0) -> Infeasibility:
    """Find the rows that must be missed and the smallest set of rules that contradict one another.

    An elastic programme gives every coupled row a paid miss, in units of its largest coefficient, and minimises
    their sum. A deletion filter then drops rules one by one and keeps those without which all would hold.

    Args:
        problem: what is to be allocated. Beyond 40,000 pairs a random sample of its customers stands for all, with
            their share of stock and limits; misses are scaled back.
        seed: random seed of that sample.
    """
    sample = sampled(problem, seed=seed)
    grown = problem.n_customers / max(sample.n_customers, 1)
    lp = programme(sample)
    misses = _elastic(sample, lp, np.ones(len(lp.limit), dtype=bool))
    rows = [_miss_row(problem.rows[place], miss * grown) for place, miss in enumerate(misses) if miss > 0]
    table = pd.DataFrame(rows, columns=["name", "kind", "unit", "limit", "miss"])
    return Infeasibility(table, _deletion_filter(sample, lp) if rows else (), sample.n_customers)


def yield_soft(problem: Problem, *, seed: int = 0) -> tuple[Problem, tuple[str, ...]]:
    """Relax soft rows in their declared order until the rest can hold.

    A row that yields keeps as much of its limit as the others leave it. Rows that hold when nothing is shown
    cannot contradict one another: then nothing is solved.

    Returns:
        The problem with relaxed limits, and the names of the rows that yielded, first first.

    Raises:
        InfeasibleError: the hard rows alone contradict one another.
    """
    if all(row.limit >= 0 for row in problem.rows):
        return problem, ()
    if explain_infeasible(problem, seed=seed).is_feasible:
        return problem, ()
    relaxed: list[str] = []
    for row in sorted((row for row in problem.rows if not row.is_hard), key=lambda row: (row.yields, row.name)):
        lifted = _with_limit(problem, row.name, np.inf)
        relaxed.append(row.name)
        if explain_infeasible(lifted, seed=seed).is_feasible:
            miss = _least_miss(problem, row.name, seed)
            return _with_limit(problem, row.name, row.limit + _EASE * miss), tuple(relaxed)
        problem = lifted
    raise explain_infeasible(problem, seed=seed).error()


def sampled(problem: Problem, *, seed: int, n_pairs: int = N_PAIRS) -> Problem:
    """A random sample of customers that has at most so many pairs, with their share of stock and limits."""
    n_kept = max(int(n_pairs / max(problem.item.shape[1], 1)), 1)
    if n_kept >= problem.n_customers:
        return problem
    rng = np.random.default_rng(seed)
    return problem.of_customers(np.sort(rng.choice(problem.n_customers, n_kept, replace=False)))


def _least_miss(problem: Problem, name: str, seed: int) -> float:
    sample = sampled(problem, seed=seed)
    lp = programme(sample)
    grown = problem.n_customers / max(sample.n_customers, 1)
    misses = _elastic(sample, lp, np.ones(len(lp.limit), dtype=bool), only=name)
    return float(misses[problem.row_names.index(name)]) * grown


def _elastic(problem: Problem, lp: Programme, is_kept: np.ndarray, only: str | None = None) -> np.ndarray:
    from scipy.optimize import linprog

    misses = np.zeros(len(problem.rows))
    is_coupled = np.isin(lp.block, problem.row_names) & is_kept
    is_elastic = is_coupled if only is None else is_coupled & (lp.block == only)
    at, n_pairs = np.flatnonzero(is_elastic), len(lp.value)
    if not len(at):
        return misses
    from scipy import sparse

    give = sparse.csr_array((-np.ones(len(at)), (at, np.arange(len(at)))), shape=(len(lp.limit), len(at)))
    matrix = sparse.hstack([lp.matrix, give], format="csr")[np.flatnonzero(is_kept)]
    bounds = np.vstack([np.tile([0.0, 1.0], (n_pairs, 1)), np.tile([0.0, np.inf], (len(at), 1))])
    found = linprog(np.r_[np.zeros(n_pairs), np.ones(len(at))], A_ub=matrix, b_ub=lp.limit[is_kept], bounds=bounds,
                    method="highs")
    if found.x is None:
        raise RuntimeError(f"elastic programme of {len(at)} rows: HiGHS found no answer ({found.message}).")
    missed = found.x[n_pairs:]
    misses[lp.key[at].astype("int64")] = np.where(missed > 1e-6, missed * lp.scale[at], 0.0)
    return misses


def _deletion_filter(problem: Problem, lp: Programme) -> tuple[str, ...]:
    names = problem.row_names + [quota.name for quota in problem.quotas] + ["stock"]
    is_kept = np.ones(len(lp.limit), dtype=bool)
    conflict = []
    for name in names:
        without = is_kept & (lp.block != name)
        if _elastic(problem, lp, without).any():
            is_kept = without
        else:
            conflict.append(name)
    return tuple(conflict)


def _miss_row(row: Row, miss: float) -> dict:
    return {"name": row.name, "kind": row.kind, "unit": row.unit, "limit": row.limit, "miss": miss}


def _with_limit(problem: Problem, name: str, limit: float) -> Problem:
    return problem.with_rows(tuple(replace(row, limit=limit) if row.name == name else row for row in problem.rows))
