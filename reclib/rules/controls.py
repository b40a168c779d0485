"""Diversity, novelty and repetition: what each control takes from the score of a pair.

    score x (1 - weight x signal)

`signal` is the likeness to what stands above it (`mmr`), how well known the item is (`novelty`: 1 for an item that
everybody bought, 0 for the least known), or whether the customer saw it this week (`repetition`).
"""

from __future__ import annotations

import numpy as np

from reclib.rules import slates
from reclib.rules.fields import level
from reclib.rules.kinds import Diversity, Rule
from reclib.rules.pairs import Pairs
from reclib.rules.shared import groups

MMR_EXTRA = 8


def taken(rules: list[Rule], pairs: Pairs, score: np.ndarray, *, k: int) -> dict[str, np.ndarray]:
    """What each control takes, one entry a pair.

    Args:
        rules: the register; rules that are no controls take nothing.
        pairs: sorted by customer and item.
        score: scores; -inf where the pair may not be shown.
        k: slots of a slate.

    Returns:
        rule_id -> amounts, at least 0, in the unit of the score.
    """
    takes = [rule for rule in rules if isinstance(rule, Diversity) and rule.is_lever and rule.weight > 0]
    return {rule.id: np.round(_one(rule, pairs, score, k), 6) for rule in takes if len(score)}


def surprise(pairs: Pairs) -> np.ndarray:
    """Bits of surprise of each pair's item: -log2 of the share of customers who bought it."""
    return -np.log2(level(pairs.world, "buyers_share")[0].to_numpy())[pairs.item]


def _one(rule: Diversity, pairs: Pairs, score: np.ndarray, k: int) -> np.ndarray:
    base = np.where(np.isfinite(score), np.maximum(score, 0.0), 0.0)
    if rule.method == "novelty":
        most = -np.log2(level(pairs.world, "buyers_share")[0].min())
        return base * rule.weight * (1 - surprise(pairs) / max(most, 1e-9))
    if rule.method == "repetition":
        return base * rule.weight * (pairs.column("n_seen_7d") > 0)
    frame = pairs.frame
    features = np.column_stack([groups(pairs.world, name) for name in rule.fields])
    scores = slates.laid_out(frame, score, -np.inf)
    return frame.of_pairs(slates.mmr_penalty(frame.item, scores, features, weight=rule.weight, depth=k + MMR_EXTRA))
