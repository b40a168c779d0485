"""The funnel: from candidates to what is shown, each step with what it removed; it reconciles to the row."""

from __future__ import annotations

import numpy as np
import pandas as pd

from reclib.rules.fields import n_distinct
from reclib.rules.kinds import PRECEDENCE
from reclib.rules.plan import Case, Plan

_AFTER = {"capped": "within slate rules", "lost_to_allocation": "within shared limits"}


def funnel(case: Case, plan: Plan, *, candidates: pd.DataFrame | None = None) -> pd.DataFrame:
    """Count customers, items and pairs after each layer of one policy.

    Args:
        case: made by `prepare`.
        plan: the policy that counts.
        candidates: the `candidates` table; its distinct pairs are the first layer.

    Returns:
        A `funnel` table in order, with `place`, `n_removed` and `n_added` (pairs since the layer before), so that
        `n_pairs` is the previous `n_pairs` - `n_removed` + `n_added`.
    """
    steps = []
    if candidates is not None:
        steps.append(_counted_candidates(candidates))
    left = plan.is_ranked & ~plan.is_added
    steps.append(_counted(case, "ranked", left))
    if plan.is_ranked.sum() > left.sum():
        left = plan.is_ranked
        steps.append(_counted(case, "pinned added", left))
    for kind in PRECEDENCE:
        mine = [place for place, rule in enumerate(case.rules) if rule.kind == kind and rule.id in case.refused]
        if mine:
            left = left & ~np.isin(plan.first, mine)
            steps.append(_counted(case, f"after {kind}", left))
    steps.append(_counted(case, "allowed", left))
    for state, name in _AFTER.items():
        left = left & (plan.state != state)
        steps.append(_counted(case, name, left))
    steps.append(_counted(case, "shown", left & (plan.state != "below_cut")))
    return _reconciled(pd.DataFrame(steps))


def reconcile(table: pd.DataFrame) -> str:
    """Say whether every layer of a `funnel` adds up, in a sentence.

    Raises:
        ValueError: a layer does not; the sentence names it.
    """
    ordered = table.sort_values("place", ignore_index=True)
    expected = ordered["n_pairs"].shift(fill_value=0) - ordered["n_removed"] + ordered["n_added"]
    wrong = ordered[expected != ordered["n_pairs"]]
    if len(wrong):
        raise ValueError(f"funnel: layer {wrong['layer'].iloc[0]!r} does not add up to {wrong['n_pairs'].iloc[0]:,} pairs.")
    first, last = ordered.iloc[0], ordered.iloc[-1]
    return (f"Of {first['n_pairs']:,} {first['layer'].removesuffix('s')} pairs {last['n_pairs']:,} are shown, to {last['n_customers']:,} of "
            f"{first['n_customers']:,} customers; every layer reconciles to the row.")


def _counted(case: Case, layer: str, is_left: np.ndarray) -> dict:
    return {"layer": layer, "n_customers": n_distinct(case.pairs.customer[is_left]),
            "n_items": n_distinct(case.pairs.item[is_left]), "n_pairs": int(is_left.sum())}


def _counted_candidates(candidates: pd.DataFrame) -> dict:
    pairs = candidates[["customer_id", "item_id"]].drop_duplicates()
    return {"layer": "candidates", "n_customers": int(pairs["customer_id"].nunique()),
            "n_items": int(pairs["item_id"].nunique()), "n_pairs": len(pairs)}


def _reconciled(steps: pd.DataFrame) -> pd.DataFrame:
    change = steps["n_pairs"] - steps["n_pairs"].shift(fill_value=0)
    return steps.assign(place=np.arange(1, len(steps) + 1), n_removed=np.maximum(-change, 0),
                        n_added=np.maximum(change, 0))
