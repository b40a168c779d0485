"""How good each source is: learnt before a cut, judged on what came after, the two tasks kept apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from reclib import metrics
from reclib.candidates.base import COLUMNS
from reclib.candidates.generate import votes
from reclib.candidates.history import DAY, LIKED_FROM, RESPONSES, check_ratings

SHORT_SHARE = 0.2
AGAIN_VOTES = 8
TASKS = {"all": "everything", "again": "had before", "new": "new to the customer"}


@dataclass(frozen=True)
class Split:
    """What may be learnt from and what is judged.

    Attributes:
        cut: last moment that may be learnt from.
        learn: events up to the cut.
        truth: `customer_id`, `item_id`, `is_new` of the pairs to be found; customers of both parts only.
        cold: `customer_id`, `item_id` of the pairs of customers without a history.
        sentence: says where the cut is and how many pairs and customers are judged.
    """

    cut: pd.Timestamp
    learn: pd.DataFrame
    truth: pd.DataFrame
    cold: pd.DataFrame
    sentence: str


def split(events: pd.DataFrame, *, as_of: pd.Timestamp, holdout: pd.DataFrame | None = None,
          holdout_days: float = 28.0) -> Split:
    """Take the holdout table where there is one; else keep the last days (the last fifth of a short log) for judging.

    Pairs to be found are responses after the cut (ratings: at least three quarters up the scale).

    Raises:
        ValueError: `holdout_days` is not positive, the log has no response, or a rating is not a finite number.
    """
    if not 0 < holdout_days < float("inf"):
        raise ValueError(f"holdout_days == {holdout_days}, must be a finite number greater than 0.")
    known = events[(events["occurred_at"] <= as_of).to_numpy()]
    response = next((kind for kind in RESPONSES if (known["event_type"] == kind).any()), None)
    if response is None:
        raise ValueError(f"events: none of {list(RESPONSES)} up to {as_of}; nothing can be held out.")
    responses = known[(known["event_type"] == response).to_numpy()]
    check_ratings(responses)
    if holdout is not None:
        return _split(as_of, known, responses, holdout, "the source's own holdout")
    span = as_of - responses["occurred_at"].min()
    is_short = span / DAY < 4 * holdout_days
    cut = as_of - (SHORT_SHARE * span if is_short else holdout_days * DAY)
    is_after = (known["occurred_at"] > cut).to_numpy()
    liked = _liked(responses)
    later = liked[(liked["occurred_at"] > cut).to_numpy()]
    about = f"the last {(as_of - cut) / DAY:.0f} days" + (" (a fifth of a short log)" if is_short else "")
    return _split(cut, known[~is_after], responses[(responses["occurred_at"] <= cut).to_numpy()], later, about)


def judge(learn: pd.DataFrame, later: pd.DataFrame, *, about: str) -> Split:
    """Learn from some events and judge on what others hold of liked responses: any split that somebody has made."""
    return _split(learn["occurred_at"].max(), learn, _responses(learn), _liked(_responses(later)), about)


def _split(cut: pd.Timestamp, learn: pd.DataFrame, before: pd.DataFrame, later: pd.DataFrame, about: str) -> Split:
    pairs = later[["customer_id", "item_id"]].drop_duplicates().sort_values(["customer_id", "item_id"])
    is_warm = pairs["customer_id"].isin(learn["customer_id"].unique()).to_numpy()
    had = before[["customer_id", "item_id"]].drop_duplicates()
    truth = pairs[is_warm].merge(had.assign(is_new=False), on=["customer_id", "item_id"], how="left", validate="one_to_one")
    truth, cold = truth.assign(is_new=truth["is_new"].isna()), pairs[~is_warm].reset_index(drop=True)
    n_cold = cold["customer_id"].nunique()
    sentence = (f"Judged on {about}: {len(truth):,} pairs of {truth['customer_id'].nunique():,} customers with a history, "
                f"{100 * truth['is_new'].mean() if len(truth) else 0:.0f} % of them new to the customer; "
                f"{n_cold:,} customers without a history are judged apart.")
    return Split(cut, learn, truth, cold, sentence)


def random_split(events: pd.DataFrame, *, as_of: pd.Timestamp, rng: np.random.Generator, share: float = SHORT_SHARE) -> Split:
    """Keep a random share of the pairs for judging, whatever their time: what a time split is to be compared with.

    All events of a kept pair are taken out, so every pair to be found is new to its customer.
    """
    whole = split(events, as_of=as_of, holdout=events.head(0))
    responses = _responses(whole.learn)
    pairs = responses[["customer_id", "item_id"]].drop_duplicates().sort_values(["customer_id", "item_id"], ignore_index=True)
    kept = pairs[rng.random(len(pairs)) < share].assign(is_kept=True)
    marked = whole.learn[["customer_id", "item_id"]].merge(kept, on=["customer_id", "item_id"], how="left", validate="many_to_one")
    learn = whole.learn[marked["is_kept"].isna().to_numpy()]
    liked = _liked(responses).merge(kept, on=["customer_id", "item_id"], validate="many_to_one")
    return _split(as_of, learn, _responses(learn), liked, f"a random {100 * share:.0f} % of the pairs")


def served(events: pd.DataFrame, customers: pd.DataFrame | None) -> pd.DataFrame:
    """The customers whom candidates are made for: the customers table, or everybody in the events."""
    return pd.DataFrame({"customer_id": events["customer_id"].unique()}) if customers is None else customers


def _responses(events: pd.DataFrame) -> pd.DataFrame:
    response = next(kind for kind in RESPONSES if (events["event_type"] == kind).any())
    return events[(events["event_type"] == response).to_numpy()]


def _liked(responses: pd.DataFrame) -> pd.DataFrame:
    """Responses that count as liked: all, but ratings only from three quarters up the scale."""
    if responses.empty or (responses["event_type"] != "rating").any():
        return responses
    low, high = responses["value"].min(), responses["value"].max()
    return responses[(responses["value"] >= low + LIKED_FROM * (high - low)).to_numpy()]


def ranked_lists(candidates: pd.DataFrame) -> pd.DataFrame:
    """Order each customer's merged candidates by their votes: `customer_id`, `item_id`, `rank`, `score`.

    What is bought again has one source only, where up to eight agree on what is new: its votes count eight times.
    """
    pairs = candidates[["customer_id", "item_id"]].assign(score=votes(candidates, again=AGAIN_VOTES))
    pairs = pairs.groupby(["customer_id", "item_id"], as_index=False, observed=True)["score"].sum()
    pairs = pairs.sort_values(["customer_id", "score", "item_id"], ascending=[True, False, True], ignore_index=True)
    return pairs.assign(rank=pairs.groupby("customer_id").cumcount() + 1)


def tasks(truth: pd.DataFrame, *, repeats_allowed: bool) -> dict[str, pd.DataFrame]:
    """The pairs to be found by task; one task only where nothing may be offered twice."""
    if not repeats_allowed:
        return {"new": truth[truth["is_new"]]}
    return {"all": truth, "again": truth[~truth["is_new"]], "new": truth[truth["is_new"]]}


def lists(offers: pd.DataFrame, candidates: pd.DataFrame) -> pd.DataFrame:
    """Every source's list and the merged one: `stage`, `customer_id`, `item_id`, `rank`."""
    own = offers.rename(columns={"source": "stage", "source_rank": "rank"})
    columns = ["stage", "customer_id", "item_id", "rank"]
    return pd.concat([own[columns], ranked_lists(candidates).assign(stage="merged")[columns]], ignore_index=True)


def per_customer(listed: pd.DataFrame, truth: pd.DataFrame, *, k: int, n_candidates: int) -> pd.DataFrame:
    """Recall at `n_candidates` and NDCG at `k` of each stage of `lists`.

    All stages are judged in one go: a customer of a stage is a customer of its own.

    Returns:
        One row a customer of `truth`, one column a (stage, metric, k).
    """
    found = listed.merge(truth[["customer_id", "item_id"]], on=["customer_id", "item_id"], validate="many_to_one")
    stages, customers = pd.Index(listed["stage"].unique()), pd.Index(truth["customer_id"].unique())
    width = max(len(customers), 1)
    rows = found.assign(customer_id=stages.get_indexer(found["stage"]) * width + customers.get_indexer(found["customer_id"]))
    pairs = pd.DataFrame({"customer_id": (np.arange(len(stages))[:, None] * width + customers.get_indexer(truth["customer_id"])).ravel(),
                          "item_id": np.tile(truth["item_id"].to_numpy(), len(stages))}).astype({"item_id": truth["item_id"].dtype})
    values = {("recall", n_candidates): metrics.recall_at_k(rows, pairs, k=n_candidates), (metrics.NDCG, k): metrics.ndcg_at_k(rows, pairs, k=k)}
    by_stage = {name: series.to_numpy().reshape(len(stages), len(customers)) for name, series in values.items()}
    columns = pd.MultiIndex.from_tuples([(stage, *name) for stage in stages for name in values], names=["stage", "metric", "k"])
    return pd.DataFrame(np.stack(list(by_stage.values()), axis=1).reshape(len(columns), len(customers)).T, index=customers, columns=columns)


def measure(offers: pd.DataFrame, candidates: pd.DataFrame, truth: pd.DataFrame, *, eligible: pd.Index, k: int,
            n_candidates: int, repeats_allowed: bool, rng: np.random.Generator) -> pd.DataFrame:
    """Measure sources and merge on each task, with intervals over customers, and their reach over the catalogue.

    Args:
        offers: what each source offered before the merge; candidates: what was kept.
        truth: pairs to be found, with `is_new`.
        eligible: items that might have been offered.

    Returns:
        `stage`, `metric` (recall_<task>, ndcg..._<task>, coverage, exposure_gini), `k`, `value`, `low`, `high`,
        `n_customers`.
    """
    listed, rows = lists(offers, candidates), []
    for task, pairs in tasks(truth, repeats_allowed=repeats_allowed).items():
        found = metrics.mean_intervals(per_customer(listed, pairs, k=k, n_candidates=n_candidates), rng=rng)
        for (stage, metric, depth), row in found.to_dict("index").items():
            rows.append({"stage": stage, "metric": f"{metric}_{task}", "k": depth} | row)
    for stage, found in listed.groupby("stage", sort=False):
        reach = {"low": float("nan"), "high": float("nan"), "n_customers": found["customer_id"].nunique()}
        rows.append({"stage": stage, "metric": "coverage", "k": k, "value": metrics.coverage_at_k(found, eligible, k=k)} | reach)
        rows.append({"stage": stage, "metric": "exposure_gini", "k": k,
                     "value": metrics.exposure_gini_at_k(found, eligible, k=k)} | reach)
    return pd.DataFrame(rows)


def unique_hits(offers: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """Count what each source finds, and what no other source finds: `source`, `n_hits`, `n_unique_hits`, `recall`."""
    found = offers[COLUMNS[:3]].merge(truth[["customer_id", "item_id"]], on=["customer_id", "item_id"], validate="many_to_one")
    n_sources = found.groupby(["customer_id", "item_id"])["source"].transform("size")
    names = pd.Index(offers["source"].unique(), name="source")
    hits = found.groupby("source").size().reindex(names).fillna(0).astype("int64")
    alone = found[n_sources == 1].groupby("source").size().reindex(names).fillna(0).astype("int64")
    return pd.DataFrame({"n_hits": hits, "n_unique_hits": alone, "recall": hits / max(len(truth), 1)}).reset_index()


def overlap(offers: pd.DataFrame) -> pd.DataFrame:
    """Share of each source's pairs (row) that another source (column) offers as well."""
    customer, item = pd.factorize(offers["customer_id"])[0], pd.factorize(offers["item_id"])[0]
    codes = pd.factorize(customer * (item.max(initial=0) + 1) + item)[0]
    names = pd.Index(offers["source"].unique())
    there = np.zeros((len(names), codes.max(initial=-1) + 1), np.float32)
    there[names.get_indexer(offers["source"]), codes] = 1
    shares = (there @ there.T) / np.maximum(there.sum(axis=1, keepdims=True), 1)
    return pd.DataFrame(np.round(shares.astype(float), 4), index=names, columns=names)
