"""What the page of growth compares is the same thing on both sides; the figures belong to that page."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from reclib.candidates import neighbours
from reclib.candidates import speed as candidate_speed
from reclib.ranking import speed as feature_speed
from reclib.ranking.features import features
from reclib.ranking.log import _sorted


@pytest.fixture(scope="module")
def shop():
    return feature_speed.shop(4_000, rng=np.random.default_rng(3))


def test_features_are_those_of_duckdb(shop):
    pytest.importorskip("duckdb")
    events, items, candidates = shop
    ours = features(events, items, None, candidates, as_of=feature_speed.AS_OF)
    peer, _ = feature_speed.duckdb_features(events, items, candidates, as_of=feature_speed.AS_OF)
    assert len(peer.columns) > 28 and feature_speed.largest_difference(ours, peer) < 2e-5


def test_a_dozen_features_are_those_of_duckdb_too(shop):
    pytest.importorskip("duckdb")
    events, items, candidates = shop
    ours = features(events, items, None, candidates, as_of=feature_speed.AS_OF)
    peer, _ = feature_speed.duckdb_features(events, items, candidates, as_of=feature_speed.AS_OF, sql=feature_speed.DOZEN)
    assert len(peer.columns) - 2 == 12 and feature_speed.largest_difference(ours, peer) < 2e-5


def test_the_sentence_tells_the_same_columns_from_a_dozen():
    table = pd.DataFrame({"n_events": 10, "engine": [feature_speed.OURS, feature_speed.DUCKDB, feature_speed.DUCKDB_DOZEN],
                          "cpu_seconds": [2.0, 4.0, 1.0], "peak_mib": 1.0})
    said = feature_speed.ratio_sentence(table)
    assert "0.50 times DuckDB's 4 CPU s for the same columns. A dozen" in said and said.endswith("take 2.00 times that.")


def test_features_do_not_see_the_future(shop):
    events, items, candidates = shop
    past = events["occurred_at"] <= feature_speed.AS_OF
    poisoned = events.assign(value=events["value"].where(past, 1e9), item_id=events["item_id"].where(past, 0))
    whole, cut, other = (features(each, items, None, candidates, as_of=feature_speed.AS_OF) for each in (events, events[past], poisoned))
    assert whole.equals(cut) and whole.equals(other)


@pytest.mark.parametrize("largest", [50, 2**62])
def test_keys_sort_stably_whether_or_not_a_place_fits_behind_them(largest):
    key = np.random.default_rng(1).integers(0, 50, 500) * (largest // 50)
    ordered, order = _sorted(key)
    assert order.tolist() == np.argsort(key, kind="stable").tolist() and ordered.tolist() == np.sort(key).tolist()


@pytest.mark.parametrize("block", [1, 700, 10**6])
def test_cosine_of_weights_is_the_dense_cosine_in_blocks_of_any_size(block):
    rng = np.random.default_rng(2)
    weights = rng.random((60, 25)) * (rng.random((60, 25)) < 0.3)
    gram = weights.T @ weights
    expected = gram / np.sqrt(np.outer(np.diag(gram), np.diag(gram)))
    np.fill_diagonal(expected, 0)
    found = neighbours.cosine_neighbours(sparse.csr_matrix(weights), 25, block=block).toarray()
    assert found == pytest.approx(expected, abs=2e-6)


def test_lists_for_everybody_are_those_of_implicit():
    pytest.importorskip("implicit")
    found = candidate_speed.recommend_race(50, 400, n=10, rng=np.random.default_rng(4))
    assert found.loc[0, "share_equal"] > 0.99


def test_histories_are_shortened_to_those_that_neighbours_learn_from():
    liked = sparse.csr_matrix(np.ones((2, neighbours.MAX_HISTORY + 7)))
    assert np.diff(candidate_speed.shortened(liked, rng=np.random.default_rng(0)).indptr).tolist() == [neighbours.MAX_HISTORY] * 2


def test_the_product_is_the_loop():
    history = candidate_speed.as_history(candidate_speed.power_law(3_000, rng=np.random.default_rng(5)))
    assert candidate_speed.top_n_race(history, n_customers=5, n=10)["largest_difference"] < 1e-9
