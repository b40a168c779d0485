"""Open Bandit: what a fashion shop showed under two policies, with the probability of each showing, and the clicks."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from reclib.sources import source
from reclib.sources.source import About, Source

POLICIES = ("random", "bts")
_RANDOMISED = "Each item was drawn with the probability that the log states: off-policy values are sound."
ABOUT = About(
    name="open-bandit",
    about="20,000 logged impressions of 34 fashion items under a uniform and a Thompson sampling policy, with clicks.",
    kind="log",
    tables=("items", "logged_deliveries", "logged_outcomes"),
    lacks={
        "events": "Open Bandit names no customers, so there is no history to learn from.",
        "customers": "Open Bandit names no customers.",
        "holdout": "Open Bandit names no customers, so no pairs can be held out.",
        "units": "Open Bandit names no customers, so there is no experiment with customers as units.",
        "overrides": "Open Bandit has no pins or blocks set by hand.",
        "price": "Open Bandit has no prices.",
        "stock": "Open Bandit has no stock.",
        "unit_cost": "Open Bandit has no unit cost.",
    },
    files=("random/men.csv", "bts/men.csv", "item_context_men.csv"),
)
_CONTEXT = [f"user_feature_{at}" for at in range(4)]
_USED = ["timestamp", "item_id", "position", "click", "propensity_score", *_CONTEXT]


def load(place: Path, *, as_of: str = "") -> Source:
    """Load both logs as `logged_deliveries` and `logged_outcomes`, and the items.

    Args:
        place: the folder of `random/men.csv`, `bts/men.csv` and `item_context_men.csv`.
        as_of: last day that may be seen; the last day of the data where empty.
    """
    items = pd.read_csv(place / "item_context_men.csv", index_col=0).sort_values("item_id", ignore_index=True)
    log = pd.concat([_log(place / policy / "men.csv", policy) for policy in POLICIES], ignore_index=True)
    tables = {
        "items": items,
        "logged_deliveries": log.drop(columns="click").assign(n_eligible=len(items)),
        "logged_outcomes": _clicks(log),
    }
    until = source.end_of_day(as_of) if as_of else source.last_day(tables)
    tables = source.cut(tables, until)
    found = source.facts(ABOUT, tables, as_of=until, is_randomised=True, randomised_why=_RANDOMISED,
                         logging_policies=list(POLICIES), context_columns=_CONTEXT, assumptions=[
        "The reward is a click, worth 1; the shop's money is not in the data.",
        "Contexts are hashed features of the visitor; nobody can be followed from one visit to the next.",
    ])
    return Source(ABOUT.name, tables, found)


def _log(path: Path, policy: str) -> pd.DataFrame:
    raw = pd.read_csv(path, usecols=["Unnamed: 0", *_USED]).rename(columns={"Unnamed: 0": "at"})
    return pd.DataFrame({
        "decision_id": policy + "-" + raw["at"].astype("str"),
        "delivered_at": pd.to_datetime(raw["timestamp"], utc=True, format="ISO8601").astype("datetime64[us, UTC]"),
        "item_id": raw["item_id"],
        "position": raw["position"],
        "policy": policy,
        "p_shown": raw["propensity_score"],
        "channel": "web",
        "click": raw["click"],
        **{name: raw[name] for name in _CONTEXT},
    })


def _clicks(log: pd.DataFrame) -> pd.DataFrame:
    clicked = log.loc[log["click"] > 0].reset_index(drop=True)
    return pd.DataFrame({
        "decision_id": clicked["decision_id"],
        "outcome_type": pd.Series("click", index=clicked.index, dtype="str"),
        "occurred_at": clicked["delivered_at"],
        "value": clicked["click"].astype("float64"),
    })
