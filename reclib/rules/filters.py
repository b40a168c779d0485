"""Row rules: which pairs each rule would refuse, and the value that it met."""

from __future__ import annotations

import numpy as np
import pandas as pd

from reclib.rules import fields as fields_of
from reclib.rules.conditions import Condition, Test, Truth, fields, hold
from reclib.rules.kinds import (
    Block,
    Budget,
    Filter,
    FrequencyCap,
    MarginFloor,
    QuietHours,
    Rule,
    Stock,
)
from reclib.rules.pairs import Pairs, World

MATERIAL_DIGITS = 6


def is_row_rule(rule: Rule) -> bool:
    """Whether the rule can refuse a pair by itself."""
    return isinstance(rule, Stock) or rule.scope in ("row", "customer") and not rule.is_lever


def applicable(rules: list[Rule], world: World) -> tuple[list[Rule], dict[str, str]]:
    """Split rules into those in force on this data and those that are not, with the reason.

    A rule is left out where the source has no such column at all (a shared limit also where nothing in it is known), or
    outside its validity. A missing *value* in a
    column that exists is another matter: there the rule's `on_missing` decides. Two kinds fail closed even where the
    column that they keep by is lacking: a safety rule then refuses what its `when` is known to concern, and quiet hours
    everyone.

    Returns:
        The rules in force (live and shadow), and rule_id -> why not for the others.
    """
    kept, skipped = [], {}
    for rule in rules:
        why = _why_not(rule, world)
        if why:
            skipped[rule.id] = why
        else:
            kept.append(rule)
    return kept, skipped


def refusals(rule: Rule, pairs: Pairs) -> np.ndarray:
    """Mark the pairs that a row rule refuses.

    With `on_missing: block` a pair is refused unless the rule is known not to concern it or known to be satisfied;
    with `allow` it is refused only where both are known and the rule is broken.
    """
    if isinstance(rule, QuietHours):
        return _broken(rule, None, _is_awake(rule, pairs), pairs)
    if isinstance(rule, Filter):
        return _broken(rule, rule.when, hold(rule.keep, lambda name: column_or_missing(pairs, name)), pairs)
    if isinstance(rule, Block):
        is_item = np.ones(len(pairs), dtype=bool)
        if rule.item_id is not None:
            is_item = pairs.item == item_code(pairs.world, rule.item_id)
        return is_item if rule.when is None else is_item & _concerned(rule, rule.when, pairs)
    keep = threshold(rule)
    return _broken(rule, getattr(rule, "when", None), hold(keep, pairs.column), pairs)


def detail(rule: Rule, pairs: Pairs) -> pd.Series:
    """Say for each pair which value the rule met, such as `stock_on_hand = 0`."""
    if isinstance(rule, QuietHours):
        minutes = pd.Series(_clocks(rule, pairs))
        return "local time = " + (pd.Timestamp(0) + pd.to_timedelta(minutes, unit="min")).dt.strftime("%H:%M").astype("str").fillna("missing")
    asked = list(dict.fromkeys(field for condition in _conditions(rule) for field in fields(condition)))
    said = pd.Series("", index=range(len(pairs)), dtype="str")
    for place, name in enumerate(asked):
        said = said + (", " if place else "") + name + " = " + _texts(column_or_missing(pairs, name))
    return said if asked else pd.Series("named by hand", index=range(len(pairs)), dtype="str")


def met(rule: Rule, pairs: Pairs, row: int) -> str:
    """Say which value the rule met at one pair."""
    return detail(rule, pairs.take(np.array([row]))).iloc[0]


def _conditions(rule: Rule) -> list[Condition]:
    own = [] if isinstance(rule, (Filter, Block)) else [threshold(rule)]
    return own + [part for part in (getattr(rule, "keep", None), getattr(rule, "when", None)) if part is not None]


def threshold(rule: Stock | MarginFloor | FrequencyCap) -> Test:
    """The condition that a rule with a threshold keeps by."""
    if isinstance(rule, Stock):
        return Test(field=rule.field, op=">=", value=rule.min)
    if isinstance(rule, MarginFloor):
        return Test(field="margin_rate", op=">=", value=rule.min)
    return Test(field=rule.counter, op="<", value=rule.max)


def _broken(rule: Rule, when: Condition | None, kept, pairs: Pairs) -> np.ndarray:
    concerned = np.ones(len(pairs), dtype=bool) if when is None else _concerned(rule, when, pairs)
    return concerned & (~kept.is_true if rule.on_missing == "block" else kept.is_false)


def _is_awake(rule: QuietHours, pairs: Pairs) -> Truth:
    """Whether each pair's customer may be disturbed: `start` up to but without `end` is quiet, also over midnight."""
    minutes = _clocks(rule, pairs)
    start, end = (60 * int(clock[:2]) + int(clock[3:]) for clock in (rule.start, rule.end))
    since_start = (minutes - start) % 1440
    return Truth(since_start >= (end - start) % 1440, ~np.isnan(minutes))


def _clocks(rule: QuietHours, pairs: Pairs) -> np.ndarray:
    return fields_of.minutes_of_day(pairs.world, rule.field, rule.zones)[pairs.customer]


def _concerned(rule: Rule, when: Condition, pairs: Pairs) -> np.ndarray:
    held = hold(when, pairs.column)
    return ~held.is_false if rule.on_missing == "block" else held.is_true


def _why_not(rule: Rule, world: World) -> str | None:
    if rule.valid_from is not None and world.as_of < rule.valid_from:
        return f"not yet in force: valid from {rule.valid_from:%Y-%m-%d}"
    if rule.valid_to is not None and world.as_of >= rule.valid_to:
        return f"expired: valid to {rule.valid_to:%Y-%m-%d}"
    if isinstance(rule, QuietHours) and world.channel not in rule.channels:
        return f"not applicable: concerns {', '.join(rule.channels)}, the slates go by {world.channel}"
    needed = list(fields(getattr(rule, "when", None))) if _fails_closed(rule) else rule.needs
    lacking = [why for name in needed if (why := fields_of.fault(world, name))]
    lacking += [f"no item has a known {name}" for name in _summed(rule) if not lacking and fields_of.level(world, name)[0].isna().all()]
    return f"not applicable: {'; '.join(dict.fromkeys(lacking))}" if lacking else None


def _summed(rule: Rule) -> list[str]:
    """Fields whose known values stand in for missing ones in a shared limit."""
    if isinstance(rule, MarginFloor) and rule.over == "all":
        return rule.needs
    return [rule.cost] if isinstance(rule, Budget) and rule.cost else []


def _fails_closed(rule: Rule) -> bool:
    return rule.on_missing == "block" and (rule.kind == "quiet_hours" or rule.kind == "safety" and rule.when is not None)


def column_or_missing(pairs: Pairs, name: str) -> np.ndarray | pd.Series:
    """Values of a field, all missing where the source does not have it."""
    return np.full(len(pairs), np.nan) if fields_of.fault(pairs.world, name) else pairs.column(name)


def item_code(world: World, item_id: object) -> int:
    """Code of an item that a rule names; -2 where the catalogue has none, which equals no pair."""
    ids = world.items["item_id"]
    if not pd.api.types.is_integer_dtype(ids):
        wanted: object = str(item_id)
    elif str(item_id).removeprefix("-").isdecimal():
        wanted = int(str(item_id))
    else:
        return -2
    code = int(world.code_items(pd.Series([wanted]))[0])
    return code if code >= 0 else -2


def _texts(values: np.ndarray | pd.Series) -> pd.Series:
    series = pd.Series(values).reset_index(drop=True)
    if pd.api.types.is_float_dtype(series):
        known = series.dropna()
        is_whole = len(known) and (known.abs() < 2**53).all() and (known == np.floor(known)).all()
        series = series.astype("Int64") if is_whole else series.round(MATERIAL_DIGITS)
    elif pd.api.types.is_datetime64_any_dtype(series):
        series = series.dt.strftime("%Y-%m-%d")
    return series.astype("str").fillna("missing").astype("str")
