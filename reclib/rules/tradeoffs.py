"""Diversity, novelty and repetition as controls: what each step of them costs in value.

A control takes a share of a pair's score: `score x (1 - weight x signal)`. Filters and slate quotas hold along the
whole curve; shared limits do not, so that the curve shows the control alone.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from reclib.rules import pairs as fields_of
from reclib.rules import slates
from reclib.rules.decide import MMR_EXTRA
from reclib.rules.plan import Case, Plan
from reclib.rules.shared import groups

WEIGHTS = (0.0, 0.1, 0.2, 0.4, 0.7, 1.0)
N_WEEKS = 9
MEASURES = {
    "diversity": "different kinds in a slate", "novelty": "bits of surprise an item",
    "repetition": "share of slots seen this week",
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
    rows = _rows(case, n_sample, seed)
    item, score, worth = (table[rows] for table in _tables(plan))
    lines = []
    for control in MEASURES:
        signal = _signal(case, plan, control, fields, rows)
        if signal is None:
            continue
        for weight in weights:
            lines.append(_line(case, plan, control, weight, item, score, worth, signal))
    table = pd.DataFrame(lines, columns=["control", "weight", "value", "measure", "counts"])
    start = table.groupby("control")["value"].transform("first")
    return table.assign(value_share=(table["value"] / start.where(start > 0)).round(6))


def contacts(case: Case, plan: Plan) -> pd.DataFrame:
    """What one more contact day in a week goes with: the response tonight, and opting out in the week that follows.

    This is what happened, not what contact causes: customers who are contacted more often also come more often.

    Returns:
        One row a number of contact days in a week: n_contacts, n_customers (by the last week), p_response (mean of what
        is shown to them tonight), n_weeks (customer-weeks before it, still opted in) and p_optout (share of those that
        were followed by an opt-out within a week). Empty where the source logs no impressions; p_optout is missing
        where it does not know who opted out.
    """
    columns = ["n_contacts", "n_customers", "p_response", "n_weeks", "p_optout"]
    if fields_of.fault(case.world, "n_contacts_7d"):
        return pd.DataFrame(columns=columns)
    n, shown, days = len(case.world.customers), plan.position > 0, _contact_days(case)
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
    return pd.DataFrame(rows, columns=columns)


def _contact_days(case: Case) -> np.ndarray:
    """Days with an impression, customers x weeks; week 0 is the last one."""
    seen = case.world.events[case.world.events["event_type"] == "impression"]
    ago = np.floor((_now(case) - seen["at"].to_numpy("datetime64[us]")) / np.timedelta64(7, "D")).astype("int64")
    recent = seen.assign(week=ago, day=seen["at"].dt.floor("D"))[ago < N_WEEKS]
    once = recent.drop_duplicates(["customer_code", "week", "day"])
    cell = once["customer_code"].to_numpy() * N_WEEKS + once["week"].to_numpy()
    return np.minimum(np.bincount(cell, minlength=len(case.world.customers) * N_WEEKS).reshape(-1, N_WEEKS), 7)


def _at_risk(case: Case, days: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Customer-weeks (from week 1 back) that end before any opt-out, and those that an opt-out followed within a week."""
    week = np.arange(1, N_WEEKS)[None, :]
    if fields_of.fault(case.world, "opted_out_at"):
        return np.ones((len(days), N_WEEKS - 1), dtype=bool), None
    out = case.world.customers["opted_out_at"].dt.tz_convert(None).to_numpy("datetime64[us]")
    ago = np.floor((_now(case) - out) / np.timedelta64(7, "D"))
    ago = np.where(np.isnat(out) | (ago < 0), -1, ago)[:, None]
    return ago < week, ago == week - 1


def _now(case: Case) -> np.datetime64:
    return case.world.as_of.tz_convert(None).to_datetime64().astype("datetime64[us]")


def _rows(case: Case, n_sample: int, seed: int) -> np.ndarray:
    n = len(case.world.customers)
    return np.arange(n) if n <= n_sample else np.sort(np.random.default_rng(seed).choice(n, n_sample, replace=False))


def _tables(plan: Plan) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Items, scores and worths, customers x candidates; a filtered pair has score -inf."""
    problem = plan.problem
    score, worth = np.full(problem.item.shape, -np.inf), np.zeros(problem.item.shape)
    is_open = np.isfinite(plan.score)
    score[problem.pair_row, problem.pair_column] = np.where(is_open, plan.score + plan.penalty, -np.inf)
    worth[problem.pair_row, problem.pair_column] = plan.priority
    return problem.item, score, worth


def _signal(case: Case, plan: Plan, control: str, fields: tuple[str, ...], rows: np.ndarray) -> np.ndarray | None:
    world, problem = case.world, plan.problem
    if control == "diversity":
        known = [name for name in fields if not fields_of.fault(world, name) and name in world.items.columns]
        return np.column_stack([groups(world, name) for name in known]) if known else None
    if control == "novelty":
        bought = world.events[world.events["event_type"] == "purchase"]
        if not len(bought):
            return None
        by = bought.drop_duplicates(["customer_code", "item_code"])
        owners = np.bincount(by["item_code"], minlength=len(world.items))
        return -np.log2((owners + 1) / (len(world.customers) + 1))
    if fields_of.fault(world, "n_seen_7d"):
        return None
    table = np.zeros(problem.item.shape)
    table[problem.pair_row, problem.pair_column] = case.pairs.column("n_seen_7d") > 0
    return table[rows]


def _line(case: Case, plan: Plan, control: str, weight: float, item: np.ndarray, score: np.ndarray, worth: np.ndarray,
          signal: np.ndarray) -> dict:
    is_open, code = (item >= 0) & np.isfinite(score), np.maximum(item, 0)
    plain = np.where(is_open, score, 0.0)
    if control == "diversity":
        turned = plain - slates.mmr_penalty(item, score, signal, weight=weight, depth=case.k + MMR_EXTRA)
    elif control == "novelty":
        turned = plain * (1 - weight * (1 - signal[code] / max(signal.max(), 1e-9)))
    else:
        turned = plain * (1 - weight * signal)
    turned = np.where(is_open, np.round(np.maximum(turned, 1e-9), 9), -np.inf)
    shown = slates.greedy(item, turned, plan.problem.quotas, case.k) > 0
    n = max(int(shown.sum()), 1)
    if control == "diversity":
        kinds = [len(set(line)) for line in _per_row(np.where(shown, signal[code, 0], -1))]
        measure = float(np.mean([kinds[row] for row in np.flatnonzero(shown.any(axis=1))])) if shown.any() else 0.0
    else:
        measure = float((signal[code] if control == "novelty" else signal)[shown].sum() / n)
    return {"control": control, "weight": weight, "value": round(float(worth[shown].sum()), 6), "measure": round(measure, 6),
            "counts": MEASURES[control]}


def _per_row(groups_shown: np.ndarray) -> list[list[int]]:
    return [[group for group in line if group >= 0] for line in groups_shown.tolist()]
