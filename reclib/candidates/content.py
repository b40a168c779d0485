"""Sources that read the catalogue: popular in the customer's categories, content neighbours and new items."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

from reclib.candidates import base
from reclib.candidates.history import History

N_PRICE_BANDS = 5
FEW_CUSTOMERS = 5


class PopularInCategory(base.Source):
    """What sells lately in the categories that the customer likes; strangers with a segment get its categories.

    The score is the share of the category in the customer's likes times the share of the item in the category.
    """

    name = "popular_in_category"
    is_personal = False

    def __init__(self, *, days: float | None = 28.0, max_items: int = 5_000, half_life_days: float = 90.0) -> None:
        self.days, self.max_items, self.half_life_days = days, max_items, half_life_days

    def fit(self, history: History) -> PopularInCategory:
        """Learn category shares of customers (decayed) and of segments, and item shares within categories."""
        self.history = history
        recent = history.popularity(self.days)
        counts = recent if recent.any() else history.popularity()
        category, n_categories = words(history.catalogue, "category")
        counts = np.where(category >= 0, counts, 0.0)
        order = np.lexsort((np.arange(len(counts)), -counts))[:self.max_items]
        self.items = np.sort(order[counts[order] > 0])
        category, counts = category[self.items], counts[self.items]
        totals = np.bincount(category, counts, n_categories)
        self.weights = _one_each(category, counts / totals[category], n_categories)
        self.liked = category_shares(history, self.half_life_days)
        self.segment_taste = _segment_taste(history, self.liked)
        return self

    def rows(self, codes: np.ndarray, ids: pd.Index | None) -> sparse.csr_matrix:
        """Shares of the categories in the likes of the customer, or else of the segment."""
        own = super().rows(codes, ids)
        if self.segment_taste is None:
            return own
        place = self.segment_taste.index.get_indexer(self.history.segments.reindex(ids))
        place[np.asarray(own.sum(axis=1)).ravel() > 0] = -1
        return own + base.rows_of(sparse.csr_matrix(self.segment_taste.to_numpy()), place)


class ContentNeighbours(base.Source):
    """Items with little history that resemble what the customer liked, in category, brand and price band.

    Each item is a unit vector over its attributes; the score is the mean cosine with the items liked.

    Args:
        few: an item that fewer customers liked has little history.
    """

    name = "content_neighbours"

    def __init__(self, *, few: int = FEW_CUSTOMERS, max_items: int = 5_000) -> None:
        self.few, self.max_items = few, max_items

    def fit(self, history: History) -> ContentNeighbours:
        """Describe items by their attributes and customers by the mean of what they liked."""
        self.history = history
        attributes = item_attributes(history.catalogue)
        liked = history.liked()
        n_customers = np.asarray(liked.sum(axis=0)).ravel()
        is_described = np.diff(attributes.indptr) > 0
        self.items = np.flatnonzero(is_described & (n_customers < self.few))[:self.max_items]
        n_liked = np.asarray(liked.sum(axis=1)).ravel()
        self.liked = sparse.csr_matrix(sparse.diags_array(1 / np.maximum(n_liked, 1)) @ liked @ attributes)
        self.weights = sparse.csr_matrix(attributes[self.items].T)
        self.is_known_item = n_customers > 0
        return self

    def knows_item(self) -> np.ndarray:
        """Items that anybody liked."""
        return self.is_known_item


class NewItems(base.Source):
    """Items that came on sale in the last so many days: they deserve a first look.

    An item is as old as its `valid_from` says, else as its first response, where that is later than the start of the
    log by twice the window (before, nobody can tell). The score is (1 + the customer's share of its category) x
    2^(-age / window).
    """

    name = "new_items"
    is_personal = False

    def __init__(self, *, days: float = 28.0, max_items: int = 1_000, half_life_days: float = 90.0) -> None:
        self.days, self.max_items, self.half_life_days = days, max_items, half_life_days

    def fit(self, history: History) -> NewItems:
        """Find the new items and their age."""
        self.history = history
        age = item_ages(history, 2 * self.days)
        order = np.lexsort((np.arange(len(age)), age))[:self.max_items]
        self.items = np.sort(order[age[order] <= self.days])
        freshness = np.exp2(-age[self.items] / self.days)
        category, n_categories = words(history.catalogue, "category")
        self.weights = sparse.vstack([freshness, _one_each(category[self.items], freshness, n_categories)], format="csr")
        self.liked = category_shares(history, self.half_life_days)
        self.is_known_item = history.popularity() > 0
        return self

    def rows(self, codes: np.ndarray, ids: pd.Index | None) -> sparse.csr_matrix:
        """1 for everyone, then the shares of the categories in the likes of the customer."""
        return sparse.hstack([np.ones((len(codes), 1)), super().rows(codes, ids)], format="csr")

    def knows_customer(self) -> np.ndarray:
        """All that the history names."""
        return np.ones(len(self.history.customers), bool)

    def knows_item(self) -> np.ndarray:
        """Items that anybody liked."""
        return self.is_known_item


def words(catalogue: pd.DataFrame, column: str) -> tuple[np.ndarray, int]:
    """Codes of a word column, in the order of the words; -1 where unknown. A column of one code where it is absent.

    Returns:
        (codes, number of words, at least 1).
    """
    if column not in catalogue:
        return np.full(len(catalogue), -1), 1
    found = pd.Categorical(catalogue[column])
    return found.codes.astype(np.int64), max(len(found.categories), 1)


def _one_each(feature: np.ndarray, values: np.ndarray, n_features: int) -> sparse.csr_matrix:
    """Features x items with one value an item, at its feature; none where the feature is unknown (-1)."""
    known = np.flatnonzero(feature >= 0)
    return sparse.csr_matrix((values[known], (feature[known], known)), shape=(n_features, len(feature)))


def category_shares(history: History, half_life_days: float) -> sparse.csr_matrix:
    """Customers x categories: share of each category in what the customer liked, later likes counting more."""
    category, n_categories = words(history.catalogue, "category")
    liked = history.pairs[history.pairs["is_liked"]]
    code = category[liked["item"]]
    liked, code = liked[code >= 0], code[code >= 0]
    weight = np.maximum(liked["n"], 1) * np.exp2(-liked["last_day"] / half_life_days)
    shape = (len(history.customers), n_categories)
    sums = sparse.csr_matrix((weight, (liked["customer"], code)), shape=shape)
    totals = np.asarray(sums.sum(axis=1)).ravel()
    return sparse.csr_matrix(sparse.diags_array(1 / np.where(totals > 0, totals, 1.0)) @ sums)


def item_attributes(catalogue: pd.DataFrame) -> sparse.csr_matrix:
    """Items x attributes (category, brand, price band), each row of length 1, empty where nothing is known."""
    price = catalogue["price"] if "price" in catalogue else pd.Series(np.nan, index=catalogue.index, dtype=float)
    band = np.ceil(price.rank(method="average", pct=True) * N_PRICE_BANDS)
    columns = [words(catalogue, name) for name in ("category", "brand")]
    columns.append((band.fillna(0).to_numpy().astype(np.int64) - 1, N_PRICE_BANDS))
    parts = [sparse.csr_matrix((np.ones((codes >= 0).sum()), (np.flatnonzero(codes >= 0), codes[codes >= 0])),
                               shape=(len(catalogue), width)) for codes, width in columns]
    stacked = sparse.hstack(parts, format="csr")
    return sparse.csr_matrix(sparse.diags_array(1 / np.sqrt(np.maximum(np.diff(stacked.indptr), 1))) @ stacked)


def item_ages(history: History, blind_days: float) -> np.ndarray:
    """Days since each item came on sale; infinite where nobody can tell, or where it is not on sale yet."""
    first = np.full(len(history.items), -np.inf)
    np.maximum.at(first, history.responses["item"], history.responses["day"])
    span = history.responses["day"].max()
    age = np.where(np.isfinite(first) & (first < span - blind_days), first, np.inf)
    if "valid_from" in history.catalogue:
        stated = (history.as_of - history.catalogue["valid_from"]).to_numpy() / np.timedelta64(1, "D")
        age = np.where(np.isnan(stated), age, np.where(stated >= 0, stated, np.inf))
    return age


def _segment_taste(history: History, taste: sparse.csr_matrix) -> pd.DataFrame | None:
    if history.segments is None or history.segments.empty:
        return None
    segment = history.segments.reindex(history.customers)
    return pd.DataFrame(taste.toarray()).groupby(segment.to_numpy()).mean()
