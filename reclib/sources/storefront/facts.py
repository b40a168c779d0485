"""Does the shop look real? Facts of its tables beside the same facts of real data, each with source and tolerance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

WEEK = 7
JOURNEY = "Complete Journey, first 12 weeks, computed"
HILLSTROM = "Hillstrom e-mail trial, computed"
BANDIT = "Open Bandit, random policy, computed"
SHELF = "Gruen, Corsten and Bharadwaj 2002"
MAIL = "e-mail benchmarks of several vendors"
FEW_ORDERS = "an online order is no weekly basket; the preset grocery has longer ones"
ONCE_A_DAY = "nobody visits the shop more than once a day"
POWER = "on purpose: a few thousand customers must show an effect"


class Fact(NamedTuple):
    """A fact of real data: its value, where it is from, how near the shop must come (None where it departs on purpose)."""

    real: float
    source: str
    tolerance: float | None
    about: str
    why: str = ""


REAL: dict[str, Fact] = {
    "popularity_slope": Fact(-0.666, JOURNEY, 0.2, "log lines on log rank, ranks 10 to 300"),
    "price_log_sd": Fact(0.7729, JOURNEY, 0.15, "standard deviation of the log unit price of a line"),
    "discounted_lines": Fact(0.4857, JOURNEY, 0.06, "share of lines bought below the list price"),
    "discount_depth": Fact(0.2481, JOURNEY, 0.03, "median discount of those lines"),
    "discount_of_gross": Fact(0.1563, JOURNEY, 0.04, "share of the gross value given away"),
    "repeat_share_4_weeks": Fact(0.1225, JOURNEY, 0.05, "lines of a customer and item that are not their first, in 4 weeks"),
    "repeat_share_12_weeks": Fact(0.2462, JOURNEY, 0.08, "the same in 12 weeks"),
    "gap_median_days": Fact(3.0, JOURNEY, 1.5, "median days between the days a customer buys"),
    "gap_p90_days": Fact(12.0, JOURNEY, 5.0, "ninth decile of them"),
    "orders_cv": Fact(1.1738, JOURNEY, None, "orders of a buyer: standard deviation over mean", ONCE_A_DAY),
    "weekend_share": Fact(0.3556, JOURNEY, 0.05, "share of lines on Saturday and Sunday"),
    "quantity_1": Fact(0.7966, JOURNEY, 0.03, "share of lines of one unit"),
    "quantity_2": Fact(0.1491, JOURNEY, 0.03, "share of lines of two units"),
    "own_brand_lines": Fact(0.2771, JOURNEY, 0.06, "share of lines of the own brand"),
    "median_to_mean_order": Fact(0.5423, JOURNEY, 0.2, "median over mean of the value of an order"),
    "lines_per_order": Fact(10.4449, JOURNEY, None, "lines of an order", FEW_ORDERS),
    "out_of_stock": Fact(0.083, SHELF, 0.05, "share of items without stock on the last evening"),
    "unsubscribes_per_contact": Fact(0.003, MAIL, 0.002, "opt-outs a visit with recommendations"),
    "click_rate": Fact(0.0046, BANDIT, None, "clicks an impression", POWER),
    "visit_rate_2_weeks": Fact(0.1062, HILLSTROM, None, "customers who visit within two weeks", POWER),
    "buyers_2_weeks": Fact(0.0057, HILLSTROM, None, "customers who buy within two weeks", POWER),
}


def compare(events: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """Hold the shop's tables against real data.

    Args:
        events, items: tables of the shop's history, twelve weeks of it or more.

    Returns:
        One row a fact: fact, about, shop, real, source, tolerance (missing where it departs on purpose), is_near (missing
        likewise), and why it departs.
    """
    shop = of_lines(lines_of(events, items)) | of_contacts(events, items)
    rows = [
        {"fact": name, "about": fact.about, "shop": shop[name], "real": fact.real, "source": fact.source,
         "tolerance": np.nan if fact.tolerance is None else fact.tolerance,
         "is_near": pd.NA if fact.tolerance is None else abs(shop[name] - fact.real) <= fact.tolerance, "why": fact.why}
        for name, fact in REAL.items()
    ]
    return pd.DataFrame(rows).astype({"is_near": "boolean"})


def sentence(table: pd.DataFrame) -> str:
    """Say how many facts are near, and which are not."""
    held = table.dropna(subset="is_near")
    far = held.loc[~held["is_near"].astype(bool), "fact"].tolist()
    apart = table.loc[table["is_near"].isna(), "fact"].tolist()
    missed = f"; outside of their tolerance: {', '.join(far)}" if far else ""
    meant = f"; {len(apart)} depart on purpose: {', '.join(apart)}" if apart else ""
    return f"{len(held) - len(far)} of {len(held)} facts of the shop are as near to real data as stated{missed}{meant}."


def lines_of(events: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """Purchases as lines: customer_id, item_id, occurred_at, quantity, value, list_value, order_id, is_own_brand."""
    bought = events[events["event_type"] == "purchase"]
    wanted = items[["item_id", "list_price", "is_own_brand"]]
    found = bought.merge(wanted, on="item_id", validate="many_to_one")
    return found.assign(list_value=found["list_price"] * found["quantity"], order_id=found["session_id"])[
        ["customer_id", "item_id", "occurred_at", "quantity", "value", "list_value", "order_id", "is_own_brand"]]


def of_lines(lines: pd.DataFrame) -> dict[str, float]:
    """Facts of order lines (columns as `lines_of` makes them), of the shop or of anybody else."""
    day = (lines["occurred_at"] - lines["occurred_at"].min().normalize()).dt.days
    counts, paid = lines["item_id"].value_counts().to_numpy(), lines[lines["value"] > 0]
    discount = 1 - lines["value"] / lines["list_value"].where(lines["list_value"] > 0)
    is_cut = discount > 0.005
    gaps = lines.assign(day=day)[["customer_id", "day"]].drop_duplicates().sort_values(["customer_id", "day"])
    gaps = gaps.groupby("customer_id")["day"].diff().dropna()
    orders = lines.groupby("order_id").agg(customer_id=("customer_id", "first"), value=("value", "sum"), n=("value", "size"))
    per_customer = orders["customer_id"].value_counts()
    return {
        "popularity_slope": _slope(counts), "price_log_sd": float(np.log(paid["value"] / paid["quantity"]).std()),
        "discounted_lines": float(is_cut.mean()), "discount_depth": float(discount[is_cut].median()),
        "discount_of_gross": float(1 - lines["value"].sum() / lines["list_value"].sum()),
        "repeat_share_4_weeks": _repeats(lines, day, 4), "repeat_share_12_weeks": _repeats(lines, day, 12),
        "gap_median_days": float(gaps.median()), "gap_p90_days": float(gaps.quantile(0.9)),
        "orders_cv": float(per_customer.std() / per_customer.mean()),
        "weekend_share": float((lines["occurred_at"].dt.day_of_week >= 5).mean()),
        "quantity_1": float((lines["quantity"] == 1).mean()), "quantity_2": float((lines["quantity"] == 2).mean()),
        "own_brand_lines": float(lines["is_own_brand"].mean()),
        "median_to_mean_order": float(orders["value"].median() / orders["value"].mean()),
        "lines_per_order": float(orders["n"].mean()),
    }


def of_contacts(events: pd.DataFrame, items: pd.DataFrame) -> dict[str, float]:
    """Facts of visits, clicks, opt-outs and stock."""
    kind, n = events["event_type"], events["customer_id"].nunique()
    until = events["occurred_at"].max().normalize() - pd.Timedelta(days=13)
    late = events[events["occurred_at"] >= until]
    contacts = events.loc[kind == "impression", "session_id"].nunique()
    return {
        "out_of_stock": float((items["stock_on_hand"] == 0).mean()),
        "unsubscribes_per_contact": float((kind == "unsubscribe").sum() / max(contacts, 1)),
        "click_rate": float((kind == "click").sum() / max((kind == "impression").sum(), 1)),
        "visit_rate_2_weeks": late.loc[late["event_type"].isin(["impression", "view"]), "customer_id"].nunique() / n,
        "buyers_2_weeks": late.loc[late["event_type"] == "purchase", "customer_id"].nunique() / n,
    }


def _slope(counts: np.ndarray, first: int = 10, last: int = 300) -> float:
    last = min(last, int(0.3 * len(counts)))
    rank = np.arange(1, len(counts) + 1)[first - 1 : last]
    if len(rank) < 2:
        return float("nan")
    return float(np.polyfit(np.log(rank), np.log(counts[first - 1 : last]), 1)[0])


def _repeats(lines: pd.DataFrame, day: pd.Series, weeks: int) -> float:
    early = lines.loc[day < weeks * WEEK, ["customer_id", "item_id", "order_id"]].drop_duplicates()
    return float(early.duplicated(["customer_id", "item_id"]).mean())
