"""Per-customer totals of a span of days: what an experiment on this shop would measure."""

from __future__ import annotations

import numpy as np
import pandas as pd

from reclib.sources.storefront.state import Log, State
from reclib.sources.storefront.world import World

RETAINED_DAYS = 14
METRICS = (
    "sessions", "impressions", "clicks", "carts", "orders", "lines", "revenue", "attributed", "returned", "returns",
    "contribution", "dismissals", "opted_out", "complaints", "is_converted", "is_retained",
)
RATIOS = {
    "aov": ("revenue", "orders"), "return_rate": ("returned", "revenue"), "dismiss_rate": ("dismissals", "impressions"),
    "click_rate": ("clicks", "impressions"),
}


def total(world: World, state: State, logs: list[Log], *, first_day: int, n_days: int) -> pd.DataFrame:
    """Add up what each customer did from `first_day` on, one row a customer, zeros included.

    `orders` counts visits that led to a purchase. Purchases count on the day of the order, returns on the day they come
    back; what comes later does not count. `attributed` is the revenue of recommended items bought after a click in the
    last log. `contribution` is money paid less unit costs, less money paid back, plus the salvage share of the cost of
    what came back.

    Args:
        world, state: the world and its state after the last day.
        logs: logs that reach these days; delayed orders and returns of earlier days are in earlier logs.
        first_day, n_days: the span.

    Returns:
        customer_id and the metrics of `METRICS`; money in the currency of the shop.
    """
    n, last_day = world.config.n_customers, first_day + n_days
    counted = {name: _count(logs, name, first_day, last_day, n) for name in (
        "session", "impression", "click", "add_to_cart", "dismiss", "complaint")}
    money = _money(world, logs, first_day, last_day)
    opted_out = (state.opt_out_day >= first_day) & (state.opt_out_day < last_day)
    kept_from = max(last_day - RETAINED_DAYS, first_day)
    return pd.DataFrame({
        "customer_id": np.arange(1, n + 1), "sessions": counted["session"], "impressions": counted["impression"],
        "clicks": counted["click"], "carts": counted["add_to_cart"], **money, "dismissals": counted["dismiss"],
        "opted_out": opted_out.astype(np.int64), "is_opted_out": state.opt_out_day < last_day,
        "complaints": counted["complaint"], "n_complaints": counted["complaint"],
        "is_converted": money["orders"] > 0, "is_retained": _count(logs, "session", kept_from, last_day, n) > 0,
    })


def _count(logs: list[Log], name: str, first_day: int, last_day: int, n_customers: int) -> np.ndarray:
    total = np.zeros(n_customers, dtype=np.int64)
    for log in logs:
        rows = log.columns(name)
        if rows:
            inside = (rows["day"] >= first_day) & (rows["day"] < last_day)
            total += np.bincount(rows["customer"][inside], minlength=n_customers)
    return total


def _money(world: World, logs: list[Log], first_day: int, last_day: int) -> dict[str, np.ndarray]:
    """Orders, revenue, returns and contribution, in whole minor units until the end so that sums are exact."""
    n = world.config.n_customers
    cents = {name: np.zeros(n) for name in ("revenue", "attributed", "returned", "contribution")}
    counts = {name: np.zeros(n, dtype=np.int64) for name in ("orders", "lines", "returns")}
    orders = [np.zeros(0, dtype=np.int64)]
    for log in logs:
        rows = log.columns("line")
        if not rows:
            continue
        bought = (rows["order_day"] >= first_day) & (rows["order_day"] < last_day)
        back = rows["is_returned"] & (rows["return_day"] >= first_day) & (rows["return_day"] < last_day)
        paid = np.round(rows["price"] * rows["quantity"] * 100)
        cost = np.round(world.items.unit_cost[rows["item"]] * rows["quantity"] * 100)
        saved = np.round(world.config.salvage * cost)
        who = rows["customer"]
        cents["revenue"] += np.bincount(who, weights=paid * bought, minlength=n)
        told = bought & (rows["slot"] >= 0) & (log is logs[-1])
        cents["attributed"] += np.bincount(who, weights=paid * told, minlength=n)
        cents["returned"] += np.bincount(who, weights=paid * back, minlength=n)
        cents["contribution"] += np.bincount(who, weights=(paid - cost) * bought + (saved - paid) * back, minlength=n)
        counts["lines"] += np.bincount(who[bought], minlength=n)
        counts["returns"] += np.bincount(who[back], minlength=n)
        orders.append(who[bought].astype(np.int64) * 100_000 + rows["day"][bought])
    counts["orders"] = np.bincount(np.unique(np.concatenate(orders)) // 100_000, minlength=n)
    return counts | {name: value / 100 for name, value in cents.items()}
