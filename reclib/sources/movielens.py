"""MovieLens 100K: 100,000 ratings from 1 to 5 by 943 people of 1,682 films."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from reclib.sources import source
from reclib.sources.source import About, Source

_NO_TRIAL = "MovieLens ratings were given freely: nobody was randomised."
ABOUT = About(
    name="movielens-100k",
    about="100,000 ratings from 1 to 5 by 943 people of 1,682 films, 1997 to 1998.",
    kind="ratings",
    tables=("events", "items", "customers"),
    lacks={
        "units": _NO_TRIAL,
        "logged_deliveries": "MovieLens does not record what was shown, nor with which probability.",
        "logged_outcomes": "MovieLens has no log of answers to what was shown.",
        "holdout": "MovieLens names no pairs for evaluation here; they are cut by time.",
        "overrides": "MovieLens has no pins or blocks set by hand.",
        "price": "Films have no price here.",
        "stock": "Films have no stock.",
        "unit_cost": "Films have no unit cost here.",
    },
    files=("u.data", "u.item", "u.user", "u.genre"),
)
ADULT_AGE = 18


def load(place: Path, *, as_of: str = "") -> Source:
    """Load ratings as events, films as items, people as customers.

    Args:
        place: the folder of `u.data`, `u.item`, `u.user` and `u.genre`.
        as_of: last day that may be seen; the last day of the data where empty.
    """
    tables = {"events": _events(place / "u.data"), "items": _items(place), "customers": _customers(place / "u.user")}
    until = source.end_of_day(as_of) if as_of else source.last_day(tables)
    tables = source.cut(tables, until)
    found = source.facts(ABOUT, tables, as_of=until, randomised_why=_NO_TRIAL, rating_low=1, rating_high=5, assumptions=[
        "Values are ratings from 1 to 5, not money.",
        "A film's category is its first genre in the order of the source; `genres` holds them all.",
    ])
    return Source(ABOUT.name, tables, found)


def _events(path: Path) -> pd.DataFrame:
    raw = pd.read_csv(path, sep="\t", names=["customer_id", "item_id", "value", "at"], header=None)
    ordered = raw.sort_values(["at", "customer_id", "item_id"], kind="stable", ignore_index=True)
    return pd.DataFrame({
        "event_id": np.arange(1, len(ordered) + 1),
        "occurred_at": pd.to_datetime(ordered["at"], unit="s", utc=True).astype("datetime64[us, UTC]"),
        "customer_id": ordered["customer_id"],
        "item_id": ordered["item_id"],
        "event_type": pd.Series("rating", index=ordered.index, dtype="str"),
        "value": ordered["value"].astype("float64"),
    })


def _items(place: Path) -> pd.DataFrame:
    genres = [line.split("|")[0] for line in (place / "u.genre").read_text("latin-1").splitlines() if line.strip()]
    names = ["item_id", "title", "released", "video", "url", *genres]
    raw = pd.read_csv(place / "u.item", sep="|", names=names, header=None, encoding="latin-1")
    marks = raw[genres].to_numpy(dtype=bool)
    words = [[genre for genre, mark in zip(genres, row) if mark and genre != "unknown"] for row in marks]
    return pd.DataFrame({
        "item_id": raw["item_id"],
        "title": raw["title"],
        "category": pd.Series([row[0] if row else None for row in words], dtype="str"),
        "genres": pd.Series([", ".join(row) or None for row in words], dtype="str"),
        "year": pd.to_numeric(raw["released"].str[-4:], errors="coerce"),
    })


def _customers(path: Path) -> pd.DataFrame:
    raw = pd.read_csv(path, sep="|", names=["customer_id", "age", "gender", "segment", "zip_code"], header=None,
                      dtype={"zip_code": "str"})
    return raw[["customer_id", "segment", "age"]].assign(is_adult=raw["age"] >= ADULT_AGE)
