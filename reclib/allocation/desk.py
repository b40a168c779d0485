"""The desk on which slates are mended: what is shown, what is left of stock and rows, and moves that keep slates legal.

A move takes at most one pair out of a customer's slate and puts at most one in. Moves are offered one a customer,
sorted, and accepted as long as stock and rows have room, so a limit that holds is never broken by a move.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reclib.allocation.prices import (
    Prices,
    as_columns,
    coefficients,
    gathered,
    groups_of,
    reduced,
)
from reclib.allocation.problem import Problem, limits, tolerance, usage

BLOCK = 1_024


@dataclass(frozen=True)
class Moves:
    """One move a customer, best first: columns taken out and put in (-1 for none), what it does to every row."""

    customer: np.ndarray
    out: np.ndarray
    into: np.ndarray
    merit: np.ndarray
    change: np.ndarray

    def chosen(self, which: np.ndarray) -> Moves:
        """The moves at the given places."""
        return Moves(self.customer[which], self.out[which], self.into[which], self.merit[which], self.change[which])


class Desk:
    """Slates being mended; `shown` is customers x candidates."""

    def __init__(self, problem: Problem, prices: Prices, shown: np.ndarray) -> None:
        self.problem, self.prices, self.shown = problem, prices, shown
        self.stock = np.floor(problem.stock)
        self.limit = limits(problem)
        self.slop = tolerance(problem)
        self.groups = groups_of(problem)
        self.by_response, self.by_item = gathered(problem, prices)
        self.free_of_stock = gathered(problem, Prices(np.zeros(problem.n_items), prices.row))[1]
        self.per_response, self.per_placement = (np.column_stack([part, np.zeros(len(part))]) for part in coefficients(problem))
        self.recount()

    def recount(self) -> None:
        """Count placements and row use anew, in float64."""
        self.count = np.bincount(self.problem.item[self.shown], minlength=self.problem.n_items)
        self.use = usage(self.problem, self.shown)

    @property
    def room(self) -> np.ndarray:
        """What is left of every row; negative where it is exceeded."""
        return self.limit - self.use

    @property
    def excess(self) -> np.ndarray:
        """By how much every row is exceeded beyond rounding."""
        return np.where(self.room < -self.slop, -self.room, 0.0)

    def value(self) -> float:
        """What the slates are worth."""
        return float(self.problem.value[self.shown].sum(dtype="float64"))

    def scores(self, customers: np.ndarray, *, with_stock: bool = True) -> np.ndarray:
        """Reduced scores of the customers' pairs, with or without the items' own prices."""
        return reduced(self.problem, customers, self.by_response, self.by_item if with_stock else self.free_of_stock)

    def held(self, customers: np.ndarray) -> np.ndarray:
        """Columns that the customers' slates hold, -1 for an empty slot."""
        row, column = np.nonzero(self.shown[customers])
        return as_columns(row, column, len(customers), self.problem.k)

    def may_enter(self, customers: np.ndarray, held: np.ndarray) -> np.ndarray:
        """Which pairs could join slates that hold these columns: stock left, slot free, quotas kept, not shown yet."""
        item = self.problem.item[customers]
        is_open = np.append(self.count < self.stock, False)
        may = is_open[item] & ~self.shown[customers] & np.isfinite(self.problem.value[customers])
        may &= (held < 0).any(axis=1)[:, None]
        for group, limit in self.groups:
            mine = group[item]
            taken = np.where(held >= 0, np.take_along_axis(mine, np.maximum(held, 0).astype("int64"), axis=1), -1)
            same = np.zeros(mine.shape, dtype="int8")
            for place in range(held.shape[1]):
                same += mine == taken[:, place, None]
            may &= same < limit
        return may

    def row_changes(self, customers: np.ndarray, column: np.ndarray) -> np.ndarray:
        """Coefficients of one pair a customer in every row; 0 for column -1."""
        item = np.where(column >= 0, self.problem.item[customers, np.maximum(column, 0)], -1)
        change = self.per_placement[:, item]
        if self.problem.response is not None:
            response = self.problem.response[customers, np.maximum(column, 0)].astype("float64")
            change = change + self.per_response[:, item] * response
        return change.T

    def coefficient(self, customers: np.ndarray, row: int) -> np.ndarray:
        """Coefficients of all the customers' pairs in one row."""
        item = self.problem.item[customers]
        values = self.per_placement[row][item]
        if self.problem.response is not None and self.per_response[row].any():
            values = values + self.per_response[row][item] * self.problem.response[customers]
        return values

    def accept(self, moves: Moves, *, until: tuple[int, float] | None = None) -> int:
        """Make the moves that fit, best first; returns how many.

        Args:
            moves: at most one move a customer.
            until: a row and an excess: stop once that much of the row's use has been given back.
        """
        order = np.lexsort((moves.customer, -moves.merit))
        moves = moves.chosen(order)
        moves = moves.chosen(self._has_stock(moves))
        room = np.maximum(self.room, 0.0)
        taken = np.maximum(moves.change, 0.0).cumsum(axis=0)
        moves = moves.chosen(np.flatnonzero(((moves.change <= 0) | (taken <= room)).all(axis=1)))
        if until is not None:
            given = np.cumsum(-moves.change[:, until[0]])
            moves = moves.chosen(np.arange(len(given)) <= np.searchsorted(given, until[1]))
        self._make(moves)
        return len(moves.customer)

    def drop(self, customers: np.ndarray, columns: np.ndarray) -> None:
        """Take pairs out of slates."""
        self.shown[customers, columns] = False
        self.recount()

    def _has_stock(self, moves: Moves) -> np.ndarray:
        item = np.where(moves.into >= 0, self.problem.item[moves.customer, np.maximum(moves.into, 0)], -1)
        left = np.append(self.stock - self.count, np.inf)
        return np.flatnonzero(claim_rank(item) < left[item])

    def _make(self, moves: Moves) -> None:
        gone, come = moves.out >= 0, moves.into >= 0
        self.shown[moves.customer[gone], moves.out[gone]] = False
        self.shown[moves.customer[come], moves.into[come]] = True
        self.recount()


def claim_rank(item: np.ndarray) -> np.ndarray:
    """How many earlier entries claim the same item."""
    order = np.argsort(item, kind="stable")
    ordered = item[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(item) else np.array([], dtype="int64")
    rank = np.empty(len(item), dtype="int64")
    rank[order] = np.arange(len(item)) - np.repeat(starts, np.diff(np.r_[starts, len(item)]))
    return rank


def blocks(customers: np.ndarray) -> list[np.ndarray]:
    """Cut customers into blocks, in order."""
    return [customers[start:start + BLOCK] for start in range(0, len(customers), BLOCK)]
