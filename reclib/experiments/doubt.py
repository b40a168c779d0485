"""When must an interval not be trusted? Rare values and heavy tails make it miss the truth more often than it says.

A 95 % interval stands on the mean being nearly normal. Three figures tell when it is not, from sufficient statistics:
how the difference leans to one side (equal arms cancel each other's lean, a small arm does not), how skewed the mean of
the smaller arm is, and how many customers carry it. Their bounds come from simulated customers of every shape, chosen
so that a readout that is both trusted and wrong stays rare; `calibration.trusted` measures that.
"""

from __future__ import annotations

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


def why(entry: MetricStats, index: int) -> str:
    """Say why the interval of an arm against the control must not be trusted, or an empty text.

    Args:
        entry: sufficient statistics of one metric.
        index: place of the arm; the control is at 0.
    """
    if entry.moments is None or (entry.moments.n[[index, 0]] < 2).any():
        return ""
    if entry.quantile is not None:
        return _of_quantile(entry, index)
    moments = entry.moments[[index, 0]]
    if entry.metric.kind == "ratio":
        if not moments.mean[:, 1].all():
            return ""
        if (np.sqrt(moments.cov[:, 1, 1] / moments.n) > MAX_BELOW * np.abs(moments.mean[:, 1])).any():
            return f"too few customers carry its denominator {entry.metric.columns[1]!r}"
    if not len(entry.third):
        return ""
    estimate = (effects.ratio_estimate if entry.metric.kind == "ratio" else effects.mean_estimate)(moments)
    return _of_shape(estimate, entry.third[[index, 0]], entry.n_nonzero[[index, 0]]) or _of_margin(estimate, entry.metric)


def _of_quantile(entry: MetricStats, index: int) -> str:
    fewest = entry.moments.n[[index, 0]].min() * min(entry.metric.quantile, 1 - entry.metric.quantile)
    return f"only {fewest:.0f} customers of an arm lie beyond the quantile" if fewest < MIN_CARRIERS else ""


def _of_shape(estimate: effects.Estimate, third: np.ndarray, n_nonzero: np.ndarray) -> str:
    n, variance = estimate.n, estimate.variance
    pooled = float(((n - 1) * variance).sum() / (n.sum() - 2)) if n.sum() > 2 else 0.0
    if not pooled > 0:
        return ""
    shape = float((n * third).sum() / n.sum())
    alike = effects.Estimate(n, estimate.value, np.full(2, pooled))
    lean_pooled, lean = (abs(float(effects.lean(cube[0], _at(of, 0), cube[1], _at(of, 1))))
                         for cube, of in ((np.full(2, shape), alike), (third, estimate)))
    carriers = float(n_nonzero.sum())
    is_plain = abs(shape) / pooled**1.5 * np.sqrt(carriers / n.sum()) <= MAX_PLAIN
    is_plain &= carriers >= MIN_CARRIERS or 4 <= carriers < n.sum() / 10
    if lean_pooled > MAX_LEAN_POOLED or (lean > MAX_LEAN and not is_plain):
        return "its interval leans to one side, since the smaller arm or a few large values carry it"
    with np.errstate(divide="ignore", invalid="ignore"):
        skews = np.append(third / (variance**1.5 * np.sqrt(n)), shape / (pooled**1.5 * np.sqrt(n.min())))
    if is_plain:
        return ""
    if n_nonzero.min() < MIN_CARRIERS:
        return f"only {int(n_nonzero.min()):,} customers of an arm carry it"
    return "a few large values carry it" if np.nanmax(np.abs(skews)) > MAX_SKEW else ""


def _of_margin(estimate: effects.Estimate, metric: Metric) -> str:
    """A margin is held by the customers that an arm at the margin would have: few of them hold nothing."""
    if metric.role != "guardrail" or metric.kind == "ratio" or not np.isfinite(metric.margin):
        return ""
    mean, size = float(estimate.value[1]), float(estimate.variance[1] + estimate.value[1] ** 2)
    room = metric.margin * (1.0 if metric.is_margin_absolute else abs(mean))
    carriers = float(estimate.n[0]) * abs(mean - room if metric.is_up else mean + room) * abs(mean) / size if size > 0 else 0.0
    return f"only {carriers:.0f} customers would carry it at its margin" if carriers < MIN_CARRIERS else ""


def _at(estimate: effects.Estimate, index: int) -> effects.Estimate:
    return effects.Estimate(estimate.n[index], estimate.value[index], estimate.variance[index])
