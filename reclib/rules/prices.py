"""What each rule costs, in the unit of the policy: the price list of the rules.

    drop_one   V(all rules but r) - V(all rules): what lifting r alone would gain today
    first_in   V(no rules) - V(r alone): what r alone would cost
    total      V(no rules) - V(all rules); what the drop-ones leave of it is the interaction, and it is printed

All are differences on one common sample of customers, so sampling noise cancels; `resolution` is the sum of both
gaps to the certified bound, and a price below it is not told apart from nothing. The value is the model's, for tonight: a rule
that keeps trust or stock for tomorrow looks dearer here than it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from reclib.rules.decide import Case, Plan, allocate, draft_of
from reclib.rules.outcomes import reasons
from reclib.rules.pairs import Pairs
from reclib.rules.register import Rule, Stock


@dataclass(frozen=True)
class Priced:
    """Prices of one policy's rules.

    Attributes:
        table: rule_id, drop_one_value, first_in_value, resolution; for all customers.
        total: value of all rules lifted at once.
        interaction: what the drop-ones leave of it.
        n_customers: customers of the sample.
    """

    table: pd.DataFrame
    total: float
    interaction: float
    n_customers: int


def price_rules(ranked: pd.DataFrame, case: Case, policy: str, *, n_sample: int = 600, seed: int = 0) -> Priced:
    """Price every live rule of a policy by lifting it alone, and by holding it alone.

    Args:
        ranked: the `ranked` table.
        case: made by `decide.prepare`.
        policy: whose rules.
        n_sample: customers of the common sample; limits are scaled by its share.
        seed: random seed of the sample.
    """
    own = ranked[ranked["policy"] == policy]
    part, rows = _sample(case, n_sample, seed)
    some = own[own["customer_id"].isin(case.world.customers["customer_id"].to_numpy()[rows])]
    grown = len(case.world.customers) / max(len(rows), 1)
    live = part.live(policy)
    base, none = _value(some, part, policy, rows, live), _value(some, part, policy, rows, [])
    lines = []
    for rule in live:
        without = _value(some, part, policy, rows, [other for other in live if other.id != rule.id])
        alone = _value(some, part, policy, rows, [rule])
        lines.append({"rule_id": rule.id, "drop_one_value": grown * (without[0] - base[0]),
                      "first_in_value": grown * (none[0] - alone[0]), "resolution": grown * (without[1] + base[1])})
    table = pd.DataFrame(lines, columns=["rule_id", "drop_one_value", "first_in_value", "resolution"])
    table = table.assign(**{name: table[name].astype("float64").round(4) + 0.0 for name in table.columns[1:]})
    total = round(grown * (none[0] - base[0]), 4)
    return Priced(table, total, round(total - float(table["drop_one_value"].sum()), 4), len(rows))


def rule_prices(case: Case, plans: dict[str, Plan], *, priced: dict[str, Priced], unit: dict[str, str]) -> pd.DataFrame:
    """The `rule_prices` table of the decided policies.

    Args:
        case: made by `decide.prepare`.
        plans: made by `decide.decide`.
        priced: prices of the policies that were priced; others have slack and shadow price only.
        unit: policy -> unit of its priority, such as EUR.

    Returns:
        A `rule_prices` table with `first_in_value`, `resolution`, `is_for_sale`, `status`, `n_refused` (pairs it would
        refuse whatever the others do; for a shadow rule what it would remove), `n_alone` and `n_held_back`.
    """
    parts = [_policy_rows(case, plan, priced.get(policy), unit.get(policy, "points")) for policy, plan in plans.items()]
    return pd.concat(parts, ignore_index=True)


def _policy_rows(case: Case, plan: Plan, priced: Priced | None, unit: str) -> pd.DataFrame:
    listed = reasons(case, plan).set_index("rule_id")
    values = priced.table.set_index("rule_id") if priced else pd.DataFrame()
    lines = []
    for rule in case.rules:
        limit = _limit_of(case, plan, rule, unit)
        line = {"policy": plan.policy, "rule_id": rule.id, "kind": rule.kind, "status": rule.status,
                "is_for_sale": rule.sold, **limit}
        if rule.id in listed.index:
            line |= {"n_removed": int(listed.at[rule.id, "n_first"]), "n_refused": int(listed.at[rule.id, "n_refused"]),
                     "n_alone": int(listed.at[rule.id, "n_alone"]), "n_held_back": int(listed.at[rule.id, "n_held_back"])}
        else:
            mine = case.refused.get(rule.id, np.zeros(len(case.pairs), dtype=bool))
            line |= {"n_removed": 0, "n_refused": int((mine & plan.is_ranked).sum()), "n_alone": 0, "n_held_back": 0}
        for name in ("drop_one_value", "first_in_value", "resolution"):
            line[name] = float(values.at[rule.id, name]) if rule.id in values.index else np.nan
        line["is_binding"] = _binds(rule, line)
        lines.append(line)
    return pd.DataFrame(lines)


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


def _sample(case: Case, n_sample: int, seed: int) -> tuple[Case, np.ndarray]:
    """The case of a random sample of customers, and their codes."""
    n = len(case.world.customers)
    rows = np.arange(n) if n <= n_sample else np.sort(np.random.default_rng(seed).choice(n, n_sample, replace=False))
    kept = np.isin(case.pairs.customer, rows)
    pairs = Pairs(case.world, case.pairs.customer[kept], case.pairs.item[kept])
    narrowed = {name: {rule: mark[kept] for rule, mark in getattr(case, name).items()} for name in ("refused", "pins", "levers")}
    return replace(case, pairs=pairs, **narrowed), rows


def _value(ranked: pd.DataFrame, case: Case, policy: str, rows: np.ndarray, rules: list[Rule]) -> tuple[float, float]:
    """What the sample's slates are worth under some rules, and how far from the certified bound they may be.

    The worth is the priority as ranked, before boosts and diversity, so that levers have a price too; the gap is added
    to it, so that without levers it is the bound itself.
    """
    draft = draft_of(ranked, replace(case, rules=rules), policy)
    found = allocate(draft.problem.of_customers(rows))
    worth = np.zeros(draft.problem.item.shape)
    worth[draft.problem.pair_row, draft.problem.pair_column] = draft.priority
    gap = found.bound - found.value
    return float(np.round(worth[rows][found.position > 0], 6).sum()) + gap, gap
