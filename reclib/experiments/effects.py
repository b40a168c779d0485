"""Effects from sufficient statistics: differences, ratios by the delta method, CUPED, Fieller's lifts, margins.

Every function works along leading axes, so one call reads an experiment, all its segments, or ten thousand simulated
ones. Degrees of freedom are Welch's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtr, stdtrit

from reclib.experiments.stats import Moments

_ROUNDING = 1e-12


@dataclass(frozen=True)
class Estimate:
    """A figure of an arm and how it varies; leading axes as in `Moments`.

    Attributes:
        n: customers.
        value: the estimate.
        variance: variance of one customer's contribution; the estimate's own is variance / n.
        x_mean, x_cov: mean and covariance of the covariates.
        xy_cov: covariance of the contribution with each covariate.
        weight: what a unit of each variable adds to the contribution.
    """

    n: np.ndarray
    value: np.ndarray
    variance: np.ndarray
    x_mean: np.ndarray | None = None
    x_cov: np.ndarray | None = None
    xy_cov: np.ndarray | None = None
    weight: np.ndarray | None = None


def mean_estimate(moments: Moments) -> Estimate:
    """The mean of the first variable; the further ones are covariates."""
    weight = np.zeros(moments.mean.shape)
    weight[..., 0] = 1.0
    return Estimate(moments.n, moments.mean[..., 0], moments.cov[..., 0, 0], moments.mean[..., 1:],
                    moments.cov[..., 1:, 1:], moments.cov[..., 0, 1:], weight)


def ratio_estimate(moments: Moments) -> Estimate:
    """The sum of the first variable over the sum of the second, by the delta method; the rest are covariates."""
    top, below = moments.mean[..., 0], moments.mean[..., 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        gradient = np.stack([1 / below, -top / below**2], axis=-1)
        terms = np.einsum("...i,...ij,...j->...ij", gradient, moments.cov[..., :2, :2], gradient)
        variance = terms.sum(axis=(-2, -1))
        variance = np.where(variance <= _ROUNDING * np.einsum("...ii->...", terms), 0.0, variance)
        xy_cov = np.einsum("...i,...ij->...j", gradient, moments.cov[..., :2, 2:])
        weight = np.concatenate([gradient, np.zeros(moments.mean[..., 2:].shape)], axis=-1)
        return Estimate(moments.n, top / below, variance, moments.mean[..., 2:], moments.cov[..., 2:, 2:], xy_cov, weight)


def adjust(arm: Estimate, control: Estimate) -> tuple[Estimate, Estimate]:
    """Take out of both arms what the covariates explain (CUPED), with one slope from both arms together.

    The slope comes from the covariance of all customers, and both arms are centred on the mean of all customers:
    a slope or a centre of each arm's own would make the standard error falsely small.

    Returns:
        Both estimates, adjusted; their lift is relative to the adjusted control.
    """
    n = arm.n + control.n
    share = (arm.n * control.n / n)[..., None]
    gap = arm.x_mean - control.x_mean
    x_cov = ((arm.n - 1)[..., None, None] * arm.x_cov + (control.n - 1)[..., None, None] * control.x_cov
             + share[..., None] * gap[..., :, None] * gap[..., None, :])
    xy_cov = ((arm.n - 1)[..., None] * arm.xy_cov + (control.n - 1)[..., None] * control.xy_cov
              + share * (arm.value - control.value)[..., None] * gap)
    scale = np.sqrt(np.einsum("...ii->...i", x_cov))
    scale = np.where(scale > 0, scale, 1.0)
    inverse = np.linalg.pinv(x_cov / (scale[..., :, None] * scale[..., None, :]), rcond=1e-10, hermitian=True)
    slope = np.einsum("...ij,...j->...i", inverse, xy_cov / scale) / scale
    centre = (arm.n[..., None] * arm.x_mean + control.n[..., None] * control.x_mean) / n[..., None]
    return _adjusted(arm, slope, centre), _adjusted(control, slope, centre)


def _adjusted(estimate: Estimate, slope: np.ndarray, centre: np.ndarray) -> Estimate:
    value = estimate.value - np.einsum("...i,...i->...", slope, estimate.x_mean - centre)
    variance = (estimate.variance - 2 * np.einsum("...i,...i->...", slope, estimate.xy_cov)
                + np.einsum("...i,...ij,...j->...", slope, estimate.x_cov, slope))
    own = estimate.weight.shape[-1] - slope.shape[-1]
    weight = np.concatenate([estimate.weight[..., :own], np.broadcast_to(-slope, estimate.x_mean.shape)], axis=-1)
    return replace(estimate, value=value, variance=np.maximum(variance, 0.0), weight=weight)


def compare(arm: Estimate, control: Estimate, *, alpha: float, critical: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Hold an arm against the control.

    Args:
        arm: estimate of the arm.
        control: estimate of the control.
        alpha: two-sided error rate.
        critical: half width of the intervals in standard errors; Student's quantile by default.

    Returns:
        mean_arm, mean_control, effect, effect_low, effect_high, lift, lift_low, lift_high (Fieller's; missing where
        the control mean cannot be told from zero), p_value, se, df.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        own, base = arm.variance / arm.n, control.variance / control.n
        se = np.sqrt(own + base)
        df = (own + base) ** 2 / (own**2 / (arm.n - 1) + base**2 / (control.n - 1))
        effect = arm.value - control.value
        half = (stdtrit(df, 1 - alpha / 2) if critical is None else critical)
        p_value = 2 * stdtr(df, -np.abs(effect / se))
        lift = effect / np.abs(control.value)
    lift_low, lift_high = fieller(arm.value, own, control.value, base, half)
    return {
        "mean_arm": arm.value, "mean_control": control.value, "effect": effect, "effect_low": effect - half * se,
        "effect_high": effect + half * se, "lift": lift, "lift_low": lift_low, "lift_high": lift_high,
        "p_value": p_value, "se": se, "df": df,
    }


def lean(n: Sequence[float], variance: Sequence[float], third: Sequence[float]) -> float:
    """Skewness of the difference of two means, arm less control: how far its interval leans to one side.

    Equal arms cancel each other's skew; a small arm does not. At 0.3 each tail of a 95 % interval is off by about
    2.5 points (first Edgeworth term), so one tail is empty and the other twice what it should be.
    """
    spread = variance[0] / n[0] + variance[1] / n[1]
    return (third[0] / n[0] ** 2 - third[1] / n[1] ** 2) / spread**1.5 if spread > 0 else 0.0


def fieller(top: np.ndarray, top_variance: np.ndarray, below: np.ndarray, below_variance: np.ndarray,
            half: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fieller's interval of top / below - 1 (its sign turned where `below` is negative).

    It holds every ratio r for which top - r below is within `half` standard errors of zero, so it never contradicts
    the absolute interval; solved for r - 1, so that two huge values lose no digits. Where `below` itself is within
    `half` standard errors of zero it has no ends: both missing.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = top - below
        a = below**2 - half**2 * below_variance
        b = gap * below + half**2 * below_variance
        inside = top**2 * below_variance + below**2 * top_variance - half**2 * top_variance * below_variance
        root = half * np.sqrt(np.maximum(inside, 0.0))
        low, high = (b - root) / a, (b + root) / a
    is_bounded = a > 0
    turned = below < 0
    low, high = np.where(turned, -high, low), np.where(turned, -low, high)
    return np.where(is_bounded, low, np.nan), np.where(is_bounded, high, np.nan)


def hold_margin(arm: Estimate, control: Estimate, margin: float, *, is_up: bool, is_absolute: bool = False,
                df: np.ndarray | None = None) -> np.ndarray:
    """One-sided p-value of "worse than the control by the margin or more".

    A relative margin m is a share of the control mean, which is itself estimated: the test is of
    arm - (1 - m) control (or (1 + m) where lower is better), with the variance of both.

    Returns:
        The p-value; below alpha / 2 exactly where Fieller's interval of the lift stays inside the margin.
    """
    sign = 1.0 if is_up else -1.0
    weight = 1.0 if is_absolute else 1.0 - sign * margin * np.sign(control.value)
    room = margin if is_absolute else 0.0
    distance = sign * (arm.value - weight * control.value) + room
    se = np.sqrt(arm.variance / arm.n + weight**2 * control.variance / control.n)
    with np.errstate(divide="ignore", invalid="ignore"):
        return stdtr(arm.n + control.n - 2 if df is None else df, -distance / se)
