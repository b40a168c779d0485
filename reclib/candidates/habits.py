"""The source that a spreadsheet would have: what a customer bought before and is due to buy again."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

from reclib.candidates import base
from reclib.candidates.history import History

LAPSED_AFTER = 5.0


class BuyAgain(base.Source):
    """Items the customer had before, by decayed frequency and by the pair's own rhythm.

    The score is the sum over the days with a response of 2^(-age / half-life), halved or less for a pair that waits
    longer than it ever used to: x 1 / (1 + (waiting time / (5 x mean gap))^2) for pairs seen on at least three days.

    Args:
        half_life_days: after so many days a response counts half.
        use_rhythm: whether pairs that are long overdue sink.
    """

    name = "buy_again"
    offers_had = True

    def __init__(self, *, half_life_days: float = 90.0, use_rhythm: bool = True) -> None:
        self.half_life_days, self.use_rhythm = half_life_days, use_rhythm

    def fit(self, history: History) -> BuyAgain:
        """Score every pair that has a response; pairs whose last word was a refusal are left out."""
        self.history = history
        day = np.floor(history.responses["day"])
        visits = history.responses.assign(day=day).drop_duplicates()
        visits = visits.assign(weight=np.exp2(-visits["day"] / self.half_life_days))
        pairs = visits.groupby(["customer", "item"], as_index=False).agg(
            score=("weight", "sum"), n_days=("day", "size"), first=("day", "max"), last=("day", "min"))
        if self.use_rhythm:
            gap = (pairs["first"] - pairs["last"]) / np.maximum(pairs["n_days"] - 1, 1)
            wait = pairs["last"] / (LAPSED_AFTER * np.maximum(gap, 1))
            pairs["score"] = pairs["score"] * np.where(pairs["n_days"] >= 3, 1 / (1 + wait**2), 1.0)
        liked = history.pairs.loc[history.pairs["is_liked"], ["customer", "item"]]
        pairs = pairs.merge(liked, on=["customer", "item"], validate="one_to_one").round({"score": base.DIGITS}).query("score > 0")
        self.items = np.unique(pairs["item"])
        self.liked = history.matrix(pairs, pairs["score"].to_numpy())[:, self.items]
        self.weights = sparse.eye_array(len(self.items), format="csr")
        return self

    def generate(self, customers: pd.Index, *, n: int, eligible: pd.Index | None = None) -> pd.DataFrame:
        """Offer each customer up to `n` items that are due again, best first: only what was had."""
        scored = sparse.coo_array(self.rows(self.history.customers.get_indexer(customers), customers))
        row, item, score = scored.coords[0], self.items[scored.coords[1]], scored.data
        is_open = np.ones(len(row), bool) if eligible is None else self.history.items[item].isin(eligible)
        order = np.lexsort((item, -score, row))
        order = order[is_open[order]]
        row, item, score = row[order], item[order], score[order]
        rank = np.arange(len(row)) - np.searchsorted(row, row, side="left") + 1
        kept = rank <= n
        return base.table(self, customers, row[kept], item[kept], rank[kept], score[kept])
