import numpy as np
import pandas as pd
import pytest

from reclib.candidates import protocol


def ratings(rows):
    """Ratings from (customer, item, day, value)."""
    table = pd.DataFrame(rows, columns=["customer_id", "item_id", "day", "value"])
    at = (pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(table["day"], unit="D")).astype("datetime64[us, UTC]")
    return table.assign(occurred_at=at, event_id=range(len(table)), event_type="rating").astype({"value": float}).drop(columns="day")


def test_the_last_ratings_of_each_customer_are_judged():
    rows = [("ann", item, day, 5) for day, item in enumerate("abcdef")] + [("bob", item, day, 1) for day, item in enumerate("abc")]
    split = protocol.last_of_each(ratings(rows), n=2)
    assert split.truth[["customer_id", "item_id"]].values.tolist() == [["ann", "e"], ["ann", "f"]]
    assert len(split.learn) == 5 and split.cold.empty


def test_a_cut_in_time_tells_warm_customers_from_cold_ones():
    rows = [("ann", "a", 0, 1), ("ann", "b", 1, 5), ("ann", "c", 2, 5), ("bob", "a", 3, 5), ("cid", "b", 4, 1)]
    split = protocol.by_time(ratings(rows), until=0.4, then=0.8)
    assert split.truth[["customer_id", "item_id"]].values.tolist() == [["ann", "c"]]
    assert split.cold.values.tolist() == [["bob", "a"]] and len(split.learn) == 2


def judged(values):
    return pd.DataFrame([{"split": "one", "who": "warm", "origin": 0.0, "stage": stage, "metric": "ndcg", "customer_id": customer,
                          "value": value} for stage, own in values.items() for customer, value in enumerate(own)])


@pytest.mark.parametrize("second, words", [([0.1] * 30, "better than b"), ([0.9, 0.0] * 15, "not distinguishable from b")])
def test_a_source_is_called_better_only_outside_zero(second, words):
    table = judged({"a": [0.6, 0.4] * 15, "b": second})
    found = protocol.summary(table, metric="ndcg", rng=np.random.default_rng(1))
    assert words in protocol.winner_sentence(table, found, split="one", rng=np.random.default_rng(1))


def test_origins_of_one_customer_are_drawn_together():
    once = judged({"a": [0.0, 1.0] * 20})
    four = pd.concat([once.assign(origin=origin) for origin in range(4)])
    ends = [protocol.summary(table, metric="ndcg", rng=np.random.default_rng(1)).iloc[0] for table in (once, four)]
    assert ends[0]["low"] == pytest.approx(ends[1]["low"]) and ends[1]["n_customers"] == 40
