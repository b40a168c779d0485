"""From tables to labelled windows: who is learnt from, and what was known of them at each cut."""

from __future__ import annotations

import numpy as np
import pandas as pd

from reclib.ranking.features import features
from reclib.ranking.labels import Plan, offered


def sample(customers: pd.DataFrame, *, most: int, seed: int) -> pd.DataFrame:
    """Keep at most so many customers, chosen by a salted hash of their id, so that each run keeps the same."""
    if len(customers) <= most:
        return customers
    ids = customers["customer_id"].astype("str").to_numpy(dtype=object)
    keys = pd.util.hash_array(ids, hash_key=f"{seed:016d}"[-16:], categorize=False)
    return customers.iloc[np.sort(np.argsort(keys, kind="stable")[:most])]


def width(candidates: pd.DataFrame) -> int:
    """The most distinct items that a customer was offered."""
    pairs = candidates[["customer_id", "item_id"]].drop_duplicates()
    return int(pairs.groupby("customer_id").size().max()) if len(pairs) else 0


def known_at(customers: pd.DataFrame | None, events: pd.DataFrame, *, as_of: pd.Timestamp) -> pd.DataFrame:
    """Customers with an event up to `as_of`, with what the table `customers` says of them."""
    seen = events.loc[(events["occurred_at"] <= as_of).to_numpy(), ["customer_id"]].drop_duplicates()
    seen = seen.sort_values("customer_id", ignore_index=True)
    if customers is None:
        return seen
    return seen.merge(customers, on="customer_id", how="left", validate="one_to_one")


def describe(events: pd.DataFrame, items: pd.DataFrame, customers: pd.DataFrame | None, candidates: pd.DataFrame,
             plan: Plan, *, cut: pd.Timestamp) -> pd.DataFrame:
    """Features of all candidates at a cut, and of what was offered after it where offers are recorded."""
    pairs = offered(candidates, events, plan, cut=cut) if cut < plan.as_of else candidates
    return features(events, items, customers, pairs, as_of=cut, response=plan.response)
