"""The rank of any pair at every source, offered or not."""

import numpy as np
import pandas as pd
import pytest

from reclib.candidates import generate, ranks
from reclib.candidates.history import learn

AS_OF = pd.Timestamp("2026-03-01", tz="UTC")


@pytest.fixture(scope="module")
def shop() -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(5)
    n = 600
    days = pd.to_timedelta(rng.integers(1, 60, n), unit="D")
    events = pd.DataFrame({"event_id": range(n), "occurred_at": pd.Series(AS_OF - days).astype("datetime64[us, UTC]"),
                           "customer_id": rng.integers(0, 40, n), "item_id": [f"i{item:02d}" for item in rng.zipf(1.4, n) % 25],
                           "event_type": "purchase", "value": 1.0})
    items = pd.DataFrame({"item_id": [f"i{number:02d}" for number in range(25)], "category": list("abcde") * 5})
    return events, items


def test_an_offered_pair_has_the_ranks_of_its_offers(shop):
    events, items = shop
    made = generate.generate(events, items, None, as_of=AS_OF, n_candidates=5, seed=7)
    offer = made.offers.query("source == 'ease' and source_rank == 3").iloc[0]
    found = ranks.of_pair(offer["customer_id"], offer["item_id"], history=made.history, items=items)
    mine = made.offers.query("customer_id == @offer.customer_id and item_id == @offer.item_id").set_index("source")["source_rank"]
    told = {one["source"]: one["source_rank"] for one in found}
    assert {source: told[source] for source in mine.index} == mine.to_dict()


def test_ranks_go_on_behind_the_end_of_the_offers_best_first(shop):
    events, items = shop
    history = learn(events, items, None, as_of=AS_OF)
    last = history.items[np.argmin(history.popularity(84.0))]
    found = ranks.of_pair(3, last, history=history, items=items)
    assert [one["source_rank"] for one in found] == sorted(one["source_rank"] for one in found)
    assert max(one["source_rank"] for one in found) > 5


def test_of_strangers_only_impersonal_sources_speak(shop):
    events, items = shop
    history = learn(events, items, None, as_of=AS_OF)
    impersonal = {source.name for source in generate.default_sources(history) if not source.is_personal}
    assert {one["source"] for one in ranks.of_pair(999, "i01", history=history, items=items)} <= impersonal
