"""What customers did after the run: the answers of the source to the slates that were published for them."""

from __future__ import annotations

import pandas as pd


def answer(source: dict, deliveries: pd.DataFrame | None, assignments: pd.DataFrame | None, *,
           n_days: int) -> pd.DataFrame | None:
    """Ask the source what happened in the days after the slates were published.

    Args:
        source: the facts of the source.
        deliveries: the `deliveries` table, or None where nothing was published.
        assignments: the `assignments` table.
        n_days: days of answers.

    Returns:
        An `events` table of these days, or None where the source cannot answer (its data ends with the run).
    """
    if n_days < 1:
        raise ValueError(f"n_days == {n_days}, must be at least 1.")
    if not source.get("answers") or deliveries is None:
        return None
    from reclib.sources.storefront import tables

    return tables.answer(deliveries, assignments, params=source["params"], n_days=n_days,
                         is_split=bool(source.get("is_split")))["events"]
