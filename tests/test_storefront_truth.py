"""The storefront's truth: potential outcomes are exact, and the world obeys monotone laws."""

import numpy as np
import pandas as pd
import pytest

from reclib.sources.storefront import (
    config,
    days,
    policies,
    response,
    tables,
    totals,
    truth,
    world,
)
from reclib.sources.storefront.state import NEVER, morning

PARAMS = config.as_params(config.build(n_customers=800, n_items=120, n_days=28))
CALM = PARAMS | {"stock_on": False}
STATIC = CALM | {"dynamic": False, "churn_on": False}


def with_arms(params: dict) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """A mixed world of three arms, and the three pure worlds."""
    assignments = truth.assign_at_random(params, {"none": 0.3, "popular": 0.3, "oracle": 0.4})
    arms = {name: name for name in ("none", "popular", "oracle")}
    mixed = truth.true_outcomes(arms, params=params, n_days=14, assignments=assignments)
    pure = {name: truth.true_outcomes(name, params=params, n_days=14) for name in arms}
    return mixed.assign(arm=assignments["arm"]), pure


def test_without_shared_stock_everyone_has_the_outcome_of_their_arm_bit_for_bit():
    mixed, pure = with_arms(CALM)
    for arm, members in mixed.groupby("arm"):
        expected = pure[arm].loc[members.index]
        pd.testing.assert_frame_equal(members.drop(columns="arm"), expected, check_exact=True)
    assert not pure["none"].equals(pure["oracle"])


def test_shared_stock_breaks_that_identity():
    mixed, pure = with_arms(PARAMS | {"stock_cover": 0.3})
    assert any(not members.drop(columns="arm").equals(pure[arm].loc[members.index]) for arm, members in mixed.groupby("arm"))


def test_published_slates_give_each_arm_the_outcome_of_its_own_launch():
    """`answer` over a mixed deliveries table equals, customer by customer, the pure worlds of the two tables."""
    items = tables.load(**{name: CALM[name] for name in ("n_customers", "n_items", "n_days", "stock_on")})[0]["items"]
    ids = items["item_id"].to_numpy()
    arms = {"popular": _everybody(ids[:8]), "value": _everybody(ids[8:16])}
    is_value = np.arange(1, 801) % 2 == 0
    deliveries = pd.concat([
        arms["popular"][lambda rows: rows["customer_id"] % 2 == 1], arms["value"][lambda rows: rows["customer_id"] % 2 == 0],
    ])
    told = tables.answer(deliveries, params=CALM, n_days=14)["customers_after"]
    for name, mask in (("popular", ~is_value), ("value", is_value)):
        pure = truth.true_outcomes(arms[name], params=CALM, n_days=14)
        pd.testing.assert_frame_equal(told.loc[mask, pure.columns], pure[mask], check_exact=True)


def _everybody(ids: np.ndarray) -> pd.DataFrame:
    number = np.arange(800 * len(ids))
    return pd.DataFrame({
        "decision_id": number, "customer_id": number // len(ids) + 1, "position": number % len(ids) + 1,
        "item_id": np.tile(ids, 800),
    })


def test_true_effect_is_the_mean_of_the_paired_differences():
    oracle, nothing = (truth.true_outcomes(policy, params=CALM, n_days=7) for policy in ("oracle", "none"))
    expected = (oracle["revenue"] - nothing["revenue"]).sum() / 800
    assert truth.true_effect("oracle", "none", "revenue", params=CALM, n_days=7) == pytest.approx(expected)
    assert truth.true_effect("popular", "popular", "revenue", params=PARAMS, n_days=7) == 0


def test_ratios_are_sums_over_sums():
    found = pd.DataFrame({"revenue": [10.0, 0.0, 20.0], "orders": [1, 0, 2]})
    assert truth.value_of(found, "aov") == 30 / 3
    with pytest.raises(ValueError, match=r"metric == 'joy', must be one of \['aov'"):
        truth.value_of(found, "joy")


def test_a_world_can_be_lived_again():
    first, second = (truth.true_outcomes("bestsellers", params=PARAMS, n_days=7) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)


def test_history_is_the_same_under_every_later_policy():
    before = tables.load(n_customers=800, n_items=120, n_days=28)[0]["events"]
    truth.true_outcomes("oracle", params=PARAMS, n_days=7)
    after = tables.load(n_customers=800, n_items=120, n_days=28)[0]["events"]
    pd.testing.assert_frame_equal(before, after)


def test_more_stock_never_lowers_sales():
    units = [lived(PARAMS | {"stock_cover": cover})["quantity"].sum() for cover in (0.1, 0.3, 0.9, 3.0)]
    units.append(lived(CALM)["quantity"].sum())
    assert units == sorted(units)
    assert units[0] < units[-1]


def test_a_better_ranker_never_lowers_true_clicks():
    clicks = [truth.true_value(policy, "clicks", params=CALM) for policy in ("none", "random", "bestsellers", "oracle")]
    assert clicks == sorted(clicks)
    assert clicks[0] == 0 < clicks[1] < clicks[-1]


def test_the_margin_oracle_earns_most():
    names = ("none", "popular", "oracle", "oracle_margin")
    found = {name: truth.true_value(name, "contribution", params=PARAMS) for name in names}
    assert max(found, key=found.get) == "oracle_margin"
    assert found["none"] < found["oracle"]


def test_fewer_repeats_never_raise_opt_outs():
    """The same day, luck and slates; who has seen the items before opts out too, or alone, never the other way round."""
    shop = world.build(config.build(**CALM | {"n_customers": 4000, "opt_out_base": 0.03}))
    gone = []
    for n_seen in (0, 10, 100):
        state = morning(shop)
        state.seen += np.uint8(n_seen)
        days.run(shop, state, policies.popular, first_day=0, n_days=1)
        gone.append(set(np.flatnonzero(state.opt_out_day < NEVER)))
    assert gone[0] <= gone[1] <= gone[2]
    assert len(gone[0]) < len(gone[2])


def test_more_pushes_bring_more_visits_and_more_opt_outs():
    found = [truth.true_outcomes("popular", params=PARAMS, changes={"push_every": every}) for every in (0, 7, 1)]
    assert [frame["opted_out"].sum() for frame in found] == sorted(frame["opted_out"].sum() for frame in found)
    assert found[0]["sessions"].sum() < found[1]["sessions"].sum()


@pytest.mark.parametrize("item", [3, 40, 77])
def test_a_price_rise_never_raises_demand_for_the_item(item):
    units = []
    for factor in (0.7, 1.0, 1.5, 3.0):
        factors = np.ones(120)
        factors[item] = factor
        shop = world.build(config.build(**STATIC), price_factor=factors)
        line = days.run(shop, morning(shop), policies.bestsellers, first_day=0, n_days=28).columns("line")
        units.append(line["quantity"][line["item"] == item].sum())
    assert units == sorted(units, reverse=True)
    assert units[0] > units[-1]


def test_lifting_the_age_gate_costs_complaints():
    changes = {"age_gate": False, "minor_share": 0.04}
    kept, lifted = (truth.true_value("popular", "complaints", params=PARAMS | {"minor_share": 0.5}, changes=change)
                    for change in ({}, changes))
    assert lifted > kept


@pytest.mark.parametrize("switch, kind", [("delay_share", "late"), ("promo_share", "promo"), ("epsilon", "explored")])
def test_each_switch_makes_its_mechanism_vanish(switch, kind):
    shop = world.build(config.build(**PARAMS | {switch: 0.0}))
    log = days.run(shop, morning(shop), policies.bestsellers, first_day=0, n_days=14)
    line, shown = log.columns("line"), log.columns("impression")
    late, explored = line["order_day"] > line["day"], shown["p_shown"] < 1
    n = {"late": late.sum(), "promo": line["is_promo"].sum(), "explored": explored.sum()}
    assert n[kind] == 0


def test_true_parts_sum_to_the_utility_and_order_the_responses():
    pairs = pd.DataFrame({"customer_id": np.repeat([1, 2, 3], 120), "item_id": np.tile(policies.item_ids(120), 3)})
    parts = truth.utility_parts(pairs, PARAMS).set_index(["customer_id", "item_id"])
    assert parts.drop(columns="utility").sum(axis=1).to_numpy() == pytest.approx(parts["utility"].to_numpy())
    told = truth.p_response(pairs, PARAMS)
    assert told["p_click"].between(0, 1).all() and (told["p_buy"] <= told["p_click"]).all()
    assert np.corrcoef(parts["utility"].rank(), told["p_click"].rank())[0, 1] > 0.999


def test_true_click_probability_is_what_happens():
    """With memory off, clicks of the random policy add up to the true probabilities of what was looked at."""
    shop = world.build(config.build(**STATIC | {"n_customers": 4000, "examine_base": 1.0, "examine_decay": 0.0}))
    log = days.run(shop, morning(shop), policies.at_random, first_day=0, n_days=7)
    shown = log.columns("impression")
    expected = 0.0
    for day in range(7):
        rows = shown["day"] == day
        logit = response.utility(shop, day, shown["customer"][rows], shown["item"][rows][:, None])
        expected += response.p_click(shop, logit.astype(float)).sum()
    clicks = len(log.columns("click")["item"])
    assert clicks == pytest.approx(expected, abs=4 * expected**0.5)


def test_positions_are_looked_at_as_stated():
    """Click rates by position on random slates fall like k^-0.6: by 2^-0.6 = 0.66 from the first to the second."""
    shop = world.build(config.build(**STATIC | {"n_customers": 6000, "visit_rate": 1.0, "click_base": 0.5}))
    log = days.run(shop, morning(shop), policies.at_random, first_day=0, n_days=7)
    clicks = np.bincount(log.columns("click")["position"], minlength=9)[1:]
    shown = np.bincount(log.columns("impression")["position"], minlength=9)[1:]
    ratio = clicks / shown / (clicks[0] / shown[0])
    assert ratio == pytest.approx(np.arange(1, 9) ** -0.6, abs=0.05)


def test_metrics_are_documented_columns():
    found = truth.true_outcomes("popular", params=PARAMS, n_days=7)
    assert set(totals.METRICS) <= set(found.columns)
    with pytest.raises(ValueError, match=r"policy == 'best', must be one of"):
        truth.true_outcomes("best", params=PARAMS)


def lived(params: dict) -> dict[str, np.ndarray]:
    """The lines sold in the history of a world."""
    return tables.history(config.build(**params))[2].columns("line")
