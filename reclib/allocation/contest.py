"""Side by side: value, violations, CPU seconds and memory of several ways, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd

from reclib import store
from reclib.allocation import naive
from reclib.allocation.catalogues import Shape, make_catalogue, random_shape
from reclib.allocation.exact import programme, relax
from reclib.allocation.prices import ascend, typical_sizes
from reclib.allocation.pricing import price_rules
from reclib.allocation.problem import Problem
from reclib.allocation.solve import find_prices, solve

PRICES, RELAXATION, INTERIOR = "prices", "HiGHS, no decomposition", "HiGHS, interior point alone"
CUT, FIRST, DROPPED, SWAPPED = "filter then cut", "first come", "first come, dropped", "first come, swapped"
NAIVE, HIGHS = (CUT, FIRST, DROPPED, SWAPPED), (RELAXATION, INTERIOR)
WAYS = (PRICES, *NAIVE, RELAXATION)
USUAL, TIED, RANDOM = "usual", "tied", "random"
RECORDED, RECORDED_PRICES = ("notebooks/benchmarks/allocation_recorded.csv", "notebooks/benchmarks/allocation_prices_recorded.csv")


def run(sizes: Iterable[int], seeds: Iterable[int], *, ways: Iterable[str] = WAYS, shape: str = USUAL,
        n_candidates: int = 100) -> pd.DataFrame:
    """Let every way decide every catalogue, one process at a time.

    Args:
        sizes: numbers of customers.
        seeds: seeds of catalogues.
        ways: names from `WAYS`, or `INTERIOR`, which needs the package highspy (no extra of this project installs it).
        shape: usual, tied (all promotions flip at one price) or random (each seed draws a shape of its own).
        n_candidates: candidates a customer; of no use to random shapes.

    Returns:
        One row a (size, seed, shape, way): bound (certified by prices, or the optimum of the relaxation), cpu_s
        (deciding alone), peak_mib (the whole process, its tables included), value and violations as `naive.audited`, and
        of_bound and gap against the best bound known of that catalogue. The relaxation has a bound, but no slates.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        tasks = [(n_customers, seed, shape, way, n_candidates) for n_customers in sizes for seed in seeds for way in ways]
        return _against_bound(pd.DataFrame(list(pool.map(_measured, *zip(*tasks)))))


def _against_bound(rows: pd.DataFrame) -> pd.DataFrame:
    best = rows.groupby(["n_customers", "seed", "shape"])["bound"].transform("min")
    return rows.assign(of_bound=rows["value"] / best, gap=1 - rows["value"] / best)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """One row a way: median and worst share of the bound, violations, and CPU and memory as ratios to prices."""
    keys = ["n_customers", "seed", "shape"]
    own = table.loc[table["way"] == PRICES, [*keys, "cpu_s", "peak_mib"]]
    joined = table.merge(own, on=keys, how="left", suffixes=("", "_prices"), validate="many_to_one")
    joined = joined.assign(cpu_ratio=joined["cpu_s"] / joined["cpu_s_prices"],
                           memory_ratio=joined["peak_mib"] / joined["peak_mib_prices"])
    return joined.groupby(["n_customers", "shape", "way"], sort=False).agg(
        n_seeds=("seed", "nunique"), median_of_bound=("of_bound", "median"), worst_of_bound=("of_bound", "min"),
        over_stock=("over_stock", "max"), over_slate=("over_slate", "max"), rows_broken=("rows_broken", "max"), cpu_s=("cpu_s", "median"),
        cpu_ratio=("cpu_ratio", "median"), peak_mib=("peak_mib", "max"), memory_ratio=("memory_ratio", "median")).reset_index()


def growth(table: pd.DataFrame) -> pd.Series:
    """Median CPU seconds by number of customers, prices alone."""
    return table[(table["way"] == PRICES) & (table["shape"] == USUAL)].groupby("n_customers")["cpu_s"].median()


def recorded() -> pd.DataFrame:
    """Figures of large runs, as recorded on two shared cores: made with `run` at the sizes, seeds, shapes and ways in it."""
    return _against_bound(pd.read_csv(store.project() / RECORDED))


def recorded_prices() -> pd.DataFrame:
    """What `price_dozen` gave at the sizes and seeds in the table, as recorded on two shared cores."""
    return pd.read_csv(store.project() / RECORDED_PRICES)


def price_dozen(n_customers: int, seed: int) -> pd.DataFrame:
    """Price a dozen rules by warm prices, and by solving each variant's bound anew.

    The rules are a budget, a margin floor, two exposure floors, a quota and seven filters of 3 to 5 % of items or pairs.
    Solved anew means from prices of zero, and then descended on; the lowest bound known of a problem is what counts.

    Returns:
        One row a rule: n_customers, seed, rule, change and anew (what lifting it changes, warm and anew), resolution, error
        and resolution_share (both as a share of the base's value), and what all prices cost, warm and anew, in CPU seconds
        of one whole solve (`warm_solves`, `anew_solves`).
    """
    base, variants = dozen(n_customers, seed)
    started = time.process_time()
    decided = solve(base, method="prices")
    solved = time.process_time()
    priced = price_rules(base, variants, start=decided)
    warm = time.process_time()
    bounds = {name: _anew(variant, seed) for name, variant in variants.items()}
    least, one = min(_anew(base, seed), priced.bound), solved - started
    anew, table = time.process_time(), priced.table
    change = np.minimum(table["variant"].map(bounds), table["bound"]) - least
    return pd.DataFrame({
        "n_customers": n_customers, "seed": seed, "rule": table["variant"], "change": table["change"], "anew": change,
        "resolution": table["resolution"], "error": (table["change"] - change).abs() / decided.value,
        "resolution_share": table["resolution"] / decided.value,
        "warm_solves": (warm - solved) / one, "anew_solves": (anew - warm) / one})


def _anew(problem: Problem, seed: int) -> float:
    sizes = typical_sizes(problem)
    found = find_prices(problem, sizes, np.random.default_rng(seed))
    return ascend(problem, found.prices, sizes=sizes, n_iterations=60, rate=0.3, decay=0.95).bound


def dozen(n_customers: int, seed: int) -> tuple[Problem, dict[str, Problem]]:
    """A catalogue under a dozen rules, and what it is without each; see `price_dozen`."""
    whole, rng = make_catalogue(n_customers, seed), np.random.default_rng(seed)
    shares = rng.uniform(0.03, 0.05, 7)
    refused = [(rng.random(whole.n_items) < share)[whole.item] if at < 4 else rng.random(whole.item.shape, dtype="float32") < share
               for at, share in enumerate(shares)]
    n_refusing = np.sum(refused, axis=0, dtype="int8")
    base = replace(whole, value=np.where(n_refusing > 0, -np.inf, whole.value).astype("float32"))
    freed = {f"filter_{at + 1}": replace(base, value=np.where(n_refusing > one, -np.inf, whole.value).astype("float32"))
             for at, one in enumerate(refused)}
    return base, {name: base.without_row(name) for name in [*base.row_names, "category"]} | freed


def price_summary(table: pd.DataFrame) -> pd.DataFrame:
    """One row a catalogue: rules, worst error and largest resolution (shares of value), errors beyond it, cost in solves."""
    table = table.assign(is_beyond=table["error"] > table["resolution_share"])
    return table.groupby(["n_customers", "seed"], as_index=False, sort=False).agg(
        n_rules=("rule", "nunique"), worst_error=("error", "max"), largest_resolution=("resolution_share", "max"),
        n_beyond=("is_beyond", "sum"), warm_solves=("warm_solves", "first"), anew_solves=("anew_solves", "first"))


def price_sentence(table: pd.DataFrame) -> str:
    """Say what pricing a dozen rules costs in whole solves, and how far it is from solving each anew."""
    told = price_summary(table)
    return (f"Pricing {told['n_rules'].max()} rules costs {told['warm_solves'].max():.1f} solves at most ({told['anew_solves'].max():.1f} anew); "
            f"over {len(told)} catalogues the worst price is {100 * told['worst_error'].max():.3f} % of value from solving anew, and "
            f"{told['n_beyond'].sum()} of {len(table)} prices are further from it than the resolution printed beside them "
            f"(at most {100 * told['largest_resolution'].max():.3f} %).")


def gap_sentence(table: pd.DataFrame) -> str:
    """Say how far prices stay from the bound, and whether any limit was exceeded."""
    own = table[table["way"] == PRICES]
    n_broken = int(own[["over_stock", "over_slate", "rows_broken"]].to_numpy().sum())
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
    keys = ["n_customers", "seed", "shape"]
    both = table[table["way"] == PRICES].merge(table[table["way"].isin(HIGHS)], on=keys, suffixes=("", "_highs"))
    if both.empty:
        return "HiGHS was not run on these catalogues."
    apart = (both["bound"] / both["bound_highs"] - 1).abs().max()
    shares = (both["cpu_s"] / both["cpu_s_highs"]).groupby(both["n_customers"]).max()
    said = " and ".join(f"{share:.3f} of its CPU time at {size:,} customers" for size, share in shares.items())
    return f"The bound of prices is within {apart:.0e} of HiGHS's optimum on {len(both)} catalogues, slates included at no more than {said}."


def growth_sentence(table: pd.DataFrame) -> str:
    """Say how CPU time grows with customers, as an exponent from the smallest to the largest size."""
    cpu = growth(table)
    if len(cpu) < 2:
        return "One size alone says nothing about growth."
    steps = np.diff(np.log(cpu.to_numpy())) / np.diff(np.log(cpu.index.to_numpy(dtype=float)))
    exponent = np.log(cpu.iloc[-1] / cpu.iloc[0]) / np.log(cpu.index[-1] / cpu.index[0])
    steepest = f", {steps.max():.2f} between the two sizes where it grows fastest" if len(steps) > 1 else ""
    return f"From {cpu.index[0]:,} to {cpu.index[-1]:,} customers, CPU time grows with exponent {exponent:.2f}{steepest}."


def _measured(n_customers: int, seed: int, shape: str, way: str, n_candidates: int) -> dict:
    shapes = {USUAL: Shape(n_candidates), TIED: Shape(n_candidates, is_tied=True), RANDOM: random_shape(seed)}
    problem = make_catalogue(n_customers, seed, shape=shapes[shape])
    started = time.process_time()
    shown, bound = _decide(problem, way)
    row = {"n_customers": n_customers, "seed": seed, "shape": shape, "way": way, "cpu_s": time.process_time() - started, "bound": bound,
           "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)}
    if shown is None:
        return row | dict.fromkeys(["value", "over_stock", "over_slate", "rows_broken", "fill_rate"], np.nan)
    return row | naive.audited(problem, shown)


def _decide(problem: Problem, way: str) -> tuple[np.ndarray | None, float]:
    if way == PRICES:
        found = solve(problem, method="prices")
        return found.position > 0, found.bound
    if way in HIGHS:
        return None, relax(problem).bound if way == RELAXATION else _interior_point(problem)
    if way not in WAYS:
        raise ValueError(f"unknown way {way!r}; known ways: {list(WAYS)}.")
    shown = naive.top_values(problem) if way == CUT else naive.first_come(problem)
    repair = {DROPPED: naive.made_legal, SWAPPED: naive.mended}.get(way)
    return (shown if repair is None else repair(problem, shown)), np.nan


def _interior_point(problem: Problem) -> float:
    """The relaxation's optimum by HiGHS's interior point method without crossover, which scipy has no switch for."""
    import highspy

    lp, model, solver = programme(problem), highspy.HighsLp(), highspy.Highs()
    model.num_col_, model.num_row_ = len(lp.value), len(lp.limit)
    model.col_cost_, model.col_lower_, model.col_upper_ = -lp.value, np.zeros(len(lp.value)), np.ones(len(lp.value))
    model.row_lower_, model.row_upper_ = np.full(len(lp.limit), -highspy.kHighsInf), lp.limit
    matrix = model.a_matrix_
    matrix.format_ = highspy.MatrixFormat.kRowwise
    matrix.start_, matrix.index_, matrix.value_ = lp.matrix.indptr, lp.matrix.indices, lp.matrix.data
    for name, choice in (("output_flag", False), ("solver", "ipm"), ("run_crossover", "off")):
        solver.setOptionValue(name, choice)
    solver.passModel(model)
    solver.run()
    return -float(solver.getInfo().objective_function_value)
