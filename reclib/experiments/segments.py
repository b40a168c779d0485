"""Whom did it help? Effects within segments known before assignment, corrected and shrunk; effects over time."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import chdtrc

from reclib.experiments import effects, sequential
from reclib.experiments.plan import Metric, Plan
from reclib.experiments.readout import adjusted, of_experiment
from reclib.experiments.stats import grouped_moments, segment_statistics

COLUMNS = ["segment", "value", "metric", "arm", "n_arm", "n_control", "effect", "effect_low", "effect_high", "shrunk",
           "p_value", "p_adjusted", "p_interaction"]


def by_segment(units: pd.DataFrame, plan: Plan, *, metrics: list[str]) -> pd.DataFrame:
    """Read metrics within every value of every planned segment.

    Args:
        units: `units`.
        plan: the plan; its segments are known before assignment.
        metrics: names of metrics that can be read; quantiles are left out.

    Returns:
        One row a (segment, value, metric, arm): the effect with its interval, `shrunk` towards the common effect by
        how much the segments truly differ, p-values corrected over all rows, and `p_interaction` of "the effect is
        the same in every value", corrected over (segment, metric, arm). Values with fewer than two customers in an
        arm are left out. Where the plan is looked at before its end, intervals and p-values hold at every look.
    """
    own = of_experiment(units, plan)
    wanted = [metric for metric in plan.metrics if metric.kind != "quantile" and metric.name in metrics]
    known = [segment for segment in plan.segments if segment in own and own[segment].notna().any()]
    parts = [_one(own, plan, metric, segment) for segment in known for metric in wanted]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)
    if table.empty:
        return table.reindex(columns=COLUMNS)
    families = table.drop_duplicates(["segment", "metric", "arm"])
    tested = families[families["p_interaction"].notna()]
    table["p_adjusted"] = adjusted(table["p_value"].fillna(1.0).to_numpy(), plan.correction)
    corrected = tested.assign(p_interaction=adjusted(tested["p_interaction"].to_numpy(), plan.correction))
    keys = ["segment", "metric", "arm"]
    return table.drop(columns="p_interaction").merge(
        corrected[[*keys, "p_interaction"]], on=keys, how="left", validate="many_to_one")[COLUMNS]


def _one(units: pd.DataFrame, plan: Plan, metric: Metric, segment: str) -> pd.DataFrame:
    names, moments = segment_statistics(units, plan, metric, segment)
    estimate = effects.ratio_estimate if metric.kind == "ratio" else effects.mean_estimate
    parts = []
    for index, arm in enumerate(plan.arms, start=1):
        is_enough = (moments.n[:, index] >= 2) & (moments.n[:, 0] >= 2)
        arm_of, control_of = estimate(moments[is_enough, index]), estimate(moments[is_enough, 0])
        n, looks = arm_of.n + control_of.n, {"alpha": plan.alpha, "n_star": plan.n_star}
        found = effects.compare(arm_of, control_of, alpha=plan.alpha, critical=sequential.critical(n, **looks) if plan.is_sequential else None)
        shrunk, p_interaction = _shrink(found["effect"], found["se"])
        if plan.is_sequential:
            found["p_value"] = sequential.at_every_look(found["p_value"], n, **looks)
            p_interaction = float(sequential.at_every_look(p_interaction, n.sum(), **looks))
        parts.append(pd.DataFrame({
            "segment": segment, "value": [str(name) for name, kept in zip(names, is_enough) if kept],
            "metric": metric.name, "arm": arm, "n_arm": moments.n[is_enough, index].astype("int64"),
            "n_control": moments.n[is_enough, 0].astype("int64"), "effect": found["effect"],
            "effect_low": found["effect_low"], "effect_high": found["effect_high"], "shrunk": shrunk,
            "p_value": found["p_value"], "p_interaction": p_interaction,
        }))
    return pd.concat(parts, ignore_index=True)


def _shrink(effect: np.ndarray, se: np.ndarray) -> tuple[np.ndarray, float]:
    """Pull effects towards their common mean (DerSimonian and Laird); p-value of "they are all the same" (Cochran)."""
    kept = np.isfinite(effect) & (se > 0)
    if kept.sum() < 2:
        return effect, np.nan
    weight = 1 / se[kept] ** 2
    common = np.average(effect[kept], weights=weight)
    distance = (weight * (effect[kept] - common) ** 2).sum()
    spare = kept.sum() - 1
    between = max(0.0, (distance - spare) / (weight.sum() - (weight**2).sum() / weight.sum()))
    shrunk = effect.copy()
    trust = between / (between + se[kept] ** 2)
    shrunk[kept] = common + trust * (effect[kept] - common)
    return shrunk, float(chdtrc(spare, distance))


def over_time(answers: pd.DataFrame, assignments: pd.DataFrame, plan: Plan, *, n_periods: int) -> pd.DataFrame:
    """Effects by period since assignment, every assigned customer counting in every period.

    Args:
        answers: customer_id, period (whole number from 0), value; what is not there is zero.
        assignments: `assignments` (or `units`) of the experiment.
        plan: the plan.
        n_periods: number of periods that every customer has lived through.

    Returns:
        arm, period (from 1), effect, effect_low, effect_high, lift, p_fading: p-value of "the last half of the
        periods has the same effect as the first half", from each customer's own difference.
    """
    customers = of_experiment(assignments, plan)[["customer_id", "arm"]]
    wide = answers.pivot_table(index="customer_id", columns="period", values="value", aggfunc="sum", observed=True)
    wide = wide.reindex(index=customers["customer_id"], columns=range(n_periods)).fillna(0.0).to_numpy()
    half = n_periods // 2
    fading = wide[:, n_periods - half:].mean(axis=1) - wide[:, :half].mean(axis=1) if half else np.zeros(len(wide))
    arms = (plan.control, *plan.arms)
    codes = pd.Index(arms).get_indexer(customers["arm"].astype("str"))
    kept = codes >= 0
    columns = np.column_stack([wide, fading])[kept]
    parts = []
    for index, arm in enumerate(plan.arms, start=1):
        moments = [grouped_moments(column[:, None], codes[kept], len(arms)) for column in columns.T]
        found = [effects.compare(effects.mean_estimate(one[index]), effects.mean_estimate(one[0]), alpha=plan.alpha)
                 for one in moments]
        parts.append(pd.DataFrame({
            "arm": arm, "period": np.arange(1, n_periods + 1),
            **{name: [float(one[name]) for one in found[:-1]] for name in ("effect", "effect_low", "effect_high", "lift")},
            "p_fading": float(found[-1]["p_value"]) if half else np.nan,
        }))
    return pd.concat(parts, ignore_index=True)
