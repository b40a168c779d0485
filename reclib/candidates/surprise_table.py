"""Surprise's eleven algorithms: what they predict of held-out ratings, and how the lists rank that they would make.

Estimates of many pairs are made at once: the formulas are those of `surprise.prediction_algorithms`, where an unknown
customer or item leaves what is known of the other, or the mean of all ratings. A loop over `.predict` takes minutes.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import surprise
from scipy import sparse

from reclib import metrics, store
from reclib.candidates import base
from reclib.report import number

ALGORITHMS = {
    "KNNBaseline, items": lambda: surprise.KNNBaseline(sim_options={"name": "pearson_baseline", "user_based": False}, verbose=False),
    "SVDpp": lambda: surprise.SVDpp(cache_ratings=True, random_state=0),
    "KNNBaseline": lambda: surprise.KNNBaseline(verbose=False),
    "SVD": lambda: surprise.SVD(random_state=0),
    "BaselineOnly": lambda: surprise.BaselineOnly(verbose=False),
    "SlopeOne": surprise.SlopeOne,
    "KNNWithMeans": lambda: surprise.KNNWithMeans(verbose=False),
    "CoClustering": lambda: surprise.CoClustering(random_state=0),
    "NMF": lambda: surprise.NMF(random_state=0),
    "KNNBasic": lambda: surprise.KNNBasic(verbose=False),
    "NormalPredictor": surprise.NormalPredictor,
}
FOLDS = (1, 2, 3, 4, 5)
RECORDED = "notebooks/benchmarks/surprise_recorded.csv"
COLUMNS = ["customer_id", "item_id", "value"]


def fold(folder: Path, number: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ratings to learn from and to judge on of a fold that comes with MovieLens-100k."""
    return tuple(pd.read_csv(folder / f"u{number}.{part}", sep="\t", names=[*COLUMNS, "at"]) for part in ("base", "test"))


def fingerprint(known: pd.DataFrame, judged: pd.DataFrame) -> str:
    """Twelve digits that any change of a fold changes."""
    rows = pd.concat([known[COLUMNS], judged[COLUMNS]])
    return hashlib.sha256(rows.to_numpy(np.int64).tobytes()).hexdigest()[:12]


def trained(name: str, known: pd.DataFrame) -> surprise.AlgoBase:
    """One of the algorithms, with its default options, trained on ratings in their order."""
    whole = surprise.Dataset.load_from_df(known[COLUMNS], surprise.Reader()).build_full_trainset()
    return ALGORITHMS[name]().fit(whole)


def estimates(algo: surprise.AlgoBase, pairs: pd.DataFrame, *, rng: np.random.Generator | np.random.RandomState) -> np.ndarray:
    """What `.predict(clip=False)` says of each pair of `customer_id`, `item_id`; `rng` draws for NormalPredictor only."""
    known = algo.trainset
    customer = pairs["customer_id"].map(known._raw2inner_id_users).fillna(-1).to_numpy(np.int64)
    item = pairs["item_id"].map(known._raw2inner_id_items).fillna(-1).to_numpy(np.int64)
    if isinstance(algo, surprise.NormalPredictor):
        return rng.normal(known.global_mean, algo.sigma, len(pairs))
    found, is_known = _of_strangers(algo, customer, item), (customer >= 0) & (item >= 0)
    if hasattr(algo, "sim"):
        found[is_known] = _from_neighbours(algo, customer[is_known], item[is_known])
    elif is_known.any():
        rows, place = np.unique(customer[is_known], return_inverse=True)
        found[is_known] = _of_all_items(algo, rows)[place, item[is_known]]
    return found


def _of_strangers(algo: surprise.AlgoBase, customer: np.ndarray, item: np.ndarray) -> np.ndarray:
    """What is said where customer or item (-1) is unknown: the mean, and the bias of the other where there are biases."""
    if algo.bu is None or not getattr(algo, "biased", True):
        return np.full(len(customer), algo.trainset.global_mean)
    return algo.trainset.global_mean + np.append(algo.bu, 0.0)[customer] + np.append(algo.bi, 0.0)[item]


def _of_all_items(algo: surprise.AlgoBase, customers: np.ndarray) -> np.ndarray:
    """Estimates of every item for these customers, customers x items, by those that need no neighbours."""
    if isinstance(algo, surprise.CoClustering):
        row, column = np.asarray(algo.cltr_u)[customers], np.asarray(algo.cltr_i)
        own = np.asarray(algo.user_mean)[customers] - np.asarray(algo.avg_cltr_u)[row]
        return np.asarray(algo.avg_cocltr)[np.ix_(row, column)] + own[:, None] + np.asarray(algo.item_mean) - np.asarray(algo.avg_cltr_i)[column]
    rated = _is_rated(algo.trainset)[customers]
    if isinstance(algo, surprise.SlopeOne):
        is_related = np.asarray(algo.freq) > 0
        shift = (rated @ np.where(is_related, algo.dev, 0.0).T) / np.maximum(rated @ is_related.T.astype(float), 1)
        return np.asarray(algo.user_mean)[customers, None] + shift
    biases = algo.trainset.global_mean + np.asarray(algo.bu)[customers, None] + np.asarray(algo.bi) if getattr(algo, "biased", True) else 0.0
    if not hasattr(algo, "pu"):
        return biases
    factors = np.asarray(algo.pu)[customers]
    if hasattr(algo, "yj"):
        factors = factors + (rated @ np.asarray(algo.yj)) / np.sqrt(np.diff(rated.indptr))[:, None]
    return biases + factors @ np.asarray(algo.qi).T


def _is_rated(known: surprise.Trainset) -> sparse.csr_matrix:
    """Customers x items in Surprise's own ids, 1 where rated."""
    customer, item, _ = zip(*known.all_ratings())
    return sparse.csr_matrix((np.ones(len(item)), (customer, item)), shape=(known.n_users, known.n_items))


def _from_neighbours(algo: surprise.AlgoBase, customer: np.ndarray, item: np.ndarray) -> np.ndarray:
    """Estimates by the `k` most similar who rated, in Surprise's order where they tie; only positive similarities weigh.

    Pairs with the same item are taken together: its raters are compared with all their customers at once. With
    similarities of items it is the other way round, as in Surprise (`switch`).
    """
    own, other = algo.switch(customer, item)
    found, order = np.empty(len(own)), np.argsort(other, kind="stable")
    for places in np.split(order, np.flatnonzero(np.diff(other[order])) + 1):
        rater, rating = np.array(algo.yr[other[places[0]]]).T
        rater = rater.astype(int)
        weight = algo.sim[np.ix_(own[places], rater)]
        nearest = np.argsort(-weight, axis=1, kind="stable")[:, :algo.k] if len(rater) > algo.k else np.arange(len(rater))[None, :]
        weight = np.maximum(np.take_along_axis(weight, nearest, axis=1), 0.0)
        above, total = (rating - _usual(algo, rater, other[places[0]]))[nearest], weight.sum(axis=1)
        share = (weight * above).sum(axis=1) / np.where(total > 0, total, 1.0)
        alone = algo.trainset.global_mean if type(algo) is surprise.KNNBasic else 0.0
        found[places] = _usual(algo, own[places], other[places[0]]) + np.where(total > 0, share, alone)
    return found


def _usual(algo: surprise.AlgoBase, own: np.ndarray, other: int) -> np.ndarray | float:
    """What is expected before neighbours are asked: the baseline, the mean, or nothing, by the kind of algorithm."""
    if hasattr(algo, "bx"):
        return algo.trainset.global_mean + algo.bx[own] + algo.by[other]
    return algo.means[own] if hasattr(algo, "means") else 0.0


def errors(algo: surprise.AlgoBase, judged: pd.DataFrame, *, seed: int = 0) -> dict[str, float]:
    """RMSE and MAE of clipped estimates of what was held out."""
    said = np.clip(estimates(algo, judged, rng=np.random.RandomState(seed)), *algo.trainset.rating_scale)
    gap = said - judged["value"].to_numpy(float)
    return {"rmse": float(np.sqrt(np.mean(gap**2))), "mae": float(np.abs(gap).mean())}


def measure(folder: Path, names: list[str], folds: list[int]) -> pd.DataFrame:
    """Train each algorithm on each fold: `algorithm`, `fold`, `data` (fingerprint of the fold), `rmse`, `mae`."""
    rows = []
    for number_of, (known, judged) in ((each, fold(folder, each)) for each in folds):
        data = fingerprint(known, judged)
        rows += [{"algorithm": name, "fold": number_of, "data": data} | errors(trained(name, known), judged) for name in names]
    return pd.DataFrame(rows)


def recorded() -> pd.DataFrame:
    """What `measure` gave for all algorithms and folds; learning SVD++ five times takes longer than a page should."""
    return pd.read_csv(store.project() / RECORDED, dtype={"data": "str"})


def contest(folder: Path, *, k: int, rng: np.random.Generator) -> pd.DataFrame:
    """Rating prediction beside ranking, on fold u1: each algorithm learns once, and lists what it would rate highest.

    Returns:
        `algorithm`, `rmse` and `mae` (here), `rmse_of_five` and `mae_of_five` (recorded, mean of the folds), `ndcg`, `low`, `high`
        (what was rated is left out, ratings of 4 and 5 are to be found), least RMSE first.
    """
    known, judged = fold(folder, FOLDS[0])
    wanted = judged[(judged["value"] >= 4) & judged["customer_id"].isin(known["customer_id"])]
    customers, items = np.sort(wanted["customer_id"].unique()), np.sort(known["item_id"].unique())
    pairs = pd.DataFrame({"customer_id": customers.repeat(len(items)), "item_id": np.tile(items, len(customers))})
    had = pd.MultiIndex.from_frame(pairs).isin(pd.MultiIndex.from_frame(known[["customer_id", "item_id"]]))
    rows = []
    for name in ALGORITHMS:
        algo = trained(name, known)
        scores = np.where(had, -np.inf, estimates(algo, pairs, rng=rng)).reshape(len(customers), len(items))
        columns, _ = base.best(scores, k)
        listed = pd.DataFrame({"customer_id": customers.repeat(k), "item_id": items[columns.ravel()],
                               "rank": np.tile(np.arange(1, k + 1), len(customers))})
        found = metrics.mean_interval(metrics.ndcg_at_k(listed, wanted, k=k), rng=rng)
        rows.append({"algorithm": name} | errors(algo, judged) | {"ndcg": found["value"], "low": found["low"], "high": found["high"]})
    means = recorded().groupby("algorithm")[["rmse", "mae"]].mean()
    table = pd.DataFrame(rows).join(means.add_suffix("_of_five"), on="algorithm", validate="one_to_one")
    return table.sort_values(["rmse", "algorithm"], ignore_index=True)[
        ["algorithm", "rmse", "mae", "rmse_of_five", "mae_of_five", "ndcg", "low", "high"]]


def contest_sentence(table: pd.DataFrame, popular: float, *, k: int) -> str:
    """Say what lists the best predictors of ratings make, and how many of all make better ones than popularity does."""
    first, *others = table.head(3).itertuples()
    n_better = int((table["ndcg"] > popular).sum())
    said = [f"{row.algorithm}, number {place} by RMSE, {number(row.ndcg)}" for place, row in enumerate(others, 2)]
    return (f"{first.algorithm} predicts ratings best (RMSE {number(first.rmse)}), and its lists have NDCG@{k} {number(first.ndcg)}; "
            f"{'; '.join(said)}. What is popular predicts nothing and has {number(popular)}: {n_better} of the {len(table)} algorithms make better lists.")
