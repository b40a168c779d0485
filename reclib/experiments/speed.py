"""How long does a readout take, beside the ordinary way in pandas? Both read the same file and must agree."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from reclib.experiments import engine, readout
from reclib.experiments.plan import Plan, parse


def plan_of(n_metrics: int) -> Plan:
    """A plan of so many metrics, the last two of them guardrails, with one covariate."""
    names = [f"metric_{at}" for at in range(n_metrics)]
    roles = {name: {"role": "guardrail", "margin": 0.05} if name in names[-2:] else {"role": "success"} for name in names}
    return parse({"experiment_id": "speed", "control": "old", "expected_shares": {"old": 0.5, "new": 0.5},
                  "metrics": roles, "covariates": ["pre_revenue"]})


def make_units(path: Path, *, n_customers: int, n_metrics: int) -> str:
    """Write a Parquet file of customers, made by hashing their number: the same on every machine.

    Returns:
        A sentence that says how large it is.
    """
    parts = [f"CASE WHEN hash(i, {at}) % 1000 < {60 + 10 * at} THEN round(exp(1.5 + (hash(i, {at}, 7) % 100000) / 33333.0), 2) "
             f"ELSE 0 END AS metric_{at}" for at in range(n_metrics)]
    with engine.connect() as made:
        made.execute(f"COPY (SELECT i AS customer_id, CASE WHEN hash(i) % 2 = 0 THEN 'old' ELSE 'new' END AS arm, "
                     f"{', '.join(parts)}, (hash(i, 99) % 100000) / 1000.0 AS pre_revenue FROM range({int(n_customers)}) t(i)) "
                     f"TO '{path}' (FORMAT parquet)")
    return f"{n_customers:,} customers with {n_metrics} metrics and a covariate: {path.stat().st_size / 2**20:,.0f} MB."


def compare(path: Path, plan: Plan) -> pd.DataFrame:
    """Time the readout from the data engine, again from its sufficient statistics, and the ordinary way.

    Returns:
        way, cpu_seconds, seconds, peak_gb (of the process so far: the ordinary way comes last), ratio (CPU, to the
        readout from the file) and effect_gap (largest difference of an effect to the readout, in standard errors).
    """
    stats: dict = {}
    ways: dict[str, Callable[[], pd.DataFrame]] = {
        "readout from the file": lambda: readout.from_statistics(stats.setdefault("made", engine.from_parquet(path, plan)), plan),
        "readout from kept statistics": lambda: readout.from_statistics(stats["made"], plan),
        "pandas and scipy, adjusted": lambda: ordinary(path, plan),
    }
    rows, found = [], {}
    for way, make in ways.items():
        cpu, wall = time.process_time(), time.perf_counter()
        found[way] = make()
        rows.append({"way": way, "cpu_seconds": time.process_time() - cpu, "seconds": time.perf_counter() - wall,
                     "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20})
    table = pd.DataFrame(rows)
    own = found["readout from the file"].query("is_primary").set_index("metric")
    gaps = [float((abs(each.set_index("metric").query("is_primary")["effect"] - own["effect"]) / own["se"]).max()) for each in found.values()]
    return table.assign(ratio=table["cpu_seconds"] / table["cpu_seconds"].iloc[0], effect_gap=np.round(gaps, 9))


def ordinary(path: Path, plan: Plan) -> pd.DataFrame:
    """What an analyst writes: read all rows, adjust each metric by its covariate, and test it."""
    from scipy.stats import ttest_ind_from_stats

    units = pd.read_parquet(path)
    rows = []
    for metric in plan.metrics:
        before = units["pre_revenue"]
        slope = units[metric.name].cov(before) / before.var()
        adjusted = units[metric.name] - slope * (before - before.mean())
        seen = adjusted.groupby(units["arm"]).agg(["mean", "std", "count"])
        arm, control = seen.loc[plan.arms[0]], seen.loc[plan.control]
        test = ttest_ind_from_stats(*arm, *control, equal_var=False)
        rows.append({"metric": metric.name, "effect": arm["mean"] - control["mean"], "p_value": test.pvalue, "is_primary": True})
    return pd.DataFrame(rows)


def sentence(table: pd.DataFrame, n_customers: int) -> str:
    """Say how the ways compare, as ratios of CPU time in the same run."""
    own = table.set_index("way")
    slow = own.loc["pandas and scipy, adjusted"]
    fast = own.loc["readout from the file"]
    return (f"For {n_customers:,} customers the readout from the file took {fast['cpu_seconds']:.1f} CPU seconds and "
            f"{fast['peak_gb']:.1f} GB; pandas took {slow['ratio']:.1f} times as much CPU and {slow['peak_gb']:.1f} GB; "
            f"from kept statistics it took {own.loc['readout from kept statistics', 'cpu_seconds']:.3f} seconds.")
