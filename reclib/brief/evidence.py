"""The evidence behind a decision, as tables for people and one sentence on each: metrics, guardrails, forecasts, prices."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from reclib import report

LABELS = {
    "what": "what", "why": "why", "assumed": "taken for granted", "metric": "metric", "arm": "new policy",
    "counts": "what it counts", "mean_control": "mean, old", "mean_arm": "mean, new", "change": "difference",
    "at_least": "at least", "at_most": "at most", "allowed": "agreed margin", "finding": "finding", "rule_id": "rule",
    "owner": "owner", "reason": "why it is there", "is_binding": "changes what is shown", "n_removed": "options removed",
    "cost": "cost tonight", "for_sale": "may be relaxed", "policy": "policy", "forecast": "foretold", "low": "at least",
    "high": "at most", "observed": "came", "observed_low": "came, at least", "observed_high": "came, at most", "agrees": "agrees",
}
ABSENT = {
    "readout": ("effect of the new policy", "no finished experiment was read", "units"),
    "rule_prices": ("cost of the rules", "no rule was priced", ""),
    "policy_values": ("worth of a policy that did not run", "no log says how likely each item was to be shown", "logged_deliveries"),
    "offline_metrics": ("quality of the ranking", "no ranking was held against what customers did later", ""),
    "checks": ("health of this run", "nothing was monitored", ""),
}
ROLES = {"success": 0, "guardrail": 1, "quality": 2, "exploratory": 3}
RANGE = ["lift", "lift_low", "lift_high"]


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
    finding = kept["finding"] if "finding" in kept else _seen(kept)
    return kept.assign(finding=finding, margin=kept["margin"] if "margin" in kept else float("nan"))


def _in_order(column: pd.Series) -> pd.Series:
    return column.map(ROLES) if column.name == "role" else column


def _labels(table: pd.DataFrame) -> pd.Series:
    return table["metric"] if table["arm"].nunique() <= 1 else table["metric"] + " in " + table["arm"]


def _seen(table: pd.DataFrame) -> pd.Series:
    """Higher or lower, where the readout does not say which of them is better."""
    same = pd.Series("not shown", index=table.index)
    return same.mask(table["effect_low"] > 0, "higher").mask(table["effect_high"] < 0, "lower")


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
    """The rows of the scorecard that a figure can show, in per cent of the old policy's mean.

    A guardrail with an absolute margin is judged by its difference, so that its difference is what is drawn beside the
    margin: the interval of its lift also holds how unsure the old policy's mean is, and may cross a margin that holds.
    """
    known = scores.dropna(subset=["lift_low", "lift_high"])
    if "is_margin_absolute" in known:
        effects = known[["effect", "effect_low", "effect_high"]].div(known["mean_control"].abs(), axis=0).set_axis(RANGE, axis=1)
        known = known.assign(**effects.where(known["is_margin_absolute"].eq(True), known[RANGE]))
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
    """Forecasts beside what came; `agrees` is what the ledger says of them (`is_inside`), in words."""
    columns = ["policy", "metric", "forecast", "low", "high", "observed", "observed_low", "observed_high", "agrees"]
    if table is None or table.empty:
        return pd.DataFrame(columns=columns)
    said = table["is_inside"].map({True: "yes", False: "no"})
    said = said.where(table["low"].notna() & table["high"].notna(), "had no interval")
    return table.assign(agrees=said.where(table["observed"].notna(), "not yet known"))[columns]


def forecast_sentence(shown: pd.DataFrame) -> str:
    """Say how many forecasts have met their outcome, how many of those agree with it, and which way they leaned."""
    if shown.empty:
        return "No forecast was made before this run, so none can be scored."
    n = shown["agrees"].value_counts()
    judged = shown[shown["agrees"].isin(["yes", "no"])]
    rest = [f"{n[word]} {words}" for word, words in (("had no interval", "had no interval to be judged by"),
                                                     ("not yet known", "wait for their outcome")) if word in n]
    if judged.empty:
        return f"Of {len(shown)} forecasts, {' and '.join(rest)}."
    tail = "".join(f"; {each}" for each in rest)
    lean = (judged["forecast"] / judged["observed"].where(judged["observed"] != 0) - 1).mean()
    leaned = "" if pd.isna(lean) else f"; what was foretold was {report.percent(abs(lean))} too {'high' if lean > 0 else 'low'} on average"
    return (f"{n.get('yes', 0)} of {len(judged)} forecasts agree with what came (they differ by no more than both intervals allow, "
            f"which honest ones do 19 times in 20){leaned}{tail}.")
