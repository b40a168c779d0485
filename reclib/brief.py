"""The page that a stakeholder acts on: one verdict, its money, its reasons and what to do next.

The brief computes nothing anew. It puts together what the experiment, the checks, the price list of rules and the
forecasts say; the same record is printed and written as `verdict.json`.
"""

from __future__ import annotations

import pandas as pd

from reclib import report

VERDICTS = ("SHIP", "HOLD", "ROLLBACK", "INVALID")
MEANING = {
    "SHIP": "The new policy is proven better and no guardrail was harmed beyond what was agreed.",
    "HOLD": "The new policy is not proven better, and not proven harmful.",
    "ROLLBACK": "The new policy does proven harm.",
    "INVALID": "The evidence cannot be read; no number below may be acted on.",
}
LABELS = {
    "what": "what", "why": "why", "assumed": "taken for granted", "role": "role", "metric": "metric", "arm": "new policy",
    "mean_control": "mean, old policy", "mean_arm": "mean, new policy", "lift": "difference", "lift_low": "at least",
    "lift_high": "at most", "p_value": "p-value", "margin": "agreed margin", "finding": "finding", "rule_id": "rule",
    "owner": "owner", "reason": "why it is there", "is_binding": "changes slates", "n_removed": "options removed",
    "cost": "cost tonight", "for_sale": "may be relaxed",
}
NEXT_ACTION = {
    "SHIP": "Give the new policy to everyone, and keep a small control group to see whether the gain lasts.",
    "HOLD": "Keep the experiment as it is; decide when the planned number of customers is reached.",
    "ROLLBACK": "Go back to the control policy tonight, and find out which customers were harmed.",
    "INVALID": "Mend what the failed checks name, and run again before anyone decides.",
}
NOTHING_PROVEN = "No effect was read, so nothing is proven for or against the new policy."
NO_EXPERIMENT = "This source has no finished randomised experiment, so nothing is proven about the effect of the policy."


def final_verdict(experiment: dict, checks: pd.DataFrame | None, *, source: str = "") -> dict:
    """Combine the verdict of the experiment with the checks of the run: a failed check makes it INVALID.

    Args:
        experiment: the verdict record of the experiment (`verdict`, `reasons`, `effect`, `low`, `high`, `money`,
            `next_action`), or an empty record where the source has no experiment.
        checks: the `checks` table, or None where nothing was monitored.
        source: name of the source, so that only runs of one source are compared.

    Returns:
        The record of `verdict.json`: verdict, meaning, reasons, checks, effect, low, high, money, money_sentence,
        next_action, and whatever else the experiment's record holds.

    Raises:
        ValueError: the experiment's verdict is not one of the four.
    """
    record = {"effect": None, "low": None, "high": None, "money": None, **experiment}
    found = record.get("verdict", "HOLD")
    if found not in VERDICTS:
        raise ValueError(f"verdict == {found!r}, must be one of {VERDICTS}.")
    reasons = list(record.get("reasons", [])) or [NO_EXPERIMENT]
    failed = _failed(checks)
    if failed:
        found, reasons = "INVALID", failed + reasons
    action = record.get("next_action") if found == record.get("verdict") else None
    if not experiment and found == "HOLD":
        action = "Publish tonight's slates with their control group; the difference between the two is the experiment."
    record |= {
        "source": source, "verdict": found, "reasons": reasons, "next_action": action or NEXT_ACTION[found],
        "checks": [] if checks is None else checks.astype("str").to_dict("records"),
    }
    nothing_read = found == "HOLD" and record["effect"] is None
    record["meaning"] = NOTHING_PROVEN if nothing_read else MEANING[found]
    return record | {"money_sentence": money_sentence(record)}


def headline(verdict: dict) -> str:
    """Say the verdict and what it means."""
    return f"{verdict['verdict']}. {verdict['meaning']}"


def reasons(verdict: dict) -> pd.DataFrame:
    """The reasons of the verdict, one a row."""
    return pd.DataFrame({"why": verdict["reasons"]})


def next_sentence(verdict: dict) -> str:
    """Say what to do next."""
    return f"Next: {verdict['next_action']}"


def scorecard(readout: pd.DataFrame | None) -> pd.DataFrame:
    """List what every primary metric says, success metrics first.

    Returns:
        One row a metric and arm: role, metric, arm, mean_control, mean_arm, lift, lift_low, lift_high, p_value.
    """
    wanted = ["role", "metric", "arm", "mean_control", "mean_arm", "lift", "lift_low", "lift_high", "p_value"]
    if readout is None:
        return pd.DataFrame(columns=wanted)
    order = {"success": 0, "guardrail": 1, "quality": 2, "exploratory": 3}
    kept = readout[readout["is_primary"]].assign(place=lambda table: table["role"].map(order))
    return kept.sort_values(["place", "metric", "arm"])[wanted].reset_index(drop=True)


def differences(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows of the scorecard that a figure can show, with a `name` that tells arms apart and lifts in per cent."""
    known = scores.dropna(subset=["lift_low", "lift_high"])
    names = known["metric"] if known["arm"].nunique() <= 1 else known["metric"] + ", " + known["arm"]
    lifts = {name: 100 * known[name] for name in ("lift", "lift_low", "lift_high")}
    return known.assign(name=names, **lifts)


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """The same table for people: relative numbers in per cent, truth values as yes and no."""
    lifts = [name for name in ("lift", "lift_low", "lift_high", "margin") if name in table]
    flags = [name for name in table if pd.api.types.is_bool_dtype(table[name])]
    in_words = {name: [report.percent(value) if pd.notna(value) else "" for value in table[name]] for name in lifts}
    return table.assign(**in_words, **{name: table[name].map({True: "yes", False: "no"}) for name in flags})


def scorecard_sentence(scores: pd.DataFrame) -> str:
    """Say which metrics differ from the control, and in which direction."""
    known = scores.dropna(subset=["lift_low", "lift_high"])
    if known.empty:
        return "No metric was compared with a control group."
    names = differences(known)["name"]
    up, down = names[known["lift_low"] > 0].tolist(), names[known["lift_high"] < 0].tolist()
    said = [f"{label}: {', '.join(found)}" for label, found in (("higher", up), ("lower", down)) if found]
    rest = len(known) - len(up) - len(down)
    left = f"; {rest} of {len(known)} are not shown to differ" if rest else ""
    return f"Against the control, {'; '.join(said) if said else 'nothing is shown to differ'}{left}."


def guardrail_sentence(held: pd.DataFrame) -> str:
    """Say which guardrails held, which gave way, and which are still open."""
    if held.empty:
        return "No guardrail was agreed for this source."
    if "finding" not in held:
        return f"{len(held)} guardrails were watched."
    parts = [f"{finding}: {', '.join(group['metric'])}" for finding, group in held.groupby("finding", sort=True)]
    return f"Of {len(held)} guardrails: {'; '.join(parts)}."


def absent(tables: dict[str, pd.DataFrame | None]) -> dict[str, str]:
    """Say of each table that this run lacks what cannot be known without it."""
    meaning = {
        "readout": "no finished experiment was read, so no effect is proven",
        "rule_prices": "no rule was priced, so their cost is not known",
        "policy_values": "no log with known probabilities, so no policy was valued from it",
        "offline_metrics": "no ranking was evaluated on held-out behaviour",
        "checks": "nothing was monitored",
    }
    return {name: why for name, why in meaning.items() if tables.get(name) is None}


def assumptions(source: dict) -> pd.DataFrame:
    """What this run takes for granted about its source, one sentence a row."""
    return pd.DataFrame({"assumed": list(source.get("assumptions") or ["Nothing beyond the data."])})


def guardrails(readout: pd.DataFrame | None) -> pd.DataFrame:
    """List the guardrails against their margins.

    Returns:
        One row a guardrail and arm: metric, arm, mean_control, mean_arm, lift, lift_low, lift_high and, where the
        readout has them, margin and finding.
    """
    wanted = ["metric", "arm", "mean_control", "mean_arm", "lift", "lift_low", "lift_high", "margin", "finding"]
    if readout is None:
        return pd.DataFrame(columns=wanted[:7])
    held = readout[(readout["role"] == "guardrail") & readout["is_primary"]]
    return held[[name for name in wanted if name in held]].reset_index(drop=True)


def not_measurable(readout: pd.DataFrame | None, skipped: dict[str, str]) -> pd.DataFrame:
    """List what this run cannot say: metrics without a number, and notebooks that the source cannot feed."""
    rows = [(name, reason) for name, reason in sorted(skipped.items())]
    if readout is not None:
        empty = readout[readout["effect"].isna() & readout["is_primary"]]
        reason = empty["reason"] if "reason" in empty else pd.Series("no number could be computed", index=empty.index)
        rows += list(zip(empty["metric"] + " in " + empty["arm"], reason.fillna("no number could be computed")))
    return pd.DataFrame(rows, columns=["what", "why"])


def price_list(rule_prices: pd.DataFrame | None, rules: pd.DataFrame | None, *, policy: str) -> pd.DataFrame:
    """List what each rule costs, dearest first, with its owner.

    Returns:
        One row a rule: rule_id, owner, reason, is_binding, n_removed, cost (value that lifting the rule alone would
        add), for_sale ("no" for legal and safety rules, whatever they cost).
    """
    columns = ["rule_id", "owner", "reason", "is_binding", "n_removed", "cost", "for_sale"]
    if rule_prices is None or rules is None or rule_prices.empty:
        return pd.DataFrame(columns=columns)
    priced = rule_prices[rule_prices["policy"] == policy].merge(
        rules[["rule_id", "owner", "reason"]], on="rule_id", how="left", validate="many_to_one")
    is_kept = priced["kind"].isin(["safety", "policy", "eligibility"])
    if "is_for_sale" in priced:
        is_kept = ~priced["is_for_sale"].astype(bool)
    priced = priced.assign(cost=priced["drop_one_value"], for_sale=is_kept.map({True: "no", False: "yes"}))
    return priced.sort_values(["cost", "rule_id"], ascending=[False, True])[columns].reset_index(drop=True)


def price_sentence(prices: pd.DataFrame, *, unit: str) -> str:
    """Say which rule that may be relaxed costs most, or that none costs anything."""
    if prices.empty:
        return "No rule was priced."
    sold = prices[(prices["for_sale"] == "yes") & (prices["cost"] > 0)]
    kept = prices.loc[prices["for_sale"] == "no", "cost"].clip(lower=0).sum()
    held = f" Legal, safety and policy rules cost {kept:,.2f} {unit}, and are not for sale." if kept > 0 else ""
    if sold.empty:
        return f"No rule that could be relaxed costs anything tonight.{held}"
    first = sold.iloc[0]
    return (f"The dearest rule that may be relaxed is {first['rule_id']!r}: without it, tonight's slates would be worth "
            f"{first['cost']:,.2f} {unit} more.{held}")


def forecast_sentence(forecasts: pd.DataFrame | None) -> str:
    """Say how many forecasts have met their outcome, and how many of those intervals held it."""
    if forecasts is None or forecasts.empty:
        return "No forecast was made before this run, so none can be scored."
    known = forecasts[forecasts["observed"].notna()]
    if known.empty:
        return f"{len(forecasts)} forecasts wait for their outcome."
    is_bounded = known["low"].notna() & known["high"].notna()
    unsure = f"; {int((~is_bounded).sum())} had no interval to be judged by" if not is_bounded.all() else ""
    known = known[is_bounded]
    inside = ((known["observed_high"].fillna(known["observed"]) >= known["low"])
              & (known["observed_low"].fillna(known["observed"]) <= known["high"]))
    return (f"{int(inside.sum())} of {len(known)} forecasts agree with what came "
            f"(their interval and that of the outcome overlap){unsure}.")


def money_sentence(verdict: dict) -> str:
    """Say the effect in money with its interval, or why there is none."""
    money = verdict.get("money")
    if verdict["verdict"] == "INVALID":
        return "Money is not shown: the evidence cannot be read."
    if not isinstance(money, dict) or money.get("amount") is None:
        return "No money can be put on this decision: no success metric is in money."
    return (f"Best guess {money['amount']:,.2f} {money.get('currency') or ''} for the {money.get('n_customers', 0):,} "
            f"customers of the experiment, between {money['low']:,.2f} and {money['high']:,.2f} "
            f"with {100 * money.get('confidence', 0.95):.0f} % confidence.").replace("  ", " ")


def change_sentence(verdict: dict, before: dict) -> str:
    """Say what moved against the last published run, if that run was of the same source."""
    if not before or before.get("source") != verdict.get("source"):
        return "The last published run was not of this source: there is nothing to compare this one with."
    if verdict["verdict"] != before.get("verdict"):
        return f"The verdict moved from {before.get('verdict')} to {verdict['verdict']}."
    old, new = before.get("effect"), verdict.get("effect")
    if old is None or new is None:
        return f"The verdict is {verdict['verdict']}, as in the run before."
    return f"The verdict is {verdict['verdict']}, as in the run before; the effect moved from {old:,.3g} to {new:,.3g}."


def _failed(checks: pd.DataFrame | None) -> list[str]:
    if checks is None:
        return []
    bad = checks[checks["status"] == "fail"]
    return [f"{row.detail.rstrip('.')}: {row.observed}, allowed {row.allowed} ({row.check_id})." for row in bad.itertuples()]
