"""Can the split be trusted? Sample ratio mismatch, leaked arms, and whether lost values depend on the arm."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.special import bdtr, bdtrc, chdtrc

FEW = 5  # customers expected in an arm, below which the chi-square distribution is off


def sample_ratio(counts: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """p-value of the chi-square test of counts against planned shares, along the last axis.

    Where few customers are expected in an arm, each arm's count is held against its binomial distribution instead,
    corrected for the number of arms. Arms with a planned share of 0 carry no degree of freedom; a customer in one of
    them is a leak and makes p zero.
    """
    counts, shares = np.asarray(counts, dtype=float), np.asarray(shares, dtype=float)
    is_planned = shares > 0
    inside, planned = counts[..., is_planned], shares[is_planned] / shares[is_planned].sum()
    total = inside.sum(axis=-1, keepdims=True)
    expected = total * planned
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = ((inside - expected) ** 2 / expected).sum(axis=-1)
    p = chdtrc(max(len(planned) - 1, 1), distance)
    n = total.astype("int64")
    exact = 2 * np.minimum(bdtr(inside, n, planned), bdtrc(inside - 1, n, planned)).min(axis=-1)
    p = np.where(expected.min(axis=-1) < FEW, np.minimum(exact * (1 if len(planned) == 2 else len(planned)), 1.0), p)
    return np.where((counts[..., ~is_planned] > 0).any(axis=-1), 0.0, p)


def split_table(arms: pd.Series, shares: Mapping[str, float]) -> pd.DataFrame:
    """Customers by arm beside what was planned, arms outside of the plan included.

    Returns:
        arm, n_customers, share, planned_share; a leaked arm has planned_share 0.
    """
    counts = arms.astype("str").value_counts()
    names = [*shares, *sorted(set(counts.index) - set(shares))]
    n = counts.reindex(names, fill_value=0)
    planned = [shares.get(name, 0.0) for name in names]
    return pd.DataFrame({"arm": names, "n_customers": n.to_numpy(), "share": n.to_numpy() / max(n.sum(), 1),
                         "planned_share": planned})


def segment_ratios(units: pd.DataFrame, segment: str, shares: Mapping[str, float]) -> pd.DataFrame:
    """The sample ratio check within every value of a segment, corrected for their number (Bonferroni).

    Returns:
        segment, value, n_customers, p_value, p_adjusted.
    """
    known = units[units[segment].notna()]
    table = pd.crosstab(known[segment].astype("str"), known["arm"].astype("str"))
    table = table.reindex(columns=[*shares, *sorted(set(table.columns) - set(shares))], fill_value=0)
    p = sample_ratio(table.to_numpy(), np.array([shares.get(name, 0.0) for name in table.columns]))
    return pd.DataFrame({"segment": segment, "value": table.index.astype("str"),
                         "n_customers": table.sum(axis=1).to_numpy(), "p_value": p,
                         "p_adjusted": np.minimum(p * len(table), 1.0)})


def missing_ratio(n_missing: np.ndarray, n: np.ndarray) -> float:
    """p-value of "values are missing as often in every arm"; 1 where none is missing.

    Chi-square; where few are expected in an arm, as `sample_ratio` of those who are fewer, missing or not.

    Args:
        n_missing: customers without a value, by arm.
        n: all customers, by arm.
    """
    n_missing, n = np.asarray(n_missing, dtype=float), np.asarray(n, dtype=float)
    share = n_missing.sum() / max(n.sum(), 1)
    if not 0 < share < 1:
        return 1.0
    fewer = n_missing if share < 0.5 else n - n_missing
    if (fewer.sum() * n / n.sum()).min() < FEW:
        return float(sample_ratio(fewer, n / n.sum()))
    lost = ((n_missing - n * share) ** 2 / (n * share)).sum()
    kept = ((n_missing - n * share) ** 2 / (n * (1 - share))).sum()
    return float(chdtrc(len(n) - 1, lost + kept))
