"""The past as arrays: events up to `as_of`, ids as codes, times as ages in days.

Everything that a feature may see passes through `read_log`, the only place where events are cut in time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

INTEREST = ("view", "click", "add_to_cart")
REFUSAL = ("dismiss", "return")
RATING_LIKED = 4.0
_PLACES = ("store_id", "store", "channel")
_RESPONSES = ("purchase", "rating", "click")


@dataclass(frozen=True)
class Log:
    """Events of one past, newest last.

    Attributes:
        customers, items: sorted ids; codes index them.
        customer, item: codes of each event.
        age: days before `as_of`, never negative.
        value, quantity: money (or rating) and units of each event; missing is NaN.
        is_response, is_interest, is_refusal, is_shown: what each event is.
        place: code of the shop or channel of each event, -1 where not known.
        n_places: how many there are.
    """

    customers: pd.Index
    items: pd.Index
    customer: np.ndarray
    item: np.ndarray
    age: np.ndarray
    value: np.ndarray
    quantity: np.ndarray
    is_response: np.ndarray
    is_interest: np.ndarray
    is_refusal: np.ndarray
    is_shown: np.ndarray
    place: np.ndarray
    n_places: int

    def take(self, mask: np.ndarray) -> Log:
        """Keep some events."""
        kept = {name: getattr(self, name)[mask] for name in _PER_EVENT}
        return Log(customers=self.customers, items=self.items, n_places=self.n_places, **kept)

    def by_pair(self) -> ByPair:
        """Put the events of each (customer, item) together; oldest first, as they come."""
        key, order = _sorted(self.customer * np.int64(len(self.items)) + self.item)
        start = np.flatnonzero(np.diff(key, prepend=-1))
        return ByPair(key[start], np.diff(start, append=len(key)), order)


@dataclass(frozen=True)
class ByPair:
    """Events sorted once by pair.

    Attributes:
        key: customer code x number of items + item code of each pair, ascending.
        n: how many events it has.
        order: places of the events of the first pair, the second and so on, oldest first within a pair.
    """

    key: np.ndarray
    n: np.ndarray
    order: np.ndarray

    def first(self) -> np.ndarray:
        """Place of the oldest event of each pair."""
        return self.order[np.cumsum(self.n) - self.n]


_PER_EVENT = ("customer", "item", "age", "value", "quantity", "is_response", "is_interest", "is_refusal",
              "is_shown", "place")


def moment(as_of: str | pd.Timestamp) -> pd.Timestamp:
    """Read a time as UTC; a text that is a bare date means its last second, as everywhere in the project."""
    stamp = pd.Timestamp(as_of)
    if pd.isna(stamp):
        raise ValueError(f"as_of == {as_of!r}, must be a time such as '2024-06-30'.")
    if isinstance(as_of, str) and len(as_of.strip()) <= len("2024-06-30"):
        stamp = stamp.normalize() + pd.Timedelta(days=1) - pd.Timedelta(seconds=1)
    return stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp.tz_convert("UTC")


def response_type(events: pd.DataFrame) -> str:
    """The strongest answer that the source records: purchase, else rating, else click.

    Raises:
        ValueError: the events hold none of the three.
    """
    there = set(events["event_type"].unique())
    for kind in _RESPONSES:
        if kind in there:
            return kind
    raise ValueError(f"events: no purchase, rating or click to learn from; found: {sorted(there)}.")


def is_response(events: pd.DataFrame, kind: str) -> np.ndarray:
    """Mark the events that count as a response: of this kind, and for ratings at least 4."""
    marked = (events["event_type"] == kind).to_numpy()
    if kind == "rating":
        marked = marked & (events["value"].to_numpy(dtype="float64", na_value=np.nan) >= RATING_LIKED)
    return marked


def read_log(events: pd.DataFrame, items: pd.DataFrame, candidates: pd.DataFrame, *, as_of: str | pd.Timestamp,
             response: str) -> Log:
    """Turn events up to and with `as_of` into arrays; nothing later is looked at."""
    end = moment(as_of)
    columns = [name for name in ("occurred_at", "customer_id", "item_id", "event_type", "value", "quantity", *_PLACES)
               if name in events.columns]
    past = events.loc[(events["occurred_at"] <= end).to_numpy(), columns]
    if not past["occurred_at"].is_monotonic_increasing:
        past = past.iloc[np.argsort(past["occurred_at"].to_numpy("datetime64[us]"), kind="stable")]
    customers = _ids(past["customer_id"], candidates["customer_id"])
    catalogue = _ids(past["item_id"], candidates["item_id"], items["item_id"])
    kinds = past["event_type"]
    place, n_places = _places(past)
    return Log(
        customers=customers, items=catalogue,
        customer=_codes(past["customer_id"], customers), item=_codes(past["item_id"], catalogue),
        age=(end - past["occurred_at"]).to_numpy("timedelta64[us]").astype("float64") / 86_400e6,
        value=past["value"].to_numpy(dtype="float64", na_value=np.nan),
        quantity=_column(past, "quantity"),
        is_response=is_response(past, response),
        is_interest=(kinds.isin(INTEREST) | ((kinds == "rating") & (response == "rating"))).to_numpy(),
        is_refusal=kinds.isin(REFUSAL).to_numpy(), is_shown=(kinds == "impression").to_numpy(),
        place=place, n_places=n_places,
    )


def _sorted(key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keys in order, and the place of each, stable; with its place packed behind it a key sorts twice as fast."""
    bits = len(key).bit_length()
    if key.max(initial=0) >= 1 << (63 - bits):
        order = np.argsort(key, kind="stable")
        return key[order], order
    packed = np.sort((key << bits) + np.arange(len(key)))
    return packed >> bits, packed & ((1 << bits) - 1)


def _ids(*columns: pd.Series) -> pd.Index:
    return pd.Index(pd.unique(pd.concat([pd.Series(column.unique()) for column in columns]))).sort_values()


def _codes(column: pd.Series, index: pd.Index) -> np.ndarray:
    codes, uniques = pd.factorize(column)
    return index.get_indexer(uniques)[codes]


def _column(events: pd.DataFrame, name: str) -> np.ndarray:
    if name not in events.columns:
        return np.full(len(events), np.nan)
    return events[name].to_numpy(dtype="float64", na_value=np.nan)


def _places(events: pd.DataFrame) -> tuple[np.ndarray, int]:
    name = next((name for name in _PLACES if name in events.columns), None)
    if name is None:
        return np.full(len(events), -1), 0
    codes, uniques = pd.factorize(events[name])
    return codes, len(uniques)
