"""Sources that learn with Surprise: matrix factorisation and the item similarities of its nearest neighbours.

Surprise predicts ratings. Trained on what people gave, it learns what they would give, not what they would choose;
trained on positives and sampled negatives, the same class ranks. `negatives=0` keeps the first way for comparison.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

from reclib.candidates import base
from reclib.candidates.history import History

MAX_PAIRS = 60_000
MAX_SIMILAR_ITEMS = 2_000


class SurpriseFactors(base.Source):
    """Surprise SVD; on positives with sampled negatives (target 1 and 0) unless `negatives` is 0 (target: the grade).

    Args:
        n_factors, n_epochs, lr_all, reg_all, random_state: as in `surprise.SVD`; forty epochs of half the step rank no better
            on MovieLens-100k, and cost twice as much.
        negatives: sampled unseen items a positive.
        max_pairs: where there are more positives, only the latest of each customer are learnt from (`sample` says so).
    """

    name = "surprise_svd"
    least = None

    def __init__(self, *, n_factors: int = 20, n_epochs: int = 20, lr_all: float = 0.04, reg_all: float = 0.02,
                 negatives: int = 5, max_pairs: int = MAX_PAIRS, max_items: int = 10_000, random_state: int = 0) -> None:
        self.options = {"n_factors": n_factors, "n_epochs": n_epochs, "lr_all": lr_all, "reg_all": reg_all}
        self.negatives, self.max_pairs, self.max_items, self.random_state = negatives, max_pairs, max_items, random_state

    def fit(self, history: History) -> SurpriseFactors:
        """Learn the factors; `sample` tells how much of the history was used."""
        from surprise import SVD

        pairs = history.pairs[history.pairs["is_liked"] if self.negatives else history.pairs["n"] > 0]
        learnt, self.sample = sample(history, pairs, max_pairs=self.max_pairs, max_items=self.max_items)
        rows = self._with_negatives(history, learnt) if self.negatives else learnt.assign(target=learnt["grade"])
        self.trainset, self.customer_codes, self.items = trainset(
            rows["customer"].to_numpy(), rows["item"].to_numpy(), rows["target"].to_numpy(float))
        self.algo = SVD(random_state=self.random_state, **self.options).fit(self.trainset)
        self.weights = np.column_stack([self.algo.qi, np.ones(len(self.algo.bi)), self.algo.bi]).T
        self.history = history
        return self

    def rows(self, codes: np.ndarray, ids: pd.Index | None) -> np.ndarray:
        """Factors and bias: times the weights they give what `.predict(clip=False)` would estimate.

        A stranger (code -1, or never learnt) gets the mean and the item's part only, as Surprise does without a word.
        """
        inner = inner_ids(self.customer_codes, codes)
        algo, is_known = self.algo, inner >= 0
        own = np.where(is_known[:, None], algo.pu[inner], 0.0)
        bias = np.where(is_known, algo.bu[inner], 0.0)
        return np.column_stack([own, self.trainset.global_mean + bias, np.ones(len(codes))])

    def knows_customer(self) -> np.ndarray:
        """Customers who were learnt from; the others are scored too, so that this flag marks them."""
        return base.flags(self.customer_codes, len(self.history.customers))
    def _with_negatives(self, history: History, positives: pd.DataFrame) -> pd.DataFrame:
        """Add sampled items that the customer has no pair with; they are not events and are kept nowhere else."""
        rng = np.random.default_rng(self.random_state)
        items = np.unique(positives["item"])
        customer = positives["customer"].to_numpy().repeat(self.negatives)
        item = items[rng.integers(0, len(items), len(customer))]
        width = len(history.items)
        key = customer * width + item
        taken = history.pairs["customer"].to_numpy() * width + history.pairs["item"].to_numpy()
        key = np.unique(key[~np.isin(key, taken)])
        rows = pd.DataFrame({"customer": np.append(positives["customer"], key // width),
                             "item": np.append(positives["item"], key % width),
                             "target": np.append(np.ones(len(positives)), np.zeros(len(key)))})
        return rows.iloc[rng.permutation(len(rows))]


class PureSvd(base.Source):
    """PureSVD (Cremonesi, Koren and Turrin 2010): the customer's likes through the first factors of the whole matrix.

    The score is the customer's row of X times V V', V the right singular vectors of X.
    """

    name = "pure_svd"

    def __init__(self, *, n_factors: int = 20, max_items: int = 10_000) -> None:
        self.n_factors, self.max_items = n_factors, max_items

    def fit(self, history: History) -> PureSvd:
        """Find the factors; as many as the matrix can have where it is small."""
        self.history = history
        self.items = history.head(self.max_items)
        self.liked = history.liked()[:, self.items]
        self.weights = right_factors(self.liked, self.n_factors).T
        return self

    def rows(self, codes: np.ndarray, ids: pd.Index | None) -> np.ndarray:
        """The customer's likes through the factors."""
        return super().rows(codes, ids) @ self.weights.T


def right_factors(liked: sparse.csr_matrix, n_factors: int) -> np.ndarray:
    """The first right singular vectors of a matrix, columns; all of them where it has no more than that."""
    if min(liked.shape) <= n_factors + 1:
        _, size, rows = np.linalg.svd(liked.toarray(), full_matrices=False)
        return rows[:n_factors][size[:n_factors] > 1e-9].T
    from scipy.sparse.linalg import svds

    return svds(liked, k=n_factors, v0=np.ones(min(liked.shape)), return_singular_vectors="vh")[2].T


class SurpriseNeighbours(base.Source):
    """Item similarities of Surprise's KNNBaseline (`pearson_baseline`), summed over the items that the customer liked.

    Only positive similarities of the `k` nearest neighbours count. Surprise's own `.predict` is not used: it would
    take a minute for every pair of a thousand customers. Constant grades have no correlation: nothing is offered then.
    """

    name = "surprise_knn"

    def __init__(self, *, k: int = 100, max_pairs: int = 2 * MAX_PAIRS, max_items: int = MAX_SIMILAR_ITEMS) -> None:
        self.k, self.max_pairs, self.max_items = k, max_pairs, max_items

    def fit(self, history: History) -> SurpriseNeighbours:
        """Learn similarities on the grades; `sample` tells how much of the history was used."""
        pairs = history.pairs[history.pairs["grade"].notna()]
        learnt, self.sample = sample(history, pairs, max_pairs=self.max_pairs, max_items=self.max_items)
        self.history = history
        self.items, self.weights = np.zeros(0, np.int64), np.zeros((0, 0))
        if learnt["grade"].nunique() > 1:
            inner, similarity = self._similarity(learnt)
            order = np.argsort(inner)
            self.items, self.weights = inner[order], nearest(similarity[np.ix_(order, order)], self.k)
        self.liked = history.liked()[:, self.items]
        return self

    def _similarity(self, learnt: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        from surprise import KNNBaseline

        known, _, item_codes = trainset(
            learnt["customer"].to_numpy(), learnt["item"].to_numpy(), learnt["grade"].to_numpy(float))
        algo = KNNBaseline(sim_options={"name": "pearson_baseline", "user_based": False}, verbose=False).fit(known)
        return item_codes, algo.sim


def sample(history: History, pairs: pd.DataFrame, *, max_pairs: int, max_items: int) -> tuple[pd.DataFrame, str]:
    """Keep at most so many pairs: those of the most liked items, then the latest of each customer.

    Returns:
        (pairs, words that say what share was learnt from: `everything`, or how many of how many).
    """
    kept = pairs[np.isin(pairs["item"], history.head(max_items))] if len(history.items) > max_items else pairs
    kept = kept.sort_values(["customer", "last_day", "item"], ignore_index=True)
    if len(kept) > max_pairs:
        recency = kept.groupby("customer").cumcount().to_numpy()
        order = np.lexsort((kept["item"], kept["customer"], recency))
        kept = kept.iloc[np.sort(order[:max_pairs])]
    share = len(kept) / max(len(pairs), 1)
    return kept, "everything" if share == 1 else f"{len(kept):,} of {len(pairs):,} pairs ({100 * share:.0f} %)"


def trainset(customer: np.ndarray, item: np.ndarray, target: np.ndarray) -> tuple[object, np.ndarray, np.ndarray]:
    """Build a Surprise trainset from codes without going through its reader.

    Returns:
        (trainset, customer code by inner id, item code by inner id), both ascending; raw ids are the codes.
    """
    from surprise import Trainset

    customers, inner_customer = np.unique(customer, return_inverse=True)
    items, inner_item = np.unique(item, return_inverse=True)
    by_customer = _grouped(inner_customer, inner_item, target, len(customers))
    by_item = _grouped(inner_item, inner_customer, target, len(items))
    scale = (float(target.min()), float(target.max()))
    names = ({int(code): inner for inner, code in enumerate(codes)} for codes in (customers, items))
    return (Trainset(by_customer, by_item, len(customers), len(items), len(target), scale, *names), customers, items)


def _grouped(group: np.ndarray, other: np.ndarray, target: np.ndarray, n_groups: int) -> dict[int, list]:
    order = np.argsort(group, kind="stable")
    cuts = np.searchsorted(group[order], np.arange(n_groups + 1)).tolist()
    rows = list(zip(other[order].tolist(), target[order].tolist()))
    return {inner: rows[cuts[inner]:cuts[inner + 1]] for inner in range(n_groups)}


def inner_ids(learnt: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Places of codes among the learnt ones (ascending); -1 where never learnt."""
    place = np.searchsorted(learnt, codes).clip(0, len(learnt) - 1)
    return np.where(learnt[place] == codes, place, -1)


def nearest(similarity: np.ndarray, k: int) -> np.ndarray:
    """Keep of each column its k largest positive similarities to other items; the rest becomes 0."""
    found = np.round(np.maximum(similarity, 0.0), base.DIGITS)
    np.fill_diagonal(found, 0.0)
    if k < len(found) - 1:
        cut = np.partition(found, len(found) - k, axis=0)[len(found) - k]
        found = np.where(found >= cut, found, 0.0)
    return found
