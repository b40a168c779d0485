"""One seed could be luck: the whole calibration over several seeds.

It is too dear for every run, so what it gave is kept beside the page that shows it:
`python -m reclib.experiments.recorded FILE`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from reclib import store
from reclib.experiments import calibration

SEEDS = (1, 2, 3, 4, 5)
N_SIMULATIONS = 2_000
CALIBRATION = "notebooks/proofs/calibration_recorded.csv"


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


if __name__ == "__main__":
    record(sys.argv[1])
