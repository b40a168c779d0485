"""How large an effect could the test see, and how many customers does an effect need?"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri


def detectable(se: np.ndarray | float, *, alpha: float, power: float = 0.8) -> np.ndarray:
    """Smallest effect that a test with this standard error finds with that power (normal approximation)."""
    return (ndtri(1 - alpha / 2) + ndtri(power)) * np.asarray(se)


def power_of(effect: np.ndarray, se: np.ndarray, *, alpha: float) -> np.ndarray:
    """Chance that a two-sided test finds an effect of this size, in either direction."""
    ratio = np.abs(effect) / np.asarray(se)
    edge = ndtri(1 - alpha / 2)
    return ndtr(ratio - edge) + ndtr(-ratio - edge)


def customers_needed(effect: float, variance: float, *, alpha: float, share: float = 0.5) -> int:
    """Customers in arm and control together that an effect needs to be found four times in five.

    Args:
        effect: absolute effect, not zero.
        variance: of one customer's value, taken as equal in both arms.
        alpha: two-sided error rate.
        share: share of the arm, in (0, 1).
    """
    if effect == 0 or not 0 < share < 1:
        raise ValueError(f"effect == {effect}, share == {share}: the effect must not be 0, the share must be in (0, 1).")
    return int(np.ceil((detectable(1.0, alpha=alpha) / effect) ** 2 * variance * (1 / share + 1 / (1 - share))))
