"""Sources on sparse matrices: item-item cosine in blocks, and EASE on the head of the catalogue."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

from reclib.candidates import base
from reclib.candidates.history import History

BLOCK_ITEMS = 1_000
MAX_HISTORY = 500


class ItemNeighbours:
    """Item-item cosine of who liked what, `k` nearest neighbours an item; the score sums over the items liked.

    Args:
        k: neighbours kept an item.
        max_items: learn on the most liked items only.
        min_customers: leave out items liked by fewer.
    """

    name = "item_neighbours"
    is_personal = True

    def __init__(self, *, k: int = 200, max_items: int = 10_000, min_customers: int = 1) -> None:
        self.k, self.max_items, self.min_customers = k, max_items, min_customers

    def fit(self, history: History) -> ItemNeighbours:
        """Learn the neighbours; of very long histories only the latest 500 likes of a customer count."""
        self.history = history
        self.items = history.head(self.max_items, min_customers=self.min_customers)
        self.liked = history.liked()[:, self.items]
        self.similarity = cosine_neighbours(_recent(history)[:, self.items], self.k)
        return self

    def generate(self, customers: pd.Index, *, n: int, eligible: pd.Index | None = None,
                 mask_had: bool = True) -> pd.DataFrame:
        """Offer the nearest items to what the customer liked; strangers get none."""
        return base.offer(
            self, self.history, customers, self.items,
            lambda codes, _: (base.rows_of(self.liked, codes) @ self.similarity).toarray(), n=n, eligible=eligible,
            mask_had=mask_had, known_items=base.flags(self.items, len(self.history.items)),
            known_customers=np.diff(self.liked.indptr) > 0)


class Ease:
    """EASE (Steck 2019): the closed-form linear item-item model, on the most liked items.

    B = I - P / diag(P) with P = (X'X + penalty I)^-1; the score of an item is the customer's row of X times B.

    Args:
        penalty: the ridge; 200 to 500 on a catalogue of a thousand items.
        max_items: learn on the most liked items only; cost grows with its third power.
    """

    name = "ease"
    is_personal = True

    def __init__(self, *, penalty: float = 300.0, max_items: int = 5_000) -> None:
        self.penalty, self.max_items = penalty, max_items

    def fit(self, history: History) -> Ease:
        """Invert the Gram matrix of the most liked items."""
        self.history = history
        self.items = history.head(self.max_items)
        self.liked = history.liked()[:, self.items]
        self.weights = ease_weights(self.liked, self.penalty)
        return self

    def generate(self, customers: pd.Index, *, n: int, eligible: pd.Index | None = None,
                 mask_had: bool = True) -> pd.DataFrame:
        """Offer the items with the highest scores; strangers get none."""
        return base.offer(
            self, self.history, customers, self.items, lambda codes, _: base.rows_of(self.liked, codes) @ self.weights, n=n,
            eligible=eligible, mask_had=mask_had, known_items=base.flags(self.items, len(self.history.items)),
            known_customers=np.diff(self.liked.indptr) > 0)


class RecentEase(Ease):
    """EASE on everything a customer had, asked with the latest of it: what was had last says most about what is next.

    The weights are those of EASE on all that was had, liked or not; the customer's row is exp(-place / memory), place 0
    the latest. Penalty and memory were chosen on the five films before each customer's last five (MovieLens-100k).

    Args:
        memory: after so many items an item counts 1/e.
    """

    name = "ease_recent"

    def __init__(self, *, penalty: float = 500.0, memory: float = 10.0, max_items: int = 5_000) -> None:
        super().__init__(penalty=penalty, max_items=max_items)
        self.memory = memory

    def fit(self, history: History) -> RecentEase:
        """Invert the Gram matrix of what was had, and weigh each customer's items by their place in time."""
        self.history = history
        self.items = history.head(self.max_items)
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
    factor, info = lapack.dpotrf(gram, lower=0)
    inverse, info = lapack.dpotri(factor, lower=0)
    inverse = np.triu(inverse) + np.triu(inverse, 1).T
    weights = inverse / -inverse.diagonal()[None, :]
    np.fill_diagonal(weights, 0.0)
    return weights


def cosine_neighbours(liked: sparse.csr_matrix, k: int, *, block: int = BLOCK_ITEMS) -> sparse.csr_matrix:
    """Cosine similarity of columns, the `k` largest of each kept, no diagonal, rounded to six decimals.

    Works in blocks of columns, so memory holds `block` x items at a time; ties at the cut go to the earlier item.

    Returns:
        items x items; column j holds the neighbours of j.
    """
    counted = sparse.csr_matrix(liked, dtype=np.float32)
    by_item, n_items = sparse.csr_matrix(counted.T), liked.shape[1]
    norms = np.maximum(np.sqrt(np.asarray(counted.multiply(counted).sum(axis=0), np.float32).ravel()), np.float32(1e-6))
    parts = []
    for start in range(0, n_items, block):
        similar = (by_item[start:start + block] @ counted).toarray()
        similar /= norms[start:start + block, None]
        similar /= norms
        similar[np.arange(len(similar)), start + np.arange(len(similar))] = 0.0
        similar[similar <= 0.5 * 10.0**-base.DIGITS] = -np.inf
        column, value = base.best(similar, k)
        row, place = np.nonzero(np.isfinite(value))
        parts.append((start + row, column[row, place], np.round(value[row, place].astype(float), base.DIGITS)))
    if not parts:
        return sparse.csr_matrix((n_items, n_items))
    row, column, value = (np.concatenate(part) for part in zip(*parts))
    return sparse.csr_matrix((value, (column, row)), shape=(n_items, n_items))


def _recent(history: History) -> sparse.csr_matrix:
    """Customers x items, the latest likes of each customer only: long tails dominate the cost otherwise."""
    liked = history.pairs[history.pairs["is_liked"]].sort_values(["customer", "last_day", "item"])
    kept = liked[liked.groupby("customer").cumcount() < MAX_HISTORY]
    return history.matrix(kept, np.ones(len(kept)))
