"""When rules contradict one another: which one is missed, by how much, and the smallest set that cannot hold."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import sparse

from reclib.allocation.exact import INFEASIBLE, STOCK, Programme, programme, silent
from reclib.allocation.problem import InfeasibleError, Problem

N_PAIRS, WHOLE_UP_TO = 40_000, 2_000
_EASE = 1.0 + 1e-3


@dataclass(frozen=True)
class Infeasibility:
    """What cannot hold.

    Attributes:
        misses: one row a coupled row that cannot hold with the rest: name, kind, unit, limit, miss (in the unit).
        conflict: names of rows, quotas and `stock` that contradict one another, none of which could be spared; empty
            if none do.
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


def explain_infeasible(problem: Problem, *, seed: int = 0) -> Infeasibility:
    """Find the rows that must be missed and a smallest set of rules that contradict one another.

    An elastic programme gives every coupled row a paid miss, in units of its largest coefficient, and minimises their
    sum. A deletion filter then drops rules one by one and keeps those without which all would hold: what is left cannot
    hold, and would if any one of it were dropped. Up to 2,000 pairs this is said of whole slates, beyond of shares.

    Args:
        problem: what is to be allocated. Beyond 40,000 pairs a random sample of its customers stands for all, with
            their share of stock and limits; misses are scaled back.
        seed: random seed of that sample.
    """
    sample, grown = _sampled(problem, seed)
    lp = programme(sample)
    if _can_hold(lp):
        return Infeasibility(pd.DataFrame(columns=["name", "kind", "unit", "limit", "miss"]), (), sample.n_customers)
    missed = _least_misses(sample, lp, sample.row_names) * grown
    table = pd.DataFrame([{"name": row.name, "kind": row.kind, "unit": row.unit, "limit": row.limit, "miss": miss}
                          for row, miss in zip(problem.rows, missed) if miss > 0])
    return Infeasibility(table, _deletion_filter(sample, lp), sample.n_customers)


def yield_soft(problem: Problem, *, seed: int = 0) -> tuple[Problem, tuple[str, ...]]:
    """Relax soft rows in their declared order until the rest can hold.

    Then, last first, every row that yielded gets back as much of its limit as the others leave it; one that gets all of
    it back has not yielded.

    Returns:
        The problem with relaxed limits, and the names of the rows that yielded, first first.

    Raises:
        InfeasibleError: the hard rows alone contradict one another.
    """
    if can_hold(problem, seed=seed):
        return problem, ()
    eased, lifted = problem, []
    for row in sorted((row for row in problem.rows if not row.is_hard), key=lambda row: row.yields):
        eased, lifted = _with_limit(eased, row.name, np.inf), [*lifted, row]
        if can_hold(eased, seed=seed):
            break
    else:
        raise error(eased, seed=seed)
    missed = {}
    for row in reversed(lifted):
        sample, grown = _sampled(_with_limit(eased, row.name, row.limit), seed)
        missed[row.name] = grown * float(_least_misses(sample, programme(sample), [row.name]).sum())
        eased = _with_limit(eased, row.name, row.limit + _EASE * missed[row.name])
    return eased, tuple(row.name for row in lifted if missed[row.name] > 0)


def error(problem: Problem, missed: pd.DataFrame | None = None, *, seed: int = 0) -> InfeasibleError:
    """What cannot hold, as an error; `missed` are rows that the slates found miss, should shares of slates hold them."""
    found = explain_infeasible(problem, seed=seed)
    if not found.is_feasible:
        return InfeasibleError(found.sentence(), found.misses)
    missed = found.misses if missed is None else missed[["name", "kind", "unit", "limit", "miss"]]
    text = "; ".join(f"{row.name} is missed by {row.miss:,.6g} {row.unit}" for row in missed.itertuples())
    return InfeasibleError(f"No whole slates were found that hold all rows, though shares of slates could{text and ': '}{text}.",
                           missed)


def _sampled(problem: Problem, seed: int) -> tuple[Problem, float]:
    """A random sample of customers that has at most `N_PAIRS` pairs, and how many each of them stands for."""
    n_kept = max(int(N_PAIRS / max(problem.item.shape[1], 1)), 1)
    if n_kept >= problem.n_customers:
        return problem, 1.0
    some = np.sort(np.random.default_rng(seed).choice(problem.n_customers, n_kept, replace=False))
    return problem.of_customers(some), problem.n_customers / n_kept


def can_hold(problem: Problem, *, seed: int = 0) -> bool:
    """Whether some slates hold all rows; where showing nothing does, nothing is solved."""
    return all(row.limit >= 0 for row in problem.rows) or _can_hold(programme(_sampled(problem, seed)[0]))


def _can_hold(lp: Programme, is_kept: np.ndarray | None = None) -> bool:
    at = np.arange(len(lp.limit)) if is_kept is None else np.flatnonzero(is_kept)
    return _found(np.zeros(len(lp.value)), lp.matrix[at], lp.limit[at], len(lp.value)) is not None


def _least_misses(problem: Problem, lp: Programme, names: list[str]) -> np.ndarray:
    """The least that the named rows must miss, one entry a row, in its own unit; the other rows hold."""
    at, n_pairs = np.flatnonzero(np.isin(lp.block, names)), len(lp.value)
    give = sparse.csr_array((-np.ones(len(at)), (at, np.arange(len(at)))), shape=(len(lp.limit), len(at)))
    found = _found(np.r_[np.zeros(n_pairs), np.ones(len(at))], sparse.hstack([lp.matrix, give], format="csr"), lp.limit, n_pairs)
    if found is None:
        raise RuntimeError(f"rows {names}: HiGHS found no answer though they may be missed.")
    misses, missed = np.zeros(len(problem.rows)), found[n_pairs:]
    misses[lp.key[at].astype("int64")] = np.where(missed > 1e-6, missed * lp.scale[at], 0.0)
    return misses


def _found(cost: np.ndarray, matrix: sparse.csr_array, limit: np.ndarray, n_pairs: int) -> np.ndarray | None:
    """The cheapest way to hold the limits, the first `n_pairs` variables within 0 and 1; None where there is none."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    if not len(cost):
        return cost if (limit >= 0).all() else None
    is_pair = np.arange(len(cost)) < n_pairs
    for is_whole in (is_pair, ~is_pair & False)[n_pairs > WHOLE_UP_TO:]:
        with silent():
            found = milp(cost, integrality=is_whole.astype("int8"), bounds=Bounds(0, np.where(is_pair, 1.0, np.inf)),
                         constraints=LinearConstraint(matrix, -np.inf, limit), options={"mip_rel_gap": 1e-4, "node_limit": 500})
        if found.x is not None or found.status == INFEASIBLE:
            return found.x
    raise RuntimeError(f"programme of {len(limit)} limits: HiGHS found no answer ({found.message}).")


def _deletion_filter(problem: Problem, lp: Programme) -> tuple[str, ...]:
    is_kept = np.ones(len(lp.limit), dtype=bool)
    conflict = []
    for name in [*problem.row_names, *(quota.name for quota in problem.quotas), STOCK]:
        without = is_kept & (lp.block != name)
        if (without != is_kept).any() and _can_hold(lp, without):
            conflict.append("stock" if name == STOCK else name)
        else:
            is_kept = without
    return tuple(conflict)


def _with_limit(problem: Problem, name: str, limit: float) -> Problem:
    return problem.with_rows(tuple(replace(row, limit=limit) if row.name == name else row for row in problem.rows))
