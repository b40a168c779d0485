"""What the ranker is taught: which pairs responded in the days after each cut, in time order.

Two populations, never mixed. Where the source records impressions, a pair counts once it was offered in the label
window, and `p_response` is the probability that a customer who is offered the item in a window responds before it ends.
Elsewhere nobody knows what was offered: every candidate pair counts, and `p_response` is the probability that the
customer responds within the window, offered or not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from reclib.ranking.log import RATING_LIKED, is_response, moment, response_type

OFFERED, CANDIDATE = "offered", "candidate"
MIN_HISTORY_SHARE = 0.25
MIN_WINDOWS, MAX_WINDOWS, FEW_EVENTS = 3, 5, 200_000


@dataclass(frozen=True)
class Plan:
    """What a response is, over how many days it counts, and the cuts of the label windows, in time order.

    Attributes:
        response: event type that counts.
        population: `offered` or `candidate`.
        label_days: length of a label window.
        cuts: moments at which features are read; the label window follows each.
        as_of: end of the last window.
        sentences: what the page says about it.
    """

    response: str
    population: str
    label_days: int
    cuts: tuple[pd.Timestamp, ...]
    as_of: pd.Timestamp
    sentences: tuple[str, ...]


def plan(events: pd.DataFrame, *, as_of: str | pd.Timestamp, label_days: int = 28,
         n_windows: int | None = None) -> Plan:
    """Lay label windows back to back before `as_of`; shorten them where the history is too short, and say so.

    The first window starts after at least a quarter of the history. Where `n_windows` is not given, there are three,
    or up to five where at most 200,000 events leave few responses to learn from and the history is long enough.

    Raises:
        ValueError: nothing to learn from, or a history of less than a day a window.
    """
    end = moment(as_of)
    past = events[(events["occurred_at"] <= end).to_numpy()]
    if not len(past):
        raise ValueError(f"events: none up to {end:%Y-%m-%d}; the ranker has nothing to learn from.")
    response = response_type(past)
    history = (end - past["occurred_at"].min()).total_seconds() / 86_400
    n_windows = n_windows or _n_windows(len(past), history, label_days)
    longest = int(history * (1 - MIN_HISTORY_SHARE) / n_windows)
    if longest < 1:
        raise ValueError(f"events: {history:.1f} days of history, must be at least "
                         f"{n_windows / (1 - MIN_HISTORY_SHARE):.0f} for {n_windows} label windows of a day.")
    days = min(label_days, longest)
    cuts = tuple(end - pd.Timedelta(days=days * (n_windows - index)) for index in range(n_windows))
    population = _population(past, response, cuts[0], days)
    said = [_label_sentence(response, population, days)]
    if days < label_days:
        said.append(f"Label windows are {days} days instead of {label_days}: the history has {history:.0f} days, "
                    f"and {n_windows} windows and what comes before them must fit in.")
    return Plan(response, population, days, cuts, end, tuple(said))


def _n_windows(n_events: int, history: float, label_days: int) -> int:
    most = MAX_WINDOWS if n_events <= FEW_EVENTS else MIN_WINDOWS
    return max(MIN_WINDOWS, min(most, int(history * (1 - MIN_HISTORY_SHARE) / max(label_days, 1))))


def _population(past: pd.DataFrame, response: str, first_cut: pd.Timestamp, days: int) -> str:
    shown = past.loc[(past["event_type"] == "impression").to_numpy(), "occurred_at"]
    covers = len(shown) > 0 and shown.min() <= first_cut + pd.Timedelta(days=days)
    return OFFERED if covers and response != "rating" else CANDIDATE


def _label_sentence(response: str, population: str, days: int) -> str:
    does = {"purchase": "buys the item", "rating": f"rates the item {RATING_LIKED:g} or better",
            "click": "clicks the item"}[response]
    if population == OFFERED:
        return (f"p_response is the probability that the customer {does} in the {days} days in which it is offered; "
                f"it is learnt from pairs that were offered.")
    return (f"p_response is the probability that the customer {does} within {days} days; the source does not record "
            f"what was offered, so that it says nothing on what the offer itself adds.")


def label(frame: pd.DataFrame, events: pd.DataFrame, plan: Plan, *, cut: pd.Timestamp,
          population: str | None = None) -> pd.DataFrame:
    """Add `label` to features read at `cut`: 1 where the pair responded in the window, else 0.

    Under `offered`, only pairs with an impression in the window are kept, and only responses at or after the pair's
    first impression in it count.
    """
    close = cut + pd.Timedelta(days=plan.label_days)
    inside = events[((events["occurred_at"] > cut) & (events["occurred_at"] <= close)).to_numpy()]
    answered = inside[is_response(inside, plan.response)]
    if (population or plan.population) == CANDIDATE:
        pairs = answered[["customer_id", "item_id"]].drop_duplicates().assign(label=1)
        return with_label(frame, pairs)
    shown = inside[(inside["event_type"] == "impression").to_numpy()]
    first = shown.groupby(["customer_id", "item_id"], sort=False, as_index=False)["occurred_at"].min()
    last = answered.groupby(["customer_id", "item_id"], sort=False, as_index=False)["occurred_at"].max()
    both = first.merge(last, how="left", on=["customer_id", "item_id"], suffixes=("", "_answer"), validate="one_to_one")
    pairs = both[["customer_id", "item_id"]].assign(label=(both["occurred_at_answer"] >= both["occurred_at"]).astype(int))
    return frame.merge(pairs, on=["customer_id", "item_id"], how="inner", validate="one_to_one")


def with_label(frame: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Add `label` to every row: that of the pair in `pairs`, else 0."""
    merged = frame.merge(pairs, on=["customer_id", "item_id"], how="left", validate="one_to_one")
    return merged.assign(label=merged["label"].fillna(0).astype(int))


def offered(candidates: pd.DataFrame, events: pd.DataFrame, plan: Plan, *, cut: pd.Timestamp) -> pd.DataFrame:
    """Add the pairs that were offered to the same customers in the window and that no source proposed.

    Returns:
        `candidates` with further rows of source `offered`, whose rank is one below the longest list; unchanged where
        offers are not recorded.
    """
    if plan.population == CANDIDATE:
        return candidates
    close = cut + pd.Timedelta(days=plan.label_days)
    is_shown = ((events["event_type"] == "impression") & (events["occurred_at"] > cut)
                & (events["occurred_at"] <= close)).to_numpy()
    pairs = events.loc[is_shown, ["customer_id", "item_id"]].drop_duplicates()
    pairs = pairs[pairs["customer_id"].isin(candidates["customer_id"])]
    known = pd.MultiIndex.from_frame(candidates[["customer_id", "item_id"]].drop_duplicates())
    extra = pairs[~pd.MultiIndex.from_frame(pairs).isin(known)]
    return pd.concat([candidates, extra.assign(
        source=OFFERED, source_rank=int(candidates["source_rank"].max()) + 1 if len(candidates) else 1,
        source_score=0.0, is_known_customer=True, is_known_item=True)], ignore_index=True)


def responses(events: pd.DataFrame, plan: Plan, *, cut: pd.Timestamp) -> pd.DataFrame:
    """Pairs that responded in the window after `cut`, with `is_new` (no response of the pair before)."""
    close = cut + pd.Timedelta(days=plan.label_days)
    answers = events[is_response(events, plan.response)]
    inside = answers[((answers["occurred_at"] > cut) & (answers["occurred_at"] <= close)).to_numpy()]
    pairs = inside[["customer_id", "item_id"]].drop_duplicates()
    return with_task(pairs, events, plan, cut=cut)


def with_task(pairs: pd.DataFrame, events: pd.DataFrame, plan: Plan, *, cut: pd.Timestamp) -> pd.DataFrame:
    """Set `is_new` of pairs: the customer had not responded to the item up to `cut`."""
    answers = events[is_response(events, plan.response)]
    before = answers.loc[(answers["occurred_at"] <= cut).to_numpy(), ["customer_id", "item_id"]].drop_duplicates()
    pairs = pairs[["customer_id", "item_id"]].drop_duplicates()
    merged = pairs.merge(before.assign(is_old=1.0), how="left", on=["customer_id", "item_id"], validate="one_to_one")
    return merged.assign(is_new=merged["is_old"].isna().to_numpy()).drop(columns="is_old").sort_values(
        ["customer_id", "item_id"], ignore_index=True)


def summary(windows: list[pd.DataFrame], plan: Plan, *, is_last_judged: bool = True) -> pd.DataFrame:
    """Count pairs, customers and responses of each labelled window, and say what it is for.

    The last one judges, or where `is_last_judged` is false, calibrates.
    """
    last = ["calibrate", "test"] if is_last_judged else ["calibrate"]
    roles = ["train"] * (len(windows) - len(last)) + last
    rows = [{"window": role, "from": f"{cut:%Y-%m-%d}", "n_pairs": len(frame),
             "n_customers": frame["customer_id"].nunique(), "n_responses": int(frame["label"].sum()),
             "base_rate": float(frame["label"].mean()) if len(frame) else np.nan}
            for role, cut, frame in zip(roles[-len(windows):], plan.cuts, windows)]
    return pd.DataFrame(rows)
