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
    """One more pair in every slate that can gain by it, along the exchange path that gains most, shortest first.

    A path that reaches a slot for no more than a shorter one did leads nowhere better, and is followed no further.
    """
    at, slots = np.arange(len(scores)), range(n_held)
    (free, swap), (free_too, swap_too) = (_may_join(family, held[:, :n_held]) for family in codes)
    own = np.take_along_axis(scores, held[:, :n_held], axis=1)
    outside = scores.copy()
    outside[at[:, None], held[:, :n_held]] = -np.inf
    gain, last = _best(outside, free & free_too)
    path = np.full((len(scores), n_held + 1, 2), -1)
    path[:, 0, 0] = last
    enter, entering = _stacked([_best(outside, free & swap_too[y]) for y in slots], (n_held, len(scores)))
    leave, leaving = _stacked([_best(outside, swap[y] & free_too) for y in slots], (n_held, len(scores)))
    step, stepping = _stacked([_best(outside, swap[y] & swap_too[z]) for y in slots for z in slots], (n_held, n_held, len(scores)))
    reach = nearest = enter - own.T
    trail = np.full((n_held, len(scores), n_held + 1, 2), -1)
    trail[:, :, 0, 0], trail[:, :, 0, 1] = entering, np.arange(n_held)[:, None]
    for length in range(1, n_held + 1):
        total = reach + leave[:, at]
        y, here = total.argmax(axis=0), np.arange(len(at))
        better = total[y, here] > gain[at]
        row, y, here = at[better], y[better], here[better]
        gain[row], path[row] = total[y, here], trail[y, here]
        path[row, length, 0] = leaving[y, row]
        total = reach[:, None] + step[:, :, at] - own.T[:, at]
        y, here = total.argmax(axis=0), np.arange(len(at))
        further = np.take_along_axis(total, y[None], axis=0)[0]
        trail = trail[y, here]
        trail[:, :, length, 0], trail[:, :, length, 1] = stepping[y, np.arange(n_held)[:, None], at], np.arange(n_held)[:, None]
        further = np.where(further > nearest, further, -np.inf)
        alive = np.isfinite(further).any(axis=0)
        at, reach, trail, nearest = at[alive], further[:, alive], trail[:, alive], np.maximum(nearest, further)[:, alive]
    grew = gain > 0
    return _exchanged(held, path, grew, n_held), grew


def _stacked(found: list[tuple[np.ndarray, np.ndarray]], shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Gains and columns of many looks in one table each."""
    return (np.array([gain for gain, _ in found]).reshape(shape), np.array([column for _, column in found], dtype="int64").reshape(shape))


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
