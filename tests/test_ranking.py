"""Layer 3: features point in time, rankers that add up, value, policies, stages."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reclib import metrics, schema
from reclib.ranking import against, evaluate, features, labels, models, training, value
from reclib.ranking.log import moment, response_type

AS_OF = "2026-03-31"


def make_events(rows: list[tuple]) -> pd.DataFrame:
    events = pd.DataFrame(rows, columns=["occurred_at", "customer_id", "item_id", "event_type", "value"])
    return events.assign(event_id=range(len(events)), occurred_at=pd.to_datetime(events["occurred_at"], utc=True))


def make_shop(n_customers: int = 120, n_items: int = 30, n_days: int = 80, seed: int = 1) -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    n = n_customers * 25
    customer = rng.integers(1, n_customers + 1, n)
    likes = (customer % 3) * 10 + rng.integers(0, 10, n)
    item = np.where(rng.random(n) < 0.7, likes, rng.zipf(1.4, n) % n_items)
    day = rng.integers(0, n_days, n)
    events = pd.DataFrame({
        "event_id": range(n), "occurred_at": pd.Timestamp("2026-01-10", tz="UTC") + pd.to_timedelta(day, unit="D"),
        "customer_id": customer, "item_id": [f"i{number:02d}" for number in item], "event_type": "purchase",
        "value": 2.0 + item, "quantity": 1.0}).astype({"item_id": "str", "event_type": "str"})
    items = pd.DataFrame({"item_id": pd.Series([f"i{number:02d}" for number in range(n_items)], dtype="str"),
                          "category": pd.Series([f"c{number // 10}" for number in range(n_items)], dtype="str"),
                          "price": 2.0 + np.arange(n_items), "unit_cost": 1.0 + np.arange(n_items) / 2})
    pairs = pd.MultiIndex.from_product([range(1, n_customers + 1), items["item_id"]]).to_frame(
        index=False, name=["customer_id", "item_id"])
    candidates = pairs.assign(source="popular", source_rank=pairs.groupby("customer_id").cumcount() + 1,
                              source_score=1.0, is_known_customer=True, is_known_item=True).astype({"source": "str"})
    return {"events": events, "items": items, "candidates": candidates}


def make_windows(shop: dict[str, pd.DataFrame], **options) -> tuple[list[pd.DataFrame], labels.Plan]:
    plan = labels.plan(shop["events"], as_of=AS_OF, label_days=14, **options)
    frames = [training.describe(shop["events"], shop["items"], None, shop["candidates"], plan, cut=cut) for cut in plan.cuts]
    return [labels.label(frame, shop["events"], plan, cut=cut) for frame, cut in zip(frames, plan.cuts)], plan


@pytest.fixture(scope="module")
def shop() -> dict[str, pd.DataFrame]:
    return make_shop()


@pytest.fixture(scope="module")
def learnt(shop):
    windows, plan = make_windows(shop)
    return windows, plan, models.fit(windows)


def test_pair_signals_are_counts_and_days():
    events = make_events([("2026-03-01", 1, 7, "purchase", 4.0), ("2026-03-21", 1, 7, "purchase", 4.0),
                          ("2026-03-25", 2, 8, "purchase", 4.0)])
    candidates = pd.DataFrame({"customer_id": [1, 1], "item_id": [7, 8], "source": ["a", "b"], "source_rank": [3, 1],
                               "source_score": [0.5, 0.1], "is_known_customer": True, "is_known_item": [True, False]})
    made = features.features(events, pd.DataFrame({"item_id": [7, 8]}), None, candidates, as_of="2026-03-31 00:00:00")
    again, new = made.iloc[0], made.iloc[1]
    assert made["is_new"].tolist() == [False, True]
    assert made["is_known_item"].tolist() == [True, False]
    assert again["pair_n"] == pytest.approx(np.log1p(2), abs=1e-5)
    assert again["pair_days_since"] == pytest.approx(np.log1p(10), abs=1e-5)
    assert again["pair_gap"] == pytest.approx(np.log1p(20), abs=1e-5)
    assert again["pair_due"] == pytest.approx(10 / 20, abs=1e-5)
    assert again["source_rank_a"] == pytest.approx(np.log(3), abs=1e-5) and np.isnan(again["source_rank_b"])
    weights = 2 ** (-np.array([30, 10, 6]) / 7)
    assert again["item_share_7"] == pytest.approx(np.log(weights[:2].sum() / weights.sum()), abs=1e-4)
    assert [again["item_age"], new["item_age"]] == pytest.approx([0, np.log(7 / 31)], abs=1e-5)
    assert np.isnan(new["pair_days_since"]) and new["item_n_7"] == pytest.approx(np.log1p(1), abs=1e-5)


def test_features_do_not_change_when_the_future_does(shop):
    def make(past):
        return features.features(past, shop["items"], None, shop["candidates"], as_of="2026-03-01")

    found = features.leaks(make, shop["events"], as_of="2026-03-01")
    assert not found["is_leaking"].any()
    assert features.leak_sentence(found).startswith(f"None of {len(found)} features changes")


def test_a_planted_leak_is_caught(shop):
    def make(past):
        later = past[past["occurred_at"] > moment("2026-03-01")].groupby("item_id").size()
        made = features.features(past, shop["items"], None, shop["candidates"], as_of="2026-03-01")
        return made.assign(item_n_next=made["item_id"].map(later).fillna(0.0))

    found = features.leaks(make, shop["events"], as_of="2026-03-01")
    assert found.loc[found["is_leaking"], "feature"].tolist() == ["item_n_next"]
    assert "item_n_next" in features.leak_sentence(found)


def test_row_order_does_not_change_features(shop):
    mixed = shop["events"].sample(frac=1, random_state=3)
    one, other = (features.features(events, shop["items"], None, shop["candidates"], as_of=AS_OF)
                  for events in (shop["events"], mixed))
    pd.testing.assert_frame_equal(one, other)


def test_a_bare_date_means_its_last_second():
    assert moment("2026-03-31") == pd.Timestamp("2026-03-31 23:59:59", tz="UTC")
    assert moment(pd.Timestamp("2026-03-31", tz="UTC")) == pd.Timestamp("2026-03-31", tz="UTC")


def test_unseen_categories_are_described_as_never_bought(shop):
    items = shop["items"].assign(category=shop["items"]["category"].where(shop["items"]["item_id"] != "i29", "unheard of"))
    events = shop["events"][shop["events"]["item_id"] != "i29"]
    made = features.features(events, items, None, shop["candidates"], as_of=AS_OF).query("item_id == 'i29'")
    assert made["taste_days_since_category"].isna().all()
    assert np.isfinite(made["taste_category"]).all()


def test_the_strongest_answer_is_the_response():
    events = make_events([("2026-03-01", 1, 7, "click", 0.0), ("2026-03-02", 1, 7, "rating", 5.0)])
    assert response_type(events) == "rating"
    with pytest.raises(ValueError, match="no purchase, rating or click to learn from; found: .'view'."):
        response_type(make_events([("2026-03-01", 1, 7, "view", 0.0)]))


def test_windows_are_shortened_where_the_history_is_short(shop):
    plan = labels.plan(shop["events"], as_of=AS_OF, label_days=200)
    assert plan.label_days == int(80.99 * 0.75 / 3)
    assert [(later - cut).days for cut, later in zip(plan.cuts, [*plan.cuts[1:], plan.as_of])] == [plan.label_days] * 3
    assert f"{plan.label_days} days instead of 200" in plan.sentences[1]
    with pytest.raises(ValueError, match="days of history, must be at least 4"):
        labels.plan(shop["events"], as_of="2026-01-11")


def test_only_offered_pairs_are_labelled_where_offers_are_recorded():
    rows = [("2026-03-0" + str(day), 1, 9, "impression", 0.0) for day in range(1, 9)]
    events = make_events(rows + [("2026-03-12", 1, 5, "impression", 0.0), ("2026-03-13", 1, 5, "purchase", 2.0),
                                 ("2026-03-14", 1, 6, "purchase", 2.0), ("2026-03-13", 1, 7, "purchase", 2.0),
                                 ("2026-03-15", 1, 7, "impression", 0.0)])
    plan = labels.plan(events, as_of="2026-03-31", label_days=5)
    assert plan.population == labels.OFFERED
    frame = pd.DataFrame({"customer_id": [1, 1, 1], "item_id": [5, 6, 7]})
    cut = pd.Timestamp("2026-03-11", tz="UTC")
    assert labels.label(frame, events, plan, cut=cut)[["item_id", "label"]].values.tolist() == [[5, 1], [7, 0]]
    assert labels.label(frame, events, plan, cut=cut, population=labels.CANDIDATE)["label"].tolist() == [1, 1, 1]


def test_offered_pairs_join_the_candidates_without_a_source(shop):
    rows = [("2026-01-12", 1, "i00", "impression", 0.0), ("2026-03-20", 1, "i05", "impression", 0.0)]
    events = pd.concat([shop["events"], make_events(rows)], ignore_index=True)
    plan = labels.plan(events, as_of=AS_OF, label_days=14)
    few = shop["candidates"][shop["candidates"]["item_id"] != "i05"].query("customer_id == 1")
    grown = labels.offered(few, events, plan, cut=plan.cuts[-1])
    assert grown.loc[grown["source"] == "offered", "item_id"].tolist() == ["i05"]
    made = features.features(events, shop["items"], None, grown, as_of=plan.cuts[-1])
    assert not any("offered" in name for name in made.columns)
    assert made.loc[made["item_id"] == "i05", "source_votes"].tolist() == [0.0]


def make_curve(n: int, *, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"pair_n": rng.random(n), "item_n": rng.random(n)})
    return frame, (rng.random(n) < 0.2 + 0.6 * (frame["pair_n"] > 0.5)).to_numpy().astype(int)


def test_additive_parts_are_the_spline_regression():
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import SplineTransformer

    frame, label = make_curve(500)
    model = models.Additive(strength=1e9).fit(frame, label, np.ones(500))
    knots = [np.quantile(frame[name], np.linspace(0, 1, models.N_KNOTS))[:, None] for name in frame]
    blocks = [SplineTransformer(degree=1, knots=at, extrapolation="constant").fit_transform(frame[[name]].to_numpy())
              for at, name in zip(knots, frame)]
    peer = LogisticRegression(C=1e9, solver="newton-cholesky", tol=1e-9).fit(np.concatenate(blocks, axis=1), label)
    assert models.raw_score(model, frame) == pytest.approx(peer.decision_function(np.concatenate(blocks, axis=1)), abs=1e-5)


def test_a_curve_bends_with_many_responses_and_is_near_a_line_with_few():
    bends = []
    for n in (150, 40_000):
        frame, label = make_curve(n)
        knots, values, _ = models.Additive().fit(frame, label, np.ones(n)).curves["pair_n"]
        line = np.polyval(np.polyfit(knots, values, 1), knots)
        bends.append(np.abs(values - line).max() / np.ptp(values))
    assert bends[1] > 5 * bends[0]


@pytest.mark.parametrize("name, is_behind", [("source_rank_a", True), ("pair_days_since", False)])
def test_a_missing_rank_is_behind_the_last_and_other_gaps_are_average(name, is_behind):
    frame = pd.DataFrame({name: np.tile(np.arange(50.0), 40)})
    label = (np.arange(2_000) % 50 < 10).astype(int)
    model = models.Additive().fit(frame, label, np.ones(2_000))
    missing, last = model.curve(name, np.array([np.nan, 49.0]))
    assert (missing == pytest.approx(last)) == is_behind


def test_customers_without_a_history_have_a_ranker_of_their_own(learnt):
    windows, _, fitted = learnt
    strange = [window.assign(is_known_customer=False, is_new=True, customer_id=window["customer_id"] + 10_000,
                             label=1 - window["label"]) for window in windows]
    both = models.fit([pd.concat(pair, ignore_index=True) for pair in zip(windows, strange)])
    assert set(both.models) == set(models.TASKS) and set(fitted.models) == {models.AGAIN, models.NEW}
    pd.testing.assert_frame_equal(models.predict(fitted, windows[-1]), models.predict(both, windows[-1]))
    assert models.predict(both, strange[-1])["p_response"].mean() > 0.5
    assert models.predict(fitted, strange[-1])["p_response"].mean() < 0.5


def test_the_last_window_calibrates_and_is_then_learnt_from(learnt):
    windows, _, fitted = learnt
    every = models.of_task(pd.concat(windows, ignore_index=True), models.NEW)
    model = models.Additive().fit(every, every["label"].to_numpy(), np.ones(len(every)))
    assert models.raw_score(fitted.models[models.NEW], every) == pytest.approx(models.raw_score(model, every))


@pytest.mark.parametrize("ranker", models.RANKERS)
def test_parts_sum_to_the_priority(shop, learnt, ranker):
    windows, plan, _ = learnt
    fitted = models.fit(windows, ranker=ranker)
    scored = models.predict(fitted, training.describe(shop["events"], shop["items"], None, shop["candidates"], plan,
                                                      cut=plan.as_of))
    ranked = value.rank(scored, value.worth(shop["items"]).values, value.popularity(shop["events"], as_of=AS_OF),
                        levers=pd.Series({"i03": 1.5, "i04": 0.0}))
    parts = [name for name in ranked.columns if name.startswith("part_")]
    assert (ranked[parts].sum(axis=1) - ranked["priority"]).abs().max() < 1e-9
    assert len(schema.violations(ranked, schema.TABLES["ranked"])) == 0
    assert len(ranked) == 3 * len(scored)
    levered = ranked.query("policy == 'value' and item_id == 'i03'")
    assert levered["priority"].to_numpy() == pytest.approx(1.5 * levered["p_response"] * levered["value"], abs=1e-6)


def test_the_ranker_learns_who_likes_what(learnt):
    windows, _, fitted = learnt
    scored = models.predict(fitted, windows[-1].drop(columns="label"))
    liked = scored["item_id"].str[1:].astype(int) // 10 == scored["customer_id"] % 3
    assert scored.loc[liked, "p_response"].mean() > 2 * scored.loc[~liked, "p_response"].mean()
    assert scored["p_response"].mean() == pytest.approx(windows[-1]["label"].mean(), rel=0.1)


def test_a_fit_is_the_same_twice_and_in_any_order(learnt):
    windows, _, fitted = learnt
    mixed = [window.sample(frac=1, random_state=2) for window in windows]
    one, other = models.predict(fitted, windows[-1]), models.predict(fitted, mixed[-1])
    pd.testing.assert_frame_equal(one, other)
    pd.testing.assert_frame_equal(one, models.predict(models.fit(windows), windows[-1]))


def test_nothing_to_learn_falls_back_to_popularity_and_says_so(learnt, shop):
    windows, _, _ = learnt
    empty = [window.assign(label=0) for window in windows]
    fitted = models.fit(empty)
    assert fitted.ranker == "popularity" and "Nothing was learnt: 0 responses" in fitted.sentences[0]
    scored = models.predict(fitted, windows[-1])
    popular = value.popularity(shop["events"], as_of=AS_OF)
    ranked = value.rank(scored, value.worth(shop["items"]).values, popular, is_learned=False)
    first = ranked.query("policy == 'relevance' and rank == 1")["item_id"]
    assert set(first) == {popular.sort_index().idxmax()}


def test_infinite_features_are_refused_and_missing_ones_are_not(learnt):
    windows, _, fitted = learnt
    row = windows[-1].head(3)
    assert models.predict(fitted, row.assign(item_n_7=np.nan))["p_response"].between(0, 1).all()
    assert models.predict(fitted, row.drop(columns="source_rank_popular"))["p_response"].between(0, 1).all()
    with pytest.raises(ValueError, match=r"item_n_7 is infinite in 1 rows, first .customer, item. == .1, 'i01'."):
        models.predict(fitted, row.assign(item_n_7=[0.0, np.inf, 0.0]))


def test_bad_options_are_refused(learnt):
    windows, _, _ = learnt
    with pytest.raises(ValueError, match="ranker == 'deep', must be one of"):
        models.fit(windows, ranker="deep")
    with pytest.raises(ValueError, match="1 label windows, must be at least two"):
        models.fit(windows[:1])
    with pytest.raises(ValueError, match="unknown policies .'best'."):
        value.rank(models.predict(models.fit(windows), windows[-1]), pd.Series(dtype=float), pd.Series(dtype=float),
                   policies=("best",))


@pytest.mark.parametrize("who", ["one customer", "one item"])
def test_a_single_customer_or_item_is_ranked(shop, who):
    kept = {"one customer": "customer_id == 1", "one item": "item_id == 'i00'"}[who]
    small = shop | {"candidates": shop["candidates"].query(kept)}
    windows, plan = make_windows(small)
    scored = models.predict(models.fit(windows), training.describe(shop["events"], shop["items"], None,
                                                                   small["candidates"], plan, cut=plan.as_of))
    ranked = value.rank(scored, value.worth(shop["items"]).values, value.popularity(shop["events"], as_of=AS_OF))
    assert len(ranked) == 3 * len(small["candidates"])
    assert ranked.groupby(["policy", "customer_id"])["rank"].max().eq(30 if who == "one customer" else 1).all()


def test_constant_ratings_can_be_ranked():
    shop = make_shop()
    shop["events"] = shop["events"].assign(event_type=pd.Series("rating", index=shop["events"].index, dtype="str"), value=5.0)
    shop["items"] = shop["items"][["item_id"]]
    windows, plan = make_windows(shop)
    assert "rates the item 4 or better" in plan.sentences[0]
    scored = models.predict(models.fit(windows), windows[-1])
    assert np.isfinite(scored["p_response"]).all()


def test_thinned_rows_keep_the_rate():
    label = np.r_[np.ones(500), np.zeros(9_500)].astype(int)
    keep, weight = models._thinned(label, 2_000, seed=1)
    assert len(keep) == 2_000 and label[keep].sum() == 500
    assert np.average(label[keep], weights=weight) == pytest.approx(0.05)


def test_value_is_margin_then_price_then_one():
    items = pd.DataFrame({"item_id": [1, 2, 3], "price": [10.0, 20.0, np.nan], "unit_cost": [6.0, np.nan, np.nan]})
    margin = value.worth(items, currency="EUR")
    assert margin.basis == "margin" and margin.values.tolist() == [4.0, 8.0, 6.0]
    assert "1 of 3 items have no unit cost; they get the median margin rate of 40 %" in " ".join(margin.sentences)
    price = value.worth(items.drop(columns="unit_cost"))
    assert price.basis == "price" and price.values.tolist() == [10.0, 20.0, 15.0]
    none = value.worth(items[["item_id"]])
    assert none.basis == "response" and none.values.tolist() == [1.0, 1.0, 1.0]


def test_equal_priorities_go_by_raw_score_then_item():
    scored = pd.DataFrame({"customer_id": 1, "item_id": [3, 2, 1], "is_new": True, "is_known_customer": True,
                           "is_known_item": True, "raw": [0.2, 0.1, 0.1], "p_response": 0.5, "part_base": 0.5})
    ranked = value.rank(scored, pd.Series({1: 1.0, 2: 1.0, 3: 1.0}), pd.Series(dtype=float), policies=("relevance",))
    assert ranked["item_id"].tolist() == [3, 1, 2]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 9)), min_size=1, max_size=30, unique=True), st.integers(1, 12))
def test_ndcg_is_a_share_and_perfect_lists_reach_one(pairs, k):
    relevant = pd.DataFrame(pairs, columns=["customer_id", "item_id"])
    perfect = relevant.assign(rank=relevant.groupby("customer_id").cumcount() + 1)
    found = evaluate.scores({"perfect": perfect}, relevant, k=k)
    assert found[metrics.NDCG].to_numpy() == pytest.approx(1.0)
    worse = evaluate.scores({"worse": perfect.assign(rank=perfect["rank"] + 1)}, relevant, k=k)
    assert worse[metrics.NDCG].between(0, 1, inclusive="left").all()


def test_stages_are_measured_on_both_tasks():
    candidates = pd.DataFrame({"customer_id": [1, 1, 1, 1], "item_id": [5, 6, 5, 7], "source": ["a", "a", "b", "b"],
                               "source_rank": [1, 2, 2, 1]})
    relevant = pd.DataFrame({"customer_id": [1, 1], "item_id": [5, 7], "is_new": [False, True]})
    tasks = pd.DataFrame({"customer_id": 1, "item_id": [5, 6, 7], "is_new": [False, True, True]})
    merged = pd.DataFrame({"customer_id": 1, "item_id": [5, 7, 6], "rank": [1, 2, 3]})
    by_stage = evaluate.lists(candidates, merged=merged)
    found = pd.concat([evaluate.stages(by_stage, relevant, k=2, tasks=tasks), evaluate.reach(by_stage, pd.Index(range(4, 10)), k=2)])
    found = found.assign(metric=found["metric"].str.replace(metrics.NDCG, "ndcg")).set_index(["stage", "metric"])
    ideal = 1 + 1 / np.log2(3)
    assert found.loc[("a", "ndcg_all"), "value"] == pytest.approx(1 / ideal)
    assert found.loc[("b", "ndcg_all"), "value"] == pytest.approx(1.0)
    assert found.loc[("a", "ndcg_new"), "value"] == 0 and found.loc[("b", "ndcg_new"), "value"] == 1
    assert found.loc[("a", "recall_again"), "value"] == 1
    assert found.loc[("merged", "coverage"), "value"] == pytest.approx(2 / 6)


def test_never_better_where_the_interval_spans_zero():
    assert "cannot be told apart" in evaluate.comparison_sentence("x", "y", (0.01, -0.01, 0.03), metric="NDCG@10")
    assert "x ranks better than y" in evaluate.comparison_sentence("x", "y", (0.02, 0.01, 0.03), metric="NDCG@10")
    assert "cannot be compared" in evaluate.comparison_sentence("x", "y", (np.nan,) * 3, metric="NDCG@10")


def test_holdout_is_measured_by_policy(shop, learnt):
    windows, plan, fitted = learnt
    ranked = value.rank(models.predict(fitted, windows[-1]), value.worth(shop["items"]).values,
                        value.popularity(shop["events"], as_of=AS_OF))
    aside = labels.with_task(shop["events"].head(200), shop["events"], plan, cut=plan.cuts[0])
    found = evaluate.holdout_metrics(ranked, aside, k=5)
    assert set(found["stage"]) == {"ranked"} and f"holdout_value_{metrics.NDCG}_all" in set(found["metric"])
    assert len(schema.violations(evaluate.joined(found, found), schema.TABLES["offline_metrics"])) == 0
    assert "names no pairs kept aside" in evaluate.holdout_sentence(evaluate.holdout_metrics(ranked, None, k=5))


def test_a_customer_with_every_item_has_only_things_to_buy_again():
    shop = make_shop(n_customers=6, n_items=4)
    rows = pd.MultiIndex.from_product([[1], shop["items"]["item_id"]]).to_frame(index=False, name=["customer_id", "item_id"])
    every = rows.assign(event_id=range(10**6, 10**6 + 4), occurred_at=pd.Timestamp("2026-01-11", tz="UTC"),
                        event_type="purchase", value=1.0, quantity=1.0)
    events = pd.concat([shop["events"], every], ignore_index=True)
    made = features.features(events, shop["items"], None, shop["candidates"], as_of=AS_OF)
    assert not made.query("customer_id == 1")["is_new"].any()


def test_what_a_chain_without_buy_again_would_lose_is_said():
    measured = pd.DataFrame({"stage": ["buy_again", "popular", "ranked"], "metric": f"{metrics.NDCG}_all", "value": [0.4, 0.16, 0.42]})
    assert "popular: NDCG@10 0.160 against 0.400, 2.5 times less" in evaluate.habit_sentence(measured, k=10)
    less = measured.assign(value=[0.1, 0.16, 0.42])
    assert "is the smaller part: buy_again alone reaches NDCG@10 0.100, popular 0.160" in evaluate.habit_sentence(less, k=10)
    assert "all that is ranked is new to them" in evaluate.habit_sentence(measured.iloc[1:], k=10)


def test_probabilities_are_held_against_a_truth_that_the_caller_opens():
    ranked = pd.DataFrame({"policy": "relevance", "customer_id": [1, 1, 1, 2, 2, 2], "item_id": [1, 2, 3] * 2,
                           "p_response": [0.1, 0.2, 0.3, 0.3, 0.2, 0.1], "is_new": True})

    def truth(pairs, params):
        return pairs.assign(p_buy=params["scale"] * pairs["item_id"])

    found = against.truth_table(ranked, {"answers": True, "params": {"scale": 0.1}}, truth)
    assert found["within_customers"].tolist() == pytest.approx([0.0, 0.0])
    assert found["rank_correlation"].tolist() == pytest.approx([0.0, 0.0])
    assert "cannot be held against" in against.truth_sentence(against.truth_table(ranked, {}, truth))


def test_each_part_is_held_against_what_it_should_stand_for():
    scored = pd.DataFrame({"customer_id": 1, "item_id": range(6), "is_new": [False, False, False, True, True, True],
                           "part_item": [0.1, 0.2, 0.3, 0.1, 0.2, 0.3], "part_source": [0.3, 0.2, 0.1, 0.1, 0.2, 0.3]})
    true = scored[["customer_id", "item_id"]].assign(appeal=[3, 2, 1, 1, 2, 3], season=0.0, taste=[1, 2, 3, 2, 1, 2])
    table = against.parts_table(scored, true, labels=value.PARTS)
    assert table.set_index("in_truth")[["bought_before", "new", "closest"]].round(6).T.to_dict("list") == {
        "taste": [-1.0, 0.0, "appeal"], "appeal and season": [-1.0, 1.0, "appeal"]}
    said = against.parts_sentence(table)
    assert "'demand for the item', with appeal and season: rank correlation 1.00" in said
    assert "'what similar customers choose' follows appeal rather than taste (0.00)" in said
    assert against.parts_sentence(against.parts_table(scored, true.head(0), labels=value.PARTS)) == "Nor can the parts of the priority."


def test_few_events_and_a_long_history_get_more_windows(shop):
    assert len(labels.plan(shop["events"], as_of=AS_OF, label_days=12).cuts) == 5
    assert len(labels.plan(shop["events"], as_of=AS_OF, label_days=28).cuts) == 3
    assert len(labels.plan(shop["events"], as_of=AS_OF, label_days=12, n_windows=3).cuts) == 3
