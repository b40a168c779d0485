"""Columns of the log as tables of the contract; nothing that is truth is put into one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from reclib.sources.storefront import catalogue, luck
from reclib.sources.storefront.config import FIRST_DAY
from reclib.sources.storefront.policies import EMPTY, item_ids
from reclib.sources.storefront.state import NEVER, Log, State
from reclib.sources.storefront.world import World

_DAY = 86_400
_WAIT = {"impression": 0, "dismiss": 40, "click": 20, "view": 60, "add_to_cart": 240, "purchase": 600, "return": 3600,
         "unsubscribe": 0, "complaint": 0}
_TYPES = tuple(_WAIT)
_WITHOUT_SESSION = ("return", "unsubscribe", "complaint")
_CHANNELS = ("app", "web", "push")
_TEXT = pd.array(["a"], dtype="str")


def events(world: World, logs: list[Log], *, first_day: int, n_days: int, slots: pd.Series | None) -> pd.DataFrame:
    """Make the `events` of a span of days, by day, type and customer; `event_id` counts them.

    Args:
        world: the world.
        logs: logs that reach these days; of all but the last only delayed orders and returns are in the span.
        first_day, n_days: the span.
        slots: `decision_id` of the published slots; None where the log's own slot numbers are the ids.
    """
    rows = _Rows(world, logs, first_day=first_day, n_days=n_days, only_last=slots is not None)
    served = {} if slots is None else {"served_ms": rows.get("served")}
    return pd.DataFrame({
        "event_id": _first_id(world, first_day) + np.arange(rows.n),
        "occurred_at": moments(rows.get("day"), rows.get("second")),
        "customer_id": rows.get("customer").astype(np.int64) + 1,
        "item_id": words(item_ids(world.config.n_items), rows.get("item")),
        "event_type": words(_TYPES, rows.get("type")),
        "value": rows.get("cents") / 100,
        "quantity": rows.get("quantity").astype(float),
        "channel": words(_CHANNELS, rows.get("channel")),
        "session_id": _maybe(rows.get("session")),
        "decision_id": _decision_ids(rows.get("slot"), slots),
        **served,
    }, copy=False)


def items(world: World, state: State, *, day: int) -> pd.DataFrame:
    """Make `items` as they stand on the evening of a day; `price` is after promotion."""
    goods, n = world.items, world.config.n_items
    price, is_promo = world.prices(day)
    return pd.DataFrame({
        "item_id": item_ids(n), "title": titles(world),
        "category": words([d.name for d in catalogue.DEPARTMENTS], goods.category),
        "brand": words(catalogue.BRANDS, goods.brand), "supplier": words(catalogue.SUPPLIERS, goods.supplier),
        "price": price, "unit_cost": goods.unit_cost,
        "stock_on_hand": (state.stock if world.config.stock_on else np.full(n, 1_000_000)).astype(np.int64),
        "valid_from": moments(np.maximum(goods.launch_day, -365), np.zeros(n, dtype=np.int64)),
        "valid_to": _when(goods.retire_day < 100_000, goods.retire_day),
        "list_price": goods.list_price, "is_own_brand": goods.brand == 0, "is_age_restricted": goods.is_restricted,
        "is_storable": goods.is_storable, "is_on_promotion": is_promo,
    })


def customers(world: World, state: State, *, day: int) -> pd.DataFrame:
    """Make `customers` as they stand on the evening of a day."""
    people, n = world.customers, world.config.n_customers
    return pd.DataFrame({
        "customer_id": np.arange(1, n + 1), "joined_at": moments(people.joined_day, np.full(n, 43_200)),
        "segment": words(catalogue.SEGMENTS, people.segment), "region": words(catalogue.REGIONS, people.region),
        "has_consent": people.has_consent, "opted_out_at": _when(state.opt_out_day <= day, state.opt_out_day),
        "is_adult": people.is_adult, "has_push": people.has_push,
    })


def logged_deliveries(world: World, log: Log, *, policy: str) -> pd.DataFrame:
    """Make `logged_deliveries`: every slot shown, with the exact probability that the policy shows it there, and anywhere."""
    rows = log.columns("impression")
    n = len(rows["slot"])
    return pd.DataFrame({
        "decision_id": rows["slot"].astype(np.int64), "delivered_at": moments(rows["day"], rows["clock"]),
        "item_id": words(item_ids(world.config.n_items), rows["item"]), "position": rows["position"],
        "policy": pd.Categorical.from_codes(np.zeros(n, dtype=np.int8), [policy]), "p_shown": rows["p_shown"],
        "p_in_slate": rows["p_in_slate"],
        "customer_id": rows["customer"].astype(np.int64) + 1,
        "channel": words(_CHANNELS, np.where(world.customers.uses_app[rows["customer"]], 0, 1)),
        "n_eligible": rows["n_eligible"], "session_id": _session_id(world, rows),
    })


def logged_outcomes(world: World, log: Log, *, n_days: int) -> pd.DataFrame:
    """Make `logged_outcomes`: the answers to those slots up to the last day; `value` is money, else a count of one."""
    answers = tuple(name for name in _TYPES if name not in ("impression", "view"))
    rows = _Rows(world, [log], first_day=0, n_days=n_days, only_last=False, types=answers)
    slot, kind = rows.get("slot"), rows.get("type")
    kept = np.flatnonzero(slot != EMPTY)
    kept = kept[np.lexsort((kind[kept], slot[kept]))]
    is_money = np.isin(kind[kept], [_TYPES.index("purchase"), _TYPES.index("return")])
    return pd.DataFrame({
        "decision_id": slot[kept].astype(np.int64), "outcome_type": words(_TYPES, kind[kept]),
        "occurred_at": moments(rows.get("day")[kept], rows.get("second")[kept]),
        "value": np.where(is_money, rows.get("cents")[kept] / 100, 1.0),
    })


def titles(world: World) -> np.ndarray:
    """Name the items for people, such as "Golden oat biscuits 400 g"; no two items share a name."""
    given: set[str] = set()
    found = []
    for number, category in enumerate(world.items.category):
        department = catalogue.DEPARTMENTS[category]
        noun = department.nouns[number % len(department.nouns)]
        size = department.sizes[(number // 3) % len(department.sizes)]
        name = f"{noun[0].upper()}{noun[1:]} {size}"
        tries = 0
        while name in given:
            flavour = catalogue.FLAVOURS[(number + tries) % len(catalogue.FLAVOURS)]
            tries += 1
            serial = f" No. {tries // len(catalogue.FLAVOURS) + 1}" if tries > len(catalogue.FLAVOURS) else ""
            name = f"{flavour} {noun} {size}{serial}"
        given.add(name)
        found.append(name)
    return np.array(found)


def words(labels: object, codes: np.ndarray) -> pd.Series:
    """Spell codes out as a text column, without a Python loop over rows."""
    taken = pa.array([str(label) for label in labels], pa.large_string()).take(pa.array(np.asarray(codes, dtype=np.int32)))
    return pd.Series(type(_TEXT)(taken, dtype=_TEXT.dtype))


def moments(day: np.ndarray, second: np.ndarray) -> pd.Series:
    """Turn day numbers and seconds of the day into times, UTC."""
    start = np.datetime64(FIRST_DAY, "us")
    micros = (day.astype(np.int64) * _DAY + second.astype(np.int64)) * 1_000_000
    return pd.Series(start + micros.astype("timedelta64[us]")).dt.tz_localize("UTC")


class _Rows:
    """The rows of all event types of some logs, by day and type; each column is only put together when asked for."""

    def __init__(self, world: World, logs: list[Log], *, first_day: int, n_days: int, only_last: bool,
                 types: tuple[str, ...] = _TYPES) -> None:
        self.world = world
        self.parts = [(log, name, only_last and log is not logs[-1]) for log in logs for name in types]
        day = self._joined("day")
        inside = np.flatnonzero((day >= first_day) & (day < first_day + n_days))
        self.order = inside[np.argsort(day[inside], kind="stable")]
        self.n = len(self.order)

    def get(self, column: str) -> np.ndarray:
        """A column, in order."""
        return self._joined(column)[self.order]

    def _joined(self, column: str) -> np.ndarray:
        return np.concatenate([_column(self.world, log, name, column, is_past) for log, name, is_past in self.parts])


def _column(world: World, log: Log, name: str, column: str, is_past: bool) -> np.ndarray:
    """One column of one event type of a log; slots of the past answer nothing that is published now."""
    rows = _typed(log, name)
    n = len(rows["customer"])
    if column in ("customer", "item"):
        return rows[column]
    if column == "type":
        return np.full(n, _TYPES.index(name), dtype=np.int8)
    if column == "day":
        return rows[{"purchase": "order_day", "return": "return_day"}.get(name, "day")]
    if column == "slot":
        return np.full(n, EMPTY, dtype=np.int32) if is_past or "slot" not in rows else rows["slot"]
    if column == "second":
        return rows["clock"] + _WAIT[name] + 5 * rows.get("position", np.zeros(n, dtype=np.int32))
    if column == "session":
        return _session_id(world, rows) if name not in _WITHOUT_SESSION else np.full(n, EMPTY)
    if column == "channel":
        return _channel(world, rows, name)
    if column == "served":
        return _served(world, rows) if name == "impression" else np.full(n, np.nan)
    if column == "quantity":
        return rows.get("quantity", np.zeros(n, dtype=np.int32))
    return np.round(rows["price"] * rows["quantity"] * 100) if "price" in rows else np.zeros(n)


def _typed(log: Log, name: str) -> dict[str, np.ndarray]:
    rows = log.columns("line" if name in ("purchase", "return") else name)
    if not rows:
        names = ("customer", "day", "clock", "item", "slot", "order_day", "return_day")
        return {key: np.zeros(0, dtype=np.int32) for key in names}
    return {key: column[rows["is_returned"]] for key, column in rows.items()} if name == "return" else rows


def _session_id(world: World, rows: dict[str, np.ndarray]) -> np.ndarray:
    return rows["day"].astype(np.int64) * world.config.n_customers + rows["customer"] + 1


def _served(world: World, rows: dict[str, np.ndarray]) -> np.ndarray:
    """Milliseconds until the page of a visit was there: log-normal, whoever made the slate, since it was made the night before."""
    draws = luck.spread(luck.rows(world.config.seed, "serve", 0, rows["customer"]), rows["day"])
    return np.round(80 * np.exp(0.5 * luck.normal(draws)))


def _channel(world: World, rows: dict[str, np.ndarray], name: str) -> np.ndarray:
    """Those who left without a slate answered a push; the others came by app or web."""
    came_by = np.where(world.customers.uses_app[rows["customer"]], 0, 1).astype(np.int8)
    if name not in ("unsubscribe", "complaint"):
        return came_by
    return np.where(rows["slot"] == EMPTY, 2, came_by).astype(np.int8)


def _decision_ids(slot: np.ndarray, slots: pd.Series | None) -> object:
    if slots is None:
        return _maybe(slot)
    ids = pd.array(slots)
    if pd.api.types.is_integer_dtype(ids.dtype):
        ids = ids.astype("Int64")
    return ids.take(slot, allow_fill=True)


def _maybe(numbers: np.ndarray) -> pd.arrays.IntegerArray:
    return pd.arrays.IntegerArray(np.where(numbers == EMPTY, 0, numbers).astype(np.int64), numbers == EMPTY)


def _when(is_known: np.ndarray, day: np.ndarray) -> pd.Series:
    return moments(np.where(is_known, np.minimum(day, NEVER), 0), np.zeros(len(day), dtype=np.int64)).where(is_known)


def _first_id(world: World, first_day: int) -> int:
    """Events of later days start at a higher number, so that history and answers can be put together."""
    return 1 if first_day == 0 else 1 + first_day * world.config.n_customers * 64
