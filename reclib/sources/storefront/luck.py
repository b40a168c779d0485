"""Luck as a function of (seed, stream, day, customer, item), never of what was drawn before.

Two policies that show different slates therefore meet the same customers on the same days in the same moods, and a part
of the customers meets the same luck as all of them.
"""

from __future__ import annotations

import numpy as np

STREAMS = (
    "taste", "affinity", "person", "rate", "item", "price", "promo", "visit", "clock", "browse", "like", "recall",
    "explore", "examine", "click", "dismiss", "intent", "need", "outside", "quantity", "delay", "return", "queue",
    "opt_out", "complaint", "churn", "assign", "policy", "season", "personal", "serve",
)
_CODES = {name: number for number, name in enumerate(STREAMS, start=1)}
_MASK = (1 << 64) - 1
_GOLDEN, _ODD, _M1, _M2 = 0x9E3779B97F4A7C15, 0xD1B54A32D192ED03, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_TO_UNIT = 2.0**-53


def rows(seed: int, stream: str, day: int, customers: np.ndarray) -> np.ndarray:
    """Hash each customer's day in a stream; `unit` and `spread` turn the hashes into draws."""
    base = _mix_one(_mix_one(seed * _GOLDEN + _CODES[stream]) + day * _ODD)
    return _mix(np.asarray(customers).astype(np.uint64) * np.uint64(_GOLDEN) + np.uint64(base))


def unit(hashes: np.ndarray) -> np.ndarray:
    """Turn hashes into uniform draws in (0, 1)."""
    return ((hashes >> np.uint64(11)).astype(np.float64) + 0.5) * _TO_UNIT


def spread(hashes: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Draw uniforms for items (or any small whole numbers); `hashes` must broadcast against `items`."""
    keys = (items.astype(np.uint64) + np.uint64(1)) * np.uint64(_ODD)
    keys = keys + hashes
    return unit(_mix(keys))


def uniform(seed: int, stream: str, day: int, customers: np.ndarray) -> np.ndarray:
    """Draw one uniform a customer for a day of a stream."""
    return unit(rows(seed, stream, day, customers))


def table(seed: int, stream: str, n_rows: int, n_columns: int) -> np.ndarray:
    """Draw a table of uniforms whose rows do not depend on how many rows there are."""
    return spread(rows(seed, stream, 0, np.arange(n_rows))[:, None], np.arange(n_columns)[None, :])


def normal(uniforms: np.ndarray) -> np.ndarray:
    """Turn uniforms into standard normals."""
    from scipy.special import ndtri

    return ndtri(uniforms)


def gumbel(uniforms: np.ndarray) -> np.ndarray:
    """Turn uniforms into standard Gumbel draws."""
    return -np.log(-np.log(uniforms))


def _mix(keys: np.ndarray) -> np.ndarray:
    """Finalise as splitmix64 does, in place on a fresh array."""
    keys ^= keys >> np.uint64(30)
    keys *= np.uint64(_M1)
    keys ^= keys >> np.uint64(27)
    keys *= np.uint64(_M2)
    keys ^= keys >> np.uint64(31)
    return keys


def _mix_one(key: int) -> int:
    key &= _MASK
    key = ((key ^ (key >> 30)) * _M1) & _MASK
    key = ((key ^ (key >> 27)) * _M2) & _MASK
    return key ^ (key >> 31)
