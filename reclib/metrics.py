"""Offline metrics: per-customer values first, means with intervals after; the variant is in the name or the arguments.

`recommended` is a table of `customer_id`, `item_id`, `rank` (from 1, no item twice a customer); `relevant` one of
`customer_id`, `item_id`. Customers without a relevant item are skipped; those without a recommendation count as 0.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

GAINS, DISCOUNTS, IDEALS = ("linear", "exponential"), ("log2p1", "log2max2"), ("achievable", "full")
NDCG = "ndcg_linear_log2p1_achievable"
N_BOOT = 1_000
MAX_BOOT = 20_000
BLOCK = 2_000_000


def hits(recommended: pd.DataFrame, relevant: pd.DataFrame, *, k: int) -> pd.DataFrame:
    """Find the recommended items within the first `k` that are relevant: `customer_id`, `item_id`, `rank`."""
    _check_k(k)
    first = recommended.loc[(recommended["rank"] <= k).to_numpy(), ["customer_id", "item_id", "rank"]]
    pairs = relevant[["customer_id", "item_id"]].drop_duplicates()
    return first.merge(pairs, on=["customer_id", "item_id"], validate="one_to_one")


def recall_at_k(recommended: pd.DataFrame, relevant: pd.DataFrame, *, k: int) -> pd.Series:
    """Share of a customer's relevant items among the first k: two of four found is 0.5."""
    n_relevant = _n_relevant(relevant)
    return _sums(hits(recommended, relevant, k=k), n_relevant) / n_relevant


def precision_at_k(recommended: pd.DataFrame, relevant: pd.DataFrame, *, k: int) -> pd.Series:
    """Relevant items among the first k, over k even where fewer were recommended: two hits of k = 5 are 0.4."""
    return _sums(hits(recommended, relevant, k=k), _n_relevant(relevant)) / k


def hit_rate_at_k(recommended: pd.DataFrame, relevant: pd.DataFrame, *, k: int) -> pd.Series:
    """1 where at least one of the first k is relevant, else 0."""
    return (_sums(hits(recommended, relevant, k=k), _n_relevant(relevant)) > 0).astype(float)


def mrr_at_k(recommended: pd.DataFrame, relevant: pd.DataFrame, *, k: int) -> pd.Series:
    """1 / rank of the first relevant item among the first k, else 0: first hit at rank 4 is 0.25."""
    found = hits(recommended, relevant, k=k)
    best = (1 / found["rank"]).groupby(found["customer_id"]).max()
    return best.reindex(_n_relevant(relevant).index).fillna(0.0)


def map_at_k(recommended: pd.DataFrame, relevant: pd.DataFrame, *, k: int) -> pd.Series:
    """Mean of the precision at each hit, over min(relevant, k): hits at ranks 1 and 4 of two are (1/1 + 2/4) / 2 = 0.75."""
    found = hits(recommended, relevant, k=k).sort_values(["customer_id", "rank"])
    precision = (found.groupby("customer_id").cumcount() + 1) / found["rank"]
    n_relevant = _n_relevant(relevant)
    return _sums(found, n_relevant, precision) / np.minimum(n_relevant, k)


def ndcg_at_k(recommended: pd.DataFrame, relevant: pd.DataFrame, *, k: int, gain: str = "linear",
              discount: str = "log2p1", ideal: str = "achievable") -> pd.Series:
    """Discounted gain of the first k over that of an ideal list.

    DCG is the sum of gain x discount(rank). Libraries differ in three places, so each is named. Two relevant items,
    hits at ranks 1 and 4, k = 5: 0.877 as here, 0.485 with `ideal="full"`, 0.750 with `discount="log2max2"`.

    Args:
        gain: `linear` (the column `relevance` of `relevant`, 1 where it is absent) or `exponential` (2^relevance - 1).
        discount: `log2p1` is 1 / log2(rank + 1); `log2max2` is 1 / log2(max(rank, 2)).
        ideal: `achievable`, the relevant items in their best order, at most k; `full`, k items of gain 1 whatever the
            customer has (for ungraded relevance).
    """
    _check_option("gain", gain, GAINS)
    _check_option("discount", discount, DISCOUNTS)
    _check_option("ideal", ideal, IDEALS)
    pairs = relevant.drop_duplicates(["customer_id", "item_id"])
    worth = pairs["relevance"].to_numpy(float) if "relevance" in pairs else np.ones(len(pairs))
    pairs = pairs[["customer_id", "item_id"]].assign(gain=worth if gain == "linear" else np.exp2(worth) - 1)
    n_relevant = _n_relevant(relevant)
    found = hits(recommended, pairs, k=k).merge(pairs, on=["customer_id", "item_id"], validate="one_to_one")
    dcg = _sums(found, n_relevant, found["gain"] * _discount(found["rank"], discount))
    if ideal == "full":
        return dcg / _discount(pd.Series(np.arange(1, k + 1)), discount).sum()
    ordered = pairs.sort_values(["customer_id", "gain"], ascending=[True, False])
    place = ordered.groupby("customer_id").cumcount() + 1
    best = (ordered["gain"] * _discount(place, discount)).where(place <= k, 0.0)
    return dcg / best.groupby(ordered["customer_id"]).sum()


def coverage_at_k(recommended: pd.DataFrame, eligible: pd.Index, *, k: int) -> float:
    """Share of the eligible items that anybody is recommended among the first k; not known where nothing is eligible."""
    _check_k(k)
    shown = recommended.loc[(recommended["rank"] <= k).to_numpy(), "item_id"].unique()
    return float(pd.Index(eligible).isin(shown).mean()) if len(eligible) else float("nan")


def exposure_gini_at_k(recommended: pd.DataFrame, eligible: pd.Index, *, k: int) -> float:
    """Gini of how often each eligible item stands among the first k, zeros counted: 0 is even, near 1 is one item.

    Sum of (2 i - n - 1) x_i over n times the sum of x, x ascending; (0, 0, 0, 4) gives 0.75.
    """
    _check_k(k)
    first = recommended.loc[(recommended["rank"] <= k).to_numpy(), "item_id"]
    counts = np.sort(first.value_counts().reindex(eligible).fillna(0).to_numpy(float))
    n, total = len(counts), counts.sum()
    return float(((2 * np.arange(1, n + 1) - n - 1) * counts).sum() / (n * total)) if total else float("nan")


def novelty_at_k(recommended: pd.DataFrame, n_customers_of: pd.Series, *, n_customers: int, k: int) -> pd.Series:
    """Mean of -log2((c + 1) / (n + 1)) over the first k: c customers of n had the item; unseen items count too.

    Args:
        n_customers_of: customers who had the item, by item id; absent means none.
    """
    first = recommended.loc[(recommended["rank"] <= k).to_numpy()]
    share = (first["item_id"].map(n_customers_of).fillna(0).to_numpy(float) + 1) / (n_customers + 1)
    return pd.Series(-np.log2(share), index=first.index).groupby(first["customer_id"]).mean()


def diversity_at_k(recommended: pd.DataFrame, category_of: pd.Series, *, k: int) -> pd.Series:
    """Share of the pairs of items within the first k that differ in category; items without one differ from all.

    Four items, two of one category: 5 of 6 pairs differ. Customers with fewer than two items are skipped.
    """
    first = recommended.loc[(recommended["rank"] <= k).to_numpy(), ["customer_id", "item_id"]]
    category = first["item_id"].map(category_of)
    size = first.groupby("customer_id").size()
    same = first.assign(category=category).dropna(subset="category").groupby(["customer_id", "category"], observed=True).size()
    n_same = (same * (same - 1) / 2).groupby(level="customer_id").sum().reindex(size.index).fillna(0.0)
    size = size[size >= 2]
    return 1 - n_same.reindex(size.index) / (size * (size - 1) / 2)


def repetition_at_k(recommended: pd.DataFrame, had: pd.DataFrame, *, k: int) -> pd.Series:
    """Share of a customer's first k that the customer had before."""
    first = recommended.loc[(recommended["rank"] <= k).to_numpy(), ["customer_id", "item_id"]]
    pairs = had[["customer_id", "item_id"]].drop_duplicates().assign(is_had=1.0)
    marked = first.merge(pairs, on=["customer_id", "item_id"], how="left", validate="many_to_one")
    return marked["is_had"].fillna(0.0).groupby(marked["customer_id"]).mean()


def mean_interval(values: pd.Series, *, rng: np.random.Generator, alpha: float = 0.05, clusters: pd.Series | None = None,
                  n_boot: int = N_BOOT) -> dict[str, float]:
    """Mean with its interval over customers: percentile bootstrap, or the normal one above 20,000 clusters.

    Args:
        values: one value a customer (or a customer and time, then with `clusters`).
        clusters: the customer behind each value; a customer is drawn with all its values.

    Returns:
        `value`, `low`, `high`, `n_customers`; all but the last missing where there is no value, the ends missing
        where there is one customer only.
    """
    keys = np.arange(len(values)) if clusters is None else pd.factorize(clusters)[0]
    sums, counts = np.bincount(keys, values.to_numpy(float)), np.bincount(keys)
    n = len(counts)
    if n < 2:
        return {"value": float(values.mean()) if n else float("nan"), "low": float("nan"), "high": float("nan"), "n_customers": n}
    mean = float(sums.sum() / counts.sum())
    if n > MAX_BOOT:
        from scipy.stats import norm

        error = np.sqrt(np.square(sums - mean * counts).sum() * n / (n - 1)) / counts.sum()
        low, high = mean + norm.ppf(alpha / 2) * error, mean + norm.ppf(1 - alpha / 2) * error
    else:
        low, high = np.quantile(_resampled(sums[:, None], counts, rng, n_boot)[:, 0], [alpha / 2, 1 - alpha / 2])
    return {"value": mean, "low": float(low), "high": float(high), "n_customers": n}


def mean_intervals(values: pd.DataFrame, *, rng: np.random.Generator, alpha: float = 0.05, n_boot: int = N_BOOT) -> pd.DataFrame:
    """Do for each column, one row a customer, what `mean_interval` does for one, with customers drawn once for all columns.

    Returns:
        `value`, `low`, `high`, `n_customers`, one row a column.
    """
    n = len(values)
    if n < 2 or n > MAX_BOOT:
        return pd.DataFrame([mean_interval(values[name], rng=rng, alpha=alpha) for name in values], index=values.columns)
    means = _resampled(values.to_numpy(float), np.ones(n), rng, n_boot)
    low, high = np.quantile(means, [alpha / 2, 1 - alpha / 2], axis=0)
    return pd.DataFrame({"value": values.mean(), "low": low, "high": high, "n_customers": n}, index=values.columns)


def difference_interval(values: pd.Series, baseline: pd.Series, *, rng: np.random.Generator, alpha: float = 0.05,
                        n_boot: int = N_BOOT) -> dict[str, float]:
    """Mean of the customers' own differences, value minus baseline, over the customers of both."""
    common = values.index.intersection(baseline.index)
    return mean_interval(values.loc[common] - baseline.loc[common], rng=rng, alpha=alpha, n_boot=n_boot)


def _resampled(sums: np.ndarray, counts: np.ndarray, rng: np.random.Generator, n_boot: int) -> np.ndarray:
    """Means of samples of the clusters, samples x columns of `sums`: how often each is drawn, times what it holds, a block at a time."""
    n, means = len(sums), []
    for start in range(0, n_boot, size := max(1, BLOCK // n)):
        n_samples = min(size, n_boot - start)
        place = rng.integers(n, size=(n_samples, n), dtype=np.int32) + n * np.arange(n_samples)[:, None]
        times = np.bincount(place.ravel(), minlength=n_samples * n).reshape(n_samples, n).astype(float)
        means.append((times @ sums) / (times @ counts)[:, None])
    return np.concatenate(means)


def _n_relevant(relevant: pd.DataFrame) -> pd.Series:
    pairs = relevant[["customer_id", "item_id"]].drop_duplicates()
    return pairs.groupby("customer_id").size()


def _sums(found: pd.DataFrame, n_relevant: pd.Series, values: pd.Series | None = None) -> pd.Series:
    sums = found.groupby("customer_id").size() if values is None else values.groupby(found["customer_id"]).sum()
    return sums.reindex(n_relevant.index).fillna(0.0).astype(float)


def _discount(rank: pd.Series, discount: str) -> pd.Series:
    return 1 / np.log2(rank + 1) if discount == "log2p1" else 1 / np.log2(np.maximum(rank, 2))


def _check_k(k: int) -> None:
    if k < 1:
        raise ValueError(f"k == {k}, must be at least 1.")


def _check_option(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} == {value!r}, must be one of {list(allowed)}.")
