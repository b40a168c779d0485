"""What all candidate sources share: the best items of a block of customers, and the table they hand over."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

from reclib.candidates.history import History

BLOCK_CELLS = 4_000_000
DIGITS = 6
COLUMNS = ["customer_id", "item_id", "source", "source_rank", "source_score", "is_known_customer", "is_known_item"]


class Source:
    """A candidate source: `fit` learns and returns itself, `generate` writes a `candidates` table.

    Attributes:
        name: as it stands in the table.
        is_personal: whether it needs to know the customer; where it does not, it can serve strangers.
        least: offers must score more than this; None: any finite score will do.
        offers_had: whether it offers what a customer had before.
        history, items, liked, weights: set by `fit`: what was learnt from, the codes (ascending) of the items that it can offer,
            the likes of customers (sparse, rows of nothing for those it does not know) and what they are multiplied by.
    """

    name: str
    is_personal = True
    least: float | None = 0.0
    offers_had = False
    history: History
    items: np.ndarray
    liked: sparse.csr_matrix
    weights: np.ndarray | sparse.csr_matrix

    def fit(self, history: History) -> Source:
        """Learn from the history."""
        raise NotImplementedError

    def rows(self, codes: np.ndarray, ids: pd.Index | None) -> np.ndarray | sparse.csr_matrix:
        """What is known of customers, by code (-1: a stranger, of whom nothing is) and id: customers x features."""
        return rows_of(self.liked, codes)

    def scores(self, codes: np.ndarray, ids: pd.Index | None = None) -> np.ndarray:
        """Rows of scores over `items` of customers: what is known of each times the weights."""
        return dense(self.rows(codes, ids) @ self.weights)

    def knows_customer(self) -> np.ndarray:
        """By customer code, whether it learnt from that customer."""
        return np.diff(self.liked.indptr) > 0

    def knows_item(self) -> np.ndarray:
        """By item code, whether it learnt from that item."""
        return flags(self.items, len(self.history.items))

    def generate(self, customers: pd.Index, *, n: int, eligible: pd.Index | None = None) -> pd.DataFrame:
        """Offer each customer up to `n` items that they had not, best first."""
        history = self.history
        is_open = np.ones(len(self.items), bool) if eligible is None else history.items[self.items].isin(eligible)
        kept = slice(None) if is_open.all() else is_open
        opened = self.items[kept]
        row, column, rank, value = top_n(
            lambda codes, places: self.scores(codes, customers[places])[:, kept], history.customers.get_indexer(customers), n=n,
            n_columns=len(self.items), had=history.had()[:, opened], above=self.least)
        return table(self, customers, row, opened[column], rank, value)


def dense(matrix: np.ndarray | sparse.csr_matrix) -> np.ndarray:
    """The matrix with all its cells."""
    return matrix.toarray() if sparse.issparse(matrix) else matrix


def best(scores: np.ndarray, n: int, *, above: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Find the best columns of each row; ties go to the earlier column, -inf is never taken.

    Scores are rounded to six decimals first, so that the order is the same on every processor. Only what can be among
    the best is rounded and sorted; all other cells are read twice, whatever `n` is.

    Args:
        above: what is taken must score more than this after rounding; None: any finite score will do.

    Returns:
        (columns, scores), both rows x n, best first; the score of an empty place is -inf.
    """
    width = scores.shape[1]
    n = min(n, width)
    row, column, value = _likely(scores, n, -np.inf if above is None else above + 0.5 * 10.0**-DIGITS)
    order = np.lexsort((-value, row))
    row, column, value = row[order], column[order], value[order]
    place = np.arange(len(row)) - np.searchsorted(row, row, side="left")
    kept = place < n
    columns, values = np.zeros((len(scores), n), np.int64), np.full((len(scores), n), -np.inf, scores.dtype)
    columns[row[kept], place[kept]], values[row[kept], place[kept]] = column[kept], value[kept]
    return columns, values


def _likely(scores: np.ndarray, n: int, floor: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The cells above `floor` that can be among the `n` best of their row once rounded: rows, columns and rounded scores.

    Rows come in order, and the columns of a row too.
    """
    kind = np.finfo(scores.dtype)
    least = np.full((len(scores), 1), max(kind.min, np.nextafter(scores.dtype.type(floor), kind.max)), scores.dtype)
    if 0 < n < scores.shape[1]:
        bound = _lower_bound(scores, n)
        np.maximum(least, bound - (2 * 10.0**-DIGITS + 4 * kind.eps * np.abs(bound)), out=least, where=bound > -np.inf)
    place = np.flatnonzero(scores >= least)
    row, column = np.divmod(place, scores.shape[1])
    return row, column, np.round(scores[row, column], DIGITS)


def _lower_bound(scores: np.ndarray, n: int) -> np.ndarray:
    """A value of each row that at least `n` of its scores reach: the n-th best of the maxima of 8 n groups of columns.

    Exact where rows are short. Selecting among maxima is much cheaper than among all scores of a wide row.
    """
    n_groups = 8 * n
    size = scores.shape[1] // n_groups
    maxima = scores if size < 2 else scores[:, :size * n_groups].reshape(len(scores), size, n_groups).max(axis=1)
    place = maxima.shape[1] - n
    return np.partition(maxima, place, axis=1)[:, place, None]


def top_n(score, codes: np.ndarray, *, n: int, n_columns: int, had: sparse.csr_matrix | None = None,
          above: float | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The best columns for all rows, a block of rows at a time.

    Args:
        score: function of codes and their places (a slice) that returns their rows of scores, not used elsewhere.
        n_columns: how many scores a row has; decides the size of a block.
        had: by code, what must not be picked.

    Returns:
        (place in `codes`, column, rank, score), by place and rank.
    """
    parts = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    size = max(1, BLOCK_CELLS // max(n_columns, 1))
    for start in range(0, len(codes), size):
        places = slice(start, start + size)
        scores = score(codes[places], places)
        if had is not None:
            hide(scores, had, codes[places])
        columns, values = best(scores, n, above=above)
        row, place = np.nonzero(np.isfinite(values))
        parts.append((start + row, columns[row, place], place + 1, values[row, place]))
    row, column, rank, value = (np.concatenate(part) for part in zip(*parts))
    return row, column, rank, value


def hide(scores: np.ndarray, had: sparse.csr_matrix, codes: np.ndarray) -> None:
    """Set to -inf, in place, what the customers of the rows had before."""
    rows = np.flatnonzero(codes >= 0)
    hidden = had[codes[rows]].tocoo()
    scores[rows[hidden.row], hidden.col] = -np.inf


def table(source: Source, customers: pd.Index, row: np.ndarray, item: np.ndarray, rank: np.ndarray, value: np.ndarray) -> pd.DataFrame:
    """Put offers into a `candidates` table: `row` is a place in `customers`, `item` an item code."""
    history = source.history
    is_known = np.append(source.knows_customer(), False)[history.customers.get_indexer(customers)]
    return pd.DataFrame({
        "customer_id": customers.take(row), "item_id": history.items.take(item),
        "source": pd.Series([source.name], dtype="str").repeat(len(row)).to_numpy(),
        "source_rank": np.asarray(rank, np.int64), "source_score": np.asarray(value, float),
        "is_known_customer": is_known[row].astype(bool), "is_known_item": source.knows_item()[item].astype(bool),
    }).astype({"source": "str"})


def rows_of(matrix: sparse.csr_matrix, codes: np.ndarray) -> sparse.csr_matrix:
    """Rows of a matrix; an empty row for code -1."""
    is_known = sparse.diags_array((codes >= 0).astype(float), format="csr")
    return sparse.csr_matrix(is_known @ matrix[np.maximum(codes, 0)])


def flags(codes: np.ndarray, length: int) -> np.ndarray:
    """A flag for each code up to `length`: true for the codes given."""
    found = np.zeros(length, bool)
    found[codes] = True
    return found
