"""Can the log carry the question? Diagnostics of weights, the gate, and what the log never showed, by its cause."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from reclib.offpolicy.logs import context_of

USABLE, WEAK, REFUSE = "usable", "weak", "refuse"
ENOUGH = 60
DIAGNOSTICS = ["ess", "max_weight", "mean_weight", "unsupported_share"]


def diagnose(weight: np.ndarray, reward: np.ndarray, *, unsupported: float = 0.0,
             count: np.ndarray | int = 1) -> dict[str, np.ndarray]:
    """Say how much of the log carries the answer, along the last axis.

    Args:
        count: how many slots each weight and reward stands for.

    Returns:
        ess (effective sample size), mean_weight, max_weight, mean_weight_z (its distance from one in standard
        errors), n_positives (effective number of weighted rewards), largest_share (of one reward in all), and
        unsupported_share as given.
    """
    n = np.broadcast_to(count, weight.shape[-1:]).sum()
    earned = weight * np.abs(reward)
    with np.errstate(divide="ignore", invalid="ignore"):
        mass = (count * weight).sum(axis=-1)
        mean = mass / n
        error = np.sqrt((count * (weight - mean[..., None]) ** 2).sum(axis=-1) / (n - 1) / n)
        distance = mean - 1
        z = np.where(error > 0, distance / error, np.where(np.abs(distance) < 1e-9, 0.0, np.inf))
        total, squares = (count * earned).sum(axis=-1), (count * earned**2).sum(axis=-1)
        return {
            "ess": np.nan_to_num(mass**2 / (count * weight**2).sum(axis=-1)),
            "mean_weight": mean, "max_weight": weight.max(axis=-1), "mean_weight_z": z,
            "n_positives": np.nan_to_num(total**2 / squares), "largest_share": np.nan_to_num(earned.max(axis=-1) / total, nan=1.0),
            "unsupported_share": np.broadcast_to(unsupported, np.shape(total)),
        }


def gate(found: Mapping[str, float]) -> tuple[str, str]:
    """Decide whether the log can carry the question: usable, weak or refuse, and why.

    Usable: at least 60 effective rewards (of the logs near that line more are lucky than not, so that what passes is
    overstated by more the lower it lies), none of them above 5 % of all, an effective sample of 100 slots, a mean
    weight within 3 standard errors of one, at most 1 % of the target without support. Refuse: fewer than 10 rewards
    or slots, a mean weight further off, one reward that is a third of all, or more than 10 % without support. Weak:
    between.
    """
    z, positives = float(found["mean_weight_z"]), float(found["n_positives"])
    share, unsupported, ess = (float(found[name]) for name in ("largest_share", "unsupported_share", "ess"))
    if unsupported > 0.10:
        return REFUSE, f"the log never shows {100 * unsupported:.1f} % of what the policy would show"
    if abs(z) > 3:
        mean = float(found["mean_weight"])
        why = f"the log had no chance of showing {100 * (1 - mean):.0f} % of what the policy shows, or its" if mean < 1 else "its"
        return REFUSE, f"the mean weight is {mean:.3g} where it should be 1: {why} probabilities are not those of what was shown"
    if min(positives, ess) < 10:
        return REFUSE, f"the answer rests on {positives:.1f} effective rewards of {ess:.1f} effective slots, fewer than 10"
    if share > 1 / 3:
        return REFUSE, f"a single reward carries {100 * share:.0f} % of the value"
    if positives < ENOUGH or share > 0.05 or unsupported > 0.01 or ess < 100:
        return WEAK, (f"it rests on {positives:.1f} effective rewards of {ess:,.0f} effective slots, the largest reward "
                      f"carries {100 * share:.1f} %, {100 * unsupported:.1f} % is without support: the interval may be too narrow")
    return USABLE, f"it rests on {positives:.0f} effective rewards and the mean weight is {float(found['mean_weight']):.3f}"


def unsupported_mass(log: pd.DataFrame, target: pd.DataFrame, reasons: pd.DataFrame | None = None) -> pd.DataFrame:
    """What the target would show and the log never does, over the contexts of the log.

    Where the target depends on customers, support is judged by item alone: that a customer never saw an item proves
    nothing, since each is seen seldom; what is then still missing shows in the mean weight.

    Args:
        log: the log.
        target: p_target by item_id and further columns.
        reasons: rule_id by item_id: which rule keeps the item out of the log, where known.

    Returns:
        One row an item (or a rule, where reasons are given), largest first: item_id or rule_id, share of all mass.
    """
    keys = [name for name in target.columns if name != "p_target"]
    context = context_of(target)
    judged = ["item_id"] if "customer_id" in keys else keys
    shown = log[judged].drop_duplicates().assign(is_shown=True)
    rows = log.groupby(context).size().rename("n").reset_index() if context else pd.DataFrame({"n": [len(log)]})
    spread = target.merge(rows, on=context, validate="many_to_one") if context else target.merge(rows, how="cross")
    spread = spread.merge(shown, on=judged, how="left", validate="many_to_one")
    mass = (spread["p_target"] * spread["n"])
    lost = spread[spread["is_shown"].isna()].assign(share=mass / max(rows["n"].sum(), 1))
    by = "item_id"
    if reasons is not None:
        by, first = "rule_id", reasons.drop_duplicates("item_id")[["item_id", "rule_id"]]
        lost = lost.merge(first, on="item_id", how="left", validate="many_to_one").fillna({"rule_id": "no rule known"})
    table = lost.groupby(by)["share"].sum().reset_index()
    return table[table["share"] > 0].sort_values(["share", by], ascending=[False, True], ignore_index=True)


def mass_by_rule(decisions: pd.DataFrame | None) -> pd.DataFrame:
    """What a policy would show before rules and no log of it after rules can support, by the rule that refused it.

    Args:
        decisions: `decisions`, or None. A policy's slate before rules is its first k ranks, k being its largest position.

    Returns:
        policy, rule_id, share (of the policy's slots before rules), largest first; empty without decisions.
    """
    if decisions is None or decisions["position"].isna().all():
        return pd.DataFrame({"policy": pd.Series(dtype="str"), "rule_id": pd.Series(dtype="str"), "share": pd.Series(dtype="float64")})
    k = decisions.groupby("policy")["position"].transform("max")
    before = decisions[decisions["rank"] <= k]
    lost = before[before["rule_id"].notna()].groupby(["policy", "rule_id"], observed=True).size().rename("n").reset_index()
    sizes = before.groupby("policy").size()
    shares = lost.assign(share=lost["n"] / lost["policy"].map(sizes)).drop(columns="n")
    return shares.sort_values(["policy", "share", "rule_id"], ascending=[True, False, True], ignore_index=True)


def mass_sentence(table: pd.DataFrame) -> str:
    """Say how much of each policy the rules leave without support, and which rule takes most."""
    if table.empty:
        return "No decisions are here, or no rule refused what a policy would have shown."
    parts = [f"{policy} loses {100 * own['share'].sum():.1f} % of its slots to rules, most of them to {own['rule_id'].iloc[0]}"
             for policy, own in table.groupby("policy", sort=True)]
    return "; ".join(parts) + ": what is valued is the policy after rules, with the probability of what was finally shown."
