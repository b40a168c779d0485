"""The verdict in words and money: SHIP, HOLD, ROLLBACK or INVALID, and what to do next.

SHIP: a success metric is better, none is worse, and every guardrail is within its margin. ROLLBACK: a success metric
or a guardrail is worse (a guardrail that is worse but within its margin stops nothing that a success metric pays for).
HOLD: neither; a metric whose interval must not be trusted decides nothing. INVALID beats all: a failed check means that the numbers must not be read.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from reclib import report
from reclib.experiments.plan import Plan

SHIP, HOLD, ROLLBACK, INVALID = "SHIP", "HOLD", "ROLLBACK", "INVALID"
MONEY_NAMES = ("contribution", "profit", "net_revenue", "revenue", "spend", "sales")
WIDEST = 10.0
CARRIES = {SHIP: ("better",), ROLLBACK: ("worse", "worse, within margin"),
           HOLD: ("not shown", "margin not shown", "no margin", "refused", "not to be trusted")}
NEXT = {
    "units": "Repair the assignment: one row and one arm a customer, then read again.",
    "sample_ratio": "Find what loses customers of one arm, repair it and run the experiment anew; do not read this one.",
    "leaked_arms": "Find how customers came into an arm that the plan gives no share, and run the experiment anew.",
    "missing_values": "Find why values are lost more often in one arm; until then no arm can be compared.",
    "shared_stock": "Divide stock and budgets between the arms by their shares and run the experiment anew.",
    "policy_support": "Explore more, so that the log shows what the policy would show, and value it again.",
}


def verdict(readout: pd.DataFrame, checks: pd.DataFrame, plan: Plan, *, currency: str | None = None) -> dict:
    """Decide what to do.

    Args:
        readout: result of `readout.readout`.
        checks: `checks` rows (see `trust`); one that fails makes the verdict INVALID.
        plan: the plan.
        currency: currency of the source; without one, no amount is named.

    Returns:
        A record: verdict, arm, metric, reasons (sentences), checks (records), effect, low, high (of the metric that
        carries the verdict, missing as None), money (a record, or None), why_no_money and next_action.
    """
    primary = readout[readout["is_primary"]]
    failed = checks[checks["status"] == "fail"]
    by_arm = {arm: decide_arm(_findings(primary, arm)) for arm in plan.arms}
    if len(failed):
        word, arm, reasons = INVALID, plan.arms[0], [f"{row.detail[:1].upper()}{row.detail[1:]}." for row in failed.itertuples()]
    elif not plan.is_randomised:
        word, arm, reasons = HOLD, plan.arms[0], ["The arms were not drawn by lot, so no difference between them is an effect of the change."]
    else:
        word, arm = _overall(by_arm, primary, plan)
        reasons = _reasons(primary, plan, by_arm, arm)
    row = _deciding_row(primary, plan, arm, carries=CARRIES.get(word, ()))
    is_read = word != INVALID and row is not None
    why = "the experiment must not be read" if word == INVALID else why_no_money(primary, plan, arm, currency=currency)
    return {
        "verdict": word, "arm": arm, "metric": None if row is None else row["metric"], "reasons": reasons,
        "checks": checks[["check_id", "layer", "status", "observed", "allowed", "detail"]].to_dict("records"),
        "effect": _known(row, "effect") if is_read else None, "low": _known(row, "effect_low") if is_read else None,
        "high": _known(row, "effect_high") if is_read else None, "by_arm": by_arm,
        "money": None if why else money(primary, plan, arm, currency=currency), "why_no_money": why,
        "next_action": _next_action(word, arm, failed, primary, plan, by_arm),
    }


def decide_arm(findings: Sequence[tuple[str, str]]) -> str:
    """SHIP, HOLD or ROLLBACK from the (role, finding) of one arm's primary rows."""
    success, guardrails = ({finding for role, finding in findings if role == wanted} for wanted in ("success", "guardrail"))
    is_better = "better" in success
    if "worse" in success | guardrails or (not is_better and "worse, within margin" in guardrails):
        return ROLLBACK
    return SHIP if is_better and guardrails <= {"within margin", "worse, within margin"} else HOLD


def _findings(primary: pd.DataFrame, arm: str) -> list[tuple[str, str]]:
    own = primary[primary["arm"] == arm]
    return list(zip(own["role"], own["finding"]))


def _overall(by_arm: dict[str, str], primary: pd.DataFrame, plan: Plan) -> tuple[str, str]:
    """The best arm that may ship; else the arm to take back; else hold."""
    order = sorted(plan.arms, key=lambda arm: (-_gain(primary, plan, arm), arm))
    for word in (SHIP, ROLLBACK, HOLD):
        arms = [arm for arm in order if by_arm[arm] == word]
        if arms:
            return word, arms[0]
    return HOLD, plan.arms[0]


def _gain(primary: pd.DataFrame, plan: Plan, arm: str) -> float:
    row = _deciding_row(primary, plan, arm)
    if row is None or pd.isna(row["effect"]):
        return float("-inf")
    return float(row["effect"] if row["is_up"] else -row["effect"])


def _deciding_row(primary: pd.DataFrame, plan: Plan, arm: str, *, carries: Sequence[str] = ()) -> pd.Series | None:
    """The success metric of an arm that carries the decision: the one in money, else the first; none without.

    Args:
        carries: findings that carry the verdict; a metric with one of them goes before the others.
    """
    own = primary[(primary["arm"] == arm) & (primary["role"] == "success")]
    places = zip(~own["finding"].isin(carries), own["metric"] != money_metric(plan), range(len(own)))
    return own.iloc[min(places)[-1]] if len(own) else None


def _known(row: pd.Series | None, name: str) -> float | None:
    return None if row is None or pd.isna(row[name]) else float(row[name])


def _reasons(primary: pd.DataFrame, plan: Plan, by_arm: dict[str, str], arm: str) -> list[str]:
    """A sentence on each success metric and guardrail: those that carry the verdict of the arm first, then the one in money."""
    if not plan.of_role("success"):
        return ["The plan names no success metric, so nothing could be shown."]
    prefix = len(plan.arms) > 1
    rows = primary[primary["role"].isin(["success", "guardrail"])]
    order = rows.assign(is_other=(rows["arm"] != arm) | ~rows["finding"].isin(CARRIES[by_arm[arm]]),
                        is_guardrail=rows["role"] == "guardrail", is_plain=rows["metric"] != money_metric(plan))
    found = []
    for row in order.sort_values(["is_other", "is_guardrail", "is_plain"], kind="stable").itertuples():
        sentence = metric_sentence(row)
        found.append(f"{row.arm}: {sentence}" if prefix else sentence)
    if prefix:
        found.append("By arm: " + ", ".join(f"{arm} {word}" for arm, word in by_arm.items()) + ".")
    return found


def metric_sentence(row: object) -> str:
    """Say what a primary row of the readout shows, with its interval."""
    if row.finding == "refused":
        return f"{row.metric} cannot be read: {row.reason or 'it has no number'}."
    size = f"{report.number(row.effect)} {report.interval(row.effect_low, row.effect_high)} a customer"
    if row.kind in ("ratio", "quantile"):
        size = size.removesuffix(" a customer")
    if pd.notna(row.lift) and row.lift_high - row.lift_low < WIDEST and not row.is_margin_absolute:
        size += f" ({report.percent(row.lift)}, between {report.percent(row.lift_low)} and {report.percent(row.lift_high)})"
    if row.finding == "not to be trusted":
        return f"{row.metric} must not be trusted: {row.doubt}; it says {size}."
    words = {
        "better": "is better by", "worse": "is worse by", "not shown": "did not move beyond chance:",
        "within margin": "stays within its margin:", "worse, within margin": "is worse, though within its margin:",
        "margin not shown": "could be worse than its margin allows:", "no margin": "is not known to be worse, but has no margin:",
    }
    edge = report.number(row.margin_effect) if row.is_margin_absolute else report.percent(row.margin + 0.0)
    edge = f"; the margin is {edge}" if pd.notna(row.margin) else ""
    return f"{row.metric} {words[row.finding]} {size}{edge}."


def money_metric(plan: Plan) -> str | None:
    """The metric read in money: one that the plan marks `is_money`, else one named like money; profit before sales."""
    means = [metric for metric in plan.metrics if metric.kind == "mean"]
    place = {name: at for at, name in enumerate(MONEY_NAMES)}
    marked = sorted((metric.name for metric in means if metric.is_money), key=lambda name: place.get(name, len(place)))
    named = [name for name in MONEY_NAMES for metric in means if metric.name == name]
    return (marked or named or [None])[0]


def why_no_money(primary: pd.DataFrame, plan: Plan, arm: str, *, currency: str | None) -> str:
    """Say why no amount can be named, or an empty text."""
    name = money_metric(plan)
    if not plan.of_role("success"):
        return "the plan names no success metric"
    if name is None:
        return "the plan measures no money"
    if not currency:
        return f"the source does not say in which currency {name} is"
    finding = primary.loc[(primary["arm"] == arm) & (primary["metric"] == name), "finding"].iloc[0]
    return {"refused": f"{name} could not be read", "not to be trusted": f"{name} must not be trusted"}.get(finding, "")


def money(primary: pd.DataFrame, plan: Plan, arm: str, *, currency: str) -> dict:
    """What the arm would bring in, in money (see `why_no_money`).

    Returns:
        metric, currency, arm, amount with low and high (had all `n_customers` of the experiment got it), per_customer
        with its interval, n_arm (those who got it), is_shown (the interval leaves out zero), confidence, n_missing
        (customers who are not counted) and cap (what a customer counts for at most, or None).
    """
    name = money_metric(plan)
    row = primary[(primary["arm"] == arm) & (primary["metric"] == name)].iloc[0]
    n = int(primary.loc[primary["metric"] == name, "n_arm"].sum() + row["n_control"])
    sizes = {"amount": row["effect"], "low": row["effect_low"], "high": row["effect_high"]}
    each = {"per_customer": row["effect"], "per_customer_low": row["effect_low"], "per_customer_high": row["effect_high"]}
    return {"metric": name, "currency": currency, "arm": arm, "n_customers": n, "n_arm": int(row["n_arm"]),
            "is_shown": bool(row["effect_low"] > 0 or row["effect_high"] < 0), "confidence": 1 - plan.alpha,
            "n_missing": int(primary.loc[primary["metric"] == name, "n_missing_arm"].sum() + row["n_missing_control"]),
            "cap": None if pd.isna(row["cap"]) else round(float(row["cap"]), 2),
            **{key: round(float(value) * n, 2) for key, value in sizes.items()},
            **{key: round(float(value), 6) for key, value in each.items()}}


def money_sentence(found: dict) -> str:
    """Say the money of a verdict, or why none can be named."""
    if found["why_no_money"]:
        return f"No amount is named: {found['why_no_money']}."
    found = found["money"]
    unit, n = found["currency"], found["n_arm"]
    low, high = report.money(found["per_customer_low"], unit), report.money(found["per_customer_high"], unit)
    best, total = report.money(found["per_customer"], unit), report.money(found["per_customer"] * n, unit, 0)
    span = f"between {report.money(found['per_customer_low'] * n, unit, 0)} and {report.money(found['per_customer_high'] * n, unit, 0)}"
    start = "We would expect" if found["is_shown"] else "Nothing is shown either way:"
    cap = "" if found["cap"] is None else f", no customer counting for more than {report.money(found['cap'], unit)}"
    return (f"{start} {best} {found['metric']} a customer in {found['arm']} (between {low} and {high}), "
            f"{total} over the {n:,} customers who got it ({span}){cap}.")


def headline(found: dict) -> str:
    """One line for the top of a page."""
    first = found["reasons"][0] if found["reasons"] else "nothing was measured."
    return f"{found['verdict']}: {first} {found['next_action']}"


def _next_action(word: str, arm: str, failed: pd.DataFrame, primary: pd.DataFrame, plan: Plan, by_arm: dict[str, str]) -> str:
    if word == INVALID:
        known = [name for name in NEXT if name in set(failed["check_id"])]
        return NEXT[known[0]] if known else "Repair what the failed checks name and run the experiment anew; do not read this one."
    if not plan.is_randomised:
        return "Draw the arms by lot next time; until then use this only to describe."
    if word == SHIP:
        return f"Give {arm!r} to everyone but a small control group, and compare what comes with what was foretold."
    if word == ROLLBACK:
        return f"Take {' and '.join(name for name, own in by_arm.items() if own == ROLLBACK)} back and look at what made it worse before trying again."
    return _how_to_go_on(primary[primary["arm"] == arm], plan)


def _how_to_go_on(own: pd.DataFrame, plan: Plan) -> str:
    """What a HOLD needs: a plan that can decide, readable metrics, or more customers."""
    unread = own.loc[own["role"].isin(["success", "guardrail"]) & (own["finding"] == "refused"), "metric"]
    if not plan.of_role("success"):
        return "Write a plan with a success metric before the next test."
    if len(unread):
        return f"Repair what keeps {', '.join(unread)} from being read, then read again."
    doubted = own.loc[own["role"].isin(["success", "guardrail"]) & (own["finding"] == "not to be trusted"), "metric"]
    if len(doubted):
        return (f"Nothing can rest on {', '.join(doubted)}: next time cap large values in the plan (`winsorise`), give the arms "
                f"equal shares, or wait for more customers.")
    unset = own.loc[own["finding"] == "no margin", "metric"]
    if len(unset):
        return f"State how much worse {', '.join(unset)} may get before the next test."
    successes = own[own["role"] == "success"]
    if not (successes["finding"] == "better").any() and (successes["finding"] == "not shown").any():
        row = successes[successes["finding"] == "not shown"].iloc[0]
        return (f"Keep the control; a new test needs more customers: this one could find effects of "
                f"{report.number(row['detectable'])} in {row['metric']}, and saw {report.number(row['effect'])}.")
    names = ", ".join(own.loc[own["finding"] == "margin not shown", "metric"])
    return f"Run on with more customers until {names} can be told from the margin."
