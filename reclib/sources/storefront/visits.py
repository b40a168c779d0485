"""A visit: what a customer is shown, looks at, clicks, dismisses, finds alone and wants to buy."""

from __future__ import annotations

import numpy as np

from reclib.sources.storefront import catalogue, luck, response
from reclib.sources.storefront.policies import EMPTY, Policy, Slates
from reclib.sources.storefront.state import NEVER, State
from reclib.sources.storefront.world import World


def visit(world: World, state: State, policy: Policy, day: int, visitors: np.ndarray, is_open: np.ndarray) -> dict:
    """Let some customers visit; nothing is sold yet.

    Returns:
        slates, the masks clicked and dismissed of their places, browsed (items found alone, -1 where none), and lines:
        row, item, column (-1 where found alone), wants (to buy it) and carts, of every item that was considered.
    """
    slates = _hidden(policy(world, state, day, visitors, is_open), state.opt_out_day[visitors] < NEVER)
    items = np.maximum(slates.items, 0)
    is_shown = slates.items != EMPTY
    base = response.utility(world, day, visitors, items) + response.satiety(world, state, visitors, items)
    logit = base - response.fatigue(world, state, visitors, items)
    seed, width = world.config.seed, np.arange(items.shape[1])[None, :]
    looks = response.p_examine(world, state, visitors, items.shape[1])
    looks = luck.spread(luck.rows(seed, "examine", day, visitors)[:, None], width) < looks
    looks &= is_shown
    draw = luck.spread(luck.rows(seed, "click", day, visitors)[:, None], items)
    clicked = looks & (draw < response.p_click(world, logit))
    draw = luck.spread(luck.rows(seed, "dismiss", day, visitors)[:, None], items)
    dismissed = looks & ~clicked & (draw < response.sigmoid(world.config.dismiss_base - 0.8 * logit))
    browsed = _browse(world, state, day, visitors, is_open)
    lines = _wishes(world, state, day, visitors, items, clicked, base, browsed)
    return {"slates": slates, "clicked": clicked, "dismissed": dismissed, "browsed": browsed, "lines": lines}


def _hidden(slates: Slates, is_hidden: np.ndarray) -> Slates:
    """Show nothing to those who opted out."""
    return slates._replace(items=np.where(is_hidden[:, None], EMPTY, slates.items))


def _browse(world: World, state: State, day: int, visitors: np.ndarray, is_open: np.ndarray) -> np.ndarray:
    """Items that visitors find by themselves: by category and popularity, the better liked of two, or a past purchase."""
    config = world.config
    slots = np.arange(config.n_browse)[None, :]
    hashes = luck.rows(config.seed, "browse", day, visitors)[:, None]
    draw = luck.spread(hashes, slots).astype(np.float32)
    category = (draw[:, :, None] > world.category_mass[visitors][:, None, :]).sum(axis=2)
    category = np.minimum(category, catalogue.N_CATEGORIES - 1)
    low, high = (world.item_mass[world.category_start[category + step]] for step in (0, 1))
    pair = []
    for number in (1, 2):
        at = low + (high - low) * luck.spread(hashes, slots + 1000 * number)
        place = np.searchsorted(world.item_mass, at, side="right") - 1
        pair.append(world.by_category[np.clip(place, 0, config.n_items - 1)])
    both = np.concatenate(pair, axis=1)
    liked = response.utility(world, day, visitors, both)
    found = np.where(liked[:, : config.n_browse] >= liked[:, config.n_browse :], pair[0], pair[1])
    recalls = luck.uniform(config.seed, "recall", day, visitors)
    recalled = state.recent[visitors, (recalls * 4000).astype(int) % 4]
    found[:, 0] = np.where((recalls < config.recall_share) & (recalled != EMPTY), recalled, found[:, 0])
    if config.browse_spread:
        depth = np.ceil(config.n_browse * luck.spread(hashes, np.array([5000])) ** config.browse_spread)
        found[slots >= depth] = EMPTY
    allowed = is_open[found] & (~world.items.is_restricted[found] | world.customers.is_adult[visitors][:, None])
    return np.where(allowed, _without_repeats(found), EMPTY)


def _without_repeats(found: np.ndarray) -> np.ndarray:
    """Blank the later copies of an item within a row."""
    for column in range(1, found.shape[1]):
        is_copy = (found[:, :column] == found[:, column : column + 1]).any(axis=1)
        found[is_copy, column] = EMPTY
    return found


def _wishes(world: World, state: State, day: int, visitors: np.ndarray, items: np.ndarray, clicked: np.ndarray,
            base: np.ndarray, browsed: np.ndarray) -> dict[str, np.ndarray]:
    """Clicked and browsed items, each held against the outside option of its category; at most one bought of each."""
    row, column = np.nonzero(clicked)
    is_twice = ((browsed[:, :, None] == items[:, None, :]) & clicked[:, None, :]).any(axis=2)
    own_row, own_column = np.nonzero((browsed != EMPTY) & ~is_twice)
    own_item = browsed[own_row, own_column]
    people, single = visitors[own_row], own_item[:, None]
    own_base = (response.utility(world, day, people, single) + response.satiety(world, state, people, single))[:, 0]
    rows = np.concatenate([row, own_row])
    item = np.concatenate([items[row, column], own_item])
    is_clicked = np.arange(len(rows)) < len(row)
    who, seed = visitors[rows], world.config.seed
    category = world.items.category[item]
    intent = luck.uniform(seed, "intent", day, who)
    want = response.buy_logit(world, intent, np.concatenate([base[row, column], own_base]), is_clicked)
    want = want + luck.gumbel(luck.spread(luck.rows(seed, "need", day, who), item))
    outside = luck.gumbel(luck.spread(luck.rows(seed, "outside", day, who), category))
    order = np.lexsort((item, -want, rows * catalogue.N_CATEGORIES + category))
    place = (rows * catalogue.N_CATEGORIES + category)[order]
    is_best = np.zeros(len(rows), dtype=bool)
    is_best[order[np.flatnonzero(np.diff(place, prepend=-1))]] = True
    return {
        "row": rows, "item": item, "column": np.where(is_clicked, np.concatenate([column, own_column]), EMPTY),
        "wants": is_best & (want > outside), "carts": want > outside - world.config.cart_slack,
    }
