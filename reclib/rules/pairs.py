"""The joined row that conditions see: item, customer and what is known about the pair.

A field is found in this order: pair state (worked out of events), the item's columns, the customer's columns.
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
source has no such events at all, the field does not exist and a rule that asks for it does not apply.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from reclib import schema

NEVER_DAYS = 9_999.0
_TYPES = {"bought": ("purchase",), "seen": ("impression",), "dismissed": ("dismiss",)}
_SINCE = re.compile(r"days_since_(bought|seen|dismissed)$")
_COUNT = re.compile(r"n_(bought|seen|dismissed)_(\d+)d$")
_CONTACTS = re.compile(r"n_contacts_(\d+)d$")
_PLAIN = ("is_new_to_customer", "is_personal", "days_since_contact", "days_since_launch", "is_on_sale", "margin_rate", "is_opted_out",
          "buyers_share")
_DAY = np.timedelta64(1, "D")


@dataclass(frozen=True)
class World:
    """What rules may know, as of a moment: items, customers, events.

    Attributes:
        items: the `items` table, one row an item; its row number is the item's code.
        customers: the `customers` table, one row a customer that is decided for; its row number is the code.
        as_of: nothing after it is read.
        events: events up to `as_of` with `item_code`, `customer_code`, `event_type`, `at`.
        has_customers: the source has a customers table.
        memory: fields worked out so far.
        event_types: types of event that the source logs; narrower than `events` where one customer is looked at.
    """

    items: pd.DataFrame
    customers: pd.DataFrame
    as_of: pd.Timestamp
    events: pd.DataFrame
    has_customers: bool = True
    memory: dict = field(default_factory=dict, repr=False)
    event_types: tuple[str, ...] = ()

    def code_items(self, ids: pd.Series) -> np.ndarray:
        """Item codes of ids; -1 where the catalogue has no such item."""
        return _codes(self.items["item_id"], ids)

    def code_customers(self, ids: pd.Series) -> np.ndarray:
        """Customer codes of ids; -1 for strangers."""
        return _codes(self.customers["customer_id"], ids)


@dataclass(frozen=True)
class Pairs:
    """Pairs of customer and item codes, with access to every field by name."""

    world: World
    customer: np.ndarray
    item: np.ndarray

    def __len__(self) -> int:
        return len(self.customer)

    def column(self, name: str) -> np.ndarray | pd.Series:
        """Values of a field, one a pair.

        Raises:
            KeyError: there is no such field; the sentence says why.
        """
        if is_pair_level(name):
            return _pair_state(self, name)
        values, codes = level(self.world, name)
        return values.take(self.item if codes == "item" else self.customer).reset_index(drop=True)

    def take(self, rows: np.ndarray) -> Pairs:
        """The same for some of the pairs."""
        return replace(self, customer=self.customer[rows], item=self.item[rows])


def build(items: pd.DataFrame, customers: pd.DataFrame | None, events: pd.DataFrame, *, as_of: str | pd.Timestamp,
          customer_ids: pd.Series, item_ids: pd.Series | None = None, candidates: pd.DataFrame | None = None,
          everyone: list[str] | None = None, event_types: list[str] | None = None) -> World:
    """Gather what rules may know.

    Args:
        items: the `items` table.
        customers: the `customers` table, where the source has one.
        events: the `events` table; what lies after `as_of` is left out.
        as_of: the moment of the decision.
        customer_ids: customers that are decided for.
        item_ids: further items that are ranked but not in `items`.
        candidates: the `candidates` table, which tells personal finds from those that everyone is offered.
        everyone: sources that offer everyone the same, where the candidates are of few customers.
        event_types: types that the source logs, where the events are of few customers.
    """
    moment = pd.Timestamp(as_of)
    moment = moment.tz_localize("UTC") if moment.tzinfo is None else moment
    ids = pd.Series(pd.unique(customer_ids)).sort_values(ignore_index=True).rename("customer_id")
    people = ids.to_frame()
    if customers is not None:
        people = people.merge(customers, on="customer_id", how="left", validate="one_to_one")
    goods = items
    if item_ids is not None:
        strangers = pd.Series(pd.unique(item_ids)).rename("item_id")
        strangers = strangers[~strangers.isin(items["item_id"])]
        goods = items if not len(strangers) else pd.concat([items, strangers.to_frame()], ignore_index=True)
    goods = goods.sort_values("item_id", ignore_index=True)
    world = World(goods, people, moment, pd.DataFrame(), customers is not None)
    known = _known_events(world, events)
    types = event_types if event_types is not None else sorted(known["event_type"].astype("str").unique())
    world = replace(world, events=known, event_types=tuple(types))
    if candidates is not None:
        world.memory["everyone"] = _for_everyone(candidates) if everyone is None else list(everyone)
        world.memory["is_personal"] = _personal(world, candidates)
    return world


def fault(world: World, name: str) -> str | None:
    """Why a field cannot be had in this source, or None where it can."""
    if match := (_SINCE.match(name) or _COUNT.match(name)):
        types = _TYPES[match[1]]
        return None if set(types) & set(world.event_types) else f"no events of type {', '.join(types)}"
    if name == "is_personal":
        return None if name in world.memory else "no candidates"
    if name == "is_new_to_customer":
        return None if "purchase" in world.event_types else "no events of type purchase"
    try:
        level(world, name)
    except KeyError as error:
        return str(error.args[0])
    return None


def is_pair_level(name: str) -> bool:
    """Whether a field belongs to the pair, not to the item or the customer alone."""
    return bool(_SINCE.match(name) or _COUNT.match(name) or name in ("is_new_to_customer", "is_personal"))


def is_known_name(name: str, world: World | None = None) -> bool:
    """Whether the vocabulary has the field: a column of a contract, a flag, a state field or a column of the source."""
    own = {*schema.TABLES["items"].columns, *schema.TABLES["customers"].columns, *_PLAIN}
    if world is not None:
        own |= {*world.items.columns, *world.customers.columns}
    return (name in own or name.startswith(("is_", "has_"))
            or any(pattern.match(name) for pattern in (_SINCE, _COUNT, _CONTACTS)))


def known_names(world: World) -> list[str]:
    """Fields to offer where a name is mistyped."""
    return sorted({*world.items.columns, *world.customers.columns, *_PLAIN, "days_since_bought", "days_since_seen",
                   "days_since_dismissed", "n_seen_7d", "n_bought_28d", "n_dismissed_28d", "n_contacts_7d"})


def level(world: World, name: str) -> tuple[pd.Series, str]:
    """Values of a field by item or by customer code, and which of the two."""
    if name not in world.memory:
        world.memory[name] = _level(world, name)
    return world.memory[name]


def _level(world: World, name: str) -> tuple[pd.Series, str]:
    if name in _ITEM_STATE:
        return _ITEM_STATE[name](world), "item"
    if name in ("days_since_contact", "is_opted_out") or _CONTACTS.match(name):
        return _customer_state(world, name), "customer"
    if name in world.items.columns:
        return world.items[name], "item"
    if name in world.customers.columns:
        return world.customers[name], "customer"
    raise KeyError(f"no column {name}")


def _margin_rate(world: World) -> pd.Series:
    if "margin_rate" in world.items.columns:
        return world.items["margin_rate"]
    price, cost = _item_column(world, "price"), _item_column(world, "unit_cost")
    return ((price - cost) / price.where(price > 0)).round(6)


def _days_since_launch(world: World) -> pd.Series:
    name = next((name for name in ("launched_at", "valid_from") if name in world.items.columns), None)
    if name is None:
        raise KeyError("no column valid_from")
    days = (world.as_of - world.items[name]).dt.total_seconds() / 86_400
    return np.floor(days).fillna(NEVER_DAYS)


def _is_on_sale(world: World) -> pd.Series:
    there = [name for name in ("valid_from", "valid_to") if name in world.items.columns]
    if not there:
        raise KeyError("no column valid_from, valid_to")
    on_sale = pd.Series(True, index=world.items.index)
    if "valid_from" in there:
        on_sale &= ~(world.items["valid_from"] > world.as_of)
    if "valid_to" in there:
        on_sale &= ~(world.items["valid_to"] <= world.as_of)
    return on_sale


def _buyers_share(world: World) -> pd.Series:
    if "purchase" not in world.event_types:
        raise KeyError("no events of type purchase")
    bought = world.events[world.events["event_type"] == "purchase"].drop_duplicates(["customer_code", "item_code"])
    n_buyers = np.bincount(bought["item_code"], minlength=len(world.items))
    return pd.Series((n_buyers + 1) / (len(world.customers) + 1)).round(9)


_ITEM_STATE = {"buyers_share": _buyers_share, "margin_rate": _margin_rate, "days_since_launch": _days_since_launch, "is_on_sale": _is_on_sale}


def _item_column(world: World, name: str) -> pd.Series:
    if name not in world.items.columns:
        raise KeyError(f"no column {name}")
    return world.items[name].astype("float64")


def _customer_state(world: World, name: str) -> pd.Series:
    if name == "is_opted_out":
        if "opted_out_at" not in world.customers.columns:
            raise KeyError("no column opted_out_at")
        return world.customers["opted_out_at"] <= world.as_of
    seen = world.events[world.events["event_type"] == "impression"]
    if "impression" not in world.event_types:
        raise KeyError("no events of type impression")
    n = len(world.customers)
    if name == "days_since_contact":
        return pd.Series(_days_since(world, seen["customer_code"].to_numpy(), seen["at"].to_numpy(), n))
    days = int(_CONTACTS.match(name)[1])
    recent = seen[seen["at"] > _naive(world.as_of) - days * _DAY]
    by_day = recent.assign(day=recent["at"].dt.floor("D")).drop_duplicates(["customer_code", "day"])
    return pd.Series(np.bincount(by_day["customer_code"], minlength=n).astype("float64"))


def _pair_state(pairs: Pairs, name: str) -> np.ndarray:
    world = pairs.world
    if why := fault(world, name):
        raise KeyError(why)
    keys, values, empty = world.memory[name] if name in world.memory else _by_pair(world, name)
    wanted = pairs.customer.astype("int64") * len(world.items) + pairs.item
    at = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
    found = values[at] if len(keys) else np.full(len(wanted), empty)
    is_there = keys[at] == wanted if len(keys) else np.zeros(len(wanted), dtype=bool)
    found = np.where(is_there, found, empty)
    return found == 0 if name in ("is_new_to_customer", "is_personal") else found


def _by_pair(world: World, name: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Sorted pair keys with their value, and the value of all other pairs."""
    since, count = _SINCE.match(name), _COUNT.match(name)
    kind = since[1] if since else count[1] if count else "bought"
    events = world.events[world.events["event_type"].isin(_TYPES[kind])]
    if count:
        events = events[events["at"] > _naive(world.as_of) - int(count[2]) * _DAY]
    keys, code = np.unique(events["customer_code"].to_numpy("int64") * len(world.items) + events["item_code"].to_numpy(),
                           return_inverse=True)
    if since:
        made = keys, _days_since(world, code, events["at"].to_numpy(), len(keys)), NEVER_DAYS
    else:
        made = keys, np.bincount(code, minlength=len(keys)).astype("float64"), 0.0
    world.memory[name] = made
    return made


def _for_everyone(candidates: pd.DataFrame) -> list[str]:
    """Sources that offer everyone the same: their score of an item never depends on the customer."""
    scores = candidates[["source", "item_id", "source_score"]].drop_duplicates()
    per_item = scores.groupby(["source", "item_id"], observed=True).size().groupby(level=0, observed=True).max()
    return sorted(map(str, per_item.index[per_item == 1]))


def _personal(world: World, candidates: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, float]:
    """Pairs that such a source found."""
    shared = candidates[candidates["source"].isin(world.memory["everyone"])]
    customer, item = world.code_customers(shared["customer_id"]), world.code_items(shared["item_id"])
    keys = np.unique((customer.astype("int64") * len(world.items) + item)[(customer >= 0) & (item >= 0)])
    return keys, np.ones(len(keys)), 0.0


def _days_since(world: World, code: np.ndarray, at: np.ndarray, n: int) -> np.ndarray:
    last = np.full(n, np.datetime64("1900-01-01", "us"))
    np.maximum.at(last, code, at.astype("datetime64[us]"))
    days = np.floor((_naive(world.as_of) - last) / _DAY)
    return np.minimum(days, NEVER_DAYS)


def _known_events(world: World, events: pd.DataFrame) -> pd.DataFrame:
    wanted = events.loc[
        events["event_type"].isin(["purchase", "impression", "dismiss"]) & (events["occurred_at"] <= world.as_of),
        ["customer_id", "item_id", "event_type", "occurred_at"]]
    coded = pd.DataFrame({
        "customer_code": world.code_customers(wanted["customer_id"]), "item_code": world.code_items(wanted["item_id"]),
        "event_type": wanted["event_type"].to_numpy(),
        "at": wanted["occurred_at"].dt.tz_convert(None).to_numpy("datetime64[us]")})
    return coded[(coded["customer_code"] >= 0) & (coded["item_code"] >= 0)].reset_index(drop=True)


def _codes(known: pd.Series, ids: pd.Series) -> np.ndarray:
    return pd.Index(known).get_indexer(pd.Index(ids))


def _naive(moment: pd.Timestamp) -> np.datetime64:
    return moment.tz_convert(None).to_datetime64().astype("datetime64[us]")
