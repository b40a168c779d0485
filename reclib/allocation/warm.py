"""Where a search for prices begins when a similar problem has been solved: prices carried over, freed items cleared."""

from __future__ import annotations

import numpy as np

from reclib.allocation.prices import (
    BLOCK,
    Prices,
    best_slates,
    bound_of,
    coefficients,
    compensated,
    families,
    gathered,
    groups_of,
    pick,
    reduced,
)
from reclib.allocation.problem import Problem


def warm_start(before: Problem, prices: Prices, after: Problem) -> Prices:
    """Prices from which to search a variant of a problem that has been solved, over the same items."""
    start = carried(before, prices, after)
    return min(start, cleared(after, start), key=lambda each: bound_of(after, each, best_slates(after, each)))


def carried(before: Problem, prices: Prices, after: Problem) -> Prices:
    """Carry prices over to a variant: rows by name; the price of a lifted row goes to the bound items' prices.

    A row that is gone, or whose limit is infinite, has price 0; the net price of items bound by stock stays put, else
    the start would be worse than a cold one. Items without a limit have price 0.
    """
    known = dict(zip(before.row_names, prices.row))
    names = {row.name: row.limit for row in after.rows}
    kept = np.array([price if np.isfinite(names.get(name, np.inf)) else 0.0 for name, price in known.items()])
    item = compensated(prices, prices.item, kept.reshape(prices.row.shape), coefficients(before)[1])
    row = np.array([known.get(row.name, 0.0) if np.isfinite(row.limit) else 0.0 for row in after.rows], dtype="float64")
    return Prices(np.where(np.isfinite(after.stock), item, 0.0), row)


def cleared(problem: Problem, prices: Prices) -> Prices:
    """Give every item that has no price and is claimed beyond its stock the price at which the claims fit.

    That is what the first claim that does not fit is worth: its reduced score less that of the next pair the customer
    could be shown. Items freed by lifting a filter come this way to nearly their price in one pass, where steps take many.
    """
    item, worth = _claims(problem, prices)
    worth = worth[np.lexsort((-worth, item))]
    count = np.bincount(item, minlength=problem.n_items)
    over = np.flatnonzero((count > problem.stock) & (prices.item == 0))
    cleared_item = prices.item.copy()
    cleared_item[over] = worth[(np.cumsum(count) - count + np.minimum(problem.stock, count).astype("int64"))[over]]
    return Prices(cleared_item, prices.row)


def _claims(problem: Problem, prices: Prices) -> tuple[np.ndarray, np.ndarray]:
    """Item of every pair in the best slates, and what the pair is worth beyond the next in line."""
    by_response, by_item = gathered(problem, prices)
    nested = (families(groups_of(problem)) or [[]])[0]
    items, worths = [], []
    for start in range(0, problem.n_customers, BLOCK):
        part = slice(start, start + BLOCK)
        item = problem.item[part]
        row, column, score = pick(reduced(problem, part, by_response, by_item), item, nested, problem.k + 1)
        place = np.arange(len(row)) - np.searchsorted(row, row)
        next_in_line = np.zeros(len(item))
        next_in_line[row[place == problem.k]] = score[place == problem.k]
        is_shown = place < problem.k
        items.append(item[row, column][is_shown])
        worths.append((score - next_in_line[row])[is_shown])
    return np.concatenate(items), np.concatenate(worths)
