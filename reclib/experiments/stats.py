"""Sufficient statistics: everything that a readout needs to know of the customers, in a few numbers an arm.

Rows are read once, in pandas here or in the data engine (`engine.from_parquet`); what comes out has the same shape, so
the same effects are computed from a frame, from a file of ten million customers and from a thousand simulated experiments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import combinations_with_replacement, permutations

import numpy as np
import pandas as pd

from reclib.experiments.plan import Metric, Plan

_TWO_SIDED = 1.959963985
_ROUNDING = 1e-14


@dataclass(frozen=True)
class Moments:
    """Count, means and covariances of some variables; leading axes are arms, segments or simulations.

    Attributes:
        n: number of customers, shape (...).
        mean: means, shape (..., v).
        cov: covariances with n - 1 below, shape (..., v, v).
    """

    n: np.ndarray
    mean: np.ndarray
    cov: np.ndarray

    def __getitem__(self, index: object) -> Moments:
        """Pick along the leading axes."""
        return Moments(self.n[index], self.mean[index], self.cov[index])


@dataclass(frozen=True)
class MetricStats:
    """What the readout knows of one metric.

    Attributes:
        metric: its entry in the plan.
        arms: names of the arms, the leading axis of everything below.
        moments: of the variables: value (or numerator and denominator), then covariates.
        n_missing: customers without a value, left out (a missing value is not a zero).
        n_infinite: customers whose value is infinite.
        n_capped: customers whose value was capped.
        cap: the cap, NaN without.
        uncapped: the same moments without the cap, or None.
        covariates: names of the covariates among the variables.
        n_nonzero: customers with a value other than zero (of the numerator, for ratios).
        third: third central moments of the variables (capped where they are), shape (arms, v, v, v); they say how any
            estimate made of them leans. None of quantiles.
        quantile: value and variance of one customer's share in it, for quantiles, or None.
        reason: why the metric cannot be read, empty where it can.
    """

    metric: Metric
    arms: tuple[str, ...]
    moments: Moments | None = None
    n_missing: np.ndarray = field(default_factory=lambda: np.zeros(0))
    n_infinite: np.ndarray = field(default_factory=lambda: np.zeros(0))
    n_capped: np.ndarray = field(default_factory=lambda: np.zeros(0))
    n_nonzero: np.ndarray = field(default_factory=lambda: np.zeros(0))
    third: np.ndarray = field(default_factory=lambda: np.zeros(0))
    cap: float = np.nan
    uncapped: Moments | None = None
    covariates: tuple[str, ...] = ()
    quantile: tuple[np.ndarray, np.ndarray] | None = None
    reason: str = ""


def moments_of(values: np.ndarray) -> Moments:
    """Moments along the second axis from the right: (..., customers, variables)."""
    n = np.full(values.shape[:-2], values.shape[-2], dtype=float)
    mean = values.mean(axis=-2)
    centred = values - mean[..., None, :]
    cov = np.einsum("...ni,...nj->...ij", centred, centred) / np.maximum(n - 1, 1)[..., None, None]
    return Moments(n, mean, cov)


def grouped_moments(values: np.ndarray, codes: np.ndarray, n_groups: int) -> Moments:
    """Moments of the rows of each group.

    Args:
        values: shape (customers, variables), no missing values.
        codes: group of each row, from 0.
        n_groups: number of groups; an empty one has mean NaN.
    """
    n = np.bincount(codes, minlength=n_groups).astype(float)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        def means(rows: np.ndarray) -> np.ndarray:
            return np.stack([np.bincount(codes, column, n_groups) / n for column in rows.T], axis=-1)

        mean = means(values)
        mean = mean + means(values - mean[codes])  # what rounding left of it
        centred = values - mean[codes]
        cov = np.empty((n_groups, values.shape[1], values.shape[1]))
        for i in range(values.shape[1]):
            for j in range(i + 1):
                products = np.bincount(codes, centred[:, i] * centred[:, j], n_groups)
                cov[:, i, j] = cov[:, j, i] = products / (n - 1)
        return Moments(n, mean, without_rounding(mean, cov))


def without_rounding(mean: np.ndarray, cov: np.ndarray) -> np.ndarray:
    """Covariances in which what varies by no more than its own rounding does not vary."""
    is_constant = np.einsum("...ii->...i", cov) <= (_ROUNDING * mean) ** 2
    return np.where(is_constant[..., None] | is_constant[..., None, :], 0.0, cov)


def grouped_thirds(values: np.ndarray, codes: np.ndarray, moments: Moments) -> np.ndarray:
    """Third central moments of each group's variables, shape (groups, v, v, v); zero where a group is empty."""
    n_groups, size = moments.mean.shape
    centred = (values - moments.mean[codes]).T
    third = np.zeros((n_groups, size, size, size))
    with np.errstate(over="ignore", invalid="ignore"):
        for i, j in combinations_with_replacement(range(size), 2):
            product = centred[i] * centred[j]
            for k in range(j, size):
                cube = np.bincount(codes, product * centred[k], n_groups) / np.maximum(moments.n, 1)
                for at in set(permutations((i, j, k))):
                    third[:, *at] = cube
    return third


def combine(first: Moments, second: Moments) -> Moments:
    """Moments of both groups of customers together, as if their rows had been read at once."""
    n = first.n + second.n
    gap = second.mean - first.mean
    share = (second.n / n)[..., None]
    between = (first.n * second.n / n)[..., None, None] * gap[..., :, None] * gap[..., None, :]
    inside = (first.n - 1)[..., None, None] * first.cov + (second.n - 1)[..., None, None] * second.cov
    return Moments(n, first.mean + share * gap, (inside + between) / (n - 1)[..., None, None])


def statistics(units: pd.DataFrame, plan: Plan) -> dict[str, MetricStats]:
    """Reduce customers to the sufficient statistics of every metric of the plan.

    Args:
        units: `units` of one experiment.
        plan: its plan.

    Returns:
        One entry a metric, in the plan's order; the arms are those of the plan with a share.
    """
    arms = (plan.control, *plan.arms)
    codes = pd.Index(arms).get_indexer(units["arm"].astype("str"))
    inside = units[codes >= 0]
    covariates, names = _covariates(inside, plan)
    return {metric.name: _metric_stats(inside, codes[codes >= 0], metric, arms, covariates, names)
            for metric in plan.metrics}


def segment_statistics(units: pd.DataFrame, plan: Plan, metric: Metric, segment: str) -> tuple[list, Moments]:
    """Moments of one metric by (value of the segment, arm): the values, and moments of shape (values, arms)."""
    arms = (plan.control, *plan.arms)
    known = units[units[segment].notna() & units["arm"].astype("str").isin(arms)]
    values, n_missing, _ = read_values(known, metric)
    known, values = known[n_missing == 0], values[n_missing == 0]
    cap = cap_of(values, metric)
    values = values if np.isnan(cap) else np.clip(values, -cap, cap)
    names = sorted(known[segment].unique(), key=str)
    rows = pd.Index(names).get_indexer(known[segment])
    columns = pd.Index(arms).get_indexer(known["arm"].astype("str"))
    flat = grouped_moments(values, rows * len(arms) + columns, len(names) * len(arms))
    shape = (len(names), len(arms))
    return names, Moments(flat.n.reshape(shape), flat.mean.reshape(*shape, -1),
                          flat.cov.reshape(*shape, *flat.cov.shape[1:]))


def read_values(units: pd.DataFrame, metric: Metric) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read a metric's columns as numbers, with whether a row is missing and whether it is infinite."""
    values = np.column_stack([units[name].astype("float64").to_numpy() for name in metric.columns])
    return values, np.isnan(values).any(axis=1), np.isinf(values).any(axis=1)


def cap_of(values: np.ndarray, metric: Metric) -> float:
    """One cap for all arms: the quantile of absolute values, over customers with a value other than zero."""
    if metric.winsorise is None or metric.kind not in ("mean", "ratio"):
        return np.nan
    sizes = np.abs(values[:, 0])
    sizes = sizes[sizes > 0] if metric.winsorise_over == "nonzero" else sizes
    return float(np.quantile(sizes, metric.winsorise)) if len(sizes) else 0.0


def _covariates(units: pd.DataFrame, plan: Plan) -> tuple[np.ndarray, tuple[str, ...]]:
    """Covariates as numbers; a missing one (a customer who is new) is zero with an indicator beside it."""
    columns, names = [], []
    for name in plan.covariates:
        if name not in units or not pd.api.types.is_numeric_dtype(units[name]):
            continue
        values = units[name].astype("float64").to_numpy()
        is_missing = ~np.isfinite(values)
        columns.append(np.where(is_missing, 0.0, values))
        names.append(name)
        if is_missing.any() and not is_missing.all():
            columns.append(is_missing.astype(float))
            names.append(f"{name} is missing")
    return (np.column_stack(columns) if columns else np.zeros((len(units), 0))), tuple(names)


def _metric_stats(units: pd.DataFrame, codes: np.ndarray, metric: Metric, arms: tuple[str, ...],
                  covariates: np.ndarray, names: tuple[str, ...]) -> MetricStats:
    reason = reason_of(units, metric)
    if reason:
        return MetricStats(metric, arms, reason=reason)
    values, is_missing, is_infinite = read_values(units, metric)
    count = {"n_missing": np.bincount(codes[is_missing], minlength=len(arms)),
             "n_infinite": np.bincount(codes[is_infinite], minlength=len(arms))}
    kept = ~is_missing & ~is_infinite
    values, codes, covariates = values[kept], codes[kept], covariates[kept]
    variables = np.hstack([values, covariates])
    raw = grouped_moments(variables, codes, len(arms))
    count["n_nonzero"] = np.bincount(codes[values[:, 0] != 0], minlength=len(arms))
    if metric.kind == "quantile":
        return MetricStats(metric, arms, raw, quantile=_quantiles(values[:, 0], codes, metric.quantile, len(arms)), **count)
    cap = cap_of(values, metric)
    if np.isnan(cap):
        return MetricStats(metric, arms, raw, covariates=names, third=grouped_thirds(variables, codes, raw), **count)
    is_capped = (np.abs(values) > cap)[:, 0]
    capped = np.column_stack([np.clip(values[:, 0], -cap, cap), variables[:, 1:]])
    moments = grouped_moments(capped, codes, len(arms))
    return MetricStats(
        metric, arms, moments, cap=cap, uncapped=raw, n_capped=np.bincount(codes[is_capped], minlength=len(arms)),
        third=grouped_thirds(capped, codes, moments), covariates=names, **count)


def reason_of(units: pd.DataFrame, metric: Metric) -> str:
    """Why the columns of a metric cannot be read, or an empty text."""
    is_number = {str(name): pd.api.types.is_numeric_dtype(units[name]) for name in units}
    return column_reason(metric, is_number, lambda name: units[name].dropna().astype("float64").isin([0.0, 1.0]).all())


def column_reason(metric: Metric, is_number: dict[str, bool], is_share: Callable[[str], bool]) -> str:
    """Why the columns of a metric cannot be read, from what the units hold, or an empty text."""
    absent = [name for name in metric.columns if name not in is_number]
    if absent:
        return f"the plan names {absent}, which the units lack; they have {sorted(is_number)}"
    wrong = [name for name in metric.columns if not is_number[name]]
    if wrong:
        return f"{wrong} are not numbers"
    if metric.kind == "proportion" and not is_share(metric.columns[0]):
        return f"{metric.columns[0]} is planned as a proportion and has values other than 0 and 1"
    return ""


def _quantiles(values: np.ndarray, codes: np.ndarray, q: float, n_arms: int) -> tuple[np.ndarray, np.ndarray]:
    found = [quantile_of(np.sort(values[codes == arm]), q) for arm in range(n_arms)]
    return np.array([value for value, _ in found]), np.array([variance for _, variance in found])


def quantile_of(ordered: np.ndarray, q: float) -> tuple[float, float]:
    """A quantile of ordered values, and n times its variance, from the order statistics around it.

    The half width between the ranks n q +- 1.96 sqrt(n q (1 - q)) is 1.96 standard errors. Tied values may make it
    zero: the quantile cannot then be compared.
    """
    n = len(ordered)
    if n < 2:
        return np.nan, np.nan
    low, value, high = np.quantile(ordered, np.clip(q_ranks(q, n), 0, 1))
    return float(value), float(quantile_variance(low, high, n))


def q_ranks(q: float, n: float) -> np.ndarray:
    """The shares of n ordered values at a quantile and 1.96 standard errors around it."""
    return q + _TWO_SIDED * np.sqrt(q * (1 - q) / n) * np.array([-1, 0, 1])


def quantile_variance(low: np.ndarray, high: np.ndarray, n: np.ndarray) -> np.ndarray:
    """n times the variance of a quantile, from the values at `q_ranks`."""
    return n * ((high - low) / (2 * _TWO_SIDED)) ** 2
