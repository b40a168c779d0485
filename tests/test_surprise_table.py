"""Surprise's algorithms keep the errors that are known of them, and what is recorded is what was measured."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reclib import store
from reclib.candidates import surprise_table

FILMS = Path(os.environ.get("RECLIB_SHARED_DATA", store.project().parent / "shared" / "data")) / "movielens-100k"
needs_films = pytest.mark.skipif(not FILMS.is_dir(), reason=f"MovieLens-100k is not in {FILMS}; set RECLIB_SHARED_DATA.")
TRUTH = {"KNNBaseline, items": (.9204, .7214), "SVDpp": (.9218, .7238), "KNNBaseline": (.9323, .7345), "SVD": (.9380, .7390),
         "BaselineOnly": (.9457, .7499), "SlopeOne": (.9470, .7439), "KNNWithMeans": (.9527, .7505), "CoClustering": (.9629, .7542),
         "NMF": (.9689, .7619), "KNNBasic": (.9801, .7744), "NormalPredictor": (1.5171, 1.2173)}


@pytest.mark.parametrize("name", TRUTH)
def test_the_recorded_errors_are_the_known_ones(name):
    rows = surprise_table.recorded().query("algorithm == @name")
    assert rows["fold"].tolist() == list(surprise_table.FOLDS)
    assert rows[["rmse", "mae"]].mean().tolist() == pytest.approx(TRUTH[name], abs=2e-3)


@pytest.mark.parametrize("name, expected", [
    ("SVD", [.95128, .94231, .93093, .93223, .93315]), ("KNNBaseline", [.94180, .93457, .92920, .92600, .92987]),
    ("BaselineOnly", [.95994, .94765, .94052, .93828, .94228]), ("SlopeOne", [.95672, .94853, .94572, .94315, .94079])])
def test_the_recorded_folds_have_the_known_errors(name, expected):
    assert surprise_table.recorded().query("algorithm == @name")["rmse"].tolist() == pytest.approx(expected, abs=1e-4)


def test_the_recorded_order_is_the_known_one():
    means = surprise_table.recorded().groupby("algorithm")["rmse"].mean()
    assert means.sort_values().index.tolist() == list(TRUTH) == list(surprise_table.ALGORITHMS)


@needs_films
@pytest.mark.parametrize("number", surprise_table.FOLDS)
def test_the_recorded_folds_are_those_of_the_data(number):
    own = surprise_table.recorded().query("fold == @number")
    assert own["data"].unique().tolist() == [surprise_table.fingerprint(*surprise_table.fold(FILMS, number))]


@needs_films
@pytest.mark.parametrize("names, folds, tolerance", [
    (["BaselineOnly"], [1, 2, 3, 4, 5], 1e-4), (["SVD"], [1, 5], 2e-3), (["SlopeOne", "KNNBasic", "KNNWithMeans", "KNNBaseline"], [1], 1e-4),
    (["KNNBaseline, items"], [2], 1e-4), (["NMF", "CoClustering", "NormalPredictor"], [1], 2e-3)], ids=str)
def test_what_is_measured_now_is_what_was_recorded(names, folds, tolerance):
    found = surprise_table.measure(FILMS, names, folds).set_index(["algorithm", "fold"])[["rmse", "mae"]]
    then = surprise_table.recorded().set_index(["algorithm", "fold"]).loc[found.index, ["rmse", "mae"]]
    assert found.to_numpy() == pytest.approx(then.to_numpy(), abs=tolerance)


@pytest.fixture(scope="module")
def few():
    """Made-up ratings, and pairs to ask for: known ones, and strangers on either side."""
    rng = np.random.default_rng(1)
    pairs = pd.DataFrame({"customer_id": rng.integers(0, 80, 3_000), "item_id": rng.integers(0, 60, 3_000)}).drop_duplicates()
    known = pairs.assign(value=rng.integers(1, 6, len(pairs)).astype(float))
    strangers = pd.DataFrame({"customer_id": [1, 999, 999], "item_id": [999, 1, 999]})
    return known.iloc[:1_500], pd.concat([pairs.iloc[1_500:1_700], strangers], ignore_index=True)


@pytest.mark.parametrize("name", [name for name in TRUTH if name != "NormalPredictor"])
def test_estimates_of_many_pairs_are_those_of_predict(few, name):
    known, asked = few
    algo = surprise_table.trained(name, known)
    theirs = [algo.predict(customer, item, clip=False).est for customer, item in asked.itertuples(index=False)]
    assert surprise_table.estimates(algo, asked, rng=np.random.RandomState(0)) == pytest.approx(np.array(theirs), abs=1e-9)


def test_the_sentence_tells_the_lists_of_the_best_predictors():
    table = pd.DataFrame({"algorithm": ["a", "b"], "rmse": [0.9, 1.0], "ndcg": [0.1, 0.4]})
    said = surprise_table.contest_sentence(table, 0.3, k=10)
    assert said.startswith("a predicts ratings best (RMSE 0.9), and its lists have NDCG@10 0.1; b, number 2 by RMSE, 0.4. What is popular")
    assert said.endswith("has 0.3: 1 of the 2 algorithms make better lists.")
