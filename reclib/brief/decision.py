"""The decision: one verdict with its meaning, its money, its reasons and what to do next.

The brief computes nothing anew: it puts together what the experiment and the checks say; the same record is printed and
written as `verdict.json`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import pandas as pd

from reclib import report
from reclib.brief.evidence import guardrails, scorecard

VERDICTS = ("SHIP", "HOLD", "ROLLBACK", "INVALID")
MEANING = {
    "SHIP": "The new policy is proven better and no guardrail was harmed beyond what was agreed.",
    "HOLD": "The new policy is not proven better, and not proven harmful.",
    "ROLLBACK": "The new policy does proven harm.",
    "INVALID": "The evidence cannot be read; no number of this run may be acted on.",
}
HOLD_UNSURE = "The new policy is proven better, but not every guardrail is shown to have held."
SHIP_UNGUARDED = "The new policy is proven better; no guardrail was agreed, so nothing watched for harm elsewhere."
NEXT_ACTION = {
    "SHIP": "Give the new policy to everyone, and keep a small control group to see whether the gain lasts.",
    "HOLD": "Keep the experiment as it is; decide when the planned number of customers is reached.",
    "ROLLBACK": "Go back to the control policy tonight, and find out which customers were harmed.",
    "INVALID": "Mend what the failed checks name, and run again before anyone decides.",
}
NOTHING_PROVEN = "No effect was read, so nothing is proven for or against the new policy."
NO_EXPERIMENT = "This source has no finished randomised experiment, so nothing is proven about the effect of the policy."


def final_verdict(experiment: dict, checks: pd.DataFrame | None, *, source: str = "", readout: pd.DataFrame | None = None,
                  meanings: Mapping[str, str] | None = None, why_none: str = "") -> dict:
    """Combine the verdict of the experiment with the checks of the run: a failed check makes it INVALID, and stands alone.

    Args:
        experiment: the verdict record of the experiment (`verdict`, `reasons`, `effect`, `low`, `high`, `money`,
            `next_action`), or an empty record where the source has no experiment.
        checks: the `checks` table, or None where nothing was monitored.
        source: name of the source, so that only runs of one source are compared.
        readout: the `readout` table; without a guardrail in it, none is said to have held.
        meanings: what each metric counts (see `meanings`), put into the reasons where a metric is named.
        why_none: what the source says of its having no experiment, told where there is none.

    Returns:
        The record of `verdict.json`: verdict, meaning, reasons, checks (of the experiment, then of the run), effect, low,
        high, money, money_sentence, next_action, guardrails (metric, arm, finding), and whatever else the experiment's
        record holds.

    Raises:
        ValueError: the experiment's verdict is not one of the four.
    """
    record = {"effect": None, "low": None, "high": None, "money": None, **experiment}
    found = record.get("verdict", "HOLD")
    if found not in VERDICTS:
        raise ValueError(f"verdict == {found!r}, must be one of {VERDICTS}.")
    reasons = [_explained(each, meanings or {}) for each in record.get("reasons", [])] or [NO_EXPERIMENT, *filter(None, [why_none])]
    failed = _failed(checks)
    if failed:
        found, reasons = "INVALID", failed + (reasons if found == "INVALID" else [])
    action = record.get("next_action") if found == record.get("verdict") else None
    if not experiment and found == "HOLD":
        action = "Publish tonight's slates with their control group; the difference between the two is the experiment."
    record |= {
        "source": source, "verdict": found, "reasons": reasons, "next_action": action or NEXT_ACTION[found],
        "checks": record.get("checks", []) + ([] if checks is None else checks.astype("str").to_dict("records")),
    }
    record["guardrails"] = guardrails(scorecard(believed(readout, record)))[["metric", "arm", "finding"]].to_dict("records")
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


def believed(table: pd.DataFrame | None, verdict: dict) -> pd.DataFrame | None:
    """A table of results, or None where the verdict says that the evidence cannot be read: nobody may act on it."""
    return None if verdict["verdict"] == "INVALID" else table


def or_refused(sentence: str, verdict: dict) -> str:
    """What is said of results, or why nothing is."""
    return "Not shown: the evidence cannot be read." if verdict["verdict"] == "INVALID" else sentence


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


def health_sentence(checks: pd.DataFrame | None) -> str:
    """Say how many checks of this run passed, and name the others."""
    if checks is None or checks.empty:
        return "Nothing was monitored in this run."
    named = {status: checks.loc[checks["status"] == status, "check_id"].astype("str").tolist() for status in ("fail", "warn")}
    others = [f"{word}: {', '.join(named[status])}" for status, word in (("fail", "failed"), ("warn", "to look at")) if named[status]]
    return f"{int((checks['status'] == 'pass').sum())} of {len(checks)} checks of data and slates pass{''.join('; ' + each for each in others)}."


def money_sentence(verdict: dict) -> str:
    """Say the effect in money with its interval, or why there is none."""
    money = verdict.get("money")
    if verdict["verdict"] == "INVALID":
        return "Money is not shown: the evidence cannot be read."
    if not isinstance(money, dict) or money.get("amount") is None:
        why = "no effect was read" if verdict.get("effect") is None else "no success metric is in money"
        return f"No money can be put on this decision: {verdict.get('why_no_money') or why}."
    metric, unit, (low, high) = money.get("metric", "the outcome"), money.get("currency") or "", sorted((money["low"], money["high"]))
    cap = "" if money.get("cap") is None else f", no customer counting for more than {money['cap']:,.2f} {unit}"
    known = f" whose {metric} is known" if money.get("n_missing") else ""
    return (f"Had all {money.get('n_customers', 0):,} customers of the experiment{known} got {money.get('arm', 'the new policy')!r} for as long as it ran, "
            f"{metric} would be {money['amount']:+,.2f} {unit} against the old policy: that is the best guess, and between {low:+,.2f} and "
            f"{high:+,.2f} {unit} hold with {100 * money.get('confidence', 0.95):.0f} % confidence{cap}.").replace("  ", " ")


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
    if verdict.get("effect") is None or verdict.get("verdict") == "INVALID":
        return "not known"
    return f"{report.number(verdict['effect'])} {report.interval(verdict['low'], verdict['high'])}"


def _failed(checks: pd.DataFrame | None) -> list[str]:
    if checks is None:
        return []
    bad = checks[checks["status"] == "fail"]
    return [f"{row.detail.rstrip('.')}: {row.observed}, allowed {row.allowed} ({row.check_id})." for row in bad.itertuples()]
