"""Pins and blocks set by hand: rows with an owner, a reason and an expiry, turned into rules like any other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from reclib.rules.conditions import Test
from reclib.rules.decide import aligned, allocate, draft_of
from reclib.rules.kinds import Block, Pin, Rule
from reclib.rules.plan import Case, Plan
from reclib.rules.register import RuleError, in_order


def merge(rules: list[Rule], overrides: pd.DataFrame | None, *, as_of: pd.Timestamp) -> list[Rule]:
    """Add the overrides in force to the register.

    An override of a customer or a segment becomes a rule with that condition. A block by hand is hard; a pin is soft and
    never resurrects a filtered item. What was made after `as_of` or has expired stays out.

    Args:
        rules: the register.
        overrides: the `overrides` table, where the source has one.
        as_of: moment of the decision.

    Raises:
        RuleError: an override has the id of a rule.
    """
    if overrides is None or not len(overrides):
        return rules
    in_force = overrides[(overrides["made_at"] <= as_of) & ~(overrides["expires_at"] <= as_of)]
    made = [_rule(row) for row in in_force.sort_values(["made_at", "override_id"]).to_dict("records")]
    clash = sorted({rule.id for rule in made} & {rule.id for rule in rules})
    if clash:
        raise RuleError(f"overrides: ids {clash} are rules already; an override needs its own id.")
    return in_order([*rules, *made])


def costs(ranked: pd.DataFrame, case: Case, plan: Plan, overrides: pd.DataFrame | None, *, seed: int = 0) -> pd.DataFrame:
    """What each override gives up: the value of the slates without it, less the value with it.

    Args:
        ranked: the `ranked` table.
        case: made by `decide.prepare` of the merged register.
        plan: the policy that counts.
        overrides: the `overrides` table.
        seed: random seed of the allocation.

    Returns:
        One row an override in force: override_id, owner, reason, action, item_id, expires_at, n_shown (slots it filled)
        or n_removed, opportunity_cost in the unit of the policy, and resolution: how far both searches may be from the best.
        A negative cost beyond it: the override beats the system.
    """
    columns = ["override_id", "action", "item_id", "owner", "reason", "expires_at", "n_pairs", "opportunity_cost", "resolution"]
    known = {rule.id: rule for rule in case.live(plan.policy)}
    if overrides is None:
        return pd.DataFrame(columns=columns)
    mine = overrides[overrides["override_id"].astype("str").isin(known)].sort_values("override_id", ignore_index=True)
    as_ranked = aligned(ranked[(ranked["policy"] == plan.policy).to_numpy()], case)
    worth = float(plan.priority[plan.position > 0].sum())
    rows = []
    for row in mine.to_dict("records"):
        others = [rule for rule in case.rules if rule.id != str(row["override_id"])]
        draft = draft_of(as_ranked, replace(case, rules=others), plan.policy, lifted=plan.lifted)
        found = allocate(draft.problem, seed=seed, start=plan)
        without = float(draft.priority[draft.problem.of_pairs(found.position) > 0].sum())
        rows.append({name: row[name] for name in columns[:6]} | {
            "n_pairs": _touched(case, plan, str(row["override_id"])), "opportunity_cost": round(without - worth, 4),
            "resolution": round(sum(each.bound - each.value for each in (plan.found, found)), 4)})
    return pd.DataFrame(rows, columns=columns)


def _touched(case: Case, plan: Plan, rule_id: str) -> int:
    if rule_id in case.pins:
        return int((case.pins[rule_id] & plan.is_pinned).sum())
    return int((case.refused[rule_id] & plan.is_ranked).sum())


def _rule(row: dict) -> Rule:
    when = None
    for name in ("customer_id", "segment"):
        if row.get(name) is not None and not pd.isna(row[name]):
            when = Test(field=name, op="==", value=_plain(row[name]))
            break
    shared = {"id": str(row["override_id"]), "owner": row["owner"], "reason": row["reason"], "when": when,
              "item_id": _plain(row["item_id"]), "valid_from": row["made_at"],
              "valid_to": None if pd.isna(row["expires_at"]) else row["expires_at"], "is_for_sale": True}
    return Pin(kind="pin", **shared) if row["action"] == "pin" else Block(kind="block", **shared)


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else int(value) if isinstance(value, float) and value.is_integer() else value
