"""The price list: what each rule costs, counts, holds back and leaves of its limit, as the table `rule_prices`."""

from __future__ import annotations

import numpy as np
import pandas as pd

from reclib.allocation.problem import usage
from reclib.report import number
from reclib.rules.kinds import Boost, Pin, Rule, Stock
from reclib.rules.outcomes import reasons
from reclib.rules.plan import Case, Plan
from reclib.rules.prices import Priced
from reclib.rules.shared import quota_of, row_of
from reclib.rules.slates import laid_out

COUNTS = ("n_removed", "n_refused", "n_alone", "n_held_back")
VALUES = ("drop_one_value", "first_in_value", "resolution")


def rule_prices(case: Case, plans: dict[str, Plan], *, priced: dict[str, Priced], unit: dict[str, str],
                lived: pd.DataFrame | None = None) -> pd.DataFrame:
    """The `rule_prices` table of the decided policies.

    Args:
        case: made by `decide.prepare`.
        plans: made by `decide.decide`.
        priced: prices of the policies that were priced; others have slack and shadow price only.
        unit: policy -> unit of its priority, such as EUR.
        lived: true prices of the priced policies, where the truth is known: rule_id, true_value, true_low, true_high.

    Returns:
        A `rule_prices` table with `first_in_value`, `resolution`, `is_for_sale`, `status`, `n_refused` (pairs it would
        refuse whatever the others do; for a shadow rule what it would remove), `n_alone` and `n_held_back`.
    """
    parts = [_policy_rows(case, plan, priced.get(policy), unit.get(policy, "points")) for policy, plan in plans.items()]
    found = pd.concat(parts, ignore_index=True)
    if lived is None:
        return found
    known = found.merge(lived, on="rule_id", how="left", validate="many_to_one")
    is_priced = known["policy"].isin(list(priced))
    return known.assign(**{name: known[name].astype("float64").where(is_priced) for name in lived.columns[1:]})


def _policy_rows(case: Case, plan: Plan, priced: Priced | None, unit: str) -> pd.DataFrame:
    counts = reasons(case, plan).set_index("rule_id").rename(columns={"n_first": "n_removed"})
    values = priced.table.set_index("rule_id") if priced else pd.DataFrame()
    lines = []
    for rule in case.rules:
        line = {"policy": plan.policy, "rule_id": rule.id, "kind": rule.kind, "status": rule.status, "is_for_sale": rule.sold,
                **_limit_of(case, plan, rule, unit)}
        is_counted = rule.id in counts.index
        line |= {name: int(counts.at[rule.id, name]) if is_counted else 0 for name in COUNTS}
        line |= {name: float(values.at[rule.id, name]) if rule.id in values.index else np.nan for name in VALUES}
        if not is_counted:
            line["n_refused"] = would_refuse(case, plan, rule)
        lines.append(line | {"is_binding": _binds(rule, line)})
    kinds = dict.fromkeys(("policy", "rule_id", "kind", "status", "unit"), "str") | dict.fromkeys(("is_for_sale", "is_binding"), "bool")
    kinds |= dict.fromkeys(("slack", "shadow_price", *VALUES), "float64") | dict.fromkeys(COUNTS, "int64")
    return pd.DataFrame(lines, columns=list(kinds)).astype(kinds)


def would(case: Case, plan: Plan, rule: Rule) -> str:
    """Say what a rule in shadow would do: to tonight's ranking, or to tonight's slates where it holds for them together."""
    if rule.id in case.refused or quota_of(case.world, rule):
        return f"refuse {would_refuse(case, plan, rule):,} pairs"
    if isinstance(rule, Boost):
        return f"{'lift' if rule.times > 1 else 'bury'} {int((case.levers[rule.id] != 1)[plan.is_ranked & (plan.first < 0)].sum()):,} pairs"
    if isinstance(rule, Pin):
        return f"pin {int((case.pins[rule.id] & (plan.position != rule.position)).sum()):,} pairs"
    row = row_of(case.world, rule, plan.problem.n_slots)
    if row is None:
        return "bend scores"
    over = usage(plan.problem.with_rows((row,)), laid_out(plan.problem, plan.position > 0, False))[0] - row.limit
    return f"ask tonight's slates for {number(over)} {row.unit}" if over > 0 else "hold as things are"


def would_refuse(case: Case, plan: Plan, rule: Rule) -> int:
    """Pairs that a rule in shadow would refuse, or slots of tonight's slates that a quota in shadow would empty."""
    if rule.id in case.refused:
        return int((case.refused[rule.id] & plan.is_ranked).sum())
    quota = quota_of(case.world, rule)
    if quota is None:
        return 0
    group = quota.group[case.pairs.item]
    counted = (plan.position > 0) & (group >= 0)
    cell = case.pairs.customer[counted].astype("int64") * (group.max(initial=0) + 1) + group[counted]
    return int(np.maximum(np.unique(cell, return_counts=True)[1] - quota.limit, 0).sum())


def _binds(rule: Rule, line: dict) -> bool:
    if rule.status != "live":
        return False
    if not np.isnan(line["drop_one_value"]):
        return bool(abs(line["drop_one_value"]) > line["resolution"] or line["n_held_back"] > 0)
    return bool(line["n_alone"] > 0 or line["n_held_back"] > 0 or (line["shadow_price"] or 0) > 0)


def _limit_of(case: Case, plan: Plan, rule: Rule, unit: str) -> dict:
    """Slack and shadow price where the rule has a limit that is shared; nothing where it has not."""
    if isinstance(rule, Stock) and rule.placements_per_unit and rule.status == "live":
        stock = plan.problem.stock
        used = np.bincount(case.pairs.item[plan.position > 0], minlength=len(stock))
        known = np.isfinite(stock)
        left = float((np.floor(stock[known]) - used[known]).sum())
        dearest = float(np.max(plan.found.item_prices, initial=0.0))
        return {"slack": left, "shadow_price": round(dearest, 6), "unit": f"placements; {unit} a placement of the dearest item"}
    rows = plan.found.rows
    mine = rows[rows["name"] == rule.id]
    if len(mine):
        row = mine.iloc[0]
        return {"slack": round(float(row["slack"]), 6) if np.isfinite(row["slack"]) else np.nan,
                "shadow_price": round(float(row["price"]), 6), "unit": f"{row['unit']}; {unit} for one more of it"}
    return {"slack": np.nan, "shadow_price": np.nan, "unit": unit}
