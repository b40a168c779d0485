import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reclib import schema, signals

AS_OF = pd.Timestamp("2024-06-30 12:00", tz="UTC")


def log(*rows):
    """Events from (customer, item, type, days before as_of, value)."""
    table = pd.DataFrame(rows, columns=["customer_id", "item_id", "event_type", "age", "value"])
    at = (AS_OF - pd.to_timedelta(table["age"], unit="D")).astype("datetime64[us, UTC]")
    return table.assign(event_id=range(len(table)), occurred_at=at).drop(columns="age")


def grade(events, **options):
    return signals.build_ratings(events, as_of=AS_OF, **options).set_index(["customer_id", "item_id"])["rating"]


def test_a_purchase_today_lies_three_quarters_up():
    assert grade(log(("ann", "a", "purchase", 0, 9.0)))["ann", "a"] == pytest.approx(3 + 2 * 5 / (5 + 5))


def test_events_add_up_and_fade():
    found = grade(log(("ann", "a", "view", 0, 0), ("ann", "a", "click", 90, 0)), half_life_days=90)
    assert found["ann", "a"] == pytest.approx(3 + 2 * (1 + 2 / 2) / (1 + 2 / 2 + 5))


@pytest.mark.parametrize("refusal", ["dismiss", "return", "complaint"])
def test_refusals_lower_the_grade(refusal):
    bought = log(("ann", "a", "purchase", 3, 9.0))
    refused = pd.concat([bought, log(("ann", "a", refusal, 1, 0))])
    assert grade(refused)["ann", "a"] < grade(bought)["ann", "a"]
    assert grade(log(("ann", "a", refusal, 1, 0)))["ann", "a"] < 3


def test_given_ratings_stand_and_the_latest_counts():
    found = grade(log(("ann", "a", "rating", 9, 2.0), ("ann", "a", "rating", 1, 4.0), ("ann", "a", "view", 0, 0)))
    assert found["ann", "a"] == 4


def test_a_refusal_lowers_a_given_rating_but_not_below_the_scale():
    found = grade(log(("ann", "a", "rating", 1, 4.0), ("ann", "a", "dismiss", 0, 0), ("bob", "a", "rating", 1, 1.0),
                      ("bob", "a", "complaint", 0, 0)))
    assert found["ann", "a"] == pytest.approx(4 - 2 * 3 / 8) and found["bob", "a"] == 1


def test_weights_decide_which_events_count():
    events = log(("ann", "a", "view", 0, 0), ("ann", "b", "impression", 0, 0), ("ann", "c", "purchase", 0, 1.0))
    assert grade(events).index.get_level_values("item_id").tolist() == ["a", "c"]
    assert grade(events, weights={"impression": 1.0}).index.get_level_values("item_id").tolist() == ["b"]


@pytest.mark.parametrize("kind", ["purchase", "rating", "click"])
def test_one_kind_of_event_is_enough(kind):
    events = log(("ann", "a", kind, 2, 4.0), ("bob", "a", kind, 1, 5.0), ("bob", "b", kind, 40, 2.0))
    ratings = signals.build_ratings(events, as_of=AS_OF, scale=signals.rating_scale(events))
    assert schema.violations(ratings, schema.TABLES["ratings"]).empty and len(ratings) == 3
    assert signals.item_signals(events, as_of=AS_OF)["n_responses"].tolist() == [2, 1]
    assert signals.customer_signals(events, as_of=AS_OF)["n_orders"].tolist() == [1, 2]


def everything(events, items):
    return [signals.build_ratings(events, as_of=AS_OF), signals.item_signals(events, items, as_of=AS_OF),
            signals.customer_signals(events, as_of=AS_OF), signals.context_signals(events, as_of=AS_OF),
            signals.inventory_signals(events, items, as_of=AS_OF)]


@pytest.fixture
def shop():
    rng = np.random.default_rng(5)
    kinds = rng.choice(["view", "click", "purchase", "dismiss"], 300)
    events = log(*zip(rng.integers(0, 20, 300), rng.integers(0, 15, 300), kinds, rng.uniform(-30, 90, 300), rng.uniform(1, 9, 300)))
    return events.assign(channel="web"), pd.DataFrame({"item_id": range(15), "stock_on_hand": 5.0})


def test_nothing_after_as_of_is_read_truncation(shop):
    events, items = shop
    for whole, cut in zip(everything(events, items), everything(events[events["occurred_at"] <= AS_OF], items)):
        pd.testing.assert_frame_equal(whole, cut)


def test_nothing_after_as_of_is_read_poisoning(shop):
    events, items = shop
    later = events["occurred_at"] > AS_OF
    poisoned = events.assign(value=events["value"].where(~later, 1e9), item_id=events["item_id"].where(~later, 7),
                             event_type=events["event_type"].where(~later, "purchase"))
    for clean, other in zip(everything(events, items), everything(poisoned, items)):
        pd.testing.assert_frame_equal(clean, other)


def test_an_item_that_sells_more_than_before_rises():
    events = log(*[("ann", "a", "purchase", age, 1.0) for age in (1, 2, 3, 40)], ("bob", "b", "purchase", 40, 1.0))
    found = signals.item_signals(events, pd.DataFrame({"item_id": ["a", "b", "c"]}), as_of=AS_OF).set_index("item_id")
    assert found.loc["a", ["n_recent", "n_before", "trend"]].tolist() == [3, 1, 4 / 2]
    assert found.loc["b", "trend"] == 1 / 2 and found.loc["c", "n_responses"] == 0


def test_customers_are_described_by_orders_value_and_discount():
    events = log(("ann", "a", "purchase", 5, 6.0), ("ann", "b", "purchase", 5, 2.0), ("ann", "a", "purchase", 2, 8.0))
    events = events.assign(discount=[2.0, 0.0, 2.0])
    found = signals.customer_signals(events, pd.DataFrame({"customer_id": ["ann", "bob"]}), as_of=AS_OF).set_index("customer_id")
    assert found.loc["ann", ["n_orders", "n_items", "value", "value_an_order"]].tolist() == [2, 2, 16, 8]
    assert found.loc["ann", "discount_share"] == pytest.approx(4 / 20) and found.loc["bob", "n_orders"] == 0


def test_days_of_stock_follow_the_recent_pace():
    events = log(*[("ann", "a", "purchase", age, 1.0) for age in range(14)])
    items = pd.DataFrame({"item_id": ["a", "b"], "stock_on_hand": [7, 3]})
    found = signals.inventory_signals(events, items, as_of=AS_OF, window_days=28)
    assert found.loc[0, "days_of_stock"] == pytest.approx(7 / (14 / 28)) and np.isnan(found.loc[1, "days_of_stock"])


def test_what_the_source_lacks_is_said_and_not_invented():
    assert signals.inventory_signals(log(("ann", "a", "view", 1, 0)), None, as_of=AS_OF) is None
    assert "has no stock" in signals.inventory_sentence(None)
    assert "describes no items" in signals.attributes_sentence(signals.attribute_coverage(None))
    assert signals.shortest_stock(None).empty


@pytest.mark.parametrize("options, message", [
    ({"half_life_days": 0}, r"half_life_days == 0, must be greater than 0\."),
    ({"scale": (5, 1)}, r"scale == \(5, 1\), must be \(low, high\)"),
    ({"scale": (1, 3)}, r"rating 4\.0 lies outside the scale \(1, 3\) \(1 rows\)\."),
    ({"weights": {"view": float("nan")}}, r"weights: \{'view': nan\}, must be finite numbers\."),
])
def test_bad_options_get_a_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        signals.build_ratings(log(("ann", "a", "rating", 1, 4.0)), as_of=AS_OF, **options)


def test_a_shop_without_strangers_is_told_of_in_plain_words():
    of_customers = pd.DataFrame({"customer_id": [1, 2], "n_orders": [1, 1], "recency_days": [3.0, 5.0]})
    assert signals.customers_sentence(of_customers) == "The median customer last came 4 days ago, and 1 time in all; all 2 have a history."
    stranger = pd.DataFrame({"customer_id": [3], "n_orders": [0]})
    assert "1 of 3 have no history" in signals.customers_sentence(pd.concat([of_customers, stranger]))
    assert signals.items_sentence(pd.DataFrame({"n_responses": [3, 1]})).endswith("75 % of the responses; every item has one at least.")


def test_events_without_a_response_get_a_sentence():
    with pytest.raises(ValueError, match="events: none of"):
        signals.item_signals(log(("ann", "a", "impression", 1, 0)), as_of=AS_OF)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.sampled_from(sorted(signals.WEIGHTS)),
                          st.floats(0, 500), st.just(0.0)), min_size=1, max_size=12), st.randoms())
def test_grades_stay_on_the_scale_whatever_the_order(rows, random):
    found = grade(log(*rows))
    shuffled = random.sample(rows, len(rows))
    assert found.between(1, 5).all()
    pd.testing.assert_series_equal(found, grade(log(*shuffled)))
