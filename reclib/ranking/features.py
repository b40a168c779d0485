"""What was known about each pair on the day: one row a (customer, item), named numbers, point in time.

Names say where a number comes from: `pair_` the customer's own history with the item, `taste_` the customer's share of
a category, brand or supplier, `source_` what the candidate sources said, `item_` demand for the item, `price_` what it
costs and how that compares, `customer_` the customer. A missing number means "not applicable" (never bought, not
proposed by this source), and the models treat it as such.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from reclib.ranking.log import ByPair, Log, moment, read_log, response_type

HALF_LIVES = (7, 30, 90, 180)
DEMAND_HALF_LIVES = (7, 30, 90)
RARE = 1e-5
KEYS = ["customer_id", "item_id"]
GROUPS = ("pair", "taste", "source", "item", "price", "customer")
NOT_A_SOURCE = "offered"
MAX_ATTRIBUTES = 4
USUAL_PRICE_DAYS, RECENT_DAYS = 182, 28
DISCOUNT = 0.95
OLD_DAYS = 56


def features(events: pd.DataFrame, items: pd.DataFrame, customers: pd.DataFrame | None, candidates: pd.DataFrame, *,
             as_of: str | pd.Timestamp, response: str | None = None) -> pd.DataFrame:
    """Describe every candidate pair by what was known at `as_of`.

    Args:
        events: table `events`; only rows up to and with `as_of` are read.
        items: table `items`; its price is taken as undated, its text columns as attributes.
        customers: table `customers` or None; `joined_at` gives the age of the relation.
        candidates: table `candidates` as generated at `as_of`; rows of source `offered` add pairs, but say nothing.
        as_of: the last moment that may be seen.
        response: event type that counts as a response; the strongest in `events` where not given.

    Returns:
        One row a (customer_id, item_id), sorted, with `is_new` (no response to the item so far),
        `is_known_customer`, `is_known_item` and the features as float32.
    """
    log = read_log(events, items, candidates, as_of=as_of, response=response or response_type(events))
    pairs, columns = _pairs(candidates, log)
    customer, item = pairs["customer"].to_numpy(), pairs["item"].to_numpy()
    bought = log.take(log.is_response)
    together = bought.by_pair()
    columns |= _pair_signals(log, bought, together, customer, item)
    columns |= _item_signals(log, bought, together, customer, item)
    columns |= _customer_signals(log, bought, together, customer, customers, moment(as_of))
    columns |= _prices(bought, items, customer, item)
    for name in attributes(items):
        columns |= _taste(bought, items, name, customer, item)
    return _frame(log, pairs, columns)


def attributes(items: pd.DataFrame) -> list[str]:
    """Text columns of `items` that group it: the contract's own first, then others, at most four."""
    named = [name for name in ("category", "brand", "supplier") if name in items.columns]
    others = [name for name in items.columns
              if name not in {"item_id", "title", *named} and isinstance(items[name].dtype, pd.StringDtype)]
    return [name for name in named + sorted(others)
            if 2 <= items[name].nunique() <= max(2, len(items) // 2)][:MAX_ATTRIBUTES]


def column(frame: pd.DataFrame, name: str) -> np.ndarray:
    """A feature as float64; all missing where the frame lacks it (a source that offered nothing that day)."""
    return frame[name].to_numpy(dtype="float64") if name in frame.columns else np.full(len(frame), np.nan)


def names(frame: pd.DataFrame, group: str | None = None) -> list[str]:
    """Feature columns of a frame, of one group where it is named."""
    groups = GROUPS if group is None else (group,)
    return [name for name in frame.columns if name.split("_")[0] in groups and name not in KEYS]


def leaks(make: Callable[[pd.DataFrame], pd.DataFrame], events: pd.DataFrame, *,
          as_of: str | pd.Timestamp) -> pd.DataFrame:
    """Catch features that see the future: make them again with the future removed, then with it poisoned.

    Args:
        make: function from events to a frame keyed by (customer_id, item_id).
        events: table `events`, with rows after `as_of`.
        as_of: the last moment that may be seen.

    Returns:
        One row a feature: feature, n_changed_removed, n_changed_poisoned, is_leaking.
    """
    is_past = (events["occurred_at"] <= moment(as_of)).to_numpy()
    seen = make(events)
    removed, poisoned = make(events[is_past]), make(_poisoned(events, is_past))
    rows = []
    for name in [name for name in seen.columns if name not in KEYS]:
        changed = [_n_changed(seen, other, name) for other in (removed, poisoned)]
        rows.append({"feature": name, "n_changed_removed": changed[0], "n_changed_poisoned": changed[1],
                     "is_leaking": max(changed) > 0})
    return pd.DataFrame(rows, columns=["feature", "n_changed_removed", "n_changed_poisoned", "is_leaking"])


def leak_sentence(found: pd.DataFrame) -> str:
    """Say whether any feature saw the future, and which."""
    bad = found.loc[found["is_leaking"], "feature"].tolist()
    if bad:
        return f"{len(bad)} of {len(found)} features change when the future changes: {', '.join(bad[:5])}."
    return f"None of {len(found)} features changes when the events after the cut are removed or poisoned."


def _poisoned(events: pd.DataFrame, is_past: np.ndarray) -> pd.DataFrame:
    future = events[~is_past]
    turned = future.assign(item_id=future["item_id"].to_numpy()[::-1], value=future["value"] * -7 + 1_000)
    return pd.concat([turned, events[is_past], turned])


def _n_changed(one: pd.DataFrame, other: pd.DataFrame, name: str) -> int:
    if len(one) != len(other) or name not in other.columns:
        return len(one)
    left, right = one[name].to_numpy(dtype="float64"), other[name].to_numpy(dtype="float64")
    return int((~((left == right) | (np.isnan(left) & np.isnan(right)))).sum())


def _pairs(candidates: pd.DataFrame, log: Log) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Unique pairs as codes, and the rank and score of every source, wide."""
    customer = log.customers.get_indexer(candidates["customer_id"])
    item = log.items.get_indexer(candidates["item_id"])
    keys, where = np.unique(customer * np.int64(len(log.items)) + item, return_inverse=True)
    pairs = pd.DataFrame({"customer": keys // len(log.items), "item": keys % len(log.items)})
    for flag in ("is_known_customer", "is_known_item"):
        pairs[flag] = np.bincount(where, weights=candidates[flag].to_numpy(dtype="float64"), minlength=len(keys)) > 0
    rank = candidates["source_rank"].to_numpy(dtype="float64")
    score = candidates["source_score"].to_numpy(dtype="float64")
    codes, sources = pd.factorize(candidates["source"], sort=True)
    columns, best = {}, np.full(len(keys), np.nan)
    is_source = codes != sources.get_indexer([NOT_A_SOURCE])[0]
    for code, name in enumerate(sources):
        rows = (codes == code) & is_source
        if not rows.any():
            continue
        columns[f"source_rank_{name}"] = _placed(where[rows], np.log(rank[rows]), len(keys))
        columns[f"source_score_{name}"] = _placed(where[rows], score[rows], len(keys))
        np.fmin(best, columns[f"source_rank_{name}"], out=best)
    columns["source_best"] = best
    columns["source_votes"] = np.bincount(where, weights=is_source * 60 / (60 + rank), minlength=len(keys))
    return pairs, columns


def _placed(where: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    out = np.full(size, np.nan)
    out[where] = values
    return out


def _count(index: np.ndarray, size: int, weights: np.ndarray | None = None) -> np.ndarray:
    return np.bincount(index, weights=weights, minlength=size).astype("float64")


def _newest(index: np.ndarray, age: np.ndarray, size: int) -> np.ndarray:
    """Age of the newest event of each; events are ordered oldest first, so that the last one written stays."""
    out = np.full(size, np.nan)
    out[index] = age
    return out


def _oldest(index: np.ndarray, age: np.ndarray, size: int) -> np.ndarray:
    return _newest(index[::-1], age[::-1], size)


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    return np.divide(top, bottom, out=np.full(np.broadcast(top, bottom).shape, np.nan), where=bottom > 0)


def _decay(age: np.ndarray, half_life: float) -> np.ndarray:
    return np.exp2(-age / half_life)


def _rate(count: np.ndarray, log: Log) -> np.ndarray:
    """Logarithm of a count a day of history: counts grow with the history, and windows have histories of their own."""
    return np.log((count + 1) / (log.age.max(initial=0) + 1))


def _match(keys: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Position of each key among sorted unique `wanted`, and whether it is there; fast where the keys are sorted too."""
    at = np.minimum(np.searchsorted(wanted, keys), len(wanted) - 1)
    return at, wanted[at] == keys


def _distinct(keys: np.ndarray) -> np.ndarray:
    """The different keys, sorted; numpy's own `unique` hashes whole numbers, which takes ten times as long."""
    ordered = np.sort(keys)
    return ordered[np.diff(ordered, prepend=-1) != 0]


def _pair_signals(log: Log, bought: Log, together: ByPair, customer: np.ndarray, item: np.ndarray) -> dict[str, np.ndarray]:
    n_items, n = len(log.items), len(customer)
    keys = customer * np.int64(n_items) + item
    place, there = _match(together.key, keys)
    at, age = np.repeat(place[there], together.n[there]), bought.age[together.order[np.repeat(there, together.n)]]
    last, first = _newest(at, age, n), _oldest(at, age, n)
    is_first_of_day = (np.diff(np.floor(age), prepend=-1) != 0) | (np.diff(at, prepend=-1) != 0)
    n_days = _count(at[is_first_of_day], n)
    gap = _ratio(first - last, np.maximum(n_days - 1, 0))
    columns = {
        "pair_n": np.log1p(_count(at, n)), "pair_n_days": np.log1p(n_days),
        "pair_days_since": np.log1p(last), "pair_gap": np.log1p(gap), "pair_due": np.minimum(_ratio(last, gap), 6),
    }
    total = _count(bought.customer, len(log.customers), _decay(bought.age, 90))
    for half_life in HALF_LIVES:
        decayed = _count(at, n, _decay(age, half_life))
        columns[f"pair_recent_{half_life}"] = np.where(n_days > 0, np.log(decayed + 1e-3), np.nan)
    columns["pair_share"] = np.where(n_days > 0, _ratio(_count(at, n, _decay(age, 90)), total[customer]), np.nan)
    for name, mask in (("interest", log.is_interest), ("shown", log.is_shown), ("refused", log.is_refusal)):
        if mask.any():
            columns |= _weaker(name, log.take(mask), keys, n_items)
    return columns | {"is_new": n_days == 0}


def _weaker(name: str, events: Log, keys: np.ndarray, n_items: int) -> dict[str, np.ndarray]:
    at, there = _match(events.customer * np.int64(n_items) + events.item, keys)
    at, age = at[there], events.age[there]
    return {
        f"pair_n_{name}": np.log1p(_count(at, len(keys))),
        f"pair_recent_{name}": np.log1p(_count(at, len(keys), _decay(age, 14))),
        f"pair_days_since_{name}": np.log1p(_newest(at, age, len(keys))),
    }


def _item_signals(log: Log, bought: Log, together: ByPair, customer: np.ndarray, item: np.ndarray) -> dict[str, np.ndarray]:
    n = len(log.items)
    week, month = (_count(bought.item[bought.age <= days], n) for days in (7, 28))
    n_buyers, n_loyal = _count(together.key % n, n), _count(together.key[together.n > 1] % n, n)
    per_item = {
        "item_rate": _rate(_count(bought.item, n), log), "item_n_28": np.log1p(month), "item_n_7": np.log1p(week),
        "item_trend": np.log((4 * week + 4) / (month + 4)), "item_rate_buyers": _rate(n_buyers, log),
        "item_loyalty": (n_loyal + 1) / (n_buyers + 10),
        "item_age": np.log((_oldest(log.item, log.age, n) + 1) / (log.age.max(initial=0) + 1)),
    }
    for half_life in DEMAND_HALF_LIVES:
        weight = _decay(bought.age, half_life)
        per_item[f"item_share_{half_life}"] = np.log(_count(bought.item, n, weight) / max(weight.sum(), 1e-12) + RARE)
    if log.is_shown.any():
        shown = _count(log.item[log.is_shown], n)
        per_item["item_response_rate"] = np.log((_count(bought.item, n) + 1) / (shown + 50))
    rated = log.is_interest & np.isfinite(log.value) & (log.value > 0)
    if rated.any():
        mean = log.value[rated].mean()
        weight = _count(log.item[rated], n)
        per_item["item_rating"] = (_count(log.item[rated], n, log.value[rated]) + 10 * mean) / (weight + 10)
    columns = {name: values[item] for name, values in per_item.items()}
    if log.n_places > 1:
        columns["item_n_own_place"] = _own_place(bought, customer, item)
    return columns


def _own_place(bought: Log, customer: np.ndarray, item: np.ndarray) -> np.ndarray:
    """Responses to the item in the last 28 days in the place where the customer mostly responds."""
    known = bought.place >= 0
    counts = np.zeros((len(bought.customers), bought.n_places), dtype=np.int32)
    np.add.at(counts, (bought.customer[known], bought.place[known]), 1)
    own = counts.argmax(axis=1)
    recent = known & (bought.age <= RECENT_DAYS)
    n_items = np.int64(len(bought.items))
    keys, n = np.unique(bought.place[recent] * n_items + bought.item[recent], return_counts=True)
    if not len(keys):
        return np.zeros(len(customer))
    at, there = _match(own[customer] * n_items + item, keys)
    return np.log1p(np.where(there & (counts.max(axis=1)[customer] > 0), n[at], 0))


def _customer_signals(log: Log, bought: Log, together: ByPair, customer: np.ndarray, customers: pd.DataFrame | None,
                      end: pd.Timestamp) -> dict[str, np.ndarray]:
    n = len(log.customers)
    total = _count(bought.customer, n)
    first_times = together.first()
    recent_first = first_times[bought.age[first_times] <= RECENT_DAYS]
    recent = _count(bought.customer[bought.age <= RECENT_DAYS], n)
    day = _distinct(bought.customer * np.int64(1 << 20) + np.floor(bought.age).astype(np.int64))
    n_days = _count(day >> 20, n)
    per_customer = {
        "customer_rate": _rate(total, log), "customer_n_28": np.log1p(recent), "customer_rate_days": _rate(n_days, log),
        "customer_days_since": np.log1p(_newest(bought.customer, bought.age, n)),
        "customer_days_active": np.log1p(_newest(log.customer, log.age, n)),
        "customer_variety": _ratio(_count(bought.customer[first_times], n), total),
        "customer_curiosity": (_count(bought.customer[recent_first], n) + 1) / (recent + 4),
        "customer_value": np.log1p(np.maximum(_ratio(_count(bought.customer, n, np.nan_to_num(bought.value)), total), 0)),
    }
    if customers is not None and "joined_at" in customers.columns:
        joined = customers.set_index("customer_id")["joined_at"].reindex(log.customers)
        days = ((end - joined).dt.total_seconds() / 86_400).to_numpy(dtype="float64", na_value=np.nan)
        per_customer["customer_tenure"] = np.log1p(np.where(days >= 0, np.minimum(days, OLD_DAYS), np.nan))
    return {name: values[customer] for name, values in per_customer.items()}


def _prices(bought: Log, items: pd.DataFrame, customer: np.ndarray, item: np.ndarray) -> dict[str, np.ndarray]:
    """Price level, price against what the customer usually pays, and how much the item and the customer are discounted."""
    listed = _listed(items, bought.items)
    unit = bought.value / np.where(bought.quantity > 0, bought.quantity, 1)
    paid = np.isfinite(unit) & (unit > 0)
    if not np.isfinite(listed).any() or not paid.any():
        return {"price_level": np.log(listed)[item]} if np.isfinite(listed).any() else {}
    n = len(bought.items)
    year = paid & (bought.age <= USUAL_PRICE_DAYS)
    usual = _ratio(_count(bought.item[year], n, unit[year]), _count(bought.item[year], n))
    month = paid & (bought.age <= RECENT_DAYS)
    now = _ratio(_count(bought.item[month], n, unit[month]), _count(bought.item[month], n))
    level = np.where(np.isfinite(listed), listed, usual)
    rows = paid & (level[bought.item] > 0)
    who, n_customers = bought.customer[rows], len(bought.customers)
    habit = _ratio(_count(who, n_customers, np.log(level[bought.item[rows]])), _count(who, n_customers))
    cheap = paid & (unit < DISCOUNT * usual[bought.item])
    share = (_count(bought.customer[cheap], n_customers) + 1) / (_count(bought.customer[paid], n_customers) + 5)
    with np.errstate(divide="ignore"):
        logged = np.where(level > 0, np.log(level), np.nan)
    discount = np.clip(1 - _ratio(now, usual), -1, 1)
    return {"price_level": logged[item], "price_fit": logged[item] - habit[customer],
            "price_discount": discount[item], "price_discount_share": share[customer]}


def _listed(items: pd.DataFrame, index: pd.Index) -> np.ndarray:
    if "price" not in items.columns:
        return np.full(len(index), np.nan)
    price = items.set_index("item_id")["price"].reindex(index).to_numpy(dtype="float64", na_value=np.nan)
    return np.where(price > 0, price, np.nan)


def _taste(bought: Log, items: pd.DataFrame, name: str, customer: np.ndarray, item: np.ndarray) -> dict[str, np.ndarray]:
    """How much of the customer's recent buying falls in the item's group, against everyone's, and how long ago."""
    groups, labels = pd.factorize(items.set_index("item_id")[name].reindex(bought.items))
    n_groups = np.int64(max(len(labels), 1))
    known = groups[bought.item] >= 0
    who, group, age = bought.customer[known], groups[bought.item[known]], bought.age[known]
    weight = _decay(age, 90)
    pair_group = groups[item]
    keys, where = np.unique(customer * n_groups + np.maximum(pair_group, 0), return_inverse=True)
    at = pd.Index(keys).get_indexer(who * n_groups + group)
    there = at >= 0
    inside = _count(at[there], len(keys), weight[there])[where]
    last = _newest(at[there], age[there], len(keys))[where]
    total = _count(who, len(bought.customers), weight)[customer]
    everyone = _count(group, int(n_groups), weight)
    prior = (everyone / max(everyone.sum(), 1e-12))[np.maximum(pair_group, 0)]
    share = (inside + 5 * prior) / (total + 5)
    lift = np.log((share + 1e-6) / (prior + 1e-6))
    has_group = pair_group >= 0
    return {f"taste_{name}": np.where(has_group, lift, np.nan),
            f"taste_share_{name}": np.where(has_group, np.log(share + 1e-6), np.nan),
            f"taste_days_since_{name}": np.where(has_group, np.log1p(last), np.nan)}


def _frame(log: Log, pairs: pd.DataFrame, columns: dict[str, np.ndarray]) -> pd.DataFrame:
    flags = {"is_new": columns.pop("is_new"), "is_known_customer": pairs["is_known_customer"].to_numpy(),
             "is_known_item": pairs["is_known_item"].to_numpy()}
    keys = {"customer_id": log.customers[pairs["customer"].to_numpy()], "item_id": log.items[pairs["item"].to_numpy()]}
    numbers = {name: np.round(columns[name], 5).astype("float32")
               for group in GROUPS for name in sorted(columns) if name.split("_")[0] == group}
    return pd.DataFrame(keys | flags | numbers)
