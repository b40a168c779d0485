"""Who is shown what: the policies of the shop, from nothing at all to one that knows the truth.

A policy is a function of (world, state, day, visitors, stock) that returns `Slates`. Only the oracles read the truth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from reclib.sources.storefront import luck, response
from reclib.sources.storefront.world import World

EMPTY = -1


class Slates(NamedTuple):
    """Slates of the visitors of a day, one row a visitor, one column a position.

    Attributes:
        items: item number, -1 where the slot is empty.
        p_shown: exact probability that the policy shows this item in this position.
        n_eligible: items that the slate could have been drawn from.
        slot: row of the published `deliveries` that the slot shows, -1 where it shows none.
        p_in_slate: exact probability that the policy shows this item anywhere in the slate.
    """

    items: np.ndarray
    p_shown: np.ndarray
    n_eligible: np.ndarray
    slot: np.ndarray
    p_in_slate: np.ndarray


Policy = Callable[[World, "object", int, np.ndarray, np.ndarray], Slates]


def none(world: World, state: object, day: int, visitors: np.ndarray, is_open: np.ndarray) -> Slates:
    """Show nothing."""
    return _certain(np.full((len(visitors), world.config.k), EMPTY), is_open)


def popular(world: World, state: object, day: int, visitors: np.ndarray, is_open: np.ndarray) -> Slates:
    """Show everybody the best sellers of the shop that can be sold to them."""
    pool = _pool(world, visitors, is_open, np.full(len(visitors), len(world.best_sellers) - 1), world.config.k)
    return _certain(pool[0], is_open)


def bestsellers(world: World, state: object, day: int, visitors: np.ndarray, is_open: np.ndarray) -> Slates:
    """Show the best sellers of the customer's segment; with probability epsilon, any of the first `n_pool` of them.

    An explored slate is a uniform ordered draw of k from the pool, hence
    p_shown = (1 - epsilon) [it is the greedy choice of this position] + epsilon / pool size.
    Those who did not agree to personalisation get the best sellers of the whole shop.
    """
    config = world.config
    pool, size = _pool(world, visitors, is_open, group_of(world, visitors), config.n_pool)
    hashes = luck.rows(config.seed, "explore", day, visitors)
    order = luck.spread(hashes[:, None], np.arange(pool.shape[1])[None, :])
    order[pool == EMPTY] = 2.0
    drawn = np.take_along_axis(pool, np.argsort(order, axis=1, kind="stable")[:, : config.k], axis=1)
    explores = luck.uniform(config.seed, "policy", day, visitors) < config.epsilon
    items = np.where(explores[:, None], drawn, pool[:, : config.k])
    here, anywhere = _p_of_pool(pool, size, items, config.epsilon)
    return Slates(items, here, size, np.full(items.shape, EMPTY), anywhere)


def p_bestseller(world: World, visitors: np.ndarray, is_open: np.ndarray, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How likely `bestsellers` shows each of these items (a row a visitor, a column a position) there, and in the slate."""
    pool, size = _pool(world, visitors, is_open, group_of(world, visitors), world.config.n_pool)
    return _p_of_pool(pool, size, items, world.config.epsilon)


def group_of(world: World, visitors: np.ndarray) -> np.ndarray:
    """The row of `world.best_sellers` of each visitor: their segment, or the whole shop for who did not agree."""
    return np.where(world.customers.has_consent[visitors], world.customers.segment[visitors], len(world.best_sellers) - 1)


def _p_of_pool(pool: np.ndarray, size: np.ndarray, items: np.ndarray, epsilon: float) -> tuple[np.ndarray, np.ndarray]:
    k = items.shape[1]
    is_same = items[:, :, None] == pool[:, None, :]
    explored = epsilon * is_same.any(axis=2) / np.maximum(size, 1)[:, None]
    anywhere = (1 - epsilon) * is_same[:, :, :k].any(axis=2) + explored * np.minimum(size, k)[:, None]
    return (1 - epsilon) * (items == pool[:, :k]) + explored, anywhere


def at_random(world: World, state: object, day: int, visitors: np.ndarray, is_open: np.ndarray) -> Slates:
    """Show k items drawn uniformly from all that can be sold to the customer."""
    hashes = luck.rows(world.config.seed, "explore", day, visitors)
    draw = luck.spread(hashes[:, None], np.arange(world.config.n_items)[None, :])
    items = _best(world, visitors, is_open, draw)
    size = eligible(world, visitors, is_open).sum(axis=1)
    p_shown = np.broadcast_to(1.0 / np.maximum(size, 1)[:, None], items.shape)
    return Slates(items, p_shown, size, np.full(items.shape, EMPTY), p_shown * np.minimum(size, items.shape[1])[:, None])


def oracle(world: World, state: object, day: int, visitors: np.ndarray, is_open: np.ndarray) -> Slates:
    """Show what the customer is truly likeliest to click."""
    return _certain(_best(world, visitors, is_open, _true_logit(world, state, day, visitors)), is_open)


def oracle_margin(world: World, state: object, day: int, visitors: np.ndarray, is_open: np.ndarray) -> Slates:
    """Show what is truly worth most: probability of click and purchase times unit margin."""
    config = world.config
    logit = _true_logit(world, state, day, visitors)
    price, _ = world.prices(day)
    bought = response.sigmoid(config.buy_base + config.buy_intent / 2 + config.buy_click + logit)
    value = bought * response.p_click(world, logit) * (price - world.items.unit_cost)
    return _certain(_best(world, visitors, is_open, np.round(value, 6)), is_open)


POLICIES: dict[str, Policy] = {
    "none": none, "random": at_random, "popular": popular, "bestsellers": bestsellers, "oracle": oracle,
    "oracle_margin": oracle_margin,
}


def named(name: str) -> Policy:
    """Look a policy up by its name."""
    if name not in POLICIES:
        raise ValueError(f"policy == {name!r}, must be one of {sorted(POLICIES)} or a deliveries table.")
    return POLICIES[name]


@dataclass(frozen=True)
class Published:
    """A policy that shows each customer the slate published for them, less what cannot be sold that day."""

    items: np.ndarray
    slot: np.ndarray

    def __call__(self, world: World, state: object, day: int, visitors: np.ndarray, is_open: np.ndarray) -> Slates:
        items = self.items[visitors]
        shown = (items != EMPTY) & is_open[items]
        if world.config.age_gate:
            shown &= ~world.items.is_restricted[items] | world.customers.is_adult[visitors][:, None]
        slates = _certain(np.where(shown, items, EMPTY), is_open)
        return slates._replace(slot=np.where(shown, self.slot[visitors], EMPTY))


@dataclass(frozen=True)
class Mixed:
    """An experiment: each customer meets the policy of their arm (`arm` holds its number for every customer)."""

    policies: tuple[Policy, ...]
    arm: np.ndarray

    def __call__(self, world: World, state: object, day: int, visitors: np.ndarray, is_open: np.ndarray) -> Slates:
        parts = []
        for number, policy in enumerate(self.policies):
            where = np.flatnonzero(self.arm[visitors] == number)
            parts.append((where, policy(world, state, day, visitors[where], is_open)))
        width = max(slates.items.shape[1] for _, slates in parts)
        return _joined(parts, len(visitors), width)


def published(deliveries: pd.DataFrame, n_customers: int, n_items: int) -> Published:
    """Read slates from a `deliveries` table (or any with customer_id, item_id and position).

    Raises:
        ValueError: a customer or an item that the world does not have, or two items in one slot.
    """
    customer = customer_numbers(deliveries["customer_id"], n_customers)
    item = item_numbers(deliveries["item_id"], n_items)
    position = deliveries["position"].to_numpy().astype(int) - 1
    width = int(position.max(initial=0)) + 1
    items = np.full((n_customers, width), EMPTY)
    slot = np.full((n_customers, width), EMPTY)
    repeated = len(deliveries) - len(np.unique(customer * np.int64(width) + position))
    if repeated:
        raise ValueError(f"deliveries: {repeated} rows repeat a (customer_id, position); one item a slot.")
    items[customer, position] = item
    slot[customer, position] = np.arange(len(deliveries))
    return Published(items, slot)


def customer_numbers(ids: pd.Series, n_customers: int) -> np.ndarray:
    """Turn customer ids (1, 2, ...) into numbers from 0."""
    numbers = pd.to_numeric(ids, errors="coerce").to_numpy(dtype=float, na_value=np.nan) - 1
    bad = ~((numbers >= 0) & (numbers < n_customers))
    if bad.any():
        raise ValueError(f"customer_id == {ids[bad].tolist()[0]!r}, must be one of the {n_customers} customers, from 1.")
    return numbers.astype(np.int64)


def item_numbers(ids: pd.Series, n_items: int) -> np.ndarray:
    """Turn item ids ("i0001", ...) into numbers from 0."""
    numbers = pd.Index(item_ids(n_items)).get_indexer(pd.Index(ids))
    if (numbers < 0).any():
        raise ValueError(f"item_id == {ids[numbers < 0].tolist()[0]!r}, must be one of the {n_items} items, from 'i0001'.")
    return numbers.astype(np.int64)


def item_ids(n_items: int) -> np.ndarray:
    """Name the items."""
    return np.array([f"i{number:04d}" for number in range(1, n_items + 1)])


def eligible(world: World, visitors: np.ndarray, is_open: np.ndarray) -> np.ndarray:
    """Whether each item may be shown to each visitor: on sale, in stock, and not kept from minors."""
    allowed = np.broadcast_to(is_open[None, :], (len(visitors), len(is_open))).copy()
    if world.config.age_gate:
        allowed[np.ix_(~world.customers.is_adult[visitors], world.items.is_restricted)] = False
    return allowed


def _certain(items: np.ndarray, is_open: np.ndarray) -> Slates:
    size = np.full(len(items), int(is_open.sum()))
    is_shown = (items != EMPTY).astype(float)
    return Slates(items, is_shown, size, np.full(items.shape, EMPTY), is_shown)


def _pool(world: World, visitors: np.ndarray, is_open: np.ndarray, group: np.ndarray,
          size: int) -> tuple[np.ndarray, np.ndarray]:
    """The first items of each group's order that may be shown: one list for adults, one for minors."""
    n_groups = len(world.best_sellers)
    lists = np.full((2, n_groups, size), EMPTY)
    sizes = np.zeros((2, n_groups), dtype=np.int64)
    for adult in (0, 1):
        kept = is_open & ~(world.items.is_restricted & (not adult and world.config.age_gate))
        for number in range(n_groups):
            order = world.best_sellers[number]
            first = order[kept[order]][:size]
            lists[adult, number, : len(first)] = first
            sizes[adult, number] = len(first)
    adult = world.customers.is_adult[visitors].astype(int)
    return lists[adult, group], sizes[adult, group]


def _best(world: World, visitors: np.ndarray, is_open: np.ndarray, score: np.ndarray) -> np.ndarray:
    """The k best eligible items of each visitor, ties to the first item."""
    score = np.where(eligible(world, visitors, is_open), score, -np.inf)
    order = np.argsort(-score, axis=1, kind="stable")[:, : world.config.k]
    return np.where(np.isinf(np.take_along_axis(score, order, axis=1)), EMPTY, order)


def _true_logit(world: World, state: object, day: int, visitors: np.ndarray) -> np.ndarray:
    every = np.broadcast_to(np.arange(world.config.n_items)[None, :], (len(visitors), world.config.n_items))
    utility = response.utility(world, day, visitors, every)
    return np.round((utility + response.memory(world, state, visitors, every)).astype(float), 5)


def _joined(parts: list[tuple[np.ndarray, Slates]], n_rows: int, width: int) -> Slates:
    items, slot = np.full((n_rows, width), EMPTY), np.full((n_rows, width), EMPTY)
    p_shown, p_in_slate, size = np.zeros((n_rows, width)), np.zeros((n_rows, width)), np.zeros(n_rows, dtype=np.int64)
    for where, slates in parts:
        columns = slates.items.shape[1]
        items[where, :columns], slot[where, :columns] = slates.items, slates.slot
        p_shown[where, :columns], p_in_slate[where, :columns] = slates.p_shown, slates.p_in_slate
        size[where] = slates.n_eligible
    return Slates(items, p_shown, size, slot, p_in_slate)
