"""Answers find their delivery once, and every assigned customer counts."""

import pandas as pd
import pytest

from reclib import feedback, schema


def at(text: str) -> pd.Timestamp:
    return pd.Timestamp(text, tz="UTC").as_unit("us")


@pytest.fixture
def deliveries() -> pd.DataFrame:
    return pd.DataFrame({
        "decision_id": ["d1", "d2", "d3"], "delivered_at": [at("2026-03-01")] * 3, "customer_id": [1, 1, 2],
        "item_id": ["a", "b", "a"], "position": [1, 2, 1], "policy": ["value", "value", "popular"],
    })


def _events(rows: list[tuple]) -> pd.DataFrame:
    events = pd.DataFrame(rows, columns=["occurred_at", "customer_id", "item_id", "event_type", "value", "decision_id"])
    return events.assign(event_id=range(len(events)), occurred_at=[at(text) for text in events["occurred_at"]],
                         quantity=1, decision_id=events["decision_id"].astype("str"))


def test_answers_join_their_decision_and_add_up(deliveries):
    events = _events([
        ("2026-03-02", 1, "a", "click", 0.0, "d1"), ("2026-03-03", 1, "a", "click", 0.0, "d1"),
        ("2026-03-03", 1, "a", "purchase", 4.5, "d1"), ("2026-02-28", 1, "b", "click", 0.0, "d2"),
        ("2026-04-30", 2, "a", "click", 0.0, "d3"),
    ])
    outcomes = feedback.join_outcomes(deliveries, events, window_days=28)
    schema.require(outcomes, schema.TABLES["outcomes"])
    assert outcomes[["decision_id", "outcome_type", "value"]].values.tolist() == [
        ["d1", "click", 2.0], ["d1", "purchase", 4.5]]


def test_an_answer_without_decision_goes_to_the_latest_delivery_of_the_pair(deliveries):
    again = deliveries.iloc[[0]].assign(decision_id="d4", delivered_at=at("2026-03-05"))
    events = _events([("2026-03-06", 1, "a", "purchase", 3.0, None), ("2026-03-06", 2, "b", "purchase", 3.0, None)])
    outcomes = feedback.join_outcomes(pd.concat([deliveries, again]), events, window_days=28)
    assert outcomes[["decision_id", "is_attributed"]].values.tolist() == [["d4", True]]


def test_no_answers_make_an_empty_table(deliveries):
    outcomes = feedback.join_outcomes(deliveries, _events([]), window_days=7)
    schema.require(outcomes, schema.TABLES["outcomes"])
    assert outcomes.empty


def test_a_window_of_no_days_is_refused(deliveries):
    with pytest.raises(ValueError, match="window_days == 0"):
        feedback.join_outcomes(deliveries, _events([]), window_days=0)


def test_rates_count_seen_slots(deliveries):
    outcomes = pd.DataFrame({
        "decision_id": ["d1", "d1", "d2"], "outcome_type": ["impression", "click", "impression"], "value": 1.0,
        "occurred_at": at("2026-03-02"), "is_attributed": False,
    })
    table = feedback.rates(deliveries, outcomes, by="policy").set_index("policy")
    assert table["n_slots"].to_dict() == {"popular": 1, "value": 2}
    assert table["n_seen"].to_dict() == {"popular": 0, "value": 2}
    assert table.loc["value", "click_rate"] == pytest.approx(1 / 2)
    assert table.loc["value", "click_low"] == pytest.approx(0.0945, abs=1e-4)  # Wilson, 1 of 2
    assert pd.isna(table.loc["popular", "click_rate"])


def test_every_assigned_customer_is_a_unit_and_money_adds_up():
    assignments = pd.DataFrame({"experiment_id": "x", "customer_id": [1, 2], "arm": ["a", "b"],
                                "assigned_at": at("2026-03-01")})
    items = pd.DataFrame({"item_id": ["a", "b"], "unit_cost": [1.5, 1.0], "category": ["x", "y"]})
    customers = pd.DataFrame({"customer_id": [2, 1, 3], "segment": ["young", "old", "old"]})
    events = _events([
        ("2026-02-20", 1, "a", "impression", 1.0, None), ("2026-03-02", 1, "a", "impression", 1.0, None),
        ("2026-03-04", 1, "b", "impression", 1.0, None), ("2026-03-05", 1, "b", "impression", 1.0, None),
        ("2026-02-20", 1, "a", "purchase", 2.0, None), ("2026-01-01", 1, "a", "purchase", 9.0, None),
        ("2026-03-02", 1, "a", "purchase", 5.0, None), ("2026-03-03", 1, "a", "return", 5.0, None),
        ("2026-03-20", 1, "a", "click", 0.0, None), ("2026-03-20", 3, "a", "purchase", 8.0, None),
    ])
    units = feedback.build_units(assignments, events, items, start=at("2026-03-01"), end=at("2026-03-29"), pre_days=28, customers=customers)
    schema.require(units, schema.TABLES["units"])
    first, second = units.to_dict("records")
    assert (first["revenue"], first["returned"], first["net_revenue"], first["pre_revenue"]) == (5.0, 5.0, 0.0, 2.0)
    assert first["contribution"] == (5.0 - 1.5) - (5.0 - 1.5)
    assert (first["is_converted"], first["is_retained"], first["orders"]) == (1, 1, 1)
    assert [first[name] for name in ("impressions", "n_items_seen", "n_categories_seen", "n_new_seen", "segment")] == [3, 2, 2, 1, "old"]
    assert (second["n_new_seen"], second["segment"]) == (0, "young")
    assert (second["revenue"], second["is_converted"], second["is_retained"]) == (0.0, 0, 0)


def test_a_click_counts_for_more_when_the_basket_follows_and_waits_are_averaged():
    """Customer 1 clicks a (bought before the click only) and b (put into the basket after it), and waited for 80 and 120 ms."""
    assignments = pd.DataFrame({"experiment_id": "x", "customer_id": [1, 2], "arm": ["a", "b"]})
    events = _events([
        ("2026-03-02", 1, "a", "purchase", 5.0, None), ("2026-03-03", 1, "a", "click", 0.0, None), ("2026-03-04", 1, "b", "click", 0.0, None),
        ("2026-03-05", 1, "b", "add_to_cart", 0.0, None), ("2026-03-06", 1, "b", "click", 0.0, None),
        ("2026-03-03", 1, "a", "impression", 0.0, None), ("2026-03-04", 1, "b", "impression", 0.0, None),
    ]).assign(served_ms=[None] * 5 + [80.0, 120.0])
    items = pd.DataFrame({"item_id": ["a", "b"], "category": ["k", "k"]})
    units = feedback.build_units(assignments, events, items, start=at("2026-03-01"), end=at("2026-03-29"), pre_days=28)
    assert units[["n_items_clicked", "n_items_carried_on"]].to_numpy().tolist() == [[2, 1], [0, 0]]
    assert units["latency_ms"].fillna(-1).tolist() == [100.0, -1.0]


def test_pins_are_held_against_the_other_slots_of_their_position(deliveries):
    overrides = pd.DataFrame({"item_id": ["a"], "action": ["pin"]})
    outcomes = pd.DataFrame({"decision_id": ["d1"], "outcome_type": ["click"], "value": 1.0})
    table = feedback.override_report(deliveries.assign(item_id=["a", "b", "c"]), outcomes, overrides)
    assert table[["slots", "click_rate"]].values.tolist() == [["pinned", 1.0], ["ranked", 0.0]]


def test_a_pre_period_without_events_counts_nothing(deliveries):
    assignments = pd.DataFrame({"experiment_id": ["x"] * 2, "customer_id": [1, 2], "arm": ["value", "popular"]})
    events = _events([("2026-03-02", 1, "a", "purchase", 5.0, "d1")])
    items = pd.DataFrame({"item_id": ["a", "b"], "unit_cost": [2.0, 1.0], "category": ["k", "k"]})
    units = feedback.build_units(assignments, events, items, start=at("2026-03-01"), end=at("2026-03-29"), pre_days=28)
    assert units[["contribution", "pre_revenue", "pre_orders"]].to_numpy().tolist() == [[3.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
