"""One seed could be luck: the whole calibration over several seeds, and the verdicts of several shops.

Both are too dear for every run, so what they gave is kept beside the pages that show it:
`python -m reclib.experiments.recorded calibration FILE`, and, after runs of `verdicts` with other seeds,
`python -m reclib.experiments.recorded verdicts REPORTS FILE`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from reclib import store
from reclib.experiments import calibration

SEEDS = (1, 2, 3, 4, 5)
N_SIMULATIONS = 2_000
CALIBRATION = "notebooks/proofs/calibration_recorded.csv"
VERDICTS = "notebooks/benchmarks/verdicts_recorded.csv"
VERDICT_FACTS = "shop_verdict"


def record(path: str | Path, *, seeds: tuple[int, ...] = SEEDS, n_simulations: int = N_SIMULATIONS) -> pd.DataFrame:
    """Calibrate with each seed and write all rates as CSV, seed by seed."""
    parts = []
    for seed in seeds:
        rates = calibration.calibrate(n_simulations, np.random.default_rng(seed))
        parts.append(rates[["check", "scenario", "n_simulations", "rate", "is_accepted"]].assign(seed=seed))
        pd.concat(parts).round(6).to_csv(path, index=False)
    return pd.concat(parts, ignore_index=True)


def recorded() -> pd.DataFrame:
    """What `record` gave: check, scenario, n_simulations, rate, is_accepted, seed."""
    return pd.read_csv(store.project() / CALIBRATION)


def pooled(table: pd.DataFrame) -> pd.DataFrame:
    """All seeds together, rate by rate.

    Returns:
        check, scenario, n_simulations (of all seeds), rate, lowest and highest (of a seed), n_outside (seeds outside their
        band).
    """
    hits = table.assign(hits=table["rate"] * table["n_simulations"])
    found = hits.groupby(["check", "scenario"], sort=False).agg(
        n_simulations=("n_simulations", "sum"), hits=("hits", "sum"), lowest=("rate", "min"), highest=("rate", "max"),
        n_outside=("is_accepted", lambda accepted: int((~accepted).sum()))).reset_index()
    return found.assign(rate=found["hits"] / found["n_simulations"])[
        ["check", "scenario", "n_simulations", "rate", "lowest", "highest", "n_outside"]]


def sentence(table: pd.DataFrame) -> str:
    """Say how many rates of all seeds lay in their band, which did not, and how far the plain coverage moved."""
    outside = table[~table["is_accepted"]]
    rates = pooled(table)
    covered = rates[rates["check"].str.startswith("coverage")]
    names = "; ".join(f"{row.check}, {row.scenario}, seed {row.seed}: {100 * row.rate:.2f} %" for row in outside.itertuples())
    return (f"Over {table['seed'].nunique()} seeds, {len(table) - len(outside)} of {len(table)} error rates lay in their band"
            f"{f'; outside: {names}' if names else ''}. All seeds together, intervals of 95 % held the truth in "
            f"{100 * covered['rate'].min():.2f} to {100 * covered['rate'].max():.2f} % of {int(covered['n_simulations'].min()):,} experiments "
            "or more each.")


def verdict_rows(compared: pd.DataFrame, verdict: dict, *, seed: int) -> dict:
    """One shop as a record for `gather`: its seed, its verdict, and each metric as read beside the truth of the launch."""
    columns = ["metric", "role", "truth", "effect", "effect_low", "effect_high", "holds_truth"]
    return {"seed": seed, "verdict": verdict["verdict"], "metrics": compared[columns].round(6).to_dict("records")}


def gather(reports: str | Path) -> pd.DataFrame:
    """Put the records of all runs in a folder together: one row a shop and metric, by seed."""
    paths = [path for path in Path(reports).glob(f"*/{VERDICT_FACTS}.json") if not path.parent.is_symlink()]
    found = [json.loads(path.read_text()) for path in paths]
    rows = [row | {"seed": shop["seed"], "verdict": shop["verdict"]} for shop in found for row in shop["metrics"]]
    return pd.DataFrame(rows).sort_values(["seed", "metric"], ignore_index=True)


def verdicts() -> pd.DataFrame:
    """What `gather` gave of shops at the default size: metric, role, truth, effect with its interval, holds_truth, seed, verdict."""
    return pd.read_csv(store.project() / VERDICTS)


def by_metric(shops: pd.DataFrame) -> pd.DataFrame:
    """How often each metric's interval held the truth of its shop.

    Returns:
        metric, role, n_shops, true_mean, read_mean, spread (standard deviation of read less true), n_held, n_worse (shops in
        which the truth was below zero).
    """
    known = shops.assign(error=shops["effect"] - shops["truth"], is_below=shops["truth"] < 0)
    return known.groupby(["role", "metric"], sort=False).agg(
        n_shops=("seed", "nunique"), true_mean=("truth", "mean"), read_mean=("effect", "mean"), spread=("error", "std"),
        n_held=("holds_truth", "sum"), n_worse=("is_below", "sum")).reset_index()


def verdict_sentence(shops: pd.DataFrame, metric: str) -> str:
    """Say how the verdicts fell, whether they were right about the metric that pays, and how often intervals held the truth."""
    each = shops[shops["metric"] == metric]
    fell = ", ".join(f"{word} {count}" for word, count in each["verdict"].value_counts().items())
    shipped = each[each["verdict"] == "SHIP"]
    n_held = int(shops["holds_truth"].sum())
    return (f"Verdicts of {len(each)} shops: {fell}. What was shipped truly raised {metric} in {int((shipped['truth'] > 0).sum())} of "
            f"{len(shipped)}. {n_held} of {len(shops)} intervals of 95 % "
            f"({100 * n_held / len(shops):.1f} %) held the truth of the launch.")


if __name__ == "__main__":
    what, *paths = sys.argv[1:]
    if what == "calibration":
        record(paths[0])
    else:
        gather(paths[0]).to_csv(paths[1], index=False)
