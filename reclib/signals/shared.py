"""What all signals share: events up to a moment, their age, and what counts as a response."""

from __future__ import annotations

import numpy as np
import pandas as pd

RESPONSES = ("purchase", "rating", "click", "add_to_cart", "view")
DIGITS = 6
DAY = np.timedelta64(1, "D")


def response_type(events: pd.DataFrame) -> str:
    """The event type that counts as success: purchase, else rating, click, add_to_cart, view.

    Raises:
        ValueError: the events hold none of them.
    """
    there = set(events["event_type"].unique())
    found = next((name for name in RESPONSES if name in there), None)
    if found is None:
        raise ValueError(f"events: none of {list(RESPONSES)} among the event types {sorted(there)}.")
    return found


def seen(events: pd.DataFrame, as_of: pd.Timestamp, columns: list[str]) -> pd.DataFrame:
    return events.loc[(events["occurred_at"] <= as_of).to_numpy(), ["occurred_at", *columns]]


def responses(events: pd.DataFrame, as_of: pd.Timestamp) -> pd.DataFrame:
    known = events[(events["occurred_at"] <= as_of).to_numpy()]
    return known[(known["event_type"] == response_type(known)).to_numpy()]


def age_in_days(events: pd.DataFrame, as_of: pd.Timestamp) -> np.ndarray:
    return (as_of - events["occurred_at"]).to_numpy() / DAY


def rounded(values):
    return np.round(values, DIGITS)
