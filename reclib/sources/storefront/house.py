"""What the shop showed in the past: best sellers to some visits, a personal draw to the others, all with exact odds.

Everything is drawn by odds that are whole numbers, so `p_shown` is exact and equal on every machine, and nothing that may
be shown to a customer has a chance of zero: the log can say something of any policy that keeps the shop's rules.
"""

from __future__ import annotations

import numpy as np

from reclib.sources.storefront import luck, policies
from reclib.sources.storefront.policies import EMPTY, Slates
from reclib.sources.storefront.world import World

_PLACES, _ODDS = (20, 6, 3), (2, 3, 4, 6)
_KNOWN, _NEW, _NEW_DAYS = 8, 2, 28
_START, _ORDER, _TURN = 20_000, 10_000, 30_000


def house(world: World, state: object, day: int, visitors: np.ndarray, is_open: np.ndarray) -> Slates:
    """Show `personal_share` of the visits a personal draw, and the others what `policies.bestsellers` shows.

    p_shown = personal_share x odds of the item / sum of odds + (1 - personal_share) x its probability as a best seller.
    """
    share = world.config.personal_share
    usual = policies.bestsellers(world, state, day, visitors, is_open)
    if not share:
        return usual
    odds = personal_odds(world, state, day, visitors, is_open)
    hashes = luck.rows(world.config.seed, "personal", day, visitors)
    is_personal = luck.spread(hashes, np.full(1, _TURN)) < share
    items = usual.items.copy()
    items[is_personal] = draw(odds[is_personal], hashes[is_personal], world.config.k)
    total, size = odds.sum(axis=1, dtype=np.int32), np.count_nonzero(odds, axis=1)
    own = share * np.take_along_axis(odds, np.maximum(items, 0), axis=1) / np.maximum(total, 1)[:, None]
    here, anywhere = policies.p_bestseller(world, visitors, is_open, items)
    p_in_slate = np.minimum(own * np.minimum(size, items.shape[1])[:, None] + (1 - share) * anywhere, 1.0)
    is_shown = items != EMPTY
    return Slates(items, is_shown * (own + (1 - share) * here), size, np.full(items.shape, EMPTY), is_shown * p_in_slate)


def personal_odds(world: World, state: object, day: int, visitors: np.ndarray, is_open: np.ndarray) -> np.ndarray:
    """Odds of each item for each visitor, as whole numbers; 0 where it may not be shown.

    6, 4, 3 or 2 by the item's place among the best sellers of the customer's segment (the first twentieth, sixth, third,
    and the rest), eight times that for what the customer has bought before, twice for what is new. Who did not agree to
    personalisation gets the odds of the whole shop. No odds are so high that an item would be drawn twice.
    """
    config, agreed = world.config, world.customers.has_consent[visitors]
    place = np.argsort(world.best_sellers, axis=1, kind="stable")
    odds = np.array(_ODDS, dtype=np.uint8)[np.sum([place < config.n_items // part for part in _PLACES], axis=0)]
    is_new = (world.items.launch_day <= day) & (world.items.launch_day > day - _NEW_DAYS)
    odds = odds * np.where(is_new, _NEW, 1).astype(np.uint8) * is_open
    for_minors = odds * ~world.items.is_restricted if config.age_gate else odds
    adult = world.customers.is_adult[visitors].astype(int)
    own = np.stack([for_minors, odds])[adult, policies.group_of(world, visitors)]
    own *= 1 + np.uint8(_KNOWN - 1) * (state.bought[visitors] & agreed[:, None])
    return _capped(own, config.k)


def draw(odds: np.ndarray, hashes: np.ndarray, k: int) -> np.ndarray:
    """Draw k different items of each row, each with probability k x odds / sum of odds, in random order.

    Systematic sampling: one start, then equal steps through the running sum of the odds.
    """
    total = odds.sum(axis=1, dtype=np.int32).astype(np.int64)
    n_drawn = np.minimum(np.count_nonzero(odds, axis=1), k)
    start = np.floor(luck.spread(hashes, np.full(1, _START)) * total).astype(np.int64)
    stops = (start[:, None] + np.arange(k)[None, :] * total[:, None]) // np.maximum(n_drawn, 1)[:, None]
    step = int(total.max(initial=0)) + 1
    rows = np.arange(len(odds))[:, None]
    ahead = np.cumsum(odds, axis=1, dtype=np.int32 if len(odds) * step < 2**31 else np.int64)
    ahead += (rows * step).astype(ahead.dtype)
    found = np.searchsorted(ahead.ravel(), (np.minimum(stops, total[:, None]) + rows * step).ravel().astype(ahead.dtype), side="right")
    items = np.where(np.arange(k) < n_drawn[:, None], found.reshape(stops.shape) - rows * odds.shape[1], EMPTY)
    order = luck.spread(hashes[:, None], _ORDER + np.arange(k)[None, :])
    order[items == EMPTY] = 2.0
    return np.take_along_axis(items, np.argsort(order, axis=1, kind="stable"), axis=1)


def _capped(odds: np.ndarray, k: int) -> np.ndarray:
    """Lower the highest odds until no item's k-fold exceeds the sum, so that none can be drawn twice."""
    slots = np.minimum(np.count_nonzero(odds, axis=1), k)
    while True:
        most = odds.sum(axis=1, dtype=np.int32) // np.maximum(slots, 1)
        if (odds.max(axis=1, initial=0) <= most).all():
            return odds
        odds = np.minimum(odds, most[:, None]).astype(odds.dtype)
