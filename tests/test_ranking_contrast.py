"""Offline figures side by side: customers with and without a history, the chain with and without a source."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reclib import metrics
from reclib.ranking import contrast, evaluate, labels

N = 40
WHO = np.arange(1, N + 1)


def scores(task: str = "all", **means: float) -> pd.DataFrame:
    """Scores of forty customers by stage, spread a little about each mean."""
    spread = np.linspace(-0.02, 0.02, N)
    return pd.concat([pd.DataFrame({"task": task, "stage": stage, "customer_id": WHO, metrics.NDCG: mean + spread, "recall": 0.0})
                      for stage, mean in means.items()], ignore_index=True)


def noisy(found: pd.DataFrame, stage: str) -> pd.DataFrame:
    """The same means, but a stage whose customers differ so much that nothing can be told."""
    own = (found["stage"] == stage).to_numpy()
    return found.assign(**{metrics.NDCG: found[metrics.NDCG] + np.where(own, np.tile([-0.5, 0.5], len(found) // 2), 0.0)})


def test_strangers_respond_in_the_last_window_and_were_never_seen_before():
    days = {1: ["2026-01-01", "2026-03-20"], 2: ["2026-03-20"], 3: ["2026-02-01"]}
    events = pd.DataFrame([(day, who, 5, "purchase") for who, own in days.items() for day in own],
                          columns=["occurred_at", "customer_id", "item_id", "event_type"])
    events = events.assign(occurred_at=pd.to_datetime(events["occurred_at"], utc=True))
    cuts = tuple(pd.Timestamp(day, tz="UTC") for day in ("2026-01-31", "2026-02-28", "2026-03-10"))
    plan = labels.Plan("purchase", labels.CANDIDATE, 20, cuts, pd.Timestamp("2026-03-30", tz="UTC"), ())
    customers = pd.DataFrame({"customer_id": [1, 2, 3], "segment": ["a", "b", "c"]})
    assert contrast.strangers(events, customers, plan).values.tolist() == [[2, "b"]]


CANDIDATES = pd.DataFrame({"customer_id": 1, "item_id": [5, 6, 6, 7], "source": ["buy_again", "buy_again", "ease", "ease"]})
RANKED = pd.DataFrame({"customer_id": 1, "item_id": [5, 6, 7], "rank": [1, 2, 3]})


def test_without_a_source_its_own_pairs_go_and_shared_ones_stay():
    lists = contrast.without(RANKED, CANDIDATES)
    assert {name: table[["item_id", "rank"]].values.tolist() for name, table in lists.items()} == {
        "without buy_again": [[6, 1], [7, 2]], "without ease": [[5, 1], [6, 2]]}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 6), st.sampled_from("abc")), min_size=1, max_size=25, unique=True))
def test_a_pair_is_lost_without_one_source_at_most(rows):
    candidates = pd.DataFrame(rows, columns=["customer_id", "item_id", "source"])
    pairs = candidates[["customer_id", "item_id"]].drop_duplicates().sort_values(["customer_id", "item_id"])
    ranked = pairs.assign(rank=pairs.groupby("customer_id").cumcount() + 1)
    lost = [len(ranked) - len(table) for table in contrast.without(ranked, candidates).values()]
    assert sum(lost) == candidates.groupby(["customer_id", "item_id"]).size().eq(1).sum()


@pytest.mark.parametrize(("chain", "said"), [
    (0.1, "A chain without buy_again would have been 3.0 times worse than a spreadsheet: NDCG@10 0.100 against 0.300"),
    (0.4, "Even without buy_again the chain would have been better than a spreadsheet"),
    (0.3, "A chain without buy_again could not have been told apart from a spreadsheet"),
    (0.02, "15.0 times worse than a spreadsheet")])
def test_a_chain_without_buy_again_is_held_against_a_spreadsheet(chain, said):
    found = scores(ranked=0.5, buy_again=0.3, **{"without buy_again": chain})
    found = noisy(found, "without buy_again") if chain == 0.3 else found
    assert said in contrast.without_sentence(found, contrast.without_table(found), k=10)


def test_where_nothing_is_bought_again_the_source_that_is_missed_most_is_named():
    found = scores(ranked=0.5, ease=0.3, **{"without ease": 0.4, "without popular": 0.5})
    table = contrast.without_table(found)
    assert table[["source", "loss"]].round(6).values.tolist() == [["ease", 0.1], ["popular", 0.0]]
    assert "missed most is ease: without it ranked loses 0.1000" in contrast.without_sentence(found, table, k=10)
    same = scores(ranked=0.5, ease=0.3, **{"without ease": 0.5})
    assert contrast.without_sentence(same, contrast.without_table(same), k=10).startswith("No source is missed")


def test_strangers_are_judged_on_the_stages_that_serve_them():
    lists = {"ranked": pd.DataFrame({"customer_id": [1, 2], "item_id": [5, 5], "rank": 1}),
             "ease": pd.DataFrame({"customer_id": [1], "item_id": [5], "rank": 1})}
    cold = contrast.cold_scores(lists, pd.DataFrame({"customer_id": [2], "item_id": [5]}), k=3)
    assert cold[["task", "stage", metrics.NDCG]].values.tolist() == [["cold", "ranked", 1.0]]
    table = contrast.warm_and_cold(pd.concat([evaluate.summary(scores(ranked=0.5), k=3), evaluate.summary(cold, k=3)]))
    assert table[["stage", "known", "unknown"]].round(6).values.tolist() == [["ranked", 0.5, 1.0]]


def test_the_ranker_is_no_better_for_strangers_where_the_interval_spans_zero():
    fallback = pd.Series([True, False, False, False])
    told = contrast.cold_sentence(noisy(scores("cold", ranked=0.4, popular=0.39), "popular"), fallback, k=10)
    assert "Tonight 25.0 % of 4 customers are served by the fallback alone" in told and "cannot be told apart" in told
    nobody = contrast.cold_scores({}, pd.DataFrame(columns=["customer_id", "item_id"]), k=10)
    assert "nobody without a history responded" in contrast.cold_sentence(nobody, fallback, k=10)
