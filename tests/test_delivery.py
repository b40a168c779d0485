"""Slates keep their rules, arms keep their shares, and `p_shown` is exact."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reclib import delivery, schema

NIGHT = pd.Timestamp("2026-03-29", tz="UTC")


@pytest.fixture
def decisions() -> pd.DataFrame:
    return pd.DataFrame({
        "policy": ["popular"] * 4 + ["value"] * 4,
        "customer_id": [1, 1, 2, 2] * 2,
        "item_id": list("abab") * 2,
        "rank": [1, 2, 1, 2, 2, 1, 2, 1],
        "is_allowed": [True, True, False, True, True, True, False, True],
        "position": [1, 2, None, 1, 2, 1, None, 1],
    })


@pytest.fixture
def assignments() -> pd.DataFrame:
    return pd.DataFrame({"experiment_id": "launch", "customer_id": [1, 2], "arm": ["popular", "value"],
                         "assigned_at": NIGHT})


def test_each_customer_gets_the_slate_of_their_arm(decisions, assignments):
    slots = delivery.slates(decisions, assignments, {"popular": "popular", "value": "value"})
    assert slots[["customer_id", "item_id", "position"]].values.tolist() == [[1, "a", 1], [1, "b", 2], [2, "b", 1]]
    assert slots["n_eligible"].tolist() == [2, 2, 1]


def test_an_arm_without_a_policy_is_refused(decisions, assignments):
    with pytest.raises(ValueError, match="arms .'popular'. have no policy"):
        delivery.slates(decisions, assignments, {"value": "value"})


@pytest.mark.parametrize(("clock", "at"), [("", "2026-03-29 22:00"), ("23:15", "2026-03-29 23:15"), ("19:30", "2026-03-30 19:30"),
                                           ("22:00", "2026-03-30 22:00")])
def test_slates_are_sent_at_the_next_time_that_clocks_show_the_hour(clock, at):
    assert delivery.sent_at(pd.Timestamp("2026-03-29 22:00", tz="UTC"), clock) == pd.Timestamp(at, tz="UTC")


def test_a_time_of_day_that_is_none_is_refused():
    with pytest.raises(ValueError, match="send_at == 'evening', must be a time of day such as 19:30"):
        delivery.sent_at(NIGHT, "evening")


def test_shares_must_add_up():
    with pytest.raises(ValueError, match="add up to 1"):
        delivery.assign_arms(pd.Series([1, 2]), {"a": 0.5, "b": 0.6}, experiment_id="x", assigned_at=NIGHT)


def test_arms_do_not_depend_on_the_order_or_on_company():
    ids = pd.Series(np.arange(2_000))
    all_of_them = delivery.assign_arms(ids, {"a": 0.3, "b": 0.7}, experiment_id="x", assigned_at=NIGHT)
    some = delivery.assign_arms(ids[::-7], {"a": 0.3, "b": 0.7}, experiment_id="x", assigned_at=NIGHT)
    both = some.merge(all_of_them, on="customer_id")
    assert (both["arm_x"] == both["arm_y"]).all()
    assert abs((all_of_them["arm"] == "a").mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 2_000)


def test_two_experiments_split_independently():
    ids = pd.Series([f"c{i}" for i in range(4_000)])
    first, second = (delivery.assign_arms(ids, {"a": 0.5, "b": 0.5}, experiment_id=name, assigned_at=NIGHT)["arm"]
                     for name in ("one", "two"))
    assert abs((first == second).mean() - 0.5) < 4 * 0.5 / np.sqrt(4_000)


def _slots(n_customers: int, k: int) -> pd.DataFrame:
    return pd.DataFrame({
        "policy": "value", "customer_id": np.repeat(np.arange(n_customers), k),
        "item_id": np.tile([f"i{j}" for j in range(k)], n_customers), "position": np.tile(np.arange(1, k + 1), n_customers),
    })


def test_p_shown_is_how_often_it_is_shown():
    shown = delivery.explore(_slots(40_000, 4), epsilon=0.4, rng=np.random.default_rng(7))
    seen = shown.groupby(["item_id", "position"]).agg(n=("p_shown", "size"), p=("p_shown", "first"))
    assert seen["p"].loc[("i0", 1)] == pytest.approx(0.6 + 0.4 / 4)
    assert seen["p"].loc[("i0", 2)] == pytest.approx(0.4 / 4)
    assert np.abs(seen["n"] / 40_000 - seen["p"]).max() < 4 * 0.5 / np.sqrt(40_000)


def test_a_pinned_item_keeps_its_slot():
    slots = _slots(500, 3)
    shown = delivery.explore(slots, epsilon=1.0, rng=np.random.default_rng(1), pinned=slots.query("item_id == 'i0'"))
    assert (shown.query("item_id == 'i0'")[["position", "p_shown"]] == [1, 1.0]).all(axis=None)
    assert shown.query("item_id == 'i1'")["p_shown"].unique() == pytest.approx(0.5)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(1, 6), st.floats(0, 1), st.integers(0, 99))
def test_exploring_never_changes_what_is_shown(n_customers, k, epsilon, seed):
    slots = _slots(n_customers, k)
    shown = delivery.explore(slots, epsilon=epsilon, rng=np.random.default_rng(seed))
    pairs = ["customer_id", "item_id"]
    assert shown[pairs].sort_values(pairs).values.tolist() == slots[pairs].sort_values(pairs).values.tolist()
    assert shown[["customer_id", "position"]].drop_duplicates().shape[0] == n_customers * k
    assert ((shown["p_shown"] > 0) & (shown["p_shown"] <= 1 + 1e-12)).all()


def test_deliveries_meet_their_contract(decisions, assignments):
    slots = delivery.slates(decisions, assignments, {"popular": "popular", "value": "value"})
    shown = delivery.explore(slots, epsilon=0.0, rng=np.random.default_rng(1))
    candidates = pd.DataFrame({
        "customer_id": [1, 1, 1], "item_id": ["a", "a", "b"], "source": ["popular", "ease", "ease"],
        "source_rank": [2, 1, 3], "source_score": 0.5, "is_known_customer": [False, True, False], "is_known_item": True,
    })
    ranked = decisions[["policy", "customer_id", "item_id", "rank"]]
    published = delivery.deliver(shown, ranked, candidates, epsilon=0.0, channel="home", delivered_at=NIGHT, run_id="r")
    schema.require(published, schema.TABLES["deliveries"])
    assert published["source"].tolist() == ["ease", "ease", "pinned"]
    assert published["is_fallback"].tolist() == [False, True, False]
    assert published["p_before_rules"].tolist() == [1.0, 1.0, 1.0]


def test_an_arm_follows_the_policy_of_its_name():
    assert delivery.policy_of_arms(["popular", "new"], ["popular", "value"], control="popular") == {
        "popular": "popular", "new": "value"}
    with pytest.raises(ValueError, match="not ranked"):
        delivery.policy_of_arms(["a"], ["relevance"], control="a")


def test_the_plan_counts_only_if_its_arms_are_policies():
    plan = {"experiment_id": "launch", "control": "popular", "expected_shares": {"popular": 0.5, "value": 0.5}}
    own = delivery.launch_plan({"experiment": plan}, policies=["popular", "value"], control_share=0.1)
    assert own == plan
    foreign = plan | {"expected_shares": {"gate_30": 0.5, "gate_40": 0.5}}
    other = delivery.launch_plan({"experiment": foreign}, policies=["popular", "value"], control_share=0.1)
    assert other["expected_shares"] == {"popular": 0.1, "value": 0.9}


def test_sources_are_counted_by_slot():
    shown = pd.DataFrame({"decision_id": list("abc"), "source": ["x", "y", "x"], "is_fallback": [True, False, False]})
    assert delivery.by_source(shown)[["source", "n_slots", "fallback_share"]].values.tolist() == [["x", 2, 0.5], ["y", 1, 0.0]]
