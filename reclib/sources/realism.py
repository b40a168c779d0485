"""Does a simulated source look like real data? Recorded sources need no such question."""

from __future__ import annotations

import pandas as pd

WEEKS = 12
_COLUMNS = ["about", "shop", "real", "tolerance", "is_near", "source"]


def compare(tables: dict[str, pd.DataFrame], facts: dict) -> pd.DataFrame:
    """Hold a simulated source against facts of real data, the farthest first; empty for other sources or a short history.

    Returns:
        fact, about, shop, real, source, tolerance and is_near (both missing where it departs on purpose), why.
    """
    if facts["kind"] != "simulation" or _n_days(tables["events"]) < 7 * WEEKS:
        return pd.DataFrame(columns=["fact", *_COLUMNS, "why"])
    from reclib.sources.storefront import facts as shop

    found = shop.compare(tables["events"], tables["items"])
    return found.sort_values("is_near", na_position="last", kind="stable", ignore_index=True)


def as_shown(found: pd.DataFrame) -> pd.DataFrame:
    """The columns for people."""
    return found[_COLUMNS]


def sentence(found: pd.DataFrame, facts: dict) -> str:
    """Say how near it comes, or why the question is not asked."""
    if facts["kind"] != "simulation":
        return "This data was recorded, not simulated, so there is nothing to hold it against."
    if found.empty:
        return f"The history is shorter than {WEEKS} weeks, too short to be held against facts of real data."
    from reclib.sources.storefront import facts as shop

    return shop.sentence(found)


def _n_days(events: pd.DataFrame) -> int:
    return (events["occurred_at"].max().normalize() - events["occurred_at"].min().normalize()).days + 1
