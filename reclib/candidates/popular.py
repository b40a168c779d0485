"""The source that anybody can be served from: popular lately."""

from __future__ import annotations

import numpy as np
import pandas as pd

from reclib.candidates import base
from reclib.candidates.history import History


class PopularLately(base.Source):
    """What most customers chose in the last so many days (all days where None); the end of every fallback chain.

    The name tells windows other than four weeks apart: `popular_ever`, `popular_7_days`.
    """

    name = "popular_lately"
    is_personal = False
    least = None

    def __init__(self, *, days: float | None = 28.0, max_items: int = 2_000) -> None:
        self.days, self.max_items = days, max_items
        if days != 28.0:
            self.name = "popular_ever" if days is None else f"popular_{days:g}_days"

    def fit(self, history: History) -> PopularLately:
        """Count distinct customers an item; all-time counts stand in where the window is empty."""
        self.history = history
        recent, ever = history.popularity(self.days), history.popularity()
        self.counts = recent if recent.any() else ever
        order = np.lexsort((np.arange(len(ever)), -ever, -self.counts))[:self.max_items]
        self.items = np.sort(order[ever[order] > 0])
        share = self.counts / max(len(history.customers), 1)
        self.weights = (share + 1e-3 * ever / max(len(history.customers), 1))[None, self.items]
        return self

    def rows(self, codes: np.ndarray, ids: pd.Index | None) -> np.ndarray:
        """The same of everyone."""
        return np.ones((len(codes), 1))

    def knows_customer(self) -> np.ndarray:
        """All that the history names."""
        return np.ones(len(self.history.customers), bool)
