"""Rules that hold for a slate or across customers, as the quotas, stock and rows of an allocation."""

from __future__ import annotations

import numpy as np
import pandas as pd

from reclib.allocation import problem as allocation
from reclib.rules.conditions import hold
from reclib.rules.fields import level
from reclib.rules.kinds import (
    Budget,
    Diversity,
    MarginFloor,
    MinExposure,
    Rule,
    SlateQuota,
    Stock,
)
from reclib.rules.pairs import World


def members(world: World, condition: object, *, on_missing: str = "allow") -> np.ndarray:
    """Items for which a condition on item fields holds; where that is not known, `block` counts them in."""
    if condition is None:
        return np.ones(len(world.items), dtype=bool)
    held = hold(condition, lambda name: _item_level(world, name))
    return ~held.is_false if on_missing == "block" else held.is_true


def groups(world: World, name: str) -> np.ndarray:
    """Codes of an item field's values; -1 where missing."""
    if ("groups", name) not in world.memory:
        world.memory["groups", name] = pd.factorize(_item_level(world, name), sort=True)[0]
    return world.memory["groups", name]


def _item_level(world: World, name: str) -> pd.Series:
    values, codes = level(world, name)
    if codes != "item":
        raise ValueError(f"field {name!r} belongs to customers; quotas, diversity and shared rules need fields of items.")
    return values


def capacity(world: World, rules: list[Rule]) -> np.ndarray:
    """Placements that each item's stock bears."""
    capacity = np.full(len(world.items), np.inf)
    for rule in rules:
        if isinstance(rule, Stock) and rule.placements_per_unit:
            units = _item_level(world, rule.field).to_numpy("float64", na_value=np.nan)
            own = np.floor(np.round(np.maximum(units, 0) * rule.placements_per_unit, 6))
            capacity = np.fmin(capacity, own)
    return capacity


def quota_of(world: World, rule: Rule) -> allocation.Quota | None:
    """The quota that a rule sets within a slate, or None where it sets none."""
    if isinstance(rule, SlateQuota):
        group = np.where(members(world, rule.when, on_missing=rule.on_missing), groups(world, rule.field), -1)
        return allocation.Quota(rule.id, group, rule.max)
    if isinstance(rule, Diversity) and rule.method == "max_similar":
        codes = pd.DataFrame({name: groups(world, name) for name in rule.fields})
        group = codes.groupby(rule.fields).ngroup().to_numpy()
        return allocation.Quota(rule.id, np.where((codes < 0).any(axis=1), -1, group), rule.max)
    return None


def row_of(world: World, rule: Rule, n_slots: int) -> allocation.Row | None:
    """The row that a rule sets across customers, or None where it sets none."""
    options = {"is_hard": rule.is_hard, "yields": rule.yields}
    if isinstance(rule, Budget):
        return allocation.budget(rule.id, _cost(world, rule), rule.max, per=rule.per, **options)
    if isinstance(rule, MarginFloor) and rule.over == "all":
        return allocation.margin_floor(rule.id, *_sales(world, rule), rule.min, **options)
    if isinstance(rule, MinExposure):
        is_member = members(world, rule.when)
        if rule.placements is not None:
            return allocation.min_exposure(rule.id, is_member, rule.placements, **options)
        return allocation.min_share(rule.id, is_member, rule.share, of=rule.of, n_slots=n_slots, **options)
    return None


def _sales(world: World, rule: MarginFloor) -> tuple[np.ndarray, np.ndarray]:
    """Price and margin rate of each item. Where missing data blocks, a missing rate is the worst known one, and an item
    of unknown price below the floor weighs as much as the dearest; else either counts for nothing."""
    price, rate = (_item_level(world, name).astype("float64") for name in ("price", "margin_rate"))
    is_closed = rule.on_missing == "block"
    rate = rate.fillna(rate.min() if is_closed else rule.min)
    price = price.where(price.notna(), (rate < rule.min) * price.max() if is_closed else 0.0)
    return price.to_numpy(), rate.to_numpy()


def _cost(world: World, rule: Budget) -> np.ndarray:
    """What each item costs; a missing cost counts as the dearest known one where missing data blocks, else as nothing."""
    is_member = members(world, rule.when, on_missing=rule.on_missing)
    if rule.cost is None:
        return np.where(is_member, rule.times, 0.0)
    cost = _item_level(world, rule.cost).astype("float64")
    cost = cost.fillna(cost.max() if rule.on_missing == "block" else 0.0)
    return np.where(is_member, cost * rule.times, 0.0)
