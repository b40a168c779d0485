"""What a data engineer asks of a source before anybody learns from it."""

from __future__ import annotations

import pandas as pd

from reclib import report, schema
from reclib.sources import source

ACTS = ("purchase", "rating", "click", "add_to_cart", "view", "impression")
ACT_NOUNS = {"purchase": "purchase lines", "rating": "ratings", "click": "clicks", "add_to_cart": "baskets",
             "view": "views", "impression": "impressions"}
RARE = 5


def overview(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """One row a table: table, n_rows, n_columns, n_customers, n_items, first_day, last_day."""
    rows = []
    for name in sorted(tables):
        frame = tables[name]
        at = frame.get(source.TIMES.get(name, ""), pd.Series(dtype="datetime64[us, UTC]"))
        rows.append({
            "table": name, "n_rows": len(frame), "n_columns": frame.shape[1],
            "n_customers": _n_distinct(frame, "customer_id"), "n_items": _n_distinct(frame, "item_id"),
            "first_day": "" if at.empty else str(at.min().date()), "last_day": "" if at.empty else str(at.max().date()),
        })
    return pd.DataFrame(rows).astype({"n_customers": "Int64", "n_items": "Int64"})


def overview_sentence(tables: dict[str, pd.DataFrame], facts: dict) -> str:
    """Say what the source is, in numbers."""
    if "events" in tables:
        events = tables["events"]
        n_days = (events["occurred_at"].max().normalize() - events["occurred_at"].min().normalize()).days + 1
        return (f"{facts['name']} has {len(events):,} events of {events['customer_id'].nunique():,} customers on "
                f"{events['item_id'].nunique():,} items over {n_days:,} days.")
    if "logged_deliveries" in tables:
        log = tables["logged_deliveries"]
        return (f"{facts['name']} has {len(log):,} logged slots of {log['item_id'].nunique():,} items under "
                f"{log['policy'].nunique()} logging {_plural('policy', log['policy'].nunique())}, and no history of customers.")
    if "units" in tables:
        units = tables["units"]
        return f"{facts['name']} has one experiment of {len(units):,} customers in {units['arm'].nunique()} arms, and no events."
    return f"{facts['name']} has {_listed(sorted(tables))}, and no events."


def contracts(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """One row a table: table, key, columns_checked, further_columns, n_faults, verdict."""
    rows = []
    for name in sorted(tables):
        table, frame = schema.TABLES[name], tables[name]
        n_faults = len(schema.violations(frame, table))
        known = [column for column in table.columns if column in frame.columns]
        rows.append({"table": name, "key": ", ".join(table.key), "columns_checked": len(known),
                     "further_columns": ", ".join(sorted(set(frame.columns) - set(known))),
                     "n_faults": n_faults, "verdict": "fail" if n_faults else "pass"})
    return pd.DataFrame(rows)


def contracts_sentence(checked: pd.DataFrame) -> str:
    """Say whether the contracts hold."""
    broken = checked.loc[checked["n_faults"] > 0, "table"].tolist()
    if broken:
        return f"{_listed(broken)} {'break' if len(broken) > 1 else 'breaks'} the contract, with {checked['n_faults'].sum()} {_plural('fault', int(checked['n_faults'].sum()))} in all."
    return (f"{_all(len(checked))} contract{'s hold' if len(checked) > 1 else ' holds'}: "
            f"{checked['columns_checked'].sum()} columns checked, keys unique, no fault.")


def missing(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """One row a column with missing values, most of them first: table, column, n_missing, share, about."""
    rows = []
    for name in sorted(tables):
        frame = tables[name]
        counts = frame.isna().sum()
        for column, n_missing in counts[counts > 0].items():
            contract = schema.TABLES[name].columns.get(column)
            rows.append({"table": name, "column": column, "n_missing": int(n_missing), "share": n_missing / len(frame),
                         "about": contract.about if contract else "further column of the source"})
    found = pd.DataFrame(rows, columns=["table", "column", "n_missing", "share", "about"])
    return found.sort_values(["share", "table", "column"], ascending=[False, True, True], ignore_index=True)


def missing_sentence(found: pd.DataFrame) -> str:
    """Say where values are missing most."""
    if found.empty:
        return "No value is missing in any column that is there."
    first = found.iloc[0]
    others = f"; {len(found) - 1} further {_plural('column', len(found) - 1)} {'have' if len(found) > 2 else 'has'} gaps" if len(found) > 1 else ""
    return f"{first['table']}.{first['column']} is missing in {report.percent(first['share'])} of its rows{others}."


def weekly(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Count what happened by week: week (its Monday), what, n, is_whole (seven days of data).

    `what` is the event type, or the logging policy where there are no events. Empty where nothing has a time.
    """
    if "events" in tables:
        at, what = tables["events"]["occurred_at"], tables["events"]["event_type"]
    elif "logged_deliveries" in tables:
        at, what = tables["logged_deliveries"]["delivered_at"], "slots by " + tables["logged_deliveries"]["policy"].astype("str")
    else:
        return pd.DataFrame({"week": pd.Series(dtype="datetime64[us]"), "what": pd.Series(dtype="str"),
                             "n": pd.Series(dtype="int64"), "is_whole": pd.Series(dtype="bool")})
    days = at.dt.tz_localize(None).dt.normalize()
    monday = days - pd.to_timedelta(days.dt.day_of_week, unit="D")
    counts = pd.DataFrame({"week": monday, "what": what}).groupby(["what", "week"], observed=True).size().rename("n").reset_index()
    is_whole = (counts["week"] >= days.min()) & (counts["week"] + pd.Timedelta(days=6) <= days.max())
    return counts[["week", "what", "n"]].assign(is_whole=is_whole)


def weekly_sentence(counts: pd.DataFrame) -> str:
    """Say how steady the main kind of event is over whole weeks."""
    if counts.empty:
        return "Nothing in this source has a time, so there is no course over weeks."
    there = set(counts["what"])
    what = next((act for act in ACTS if act in there), counts.groupby("what")["n"].sum().sort_index().idxmax())
    whole = counts[(counts["what"] == what) & counts["is_whole"]]
    if len(whole) < 2:
        total = counts.loc[counts["what"] == what, "n"].sum()
        return f"{total:,} {_events_of(what)}; fewer than two whole weeks, so no course is read."
    low, high, middle = whole["n"].min(), whole["n"].max(), whole["n"].median()
    n_gaps = int((whole["week"].max() - whole["week"].min()).days // 7 + 1 - len(whole))
    gaps = f"; {n_gaps} {_plural('week', n_gaps)} in between without any" if n_gaps else "; no week in between is empty"
    return f"{middle:,.0f} {_events_of(what)} in a median week, between {low:,} and {high:,} over {len(whole)} whole weeks{gaps}."


def main_act(tables: dict[str, pd.DataFrame]) -> str:
    """The strongest kind of event there is: purchase, rating, click, ...; `impression` of a log; else empty."""
    if "events" in tables:
        there = set(tables["events"]["event_type"].unique())
        return next((act for act in ACTS if act in there), min(map(str, there), default=""))
    return "impression" if "logged_deliveries" in tables else ""


def popularity(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Items by popularity in the main kind of event: item_id, rank, n, cumulative_share; empty where there is none."""
    act = main_act(tables)
    if "events" in tables:
        acts = tables["events"].loc[tables["events"]["event_type"] == act, "item_id"]
    else:
        acts = tables.get("logged_deliveries", pd.DataFrame({"item_id": []}))["item_id"]
    counts = acts.value_counts(sort=False).rename("n").rename_axis("item_id").reset_index()
    ordered = counts.sort_values(["n", "item_id"], ascending=[False, True], ignore_index=True)
    total = max(int(ordered["n"].sum()), 1)
    return ordered.assign(rank=range(1, len(ordered) + 1), cumulative_share=ordered["n"].cumsum() / total)


def popularity_sentence(popular: pd.DataFrame, tables: dict[str, pd.DataFrame]) -> str:
    """Say how concentrated demand is and how long the tail is."""
    if popular.empty:
        return "No events on items here, so nothing can be said about popular items."
    noun, n_items = _events_of(main_act(tables)), len(popular)
    top = max(n_items // 100, 1)
    n_half = int((popular["cumulative_share"] < 0.5).sum()) + 1
    n_rare = int((popular["n"] < RARE).sum())
    blind = f"{report.percent(n_rare / n_items)} of items have fewer than {RARE}: there collaborative filtering is nearly blind"
    tail = blind if n_rare else f"none has fewer than {RARE}"
    whose = f"The top {top:,} of {n_items:,} items take" if top > 1 else f"The first of {n_items:,} items takes"
    return (f"{whose} {report.percent(popular['cumulative_share'].iloc[top - 1])} of {noun}, {n_half:,} "
            f"{'take' if n_half > 1 else 'takes'} half, and {tail}.")


def repeats(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Split each week's pairs into new and again.

    A pair (customer, item) counts once a day; it is `again` where the customer had the item on an earlier day of this
    data. Early weeks know no past, so their share is too low.

    Returns:
        week, n_pairs, n_again, again_share, new_customer_share; empty without events.
    """
    columns = ["week", "n_pairs", "n_again", "again_share", "new_customer_share"]
    if "events" not in tables:
        return pd.DataFrame(columns=columns)
    events = tables["events"]
    acts = events.loc[events["event_type"] == main_act(tables), ["customer_id", "item_id", "occurred_at"]]
    day = acts["occurred_at"].dt.tz_localize(None).dt.normalize()
    pairs = acts[["customer_id", "item_id"]].assign(day=day).drop_duplicates().sort_values("day", kind="stable", ignore_index=True)
    is_again = pairs.duplicated(["customer_id", "item_id"])
    first = pairs.groupby("customer_id")["day"].transform("min")
    week = pairs["day"] - pd.to_timedelta(pairs["day"].dt.day_of_week, unit="D")
    marked = pd.DataFrame({"week": week, "is_again": is_again, "is_new": pairs["day"] == first})
    grouped = marked.groupby("week").agg(n_pairs=("is_again", "size"), n_again=("is_again", "sum"),
                                         again_share=("is_again", "mean"), new_customer_share=("is_new", "mean"))
    return grouped.reset_index()[columns]


def repeats_sentence(by_week: pd.DataFrame, tables: dict[str, pd.DataFrame]) -> str:
    """Say how much of demand is repeated and what follows for an evaluation."""
    if by_week.empty:
        return "Without events, what is new and what is repeated cannot be told apart."
    share = by_week["n_again"].sum() / by_week["n_pairs"].sum()
    noun = _events_of(main_act(tables))
    if share == 0:
        return f"Each customer has each item once: all {noun} are new pairs, so nothing is recommended again."
    late = by_week.tail(max(len(by_week) // 4, 1))
    late_share = late["n_again"].sum() / late["n_pairs"].sum()
    return (f"{report.percent(share)} of {noun} (pair and day) repeat an earlier one, {report.percent(late_share)} in the "
            "last quarter of weeks: what is bought again and what is new are measured apart.")


def discounts(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Discounts seen on purchase lines, by category, largest first.

    Returns:
        category, n_lines, value, discounted_share (of lines), discount_share (of list value), and a first row `all`;
        empty where neither the events have `discount` and `list_value` nor the items a `list_price`.
    """
    lines = _listed_lines(tables)
    if lines.empty:
        return pd.DataFrame(columns=["category", "n_lines", "value", "discounted_share", "discount_share"])
    items = tables.get("items", pd.DataFrame({"item_id": []}))
    of = items.set_index("item_id")["category"] if "category" in items else pd.Series(dtype="str")
    marked = lines.assign(category=lines["item_id"].map(of).astype("object").fillna("no category"), is_on=lines["discount"] > 0)
    grouped = _discounts_of(marked.groupby("category")).sort_values(["value", "category"], ascending=[False, True])
    whole = _discounts_of(marked.assign(category="all").groupby("category"))
    return pd.concat([whole, grouped], ignore_index=True)


def discounts_sentence(found: pd.DataFrame, tables: dict[str, pd.DataFrame]) -> str:
    """Say how much is sold on discount, or that it is not seen."""
    if found.empty and "events" not in tables:
        return "Without events, nothing is known of discounts."
    if found.empty and not (tables["events"]["event_type"] == "purchase").any():
        return "Nothing is bought in this source, so discounts play no part."
    if found.empty:
        items = tables.get("items", pd.DataFrame())
        if "is_on_promotion" in items:
            return (f"Purchase lines carry no discount here; {report.percent(items['is_on_promotion'].mean())} of items "
                    "are on promotion on the last day.")
        return "Neither lines nor items say what is on discount: wanted at the full price and bought cheaply look alike."
    whole = found.iloc[0]
    return (f"{report.percent(whole['discounted_share'])} of lines are bought on discount, which gives away "
            f"{report.percent(whole['discount_share'])} of list value: part of what looks like taste is price.")


def assumptions(facts: dict) -> pd.DataFrame:
    """What is assumed and what is lacking: about, statement."""
    rows = [{"about": "assumed", "statement": sentence} for sentence in facts.get("assumptions", [])]
    rows += [{"about": f"no {name.replace('_', ' ')}", "statement": why} for name, why in facts.get("lacks", {}).items()]
    return pd.DataFrame(rows, columns=["about", "statement"])


def verdict_sentence(tables: dict[str, pd.DataFrame], facts: dict) -> str:
    """Say in one line what this source can and cannot feed."""
    can = []
    if "events" in tables:
        can.append("learning from history")
    if "logged_deliveries" in tables:
        can.append("off-policy evaluation")
    if "units" in tables:
        can.append("an experiment readout")
    if facts.get("answers"):
        can.append("answers to what is published")
    cannot = [word for word, is_known in (("prices", facts.get("price_is_known")), ("unit costs", facts.get("cost_is_known")),
                                          ("stock", facts.get("stock_is_known"))) if not is_known]
    without = f", without {_listed(cannot)}" if cannot and "items" in tables else ""
    return f"{facts['name']} feeds {_listed(can) or 'no layer by itself'}{without}."


def _listed_lines(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Purchase lines with item_id, value, discount and list_value; the list value from the catalogue where lines lack it."""
    columns = ["item_id", "value", "discount", "list_value"]
    events, items = tables.get("events", pd.DataFrame()), tables.get("items", pd.DataFrame())
    if "event_type" not in events:
        return pd.DataFrame(columns=columns)
    lines = events[events["event_type"] == "purchase"]
    if {"discount", "list_value"} <= set(events.columns):
        return lines[columns]
    if "list_price" not in items or "quantity" not in events or not pd.api.types.is_numeric_dtype(items["list_price"]):
        return pd.DataFrame(columns=columns)
    listed = lines["item_id"].map(items.set_index("item_id")["list_price"]) * lines["quantity"]
    discount = (listed - lines["value"]).round(2).clip(lower=0)
    return lines.assign(list_value=listed, discount=discount).dropna(subset=["discount", "value"])[columns]


def _discounts_of(grouped: pd.api.typing.DataFrameGroupBy) -> pd.DataFrame:
    sums = grouped.agg(n_lines=("value", "size"), value=("value", "sum"), discounted_share=("is_on", "mean"),
                       given=("discount", "sum"), listed=("list_value", "sum")).reset_index()
    return sums.assign(discount_share=sums["given"] / sums["listed"].where(sums["listed"] > 0)).drop(columns=["given", "listed"])


def _n_distinct(frame: pd.DataFrame, column: str) -> int | None:
    return frame[column].nunique() if column in frame else None


def _events_of(act: str) -> str:
    return ACT_NOUNS.get(act, f"{act.replace('_', ' ')} events" if act and not act.startswith("slots") else act)


def _plural(word: str, count: int) -> str:
    return word if count == 1 else word[:-1] + "ies" if word.endswith("y") else word + "s"


def _all(count: int) -> str:
    return "The one" if count == 1 else "Both" if count == 2 else f"All {count}"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""
