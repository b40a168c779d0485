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


@pytest.mark.parametrize("has_catalogue", [True, False])
def test_what_a_run_keeps_of_its_sources_ranks_as_they_would_learning_again(shop, tmp_path, monkeypatch, has_catalogue):
    monkeypatch.setenv("RECLIB_REPORTS", str(tmp_path))
    monkeypatch.setenv("RECLIB_RUN", "night")
    events, items = shop
    items = items.assign(price=np.arange(25.0)) if has_catalogue else None
    customers = pd.DataFrame({"customer_id": range(42), "segment": ["a", "b"] * 21})  # 40 and 41 are strangers
    made = generate.generate(events, items, customers, as_of=AS_OF, n_candidates=5, seed=7)
    assert ranks.keep(made).startswith("sources: ")
    asked = [(customer, item) for customer in (0, 17, 41) for item in ("i00", "i03", "i24")]
    again = [ranks.of_pair(*pair, history=made.history, items=items) for pair in asked]
    assert [ranks.of_run(*pair) for pair in asked] == again and sum(map(len, again)) > 20


def test_a_run_keeps_nothing_of_customers_and_items_that_it_does_not_know(shop, tmp_path, monkeypatch):
    monkeypatch.setenv("RECLIB_REPORTS", str(tmp_path))
    monkeypatch.setenv("RECLIB_RUN", "night")
    events, items = shop
    one = events[events["customer_id"] == 3]
    ranks.keep(generate.generate(one, items, None, as_of=AS_OF, n_candidates=5))
    assert ranks.of_run(3, "i01") and ranks.of_run(4, "i01") == ranks.of_run(3, "none") == []
