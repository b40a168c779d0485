import numpy as np
import pandas as pd
import pytest

from reclib.experiments import ladder

PARAMS = {"n_customers": 210, "n_items": 40, "n_days": 14, "seed": 3}


@pytest.fixture
def tables():
    pairs = pd.DataFrame({"customer_id": np.repeat(np.arange(1, 211), 6), "item_id": np.tile([f"i{at:04d}" for at in range(1, 7)], 210)})
    rank = np.tile(np.arange(1, 7), 210)
    ranked = pd.concat([pairs.assign(policy=policy, rank=rank) for policy in ("popular", "relevance", "value")])
    candidates = pairs.assign(source="item_neighbours", source_rank=rank)
    decisions = pairs.assign(policy="value", rank=rank, is_allowed=rank > 2, position=np.where((rank > 2) & (rank < 6), rank - 2.0, np.nan))
    return ranked, candidates, decisions


def test_every_rung_is_a_slate_of_one_item_a_slot(tables):
    rungs = ladder.build(*tables, rng=np.random.default_rng(1))
    assert rungs["rung"].drop_duplicates().tolist() == list(ladder.RUNGS)
    assert rungs.groupby(["rung", "customer_id"])["position"].apply(list).map(lambda slots: slots == [1, 2, 3]).all()
    shown = rungs[rungs["customer_id"] == 1].groupby("rung")["item_id"].apply(list)
    assert shown["value"] == ["i0001", "i0002", "i0003"] and shown["rules"] == ["i0003", "i0004", "i0005"]
    assert set(shown["random eligible"]) <= {"i0003", "i0004", "i0005", "i0006"}


def test_the_same_slates_add_nothing(tables):
    rungs = ladder.build(*tables, rng=np.random.default_rng(1))
    true = ladder.truth(rungs, PARAMS, metric="revenue", n_days=7).set_index("rung")
    assert true.loc[["similar customers", "ranker", "value", "allocation"], "gain"].tolist() == [0.0] * 4
    assert true.loc["allocation", "below"] == "rules"


def test_standing_arms_split_the_customers_and_say_what_they_cannot_tell(tables):
    rungs = ladder.build(*tables, rng=np.random.default_rng(1))
    arms = ladder.standing_arms(rungs, PARAMS, metric="revenue", n_days=7, rng=np.random.default_rng(2))
    assert arms["rung"].tolist() == list(ladder.RUNGS) and arms["gain"].isna().tolist() == [True] + [False] * 6
    assert "not told apart from the rung below" in ladder.sentence(arms, currency="EUR")


def test_the_power_of_standing_arms_follows_from_their_intervals():
    """A half-width of 1.96 errors of 0.5 each: (1.96 + 0.84) x 0.5 = 1.40."""
    arms = pd.DataFrame({"gain_low": [np.nan, -0.98], "gain_high": [np.nan, 0.98]})
    assert "a gain of 1.40 EUR" in ladder.power_sentence(arms, currency="EUR")
