"""Did the experiment of a run tell the truth? The run's policies launched to everybody, held against its readout.

Like `truth`, this is for pages that hold an estimate against the truth; no layer may import it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from reclib.sources.storefront import totals, truth


def worlds(decisions: pd.DataFrame, source: dict, *, n_days: int = 28) -> dict[str, pd.DataFrame]:
    """Launch each policy of a run to everybody: its slates on every visit, with the same luck.

    Args:
        decisions: `decisions`; rows with a position are the slates.
        source: facts of the source.
        n_days: days that the launch is lived.

    Returns:
        Outcomes of every customer by policy, as `truth.true_outcomes` makes them; empty where the source has no truth.
    """
    if not source.get("answers"):
        return {}
    shown = decisions[decisions["position"].notna()].astype({"position": "int64"})
    return {
        str(policy): truth.true_outcomes(_numbered(slates), params=source["params"], n_days=n_days)
        for policy, slates in shown.groupby("policy", observed=True)
    }


def compare(readout: pd.DataFrame, lived: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Hold the lines that carry the readout's decision against the true effects of the launch.

    Returns:
        metric, arm, role, truth (difference of the two launches), effect, effect_low, effect_high, the same four as shares
        of the control (true_lift, lift, lift_low, lift_high), and holds_truth; only metrics and arms that have a truth.
    """
    known = readout["metric"].isin([*totals.METRICS, *totals.RATIOS]) & readout["is_primary"]
    lines = readout[known & readout["arm"].isin(list(lived)) & readout["control"].isin(list(lived))]
    pairs = [(truth.value_of(lived[row.arm], row.metric), truth.value_of(lived[row.control], row.metric))
             for row in lines.itertuples()]
    new, old = (np.array([pair[side] for pair in pairs], dtype=float) for side in (0, 1))
    told = ["metric", "arm", "role", "effect", "effect_low", "effect_high", "lift", "lift_low", "lift_high"]
    base = np.where(old == 0, np.nan, old)
    found = lines[told].assign(truth=new - old, true_lift=new / base - 1)
    return found.assign(holds_truth=found["truth"].between(found["effect_low"], found["effect_high"])).reset_index(drop=True)


def sentence(compared: pd.DataFrame) -> str:
    """Say how many intervals hold the truth, and which do not."""
    if compared.empty:
        return "This run has no experiment whose truth is known: only the storefront has one."
    missed = compared.loc[~compared["holds_truth"], "metric"].tolist()
    rest = f"; not those of {', '.join(missed)}" if missed else ""
    held = len(compared) - len(missed)
    return f"{held} of {len(compared)} intervals of the readout hold the true effect of the launch{rest}."


def success_sentence(compared: pd.DataFrame) -> str:
    """Say of each success metric what was estimated and what is true."""
    told = [
        f"{row.metric} was read as {row.lift:+.1%} [{row.lift_low:+.1%}, {row.lift_high:+.1%}] and is truly {row.true_lift:+.1%}"
        for row in compared[compared["role"] == "success"].itertuples()
    ]
    return f"Of what decides, {'; '.join(told)}." if told else "No success metric of this run has a known truth."


def _numbered(slates: pd.DataFrame) -> pd.DataFrame:
    return slates.reset_index(drop=True).assign(decision_id=np.arange(len(slates)))
