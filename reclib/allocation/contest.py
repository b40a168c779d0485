"""Side by side: value, violations, CPU seconds and memory of several ways, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pandas as pd

from reclib import store
from reclib.allocation import naive
from reclib.allocation.catalogues import make_catalogue
from reclib.allocation.exact import relax
from reclib.allocation.problem import Problem
from reclib.allocation.solve import solve

PRICES, RELAXATION = "prices", "HiGHS, no decomposition"
CUT, FIRST, DROPPED, SWAPPED = "filter then cut", "first come", "first come, dropped", "first come, swapped"
WAYS = (PRICES, CUT, FIRST, DROPPED, SWAPPED, RELAXATION)
RECORDED = "notebooks/benchmarks/allocation_recorded.csv"


def run(sizes: Iterable[int], seeds: Iterable[int], *, ways: Iterable[str] = WAYS, n_candidates: int = 100) -> pd.DataFrame:
    """Let every way decide every catalogue, one process at a time.

    Args:
        sizes: numbers of customers.
        seeds: seeds of catalogues.
        ways: names from `WAYS`.
        n_candidates: candidates a customer.

    Returns:
        One row a (size, seed, way): value, bound (certified by prices, or the optimum of the relaxation), of_bound
        (value over the best bound known of that catalogue), over_stock, rows_broken, fill_rate, cpu_s (deciding alone)
        and peak_mib (the whole process, its tables included). The relaxation has a bound, but no slates.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        tasks = [(n_customers, seed, way, n_candidates) for n_customers in sizes for seed in seeds for way in ways]
        rows = pd.DataFrame(list(pool.map(_measured, *zip(*tasks))))
    best = rows.groupby(["n_customers", "seed"])["bound"].transform("min")
    return rows.assign(of_bound=rows["value"] / best, gap=1 - rows["value"] / best)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """One row a way: median and worst share of the bound, violations, and CPU and memory as ratios to prices."""
    keys = ["n_customers", "seed"]
    own = table.loc[table["way"] == PRICES, [*keys, "cpu_s", "peak_mib"]]
    joined = table.merge(own, on=keys, how="left", suffixes=("", "_prices"), validate="many_to_one")
    joined = joined.assign(cpu_ratio=joined["cpu_s"] / joined["cpu_s_prices"],
                           memory_ratio=joined["peak_mib"] / joined["peak_mib_prices"])
    return joined.groupby(["n_customers", "way"], sort=False).agg(
        n_seeds=("seed", "nunique"), median_of_bound=("of_bound", "median"), worst_of_bound=("of_bound", "min"),
        over_stock=("over_stock", "max"), rows_broken=("rows_broken", "max"), cpu_s=("cpu_s", "median"),
        cpu_ratio=("cpu_ratio", "median"), memory_ratio=("memory_ratio", "median")).reset_index()


def growth(table: pd.DataFrame) -> float:
    """Exponent of CPU seconds in customers, prices alone, from the smallest to the largest size."""
    cpu = table[table["way"] == PRICES].groupby("n_customers")["cpu_s"].median()
    return float(np.log(cpu.iloc[-1] / cpu.iloc[0]) / np.log(cpu.index[-1] / cpu.index[0])) if len(cpu) > 1 else np.nan


def recorded() -> pd.DataFrame:
    """Figures of large runs, as recorded on two shared cores; made with `run` at the sizes in the table."""
    return pd.read_csv(store.project() / RECORDED)


def gap_sentence(table: pd.DataFrame) -> str:
    """Say how far prices stay from the bound, and whether any limit was exceeded."""
    own = table[table["way"] == PRICES]
    n_broken = int(own["over_stock"].sum() + own["rows_broken"].sum())
    legal = "no limit is exceeded" if n_broken == 0 else f"{n_broken} limits are EXCEEDED"
    return (f"Prices reach {100 * own['of_bound'].min():.3f} % of the bound in the worst of {len(own)} catalogues "
            f"(median {100 * own['of_bound'].median():.3f} %), and {legal}.")


def naive_sentence(table: pd.DataFrame) -> str:
    """Say what the naive ways lose once they hold the same limits."""
    lost = {way: 100 * table.loc[table["way"] == way, "gap"] for way in (DROPPED, SWAPPED)}
    cut = table.loc[table["way"] == CUT, "over_stock"]
    verbs = ("drops", "swaps")
    said = [f"{part.min():.0f} to {part.max():.0f} % where it {verb}" for part, verb in zip(lost.values(), verbs)]
    return (f"Held to the same limits, first come first served loses {' and '.join(said)} of the bound; filter then cut "
            f"promises up to {int(cut.max()):,} placements that stock does not have.")


def bound_sentence(table: pd.DataFrame) -> str:
    """Say how the bound of prices and its CPU time compare with HiGHS on the whole programme."""
    keys = ["n_customers", "seed"]
    both = table[table["way"] == PRICES].merge(table[table["way"] == RELAXATION], on=keys, suffixes=("", "_highs"))
    if both.empty:
        return "HiGHS was not run on these catalogues."
    apart = (both["bound"] / both["bound_highs"] - 1).abs().max()
    return (f"The bound of prices is within {apart:.0e} of HiGHS's optimum on {len(both)} catalogues, slates included at "
            f"{(both['cpu_s'] / both['cpu_s_highs']).median():.3f} of its CPU time (median).")


def growth_sentence(table: pd.DataFrame) -> str:
    """Say how CPU time grows with customers."""
    sizes = sorted(table.loc[table["way"] == PRICES, "n_customers"].unique())
    if len(sizes) < 2:
        return "One size alone says nothing about growth."
    return f"From {sizes[0]:,} to {sizes[-1]:,} customers, CPU time grows with exponent {growth(table):.2f}."


def _measured(n_customers: int, seed: int, way: str, n_candidates: int) -> dict:
    problem = make_catalogue(n_customers, seed, n_candidates=n_candidates)
    started = time.process_time()
    shown, bound = _decide(problem, way)
    row = {"n_customers": n_customers, "seed": seed, "way": way, "cpu_s": time.process_time() - started, "bound": bound,
           "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)}
    if shown is None:
        return row | dict.fromkeys(["value", "over_stock", "rows_broken", "fill_rate"], np.nan)
    found = naive.compare(problem, {way: shown}).iloc[0]
    return row | {name: found[name] for name in ("value", "over_stock", "rows_broken", "fill_rate")}


def _decide(problem: Problem, way: str) -> tuple[np.ndarray | None, float]:
    if way == PRICES:
        found = solve(problem, method="prices")
        return found.position > 0, found.bound
    if way == RELAXATION:
        return None, relax(problem).bound
    if way not in WAYS:
        raise ValueError(f"unknown way {way!r}; known ways: {list(WAYS)}.")
    shown = naive.top_values(problem) if way == CUT else naive.first_come(problem)
    repair = {DROPPED: naive.made_legal, SWAPPED: naive.mended}.get(way)
    return (shown if repair is None else repair(problem, shown)), np.nan
