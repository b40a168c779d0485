"""Experiments over shared stock misstate a launch; over split stock, or without scarcity, they do not."""

from dataclasses import replace

import pandas as pd
import pytest

from reclib.sources.storefront import config, interference, tables, truth

PARAMS = config.as_params(config.build(n_customers=800, n_items=120, n_days=28, stock_cover=0.5))


@pytest.fixture(scope="module")
def scarce() -> pd.DataFrame:
    found = interference.designs("oracle", "popular", "revenue", params=PARAMS, n_days=14, n_assignments=2)
    return interference.summary(found).set_index("design")


def test_shared_stock_misstates_the_launch_and_split_stock_hardly(scarce):
    assert scarce.loc["shared stock", "misstated"] > 0.3
    assert abs(scarce.loc["split stock", "misstated"]) < 0.5 * scarce.loc["shared stock", "misstated"]


def test_without_scarcity_both_designs_agree_with_each_other():
    endless = PARAMS | {"stock_on": False}
    found = interference.designs("oracle", "popular", "revenue", params=endless, n_days=14, n_assignments=1)
    shared, split = found["estimate"]
    assert shared == pytest.approx(split)


def test_a_split_experiment_counts_every_customer_once():
    assignments = truth.assign_at_random(PARAMS, {"treated": 0.5, "control": 0.5})
    outcomes = interference.split("oracle", "popular", assignments, params=PARAMS, n_days=7)
    assert outcomes["customer_id"].tolist() == list(range(1, 801))


def test_displacement_says_who_gains_and_loses():
    found = pd.DataFrame({"arm": ["treated", "control"], "change": [1.5, -0.25]})
    assert interference.displacement_sentence(found, currency="EUR") == (
        "By sharing one stock with the other arm, treated customers gain 1.50 EUR and control customers lose 0.25 EUR each, "
        "compared with a world that has only their policy.")


def test_summary_by_hand():
    """Estimates 2 and 4 of a truth of 2: mean 3, half too much, twice the standard error is 2 x sqrt(2) / sqrt(2) = 2."""
    found = pd.DataFrame({"design": ["shared stock"] * 2, "estimate": [2.0, 4.0], "truth": [2.0, 2.0]})
    row = interference.summary(found).iloc[0]
    assert (row["mean"], row["low"], row["high"], row["misstated"]) == pytest.approx((3.0, 1.0, 5.0, 0.5))
    assert interference.sentence(interference.summary(found), currency="EUR") == (
        "The launch is truly worth +2.00 EUR a customer; "
        "an experiment over shared stock says +3.00 [+1.00, +5.00], 50% too much.")


def test_parts_of_the_stock_add_up_and_leave_each_customer_in_one_arm():
    params = tables.load(n_customers=200, n_items=40, n_days=21)[1]["params"]
    assignments = truth.assign_at_random(params, {"a": 0.3, "b": 0.7}, salt=1)
    world, state, _ = tables.history(config.build(**params))
    stock, shares = state.stock.copy(), 0.0
    total = 0 * stock
    for arm in ("a", "b"):
        is_member = (assignments["arm"] == arm).to_numpy()
        total = total + tables.part(world, replace(state, stock=stock.copy()), is_member, before=shares)[1].stock
        shares += is_member.mean()
    assert (total == stock).all()


def test_split_answers_hold_every_customer_once_and_only_the_slots_of_their_own():
    _, facts = tables.load(n_customers=200, n_items=40, n_days=21)
    assignments = truth.assign_at_random(facts["params"], {"a": 0.5, "b": 0.5}, salt=1)
    slots = pd.DataFrame({"customer_id": range(1, 201), "item_id": "i0001", "position": 1,
                          "decision_id": [f"d{number}" for number in range(1, 201)]})
    found = tables.answer(slots, assignments, params=facts["params"], n_days=7, is_split=True)
    assert found["customers_after"]["customer_id"].tolist() == list(range(1, 201))
    assert found["events"]["event_id"].is_unique
    named = found["events"].dropna(subset=["decision_id"])
    assert (named["decision_id"] == "d" + named["customer_id"].astype("str")).all()
