"""Diversity, novelty and repetition as controls: what each step of them costs in value.

Each step is decided with the rule of kind `diversity` that a file would write. Filters and slate quotas hold along the
whole curve; shared limits do not, so that the curve shows the control alone.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from reclib.rules import controls, slates
from reclib.rules import fields as fields_of
from reclib.rules.kinds import Diversity
from reclib.rules.pairs import Pairs
from reclib.rules.plan import Case, Plan, sample
from reclib.rules.shared import groups

WEIGHTS = (0.0, 0.1, 0.2, 0.4, 0.7, 1.0)
N_WEEKS = 9
CONTROLS = {
    "diversity": ("mmr", "different kinds in a slate"), "novelty": ("novelty", "bits of surprise an item"),
    "repetition": ("repetition", "slots seen this week (%)"),
}


def curves(case: Case, plan: Plan, *, weights: tuple[float, ...] = WEIGHTS, fields: tuple[str, ...] = ("category", "brand"),
           n_sample: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Turn each control up step by step, on a sample of customers.

    Args:
        case: made by `decide.prepare`.
        plan: the policy whose slates are turned.
        weights: steps, from 0 (off) to 1.
        fields: item fields that tell kinds apart; those that the source lacks are left out.
        n_sample: customers of the sample.
        seed: random seed of the sample.

    Returns:
        One row a control and weight: control, weight, value (of the priority as ranked), value_share (of weight 0),
        measure, and what the measure counts. Controls that the source cannot feed have no rows.
    """
    kept = np.isin(case.pairs.customer, sample(case, n_sample, seed))
    pairs, worth = case.pairs.take(kept), plan.priority[kept]
    score = np.where(np.isfinite(plan.score), plan.score + plan.penalty, -np.inf)[kept]
    known = [name for name in fields if name in case.world.items.columns]
    lines = []
    for control, (method, counts) in CONTROLS.items():
        own = {"fields": known} if method == "mmr" else {}
        rules = [Diversity(kind="diversity", id=control, owner="page", reason="a step", method=method, weight=weight, **own)
                 for weight in weights] if known or method != "mmr" else []
        if any(fields_of.fault(case.world, name) for rule in rules for name in rule.needs):
            continue
        for rule in rules:
            shown = _shown(rule, case, plan, pairs, score)
            lines.append({"control": control, "weight": rule.weight, "value": round(float(worth[shown].sum()), 6),
                          "measure": round(_measure(rule, pairs.take(shown)), 6), "counts": counts})
    table = pd.DataFrame(lines, columns=["control", "weight", "value", "measure", "counts"])
    start = table.groupby("control")["value"].transform("first")
    return table.assign(value_share=(table["value"] / start.where(start > 0)).round(6))


def _shown(rule: Diversity, case: Case, plan: Plan, pairs: Pairs, score: np.ndarray) -> np.ndarray:
    """Which pairs are shown where the control, the filters and the quotas are all that holds."""
    lost = controls.taken([rule], pairs, score, k=case.k).get(rule.id, 0.0)
    turned = np.where(np.isfinite(score), np.round(np.maximum(score - lost, 1e-9), 9), -np.inf)
    frame = pairs.frame
    return frame.of_pairs(slates.greedy(frame.item, slates.laid_out(frame, turned, -np.inf), plan.problem.quotas, case.k)) > 0


def _measure(rule: Diversity, shown: Pairs) -> float:
    if not len(shown):
        return 0.0
    if rule.method == "mmr":
        kind = pd.Series(groups(shown.world, rule.fields[0])[shown.item])
        return float(kind[kind >= 0].groupby(shown.customer[kind >= 0]).nunique().sum() / fields_of.n_distinct(shown.customer))
    return float(np.mean(controls.surprise(shown) if rule.method == "novelty" else 100 * (shown.column("n_seen_7d") > 0)))


def contacts(case: Case, plan: Plan) -> pd.DataFrame:
    """What one more contact day in a week goes with: the response tonight, and opting out in the week that follows.

    This is what happened, not what contact causes: customers who are contacted more often also come more often.

    Returns:
        One row a number of contact days in a week: n_contacts, n_customers (by the last week), p_response (mean of what
        is shown to them tonight), n_weeks (customer-weeks before it, still opted in) and p_optout (share of those that
        were followed by an opt-out within a week), and what the last contact day adds to each: more_response and
        more_optout. Empty where the source logs no impressions; p_optout is missing where it does not know who opted out.
    """
    columns = ["n_contacts", "n_customers", "p_response", "more_response", "n_weeks", "p_optout", "more_optout"]
    if fields_of.fault(case.world, "n_contacts_7d"):
        return pd.DataFrame(columns=columns)
    n, shown = len(case.world.customers), plan.position > 0
    days = np.minimum(fields_of.contact_days(case.world, 7, n_windows=N_WEEKS), 7)
    p = np.bincount(case.pairs.customer[shown], weights=plan.p_response[shown], minlength=n)
    slots = np.bincount(case.pairs.customer[shown], minlength=n)
    weeks, left = _at_risk(case, days)
    rows = []
    for number in range(8):
        now, before = days[:, 0] == number, weeks & (days[:, 1:] == number)
        rows.append({"n_contacts": number, "n_customers": int(now.sum()),
                     "p_response": round(p[now].sum() / slots[now].sum(), 6) if slots[now].any() else np.nan,
                     "n_weeks": int(before.sum()),
                     "p_optout": round(float(left[before].mean()), 6) if left is not None and before.any() else np.nan})
    table = pd.DataFrame(rows)
    return table.assign(more_response=table["p_response"].diff(), more_optout=table["p_optout"].diff())[columns].round(6)


def _at_risk(case: Case, days: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Customer-weeks (from week 1 back) that end before any opt-out, and those that an opt-out followed within a week."""
    week = np.arange(1, N_WEEKS)[None, :]
    if fields_of.fault(case.world, "opted_out_at"):
        return np.ones((len(days), N_WEEKS - 1), dtype=bool), None
    out = case.world.customers["opted_out_at"].dt.tz_convert(None).to_numpy("datetime64[us]")
    ago = np.floor((fields_of.naive(case.world.as_of) - out) / np.timedelta64(7, "D"))
    ago = np.where(np.isnat(out) | (ago < 0), -1, ago)[:, None]
    return ago < week, ago == week - 1


