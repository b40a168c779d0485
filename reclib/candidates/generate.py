"""Layer 2 in one call: choose the sources by size and kind of the data, fit them, merge what they offer."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import pandas as pd

from reclib.candidates import base
from reclib.candidates.content import ContentNeighbours, NewItems, PopularInCategory
from reclib.candidates.factors import PureSvd, SurpriseFactors, SurpriseNeighbours
from reclib.candidates.habits import BuyAgain
from reclib.candidates.history import History, learn
from reclib.candidates.neighbours import Ease, ItemNeighbours, RecentEase
from reclib.candidates.popular import PopularLately

BIG_PAIRS = 300_000
SMALL_CATALOGUE = 5_000
EASE_ITEMS = 2_000
ON_SALE_DAYS = 84.0
RRF = 60.0
ECHOES = ("popular_ever", "popular_7_days")
FALLBACK = ("popular_lately", "popular_in_category", "new_items", *ECHOES)
LAST = 1_000


@dataclass(frozen=True)
class Generated:
    """What the sources offer after the merge.

    Attributes:
        candidates: a `candidates` table; every source's row of each kept pair.
        offers: the same before the merge: all rows of all sources.
        sources: one row a source: `source`, `is_personal`, `n_customers`, `n_items`, `n_pairs`, `learnt_from`,
            `cpu_seconds`.
        history: what was learnt from.
        served: the customers who were to be served.
        eligible: the items that could be offered.
        fitted: the sources, as they learnt.
    """

    candidates: pd.DataFrame
    offers: pd.DataFrame
    sources: pd.DataFrame
    history: History
    served: pd.Index
    eligible: pd.Index
    fitted: list[base.Source]


def default_sources(history: History, *, seed: int = 0) -> list[base.Source]:
    """Choose the sources by kind and size of the data (`sources_sentence` puts the choice into words).

    Up to 300,000 pairs every source learns from everything, but EASE from the 2,000 most liked items: its cost grows with their
    third power, and on the baskets of a supermarket with 5,600 items it found no more of what was new with 5,000. Above, EASE
    learns from 1,500 items, item neighbours from items liked by three customers, and Surprise from a sample of pairs.
    Where nothing is offered twice, what is new is all there is to find, and four more sources look for it.
    """
    is_big = len(history.pairs) > BIG_PAIRS
    neighbours = ItemNeighbours(k=100, max_items=6_000, min_customers=3) if is_big else ItemNeighbours(k=200)
    n_ease = 1_500 if is_big else EASE_ITEMS
    sources: list[base.Source] = [BuyAgain()] if history.repeats_allowed else [
        RecentEase(max_items=n_ease), PureSvd(), PopularLately(days=7), PopularLately(days=None)]
    return sources + [
        Ease(penalty=1_000.0 if is_big else 300.0, max_items=n_ease), neighbours,
        SurpriseFactors(random_state=seed, max_pairs=30_000, max_items=2_000) if is_big else SurpriseFactors(random_state=seed),
        SurpriseNeighbours(max_items=1_000 if is_big else 2_000),
        PopularInCategory(), PopularLately(), ContentNeighbours(), NewItems(),
    ]


def generate_all(events: pd.DataFrame, items: pd.DataFrame | None, customers: pd.DataFrame | None, **options: object) -> pd.DataFrame:
    """The `candidates` of `generate` alone, with its options."""
    return generate(events, items, customers, **options).candidates


def generate(events: pd.DataFrame, items: pd.DataFrame | None, customers: pd.DataFrame | None, *,
             as_of: pd.Timestamp, n_candidates: int = 60, n_per_source: int | None = None,
             ratings: pd.DataFrame | None = None, repeats_allowed: bool | None = None, seed: int = 0,
             sources: list[base.Source] | None = None) -> Generated:
    """Learn as of a moment, let every source offer, and merge: only events with `occurred_at <= as_of` are used.

    Pure and deterministic, so the same call with an earlier `as_of` makes the pairs of a training window.

    Args:
        events, items, customers: tables; without customers, those in the events are served.
        n_candidates: distinct items kept a customer, after the merge.
        n_per_source: items a source may offer a customer; as many as `n_candidates` where None.
        ratings: `ratings` table as of the same moment; without it a plain grade stands in (`history.learn`).
        repeats_allowed: whether what was had before may be offered again; found from the data where None.
        sources: other sources than the default ones.
    """
    history = learn(events, items, customers, as_of=as_of, ratings=ratings, repeats_allowed=repeats_allowed)
    sources = default_sources(history, seed=seed) if sources is None else sources
    served = history.customers if customers is None else pd.Index(customers["customer_id"].sort_values())
    eligible = eligible_items(history, items)
    parts, facts = [], []
    for source in sources:
        started = time.process_time()
        offers = source.fit(history).generate(served, n=n_per_source or n_candidates, eligible=eligible)
        parts.append(offers)
        facts.append({
            "source": source.name, "is_personal": source.is_personal, "n_customers": offers["customer_id"].nunique(),
            "n_items": offers["item_id"].nunique(), "n_pairs": len(offers),
            "learnt_from": getattr(source, "sample", "everything"), "cpu_seconds": time.process_time() - started})
    personal = [source.name for source in sources if source.is_personal]
    offers = pd.concat(parts, ignore_index=True)
    merged = merge(parts, eligible=eligible, n=n_candidates, personal=personal)
    return Generated(merged, offers, pd.DataFrame(facts), history, served, eligible, sources)


def eligible_items(history: History, items: pd.DataFrame | None) -> pd.Index:
    """Items that may be offered: in the catalogue and valid; of a big catalogue, those sold lately or new.

    A catalogue of more than 5,000 items is cut to items with a response in the last 84 days, and new arrivals.
    """
    is_open = np.ones(len(history.items), bool)
    if items is not None:
        is_open &= history.items.isin(items["item_id"])
    catalogue = history.catalogue
    if "valid_from" in catalogue:
        is_open &= ~(catalogue["valid_from"] > history.as_of).to_numpy()
    if "valid_to" in catalogue:
        is_open &= ~(catalogue["valid_to"] <= history.as_of).to_numpy()
    if is_open.sum() > SMALL_CATALOGUE:
        is_recent = history.popularity(ON_SALE_DAYS) > 0
        if "valid_from" in catalogue:
            is_recent |= ((history.as_of - catalogue["valid_from"]) <= pd.Timedelta(days=ON_SALE_DAYS)).to_numpy()
        is_open &= is_recent
    return history.items[is_open]


def merge(offers: list[pd.DataFrame], *, eligible: pd.Index | None, n: int, quotas: dict[str, int] | None = None,
          personal: list[str] | None = None) -> pd.DataFrame:
    """Merge sources: the eligible set first, then a quota for each source, then votes up to `n` items.

    A pair's votes are the sum over its sources of weight / (60 + rank); ranks are those of the source. Personal
    sources' rows for strangers are dropped: such customers keep what can serve anybody, which is the fallback chain.

    Args:
        offers: `candidates` tables, one or more sources in each.
        eligible: items that may be offered; None: all.
        n: distinct items kept a customer.
        quotas: best items kept of each source, whatever the others say; `default_quotas` where None.
        personal: names of the sources that must know the customer; None: rows for strangers are kept.

    Returns:
        A `candidates` table: all sources' rows of the kept pairs, ranks and scores untouched.

    Raises:
        ValueError: the quotas together exceed `n`.
    """
    rows = pd.concat(offers, ignore_index=True)
    source, names = pd.factorize(rows["source"], sort=True)
    is_kept = np.ones(len(rows), bool) if eligible is None else rows["item_id"].isin(eligible).to_numpy()
    if personal is not None:
        is_kept = is_kept & (rows["is_known_customer"].to_numpy() | ~names.isin(personal)[source])
    rows, source = rows[is_kept].reset_index(drop=True), source[is_kept]
    quotas = default_quotas(names[np.unique(source)].tolist(), n) if quotas is None else quotas
    if sum(quotas.values()) > n:
        raise ValueError(f"quotas == {quotas} sum to {sum(quotas.values())}, must be at most n == {n}.")
    pair, place, owner, customer = _pairs(rows)
    score = np.bincount(place, votes(rows), len(pair))
    quota = np.array([quotas.get(name, 0) for name in names], np.int64)
    has_quota = np.bincount(place, _rank_within(rows["source_rank"].to_numpy(), customer * max(len(names), 1) + source) <= quota[source],
                            len(pair)) > 0
    order = np.lexsort((pair, -score, ~has_quota, owner))
    rank = np.empty(len(pair), np.int64)
    rank[order] = np.arange(len(pair)) - np.searchsorted(owner, owner[order], side="left")
    kept = np.flatnonzero(rank[place] < n)
    order = np.lexsort((source[kept], place[kept]))
    return rows.iloc[kept[order]].reset_index(drop=True)[base.COLUMNS]


def default_quotas(sources: list[str], n: int) -> dict[str, int]:
    """Half of the places for what is bought again, where it is a source; of the rest, an eighth in equal shares.

    One place at least for each source, if half of the rest has room for that: votes choose better than quotas do.
    """
    others = [name for name in sources if name != BuyAgain.name]
    again = n // 2 if len(others) < len(sources) else 0
    share = (n - again) // max(len(others), 1)
    return {BuyAgain.name: again} | dict.fromkeys(others, max(share // 8, min(1, share // 2)))


def votes(rows: pd.DataFrame, *, again: int = 1) -> np.ndarray:
    """Votes of each row, whole numbers: 1 / (60 + source_rank), so many times that for what is bought again.

    Other windows of popularity have no vote: they would say thrice what `popular_lately` says. Strangers, whom the sources of
    the fallback chain alone serve, get what is new last: as a vote like the others it would crowd out what is proven.
    """
    is_new, is_personal = (rows["source"] == "new_items").to_numpy(), ~rows["source"].isin(FALLBACK).to_numpy()
    is_stranger = ~rows["customer_id"].isin(rows["customer_id"][is_personal].unique()).to_numpy()
    weight = np.where(rows["source"] == BuyAgain.name, again, np.where(rows["source"].isin(ECHOES), 0, 1))
    weight = np.where(is_new & is_stranger, 1 / LAST, weight)
    return np.rint(1e9 * weight / (RRF + rows["source_rank"].to_numpy())).astype(np.int64)


def _pairs(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pairs in the order of their ids, the pair of each row, the customer of each pair and of each row (codes)."""
    customer, _ = pd.factorize(rows["customer_id"], sort=True)
    item, items = pd.factorize(rows["item_id"], sort=True)
    place, pair = pd.factorize(customer.astype(np.int64) * max(len(items), 1) + item, sort=True)
    return pair, place, pair // max(len(items), 1), customer.astype(np.int64)


def _rank_within(rank: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Rank of each row within its group among the rows that are left."""
    order = np.lexsort((rank, group))
    ordered = group[order]
    found = np.empty(len(rank), np.int64)
    found[order] = np.arange(len(rank)) - np.searchsorted(ordered, ordered, side="left") + 1
    return found


def fallback_customers(candidates: pd.DataFrame, personal: list[str]) -> pd.Series:
    """Whether each customer (index) is served by sources that do not know them alone."""
    is_own = candidates["source"].isin(personal)
    return ~is_own.groupby(candidates["customer_id"]).any()
