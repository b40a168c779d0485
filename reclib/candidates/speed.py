"""How the sources grow: CPU seconds beside peers, in one run on one machine, so that only ratios matter."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import sparse

from reclib.candidates import neighbours
from reclib.candidates.factors import SurpriseFactors
from reclib.candidates.history import History, learn
from reclib.report import number


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU seconds, user and system, of all threads of one call."""
    started = time.process_time()
    work()
    return time.process_time() - started


def power_law(n_events: int, *, rng: np.random.Generator) -> sparse.csr_matrix:
    """Customers x items with long tails: item popularity falls with rank to the 0.9, customers are Pareto 1.5.

    300,000 customers and 30,000 items for ten million events, in proportion for fewer (items with the square root).
    """
    n_customers, n_items = max(int(n_events * 0.03), 10), max(int(30_000 * np.sqrt(n_events / 1e7)), 10)
    activity = rng.pareto(1.5, n_customers) + 1
    customer = rng.choice(n_customers, n_events, p=activity / activity.sum())
    popularity = np.arange(1, n_items + 1) ** -0.9
    item = rng.choice(n_items, n_events, p=popularity / popularity.sum())
    found = sparse.csr_matrix((np.ones(n_events), (customer, item)), shape=(n_customers, n_items))
    found.data[:] = 1.0
    return found


def cosine_growth(sizes: list[int], *, k: int, rng: np.random.Generator) -> pd.DataFrame:
    """Item neighbours in scipy blocks and in implicit's C++, where it is installed: `n_events`, `engine`, `cpu_seconds`."""
    rows = []
    for size in sizes:
        liked = power_law(size, rng=rng)
        rows.append({"n_events": size, "engine": "scipy blocks",
                     "cpu_seconds": cpu_seconds(lambda matrix=liked: neighbours.cosine_neighbours(matrix, k))})
        peer = _implicit_cosine(k)
        if peer is not None:
            rows.append({"n_events": size, "engine": "implicit",
                         "cpu_seconds": cpu_seconds(lambda matrix=liked: _fit_quietly(peer, matrix))})
    return pd.DataFrame(rows)


def _implicit_cosine(k: int) -> object | None:
    try:
        from implicit.nearest_neighbours import CosineRecommender
    except ImportError:
        return None
    return CosineRecommender(K=k, num_threads=1)


def _fit_quietly(peer: object, liked: sparse.csr_matrix) -> None:
    """Fit implicit's model without its advice on matrix formats, which it gives on its own intermediate too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer.fit(liked, show_progress=False)


def ease_growth(sizes: list[int], *, n_events: int, rng: np.random.Generator) -> pd.DataFrame:
    """EASE by size of the catalogue: `n_items`, `cpu_seconds`."""
    rows = []
    for n_items in sizes:
        item = np.floor(rng.power(1.6, n_events) * n_items).astype(int).clip(0, n_items - 1)
        liked = sparse.csr_matrix((np.ones(n_events), (rng.integers(0, n_events // 30, n_events), item)),
                                  shape=(n_events // 30, n_items))
        rows.append({"n_items": n_items, "cpu_seconds": cpu_seconds(lambda matrix=liked: neighbours.ease_weights(matrix, 300.0))})
    return pd.DataFrame(rows)


def surprise_growth(sizes: list[int], *, rng: np.random.Generator) -> pd.DataFrame:
    """Surprise's SVD on positives and five negatives each: `n_pairs`, `cpu_seconds`."""
    rows = []
    for size in sizes:
        history = as_history(power_law(size, rng=rng))
        rows.append({"n_pairs": len(history.pairs), "cpu_seconds": cpu_seconds(
            lambda log=history: SurpriseFactors(max_pairs=10**9, max_items=10**9).fit(log))})
    return pd.DataFrame(rows)


def as_history(liked: sparse.csr_matrix) -> History:
    """Put a customers x items matrix into a history of purchases on one day."""
    pairs = liked.tocoo()
    day = pd.Timestamp("2024-06-30", tz="UTC").as_unit("us")
    events = pd.DataFrame({"event_id": np.arange(pairs.nnz), "occurred_at": day, "customer_id": pairs.row, "item_id": pairs.col,
                           "event_type": pd.Series(["purchase"], dtype="str").repeat(pairs.nnz).to_numpy(), "value": 1.0})
    return learn(events, None, None, as_of=day)


def top_n_race(history: History, *, n_customers: int, n: int) -> dict[str, float]:
    """Surprise's loop over every pair of some customers against one matrix product and the best `n` for all customers.

    Returns:
        `loop_seconds` and `product_seconds` a million pairs, `ratio`, `largest_difference` of the estimates,
        `n_customers` of the loop, `n_all` of the product.
    """
    source = SurpriseFactors().fit(history)
    codes = source.customer_codes[:n_customers]
    items, found = source.item_codes.tolist(), []
    loop = cpu_seconds(lambda: found.extend(
        source.algo.predict(customer, item, clip=False).est for customer in codes.tolist() for item in items))
    product = cpu_seconds(lambda: source.generate(history.customers[source.customer_codes], n=n))
    difference = float(np.abs(np.reshape(found, (len(codes), len(items))) - source.scores(codes)).max())
    loop, product = (1e6 * seconds / (n_rows * len(items)) for seconds, n_rows in
                     ((loop, len(codes)), (product, len(source.customer_codes))))
    return {"loop_seconds": loop, "product_seconds": product, "ratio": loop / product, "largest_difference": difference,
            "n_customers": len(codes), "n_all": len(source.customer_codes)}


def exponent(sizes: pd.Series, seconds: pd.Series) -> float:
    """Slope of log seconds on log size: 1 is linear growth."""
    return float(np.polyfit(np.log(sizes.to_numpy(float)), np.log(seconds.to_numpy(float)), 1)[0])


def race_sentence(race: dict[str, float]) -> str:
    """Say how much faster the product is, and that it says the same."""
    return (f"A million pairs take {number(race['product_seconds'])} CPU s by one product with the best of {race['n_all']:,} customers picked, "
            f"{number(race['loop_seconds'])} s in a loop (over {race['n_customers']:,} customers): {race['ratio']:,.0f} times as fast, "
            f"with estimates that differ by at most {race['largest_difference']:.0e}.")


def cosine_sentence(table: pd.DataFrame) -> str:
    """Say how the cosine grows, and how it stands beside implicit where that is installed."""
    ours = table[table["engine"] == "scipy blocks"].set_index("n_events")["cpu_seconds"]
    text = (f"Item neighbours of {ours.index[-1]:,} events take {number(ours.iloc[-1])} CPU s, growing with the power "
            f"{exponent(ours.index.to_series(), ours):.2f}")
    peer = table[table["engine"] == "implicit"].set_index("n_events")["cpu_seconds"]
    if peer.empty:
        return text + "; implicit is not installed, so there is no peer beside it."
    return text + f", {ours.iloc[-1] / peer.iloc[-1]:.1f} times implicit's {number(peer.iloc[-1])}."


def growth_sentence(table: pd.DataFrame, *, what: str, size: str) -> str:
    """Say with which power of the size the cost grows."""
    return (f"{what}: {number(table['cpu_seconds'].iloc[-1])} CPU s for {table[size].iloc[-1]:,} {size.removeprefix('n_')}, "
            f"growing with the power {exponent(table[size], table['cpu_seconds']):.2f}.")
