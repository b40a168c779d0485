"""Where one item stands at every source for one customer, also where no source would have offered it."""

from __future__ import annotations

import pandas as pd

from reclib import schema, store
from reclib.candidates import generate
from reclib.candidates.history import History, learn


def of_run(customer: object, item: object, *, run: str = store.LATEST, seed: int = 7) -> list[dict]:
    """Rank an item for a customer at every source of a run, by fitting the sources to its tables again.

    Args:
        customer, item: as the run names them.
        run: run whose tables are read.
        seed: random seed of the sources, that of the run's page of candidates.

    Returns:
        See `of_pair`.
    """
    as_of = schema.end_of_day(store.read_facts("source", run=run)["as_of"])
    events = store.read("events", run=run, columns=["occurred_at", "customer_id", "item_id", "event_type", "value"])
    ratings = store.read("ratings", run=run)
    items, customers = (store.read_if_there(name, run=run) for name in ("items", "customers"))
    history = learn(events, items, customers, as_of=as_of, ratings=ratings)
    return of_pair(customer, item, history=history, items=items, seed=seed)


def of_pair(customer: object, item: object, *, history: History, items: pd.DataFrame | None, seed: int = 7) -> list[dict]:
    """Rank an item for a customer at every source, best rank first.

    Returns:
        source, source_rank (among all eligible items) and source_score, one record a source that scores the pair.
        Sources that must know the customer say nothing of strangers.
    """
    found, eligible = [], generate.eligible_items(history, items)
    for source in generate.default_sources(history, seed=seed):
        offers = source.fit(history).generate(pd.Index([customer]), n=len(history.items), eligible=eligible)
        mine = offers[(offers["item_id"] == item) & (offers["is_known_customer"] | (not source.is_personal))]
        found += mine[["source", "source_rank", "source_score"]].to_dict("records")
    return sorted(found, key=lambda one: (one["source_rank"], one["source"]))
