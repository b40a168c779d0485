"""What the notebook of signals shows and says, computed from its tables."""

from __future__ import annotations

import pandas as pd

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def rising(signals: pd.DataFrame, items: pd.DataFrame | None = None) -> pd.DataFrame:
    """The items that rise most, with their names where they are known."""
    names = [name for name in ("title", "category") if items is not None and name in items]
    table = signals.sort_values(["trend", "item_id"], ascending=[False, True], ignore_index=True)
    if names:
        table = table.merge(items[["item_id", *names]], on="item_id", how="left", validate="one_to_one")
    return table[["item_id", *names, "n_customers", "n_recent", "n_before", "trend"]]


def quantiles(signals: pd.DataFrame) -> pd.DataFrame:
    """Spread of each signal over those who have a history: tenth, half and nine tenths lie below."""
    numbers = signals[signals["n_orders"] > 0].select_dtypes("number").drop(columns="customer_id", errors="ignore")
    return numbers.quantile([0.1, 0.5, 0.9]).T.set_axis(["p10", "median", "p90"], axis=1).rename_axis("signal").reset_index()


def by_weekday(context: pd.DataFrame) -> pd.DataFrame:
    """Share of the responses by name of the weekday, all channels together."""
    days = context.groupby("weekday")["share"].sum().reindex(range(7)).fillna(0.0)
    return pd.DataFrame({"weekday": WEEKDAYS, "share": days.to_numpy()})


def shortest_stock(stock: pd.DataFrame | None) -> pd.DataFrame:
    """The items in stock that run out first, fastest sellers first among equals; no row where there is no stock."""
    if stock is None:
        return pd.DataFrame(columns=["item_id", "stock_on_hand", "units_a_day", "days_of_stock"])
    left = stock[(stock["stock_on_hand"] > 0) & stock["days_of_stock"].notna()]
    return left.sort_values(["days_of_stock", "units_a_day", "item_id"], ascending=[True, False, True], ignore_index=True)


def weights_sentence(table: pd.DataFrame) -> str:
    """Say what share of the events counts, and which type carries most weight in all."""
    share = table.loc[table["weight"].fillna(1.0) != 0, "n_events"].sum() / max(table["n_events"].sum(), 1)
    if (table["event_type"] == "rating").any():
        text = f"{100 * share:.0f} % of the events count; ratings stand as they were given"
    else:
        text = f"{100 * share:.0f} % of the events carry a weight"
    total = (table["n_events"] * table["weight"]).abs()
    is_told = total.max() > 0 and (total > 0).sum() > 1
    return text + (f"; {table.loc[total.idxmax(), 'event_type']} events carry most in all." if is_told else ".")


def decay_sentence(half_life_days: float) -> str:
    """Say what is left of an event after a month and after a year."""
    month, year = (100 * 2 ** (-days / half_life_days) for days in (30, 365))
    return (f"With a half-life of {half_life_days:g} days an event keeps {month:.0f} % of its weight after a month "
            f"and {year:.2g} % after a year.")


def ratings_sentence(ratings: pd.DataFrame, events: pd.DataFrame, *, scale: tuple[float, float]) -> str:
    """Say what became of the events."""
    if ratings.empty:
        return "No event carries a weight, so there is no graded signal."
    middle = sum(scale) / 2
    below = f"{100 * (ratings['rating'] < middle).mean():.1f} % lie" if (ratings["rating"] < middle).any() else "none lies"
    return (f"{len(events):,} events became {len(ratings):,} graded pairs of {ratings['customer_id'].nunique():,} customers and "
            f"{ratings['item_id'].nunique():,} items, on {scale[0]:g} to {scale[1]:g}; {below} below the middle.")


def items_sentence(signals: pd.DataFrame) -> str:
    """Say how concentrated demand is and how much of the catalogue has no history."""
    counts = signals["n_responses"].sort_values(ascending=False).to_numpy()
    head = max(1, round(0.1 * len(counts)))
    share = counts[:head].sum() / max(counts.sum(), 1)
    none = int((counts == 0).sum())
    return (f"The top tenth of the {len(counts):,} items takes {100 * share:.0f} % of the responses; " +
            (f"{none:,} items have none yet, and only content or a first look can offer them." if none else "every item has one at least."))


def customers_sentence(signals: pd.DataFrame) -> str:
    """Say how recent and how frequent the customers are, and how much they save."""
    cold = int((signals["n_orders"] == 0).sum())
    known = signals[signals["n_orders"] > 0]
    often = known["n_orders"].median()
    text = (f"The median customer last came {known['recency_days'].median():.0f} days ago, and {often:.0f} time{'' if often == 1 else 's'} in all; " +
            (f"{cold:,} of {len(signals):,} have no history" if cold else f"all {len(signals):,} have a history"))
    if "discount_share" in known:
        text += f"; discounts took off {100 * known['discount_share'].median():.0f} % of the median customer's bill"
    return text + "."


def context_sentence(context: pd.DataFrame) -> str:
    """Name the strongest weekday and, where it is known, the channels."""
    days = context.groupby("weekday")["share"].sum()
    text = (f"{WEEKDAYS[int(days.idxmax())]} takes {100 * days.max():.0f} % of the responses, "
            f"{WEEKDAYS[int(days.idxmin())]} {100 * days.min():.0f} %")
    if "channel" not in context:
        return text + "; the source does not say through which channel."
    channels = context.groupby("channel", observed=True)["share"].sum().sort_values(ascending=False)
    if len(channels) == 1:
        return text + f"; all came through {channels.index[0]}."
    return text + f"; {channels.index[0]} is the strongest of {len(channels)} channels with {100 * channels.iloc[0]:.0f} %."


def inventory_sentence(stock: pd.DataFrame | None, *, short_days: float = 7.0) -> str:
    """Say how much of the catalogue is out of stock or soon will be."""
    if stock is None:
        return "The source has no stock, so no signal of it is used and nothing is assumed in its place."
    out = int((stock["stock_on_hand"] == 0).sum())
    short = int((stock["days_of_stock"] < short_days).sum()) - int((stock["days_of_stock"] == 0).sum())
    return f"{out:,} of {len(stock):,} items are out of stock and {short:,} more last less than {short_days:g} days at their recent pace."


def attributes_sentence(coverage: pd.DataFrame) -> str:
    """Say which attributes can be relied on."""
    if coverage.empty:
        return "The source describes no items, so sources that read the catalogue offer nothing."
    full = coverage.loc[coverage["share_filled"] == 1, "attribute"].tolist()
    thin = coverage.loc[coverage["share_filled"] < 0.5, "attribute"].tolist()
    text = f"{len(full)} of {len(coverage)} attributes {'is' if len(full) == 1 else 'are'} filled for every item"
    return text + (f"; less than half of the items have {', '.join(thin)}." if thin else "; none is filled for less than half.")
