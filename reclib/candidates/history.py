"""What the sources learn from: the events up to a moment, encoded once and shared by all sources."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

RESPONSES = ("purchase", "rating", "click", "add_to_cart", "view")
INTERESTS = {"purchase": ("purchase", "add_to_cart", "click"), "rating": ("rating",), "click": ("click",),
             "add_to_cart": ("add_to_cart",), "view": ("view",)}
REFUSALS = ("dismiss", "return", "complaint")
LIKED_FROM = 0.75
REPEAT_SHARE = 0.05
DAY = pd.Timedelta(days=1)
_COLUMNS = ("occurred_at", "customer_id", "item_id", "event_type", "value")


@dataclass(frozen=True)
class History:
    """Events up to `as_of`, as whole-number codes of customers and items (in the order of their ids).

    Attributes:
        as_of: nothing later was read.
        response: event type that counts as success: purchase, else rating, click, add_to_cart, view.
        repeats_allowed: whether what a customer had before may be offered again.
        customers, items: sorted ids; a code is a place in them. `items` holds the catalogue as well.
        pairs: one row a pair with any response or interest: `customer`, `item` (codes), `n` (responses),
            `grade` (graded signal), `is_liked`, `is_had` (had a response), `first_day`, `last_day` (days before as_of).
        responses: one row a response: `customer`, `item`, `day` (days before as_of, not negative).
        catalogue: `items` table in the order of `items`, rows of unknown items empty.
        segments: segment by customer id, where the customers table has one.
    """

    as_of: pd.Timestamp
    response: str
    repeats_allowed: bool
    customers: pd.Index
    items: pd.Index
    pairs: pd.DataFrame
    responses: pd.DataFrame
    catalogue: pd.DataFrame
    segments: pd.Series | None = None

    def liked(self) -> sparse.csr_matrix:
        """Customers x items, 1 where the customer liked the item."""
        kept = self.pairs[self.pairs["is_liked"]]
        return self.matrix(kept, np.ones(len(kept)))

    def had(self) -> sparse.csr_matrix:
        """Customers x items, 1 where the customer had the item (bought, rated or whatever the response is)."""
        kept = self.pairs[self.pairs["is_had"]]
        return self.matrix(kept, np.ones(len(kept)))

    def matrix(self, pairs: pd.DataFrame, values: np.ndarray) -> sparse.csr_matrix:
        """Put values of pairs into a customers x items matrix."""
        shape = (len(self.customers), len(self.items))
        return sparse.csr_matrix((values, (pairs["customer"], pairs["item"])), shape=shape)

    def popularity(self, days: float | None = None) -> np.ndarray:
        """Distinct customers with a liked response to each item in the last so many days (all, where None)."""
        recent = self.responses if days is None else self.responses[self.responses["day"] < days]
        pairs = recent[["customer", "item"]].drop_duplicates()
        if self.response == "rating":
            pairs = pairs.merge(self.pairs.loc[self.pairs["is_liked"], ["customer", "item"]], validate="many_to_one")
        return np.bincount(pairs["item"], minlength=len(self.items)).astype(float)

    def head(self, n_items: int, *, min_customers: int = 1) -> np.ndarray:
        """Codes, ascending, of the most liked items: at most so many, each liked by enough customers."""
        liked = self.pairs.loc[self.pairs["is_liked"], "item"]
        counts = np.bincount(liked, minlength=len(self.items))
        order = np.lexsort((np.arange(len(counts)), -counts))[:n_items]
        return np.sort(order[counts[order] >= min_customers])


def learn(events: pd.DataFrame, items: pd.DataFrame | None = None, customers: pd.DataFrame | None = None, *,
          as_of: pd.Timestamp, ratings: pd.DataFrame | None = None, repeats_allowed: bool | None = None,
          half_life_days: float = 90.0) -> History:
    """Encode the events up to `as_of` for the sources.

    Args:
        events, items, customers: tables; the last two may be absent.
        as_of: later events are not read, whatever they hold.
        ratings: graded signals as of the same moment; without them a pair's grade is its mean rating, or
            1 + 4 (1 - exp(-its decayed responses and interests)) where nobody rated.
        repeats_allowed: None means: found from the data (5 % of bought pairs were bought on two days or more).
        half_life_days: after so many days an event counts half in the grade.

    Raises:
        ValueError: no event up to `as_of` can be learnt from, or a rating is not a finite number.
    """
    known = events.loc[(events["occurred_at"] <= as_of).to_numpy(), list(_COLUMNS)]
    response = next((kind for kind in RESPONSES if (known["event_type"] == kind).any()), None)
    if response is None:
        raise ValueError(f"events: none of {list(RESPONSES)} up to {as_of}; a candidate source needs one at least.")
    known = known[known["event_type"].isin(INTERESTS[response] + REFUSALS)]
    check_ratings(known)
    customer_ids = _index(known["customer_id"])
    catalogue_ids = known["item_id"] if items is None else pd.concat([known["item_id"], items["item_id"]])
    item_ids = _index(catalogue_ids)
    log = pd.DataFrame({
        "customer": customer_ids.get_indexer(known["customer_id"]), "item": item_ids.get_indexer(known["item_id"]),
        "day": (as_of - known["occurred_at"]).to_numpy() / np.timedelta64(1, "D"),
        "kind": known["event_type"].astype("str").to_numpy(), "value": known["value"].to_numpy(float),
    })
    pairs = _pairs(log, response, half_life_days)
    if ratings is not None:
        pairs = _graded(pairs, ratings, customer_ids, item_ids)
    responses = log.loc[(log["kind"] == response).to_numpy(), ["customer", "item", "day"]].reset_index(drop=True)
    if repeats_allowed is None:
        repeats_allowed = _repeat_share(responses) >= REPEAT_SHARE and response != "rating"
    catalogue = pd.DataFrame({"item_id": item_ids})
    if items is not None:
        catalogue = catalogue.merge(items, on="item_id", how="left", validate="one_to_one")
    segments = None
    if customers is not None and "segment" in customers:
        segments = customers.set_index("customer_id")["segment"].dropna()
    return History(as_of, response, bool(repeats_allowed), customer_ids, item_ids, pairs, responses, catalogue, segments)


def check_ratings(events: pd.DataFrame) -> None:
    """Refuse ratings that are missing or infinite; other events may have no value.

    Raises:
        ValueError: there are such ratings.
    """
    _check_finite(events.loc[(events["event_type"] == "rating").to_numpy(), "value"], "events")


def _check_finite(given: pd.Series, table: str) -> None:
    bad = given[~np.isfinite(given.to_numpy(float, na_value=np.nan))]
    if len(bad):
        raise ValueError(f"{table}: {len(bad):,} of {len(given):,} ratings are no finite numbers, the first is {bad.iloc[0]}; "
                         "give each a number or leave its row out.")


def _index(ids: pd.Series) -> pd.Index:
    return pd.Index(ids.drop_duplicates().sort_values())


def _pairs(log: pd.DataFrame, response: str, half_life_days: float) -> pd.DataFrame:
    """One row a pair: counts, grade and the flags `is_liked` and `is_had`."""
    n_items = int(log["item"].max()) + 1
    key = log["customer"].to_numpy(np.int64) * n_items + log["item"].to_numpy()
    pair, place = np.unique(key, return_inverse=True)
    is_response = (log["kind"] == response).to_numpy()
    is_refusal = log["kind"].isin(REFUSALS).to_numpy()
    decay = np.exp2(-log["day"].to_numpy() / half_life_days)
    n = np.bincount(place, is_response, len(pair))
    signal = np.bincount(place, np.where(is_refusal, -decay, decay), len(pair))
    days = log["day"].to_numpy()
    last, first = np.full(len(pair), np.inf), np.full(len(pair), -np.inf)
    np.minimum.at(last, place, days)
    np.maximum.at(first, place, days)
    if response == "rating":
        grade = np.bincount(place, np.where(is_response, log["value"], 0.0), len(pair)) / np.maximum(n, 1)
        low, high = grade[n > 0].min(), grade[n > 0].max()
        is_liked = (n > 0) & (grade >= low + LIKED_FROM * (high - low))
    else:
        grade = 1 + 4 * (1 - np.exp(-np.maximum(signal, 0)))
        is_liked = np.round(signal, 9) > 0
    return pd.DataFrame({
        "customer": (pair // n_items).astype(np.int64), "item": (pair % n_items).astype(np.int64), "n": n.astype(np.int64),
        "grade": np.round(grade, 6), "is_liked": is_liked, "is_had": n > 0, "first_day": first, "last_day": last,
    })


def _graded(pairs: pd.DataFrame, ratings: pd.DataFrame, customers: pd.Index, items: pd.Index) -> pd.DataFrame:
    """Take the grade of each pair from the ratings table where it has one."""
    _check_finite(ratings["rating"], "ratings")
    graded = pd.DataFrame({
        "customer": customers.get_indexer(ratings["customer_id"]), "item": items.get_indexer(ratings["item_id"]),
        "rating": ratings["rating"].to_numpy(float),
    }).query("customer >= 0 and item >= 0")
    merged = pairs.merge(graded, on=["customer", "item"], how="left", validate="one_to_one")
    return merged.assign(grade=merged["rating"].fillna(merged["grade"])).drop(columns="rating")


def _repeat_share(responses: pd.DataFrame) -> float:
    """Share of pairs with responses at least a day apart."""
    if responses.empty:
        return 0.0
    spread = responses.groupby(["customer", "item"])["day"].agg(["min", "max"])
    return float((spread["max"] - spread["min"] >= 1).mean())
