"""The fields that conditions may ask for: columns of items and customers, and what is worked out of events.

A field is found in this order: pair state, item state, customer state, the item's columns, the customer's columns.
State fields, all as of a moment and nothing after it:

    is_personal                                                only sources that look at the customer found the pair
    days_since_bought, days_since_seen, days_since_dismissed   days since the last such event of the pair
    n_bought_<d>d, n_seen_<d>d, n_dismissed_<d>d               such events of the pair in the last d days
    is_new_to_customer                                         the customer never bought the item
    days_since_contact, n_contacts_<d>d                        impressions of the customer, by day, item whatever
    days_since_launch                                          since the item's `valid_from` (or `launched_at`)
    is_on_sale                                                 inside `valid_from` .. `valid_to`
    buyers_share                                               share of the customers who bought the item; one buyer is added
    margin_rate                                                (price - unit_cost) / price
    is_opted_out                                               `opted_out_at` has passed

A pair without such an event has a count of 0 and 9,999 days since: that is knowledge, not missing data. Where the
source has no such events at all, the field does not exist and a rule that asks for it does not apply. Whether an item that
the catalogue does not list is on sale, or a customer whom nobody knows has opted out, is missing.
"""

from __future__ import annotations

import re
import zoneinfo
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from reclib import schema

if TYPE_CHECKING:
    from reclib.rules.pairs import Pairs, World

NEVER_DAYS, LISTED = 9_999.0, "_is_listed"
_DAY = np.timedelta64(1, "D")
_EVENTS = {"bought": "purchase", "seen": "impression", "dismissed": "dismiss"}
_SINCE = re.compile(r"days_since_(bought|seen|dismissed)$")
_COUNT = re.compile(r"n_(bought|seen|dismissed)_(\d+)d$")
_CONTACTS = re.compile(r"n_contacts_(\d+)d$")
_EXAMPLES = ("days_since_bought", "days_since_seen", "days_since_dismissed", "n_seen_7d", "n_bought_28d", "n_dismissed_28d",
             "n_contacts_7d")


def distinct(keys: np.ndarray) -> np.ndarray:
    """Sorted distinct whole numbers; `np.unique` hashes them first, which is several times slower."""
    ordered = np.sort(keys)
    return ordered[np.r_[True, ordered[1:] != ordered[:-1]]] if len(ordered) else ordered


def n_distinct(codes: np.ndarray) -> int:
    """How many different codes there are."""
    return int(np.count_nonzero(np.bincount(codes)))


def naive(moment: pd.Timestamp) -> np.datetime64:
    """A moment as the event log holds it."""
    return moment.tz_convert(None).to_datetime64().astype("datetime64[us]")


def fault(world: World, name: str) -> str | None:
    """Why a field cannot be had in this source, or None where it can."""
    if name == "is_personal":
        return None if name in world.memory else "no candidates"
    if is_pair_level(name):
        return _lacks(world, _kind(name))
    try:
        level(world, name)
    except KeyError as error:
        return str(error.args[0])
    return None


def is_pair_level(name: str) -> bool:
    """Whether a field belongs to the pair, not to the item or the customer alone."""
    return bool(_SINCE.match(name) or _COUNT.match(name) or name in ("is_new_to_customer", "is_personal"))


def is_known_name(name: str, world: World) -> bool:
    """Whether the vocabulary has the field: a column of a contract, a flag, a state field or a column of the source."""
    return name in _own_names(world) or name.startswith(("is_", "has_")) or is_pair_level(name) or bool(_CONTACTS.match(name))


def known_names(world: World) -> list[str]:
    """Fields to offer where a name is mistyped."""
    return sorted({*world.items.columns, *world.customers.columns, *_STATE, "is_new_to_customer", "is_personal", *_EXAMPLES} - {LISTED})


def level(world: World, name: str) -> tuple[pd.Series, str]:
    """Values of a field by item or by customer code, and which of the two.

    Raises:
        KeyError: there is no such field; the sentence says why.
    """
    if name not in world.memory:
        world.memory[name] = _level(world, name)
    return world.memory[name]


def minutes_of_day(world: World, name: str, zones: dict[str, str]) -> np.ndarray:
    """What each customer's clock shows when the slates reach them, in minutes; NaN where their time zone is not known.

    Args:
        world: tells `delivered_at`.
        name: column of customers.
        zones: time zone of each of its values; where empty the values are time zones themselves.
    """
    if name not in world.customers:
        return np.full(len(world.customers), np.nan)
    places = world.customers[name].astype("str")
    known = zones or {place: place for place in places.dropna().unique() if place in zoneinfo.available_timezones()}
    clocks = {place: world.delivered_at.tz_convert(zone) for place, zone in known.items()}
    return places.map({place: 60 * at.hour + at.minute for place, at in clocks.items()}).to_numpy("float64", na_value=np.nan)


def pair_state(pairs: Pairs, name: str) -> np.ndarray:
    """Values of a field of the pair, one a pair.

    Raises:
        KeyError: the source lacks what it is worked out of.
    """
    world = pairs.world
    if why := fault(world, name):
        raise KeyError(why)
    if name not in world.memory:
        world.memory[name] = _by_pair(world, name)
    keys, values, empty = world.memory[name]
    found = np.full(len(pairs), empty)
    if len(keys):
        at = np.minimum(np.searchsorted(keys, pairs.key), len(keys) - 1)
        found = np.where(keys[at] == pairs.key, values[at], empty)
    return found == 0 if name in ("is_new_to_customer", "is_personal") else found


def _own_names(world: World) -> set[str]:
    contracts = [*schema.TABLES["items"].columns, *schema.TABLES["customers"].columns]
    return {*contracts, *_STATE, "is_new_to_customer", *world.items.columns, *world.customers.columns}


def _kind(name: str) -> str:
    """The type of event that a field of the pair is worked out of."""
    match = _SINCE.match(name) or _COUNT.match(name)
    return _EVENTS[match[1] if match else "bought"]


def _lacks(world: World, event_type: str) -> str | None:
    return None if event_type in world.event_types else f"no events of type {event_type}"


def _level(world: World, name: str) -> tuple[pd.Series, str]:
    if match := _CONTACTS.match(name):
        return _n_contacts(world, int(match[1])), "customer"
    if name in _STATE:
        work_out, whose = _STATE[name]
        return work_out(world), whose
    if name in world.items.columns:
        return world.items[name], "item"
    if name in world.customers.columns:
        return world.customers[name], "customer"
    raise KeyError(f"no column {name}")


def _numbers(world: World, name: str) -> pd.Series:
    if name not in world.items.columns:
        raise KeyError(f"no column {name}")
    return world.items[name].astype("float64")


def _margin_rate(world: World) -> pd.Series:
    if "margin_rate" in world.items.columns:
        return world.items["margin_rate"]
    price, cost = _numbers(world, "price"), _numbers(world, "unit_cost")
    return ((price - cost) / price.where(price > 0)).round(6)


def _days_since_launch(world: World) -> pd.Series:
    name = next((name for name in ("launched_at", "valid_from") if name in world.items.columns), None)
    if name is None:
        raise KeyError("no column valid_from")
    return np.floor((world.as_of - world.items[name]) / _DAY).fillna(NEVER_DAYS)


def _is_on_sale(world: World) -> pd.Series:
    first, last = (world.items.get(name) for name in ("valid_from", "valid_to"))
    if first is None and last is None:
        raise KeyError("no column valid_from, valid_to")
    on_sale = pd.Series(True, index=world.items.index)
    on_sale &= True if first is None else ~(first > world.as_of)
    return _of_listed(on_sale & (True if last is None else ~(last <= world.as_of)), world.items)


def _buyers_share(world: World) -> pd.Series:
    bought = _events(world, "purchase").drop_duplicates(["customer_code", "item_code"])
    n_buyers = np.bincount(bought["item_code"], minlength=len(world.items))
    return pd.Series((n_buyers + 1) / (len(world.customers) + 1)).round(9)


def _is_opted_out(world: World) -> pd.Series:
    if "opted_out_at" not in world.customers.columns:
        raise KeyError("no column opted_out_at")
    return _of_listed(world.customers["opted_out_at"] <= world.as_of, world.customers)


def _of_listed(flags: pd.Series, table: pd.DataFrame) -> pd.Series:
    return flags.astype("boolean").where(table[LISTED].notna())


def _days_since_contact(world: World) -> pd.Series:
    seen = _events(world, "impression")
    return pd.Series(_days_since(world, seen["customer_code"].to_numpy(), seen["at"].to_numpy(), len(world.customers)))


def _n_contacts(world: World, days: int) -> pd.Series:
    return pd.Series(contact_days(world, days)[:, 0].astype("float64"))


def contact_days(world: World, days: int, *, n_windows: int = 1) -> np.ndarray:
    """Calendar days with an impression, customers x windows of so many days; window 0 is the last one.

    Raises:
        KeyError: the source logs no impressions.
    """
    seen = _events(world, "impression")
    ago = np.floor((naive(world.as_of) - seen["at"].to_numpy("datetime64[us]")) / (days * _DAY)).astype("int64")
    recent = seen.assign(window=ago, day=seen["at"].dt.floor("D"))[ago < n_windows]
    once = recent.drop_duplicates(["customer_code", "window", "day"])
    cell = once["customer_code"].to_numpy() * n_windows + once["window"].to_numpy()
    return np.bincount(cell, minlength=len(world.customers) * n_windows).reshape(-1, n_windows)


_STATE = {
    "buyers_share": (_buyers_share, "item"), "margin_rate": (_margin_rate, "item"), "days_since_launch": (_days_since_launch, "item"),
    "is_on_sale": (_is_on_sale, "item"), "days_since_contact": (_days_since_contact, "customer"),
    "is_opted_out": (_is_opted_out, "customer")}


def _events(world: World, event_type: str) -> pd.DataFrame:
    if why := _lacks(world, event_type):
        raise KeyError(why)
    return world.events[(world.events["event_type"] == event_type).to_numpy()]


def _by_pair(world: World, name: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Sorted pair keys with their value, and the value of all other pairs."""
    events = _events(world, _kind(name))
    if window := _COUNT.match(name):
        events = events[events["at"] > naive(world.as_of) - int(window[2]) * _DAY]
    keys, code = np.unique(events["customer_code"].to_numpy("int64") * len(world.items) + events["item_code"].to_numpy(),
                           return_inverse=True)
    if _SINCE.match(name):
        return keys, _days_since(world, code, events["at"].to_numpy(), len(keys)), NEVER_DAYS
    return keys, np.bincount(code, minlength=len(keys)).astype("float64"), 0.0


def _days_since(world: World, code: np.ndarray, at: np.ndarray, n: int) -> np.ndarray:
    last = np.full(n, np.datetime64("1900-01-01", "us"))
    np.maximum.at(last, code, at.astype("datetime64[us]"))
    return np.minimum(np.floor((naive(world.as_of) - last) / _DAY), NEVER_DAYS)
