from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reclib import metrics


def lists(**by_customer):
    rows = [(name, item, rank) for name, items in by_customer.items() for rank, item in enumerate(items, start=1)]
    return pd.DataFrame(rows, columns=["customer_id", "item_id", "rank"])


def pairs(**by_customer):
    return pd.DataFrame([(name, item) for name, items in by_customer.items() for item in items],
                        columns=["customer_id", "item_id"])


SHOWN, WANTED = lists(ann="abcde"), pairs(ann="ad")


@pytest.mark.parametrize("options, expected", [
    ({}, 0.877),
    ({"ideal": "full"}, 0.485),
    ({"discount": "log2max2"}, 0.750),
    ({"gain": "exponential"}, 0.877),
], ids=["ours, ranx, sklearn, evidently, recommenders", "rectools", "lenskit", "burges"])
def test_ndcg_variants_are_those_of_the_libraries(options, expected):
    assert metrics.ndcg_at_k(SHOWN, WANTED, k=5, **options)["ann"] == pytest.approx(expected, abs=5e-4)


def test_ndcg_is_the_discounted_gain_over_the_best_list():
    found = metrics.ndcg_at_k(SHOWN, WANTED, k=5)["ann"]
    assert found == pytest.approx((1 + 1 / np.log2(5)) / (1 + 1 / np.log2(3)))


def test_graded_gains_put_the_best_first_in_the_ideal():
    wanted = WANTED.assign(relevance=[1.0, 3.0])
    found = metrics.ndcg_at_k(SHOWN, wanted, k=5, gain="exponential")["ann"]
    assert found == pytest.approx((1 + 7 / np.log2(5)) / (7 + 1 / np.log2(3)))


@pytest.mark.parametrize("metric, expected", [
    (metrics.recall_at_k, 1.0), (metrics.precision_at_k, 2 / 5), (metrics.hit_rate_at_k, 1.0),
    (metrics.mrr_at_k, 1.0), (metrics.map_at_k, (1 / 1 + 2 / 4) / 2),
])
def test_values_by_hand(metric, expected):
    assert metric(SHOWN, WANTED, k=5)["ann"] == pytest.approx(expected)


def test_customers_without_relevant_items_are_skipped_and_those_without_lists_count_zero():
    found = metrics.recall_at_k(lists(ann="ab", bob="ab"), pairs(ann="a", cid="a"), k=2)
    assert found.to_dict() == {"ann": 1.0, "cid": 0.0}


def test_the_cut_at_k_counts():
    assert metrics.recall_at_k(SHOWN, WANTED, k=3)["ann"] == 0.5
    assert metrics.mrr_at_k(SHOWN, pairs(ann="d"), k=5)["ann"] == 1 / 4
    assert metrics.map_at_k(SHOWN, pairs(ann="abcde"), k=2)["ann"] == 1.0


def test_exposure_gini_counts_items_never_shown():
    shown = lists(ann="a", bob="a", cid="a", dan="a")
    assert metrics.exposure_gini_at_k(shown, pd.Index(list("abcd")), k=1) == pytest.approx(0.75)
    assert metrics.exposure_gini_at_k(lists(ann="ab"), pd.Index(list("ab")), k=2) == 0


def test_coverage_is_over_the_eligible_items():
    assert metrics.coverage_at_k(lists(ann="abz"), pd.Index(list("abcd")), k=3) == 0.5


def test_novelty_counts_unseen_items_as_most_novel():
    found = metrics.novelty_at_k(lists(ann="ab"), pd.Series({"a": 3}), n_customers=7, k=2)
    assert found["ann"] == pytest.approx((-np.log2(4 / 8) - np.log2(1 / 8)) / 2)


def test_diversity_is_the_share_of_pairs_that_differ():
    category = pd.Series({"a": "x", "b": "x", "c": "y", "d": "z"})
    found = metrics.diversity_at_k(lists(ann="abcd", bob="a"), category, k=4)
    assert found.to_dict() == {"ann": pytest.approx(5 / 6)}


def test_repetition_is_the_share_had_before():
    assert metrics.repetition_at_k(SHOWN, pairs(ann="ab", bob="c"), k=4)["ann"] == 0.5


def test_the_interval_is_over_customers_not_over_rows():
    values, who = pd.Series([0.0, 0.0, 1.0, 1.0] * 50), pd.Series([1, 1, 2, 2] * 50)
    loose = metrics.mean_interval(values, rng=np.random.default_rng(1))
    clustered = metrics.mean_interval(values, rng=np.random.default_rng(1), clusters=who)
    assert clustered["n_customers"] == 2 and (clustered["low"], clustered["high"]) == (0, 1)
    assert loose["high"] - loose["low"] < 0.2


def test_the_interval_covers_the_truth():
    rng = np.random.default_rng(3)
    found = [metrics.mean_interval(pd.Series(rng.exponential(1.0, 200)), rng=rng, n_boot=200) for _ in range(200)]
    covered = np.mean([row["low"] <= 1 <= row["high"] for row in found])
    assert 0.88 <= covered <= 0.99


def test_no_value_has_no_interval():
    found = metrics.mean_interval(pd.Series(dtype=float), rng=np.random.default_rng(1))
    assert np.isnan(found["value"]) and found["n_customers"] == 0


def test_a_difference_is_paired():
    old, new = pd.Series([0.1, 0.9, 0.5], index=list("abc")), pd.Series([0.2, 1.0, 0.6, 0.0], index=list("abcd"))
    found = metrics.difference_interval(new, old, rng=np.random.default_rng(1))
    assert found["value"] == pytest.approx(0.1) and found["low"] == pytest.approx(0.1)


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match=r"ideal == 'best', must be one of \['achievable', 'full'\]\."):
        metrics.ndcg_at_k(SHOWN, WANTED, k=5, ideal="best")
    with pytest.raises(ValueError, match=r"k == 0, must be at least 1\."):
        metrics.recall_at_k(SHOWN, WANTED, k=0)


@settings(max_examples=20, deadline=None)
@given(st.permutations("abcdef"), st.sets(st.sampled_from("abcdefg"), min_size=1), st.integers(1, 6))
def test_bounds_and_independence_of_row_order(items, wanted, k):
    shown, relevant = lists(ann=items), pairs(ann=sorted(wanted))
    mixed = shown.sample(frac=1, random_state=1), relevant.sample(frac=1, random_state=2)
    for metric in (metrics.recall_at_k, metrics.ndcg_at_k, metrics.map_at_k, metrics.mrr_at_k, metrics.hit_rate_at_k):
        value = metric(shown, relevant, k=k)["ann"]
        assert 0 <= value <= 1 + 1e-12
        assert metric(*mixed, k=k)["ann"] == pytest.approx(value)


GOLDEN = Path(__file__).parent / "golden"


def golden(name):
    return pd.read_csv(GOLDEN / f"{name}.csv")


def ours(metric, k):
    """Our value of a metric of the golden tables, under the name that it has in `libraries.csv`."""
    lists, relevant, known, categories = (golden(name) for name in ("recommended", "relevant", "known", "categories"))
    is_long = lists.groupby("customer_id")["rank"].transform("max") == 10
    long_ones = relevant[relevant["customer_id"].isin(lists.loc[is_long, "customer_id"])]
    few = relevant[relevant.groupby("customer_id")["item_id"].transform("size") <= 10]
    plain, category = relevant[["customer_id", "item_id"]], categories.set_index("item_id")["category"]
    had = known.groupby("item_id")["customer_id"].nunique()
    measure = {
        "recall": lambda: metrics.recall_at_k(lists, plain, k=k),
        "precision": lambda: metrics.precision_at_k(lists, plain, k=k),
        "hit_rate": lambda: metrics.hit_rate_at_k(lists, plain, k=k),
        "mrr": lambda: metrics.mrr_at_k(lists, plain, k=k),
        "map_of_few_relevant": lambda: metrics.map_at_k(lists, few, k=k),
        "ndcg": lambda: metrics.ndcg_at_k(lists, plain, k=k),
        "ndcg_full": lambda: metrics.ndcg_at_k(lists, plain, k=k, ideal="full"),
        "ndcg_graded": lambda: metrics.ndcg_at_k(lists, relevant, k=k),
        "ndcg_exponential": lambda: metrics.ndcg_at_k(lists, relevant, k=k, gain="exponential"),
        "ndcg_long_lists": lambda: metrics.ndcg_at_k(lists, long_ones[["customer_id", "item_id"]], k=k),
        "ndcg_graded_long_lists": lambda: metrics.ndcg_at_k(lists, long_ones, k=k),
        "ndcg_exponential_long_lists": lambda: metrics.ndcg_at_k(lists, long_ones, k=k, gain="exponential"),
        "coverage": lambda: metrics.coverage_at_k(lists, category.index, k=k),
        "coverage_percent": lambda: 100 * metrics.coverage_at_k(lists, category.index, k=k),
        "exposure_gini": lambda: metrics.exposure_gini_at_k(lists, category.index, k=k),
        "novelty": lambda: metrics.novelty_at_k(lists, had, n_customers=known["customer_id"].nunique(), k=k),
        "novelty_of_full_lists": lambda: metrics.novelty_at_k(lists[is_long], had, n_customers=known["customer_id"].nunique(), k=k),
        "novelty_by_interactions_of_full_lists": lambda: metrics.novelty_at_k(
            lists[is_long], known["item_id"].value_counts(), n_customers=len(known) + len(category) - 1, k=k),
        "diversity": lambda: metrics.diversity_at_k(lists, category, k=k),
        "similarity_of_full_lists": lambda: 1 - metrics.diversity_at_k(lists[is_long], category, k=k),
    }[metric]()
    return measure.mean() if isinstance(measure, pd.Series) else measure


@pytest.mark.parametrize("metric, k, library, expected", [
    pytest.param(row.metric, row.k, row.library, row.value, id=f"{row.metric}@{row.k} {row.library}")
    for row in golden("libraries").itertuples() if not row.metric.startswith("u1_")])
def test_metrics_are_those_of_other_libraries(metric, k, library, expected):
    assert ours(metric, k) == pytest.approx(expected, abs=1e-6), f"{library} says {expected}"


@pytest.mark.parametrize("metric", ["ndcg", "recall", "precision", "hit_rate", "mrr", "map_of_few_relevant", "coverage", "exposure_gini",
                                    "novelty", "diversity"])
def test_each_metric_is_held_against_three_libraries(metric):
    alike = {"novelty": ["novelty", "novelty_of_full_lists", "novelty_by_interactions_of_full_lists"],
             "diversity": ["diversity", "similarity_of_full_lists"]}.get(metric, [metric])
    asked = golden("libraries")
    assert asked.loc[asked["metric"].isin(alike), "library"].nunique() >= 3


def test_intervals_of_columns_are_those_of_each_alone():
    values = pd.DataFrame(np.random.default_rng(1).random((300, 2)), columns=["a", "b"])
    together = metrics.mean_intervals(values, rng=np.random.default_rng(2))
    alone = {name: metrics.mean_interval(values[name], rng=np.random.default_rng(2)) for name in values}
    for name in values:
        assert together.loc[name].to_dict() == pytest.approx(alone[name])
