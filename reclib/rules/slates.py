"""Slates of single customers: quotas, diversity and pins, for all customers of a table at once."""

from __future__ import annotations

import numpy as np

from reclib.allocation.problem import Problem

EMPTY = -np.inf


def greedy(item: np.ndarray, score: np.ndarray, quotas: tuple, k: int) -> np.ndarray:
    """Fill each customer's slate with the best items that the quotas leave, ties by item.

    With one quota, or laminar ones, this is the best slate there is (a matroid); with crossing ones it is a good one.

    Args:
        item: item codes, customers x candidates; -1 where there is none.
        score: what is maximised; -inf where the pair may not be shown, and nothing of score 0 or less is shown.
        quotas: objects with `group` (code of each item, -1 for none) and `limit`.
        k: slots in a slate.

    Returns:
        Slot of each pair from 1, else 0.
    """
    order = np.lexsort((item, -score), axis=1)
    items, scores = np.take_along_axis(item, order, axis=1), np.take_along_axis(score, order, axis=1)
    rows = np.arange(len(item))
    counts = [np.zeros((len(item), int(np.max(quota.group, initial=-1)) + 2), dtype="int16") for quota in quotas]
    filled, slot = np.zeros(len(item), dtype="int16"), np.zeros(item.shape, dtype="int16")
    for column in range(item.shape[1]):
        here = items[:, column]
        takes = (scores[:, column] > 0) & (filled < k) & (here >= 0)
        groups = [np.asarray(quota.group)[here] for quota in quotas]
        for quota, count, group in zip(quotas, counts, groups):
            takes &= (group < 0) | (count[rows, group] < quota.limit)
        if not takes.any():
            continue
        for count, group in zip(counts, groups):
            count[rows[takes], group[takes]] += 1
        filled += takes
        slot[takes, order[takes, column]] = filled[takes]
    return slot


def laid_out(problem: Problem, numbers: np.ndarray, empty: float = 0.0) -> np.ndarray:
    """Numbers of pairs as a table of customers x candidates, as the problem has them."""
    table = np.full(problem.item.shape, empty, dtype=np.result_type(numbers, empty))
    table[problem.pair_row, problem.pair_column] = numbers
    return table


def mmr_penalty(item: np.ndarray, score: np.ndarray, features: np.ndarray, *, weight: float, depth: int) -> np.ndarray:
    """How much each pair loses for its likeness to what stands above it.

    Items are picked one by one by maximal marginal relevance; likeness is the share of features in which two items
    are equal, and a pair loses `weight` x likeness x its own score. The order that comes of it is then the score that
    the allocation sees, so that diversity and shared limits are weighed together.

    Args:
        item: item codes, customers x candidates; -1 for none.
        score: scores; -inf where the pair may not be shown.
        features: one row an item, one column a feature code; -1 is like nothing.
        weight: share of its score that an item loses where it equals an item above it in every feature.
        depth: picks; pairs that are never picked keep the penalty of the last look.

    Returns:
        Penalties, at least 0, in the unit of the score.
    """
    rows = np.flatnonzero((np.isfinite(score) & (item >= 0)).any(axis=1))
    penalty = np.zeros(item.shape)
    if len(rows):
        penalty[rows] = _penalties(item[rows], score[rows], features, weight, min(depth, item.shape[1]))
    return penalty


def _penalties(item: np.ndarray, score: np.ndarray, features: np.ndarray, weight: float, depth: int) -> np.ndarray:
    at, is_open = np.arange(len(item)), np.isfinite(score) & (item >= 0)
    base = np.where(is_open, np.maximum(score, 0.0), 0.0)
    kinds = [feature.astype("int32")[np.maximum(item, 0)] for feature in features.T]
    likeness, fixed = np.zeros(item.shape, dtype="float32"), np.zeros(item.shape)
    for _ in range(depth):
        now = np.where(is_open, base * (1 - weight * likeness), EMPTY)
        best = np.argmax(now, axis=1)
        goes = is_open[at, best]
        if not goes.any():
            break
        fixed[at[goes], best[goes]] = (weight * likeness[at, best] * base[at, best])[goes]
        is_open[at[goes], best[goes]] = False
        likeness = np.maximum(likeness, _alike(kinds, at, best, goes))
    return np.where(is_open, weight * likeness * base, fixed)


def _alike(kinds: list[np.ndarray], at: np.ndarray, best: np.ndarray, goes: np.ndarray) -> np.ndarray:
    """Share of features in which each pair equals the pair just picked."""
    same = np.zeros(kinds[0].shape, dtype="float32")
    for kind in kinds:
        picked = np.where(goes, kind[at, best], -1)[:, None]
        same += (kind == picked) & (picked >= 0)
    return same / len(kinds)


def place_pins(position: np.ndarray, wanted: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Move shown pinned pairs to their slots; the others keep their order in the slots that are left.

    Args:
        position: slots from 1, customers x candidates; 0 where not shown.
        wanted: the slot that a pin asks for; 0 where there is none.
        turn: whose turn it is of the pins that ask for one slot, the least first.

    Returns:
        Slots from 1 without gaps; a pin beyond the end of a short slate takes its last slots.
    """
    is_pinned = (position > 0) & (wanted > 0)
    touched = np.flatnonzero(is_pinned.any(axis=1))
    placed = position.copy()
    for row in touched:
        placed[row] = _placed_row(position[row], np.where(is_pinned[row], wanted[row], 0), turn[row])
    return placed


def _placed_row(position: np.ndarray, wanted: np.ndarray, turn: np.ndarray) -> np.ndarray:
    shown = np.flatnonzero(position > 0)
    n = len(shown)
    pins = sorted(np.flatnonzero(wanted > 0), key=lambda column: (wanted[column], turn[column], column))
    slots = dict.fromkeys(range(1, n + 1))
    for column in pins:
        free = [slot for slot in slots if slots[slot] is None]
        slots[min(free, key=lambda slot: (slot < wanted[column], abs(slot - wanted[column])))] = column
    rest = iter(sorted((column for column in shown if wanted[column] == 0), key=lambda column: position[column]))
    placed = np.zeros_like(position)
    for slot in slots:
        column = slots[slot] if slots[slot] is not None else next(rest)
        placed[column] = slot
    return placed
