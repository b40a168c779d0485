"""Computed sentences of the rules page: true on any source, also where nothing binds or nothing applies."""

from __future__ import annotations

import numpy as np
import pandas as pd

from reclib.report import money, number, percent
from reclib.rules.plan import Case, Plan
from reclib.rules.prices import ALL_LIFTED, Priced


def register(rules: pd.DataFrame) -> str:
    """Say how many rules there are, how many are in force, and which source columns are lacking."""
    live, shadow = (rules["status"] == "live").sum(), (rules["status"] == "shadow").sum()
    out = rules[rules["status"] == "not applicable"]
    said = f"{live} of {len(rules)} rules are in force and {shadow or 'none'} {'run' if shadow > 1 else 'runs'} in shadow"
    if not len(out):
        return said + "; none is left out."
    reasons = out["detail"].str.removeprefix("not applicable: ")
    why = "; ".join(f"{', '.join(ids)} ({reason})" for reason, ids in out["rule_id"].groupby(reasons, sort=False))
    return f"{said}; {len(out)} left out: {why}."


def contradictions(found: pd.DataFrame) -> str:
    """Say what the linter found in the register."""
    if not len(found):
        return "No rule contradicts another, has expired or does what another does anyway."
    first = found.iloc[0]
    return f"{len(found)} finding{'s' * (len(found) > 1)} in the register; {first['rule_id']}: {first['fault']}."


def overrides(table: pd.DataFrame, unit: str) -> str:
    """Say what pins and blocks set by hand cost, and which beat the system."""
    if not len(table):
        return "Nothing is pinned or blocked by hand."
    beat = table[table["opportunity_cost"] < -table["resolution"]]
    named = "none beats" if not len(beat) else ", ".join(f"{row.override_id} of {row.owner}" for row in beat.itertuples()) + (
        " beats" if len(beat) == 1 else " beat")
    return (f"{len(table)} overrides are in force; the sum of what each gives up is {money(table['opportunity_cost'].sum(), unit)}, "
            f"and {named} the system.")


def shadows(table: pd.DataFrame) -> str:
    """Say what the rules in shadow would do."""
    if not len(table):
        return "No rule runs in shadow."
    return "; ".join(f"{row.rule_id} would {row.would}" for row in table.itertuples()) + "."


def reasons(table: pd.DataFrame, n_pairs: int) -> str:
    """Name the rule that removes most pairs, and the one that removes most of its own."""
    if not len(table) or not table["n_first"].sum():
        return "No rule refuses any pair."
    first = table.sort_values(["n_first", "rule_id"], ascending=[False, True]).iloc[0]
    alone = table.sort_values(["n_alone", "rule_id"], ascending=[False, True]).iloc[0]
    removed = int(table["n_first"].sum())
    return (f"The rules refuse {removed:,} of {n_pairs:,} pairs ({percent(removed / max(n_pairs, 1))}); {first['rule_id']} refuses "
            f"most first ({first['n_first']:,}), and lifting {alone['rule_id']} alone would allow {alone['n_alone']:,} of them.")


def prices(table: pd.DataFrame, priced: Priced, unit: str) -> str:
    """Say what all rules cost together, which costs most among those for sale, and what does not add up."""
    known = table[table["drop_one_value"].notna() & (table["drop_one_value"] > table["resolution"])]
    sold = known[known["is_for_sale"]].sort_values(["drop_one_value", "rule_id"], ascending=[False, True])
    below = int((table["drop_one_value"].notna() & (table["drop_one_value"].abs() <= table["resolution"])).sum())
    dearest = (f"the dearest that is for sale is {sold['rule_id'].iloc[0]} ({money(sold['drop_one_value'].iloc[0], unit)})"
               if len(sold) else "none that is for sale has a price above the resolution")
    return (f"All rules together cost {money(priced.total, unit)} of predicted value; {dearest}; {money(priced.interaction, unit)} "
            f"belong to no single rule, and {below or 'no'} rule{'' if below == 1 else 's'} cost{'s' * (below == 1)} less than can be told apart "
            f"from nothing.")


def true_prices(table: pd.DataFrame, lived: pd.DataFrame, currency: str, *, n_customers: int, n_days: int, n_lucks: int) -> str:
    """Say what lifting all rules would truly bring, and for which rule the truth contradicts the predicted price.

    Args:
        table: `rule_prices` of one policy, with true_value, true_low and true_high.
        lived: all true prices, those of `ALL_LIFTED` among them.
        currency: of the true prices.
        n_customers, n_days, n_lucks: what was lived.
    """
    if not len(lived):
        return "What the rules truly cost is not known: only the storefront has a truth."
    known = lived.set_index("rule_id")
    every, alone = known.loc[ALL_LIFTED], known.drop(index=ALL_LIFTED)
    said = (f"Lived by {n_customers:,} customers for {n_days} days, {'once' if n_lucks == 1 else f'{n_lucks} times with other luck'}, lifting all rules would truly change "
            f"contribution by {_signed(every, currency)}; {money(every['true_value'] - alone['true_value'].sum(), currency)} of it "
            "belong to no single rule")
    told = table["true_high"].lt(0) & (table["drop_one_value"] > table["resolution"])
    wrong = table[told].sort_values("drop_one_value", ascending=False)
    if not len(wrong):
        return said + "; no rule that has a price in the model truly pays for itself."
    return said + "; " + " and ".join(
        f"{row.rule_id}, which the model says costs {money(row.drop_one_value, currency)} tonight, truly earns "
        f"{money(-row.true_value, currency)} [{-row.true_high:,.0f}, {-row.true_low:,.0f}]" for row in wrong.itertuples()) + "."


def _signed(row: pd.Series, currency: str) -> str:
    return f"{row['true_value']:+,.0f} {currency} [{row['true_low']:+,.0f}, {row['true_high']:+,.0f}]"


def allocation(case: Case, plan: Plan) -> str:
    """Say how full the slates are, how close to the best possible, and which soft rules yielded."""
    slots = len(case.world.customers) * case.k
    n_shown = int((plan.position > 0).sum())
    said = (f"{n_shown:,} of {slots:,} slots are filled ({percent(n_shown / max(slots, 1))}), and no slates that hold the rules "
            f"can be worth {_above(plan)} more than these")
    yielded = [f"{name} for {count:,} customers" for name, count in plan.relaxed.items()]
    rows = plan.found.rows.set_index("name")
    yielded += [f"{name} (by {number(rows.at[name, 'miss'])} {rows.at[name, 'unit']})" for name in plan.found.relaxed]
    return said + (f"; soft rules that yielded: {', '.join(yielded)}." if yielded else "; no rule had to yield.")


def empty_slates(case: Case, plan: Plan) -> str:
    """Say how many customers see nothing, and which rule leaves most of them without."""
    n = len(case.world.customers)
    has = np.bincount(case.pairs.customer[plan.position > 0], minlength=n) > 0
    if has.all():
        return "Every customer gets a slate."
    lost = ~has[case.pairs.customer] & (plan.first >= 0)
    if not lost.any():
        return f"{int((~has).sum()):,} of {n:,} customers see nothing."
    place = int(np.bincount(plan.first[lost]).argmax())
    rule = case.rules[place]
    return (f"{int((~has).sum()):,} of {n:,} customers see nothing, mostly because of {rule.id} ({rule.reason[0].lower()}"
            f"{rule.reason[1:]}).")


def curves(table: pd.DataFrame, weight: float = 0.2) -> str:
    """Say what one step of each control costs and brings."""
    parts = []
    for control, own in table.groupby("control", sort=False):
        first, step = own.iloc[0], own.iloc[(own["weight"] - weight).abs().argmin()]
        parts.append(f"{control} at {step['weight']:g} costs {percent(1 - step['value_share'], 2)} of value and moves "
                     f"{first['counts']} from {number(first['measure'])} to {number(step['measure'])}")
    return ("; ".join(parts)[0].upper() + "; ".join(parts)[1:] + ".") if parts else "This source feeds none of the controls."


def contacts(table: pd.DataFrame, n_least: int = 50) -> str:
    """Say how response and opt-out move from few contact days to many, where both are known."""
    large = table[table["n_customers"] >= n_least].dropna(subset="p_response")
    if len(large) < 2:
        return "How often customers are contacted is not known well enough to say what one more contact brings."
    few, many = large.iloc[0], large.iloc[-1]
    said = (f"Customers with {int(many['n_contacts'])} contact days last week are foreseen to respond to {percent(many['p_response'])} of "
            f"tonight's slots, those with {int(few['n_contacts'])} to {percent(few['p_response'])}")
    known = table[(table["n_weeks"] >= n_least) & table["p_optout"].notna()]
    if len(known) < 2:
        return said + "; who opted out is not known."
    low, high = known.iloc[0], known.iloc[-1]
    return said + (f"; a week with {int(high['n_contacts'])} contact days was followed by an opt-out in {percent(high['p_optout'], 2)} of "
                   f"cases, one with {int(low['n_contacts'])} in {percent(low['p_optout'], 2)}.")


def pushes(table: pd.DataFrame, currency: str) -> str:
    """Say from which frequency on one more push a week truly brings nothing, and what it costs in opt-outs there."""
    if not len(table):
        return "What one more contact truly brings is not known: only the storefront has a truth."
    best, first, last = table.loc[table["contribution"].idxmax()], table.iloc[1], table.iloc[-1]
    return (f"In truth the first push a fortnight brings {first['more_contribution']:+.2f} {currency} a customer for each push a week and "
            f"{first['more_opted_out']:+.1f} opt-outs a thousand; contribution is highest with {best['pushes']:.3g} pushes a week, and the "
            f"last step, to {last['pushes']:.3g}, brings {last['more_contribution']:+.2f} {currency} and {last['more_opted_out']:+.1f} "
            "opt-outs for each.")


def _above(plan: Plan) -> str:
    return "anything" if plan.found.gap < 5e-7 else f"{100 * plan.found.gap:.4f} %"
