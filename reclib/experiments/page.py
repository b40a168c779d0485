"""The experiment as a page tells it: everything read at once, then tables and sentences for people.

Where a part cannot be read, its table is empty and its sentence says why.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from reclib import report, schema
from reclib.experiments import plan as plans
from reclib.experiments import power, segments, trust
from reclib.experiments import readout as readouts
from reclib.experiments import verdict as verdicts
from reclib.experiments.stats import statistics

SCORE = ["metric", "arm", "role", "finding", "mean_control", "mean_arm", "effect", "effect_low", "effect_high", "lift", "p_adjusted"]
WIDEST = 10.0


@dataclass(frozen=True)
class Reading:
    """A finished experiment, read.

    Attributes:
        plan: its plan, or None where there is none.
        readout: the `readout` table, empty without.
        checks: what was checked, in the shape of `checks`.
        segments: effects by segment.
        verdict: the record of the verdict, empty without a plan or units.
        currency: currency of the source, empty without.
        why: why nothing could be read, empty where something was.
        refusal: why no effect may be told: as `why`, or since the verdict is INVALID.
    """

    plan: plans.Plan | None
    readout: pd.DataFrame
    checks: pd.DataFrame
    segments: pd.DataFrame
    verdict: dict = field(default_factory=dict)
    currency: str = ""
    why: str = ""

    @property
    def refusal(self) -> str:
        is_invalid = self.verdict.get("verdict") == verdicts.INVALID
        return self.why or ("Not told: the experiment must not be read." if is_invalid else "")


def read(units: pd.DataFrame | None, source: dict, *, rule_prices: pd.DataFrame | None = None,
         rules: dict | None = None) -> Reading:
    """Read the experiment of a source, if it has one.

    Args:
        units: the `units` table, or None.
        source: facts of the source: experiment (the plan), currency, is_randomised, and is_split, which says whether
            stock and budgets were divided between the arms.
        rule_prices: `rule_prices`, to see whether arms shared what ran out.
        rules: facts of the rules, which may say `is_split` where the source does not.
    """
    record = source.get("experiment")
    currency = source.get("currency") or ""
    why = _why_not(units, record, source)
    if why:
        return Reading(None, _empty_readout(), pd.DataFrame(columns=list(schema.TABLES["checks"].columns)),
                       pd.DataFrame(columns=segments.COLUMNS), currency=currency, why=why)
    plan = plans.parse({"is_randomised": source.get("is_randomised", True)} | record)
    own = readouts.of_experiment(units, plan)
    stats = statistics(own, plan)
    table = readouts.from_statistics(stats, plan, blocked=readouts.blocking_reason(own, plan))
    checks = pd.concat([
        trust.check_units(own, plan, stats=stats),
        trust.check_interference(rule_prices, is_split=source.get("is_split", (rules or {}).get("is_split"))),
    ], ignore_index=True)
    found = verdicts.verdict(table, checks, plan, currency=currency)
    is_read = plan.is_randomised and found["verdict"] != verdicts.INVALID
    known = table.loc[(table["role"] == "success") & table["is_primary"] & (table["finding"] != "refused"), "metric"]
    split = segments.by_segment(own, plan, metrics=known.tolist()) if is_read else pd.DataFrame(columns=segments.COLUMNS)
    return Reading(plan, table, checks, split, found, currency)


def _why_not(units: pd.DataFrame | None, record: dict | None, source: dict) -> str:
    name = source.get("name", "this source")
    if units is None and not record:
        return f"{name} has no experiment, so no effect can be read."
    if not record:
        return f"{name} has customers in arms, but no plan that was written before; without one nothing is decided."
    if units is None:
        return f"The plan of {record.get('experiment_id')!r} is written, but its customers have not answered yet."
    ids = set(units["experiment_id"].astype("str")) if "experiment_id" in units else set()
    if ids and str(record.get("experiment_id")) not in ids:
        return f"The units are of {sorted(ids)}, and the plan is of {record.get('experiment_id')!r}: they do not belong together."
    return ""


def _empty_readout() -> pd.DataFrame:
    kinds = {"number": "float64", "share": "float64", "count": "int64", "flag": "bool"}
    contract = schema.TABLES["readout"].columns
    return pd.DataFrame({name: pd.Series(dtype=kinds.get(column.kind, "str")) for name, column in contract.items()})


def trust_table(reading: Reading) -> pd.DataFrame:
    """The checks, worst first."""
    order = {"fail": 0, "warn": 1, "pass": 2}
    shown = reading.checks.assign(place=reading.checks["status"].map(order)).sort_values("place", kind="stable")
    return shown[["check_id", "status", "detail", "observed", "allowed"]].reset_index(drop=True)


def trust_sentence(reading: Reading) -> str:
    """Say whether the experiment can be trusted."""
    if reading.why:
        return reading.why
    failed, warned = (reading.checks[reading.checks["status"] == status] for status in ("fail", "warn"))
    if len(failed):
        return "The experiment must not be read: " + "; ".join(failed["detail"]) + "."
    size = f"{len(reading.checks)} checks found nothing against it" if warned.empty else (
        f"no check failed; to bear in mind: {'; '.join(warned['detail'])}")
    return f"The experiment can be read: {size}." if reading.plan.is_randomised else f"Only described, not read: {'; '.join(warned['detail'])}."


def scorecard(reading: Reading) -> pd.DataFrame:
    """The primary rows, success metrics first."""
    own = _primary(reading)
    if own.empty:
        return pd.DataFrame(columns=SCORE)
    return own[[name for name in SCORE if name != "arm" or own["arm"].nunique() > 1]]


def _primary(reading: Reading) -> pd.DataFrame:
    """The rows that decide, in the order of their roles."""
    own = reading.readout[reading.readout["is_primary"].astype("bool")]
    return own.sort_values("role", key=lambda roles: roles.map(schema.METRIC_ROLES.index), kind="stable", ignore_index=True)


def score_sentence(reading: Reading) -> str:
    """Say what every success metric and guardrail shows."""
    if reading.why:
        return reading.why
    reasons = reading.verdict["reasons"]
    return " ".join(reasons[:8]) + (f" And {len(reasons) - 8} more." if len(reasons) > 8 else "")


def forest(reading: Reading) -> pd.DataFrame:
    """Relative effects in percent with Fieller's intervals and margins; those wider than ten times the control are left out.

    Where a margin is in the unit of the metric, so is what it is held against: the effect, in percent of the control mean as
    it was seen, so that the figure never denies the finding.

    Returns:
        label, role, finding, lift, lift_low, lift_high, margin; nothing where the experiment must not be read.
    """
    own = _primary(reading)
    base = own["mean_control"].abs().where(own["mean_control"] != 0)
    held = {lift: own[lift].where(~own["is_margin_absolute"].astype(bool), own[effect] / base)
            for lift, effect in (("lift_low", "effect_low"), ("lift_high", "effect_high"))} if len(own) else {}
    own = own.assign(**held)
    own = own[own["lift_high"] - own["lift_low"] < WIDEST]
    words, numbers = ["label", "role", "finding"], ["lift", "lift_low", "lift_high", "margin"]
    if own.empty or reading.refusal:
        return pd.DataFrame(columns=words + numbers)
    label = own["metric"] + (", " + own["arm"] if own["arm"].nunique() > 1 else "")
    return own.assign(label=label, **{name: 100 * own[name] for name in numbers})[words + numbers].reset_index(drop=True)


def forest_sentence(reading: Reading) -> str:
    """Say in words what the forest plot shows."""
    table = forest(reading)
    if table.empty:
        return reading.refusal or "No relative effect could be drawn."
    parts = [f"{row.label} {row.lift:+.1f} % [{row.lift_low:+.1f}, {row.lift_high:+.1f}]" for row in table.itertuples()]
    return "Relative effects with their intervals: " + "; ".join(parts) + "."


def methods_table(reading: Reading) -> pd.DataFrame:
    """All methods of the success metrics side by side, so that an adjustment can be seen to change nothing but width."""
    wanted = ["metric", "arm", "method", "effect", "effect_low", "effect_high", "p_value", "variance_saved", "is_primary"]
    if reading.why:
        return pd.DataFrame(columns=wanted)
    return reading.readout.loc[reading.readout["role"] == "success", wanted].reset_index(drop=True)


def adjustment_sentence(reading: Reading) -> str:
    """Say what the covariates bought, and whether an adjustment turned a sign."""
    if reading.refusal or not reading.plan.covariates:
        return reading.refusal or "No covariate was planned, so nothing was adjusted."
    own = reading.readout[reading.readout["method"].isin(["cuped", "unadjusted"])]
    wide = own.pivot_table(index=["metric", "arm"], columns="method", values="effect")
    if wide.empty or "cuped" not in wide:
        return "Nothing could be adjusted."
    is_seen = own.groupby(["metric", "arm"])["p_value"].min().reindex(wide.index) < reading.plan.alpha
    turned = wide[is_seen & ((wide["cuped"] * wide["unadjusted"]) < 0)]
    best = own["variance_saved"].max()
    gain = f"took out up to {report.percent(best)} of the variance" if best > 0.01 else "bought nothing here (at most "
    gain += "" if best > 0.01 else f"{report.percent(max(best, 0), 2)} of the variance)"
    names = ", ".join(f"{metric} ({arm})" for metric, arm in turned.index)
    return f"The covariates {gain}." + (f" The adjustment turned the sign of {names}: look at both rows before believing either." if names else "")


def power_table(reading: Reading) -> pd.DataFrame:
    """What the test could have seen, before and after.

    Returns:
        metric, arm, detectable (smallest effect found with 80 % power, relative to the control), seen (relative), and,
        where the plan states the effect it was sized for, planned and power_at_planned.
    """
    columns = ["metric", "arm", "detectable", "seen", "planned", "power_at_planned"]
    own = _primary(reading)
    if own.empty:
        return pd.DataFrame(columns=columns[:4])
    own = own[own["effect"].notna() & own["role"].isin(["success", "guardrail"])]
    base = own["mean_control"].abs().where(own["mean_control"] != 0)
    known, planned = own.assign(detectable=own["detectable"] / base, seen=own["lift"]), reading.plan.planned_effect
    if planned is None:
        return known[columns[:4]].reset_index(drop=True)
    chance = power.power_of(planned * base, own["se"], alpha=reading.plan.alpha)
    return known.assign(planned=planned, power_at_planned=chance)[columns].reset_index(drop=True)


def power_sentence(reading: Reading) -> str:
    """Say how small an effect the test could have found."""
    table = power_table(reading)
    table = table[table["metric"].isin([metric.name for metric in reading.plan.of_role("success")])] if len(table) else table
    if table.empty or reading.refusal:
        return reading.refusal or "No success metric could be read, so nothing is known of its power."
    parts = [f"{row.metric} {report.percent(row.detectable)}" for row in table.drop_duplicates("metric").itertuples()]
    return (f"With four chances in five the test could have found relative effects of {', '.join(parts)}; "
            f"what is smaller than that, it was likely to miss.")


def segments_sentence(reading: Reading) -> str:
    """Say whether the effect differs between segments, after correction."""
    if reading.refusal:
        return reading.refusal
    if not reading.plan.segments:
        return "The plan names no segment, so none is read: a segment picked afterwards would prove nothing."
    table = reading.segments
    if table.empty:
        return "The planned segments could not be read."
    tested = table.drop_duplicates(["segment", "metric", "arm"])
    differing = tested[tested["p_interaction"] < reading.plan.alpha]
    if differing.empty:
        return f"No planned segment answers differently beyond chance ({len(tested)} comparisons, corrected)."
    names = "; ".join(f"{row.metric} by {row.segment} ({row.arm})" for row in differing.itertuples())
    return f"The effect differs between segments, after correction: {names}."


def over_time(answers: pd.DataFrame | None, units: pd.DataFrame | None, assignments: pd.DataFrame | None,
              reading: Reading) -> pd.DataFrame:
    """Effects by week since the start, on orders paid; empty where no answer has a day.

    Args:
        answers: `events` of the days after the assignment.
        units: `units`.
        assignments: `assignments` with the moment of the start.
        reading: the experiment.
    """
    columns = ["arm", "period", "effect", "effect_low", "effect_high", "lift", "p_fading"]
    if reading.refusal or answers is None or assignments is None or units is None or not reading.plan.is_randomised:
        return pd.DataFrame(columns=columns)
    start = assignments["assigned_at"].min()
    after = answers[(answers["event_type"] == "purchase") & (answers["occurred_at"] > start)]
    week = ((after["occurred_at"] - start) // pd.Timedelta(days=7)).astype("int64")
    n_weeks = int((answers["occurred_at"].max() - start) / pd.Timedelta(days=7) + 0.1) if len(after) else 0
    if n_weeks < 2:
        return pd.DataFrame(columns=columns)
    rows = pd.DataFrame({"customer_id": after["customer_id"], "period": week, "value": after["value"].fillna(0.0)})
    return segments.over_time(rows[week < n_weeks], units, reading.plan, n_periods=n_weeks)


def time_sentence(table: pd.DataFrame, currency: str) -> str:
    """Say whether the effect faded or grew over the weeks."""
    if table.empty:
        return "Whether the effect is new and fades cannot be told: the customers come without days, or must not be read."
    parts = []
    for arm, own in table.groupby("arm", sort=True):
        first, last = own.iloc[0], own.iloc[-1]
        moved = "changed" if last["p_fading"] < 0.05 else "is not shown to have changed"
        parts.append(f"{arm}: {report.money(first['effect'], currency or 'a customer')} in week 1 and "
                     f"{report.money(last['effect'], currency or 'a customer')} in week {int(last['period'])}; the effect {moved} "
                     f"between the first half and the last (p = {last['p_fading']:.2g})")
    return "Purchases a customer, arm less control: " + "; ".join(parts) + "."


def money_sentence(reading: Reading) -> str:
    """Say the money, or why none can be named."""
    return reading.why or verdicts.money_sentence(reading.verdict)


def headline(reading: Reading) -> str:
    """The verdict in one line."""
    return verdicts.headline(reading.verdict) if reading.verdict else f"No verdict: {reading.why}"


def as_facts(reading: Reading, values: pd.DataFrame, *, forecast_sentence: str = "") -> dict:
    """The record that the brief reads: the verdict, the sample ratio and the sentences of this page.

    Args:
        reading: the experiment.
        values: `policy_values`. Where there is no experiment, the log is all the evidence: without support for any
            policy the verdict is INVALID, else HOLD, since a log proves no effect.
        forecast_sentence: what the ledger says.
    """
    ratio = reading.checks[reading.checks["check_id"] == "sample_ratio"]
    return {
        "verdict": dict(reading.verdict) or _without_experiment(reading, values), "why": reading.why,
        "experiment_id": None if reading.plan is None else reading.plan.experiment_id,
        "srm": None if ratio.empty else ratio[["status", "observed", "allowed", "detail"]].iloc[0].to_dict(),
        "sentences": {
            "headline": headline(reading), "trust": trust_sentence(reading), "scorecard": score_sentence(reading),
            "money": money_sentence(reading), "adjustment": adjustment_sentence(reading), "power": power_sentence(reading),
            "segments": segments_sentence(reading), "forecast": forecast_sentence,
        },
    }


def _without_experiment(reading: Reading, values: pd.DataFrame) -> dict:
    """HOLD with the reason; INVALID where a log is all the evidence and carries none of the policies."""
    is_refused = len(values) > 0 and bool((values["gate"] == "refuse").all())
    checks = [trust.check_support(row.gate, row.reason) for row in values.drop_duplicates("policy").itertuples()] if len(values) else []
    reasons = [reading.why] + [f"{row.policy}: {row.reason}." for row in values.drop_duplicates("policy").itertuples()]
    action = verdicts.NEXT["policy_support"] if is_refused else "Publish slates with a control group; the difference between the two is the experiment."
    return {
        "verdict": verdicts.INVALID if is_refused else verdicts.HOLD, "arm": None, "metric": None, "reasons": reasons,
        "checks": [record for table in checks for record in table.to_dict("records")], "effect": None, "low": None,
        "high": None, "by_arm": {}, "money": None, "next_action": action,
    }
