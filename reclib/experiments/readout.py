"""The readout: what a finished experiment says about every metric of its plan, one row a (metric, arm, method).

What cannot be computed is a row without numbers and with a `reason`, never a number.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtri

from reclib.experiments import doubt, effects, engine, power, sequential
from reclib.experiments.plan import Metric, Plan
from reclib.experiments.stats import MetricStats, Moments, statistics
from reclib.schema import METRIC_ROLES

WHOLE = 1e-6  # of the variance: what no covariate leaves so little of
NUMBERS = ["mean_arm", "mean_control", "effect", "effect_low", "effect_high", "lift", "lift_low", "lift_high", "p_value", "se"]
NOTHING = dict.fromkeys([*NUMBERS, "margin", "margin_effect", "p_margin", "detectable", "variance_saved"], np.nan)


def readout(units: pd.DataFrame | str | Path, plan: Plan) -> pd.DataFrame:
    """Read an experiment by intention to treat: every assigned customer counts in their arm.

    Args:
        units: `units` (rows of other experiments are left out), or the path of a Parquet file of one experiment.
        plan: its plan.

    Returns:
        A `readout` table with, besides the contract: kind, is_up, se, p_adjusted (within the role, over metrics and
        arms, primary rows only), margin (signed lift that is just acceptable), margin_effect (the same in the unit of
        the metric), is_margin_absolute (how the plan states it), p_margin (one-sided), detectable (smallest effect that had 80 % power), variance_saved (share of
        the variance that the covariates took out), cap, n_capped_*, n_missing_*, finding (better, worse, not shown,
        within margin, margin not shown, no margin, not to be trusted, refused), doubt (why its numbers must not be
        trusted, see `doubt`) and reason (why there are none).
    """
    if not isinstance(units, pd.DataFrame):
        return from_statistics(engine.from_parquet(units, plan), plan, blocked=engine.blocking_reason(units, plan))
    own = of_experiment(units, plan)
    return from_statistics(statistics(own, plan), plan, blocked=blocking_reason(own, plan))


def of_experiment(units: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """The rows of the plan's experiment; all rows where the units name no experiment."""
    if "experiment_id" not in units:
        return units
    return units[units["experiment_id"].astype("str") == str(plan.experiment_id)]


def blocking_reason(units: pd.DataFrame, plan: Plan) -> str:
    """Why no effect at all can be read from these units, or an empty text."""
    if not plan.is_randomised:
        return "the arms were not drawn by lot, so a difference between them is not an effect"
    if units["arm"].isna().any():
        return f"{units['arm'].isna().sum():,} customers have no arm"
    if "customer_id" not in units:
        return ""
    n_arms = units.groupby("customer_id", observed=True)["arm"].nunique()
    if (n_arms > 1).any():
        return f"{(n_arms > 1).sum():,} customers are in two arms or more, the first of them {n_arms.index[n_arms > 1][0]}"
    repeated = units["customer_id"].duplicated()
    if repeated.any():
        first = units.loc[repeated, "customer_id"].iloc[0]
        return f"{repeated.sum():,} rows repeat a customer, the first of them {first}; there must be one row a customer"
    return ""


def from_statistics(stats: dict[str, MetricStats], plan: Plan, *, blocked: str = "") -> pd.DataFrame:
    """Make the readout from sufficient statistics (see `readout`).

    Args:
        stats: as made by `stats.statistics` or `engine.from_parquet`.
        plan: the plan.
        blocked: a reason that withholds every effect.
    """
    return pd.DataFrame(rows_of(stats, plan, blocked=blocked))


def rows_of(stats: dict[str, MetricStats], plan: Plan, *, blocked: str = "") -> list[dict]:
    """The rows of the readout as records (see `from_statistics`)."""
    rows = [row for entry in stats.values() for index in range(1, len(entry.arms))
            for row in _rows(entry, index, plan, blocked)]
    for role in METRIC_ROLES:
        family = [row for row in rows if row["role"] == role and row["is_primary"] and not np.isnan(row["p_value"])]
        for row, p_value in zip(family, adjusted(np.array([row["p_value"] for row in family]), plan.correction)):
            row["p_adjusted"] = float(p_value)
    for row in rows:
        row["finding"] = _finding(row, plan.alpha)
    return rows


def adjusted(p_values: np.ndarray, correction: str) -> np.ndarray:
    """Correct a family of p-values: holm (family-wise error), bh (false discoveries) or none."""
    p_values = np.asarray(p_values, dtype=float)
    order, size = np.argsort(p_values, kind="stable"), len(p_values)
    if correction == "none" or not size:
        return p_values
    ranked = p_values[order]
    if correction == "holm":
        corrected = np.maximum.accumulate(ranked * (size - np.arange(size)))
    else:
        corrected = np.minimum.accumulate((ranked * size / (np.arange(size) + 1))[::-1])[::-1]
    result = np.empty(size)
    result[order] = np.minimum(corrected, 1.0)
    return result


def _rows(stats: MetricStats, index: int, plan: Plan, blocked: str) -> list[dict]:
    """All methods of one metric and arm."""
    is_adjusted = bool(plan.covariates) and stats.metric.kind != "quantile"
    primary = ("cuped" if is_adjusted else "unadjusted") + ("_anytime" if plan.is_sequential else "")
    reason = blocked or stats.reason or _reason(stats, index)
    shared = _shared(stats, index, plan)
    if stats.moments is None:
        return [shared | NOTHING | {"method": primary, "is_primary": True, "reason": reason}]
    pairs = _pairs(stats, index, is_adjusted and bool(stats.covariates))
    if is_adjusted and "cuped" not in pairs:
        reason = reason or f"the units have none of the planned covariates {list(plan.covariates)} as numbers"
        pairs["cuped"] = pairs["unadjusted"]
    rows = []
    for method, (arm, control) in pairs.items():
        saved = _saved((arm, control), pairs["unadjusted"]) if method == "cuped" and not reason else np.nan
        if saved > 1 - WHOLE:
            reason = f"{', '.join(plan.covariates)} tell it wholly, as only what is measured after the assignment can"
        for is_anytime in (False, True) if plan.is_sequential else (False,):
            numbers = _withheld(arm, control, plan) if reason else _numbers(arm, control, stats.metric, plan, is_anytime)
            name = method + ("_anytime" if is_anytime else "")
            rows.append(shared | numbers | {"method": name, "is_primary": name == primary, "reason": reason,
                                            "variance_saved": saved})
    return rows


def _pairs(stats: MetricStats, index: int, is_adjusted: bool) -> dict[str, tuple[effects.Estimate, effects.Estimate]]:
    """Estimates of arm and control by method."""
    found = {"unadjusted": (_estimate(stats, stats.moments, index), _estimate(stats, stats.moments, 0))}
    if stats.uncapped is not None:
        found["uncapped"] = (_estimate(stats, stats.uncapped, index), _estimate(stats, stats.uncapped, 0))
    is_readable = np.isfinite([part for estimate in found["unadjusted"] for part in (estimate.value, estimate.variance)]).all()
    if is_adjusted:
        found["cuped"] = effects.adjust(*found["unadjusted"]) if is_readable else found["unadjusted"]
    return found


def _estimate(stats: MetricStats, moments: Moments, index: int) -> effects.Estimate:
    if stats.quantile is not None:
        value, variance = stats.quantile
        return effects.Estimate(moments.n[index], value[index], variance[index])
    return (effects.ratio_estimate if stats.metric.kind == "ratio" else effects.mean_estimate)(moments[index])


def _saved(now: tuple[effects.Estimate, effects.Estimate], before: tuple[effects.Estimate, effects.Estimate]) -> float:
    """Share of the effect's variance that an adjustment took out."""
    after, raw = (sum(float(one.variance / one.n) for one in pair) for pair in (now, before))
    return 1 - after / raw


def _shared(stats: MetricStats, index: int, plan: Plan) -> dict:
    metric, moments = stats.metric, stats.moments
    row = {
        "experiment_id": plan.experiment_id, "metric": metric.name, "arm": stats.arms[index], "role": metric.role,
        "kind": metric.kind, "is_up": metric.is_up, "control": stats.arms[0],
        "n_arm": 0 if moments is None else int(moments.n[index]), "n_control": 0 if moments is None else int(moments.n[0]),
        "cap": stats.cap, "doubt": doubt.why(stats, index, is_adjusted=bool(plan.covariates)), "p_adjusted": np.nan, "is_margin_absolute": metric.is_margin_absolute,
    }
    for name, counts in (("missing", stats.n_missing), ("capped", stats.n_capped)):
        row[f"n_{name}_arm"] = int(counts[index]) if len(counts) else 0
        row[f"n_{name}_control"] = int(counts[0]) if len(counts) else 0
    return row


def _numbers(arm: effects.Estimate, control: effects.Estimate, metric: Metric, plan: Plan, is_anytime: bool) -> dict:
    """Effect, interval, lift, p-values and margin of one method."""
    n = arm.n + control.n
    critical = sequential.critical(n, alpha=plan.alpha, n_star=plan.n_star) if is_anytime else None
    found = effects.compare(arm, control, alpha=plan.alpha, critical=critical)
    sign = -1.0 if metric.is_up else 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        if is_anytime:
            found["p_value"] = sequential.p_value(found["effect"] / found["se"], n, alpha=plan.alpha, n_star=plan.n_star)
        base = np.abs(control.value)
        margin = sign * (metric.margin / base if metric.is_margin_absolute else metric.margin)
    p_margin = np.nan
    if np.isfinite(metric.margin):
        p_margin = _p_margin(arm, control, metric, n, plan) if is_anytime else effects.hold_margin(
            arm, control, metric.margin, is_up=metric.is_up, is_absolute=metric.is_margin_absolute, df=found["df"])
    return {name: float(found[name]) for name in NUMBERS} | {
        "margin": float(margin), "margin_effect": float(margin * base), "p_margin": float(p_margin),
        "detectable": float(power.detectable(found["se"], alpha=plan.alpha)),
    }


def _p_margin(arm: effects.Estimate, control: effects.Estimate, metric: Metric, n: np.ndarray, plan: Plan) -> float:
    """The margin held at every look: half the anytime-valid p-value on the good side, its complement on the other."""
    one_look = effects.hold_margin(arm, control, metric.margin, is_up=metric.is_up, is_absolute=metric.is_margin_absolute)
    z = -ndtri(np.clip(one_look, 1e-300, 1.0))
    p = float(sequential.p_value(z, n, alpha=plan.alpha, n_star=plan.n_star)) / 2
    return p if z > 0 else 1 - p


def _withheld(arm: effects.Estimate, control: effects.Estimate, plan: Plan) -> dict:
    """No numbers; only where the arms were not drawn by lot do the means stay, since they describe."""
    means = {} if plan.is_randomised else {"mean_arm": float(arm.value), "mean_control": float(control.value)}
    return NOTHING | means


def _reason(stats: MetricStats, index: int) -> str:
    """Why this arm cannot be compared on this metric, or an empty text."""
    arm, control = stats.moments[index], stats.moments[0]
    for name, moments in ((stats.arms[index], arm), (stats.arms[0], control)):
        if moments.n == 0:
            return f"arm {name!r} has no customer with a value"
        if moments.n < 2:
            return f"arm {name!r} has one customer; an effect needs two in each arm"
    n_infinite = int(stats.n_infinite[[0, index]].sum()) if len(stats.n_infinite) else 0
    if n_infinite:
        return f"{n_infinite:,} {'customer has' if n_infinite == 1 else 'customers have'} an infinite value"
    if not all(np.isfinite(part).all() for part in (arm.mean, arm.cov, control.mean, control.cov, stats.third)):
        return "its values are too large to be multiplied"
    if stats.cap == 0:
        return f"the cap at quantile {stats.metric.winsorise:g} is 0 and would delete the metric"
    if stats.metric.kind == "ratio" and (arm.mean[1] == 0 or control.mean[1] == 0):
        return f"the denominator {stats.metric.columns[1]!r} adds up to 0"
    if stats.quantile is not None:
        is_tied = (stats.quantile[1][[0, index]] == 0).any()
        return "the values around the quantile are tied, so it has no interval" if is_tied else ""
    own, base = (_estimate(stats, stats.moments, at) for at in (index, 0))
    if base.variance > 0:
        return ""
    if own.variance == 0 and abs(own.value - base.value) <= 1e-12 * abs(base.value):
        return f"every customer has the same value, {base.value:g}"
    return f"every customer of the control has the same value, {base.value:g}, so nothing says how it varies"


def _finding(row: dict, alpha: float) -> str:
    """One word for what a row shows."""
    if row["reason"] or np.isnan([row["effect"], row["p_value"]]).any():
        return "refused"
    if row["doubt"]:
        return "not to be trusted"
    p = row["p_value"] if np.isnan(row["p_adjusted"]) else row["p_adjusted"]
    is_good = (row["effect"] > 0) == row["is_up"]
    if row["role"] != "guardrail":
        return "not shown" if p >= alpha else "better" if is_good else "worse"
    is_within = row["p_margin"] < alpha / 2
    if p < alpha and not is_good:
        return "worse, within margin" if is_within else "worse"
    return "no margin" if np.isnan(row["margin"]) else "within margin" if is_within else "margin not shown"
