"""How the sources grow: CPU seconds beside peers, in one run on one machine, so that only ratios matter."""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pandas as pd
from scipy import sparse

from reclib import store
from reclib.candidates import base, neighbours
from reclib.candidates.factors import SurpriseFactors, trainset
from reclib.candidates.generate import BIG_PAIRS, EASE_ITEMS
from reclib.candidates.history import History, learn
from reclib.report import number

OURS, IMPLICIT, SURPRISE = "scipy blocks", "implicit", "surprise"
RECORDED = "notebooks/benchmarks/growth_recorded.csv"
N_CLUSTERS = 20


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU seconds, user and system, of all threads of one call."""
    started = time.process_time()
    work()
    return time.process_time() - started


def power_law(n_events: int, *, rng: np.random.Generator) -> sparse.csr_matrix:
    """Customers x items with long tails: item popularity falls with rank to the 0.9, customers are Pareto 1.5.

    300,000 customers and 30,000 items for ten million events, in proportion for fewer (items with the square root). Half of
    a customer's events fall on items of one of twenty clusters.
    """
    n_customers, n_items = max(int(n_events * 0.03), 10), max(int(30_000 * np.sqrt(n_events / 1e7)), 10)
    activity = rng.pareto(1.5, n_customers) + 1
    customer = rng.choice(n_customers, n_events, p=activity / activity.sum())
    popularity = np.arange(1, n_items + 1) ** -0.9
    item = rng.choice(n_items, n_events, p=popularity / popularity.sum())
    own = np.minimum(item - item % N_CLUSTERS + customer % N_CLUSTERS, n_items - 1)
    item = np.where(rng.random(n_events) < 0.5, own, item)
    found = sparse.csr_matrix((np.ones(n_events), (customer, item)), shape=(n_customers, n_items))
    found.data[:] = 1.0
    return found


def shortened(liked: sparse.csr_matrix, *, rng: np.random.Generator) -> sparse.csr_matrix:
    """At most 500 likes of a customer, as `ItemNeighbours` learns from; here they have no time, so any 500."""
    pairs = liked.tocoo()
    order = np.lexsort((rng.random(pairs.nnz), pairs.row))
    kept = order[np.arange(pairs.nnz) - liked.indptr[pairs.row[order]] < neighbours.MAX_HISTORY]
    return sparse.csr_matrix((np.ones(len(kept)), (pairs.row[kept], pairs.col[kept])), shape=liked.shape)


def measure(sizes: list[int], engines: list[str], *, k: int = 50, seed: int = 7) -> pd.DataFrame:
    """Learn from so many events, each engine and size in a process of its own.

    Args:
        engines: scipy blocks and implicit find item neighbours; surprise learns SVD (20 factors, 20 epochs) on the pairs.

    Returns:
        `n_events`, `engine`, `cpu_seconds` (learning alone), `peak_mib` (the whole process, with the making of its data).
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        tasks = [(size, engine, k, seed) for size in sizes for engine in engines]
        return pd.DataFrame(list(pool.map(_measured, *zip(*tasks))))


def _measured(size: int, engine: str, k: int, seed: int) -> dict:
    rng = np.random.default_rng(seed)
    liked = shortened(power_law(size, rng=rng), rng=rng)
    work = {OURS: lambda: neighbours.cosine_neighbours(liked, k), IMPLICIT: lambda: _fit_quietly(_implicit_cosine(k), liked),
            SURPRISE: lambda: _learn_factors(liked, seed)}[engine]
    seconds = cpu_seconds(work)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return {"n_events": size, "engine": engine, "cpu_seconds": seconds, "peak_mib": peak}


def _learn_factors(liked: sparse.csr_matrix, seed: int) -> None:
    from surprise import SVD

    pairs = liked.tocoo()
    target = np.random.default_rng(seed).integers(1, 6, pairs.nnz).astype(float)
    SVD(n_factors=20, random_state=seed).fit(trainset(pairs.row, pairs.col, target)[0])


def recorded() -> pd.DataFrame:
    """What `measure` here and in `ranking.speed` gave for up to ten million events, on two shared cores."""
    return pd.read_csv(store.project() / RECORDED)


def recommend_race(n_customers: int, n_items: int, *, n_factors: int = 64, n: int = 100, rng: np.random.Generator) -> pd.DataFrame:
    """Lists for everybody from the same made-up factors, ours and implicit's batch `recommend`, both without what was had.

    Returns:
        One row: `n_customers`, `n_items`, `ours` and `implicit` (CPU seconds), `ratio`, `share_equal` (share of the places
        with the same item); implicit's figures are missing where it is not installed.
    """
    customers, items = (rng.normal(0, 0.3, (size, n_factors)).astype(np.float32) for size in (n_customers, n_items))
    column = rng.integers(0, n_items, 20 * n_customers)
    had = sparse.csr_matrix((np.ones(len(column), np.float32), (np.arange(n_customers).repeat(20), column)), shape=(n_customers, n_items))
    own, across = customers.astype(float), items.astype(float).T
    codes, found = np.arange(n_customers), {}
    ours = cpu_seconds(lambda: found.update(ours=base.top_n(
        lambda block, _: own[block] @ across, codes, n=n, n_columns=n_items, had=had)))
    row = {"n_customers": n_customers, "n_items": n_items, "ours": ours, "implicit": np.nan, "share_equal": np.nan}
    peer = _implicit_factors(customers, items)
    if peer is not None:
        row["implicit"] = cpu_seconds(lambda: found.update(peer=peer.recommend(codes, had, N=n)[0]))
        row["share_equal"] = float((found["peer"] == found["ours"][1].reshape(n_customers, n)).mean())
    return pd.DataFrame([row]).assign(ratio=lambda table: table["ours"] / table["implicit"])


def _implicit_factors(customers: np.ndarray, items: np.ndarray) -> object | None:
    try:
        from implicit.cpu.als import AlternatingLeastSquares
    except ImportError:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # its advice on threads of BLAS
        peer = AlternatingLeastSquares(factors=customers.shape[1], num_threads=1)
    peer.user_factors, peer.item_factors = customers, items
    return peer


def _implicit_cosine(k: int) -> object | None:
    try:
        from implicit.nearest_neighbours import CosineRecommender
    except ImportError:
        return None
    return CosineRecommender(K=k, num_threads=1)


def has_implicit() -> bool:
    """Whether the peer is installed."""
    return _implicit_cosine(1) is not None


def _fit_quietly(peer: object, liked: sparse.csr_matrix) -> None:
    """Fit implicit's model without its advice on matrix formats, which it gives on its own intermediate too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer.fit(liked, show_progress=False)


def as_history(liked: sparse.csr_matrix) -> History:
    """Put a customers x items matrix into a history of purchases on one day."""
    pairs = liked.tocoo()
    day = pd.Timestamp("2024-06-30", tz="UTC").as_unit("us")
    events = pd.DataFrame({"event_id": np.arange(pairs.nnz), "occurred_at": day, "customer_id": pairs.row, "item_id": pairs.col,
                           "event_type": pd.Series(["purchase"], dtype="str").repeat(pairs.nnz).to_numpy(), "value": 1.0})
    return learn(events, None, None, as_of=day)


def top_n_race(history: History, *, n_customers: int, n: int) -> dict[str, float]:
    """Surprise's own way, every pair predicted one by one and a sort, for some customers against one product for all of them.

    Returns:
        `loop_seconds` and `product_seconds` a million pairs, `ratio`, `largest_difference` of the estimates,
        `n_customers` of the loop, `n_all` of the product.
    """
    source, found = SurpriseFactors().fit(history), {}
    codes, items = source.customer_codes[:n_customers], source.items.tolist()
    everybody = history.customers[source.customer_codes]
    loop = cpu_seconds(lambda: found.update(_looped(source, codes.tolist(), items, n)))
    product = min(cpu_seconds(lambda: source.generate(everybody, n=n)) for _ in range(3))
    estimates = np.array([found[code] for code in codes.tolist()])
    difference = float(np.abs(estimates - source.scores(codes)).max())
    loop, product = (1e6 * seconds / (n_rows * len(items)) for seconds, n_rows in ((loop, len(codes)), (product, len(everybody))))
    return {"loop_seconds": loop, "product_seconds": product, "ratio": loop / product, "largest_difference": difference,
            "n_customers": len(codes), "n_all": len(everybody)}


def _looped(source: SurpriseFactors, customers: list[int], items: list[int], n: int) -> dict[int, list[float]]:
    """Estimates of every pair of each customer, predicted one by one, and a list for each, as Surprise's manual makes them."""
    estimates = {}
    for customer in customers:
        predicted = [source.algo.predict(customer, item, clip=False) for item in items]
        sorted(predicted, key=lambda prediction: prediction.est, reverse=True)[:n]
        estimates[customer] = [prediction.est for prediction in predicted]
    return estimates


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


def recommend_sentence(table: pd.DataFrame) -> str:
    """Say what lists for everybody cost beside implicit's batch, and whether they are the same lists."""
    row = table.iloc[-1]
    text = f"Lists for {row['n_customers']:,.0f} customers out of {row['n_items']:,.0f} items take {number(row['ours'])} CPU s"
    if np.isnan(row["implicit"]):
        return text + "; implicit is not installed, so there is no peer beside it."
    return text + (f", {row['ratio']:.2f} times implicit's {number(row['implicit'])}, and {100 * row['share_equal']:.2f} % of the places hold "
                   f"the same item; the rest are ties of its single precision.")


def memory_sentence(table: pd.DataFrame) -> str:
    """Say for each engine how its cost grows and what memory it took at the largest size."""
    said = []
    for engine, own in table.groupby("engine", sort=False):
        last = own.iloc[-1]
        said.append(f"{engine} {number(last['cpu_seconds'])} CPU s and {last['peak_mib']:,.0f} MiB "
                    f"(power {exponent(own['n_events'], own['cpu_seconds']):.2f})")
    return f"{table['n_events'].max():,} events: " + "; ".join(said) + "."


def choice_sentence() -> str:
    """Say which sources a history of any size gets: what `generate.default_sources` does."""
    return (f"So the size of the history chooses: up to {BIG_PAIRS:,} pairs every source learns from everything and EASE from "
            f"{EASE_ITEMS:,} items at most; above, item neighbours carry the most, EASE sees the head of the catalogue "
            f"and Surprise a sample that the page of candidates states.")
