"""Ask other libraries what they make of the small tables here, and of fold u1: prints rows of `libraries.csv`.

Not a test and not run by one: it needs an environment of its own (README.md), in which the libraries are.
Run it from this folder: `python ask.py FOLDER_OF_MOVIELENS_100K`.
"""

from __future__ import annotations

import csv
import importlib.metadata
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

recommended, relevant, known, categories = (pd.read_csv(f"{name}.csv") for name in ("recommended", "relevant", "known", "categories"))
ITEMS = categories["item_id"].to_numpy()
is_long = recommended.groupby("customer_id")["rank"].transform("max") == 10


def first(k: int, rows: pd.DataFrame = recommended) -> pd.DataFrame:
    """The first `k` of each list under the names that recommenders wants; its order is that of `prediction`."""
    kept = rows[rows["rank"] <= k]
    return pd.DataFrame({"userID": kept["customer_id"], "itemID": kept["item_id"], "prediction": -kept["rank"].astype(float)})


def by_recommenders():
    """Coverage over a log in which every item occurs; diversity of one-hot categories; novelty by interactions."""
    from recommenders.evaluation import python_evaluation as asked

    wanted = relevant.rename(columns={"customer_id": "userID", "item_id": "itemID"}).assign(rating=1.0)
    full = pd.concat([known, pd.DataFrame({"customer_id": 0, "item_id": ITEMS})]).rename(columns={"customer_id": "userID", "item_id": "itemID"})
    full["userID"] = np.where(np.arange(len(full)) < len(known), full["userID"] + 1_000, -1)  # it refuses what a customer had before
    one_hot = pd.DataFrame({"itemID": ITEMS, "features": list(pd.get_dummies(categories["category"]).to_numpy(float))})
    for k in (5, 10):
        yield "coverage", k, "recommenders", "catalog_coverage(log with every item, lists)", asked.catalog_coverage(full, first(k))
        yield "diversity", k, "recommenders", "diversity(item_feature_vector, one-hot categories)", asked.diversity(
            full, first(k), item_feature_df=one_hot, item_sim_measure="item_feature_vector")
        yield "recall", k, "recommenders", f"recall_at_k(k={k})", asked.recall_at_k(wanted, first(10), k=k)
        yield "ndcg", k, "recommenders", f"ndcg_at_k(k={k})", asked.ndcg_at_k(wanted, first(10), k=k)
    yield ("novelty_by_interactions_of_full_lists", 10, "recommenders", "novelty(log and one more customer with every item, lists)",
           asked.novelty(full, first(10, recommended[is_long])))


def by_rexmex():
    from rexmex.metrics import coverage

    for k in (5, 10):
        pairs = list(recommended.loc[recommended["rank"] <= k, ["customer_id", "item_id"]].itertuples(index=False, name=None))
        yield "coverage", k, "rexmex", "item_coverage((customers, items), pairs)", coverage.item_coverage((recommended["customer_id"].tolist(), ITEMS.tolist()), pairs)


def by_pygini():
    from pygini import gini

    for k in (5, 10):
        counts = recommended.loc[recommended["rank"] <= k, "item_id"].value_counts().reindex(ITEMS, fill_value=0).to_numpy(float)
        yield "exposure_gini", k, "pygini", "gini(counts, zeros included)", gini(counts)


def films(folder: Path):
    """Likes of fold u1 (ratings of 4 and 5), what was rated, and what is to be found, by the ids of customers and items."""
    names = ["customer_id", "item_id", "value", "at"]
    learnt, judged = (pd.read_csv(folder / f"u1.{part}", sep="\t", names=names) for part in ("base", "test"))

    def matrix(rows):
        return sparse.csr_matrix((np.ones(len(rows)), (rows["customer_id"], rows["item_id"])), shape=(944, 1683))
    return matrix(learnt[learnt["value"] >= 4]), matrix(learnt), judged[judged["value"] >= 4]


def best(scores: np.ndarray, rated: sparse.csr_matrix, n: int = 10) -> np.ndarray:
    """The first items by score, rounded to six decimals, ties by item; what was rated is left out."""
    return np.argsort(-np.where(rated.toarray() > 0, -np.inf, np.round(scores, 6)), axis=1, kind="stable")[:, :n]


def ndcg(lists: np.ndarray, wanted: pd.DataFrame, customers: np.ndarray) -> float:
    """Mean over customers who were learnt from, binary, log2(rank + 1), over the best that can be had."""
    weight, found = 1 / np.log2(np.arange(2, 12)), []
    for customer, items in wanted.groupby("customer_id")["item_id"]:
        if customer in customers:
            found.append((np.isin(lists[customer], items) * weight).sum() / weight[:min(len(items), 10)].sum())
    return float(np.mean(found))


def by_item_neighbours(folder: Path):
    """The 200 nearest films and all of them by implicit, and all by the cosine of recommenders' SAR."""
    from implicit.nearest_neighbours import CosineRecommender
    from recommenders.models.sar.sar_singlenode import SARSingleNode

    liked, rated, wanted = films(folder)
    customers = np.flatnonzero(np.diff(rated.indptr))
    for name, k in (("200", 201), ("all", liked.shape[1])):
        model = CosineRecommender(K=k, num_threads=1)
        model.fit(liked, show_progress=False)
        scores = (liked @ model.similarity.T).toarray()
        lists = best(scores, rated)
        yield f"u1_ndcg_item_neighbours_{name}", 10, "implicit", f"CosineRecommender(K={k}).similarity, itself among them, what was rated masked", ndcg(lists, wanted, customers)
    with open("item_neighbours_u1.csv", "w") as file:
        file.write("customer_id,item_id,rank,score\n")
        for customer in (1, 7, 42, 300):
            file.writelines(f"{customer},{item},{rank},{scores[customer, item]:.6f}\n" for rank, item in enumerate(lists[customer], 1))
    log = pd.DataFrame(dict(zip(("userID", "itemID"), liked.nonzero()))).assign(rating=1.0)
    sar = SARSingleNode(similarity_type="cosine", threshold=1)
    sar.fit(log)
    scores = np.zeros(liked.shape)
    own, items = [sar.index2user[at] for at in range(sar.n_users)], [sar.index2item[at] for at in range(sar.n_items)]
    scores[np.ix_(own, items)] = np.asarray(sar.user_affinity @ sar.item_similarity)
    yield "u1_ndcg_item_neighbours_all", 10, "recommenders", "SARSingleNode(cosine, threshold=1), what was rated masked", ndcg(best(scores, rated), wanted, customers)


if __name__ == "__main__":
    write = csv.writer(sys.stdout, lineterminator="\n")
    for answers in (by_recommenders(), by_rexmex(), by_pygini(), by_item_neighbours(Path(sys.argv[1]))):
        for metric, k, library, call, value in answers:
            write.writerow([metric, k, library, importlib.metadata.version(library), call, round(float(value), 9)])
