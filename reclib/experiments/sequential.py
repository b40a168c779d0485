"""Anytime-valid inference: intervals that hold at every look at once, however often one looks.

The asymptotic confidence sequence of Waudby-Smith and others: a normal mixture, tightest when `n_star` customers have
been seen. The price is a wider interval at any one look.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri


def critical(n: np.ndarray, *, alpha: float, n_star: float) -> np.ndarray:
    """Half width of the interval in standard errors, after n customers in both arms together."""
    spread = np.asarray(n, dtype=float) * _mixture(alpha, n_star)
    with np.errstate(divide="ignore"):
        return np.sqrt(2 * (spread + 1) / spread * np.log(np.sqrt(spread + 1) / alpha))


def at_every_look(p: np.ndarray, n: np.ndarray, *, alpha: float, n_star: float) -> np.ndarray:
    """What a two-sided p-value of one look is worth where one looks at every customer."""
    return p_value(ndtri(np.clip(p, 1e-300, 1.0) / 2), n, alpha=alpha, n_star=n_star)


def p_value(z: np.ndarray, n: np.ndarray, *, alpha: float, n_star: float) -> np.ndarray:
    """Anytime-valid p-value of an effect of z standard errors: below alpha exactly where the interval leaves out 0."""
    spread = np.asarray(n, dtype=float) * _mixture(alpha, n_star)
    log_p = 0.5 * np.log(spread + 1) - np.square(z) * spread / (2 * (spread + 1))
    return np.exp(np.minimum(log_p, 0.0))


def _mixture(alpha: float, n_star: float) -> float:
    return (-2 * np.log(alpha) + np.log(-2 * np.log(alpha) + 1)) / n_star
