"""Grades of pairs: weighted and decayed events on a bounded scale, with ratings that were given kept as they are."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd

from reclib.signals.shared import age_in_days, rounded, seen

WEIGHTS = {"view": 1.0, "click": 2.0, "add_to_cart": 3.0, "purchase": 5.0, "dismiss": -3.0, "return": -4.0, "complaint": -5.0}
HALF_WAY = 5.0


def build_ratings(events: pd.DataFrame, *, weights: dict[str, float] | None = None, half_life_days: float = 90.0,
                  as_of: pd.Timestamp, scale: tuple[float, float] = (1.0, 5.0)) -> pd.DataFrame:
    """Grade each pair by its weighted, decayed events.

    The strength s is the sum of weight x 2^(-age in days / half_life_days). The rating is middle + half x s / (|s| + 5):
    no signal is the middle, one purchase today three quarters of the way up, refusals pull below the middle. A pair
    with a `rating` event keeps the latest one, lowered by its refusals in the same way and never below the scale.

    Args:
        weights: points an event type; types that are not named, or weigh 0, are not read. `WEIGHTS` where None.
        scale: lowest and highest rating; `rating_scale` finds it for data with ratings.

    Returns:
        A `ratings` table, sorted by its key.

    Raises:
        ValueError: the half-life is not positive, the scale is empty, or a rating event lies outside it.
    """
    weights = WEIGHTS if weights is None else weights
    _check(weights, half_life_days, scale)
    known = seen(events, as_of, ["customer_id", "item_id", "event_type", "value"])
    weight = known["event_type"].astype("str").map(weights).fillna(0.0).to_numpy(float)
    is_rating = (known["event_type"] == "rating").to_numpy()
    kept = (weight != 0) | is_rating
    known, weight, is_rating = known[kept], weight[kept], is_rating[kept]
    decayed = rounded(weight * np.exp2(-age_in_days(known, as_of) / half_life_days))
    points = known.assign(strength=decayed, refusal=np.minimum(decayed, 0.0))
    pairs = points.groupby(["customer_id", "item_id"], observed=True, as_index=False).agg(
        strength=("strength", "sum"), refusal=("refusal", "sum"), n_events=("strength", "size"),
        last_event_at=("occurred_at", "max"))
    pairs = pairs.merge(latest_ratings(points[is_rating], scale), on=["customer_id", "item_id"], how="left",
                        validate="one_to_one")
    low, high = scale
    half = (high - low) / 2
    graded = low + half + half * bounded(pairs["strength"])
    explicit = np.maximum(pairs["explicit"] + half * bounded(pairs["refusal"]), low)
    rating = rounded(np.where(pairs["explicit"].notna(), explicit, graded))
    return pairs.assign(rating=rating)[["customer_id", "item_id", "rating", "n_events", "last_event_at"]]


def rating_scale(events: pd.DataFrame) -> tuple[float, float]:
    """Lowest and highest rating given, or (1, 5) where nobody rated or all ratings are equal."""
    given = events.loc[(events["event_type"] == "rating").to_numpy(), "value"].dropna()
    if given.empty or given.min() == given.max():
        return (min(1.0, given.min()), max(5.0, given.max())) if len(given) else (1.0, 5.0)
    return float(given.min()), float(given.max())


def weight_table(events: pd.DataFrame, weights: dict[str, float], *, as_of: pd.Timestamp) -> pd.DataFrame:
    """Show what each event type weighs, how often it occurs and in what share of the pairs."""
    known = seen(events, as_of, ["customer_id", "item_id", "event_type"])
    n_pairs = max(len(known[["customer_id", "item_id"]].drop_duplicates()), 1)
    pairs = known.drop_duplicates(["customer_id", "item_id", "event_type"])["event_type"].value_counts()
    counts = known["event_type"].value_counts().sort_index()
    table = pd.DataFrame({"event_type": counts.index.astype("str"), "n_events": counts.to_numpy()})
    share = table["event_type"].map(pairs).fillna(0) / n_pairs
    weight = table["event_type"].map(weights).fillna(0.0).where(table["event_type"] != "rating")
    return table.assign(weight=weight, share_of_pairs=share).sort_values(
        ["n_events", "event_type"], ascending=[False, True], ignore_index=True)


def decay_curve(half_life_days: float, *, days: int = 365, step: int = 5) -> pd.DataFrame:
    """What an event still weighs after so many days: columns `days` and `weight`."""
    at = np.arange(0, days + 1, step)
    return pd.DataFrame({"days": at, "weight": np.exp2(-at / half_life_days)})


def rating_spread(ratings: pd.DataFrame, *, scale: tuple[float, float], n_bins: int = 8) -> pd.DataFrame:
    """Share of the pairs in equal bins of the scale: `rating` (from and to) and `share`."""
    edges = np.linspace(*scale, n_bins + 1)
    counts = np.histogram(ratings["rating"], bins=edges)[0]
    names = [f"{low:.3g} to {high:.3g}" for low, high in pairwise(edges)]
    return pd.DataFrame({"rating": names, "share": counts / max(counts.sum(), 1)})


def _check(weights: dict[str, float], half_life_days: float, scale: tuple[float, float]) -> None:
    if not half_life_days > 0:
        raise ValueError(f"half_life_days == {half_life_days}, must be greater than 0.")
    if not scale[0] < scale[1]:
        raise ValueError(f"scale == {scale}, must be (low, high) with low < high.")
    bad = {name: value for name, value in weights.items() if not np.isfinite(value)}
    if bad:
        raise ValueError(f"weights: {bad}, must be finite numbers.")


def latest_ratings(rated: pd.DataFrame, scale: tuple[float, float]) -> pd.DataFrame:
    outside = rated[(rated["value"] < scale[0]) | (rated["value"] > scale[1]) | rated["value"].isna()]
    if len(outside):
        raise ValueError(f"events: rating {outside['value'].iloc[0]} lies outside the scale {scale} ({len(outside):,} rows).")
    ordered = rated.sort_values(["occurred_at", "value"], kind="stable")
    latest = ordered.drop_duplicates(["customer_id", "item_id"], keep="last")
    return latest[["customer_id", "item_id", "value"]].rename(columns={"value": "explicit"})


def bounded(strength):
    return strength / (np.abs(strength) + HALF_WAY)
