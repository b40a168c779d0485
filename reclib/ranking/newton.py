"""Logistic regression with a ridge, by Newton steps whose curvature is in single precision and whose gradient in double.

The minimum is that of scikit-learn's `LogisticRegression` (scikit-learn.org, user guide 1.1.11): the curvature only says
how far to step, so that rounding it costs a step or two and no digit. It is renewed only where steps gain little.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import blas, cho_factor, cho_solve
from scipy.special import expit

MAX_STEPS = 200
SLOW = 0.1
TOLERANCE = 1e-12
EDGE = 1e-6
ROUNDING = 1e-12


def fit_logistic(design: np.ndarray, label: np.ndarray, weight: np.ndarray, *, strength: float) -> tuple[np.ndarray, float]:
    """Minimise strength x weighted log loss + half the squared coefficients; the intercept is free.

    Args:
        design: one row a case, float64.
        label: 0 or 1.
        weight: of each case, positive.
        strength: of the data against the ridge, as `C` in scikit-learn.

    Returns:
        The coefficients and the intercept, at which no component of the mean gradient exceeds 1e-12.
    """
    share, ridge = weight / weight.sum(), 1 / (strength * weight.sum())
    mean = np.clip(share @ label, EDGE, 1 - EDGE)
    point, rough = np.append(np.zeros(design.shape[1]), np.log(mean / (1 - mean))), design.astype(np.float32)
    score, factor, last = np.full(len(label), point[-1]), None, np.inf
    loss = _loss(score, point, label, share, ridge)
    for _ in range(MAX_STEPS):
        p = expit(score)
        miss = share * (p - label)
        gradient = np.append(design.T @ miss + ridge * point[:-1], miss.sum())
        size = float(np.abs(gradient).max())
        if size <= TOLERANCE:
            break
        if factor is None or size > SLOW * last:
            factor = cho_factor(_curvature(design, rough, share * p * (1 - p), ridge))
        step, last = -cho_solve(factor, gradient), size
        along = design @ step[:-1] + step[-1]
        while (new := _loss(score + along, point + step, label, share, ridge)) > loss + ROUNDING and np.abs(step).max() > ROUNDING:
            step, along = step / 2, along / 2
        point, score, loss = point + step, score + along, new
    return point[:-1], float(point[-1])


def _loss(score: np.ndarray, point: np.ndarray, label: np.ndarray, share: np.ndarray, ridge: float) -> float:
    return float(share @ (np.logaddexp(0, score) - label * score) + ridge / 2 * point[:-1] @ point[:-1])


def _curvature(design: np.ndarray, rough: np.ndarray, weight: np.ndarray, ridge: float) -> np.ndarray:
    """Upper triangle of the second derivatives; a scale keeps single precision away from its ends."""
    n, size = rough.shape
    found = np.zeros((size + 1, size + 1))
    found[:size, :size] = blas.ssyrk(1.0, (rough * np.sqrt(n * weight).astype(np.float32)[:, None]).T) / n
    found[:size, size], found[size, size] = design.T @ weight, weight.sum()
    found[np.arange(size), np.arange(size)] += ridge
    return found
