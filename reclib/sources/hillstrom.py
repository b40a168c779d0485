"""Hillstrom: a randomised e-mail experiment with three arms among 64,000 customers of a shop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from reclib.sources import source
from reclib.sources.source import About, Source

_RANDOMISED = "Customers were assigned to the three arms at random."
ABOUT = About(
    name="hillstrom",
    about="A randomised e-mail experiment of 2008: 64,000 customers, three arms; visit, conversion and spend in two weeks.",
    kind="experiment",
    tables=("units",),
    lacks={
        "events": "Hillstrom has no events, only one row a customer.",
        "items": "Hillstrom has no items.",
        "customers": "Hillstrom's customers are the units of its experiment; no recommendation is made to them.",
        "holdout": "Hillstrom has no pairs of customers and items.",
        "logged_deliveries": "Hillstrom has no log of what was shown.",
        "logged_outcomes": "Hillstrom has no log of what was shown.",
        "overrides": "Hillstrom has no pins or blocks set by hand.",
    },
    files=("hillstrom.csv",),
)
PLAN = {
    "experiment_id": "hillstrom-2008",
    "control": "No E-Mail",
    "expected_shares": {"Mens E-Mail": 1 / 3, "No E-Mail": 1 / 3, "Womens E-Mail": 1 / 3},
    "alpha": 0.05,
    "metrics": {
        "visit": {"role": "success", "kind": "proportion", "about": "share of customers who came to the site"},
        "conversion": {"role": "success", "kind": "proportion", "about": "share of customers who bought"},
        "spend": {"role": "success", "kind": "mean", "about": "USD a customer"},
    },
    "covariates": ["recency", "history", "mens", "womens", "newbie"],
}


def load(place: Path, *, as_of: str = "") -> Source:
    """Load the experiment as `units` with its plan.

    Args:
        place: the folder of `hillstrom.csv`.
        as_of: kept in the facts; the data has no dates.
    """
    raw = pd.read_csv(place / "hillstrom.csv")
    units = raw.drop(columns="segment").assign(
        experiment_id=PLAN["experiment_id"],
        customer_id=np.arange(1, len(raw) + 1),
        arm=raw["segment"],
        zip_code=raw["zip_code"].replace("Surburban", "Suburban"),
    )
    tables = {"units": units}
    until = source.end_of_day(as_of) if as_of else None
    found = source.facts(ABOUT, tables, as_of=until, currency="USD", experiment=PLAN, is_randomised=True,
                         randomised_why=_RANDOMISED, assumptions=[
        "Customers have no id in the source: the row number stands for it.",
        "The plan (control, metrics, covariates) is ours, written from the challenge's own question; no margin was registered.",
        "Spend is in US dollars, over the two weeks after the e-mail.",
        f"{int((raw['zip_code'] == 'Surburban').sum()):,} rows spelt Surburban are read as Suburban.",
    ])
    return Source(ABOUT.name, tables, found)
