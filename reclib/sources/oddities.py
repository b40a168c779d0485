"""What looks odd in a source that holds its contracts, and what its events are worth."""

from __future__ import annotations

import pandas as pd

from reclib import report

HEAVY = 20
LARGE = 100
_CHECKS = ["check", "n_rows", "share", "it_may_mean"]


def worth(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Values by kind of event: event_type, n, valued_share (not 0), mean, median, p99, total; empty without events.

    Mean, median and p99 are over events whose value is not 0.
    """
    columns = ["event_type", "n", "valued_share", "mean", "median", "p99", "total"]
    events = tables.get("events")
    if events is None:
        return pd.DataFrame(columns=columns)
    valued = events.loc[events["value"].fillna(0) != 0, ["event_type", "value"]].groupby("event_type", observed=True)["value"]
    found = events["event_type"].value_counts().rename("n").to_frame()
    found = found.assign(valued_share=valued.size() / found["n"], mean=valued.mean(), median=valued.median(),
                         p99=valued.quantile(0.99), total=valued.sum()).fillna({"valued_share": 0.0, "total": 0.0})
    return found.rename_axis("event_type").reset_index().sort_values(["n", "event_type"], ascending=[False, True], ignore_index=True)


def worth_sentence(found: pd.DataFrame, facts: dict) -> str:
    """Say what the main valued kind of event brings."""
    if found.empty:
        return "Without events, there are no values to weigh."
    valued = found[found["valued_share"] > 0].set_index("event_type")
    if valued.empty:
        return "No event carries a value: responses can be counted, but not weighed in money."
    if "purchase" in valued.index:
        row, currency = valued.loc["purchase"], facts.get("currency") or "(currency not stated)"
        return (f"A purchase line brings {report.money(row['mean'], currency)} in the mean and {report.money(row['median'], currency)} "
                f"in the median, {report.money(row['total'], currency, 0)} in all; one in a hundred is above "
                f"{report.money(row['p99'], currency)}.")
    if "rating" in valued.index:
        row = valued.loc["rating"]
        scale = f" on a scale from {facts['rating_low']:g} to {facts['rating_high']:g}" if "rating_low" in facts else ""
        return f"The mean rating is {report.number(row['mean'])} and the median {report.number(row['median'])}{scale}: people rate what they chose."
    first = valued.iloc[0]
    return f"{valued.index[0]} carries a value in {report.percent(first['valued_share'])} of its events, {report.number(first['mean'])} in the mean."


def oddities(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Hold events against what contracts cannot forbid: check, n_rows, share (of events), it_may_mean; empty without events."""
    events = tables.get("events")
    if events is None:
        return pd.DataFrame(columns=_CHECKS)
    found = {
        "same event twice": (events.duplicated(["customer_id", "item_id", "event_type", "occurred_at"]), "sent twice by a feed"),
        "at midnight to the second": (events["occurred_at"] == events["occurred_at"].dt.normalize(), "dates without a time of day"),
        "item is not in items": (_absent(events, tables, "item_id", "items"), "catalogue is newer or older than the events"),
        "customer is not in customers": (_absent(events, tables, "customer_id", "customers"), "deleted, or other ids"),
        f"customer with over {HEAVY} times the median": (_heavy(events), "a shared account, a reseller or a robot"),
        "purchase of value 0": (_purchases(events) & (events["value"] == 0), "free, paid by coupon, or value not recorded"),
        f"purchase over {LARGE} times the median": (_large(events), "a unit mistaken, or a business customer"),
    }
    rows = [(check, int(mask.sum()), float(mask.mean()), why) for check, (mask, why) in found.items() if mask is not None]
    return pd.DataFrame(rows, columns=_CHECKS)


def oddities_sentence(found: pd.DataFrame) -> str:
    """Say what is oddest, or that nothing is."""
    if found.empty:
        return "Without events there is nothing to look odd."
    odd = found[found["n_rows"] > 0].sort_values(["n_rows", "check"], ascending=[False, True])
    if odd.empty:
        return f"None of {len(found)} odd patterns is there."
    first = odd.iloc[0]
    return (f"{len(odd)} of {len(found)} odd patterns {'is' if len(odd) == 1 else 'are'} there; most rows: {first['check']} "
            f"({first['n_rows']:,} events, {report.percent(first['share'], 2)}), which may mean: {first['it_may_mean']}.")


def _absent(events: pd.DataFrame, tables: dict[str, pd.DataFrame], column: str, home: str) -> pd.Series | None:
    return ~events[column].isin(tables[home][column]) if home in tables else None


def _heavy(events: pd.DataFrame) -> pd.Series:
    counts = events["customer_id"].value_counts()
    return events["customer_id"].isin(counts.index[counts > HEAVY * counts.median()])


def _purchases(events: pd.DataFrame) -> pd.Series:
    return events["event_type"] == "purchase"


def _large(events: pd.DataFrame) -> pd.Series | None:
    paid = events.loc[_purchases(events) & (events["value"] > 0), "value"]
    return _purchases(events) & (events["value"] > LARGE * paid.median()) if len(paid) else None
