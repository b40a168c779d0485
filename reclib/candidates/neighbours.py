"""Sources on sparse matrices: item-item cosine in blocks, and EASE on the head of the catalogue."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from reclib.candidates import base
from reclib.candidates.history import History

BLOCK_STEPS = 1_000_000
MAX_HISTORY = 500


class ItemNeighbours(base.Source):
    """Item-item cosine of who liked what, `k` nearest neighbours an item; the score sums over the items liked.

    Args:
        k: neighbours kept an item.
        max_items: learn on the most liked items only.
        min_customers: leave out items liked by fewer.
    """

    name = "item_neighbours"

    def __init__(self, *, k: int = 200, max_items: int = 10_000, min_customers: int = 1) -> None:
        self.k, self.max_items, self.min_customers = k, max_items, min_customers

    def fit(self, history: History) -> ItemNeighbours:
        """Learn the neighbours; of very long histories only the latest 500 likes of a customer count."""
        self.history = history
        self.items = history.head(self.max_items, min_customers=self.min_customers)
        self.liked = history.liked()[:, self.items]
        self.weights = cosine_neighbours(_recent(history)[:, self.items], self.k)
        return self


class Ease(base.Source):
    """EASE (Steck 2019): the closed-form linear item-item model, on the most liked items.

    B = I - P / diag(P) with P = (X'X + penalty I)^-1; the score of an item is the customer's row of X times B.

    Args:
        penalty: the ridge; 200 to 500 on a catalogue of a thousand items.
        max_items: learn on the most liked items only; cost grows with its third power.
    """

    name = "ease"

    def __init__(self, *, penalty: float = 300.0, max_items: int = 2_000) -> None:
        self.penalty, self.max_items = penalty, max_items

    def fit(self, history: History) -> Ease:
        """Invert the Gram matrix of the most liked items; `sample` tells how many of them there are."""
        self._take_head(history)
        self.liked = history.liked()[:, self.items]
        self.weights = ease_weights(self.liked, self.penalty)
        return self

    def _take_head(self, history: History) -> None:
        self.history, self.items = history, history.head(self.max_items)
        n_liked = len(history.head(len(history.items)))
        self.sample = "everything" if len(self.items) == n_liked else f"{len(self.items):,} of {n_liked:,} items"


class RecentEase(Ease):
    """EASE on everything a customer had, asked with the latest of it: what was had last says most about what is next.

    The weights are those of EASE on all that was had, liked or not; the customer's row is exp(-place / memory), place 0
    the latest. Penalty and memory were chosen on the five films before each customer's last five (MovieLens-100k).

    Args:
        memory: after so many items an item counts 1/e.
    """

    name = "ease_recent"

    def __init__(self, *, penalty: float = 500.0, memory: float = 10.0, max_items: int = 2_000) -> None:
        super().__init__(penalty=penalty, max_items=max_items)
        self.memory = memory

    def fit(self, history: History) -> RecentEase:
        """Invert the Gram matrix of what was had, and weigh each customer's items by their place in time."""
        self._take_head(history)
        had = history.pairs[history.pairs["is_had"]].sort_values(["customer", "last_day", "item"], ascending=[True, True, False])
        place = had.groupby("customer").cumcount().to_numpy()
        self.weights = ease_weights(history.had()[:, self.items], self.penalty)
        self.liked = history.matrix(had, np.exp(-place / self.memory))[:, self.items]
        return self


def ease_weights(liked: sparse.csr_matrix, penalty: float) -> np.ndarray:
    """The weights B of EASE: zero diagonal, one column an item."""
    from scipy.linalg import lapack

    gram = (liked.T @ liked).toarray().astype(float)
    np.fill_diagonal(gram, gram.diagonal() + penalty)
    if not len(gram):
        return gram
    factor, _ = lapack.dpotrf(gram, lower=0)
    inverse, _ = lapack.dpotri(factor, lower=0)
    inverse = np.triu(inverse) + np.triu(inverse, 1).T
    weights = inverse / -inverse.diagonal()[None, :]
    np.fill_diagonal(weights, 0.0)
    return weights


def cosine_neighbours(liked: sparse.csr_matrix, k: int, *, block: int = BLOCK_STEPS) -> sparse.csr_matrix:
    """Cosine similarity of columns, the `k` largest of each kept, no diagonal, rounded to six decimals.

    Works in blocks of columns that cost about `block` steps each (a step is one item that one customer liked beside
    another), so that a block stays in the processor's cache; ties at the cut go to the earlier item.

    Returns:
        items x items; column j holds the neighbours of j.
    """
    by_customer, n_items = sparse.csr_matrix(liked, dtype=np.float32), liked.shape[1]
    by_item = sparse.csr_matrix(by_customer.T)
    norms = np.maximum(np.sqrt(np.asarray(by_item.multiply(by_item).sum(axis=1), np.float32)), np.float32(1e-6))
    parts = [(np.zeros(0, int), np.zeros(0, int), np.zeros(0))]
    for start, stop in _blocks(by_customer, by_item, block):
        similar = _products(by_customer, by_item, start, stop)
        similar /= norms[start:stop]
        similar /= norms.T
        similar[np.arange(stop - start), np.arange(start, stop)] = 0.0
        column, value = base.best(similar, k, above=0.0)
        row, place = np.nonzero(np.isfinite(value))
        parts.append((start + row, column[row, place], np.round(value[row, place].astype(float), base.DIGITS)))
    row, column, value = (np.concatenate(part) for part in zip(*parts))
    return sparse.csr_matrix((value, (column, row)), shape=(n_items, n_items))


def _blocks(by_customer: sparse.csr_matrix, by_item: sparse.csr_matrix, size: int) -> list[tuple[int, int]]:
    """Ranges of items of about equal cost: the lengths of the histories to add up, and a row of results an item."""
    lengths = np.append(0, np.cumsum(np.diff(by_customer.indptr)[by_item.indices], dtype=np.int64))[by_item.indptr]
    block = (lengths[1:] + by_customer.shape[1] * np.arange(1, len(lengths))) // size
    starts = np.append(0, np.flatnonzero(np.diff(block)) + 1)[:len(block)]
    return list(zip(starts.tolist(), [*starts[1:].tolist(), len(block)]))


def _products(by_customer: sparse.csr_matrix, by_item: sparse.csr_matrix, start: int, stop: int) -> np.ndarray:
    """Dense rows `start` to `stop` of X'X: the histories of each item's customers, added up.

    The histories are laid end to end under one row an item; making that dense adds up what occurs twice. It is a third
    of the work of scipy's sparse product, which finds the places of a sparse result first.
    """
    first, last = by_item.indptr[start], by_item.indptr[stop]
    rows = by_customer[by_item.indices[first:last]]
    if (by_item.data[first:last] != 1).any():
        rows.data *= np.repeat(by_item.data[first:last], np.diff(rows.indptr))
    cuts = by_item.indptr[start:stop + 1] - first
    return sparse.csr_matrix((rows.data, rows.indices, rows.indptr[cuts]), shape=(stop - start, by_customer.shape[1])).toarray()


def _recent(history: History) -> sparse.csr_matrix:
    """Customers x items, the latest likes of each customer only: long tails dominate the cost otherwise."""
    liked = history.pairs[history.pairs["is_liked"]].sort_values(["customer", "last_day", "item"])
    kept = liked[liked.groupby("customer").cumcount() < MAX_HISTORY]
    return history.matrix(kept, np.ones(len(kept)))
