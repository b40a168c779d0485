"""When must an interval not be trusted? Rare values and heavy tails make it miss the truth more often than it says.

A 95 % interval stands on the mean being nearly normal. Three figures tell when it is not, from sufficient statistics:
how the difference leans to one side (equal arms cancel each other's lean, a small arm does not), how skewed the mean of
the smaller arm is, and how many customers carry it. Their bounds come from simulated customers of every shape, chosen
so that a readout that is both trusted and wrong stays rare; `calibration.trusted` measures that.
"""

from __future__ import annotations

from math import sqrt

import numpy as np

from reclib.experiments import effects
from reclib.experiments.plan import Metric
from reclib.experiments.stats import MetricStats

MAX_LEAN_POOLED = 0.15  # of the difference, were both arms shaped alike
MAX_LEAN = 0.3          # of the difference, each arm shaped as it was seen, where values are not alike
MAX_SKEW = 0.4          # of the mean of the more skewed arm
MIN_CARRIERS = 20       # customers with a value other than zero, in the smaller arm
MAX_PLAIN = 1.5         # skewness of the values other than zero, if they are to count as alike
MAX_BELOW = 0.1         # relative standard error of a ratio's denominator
Pair = tuple[effects.Estimate, effects.Estimate]


def why(entry: MetricStats, index: int, *, is_adjusted: bool = False) -> str:
    """Say why the interval of an arm against the control must not be trusted, or an empty text.

    Args:
        entry: sufficient statistics of one metric.
        index: place of the arm; the control is at 0.
        is_adjusted: the estimate that decides is adjusted by the covariates. It is judged too: what they take out of the
            variance is the plain part, and what is left may lean more.
    """
    if entry.moments is None or (entry.moments.n[[index, 0]] < 2).any():
        return ""
    if entry.quantile is not None:
        return _of_quantile(entry, index)
    arm, control = entry.moments[index], entry.moments[0]
    is_ratio = entry.metric.kind == "ratio"
    if is_ratio and not (arm.mean[1] and control.mean[1]):
        return ""
    if is_ratio and any(sqrt(one.cov[1, 1] / one.n) > MAX_BELOW * abs(one.mean[1]) for one in (arm, control)):
        return f"too few customers carry its denominator {entry.metric.columns[1]!r}"
    if not len(entry.third):
        return ""
    estimate = effects.ratio_estimate if is_ratio else effects.mean_estimate
    raw = estimate(arm), estimate(control)
    if not raw[0].variance + raw[1].variance > 0:
        return ""
    judged = [raw, effects.adjust(*raw)] if is_adjusted and entry.covariates else [raw]
    third, n_nonzero = entry.third[[index, 0]], entry.n_nonzero[[index, 0]]
    return next(filter(None, (of_shape(pair, third, n_nonzero) for pair in judged)), "") or _of_margin(*raw, entry.metric)


def _of_quantile(entry: MetricStats, index: int) -> str:
    fewest = entry.moments.n[[index, 0]].min() * min(entry.metric.quantile, 1 - entry.metric.quantile)
    return f"only {fewest:.0f} customers of an arm lie beyond the quantile" if fewest < MIN_CARRIERS else ""


def of_shape(pair: Pair, third: np.ndarray, n_nonzero: np.ndarray) -> str:
    """Judge the difference of an arm and the control by how both are shaped (arm first, as in `MetricStats`)."""
    n, variance = [float(one.n) for one in pair], [float(one.variance) for one in pair]
    cubes = [float(cube @ one.weight @ one.weight @ one.weight) for one, cube in zip(pair, third)]
    total = sum(n)
    pooled = ((n[0] - 1) * variance[0] + (n[1] - 1) * variance[1]) / (total - 2) if total > 2 else 0.0
    if not pooled > 0:
        return ""
    shape = (n[0] * cubes[0] + n[1] * cubes[1]) / total
    carriers = float(n_nonzero.sum())
    is_plain = (abs(shape) / pooled**1.5 * sqrt(carriers / total) <= MAX_PLAIN
                and (carriers >= MIN_CARRIERS or 4 <= carriers < total / 10))
    if (abs(effects.lean(n, [pooled] * 2, [shape] * 2)) > MAX_LEAN_POOLED
            or (abs(effects.lean(n, variance, cubes)) > MAX_LEAN and not is_plain)):
        return "its interval leans to one side, since the smaller arm or a few large values carry it"
    if is_plain:
        return ""
    if n_nonzero.min() < MIN_CARRIERS:
        return f"only {int(n_nonzero.min()):,} customers of an arm carry it"
    skews = [abs(cube) / (own**1.5 * sqrt(size)) for cube, own, size in zip(cubes, variance, n) if own > 0]
    return "a few large values carry it" if max(*skews, abs(shape) / (pooled**1.5 * sqrt(min(n)))) > MAX_SKEW else ""


def _of_margin(arm: effects.Estimate, control: effects.Estimate, metric: Metric) -> str:
    """A margin is held by the customers that an arm at the margin would have: few of them hold nothing."""
    if metric.role != "guardrail" or metric.kind == "ratio" or not np.isfinite(metric.margin):
        return ""
    mean, size = float(control.value), float(control.variance + control.value**2)
    room = metric.margin * (1.0 if metric.is_margin_absolute else abs(mean))
    carriers = float(arm.n) * abs(mean - room if metric.is_up else mean + room) * abs(mean) / size if size > 0 else 0.0
    return f"only {carriers:.0f} customers would carry it at its margin" if carriers < MIN_CARRIERS else ""
