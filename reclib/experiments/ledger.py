"""The forecast ledger: what was foretold from the log before a launch, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import ndtri

from reclib import schema
from reclib.offpolicy.values import best, value_all

OF_SLOT = " of a seen slot"
COLUMNS = ["forecast_id", "policy", "metric", "made_at", "forecast", "low", "high", "observed", "observed_low",
           "observed_high", "estimator", "gate", "is_inside"]


def observe(deliveries: pd.DataFrame, outcomes: pd.DataFrame, *, outcome_type: str = "click",
            alpha: float = 0.05) -> pd.DataFrame:
    """Measure what each policy that ran earned a seen slot, customers as units.

    Args:
        deliveries: `deliveries` or `logged_deliveries`.
        outcomes: their answers; where impressions are among them, they count how often a slot was seen.
        outcome_type: the answer that counts.
        alpha: error rate of the interval.

    Returns:
        policy, observed (answers over seen slots), observed_low, observed_high, n_seen.
    """
    count = {name: outcomes.loc[outcomes["outcome_type"] == name].set_index("decision_id")["value"]
             for name in ("impression", outcome_type)}
    seen = (deliveries["decision_id"].map(count["impression"]).fillna(0.0) if len(count["impression"])
            else pd.Series(1.0, index=deliveries.index))
    answered = deliveries["decision_id"].map(count[outcome_type]).astype("float64").fillna(0.0)
    has_customers = "customer_id" in deliveries and deliveries["customer_id"].notna().all()
    unit = deliveries["customer_id"] if has_customers else deliveries["decision_id"]
    table = pd.DataFrame({"policy": deliveries["policy"], "unit": unit, "top": answered, "below": seen})
    sums = table.groupby(["policy", "unit"], observed=True)[["top", "below"]].sum().reset_index()
    rows = [rate(str(policy), own, alpha) for policy, own in sums.groupby("policy", observed=True)]
    return pd.DataFrame(rows, columns=["policy", "observed", "observed_low", "observed_high", "n_seen"])


def within(deliveries: pd.DataFrame | None, answers: pd.DataFrame | None, *, days: int) -> pd.DataFrame | None:
    """Count the answers to each slot in its first days, before customers tire of what they were shown again and again.

    Args:
        deliveries: `deliveries`, or None.
        answers: `events` that name the slot they answer, or None.
        days: days after the delivery that count.

    Returns:
        decision_id, outcome_type and value (how often), or None where there is nothing to count.
    """
    if deliveries is None or answers is None:
        return None
    since = answers["occurred_at"] - answers["decision_id"].map(deliveries.set_index("decision_id")["delivered_at"])
    first = answers[(since >= pd.Timedelta(0)) & (since < pd.Timedelta(days=days))]
    counts = first.groupby(["decision_id", "event_type"], observed=True).size().rename("value").reset_index()
    return counts.rename(columns={"event_type": "outcome_type"})


def observe_all(deliveries: pd.DataFrame | None, outcomes: pd.DataFrame | None, logged_deliveries: pd.DataFrame | None,
                logged_outcomes: pd.DataFrame | None, *, outcome_type: str = "click") -> pd.DataFrame | None:
    """Measure the policies that ran: those of tonight where they were answered, else those of the log."""
    pairs = [(deliveries, outcomes), (logged_deliveries, logged_outcomes)]
    found = [observe(shown, answers, outcome_type=outcome_type) for shown, answers in pairs
             if shown is not None and answers is not None]
    if not found:
        return None
    return pd.concat(found, ignore_index=True).drop_duplicates("policy", ignore_index=True)


def rate(policy: str, sums: pd.DataFrame, alpha: float) -> tuple[str, float, float, float, int]:
    """Answers over seen slots with an interval, units (rows: top, below) drawn anew: a row of `observe`."""
    top, below = sums["top"].to_numpy(dtype=float), sums["below"].to_numpy(dtype=float)
    n, total = len(sums), below.sum()
    if n < 2 or total == 0:
        return policy, np.nan, np.nan, np.nan, int(total)
    rate = top.sum() / total
    half = ndtri(1 - alpha / 2) * np.sqrt(((top - rate * below) ** 2).sum() * n / (n - 1)) / total
    return policy, rate, rate - half, rate + half, int(total)


def foretell(deliveries: pd.DataFrame | None, ranked: pd.DataFrame | None, outcomes: pd.DataFrame | None, ranking: Mapping, *,
             control: str | None, alpha: float = 0.05) -> pd.DataFrame:
    """Hold how much likelier the ranker foretold an answer to a policy's slots than to the control's against what came.

    The forecast is the ratio of the mean probabilities of response over the slots of both, corrected on the logit scale as
    the ranker's own calibration on unseen customers says; its interval is that of the calibration's slope. Levels are not
    foretold: they follow how often a slot is shown, which the ranker does not know, and which cancels between policies.

    Args:
        deliveries: `deliveries`, or None.
        ranked: `ranked` with `p_response`, or None.
        outcomes: `outcomes` of the deliveries, or None while nothing came.
        ranking: facts of the ranking: response, label_days, calibration.
        control: the policy that the others are held against, or None.
        alpha: error rate of the interval of what came.

    Returns:
        A `forecasts` table of one row a policy other than the control, empty where one of them is missing.
    """
    if deliveries is None or ranked is None or not ranking.get("response"):
        return pd.DataFrame(columns=COLUMNS)
    pair, days = ["policy", "customer_id", "item_id"], int(ranking.get("label_days", 28))
    known = deliveries.merge(ranked[[*pair, "p_response"]], on=pair, how="inner", validate="many_to_one")
    if control not in set(known["policy"]):
        return pd.DataFrame(columns=COLUMNS)
    ends = dict(zip(("low", "forecast", "high"), ("slope_low", "slope", "slope_high"), strict=True))
    means = known.assign(**{name: _corrected(known["p_response"], ranking.get("calibration") or {}, end)
                            for name, end in ends.items()}).groupby("policy", observed=True)[list(ends)].mean()
    table = (means / means.loc[control]).drop(index=control)
    table = table.assign(low=table[list(ends)].min(axis=1), high=table[list(ends)].max(axis=1)).reset_index()
    came = None if outcomes is None else _against(_responses(known, outcomes, ranking["response"], days, alpha), control)
    table = table.assign(metric=f"{ranking['response']} of a slot within {days} days, times that of {control}", estimator="ranker",
                         gate="model", made_at=deliveries["delivered_at"].min(), forecast_id=table["policy"].astype("str") + "-ranker")
    return _scored(table, came)


def _corrected(p: pd.Series, calibration: Mapping, slope: str) -> np.ndarray:
    """Probabilities moved by the calibration's intercept and one end of its slope."""
    clipped = np.clip(p.to_numpy(dtype=float), 1e-9, 1 - 1e-9)
    logit = np.log(clipped / (1 - clipped)) * float(calibration.get(slope, calibration.get("slope", 1.0)))
    return 1 / (1 + np.exp(-(logit + float(calibration.get("intercept", 0.0)))))


def _against(came: pd.DataFrame, control: str) -> pd.DataFrame:
    """Rates over the control's, their intervals on the log scale: relative errors of both added as squares."""
    rates = came.set_index("policy")
    half = (rates["observed_high"] - rates["observed"]) / rates["observed"].where(rates["observed"] > 0)
    times = rates["observed"] / rates.loc[control, "observed"]
    reach = np.exp(np.hypot(half, half[control]))
    return pd.DataFrame({"observed": times, "observed_low": times / reach, "observed_high": times * reach}).reset_index()


def _responses(deliveries: pd.DataFrame, outcomes: pd.DataFrame, response: str, days: int, alpha: float) -> pd.DataFrame:
    """Share of slots answered in time by policy, customers as units."""
    first = outcomes.loc[outcomes["outcome_type"] == response].set_index("decision_id")["occurred_at"]
    age = deliveries["decision_id"].map(first) - deliveries["delivered_at"]
    hits = deliveries.assign(top=(age <= pd.Timedelta(days=days)).astype(float), below=1.0)
    sums = hits.groupby(["policy", "customer_id"], observed=True)[["top", "below"]].sum().reset_index()
    rows = [rate(str(policy), own, alpha) for policy, own in sums.groupby("policy", observed=True)]
    return pd.DataFrame(rows, columns=["policy", "observed", "observed_low", "observed_high", "n_seen"])


def exposure_sentence(deliveries: pd.DataFrame | None, outcomes: pd.DataFrame | None, logged_deliveries: pd.DataFrame | None,
                      ranking: Mapping) -> str:
    """Say how often pairs were shown in the window that the ranker learnt from, and slots after the launch; empty if unknown."""
    pair, days = ["customer_id", "item_id"], int(ranking.get("label_days", 28))
    if deliveries is None or outcomes is None or logged_deliveries is None or not set(pair) <= set(logged_deliveries):
        return ""
    last = logged_deliveries["delivered_at"] > logged_deliveries["delivered_at"].max() - pd.Timedelta(days=days)
    before = float(logged_deliveries[last].groupby(pair, observed=True).size().mean())
    seen = outcomes[(outcomes["outcome_type"] == "impression") & outcomes["decision_id"].isin(deliveries["decision_id"])]
    after = float(seen["value"].mean()) if len(seen) else 0.0
    word = "about as often" if abs(after / before - 1) < 0.2 else "more often" if after > before else "less often"
    return (f"The ranker learnt from pairs that were shown {before:.1f} times in {days} days; a slot of the launch that was seen was shown "
            f"{after:.1f} times, {word}, so it foretells policies against each other and no level.")


def ledger(values: pd.DataFrame, observed: pd.DataFrame | None, *, metric: str, made_at: pd.Timestamp) -> pd.DataFrame:
    """Write one forecast a policy, with what came where the policy ran.

    The forecast is that of the estimator to read (`offpolicy.values.best`), where the log can carry it.

    Args:
        values: `policy_values` with the columns that `offpolicy.values` adds.
        observed: result of `observe`, or None where nothing has come yet.
        metric: what a value counts.
        made_at: the last moment that the log knew.

    Returns:
        A `forecasts` table with estimator, gate and is_inside (see `agrees`).
    """
    first = best(values).dropna(subset=["value"])
    made = first.assign(
        forecast_id=[f"{policy}-{metric}" for policy in first["policy"]], metric=metric, made_at=made_at, forecast=first["value"],
    )
    return _scored(made, observed)


def from_log(deliveries: pd.DataFrame | None, outcomes: pd.DataFrame | None, served: pd.DataFrame | None,
             answers: pd.DataFrame | None, *, outcome_types: Sequence[str], made_at: pd.Timestamp, days: int,
             **asked: object) -> pd.DataFrame:
    """Foretell several answers to every policy from the log, and hold them against the first days of the launch.

    Args:
        deliveries, outcomes: `logged_deliveries` and `logged_outcomes`, or None.
        served, answers: `deliveries` and the `events` that answer them, or None while nothing was answered.
        outcome_types: the answers.
        made_at: the last moment that the log knew.
        days: days of the launch that count.
        asked: further options of `offpolicy.values.value_all`.

    Returns:
        A `forecasts` table, as `ledger` makes it.
    """
    came = within(served, answers, days=days)
    when = "" if came is None else f" in the first {days} days"
    return together(*(
        ledger(value_all(deliveries, outcomes, outcome_type=name, days=days, **asked),
               observe_all(served, came, deliveries, outcomes, outcome_type=name), metric=f"{name}{OF_SLOT}{when}", made_at=made_at)
        for name in outcome_types))


def again(table: pd.DataFrame, served: pd.DataFrame, answers: pd.DataFrame, *, days: int) -> pd.DataFrame:
    """Hold the forecasts that `from_log` made against the first days of another launch.

    Args:
        table: a ledger; forecasts of another kind, or of policies that were not launched, are left out.
        served, answers, days: the slots of that launch, the `events` that answer them, and the days that count.
    """
    came, parts = within(served, answers, days=days), []
    table = table[table["policy"].isin(served["policy"])]
    for name, own in table.groupby(table["metric"].str.partition(OF_SLOT)[0].where(table["metric"].str.contains(OF_SLOT))):
        parts.append(_scored(own[COLUMNS[:7] + ["estimator", "gate"]], observe(served, came, outcome_type=name)))
    return together(table.head(0), *parts)


def score(table: pd.DataFrame) -> pd.DataFrame:
    """How honest the intervals were, by kind of forecast (and by what it was held against, where a column `against` says so).

    Returns:
        estimator, [against], n_forecasts, n_scored, n_inside, inside_share and bias (sum of forecasts over that of outcomes,
        less one).
    """
    by = [name for name in ("estimator", "against") if name in table]
    scored = table[table["observed"].notna()]
    counts = table.groupby(by, sort=False).agg(n_forecasts=("forecast", "size"))
    inside = scored.assign(hit=scored["is_inside"].astype("float64")).groupby(by).agg(
        n_scored=("hit", "size"), n_inside=("hit", "sum"), inside_share=("hit", "mean"), foretold=("forecast", "sum"), came=("observed", "sum"))
    found = counts.join(inside).reset_index()
    found = found.assign(bias=found["foretold"] / found["came"].where(found["came"] != 0) - 1).drop(columns=["foretold", "came"])
    return found.assign(**{name: found[name].fillna(0).astype("int64") for name in ("n_scored", "n_inside")})


def in_words(table: pd.DataFrame) -> pd.DataFrame:
    """A ledger with a column `against` for people: each number with its interval, and whether they agree."""
    def written(of: str, low: str, high: str) -> list[str]:
        known = zip(table[of], table[low], table[high])
        return ["" if pd.isna(value) else f"{value:.3f}" + ("" if one == two else f" [{one:.3f}, {two:.3f}]") for value, one, two in known]

    said = table["is_inside"].map({True: "yes", False: "no"}).astype("object").fillna("not yet known")
    return pd.DataFrame({"policy": table["policy"], "metric": table["metric"], "foretold by": table["estimator"], "foretold": written("forecast", "low", "high"),
                         "held against": table["against"], "came": written("observed", "observed_low", "observed_high"), "agrees": said})


def score_sentence(table: pd.DataFrame) -> str:
    """Say how many of the scored forecasts met what came, and which way the others missed."""
    scored = table[table["observed"].notna()]
    if scored.empty:
        return "No forecast has been scored yet: what was foretold has not come."
    missed = scored[~scored["is_inside"].astype(bool)]
    whom = " against the " + missed["against"] if "against" in missed else pd.Series("", index=missed.index)
    parts = [f"{row.policy}, {row.metric}, was {'over' if row.forecast > row.observed else 'under'}stated by {row.estimator}{held}"
             for row, held in zip(missed.itertuples(), whom)]
    told = f"{len(scored) - len(missed)} of {len(scored)} forecasts met what came"
    return f"{told}; {'; '.join(parts)}." if parts else f"{told}."


def _scored(made: pd.DataFrame, observed: pd.DataFrame | None) -> pd.DataFrame:
    """Put what came beside what was foretold."""
    numbers = ["observed", "observed_low", "observed_high"]
    came = observed if observed is not None else pd.DataFrame(columns=["policy", *numbers])
    table = made.merge(came[["policy", *numbers]], on="policy", how="left", validate="one_to_one")
    table = table.astype(dict.fromkeys(numbers, "float64"))
    return table.assign(is_inside=agrees(table))[COLUMNS]


def agrees(table: pd.DataFrame) -> pd.Series:
    """Whether forecast and outcome differ by no more than their two intervals allow together; missing where nothing came.

    The interval of the difference takes from each interval the side that faces the other, as squares (Zou and Donner 2008,
    MOVER), so that two honest intervals of 95 % that know nothing of each other agree 95 times in 100; intervals that
    merely overlap would do so nearly always. What has no interval is taken as known.

    Args:
        table: forecast, low, high, observed, observed_low, observed_high.
    """
    gap = table["observed"] - table["forecast"]
    above = np.hypot(table["high"].fillna(table["forecast"]) - table["forecast"], table["observed"] - table["observed_low"].fillna(table["observed"]))
    below = np.hypot(table["forecast"] - table["low"].fillna(table["forecast"]), table["observed_high"].fillna(table["observed"]) - table["observed"])
    return (gap.abs() <= above.where(gap > 0, below)).astype("boolean").where(table["observed"].notna())


def ledger_sentence(table: pd.DataFrame, values: pd.DataFrame) -> str:
    """Say what was foretold, what came, and what could not be foretold."""
    refused = _refusals(values, set(table.loc[table["gate"] != "model", "policy"]))
    if table.empty:
        return refused or "Nothing was foretold: no log with known probabilities."
    parts = []
    for row in table.itertuples():
        size = f"{row.policy}, {row.metric}: {row.forecast:.3g} [{row.low:.3g}, {row.high:.3g}] foretold ({row.gate})"
        if pd.notna(row.observed):
            verb = "within reach of it" if row.is_inside else "outside of it"
            size += f", {row.observed:.3g} [{row.observed_low:.3g}, {row.observed_high:.3g}] came, {verb}"
        parts.append(size)
    return "; ".join(parts) + "." + (f" {refused}" if refused else "")


def _refusals(values: pd.DataFrame, foretold: set) -> str:
    other = sorted(set(values["policy"]) - foretold)
    return f"From the log nothing is foretold for {', '.join(other)}: it does not carry them." if other else ""


def together(*tables: pd.DataFrame) -> pd.DataFrame:
    """Put ledgers under each other; an empty one adds nothing."""
    kept = [table for table in tables if len(table)]
    return pd.concat(kept, ignore_index=True) if kept else tables[0]


def made_at(source: Mapping, logged_deliveries: pd.DataFrame | None) -> pd.Timestamp:
    """The last moment that a forecast could know: the source's `as_of`, else the last slot of its log."""
    if source.get("as_of"):
        return schema.end_of_day(source["as_of"])
    moment = pd.Timestamp(0, tz="UTC") if logged_deliveries is None else logged_deliveries["delivered_at"].max()
    return (moment.tz_localize("UTC") if moment.tzinfo is None else moment.tz_convert("UTC")).as_unit("us")
