"""Alternating least squares (Hu, Koren and Volinsky 2008) by implicit's C++, where that optional package is installed."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from reclib.candidates import base
from reclib.candidates.history import History

HOW_TO_INSTALL = "als: the package implicit is not installed; install the extra: pip install 'reclib[als]'."


def is_installed() -> bool:
    """Whether the optional package is there."""
    try:
        _implicit()
    except ImportError:
        return False
    return True


class Als(base.Source):
    """Matrix factorisation of likes for data too big for Surprise and EASE: linear in the events, 32 factors.

    Learns from what was liked, masks all that was had, and offers strangers nothing: implicit would hand them
    arbitrary items with score 0.

    Args:
        n_factors, n_epochs, regularisation, random_state: as in `implicit.als.AlternatingLeastSquares`.
        confidence: weight of a like above that of a pair without one.

    Raises:
        ImportError: on `fit`, where implicit is not installed; the sentence says how to install it.
    """

    name = "als"
    least = None

    def __init__(self, *, n_factors: int = 32, n_epochs: int = 15, regularisation: float = 10.0, confidence: float = 1.0,
                 max_items: int = 100_000, random_state: int = 0) -> None:
        self.options = {"factors": n_factors, "iterations": n_epochs, "regularization": regularisation, "alpha": confidence,
                        "random_state": random_state, "num_threads": 1}
        self.max_items = max_items

    def fit(self, history: History) -> Als:
        """Learn the factors of customers and items, on one thread, so that twice is the same."""
        models = _implicit()
        self.history, self.items = history, history.head(self.max_items)
        self.liked = history.liked()[:, self.items]
        with warnings.catch_warnings():  # implicit warns of BLAS threads, and of matrix formats that it makes itself
            warnings.simplefilter("ignore")
            model = models.AlternatingLeastSquares(**self.options)
            if self.liked.nnz:
                model.fit(self.liked.astype(np.float32), show_progress=False)
        shapes = (len(history.customers), 0), (0, 0)
        self.customer_factors, self.item_factors = (model.user_factors, model.item_factors) if self.liked.nnz else map(np.zeros, shapes)
        return self

    def scores(self, codes: np.ndarray, ids: pd.Index) -> np.ndarray:
        """Products of factors; of strangers, nothing that could be offered."""
        is_known = np.append(self.knows_customer(), False)[codes]
        return np.where(is_known[:, None], self.customer_factors[codes] @ self.item_factors.T, -np.inf)


def _implicit() -> object:
    try:
        from implicit import als
    except ImportError as error:
        raise ImportError(HOW_TO_INSTALL) from error
    return als
