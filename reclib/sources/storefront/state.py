"""What the world remembers from one day to the next, and the log of what happened."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np

from reclib.sources.storefront import catalogue
from reclib.sources.storefront.world import World

NEVER = 1_000_000


@dataclass
class State:
    """What the world remembers from one day to the next; all of it is truth."""

    seen: np.ndarray
    bought: np.ndarray
    recent: np.ndarray
    satiation: np.ndarray
    irritation: np.ndarray
    goodwill: np.ndarray
    push_load: np.ndarray
    churn_day: np.ndarray
    opt_out_day: np.ndarray
    stock: np.ndarray
    n_slots: int = 0

    def copy(self) -> State:
        """An independent copy, to go on from the same evening twice."""
        return copy.deepcopy(self)


class Log:
    """What happened, as columns that grow day by day."""

    def __init__(self) -> None:
        self._columns: dict[str, dict[str, np.ndarray]] = {}
        self._n: dict[str, int] = {}

    def add(self, name: str, **columns: np.ndarray) -> None:
        """Append one day's rows of a kind of event; whole numbers are kept in 32 bits."""
        table, n = self._columns.setdefault(name, {}), self._n.get(name, 0)
        self._n[name] = n + len(columns["customer"])
        for key, column in columns.items():
            if key not in table or len(table[key]) < self._n[name]:
                table[key] = _grown(table.get(key), n, self._n[name], column.dtype)
            table[key][n : self._n[name]] = column

    def columns(self, name: str) -> dict[str, np.ndarray]:
        """All rows of a kind of event, in order of days; empty where there was no day."""
        return {key: column[: self._n[name]] for key, column in self._columns.get(name, {}).items()}


def _grown(column: np.ndarray | None, n: int, n_needed: int, dtype: np.dtype) -> np.ndarray:
    grown = np.empty(max(2 * n, n_needed, 1024), dtype=np.int32 if dtype == np.int64 else dtype)
    if column is not None:
        grown[:n] = column[:n]
    return grown


def morning(world: World) -> State:
    """The state before the first day."""
    n, m = world.config.n_customers, world.config.n_items
    return State(
        seen=np.zeros((n, m), dtype=np.uint8), bought=np.zeros((n, m), dtype=bool),
        recent=np.full((n, 4), -1, dtype=np.int32), satiation=np.zeros((n, catalogue.N_CATEGORIES), dtype=np.float32),
        irritation=np.zeros(n), goodwill=np.zeros(n), push_load=np.zeros(n),
        churn_day=np.full(n, NEVER), opt_out_day=np.full(n, NEVER), stock=world.items.base_stock.copy(),
    )
