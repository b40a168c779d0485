"""Quotas that cross: families within which greedy is exact, and the best slates where two families meet.

Quotas that are nested (a brand within a category) form one family, and taking the best first is exact. Two families are
two matroids; the best slate that holds both grows by shortest exchanges (weighted matroid intersection, see Schrijver,
Combinatorial Optimization, 41.3), here for many customers at once.
"""

from __future__ import annotations

import numpy as np

Family = list[tuple[np.ndarray, int]]


def families(quotas: Family) -> list[Family]:
    """Sort quotas, each a group code for every item and a limit, into as few nested families as first fit finds."""
    found: list[Family] = []
    for quota in quotas:
        home = next((family for family in found if all(_is_nested(quota[0], other) for other, _ in family)), None)
        if home is None:
            found.append([quota])
        else:
            home.append(quota)
    return found


def breaks(item: np.ndarray, held: np.ndarray, family: Family) -> np.ndarray:
    """Which slates (columns held, -1 for an empty slot) break a quota of the family."""
    broken = np.zeros(len(held), dtype=bool)
    for group, limit in family:
        code = _held_codes(group[item], held)
        same = (code[:, :, None] == code[:, None, :]) & (code >= 0)[:, :, None]
        broken |= (same.sum(axis=2) > limit).any(axis=1)
    return broken


def best_of_two(scores: np.ndarray, item: np.ndarray, families: tuple[Family, Family], k: int) -> np.ndarray:
    """Find the slates of highest total score that hold both families; exact.

    Args:
        scores: scores of some customers' candidates; only positive ones are shown.
        item: their items.
        families: two families of quotas.
        k: slots in a slate.

    Returns:
        Columns of each slate, -1 for an empty slot.
    """
    scores = np.where(scores > 0, scores, -np.inf).astype("float64")
    codes = [[(group[item], limit) for group, limit in family] for family in families]
    held = np.full((len(scores), k), -1)
    is_growing = np.arange(len(scores))
    for n_held in range(min(k, scores.shape[1])):
        mine = [[(group[is_growing], limit) for group, limit in family] for family in codes]
        held[is_growing], grew = _grown(scores[is_growing], mine, held[is_growing], n_held)
        is_growing = is_growing[grew]
    return held


def _grown(scores: np.ndarray, codes: list[Family], held: np.ndarray, n_held: int) -> tuple[np.ndarray, np.ndarray]:
    """One more pair in every slate that can gain by it, along the exchange path that gains most, shortest first."""
    rows = np.arange(len(scores))
    (free, swap), (free_too, swap_too) = (_may_join(family, held[:, :n_held]) for family in codes)
    own = np.take_along_axis(scores, held[:, :n_held], axis=1)
    outside = scores.copy()
    outside[rows[:, None], held[:, :n_held]] = -np.inf
    gain, last = _best(outside, free & free_too)
    path = np.full((len(scores), n_held + 1, 2), -1)
    path[:, 0, 0] = last
    enter = [_best(outside, free & swap_too[y]) for y in range(n_held)]
    leave = [_best(outside, swap[y] & free_too) for y in range(n_held)]
    step = {(y, z): _best(outside, swap[y] & swap_too[z]) for y in range(n_held) for z in range(n_held) if y != z}
    reach = np.array([enter[y][0] - own[:, y] for y in range(n_held)]).reshape(n_held, len(scores))
    trail = np.full((n_held, len(scores), n_held + 1, 2), -1)
    for y in range(n_held):
        trail[y, :, 0] = np.c_[enter[y][1], np.full(len(scores), y)]
    for length in range(1, n_held + 1):
        for y in range(n_held):
            total = reach[y] + leave[y][0]
            better = total > gain
            gain = np.where(better, total, gain)
            path[better] = trail[y, better]
            path[better, length, 0] = leave[y][1][better]
        reach, trail = _longer(reach, trail, step, own, length)
    grew = gain > 0
    return _exchanged(held, path, grew, n_held), grew


def _longer(reach: np.ndarray, trail: np.ndarray, step: dict, own: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    further, extended = np.full_like(reach, -np.inf), trail.copy()
    for (y, z), (gain, column) in step.items():
        total = reach[y] + gain - own[:, z]
        better = total > further[z]
        further[z, better] = total[better]
        extended[z, better] = trail[y, better]
        extended[z, better, length, 0], extended[z, better, length, 1] = column[better], z
    return further, extended


def _exchanged(held: np.ndarray, path: np.ndarray, grew: np.ndarray, n_held: int) -> np.ndarray:
    """Each slate after its path: what enters before slot y takes that slot, what enters last a new one."""
    grown = held.copy()
    for place in range(path.shape[1]):
        column, slot = path[:, place, 0], path[:, place, 1]
        at = np.flatnonzero(grew & (column >= 0))
        grown[at, np.where(slot[at] >= 0, slot[at], n_held)] = column[at]
    return grown


def _may_join(family: Family, held: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Which candidates fit beside all that is held, and which fit once the pair in a slot is gone."""
    free = np.ones(family[0][0].shape, dtype=bool)
    swap = [free.copy() for _ in range(held.shape[1])]
    for group, limit in family:
        same = [group == code[:, None] for code in np.take_along_axis(group, held, axis=1).T]
        count = sum((one.astype("int8") for one in same), np.zeros(group.shape, dtype="int8"))
        free &= count < limit
        for fits, one in zip(swap, same):
            fits &= count - one < limit
    return free, swap


def _best(scores: np.ndarray, may: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    masked = np.where(may, scores, -np.inf)
    column = masked.argmax(axis=1)
    return masked[np.arange(len(scores)), column], column


def _held_codes(group: np.ndarray, held: np.ndarray) -> np.ndarray:
    return np.where(held >= 0, np.take_along_axis(group, np.maximum(held, 0).astype("int64"), axis=1), -1)


def _is_nested(first: np.ndarray, second: np.ndarray) -> bool:
    _, at, n_both = np.unique(first.astype("int64") * (second.max() + 1) + second, return_index=True, return_counts=True)
    return bool((n_both == np.minimum(np.bincount(first)[first[at]], np.bincount(second)[second[at]])).all())
