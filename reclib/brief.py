"""The page that a stakeholder acts on: one verdict, its money, its reasons and what to do next.

The brief computes nothing anew. It puts together what the experiment, the checks, the price list of rules and the
forecasts say; the same record is printed and written as `verdict.json`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import pandas as pd

from reclib import report

VERDICTS = ("SHIP", "HOLD", "ROLLBACK", "INVALID")
MEANING = {
    "SHIP": "The new policy is proven better and no guardrail was harmed beyond what was agreed.",
    "HOLD": "The new policy is not proven better, and not proven harmful.",
    "ROLLBACK": "The new policy does proven harm.",
    "INVALID": "The evidence cannot be read; no number below may be acted on.",
}
HOLD_UNSURE = "The new policy is proven better, but not every guardrail is shown to have held."
SHIP_UNGUARDED = "The new policy is proven better; no guardrail was agreed, so nothing watched for harm elsewhere."
LABELS = {
    "what": "what", "why": "why", "assumed": "taken for granted", "metric": "metric", "arm": "new policy",
    "counts": "what it counts", "mean_control": "mean, old", "mean_arm": "mean, new", "change": "difference",
    "at_least": "at least", "at_most": "at most", "allowed": "agreed margin", "finding": "finding", "rule_id": "rule",
    "owner": "owner", "reason": "why it is there", "is_binding": "changes what is shown", "n_removed": "options removed",
    "cost": "cost tonight", "for_sale": "may be relaxed", "policy": "policy", "forecast": "foretold", "low": "at least",
    "high": "at most", "observed": "came", "observed_low": "came, at least", "observed_high": "came, at most", "agrees": "agrees",
}
NEXT_ACTION = {
    "SHIP": "Give the new policy to everyone, and keep a small control group to see whether the gain lasts.",
    "HOLD": "Keep the experiment as it is; decide when the planned number of customers is reached.",
    "ROLLBACK": "Go back to the control policy tonight, and find out which customers were harmed.",
    "INVALID": "Mend what the failed checks name, and run again before anyone decides.",
}
NOTHING_PROVEN = "No effect was read, so nothing is proven for or against the new policy."
NO_EXPERIMENT = "This source has no finished randomised experiment, so nothing is proven about the effect of the policy."
ABSENT = {
    "readout": ("effect of the new policy", "no finished experiment was read", "units"),
    "rule_prices": ("cost of the rules", "no rule was priced", ""),
    "policy_values": ("worth of a policy that did not run", "no log says how likely each item was to be shown", "logged_deliveries"),
    "offline_metrics": ("quality of the ranking", "no ranking was held against what customers did later", ""),
    "checks": ("health of this run", "nothing was monitored", ""),
}
ROLES = {"success": 0, "guardrail": 1, "quality": 2, "exploratory": 3}
RANGE = ["lift", "lift_low", "lift_high"]


def final_verdict(experiment: dict, checks: pd.DataFrame | None, *, source: str = "", readout: pd.DataFrame | None = None,
                  meanings: Mapping[str, str] | None = None) -> dict:
    """Combine the verdict of the experiment with the checks of the run: a failed check makes it INVALID.

    Args:
        experiment: the verdict record of the experiment (`verdict`, `reasons`, `effect`, `low`, `high`, `money`,
            `next_action`), or an empty record where the source has no experiment.
        checks: the `checks` table, or None where nothing was monitored.
        source: name of the source, so that only runs of one source are compared.
        readout: the `readout` table; without a guardrail in it, none is said to have held.
        meanings: what each metric counts (see `meanings`), put into the reasons where a metric is named.

    Returns:
        The record of `verdict.json`: verdict, meaning, reasons, checks, effect, low, high, money, money_sentence,
        next_action, guardrails (metric, arm, finding), and whatever else the experiment's record holds.

    Raises:
        ValueError: the experiment's verdict is not one of the four.
    """
    record = {"effect": None, "low": None, "high": None, "money": None, **experiment}
    found = record.get("verdict", "HOLD")
    if found not in VERDICTS:
        raise ValueError(f"verdict == {found!r}, must be one of {VERDICTS}.")
    reasons = [_explained(each, meanings or {}) for each in record.get("reasons", [])] or [NO_EXPERIMENT]
    failed = _failed(checks)
    if failed:
        found, reasons = "INVALID", failed + reasons
    action = record.get("next_action") if found == record.get("verdict") else None
    if not experiment and found == "HOLD":
        action = "Publish tonight's slates with their control group; the difference between the two is the experiment."
    record |= {
        "source": source, "verdict": found, "reasons": reasons, "next_action": action or NEXT_ACTION[found],
        "checks": [] if checks is None else checks.astype("str").to_dict("records"),
        "guardrails": guardrails(scorecard(readout))[["metric", "arm", "finding"]].to_dict("records"),
    }
    record["meaning"] = _meaning(record, scorecard(readout))
    return record | {"money_sentence": money_sentence(record)}


def _meaning(record: dict, scores: pd.DataFrame) -> str:
    """What the verdict means, no more than the readout bears out."""
    found, is_better = record["verdict"], ((scores["role"] == "success") & (scores["finding"] == "better")).any()
    if found == "SHIP" and len(scores) and not (scores["role"] == "guardrail").any():
        return SHIP_UNGUARDED
    if found == "HOLD" and record["effect"] is None:
        return NOTHING_PROVEN
    return HOLD_UNSURE if found == "HOLD" and is_better else MEANING[found]


def meanings(source: dict) -> dict[str, str]:
    """What each metric of the plan counts: its own `about`, else what its kind says."""
    plan = source.get("experiment") or {}
    return {str(name): str((entry or {}).get("about") or _of_kind(str(name), entry or {}))
            for name, entry in (plan.get("metrics") or {}).items()}


def _of_kind(name: str, entry: dict) -> str:
    column = entry.get("column", name)
    return {
        "proportion": f"share of customers with {column}", "quantile": f"{column} of a customer, quantile {entry.get('quantile', 0.5)}",
        "ratio": f"{entry.get('numerator')} for each {entry.get('denominator')}",
    }.get(entry.get("kind", "mean"), f"{column} a customer")


def _explained(reason: str, known: Mapping[str, str]) -> str:
    """The sentence with what its metric counts in brackets after the name."""
    for name, about in known.items():
        start = re.match(rf"(?:[^:]+: )?{re.escape(name)}(?= )", reason)
        if start and name not in about:
            return f"{start[0]} ({about}){reason[start.end():]}"
    return reason


def headline(verdict: dict) -> str:
    """Say the verdict and what it means."""
    return f"{verdict['verdict']}. {verdict['meaning']}"


def compared_sentence(readout: pd.DataFrame | None) -> str:
    """Say who is called the new policy and who the old one."""
    if readout is None or readout.empty:
        return "No two groups of customers were compared."
    sizes = readout.groupby("arm", sort=True)["n_arm"].max()
    new = " and ".join(f"{arm!r} ({n:,} customers)" for arm, n in sizes.items())
    start = "The new policy is" if len(sizes) == 1 else "The new policies are"
    return f"{start} {new}; the old one, the control, is {readout['control'].iloc[0]!r} ({readout['n_control'].max():,} customers)."


def reasons(verdict: dict) -> pd.DataFrame:
    """The reasons of the verdict, one a row."""
    return pd.DataFrame({"why": verdict["reasons"]})


def next_sentence(verdict: dict) -> str:
    """Say what to do next."""
    return f"Next: {verdict['next_action']}"


def scorecard(readout: pd.DataFrame | None, known: Mapping[str, str] | None = None) -> pd.DataFrame:
    """List what every primary metric says, success metrics first.

    Args:
        readout: the `readout` table, or None.
        known: what each metric counts.

    Returns:
        One row a metric and arm: the columns of the readout, and besides counts (what the metric counts), finding, label
        (for figures) and margin (of the relative difference; missing where there is none).
    """
    if readout is None:
        return pd.DataFrame(columns=["role", "metric", "arm", "counts", "mean_control", "mean_arm", *RANGE, "finding", "label", "margin"])
    kept = readout[readout["is_primary"]].sort_values(["role", "metric", "arm"], key=_in_order).reset_index(drop=True)
    kept = kept.assign(counts=[(known or {}).get(name, "") for name in kept["metric"]], label=_labels(kept))
    finding = kept["finding"] if "finding" in kept else kept.apply(_seen, axis=1)
    return kept.assign(finding=finding, margin=kept["margin"] if "margin" in kept else float("nan"))


def _in_order(column: pd.Series) -> pd.Series:
    return column.map(ROLES) if column.name == "role" else column


def _labels(table: pd.DataFrame) -> pd.Series:
    return table["metric"] if table["arm"].nunique() <= 1 else table["metric"] + " in " + table["arm"]


def _seen(row: pd.Series) -> str:
    """Higher or lower, where the readout does not say which of them is better."""
    return "higher" if row["effect_low"] > 0 else "lower" if row["effect_high"] < 0 else "not shown"


def scores_table(scores: pd.DataFrame) -> pd.DataFrame:
    """The scorecard for people, guardrails left to their own table: relative differences in per cent, findings in words."""
    shown = scores[scores["role"] != "guardrail"]
    in_words = {to: [report.percent(value) for value in shown[of]] for of, to in zip(RANGE, ("change", "at_least", "at_most"))}
    return shown.assign(**in_words)[["metric", "counts", "arm", "mean_control", "mean_arm", *in_words, "finding"]]


def trimmed(table: pd.DataFrame) -> pd.DataFrame:
    """The table without the columns that would say nothing: the arm where there is one, what is counted where no plan says it."""
    bare = [name for name, is_bare in (("arm", table["arm"].nunique() <= 1), ("counts", (table["counts"] == "").all())) if is_bare]
    return table.drop(columns=bare)


def for_figure(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows of the scorecard that a figure can show, relative numbers in per cent."""
    known = scores.dropna(subset=["lift_low", "lift_high"])
    return known.assign(**{name: 100 * known[name] for name in (*RANGE, "margin")})


def scorecard_sentence(scores: pd.DataFrame) -> str:
    """Say which metrics the new policy moved, for better or worse, and how many it did not."""
    if scores.empty:
        return "No metric was compared with a control group."
    kinds = scores["finding"].str.split(",").str[0]
    said = [f"{kind}: {', '.join(scores.loc[kinds == kind, 'label'])}" for kind in ("better", "worse", "higher", "lower") if (kinds == kind).any()]
    rest = int((~kinds.isin(["better", "worse", "higher", "lower"])).sum())
    if not said:
        return f"Against the old policy, none of {len(scores)} metrics is shown to differ."
    return f"Against the old policy, {'; '.join(said)}{f'; {rest} of {len(scores)} are not shown to differ' if rest else ''}."


def guardrails(scores: pd.DataFrame) -> pd.DataFrame:
    """The guardrails against their margins, each in the unit in which its margin was agreed.

    Returns:
        One row a guardrail and arm: metric, counts, arm, mean_control, mean_arm, change, at_least, at_most, allowed, finding.
    """
    held = scores[scores["role"] == "guardrail"]
    in_words = pd.DataFrame([_in_own_unit(row) for row in held.to_dict("records")], index=held.index,
                            columns=["change", "at_least", "at_most", "allowed"])
    return held.drop(columns=[name for name in in_words if name in held]).join(in_words)[
        ["metric", "counts", "arm", "mean_control", "mean_arm", *in_words, "finding"]].reset_index(drop=True)


def _in_own_unit(row: dict) -> list[str]:
    if row.get("is_margin_absolute"):
        return [report.number(row[name]) for name in ("effect", "effect_low", "effect_high", "margin_effect")]
    return [report.percent(row[name]) for name in (*RANGE, "margin")]


def guardrail_sentence(held: pd.DataFrame) -> str:
    """Say which guardrails held, which gave way, and which are still open."""
    if held.empty:
        return "No guardrail was agreed for this source."
    parts = [f"{finding}: {', '.join(group['metric'])}" for finding, group in held.groupby("finding", sort=True)]
    return f"Of {len(held)} guardrails, {'; '.join(parts)}."


def assumptions(source: dict) -> pd.DataFrame:
    """What this run takes for granted about its source, one sentence a row."""
    return pd.DataFrame({"assumed": list(source.get("assumptions") or ["Nothing beyond the data."])})


def not_measurable(tables: Mapping[str, pd.DataFrame | None], source: dict) -> pd.DataFrame:
    """List what this run cannot say: what it has no table for, with the source's own reason, and metrics without a number.

    Args:
        tables: the tables of the run by name, None where it has none.
        source: facts of the source; `lacks` says why something is not there.
    """
    lacks = source.get("lacks") or {}
    rows = [(what, lacks.get(cause) or f"{why[:1].upper()}{why[1:]}.") for name, (what, why, cause) in ABSENT.items() if _is_empty(tables.get(name))]
    readout = tables.get("readout")
    if readout is not None:
        empty = readout[readout["effect"].isna() & readout["is_primary"]]
        reason = empty["reason"] if "reason" in empty else pd.Series(index=empty.index, dtype="str")
        rows += list(zip(empty["metric"] + " in " + empty["arm"], reason.fillna("No number could be computed.")))
    return pd.DataFrame(rows, columns=["what", "why"])


def _is_empty(table: pd.DataFrame | None) -> bool:
    return table is None or table.empty


def health_sentence(checks: pd.DataFrame | None) -> str:
    """Say how many checks of this run passed, and name the others."""
    if checks is None or checks.empty:
        return "Nothing was monitored in this run."
    named = {status: checks.loc[checks["status"] == status, "check_id"].astype("str").tolist() for status in ("fail", "warn")}
    others = [f"{word}: {', '.join(named[status])}" for status, word in (("fail", "failed"), ("warn", "to look at")) if named[status]]
    return f"{int((checks['status'] == 'pass').sum())} of {len(checks)} checks of data and slates pass{''.join('; ' + each for each in others)}."


def price_list(rule_prices: pd.DataFrame | None, rules: pd.DataFrame | None, *, policy: str) -> pd.DataFrame:
    """List what each rule costs, dearest first, with its owner.

    Returns:
        One row a rule: rule_id, owner, reason, is_binding (yes or no), n_removed, cost (value that lifting the rule alone would
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
    yes = {True: "yes", False: "no"}
    priced = priced.assign(cost=priced["drop_one_value"], for_sale=(~is_kept).map(yes), is_binding=priced["is_binding"].map(yes))
    return priced.sort_values(["cost", "rule_id"], ascending=[False, True])[columns].reset_index(drop=True)


def unit_of(rule_prices: pd.DataFrame | None, *, policy: str, otherwise: str) -> str:
    """The unit in which most rules of a policy are priced."""
    own = pd.Series(dtype="str") if rule_prices is None else rule_prices.loc[rule_prices["policy"] == policy, "unit"].dropna()
    return otherwise if own.empty else str(own.mode().iloc[0])


def price_sentence(prices: pd.DataFrame, *, unit: str) -> str:
    """Say which rule that may be relaxed costs most, or that none costs anything."""
    if prices.empty:
        return "No rule was priced."
    dear = prices[prices["cost"] > 0]
    sold, kept = (dear[dear["for_sale"] == word].head(1).to_dict("records") for word in ("yes", "no"))
    told = "No rule that may be relaxed costs anything tonight."
    if sold:
        told = (f"The dearest rule that may be relaxed is {_named(sold[0])}: without it, tonight's slates would be worth "
                f"{sold[0]['cost']:,.2f} {unit} more.")
    if kept:
        told += f" Not for sale, whatever it costs: {_named(kept[0])}, {kept[0]['cost']:,.2f} {unit}."
    return told


def _named(rule: dict) -> str:
    return f"{rule['rule_id']} ({str(rule['reason']).rstrip('.')})"


def forecasts(table: pd.DataFrame | None) -> pd.DataFrame:
    """Forecasts beside what came; `agrees` is yes where the two intervals overlap."""
    columns = ["policy", "metric", "forecast", "low", "high", "observed", "observed_low", "observed_high", "agrees"]
    if table is None or table.empty:
        return pd.DataFrame(columns=columns)
    low, high = table["observed_low"].fillna(table["observed"]), table["observed_high"].fillna(table["observed"])
    overlaps = ((high >= table["low"]) & (low <= table["high"])).map({True: "yes", False: "no"})
    open_ones = overlaps.where(table["low"].notna() & table["high"].notna(), "had no interval")
    return table.assign(agrees=open_ones.where(table["observed"].notna(), "not yet known"))[columns]


def forecast_sentence(shown: pd.DataFrame) -> str:
    """Say how many forecasts have met their outcome, and how many of those intervals held it."""
    if shown.empty:
        return "No forecast was made before this run, so none can be scored."
    n = shown["agrees"].value_counts()
    judged = n.get("yes", 0) + n.get("no", 0)
    rest = [f"{n[word]} {words}" for word, words in (("had no interval", "had no interval to be judged by"),
                                                     ("not yet known", "wait for their outcome")) if word in n]
    if not judged:
        return f"Of {len(shown)} forecasts, {' and '.join(rest)}."
    tail = "".join(f"; {each}" for each in rest)
    return f"{n.get('yes', 0)} of {judged} forecasts agree with what came (their interval and that of the outcome overlap){tail}."


def money_sentence(verdict: dict) -> str:
    """Say the effect in money with its interval, or why there is none."""
    money = verdict.get("money")
    if verdict["verdict"] == "INVALID":
        return "Money is not shown: the evidence cannot be read."
    if not isinstance(money, dict) or money.get("amount") is None:
        why = "no effect was read" if verdict.get("effect") is None else "no success metric is in money"
        return f"No money can be put on this decision: {why}."
    metric, unit, (low, high) = money.get("metric", "the outcome"), money.get("currency") or "", sorted((money["low"], money["high"]))
    return (f"Had all {money.get('n_customers', 0):,} customers of the experiment got {money.get('arm', 'the new policy')!r} for as long as it ran, "
            f"{metric} would be {money['amount']:+,.2f} {unit} against the old policy: that is the best guess, and between {low:+,.2f} and "
            f"{high:+,.2f} {unit} hold with {100 * money.get('confidence', 0.95):.0f} % confidence.").replace("  ", " ")


def change_sentence(verdict: dict, before: dict) -> str:
    """Say what moved against the last published run of the same source."""
    if not before:
        return "No run of this source was published before: there is nothing to compare this one with."
    old, new = _effect(before), _effect(verdict)
    tail = "" if old == new else f"; the effect in {verdict.get('metric') or 'the deciding metric'} was {old}, and is {new}"
    if verdict["verdict"] != before.get("verdict"):
        return f"The verdict moved from {before.get('verdict')} to {verdict['verdict']}{tail}."
    return f"The verdict is {verdict['verdict']}, as in the run before{tail or ', and so is the effect'}."


def _effect(verdict: dict) -> str:
    if verdict.get("effect") is None:
        return "not known"
    return f"{report.number(verdict['effect'])} {report.interval(verdict['low'], verdict['high'])}"


def _failed(checks: pd.DataFrame | None) -> list[str]:
    if checks is None:
        return []
    bad = checks[checks["status"] == "fail"]
    return [f"{row.detail.rstrip('.')}: {row.observed}, allowed {row.allowed} ({row.check_id})." for row in bad.itertuples()]
