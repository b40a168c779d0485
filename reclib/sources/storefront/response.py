"""How customers truly respond to an item: utility, memory, click and purchase. All of it is truth."""

from __future__ import annotations

import numpy as np

from reclib.sources.storefront.world import N_TASTES, World

_USUAL = np.float32(1.1)
_LOG_SEEN = np.log1p(np.arange(256)).astype(np.float32)


def parts(world: World, day: int, customers: np.ndarray, items: np.ndarray) -> dict[str, np.ndarray]:
    """The parts of the true utility of items (a row a customer, a column an item), which sum to it."""
    config, people, goods = world.config, world.customers, world.items
    price, is_promo = world.prices(day)
    log_price = np.log(price / config.price_level).astype(np.float32)
    category = goods.category[items]
    return {
        "appeal": np.float32(config.appeal_pull) * goods.appeal[items],
        "taste": np.float32(config.taste_pull) * _dot(goods.taste[items], people.taste[customers]),
        "category": np.float32(config.category_pull) * people.affinity[customers[:, None], category],
        "price": np.float32(-config.price_pull) * people.price_weight[customers][:, None] * (log_price[items] - _USUAL),
        "promotion": np.where(is_promo, np.float32(config.promo_pull), np.float32(0))[items],
        "season": world.seasonal(day)[category],
    }


def utility(world: World, day: int, customers: np.ndarray, items: np.ndarray) -> np.ndarray:
    """The true utility of items for customers on a day, before what they remember."""
    total = np.zeros(items.shape, dtype=np.float32)
    for part in parts(world, day, customers, items).values():
        total += part
    return total


def satiety(world: World, state: object, customers: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Habit less satiation: what past purchases add to the utility."""
    config = world.config
    if not config.dynamic:
        return np.zeros(items.shape, dtype=np.float32)
    known = state.bought[customers[:, None], items]
    full = state.satiation[customers[:, None], world.items.category[items]]
    return np.float32(config.buy_known) * known - np.float32(config.satiation) * full


def fatigue(world: World, state: object, customers: np.ndarray, items: np.ndarray) -> np.ndarray:
    """What being shown the same item again takes from the utility of a click."""
    if not world.config.dynamic:
        return np.zeros(items.shape, dtype=np.float32)
    return np.float32(world.config.fatigue) * _LOG_SEEN[state.seen[customers[:, None], items]]


def memory(world: World, state: object, customers: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Habit, satiation and fatigue together."""
    return satiety(world, state, customers, items) - fatigue(world, state, customers, items)


def p_examine(world: World, state: object, customers: np.ndarray, n_positions: int) -> np.ndarray:
    """Probability that the customer looks at each position; irritated customers look less."""
    config = world.config
    by_position = config.examine_base * np.arange(1, n_positions + 1) ** -config.examine_decay
    return by_position[None, :] * np.exp(-0.5 * state.irritation[customers])[:, None]


def p_click(world: World, logit: np.ndarray) -> np.ndarray:
    """Probability of a click on an item that is looked at, from utility plus memory."""
    return sigmoid(world.config.click_base + world.config.click_scale * logit)


def buy_logit(world: World, intent: np.ndarray, utility_and_habit: np.ndarray, is_clicked: np.ndarray | float) -> np.ndarray:
    """Utility of buying against the outside option of the category."""
    config = world.config
    return config.buy_base + config.buy_intent * intent + utility_and_habit + config.buy_click * is_clicked


def sigmoid(logit: np.ndarray) -> np.ndarray:
    """The logistic function, in double precision: single precision differs between processors."""
    return 1.0 / (1.0 + np.exp(-np.asarray(logit, dtype=np.float64)))


def _dot(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Inner products in one fixed order of addition, so that batches of any size agree to the last bit."""
    total = left[..., 0] * right[:, None, 0]
    for taste in range(1, N_TASTES):
        total += left[..., taste] * right[:, None, taste]
    return total
