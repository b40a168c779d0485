"""What each policy would have shown before the last label window: slates that nothing logged since had a part in."""

from __future__ import annotations

import pandas as pd

from reclib.ranking.features import KEYS

ENOUGH = 5


def rehearse(ranked: pd.DataFrame, candidates: pd.DataFrame, events: pd.DataFrame, *, k: int,
             decided_at: pd.Timestamp) -> pd.DataFrame:
    """Keep each customer's first k candidates that were on offer, under each policy.

    Args:
        ranked: `ranked` as of an earlier moment, of candidates and possibly of further pairs.
        candidates: the `candidates` of that moment.
        events: `events`; its impressions of the day before that moment tell what was on offer.
        k: slots of a slate.
        decided_at: that moment.

    Returns:
        A `rehearsals` table.
    """
    own = ranked.merge(candidates[KEYS].drop_duplicates(), on=KEYS, validate="many_to_one")
    own = own[~own["item_id"].isin(withdrawn(events, at=decided_at))]
    own = own.sort_values(["policy", "customer_id", "rank"], ignore_index=True)
    own = own.assign(position=own.groupby(["policy", "customer_id"], observed=True).cumcount() + 1, decided_at=decided_at)
    return own.loc[own["position"] <= k, ["policy", *KEYS, "position", "decided_at"]].reset_index(drop=True)


def withdrawn(events: pd.DataFrame, *, at: pd.Timestamp) -> pd.Index:
    """Items that nobody was shown on the last day up to a moment, though they are shown five times a day or more otherwise."""
    shown = events[((events["event_type"] == "impression") & (events["occurred_at"] <= at)).to_numpy()]
    day = shown["occurred_at"].dt.floor("D")
    usual = shown.groupby("item_id", observed=True).size() / shown.assign(day=day).groupby("item_id", observed=True)["day"].nunique()
    last = shown.loc[(day == at.floor("D")).to_numpy(), "item_id"]
    return usual.index[(usual >= ENOUGH) & ~usual.index.isin(last)] if len(last) else usual.index[:0]
