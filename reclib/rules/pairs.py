"""What rules may know: the world as of a moment, and its pairs of a customer and an item.

Fields are asked for by name; `fields` says which there are and how they are worked out.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd

from reclib.allocation.problem import Problem, from_pairs
from reclib.rules import fields
from reclib.rules.conditions import utc
from reclib.rules.fields import LISTED, distinct

_KINDS = ["purchase", "impression", "dismiss"]
HOME = "home"


@dataclass(frozen=True)
class World:
    """What rules may know, as of a moment: items, customers, events.

    Attributes:
        items: the `items` table, one row an item; its row number is the item's code.
        customers: the `customers` table, one row a customer that is decided for; its row number is the code.
        as_of: nothing after it is read.
        delivered_at: when the slates reach customers.
        channel: how they do.
        events: events up to `as_of` with `item_code`, `customer_code`, `event_type`, `at`.
        memory: fields worked out so far.
        event_types: types of event that the source logs; narrower than `events` where one customer is looked at.
    """

    items: pd.DataFrame
    customers: pd.DataFrame
    as_of: pd.Timestamp
    delivered_at: pd.Timestamp
    channel: str
    events: pd.DataFrame
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

    @property
    def key(self) -> np.ndarray:
        """One number a pair."""
        return self.customer.astype("int64") * len(self.world.items) + self.item

    @cached_property
    def frame(self) -> Problem:
        """Where each pair stands in a table of customers x candidates, for slates without any limit."""
        return from_pairs(self.customer, self.item, np.zeros(len(self)), k=1, n_customers=len(self.world.customers),
                          n_items=len(self.world.items))

    def column(self, name: str) -> np.ndarray | pd.Series:
        """Values of a field, one a pair.

        Raises:
            KeyError: there is no such field; the sentence says why.
        """
        if fields.is_pair_level(name):
            return fields.pair_state(self, name)
        values, codes = fields.level(self.world, name)
        return values.take(self.item if codes == "item" else self.customer).reset_index(drop=True)

    def take(self, rows: np.ndarray) -> Pairs:
        """The same for some of the pairs."""
        return replace(self, customer=self.customer[rows], item=self.item[rows])


def build(items: pd.DataFrame, customers: pd.DataFrame | None, events: pd.DataFrame, *, as_of: str | pd.Timestamp,
          customer_ids: pd.Series, item_ids: pd.Series | None = None, candidates: pd.DataFrame | None = None,
          everyone: list[str] | None = None, event_types: list[str] | None = None, channel: str = HOME,
          delivered_at: str | pd.Timestamp | None = None) -> World:
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
        channel: how the slates reach customers.
        delivered_at: when they do; at `as_of` where missing.
    """
    moment = utc(as_of)
    ids = pd.Series(pd.unique(customer_ids)).sort_values(ignore_index=True).rename("customer_id")
    people = ids.to_frame()
    if customers is not None:
        people = people.merge(customers.assign(**{LISTED: True}), on="customer_id", how="left", validate="one_to_one")
    goods = items.assign(**{LISTED: True})
    if item_ids is not None:
        strangers = pd.Series(pd.unique(item_ids)).rename("item_id")
        strangers = strangers[~strangers.isin(items["item_id"])]
        goods = goods if not len(strangers) else pd.concat([goods, strangers.to_frame()], ignore_index=True)
    goods = goods.sort_values("item_id", ignore_index=True)
    world = World(goods, people, moment, moment if delivered_at is None else utc(delivered_at), channel, pd.DataFrame())
    known = _known_events(world, events)
    types = event_types if event_types is not None else sorted(known["event_type"].astype("str").unique())
    world = replace(world, events=known, event_types=tuple(types))
    if candidates is not None:
        world.memory["everyone"] = _for_everyone(candidates) if everyone is None else list(everyone)
        world.memory["is_personal"] = _personal(world, candidates)
    return world


def _for_everyone(candidates: pd.DataFrame) -> list[str]:
    """Sources that offer everyone the same: their score of an item never depends on the customer."""
    scores = candidates[["source", "item_id", "source_score"]].drop_duplicates()
    per_item = scores.groupby(["source", "item_id"], observed=True).size().groupby(level=0, observed=True).max()
    return sorted(map(str, per_item.index[per_item == 1]))


def _personal(world: World, candidates: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, float]:
    """Pairs that such a source found."""
    shared = candidates[candidates["source"].isin(world.memory["everyone"]).to_numpy()]
    customer, item = world.code_customers(shared["customer_id"]), world.code_items(shared["item_id"])
    keys = distinct(Pairs(world, customer, item).key[(customer >= 0) & (item >= 0)])
    return keys, np.ones(len(keys)), 0.0


def _known_events(world: World, events: pd.DataFrame) -> pd.DataFrame:
    wanted = events.loc[(events["event_type"].isin(_KINDS) & (events["occurred_at"] <= world.as_of)).to_numpy(),
                        ["customer_id", "item_id", "event_type", "occurred_at"]]
    coded = pd.DataFrame({
        "customer_code": world.code_customers(wanted["customer_id"]), "item_code": world.code_items(wanted["item_id"]),
        "event_type": wanted["event_type"].to_numpy(),
        "at": wanted["occurred_at"].dt.tz_convert(None).to_numpy("datetime64[us]")})
    return coded[(coded["customer_code"] >= 0) & (coded["item_code"] >= 0)].reset_index(drop=True)


def _codes(known: pd.Series, ids: pd.Series) -> np.ndarray:
    return pd.Index(known).get_indexer(pd.Index(ids))
