"""What events say about items, customers, context and stock."""

from __future__ import annotations

import numpy as np
import pandas as pd

from reclib.signals.shared import age_in_days, response_type, responses, rounded, seen


def item_signals(events: pd.DataFrame, items: pd.DataFrame | None = None, *, as_of: pd.Timestamp,
                 window_days: float = 28.0) -> pd.DataFrame:
    """Describe each item by popularity, recency and trend.

    Returns:
        One row an item (the catalogue's too): `n_responses`, `n_customers`, `n_recent` and `n_before` (responses in
        the last window and in the one before), `trend` ((n_recent + 1) / (n_before + 1)), `days_since_last`.
    """
    known = responses(events, as_of)
    age = age_in_days(known, as_of)
    found = known.assign(age=age, recent=age < window_days, before=(age >= window_days) & (age < 2 * window_days))
    table = found.groupby("item_id", observed=True).agg(
        n_responses=("age", "size"), n_customers=("customer_id", "nunique"), n_recent=("recent", "sum"),
        n_before=("before", "sum"), days_since_last=("age", "min"))
    ids = table.index if items is None else table.index.union(pd.Index(items["item_id"]))
    table = table.reindex(ids).rename_axis("item_id")
    counts = ["n_responses", "n_customers", "n_recent", "n_before"]
    table = table.assign(**{name: table[name].fillna(0).astype("int64") for name in counts})
    trend = (table["n_recent"] + 1) / (table["n_before"] + 1)
    return table.assign(trend=rounded(trend)).reset_index()


def customer_signals(events: pd.DataFrame, customers: pd.DataFrame | None = None, *,
                     as_of: pd.Timestamp) -> pd.DataFrame:
    """Describe each customer by orders, recency, frequency, value and discount share.

    An order is a session with a response where sessions are known, else a day with one.

    Returns:
        One row a customer (the customers table's too): `n_orders`, `n_items`, `recency_days`, `orders_a_month` (since the first
        order, over a month at least), `value` and `value_an_order` where money is paid, `discount_share` where the events
        have a `discount` column (share of the price before it).
    """
    known = responses(events, as_of)
    known = known.assign(age=age_in_days(known, as_of), order=_orders(known))
    table = known.groupby("customer_id", observed=True).agg(
        n_orders=("order", "nunique"), n_items=("item_id", "nunique"), recency_days=("age", "min"), first=("age", "max"))
    table["orders_a_month"] = rounded(table["n_orders"] / np.maximum(table["first"], 30) * 30)
    if response_type(known) == "purchase":
        table["value"] = known["value"].groupby(known["customer_id"], observed=True).sum().round(2)
        table["value_an_order"] = (table["value"] / table["n_orders"]).round(2)
        if "discount" in known:
            saved = known["discount"].fillna(0).groupby(known["customer_id"], observed=True).sum()
            table["discount_share"] = rounded(saved / np.maximum(saved + table["value"], 0.01))
    table = table.drop(columns="first")
    ids = table.index if customers is None else table.index.union(pd.Index(customers["customer_id"]))
    table = table.reindex(ids).rename_axis("customer_id").reset_index()
    return table.assign(**{name: table[name].fillna(0).astype("int64") for name in ("n_orders", "n_items")})


def context_signals(events: pd.DataFrame, *, as_of: pd.Timestamp) -> pd.DataFrame:
    """Count responses by weekday (0 is Monday) and, where it is known, by channel.

    Returns:
        `weekday`, [`channel`], `n_responses`, `share`.
    """
    known = responses(events, as_of)
    by = ["weekday"] + (["channel"] if "channel" in known and known["channel"].notna().any() else [])
    table = known.assign(weekday=known["occurred_at"].dt.day_of_week).groupby(by, observed=True).size()
    table = table.rename("n_responses").reset_index()
    return table.assign(share=table["n_responses"] / max(table["n_responses"].sum(), 1))


def inventory_signals(events: pd.DataFrame, items: pd.DataFrame | None, *, as_of: pd.Timestamp,
                      window_days: float = 28.0) -> pd.DataFrame | None:
    """Say how many days the stock of each item lasts at its recent pace.

    Returns:
        `item_id`, `stock_on_hand`, `units_a_day`, `days_of_stock` (missing where nothing sold), or None where the
        source has no stock.
    """
    if items is None or "stock_on_hand" not in items or items["stock_on_hand"].isna().all():
        return None
    known = seen(events, as_of, ["item_id", "event_type", *(["quantity"] if "quantity" in events else [])])
    sold = known[(known["event_type"] == "purchase").to_numpy() & (age_in_days(known, as_of) < window_days)]
    units = sold["quantity"].fillna(1.0) if "quantity" in sold else pd.Series(1.0, index=sold.index)
    pace = units.groupby(sold["item_id"], observed=True).sum() / window_days
    table = items[["item_id", "stock_on_hand"]].assign(units_a_day=items["item_id"].map(pace).fillna(0.0))
    days = table["stock_on_hand"] / table["units_a_day"].where(table["units_a_day"] > 0)
    return table.assign(units_a_day=rounded(table["units_a_day"]), days_of_stock=rounded(days))


def attribute_coverage(items: pd.DataFrame | None) -> pd.DataFrame:
    """Say for each attribute of the items what share has it and how many values it takes."""
    columns = [] if items is None else [name for name in items.columns if name != "item_id"]
    rows = [{"attribute": name, "share_filled": float(items[name].notna().mean()), "n_values": int(items[name].nunique())}
            for name in columns]
    return pd.DataFrame(rows, columns=["attribute", "share_filled", "n_values"])


def _orders(known: pd.DataFrame) -> pd.Series:
    day = known["occurred_at"].dt.strftime("%Y-%m-%d")
    if "session_id" not in known:
        return day
    return known["session_id"].astype("str").where(known["session_id"].notna(), day)
