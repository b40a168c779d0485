import json
import math

import numpy as np
import pandas as pd
import pytest

from reclib import schema
from reclib.brief import decision
from reclib.experiments import (
    engine,
    page,
    readout,
    segments,
    srm,
    stats,
    trust,
    verdict,
)
from reclib.experiments.plan import PlanError, parse

PLAN = {
    "experiment_id": "launch", "control": "old", "expected_shares": {"old": 0.5, "new": 0.5},
    "metrics": {"revenue": {"role": "success", "kind": "mean"},
                "opted_out": {"role": "guardrail", "kind": "proportion", "margin": 0.8, "direction": "down"}},
}


@pytest.fixture
def units():
    rng = np.random.default_rng(3)
    n = 4000
    arm = np.where(np.arange(n) % 2 == 0, "old", "new")
    before = rng.gamma(2.0, 5.0, n)
    return pd.DataFrame({
        "experiment_id": "launch", "customer_id": np.arange(n), "arm": arm,
        "revenue": before + rng.gamma(2.0, 5.0, n) + np.where(arm == "new", 2.0, 0.0),
        "opted_out": (rng.random(n) < 0.04).astype(int), "pre_revenue": before, "region": np.where(before > 8, "north", "south"),
    })


def read(units, **changes):
    return readout.readout(units, parse(PLAN | changes))


def one(units, metrics, **changes):
    table = read(units, metrics=metrics, **changes)
    return table[table["is_primary"]].iloc[0]


def judge(units, currency="EUR", **changes):
    plan = parse(PLAN | changes)
    return verdict.verdict(readout.readout(units, plan), trust.check_units(units, plan), plan, currency=currency)


def test_readout_meets_its_contract(units):
    table = read(units, covariates=["pre_revenue"], sequential=True)
    schema.require(table, schema.TABLES["readout"])
    assert table.groupby(["metric", "arm"])["is_primary"].sum().eq(1).all()


def test_difference_of_means_by_hand():
    units = pd.DataFrame({"customer_id": range(6), "arm": ["old"] * 3 + ["new"] * 3, "revenue": [1.0, 2, 3, 3, 4, 8]})
    row = one(units, {"revenue": {"role": "success"}})
    assert row["effect"] == pytest.approx((3 + 4 + 8) / 3 - (1 + 2 + 3) / 3)
    assert row["se"] == pytest.approx(math.sqrt(7 / 3 + 1 / 3))
    assert row["lift"] == pytest.approx((5 - 2) / 2)


def test_ratio_is_sum_over_sum_not_mean_of_ratios():
    units = pd.DataFrame({"customer_id": range(6), "arm": ["old"] * 3 + ["new"] * 3,
                          "paid": [10.0, 0, 30, 20, 0, 50], "orders": [1, 0, 2, 1, 0, 3]})
    row = one(units, {"aov": {"role": "success", "kind": "ratio", "numerator": "paid", "denominator": "orders"}})
    assert (row["mean_arm"], row["mean_control"]) == (pytest.approx(70 / 4), pytest.approx(40 / 3))


@pytest.mark.parametrize("paid", [1.0, 9.99])
def test_a_ratio_that_is_the_same_for_everyone_is_refused(units, paid):
    """Every order costs the same: rounding alone must not make one arm better."""
    orders = units.assign(orders=1 + units["customer_id"] % 5, paid=paid * (1 + units["customer_id"] % 5))
    row = one(orders, {"aov": {"role": "success", "kind": "ratio", "numerator": "paid", "denominator": "orders"}})
    assert row["finding"] == "refused" and f"same value, {paid:g}" in row["reason"]


def test_a_covariate_that_is_the_outcome_is_refused(units):
    later = units.assign(revenue=units["pre_revenue"])
    row = one(later.assign(copy=3 * later["revenue"] + 7), PLAN["metrics"], covariates=["copy"])
    assert row["finding"] == "refused" and "measured after the assignment" in row["reason"]


def test_adjustment_narrows_the_interval_and_keeps_the_effect(units):
    table = read(units, covariates=["pre_revenue"]).query("metric == 'revenue'").set_index("method")
    assert table.loc["cuped", "se"] < 0.8 * table.loc["unadjusted", "se"]
    assert table.loc["cuped", "variance_saved"] == pytest.approx(0.5, abs=0.05)
    assert abs(table.loc["cuped", "effect"] - 2.0) < 3 * table.loc["cuped", "se"]
    assert table["is_primary"].to_dict() == {"unadjusted": False, "cuped": True}


def test_missing_covariates_mean_a_new_customer(units):
    new = units.assign(pre_revenue=units["pre_revenue"].where(units["customer_id"] % 5 > 0))
    table = read(new, covariates=["pre_revenue"]).query("metric == 'revenue'")
    assert table["n_arm"].tolist() == [2000, 2000]
    assert table["effect"].notna().all()


def test_outcomes_are_refused_as_covariates_and_segments():
    for part in ("covariates", "segments"):
        with pytest.raises(PlanError, match="known only after assignment"):
            parse(PLAN | {part: ["revenue"]})


def test_missing_values_are_not_zeros(units):
    holes = units.assign(revenue=units["revenue"].where(units["customer_id"] % 4 > 1))
    row = one(holes, PLAN["metrics"])
    kept = units[units["customer_id"] % 4 > 1].groupby("arm")["revenue"].mean()
    assert row["effect"] == pytest.approx(kept["new"] - kept["old"])
    assert (row["n_missing_arm"], row["n_missing_control"]) == (1000, 1000)
    assert "all 2,000 customers of the experiment whose revenue is known" in decision.money_sentence(judge(holes))


def test_values_lost_in_one_arm_make_it_invalid(units):
    is_lost = (units["arm"] == "new") & (units["customer_id"] % 10 == 1)
    found = judge(units.assign(revenue=units["revenue"].mask(is_lost)))
    assert found["verdict"] == "INVALID"
    assert "unevenly" in found["reasons"][0] and found["effect"] is None and found["money"] is None


@pytest.mark.parametrize(("change", "reason"), [
    (lambda units: units.assign(revenue=0.3), "same value, 0.3"),
    (lambda units: units.assign(revenue=units["revenue"] * 1e200), "too large to be multiplied"),
    (lambda units: units.assign(revenue=units["revenue"].where(units["arm"] == "new", 0.0)), "every customer of the control has the same value, 0"),
    (lambda units: units[units["arm"] == "old"], "arm 'new' has no customer"),
    (lambda units: pd.concat([units[units["arm"] == "old"], units[units["arm"] == "new"].head(1)]), "arm 'new' has one customer"),
    (lambda units: units.assign(revenue=units["revenue"].mask(units["customer_id"] == 7, np.inf)), "1 customer has an infinite value"),
    (lambda units: units.assign(revenue=np.nan), "has no customer with a value"),
    (lambda units: units.drop(columns="revenue"), r"the plan names \['revenue'\], which the units lack"),
    (lambda units: units.assign(revenue="a"), "are not numbers"),
    (lambda units: pd.concat([units, units.head(2)]), "2 rows repeat a customer, the first of them 0"),
    (lambda units: pd.concat([units, units.head(1).assign(arm="new")]), "1 customers are in two arms or more, the first of them 0"),
    (lambda units: units.assign(arm=units["arm"].mask(units["customer_id"] < 3)), "3 customers have no arm"),
])
def test_bad_units_have_a_sentence_and_no_number(units, change, reason):
    table = read(change(units)).query("metric == 'revenue'")
    assert table["reason"].str.contains(reason).all()
    assert table[["effect", "effect_low", "lift", "p_value", "p_margin"]].isna().all(axis=None)
    assert table["finding"].eq("refused").all()
    schema.require(table, schema.TABLES["readout"])


@pytest.mark.parametrize("change", [
    lambda units: pd.concat([units, units.head(2)]), lambda units: pd.concat([units, units.head(1).assign(arm="new")]),
    lambda units: pd.concat([units, units.head(3).assign(arm="pilot", customer_id=[-1, -2, -3])]),
    lambda units: units[(units["arm"] == "old") | (units["customer_id"] % 3 > 0)],
])
def test_broken_assignments_are_invalid(units, change):
    assert judge(change(units))["verdict"] == "INVALID"


def test_not_randomised_gets_no_causal_verdict(units):
    found = judge(units, is_randomised=False)
    assert found["verdict"] == "HOLD" and "not drawn by lot" in found["reasons"][0]
    assert read(units, is_randomised=False)["effect"].isna().all()


def test_one_cap_for_both_arms_over_customers_with_a_value(units):
    spend = units["revenue"].where(units["customer_id"] % 100 < 3, 0.0)
    row = one(units.assign(spend=spend), {"spend": {"role": "success", "winsorise": 0.9}})
    assert row["cap"] == pytest.approx(np.quantile(spend[spend > 0], 0.9))
    assert row["n_capped_arm"] + row["n_capped_control"] == (spend > row["cap"]).sum()
    refused = one(units.assign(spend=spend), {"spend": {"role": "success", "winsorise": 0.9, "winsorise_over": "all"}})
    assert math.isnan(refused["effect"]) and "is 0 and would delete the metric" in refused["reason"]


def test_a_constant_covariate_is_balanced_and_buys_nothing(units):
    found = judge(units.assign(same=0.3), covariates=["same"])
    assert found["verdict"] == "SHIP" and found["effect"] == pytest.approx(judge(units)["effect"], rel=1e-12)


def test_better_and_within_margins_ships_in_words_and_money(units):
    found = judge(units)
    assert found["verdict"] == "SHIP" and found["low"] > 0
    assert found["money"]["amount"] == pytest.approx(found["effect"] * 4000, abs=0.01)
    words = verdict.money_sentence(found)
    assert words.startswith("We would expect") and "2,000 customers who got it" in words


def test_more_clicks_but_more_returns_and_opt_outs_is_rolled_back(units):
    rng = np.random.default_rng(4)
    is_new = units["arm"] == "new"
    worse = units.assign(clicks=rng.poisson(np.where(is_new, 3.0, 2.0)), returns=rng.poisson(np.where(is_new, 0.5, 0.3)),
                         opted_out=(rng.random(len(units)) < np.where(is_new, 0.08, 0.04)).astype(int))
    found = judge(worse, metrics={"clicks": {"role": "success"}, "returns": {"role": "guardrail", "direction": "down", "margin": 0.1},
                                  "opted_out": PLAN["metrics"]["opted_out"]})
    assert found["verdict"] == "ROLLBACK"
    assert any("opted_out is worse" in reason for reason in found["reasons"])


def test_what_carries_the_verdict_is_told_first(units):
    """Revenue is better, but clicks are worse: the verdict, its effect and its first reason are of clicks."""
    clicks = np.random.default_rng(4).poisson(np.where(units["arm"] == "new", 2.0, 3.0))
    found = judge(units.assign(clicks=clicks), metrics={"revenue": {"role": "success"}, "clicks": {"role": "success"}})
    assert (found["verdict"], found["metric"], found["money"]["metric"]) == ("ROLLBACK", "clicks", "revenue")
    assert found["reasons"][0].startswith("clicks is worse") and found["high"] < 0


def test_the_brief_keeps_the_checks_of_the_experiment_beside_those_of_the_run(units):
    found = judge(units)
    checks = pd.DataFrame([{"check_id": "slates_are_full", "layer": "delivery", "status": "pass", "observed": "1", "allowed": "1", "detail": "-"}])
    told = decision.final_verdict(found, checks)["checks"]
    assert [each["check_id"] for each in told] == ["units", "sample_ratio", "leaked_arms", "missing_values", "slates_are_full"]
    assert told[0]["observed"] == "4,000" and {each["layer"] for each in told} == {"experiments", "delivery"}


def test_a_source_that_was_not_randomised_says_so_in_the_brief():
    found = decision.final_verdict({}, None, why_none="Its campaigns were not randomised.")
    assert found["verdict"] == "HOLD" and found["reasons"] == [decision.NO_EXPERIMENT, "Its campaigns were not randomised."]


def test_every_arm_that_is_worse_is_taken_back(units):
    three = units.assign(arm=np.array(["old", "new", "newer"])[np.arange(len(units)) % 3])
    worse = three.assign(revenue=three["revenue"] - 5.0 * (three["arm"] != "old"))
    found = judge(worse, expected_shares={"old": 0.333, "new": 0.333, "newer": 0.333})
    assert found["next_action"].startswith("Take new and newer back")


def test_nothing_is_told_of_an_experiment_that_must_not_be_read(units):
    lost = units[(units["arm"] == "old") | (units["customer_id"] % 3 > 0)]
    reading = page.read(lost, {"name": "shop", "currency": "EUR", "experiment": PLAN | {"segments": ["region"], "covariates": ["pre_revenue"]}})
    assert reading.verdict["verdict"] == "INVALID" and reading.segments.empty and page.forest(reading).empty
    told = {make(reading) for make in (page.forest_sentence, page.adjustment_sentence, page.power_sentence, page.segments_sentence)}
    assert told == {"Not told: the experiment must not be read."}


def test_a_refused_metric_is_refused_in_segments_too(units):
    reading = page.read(units.assign(revenue=units["revenue"].mask(units["customer_id"] == 7, np.inf)),
                        {"name": "shop", "currency": "EUR", "experiment": PLAN | {"segments": ["region"]}})
    assert reading.segments.empty and page.money_sentence(reading) == "No amount is named: revenue could not be read."


def test_a_guardrail_that_is_not_shown_safe_holds(units):
    found = judge(units, metrics=PLAN["metrics"] | {"opted_out": PLAN["metrics"]["opted_out"] | {"margin": 0.01}})
    assert found["verdict"] == "HOLD" and "opted_out" in found["next_action"]


def test_what_keeps_a_gain_from_being_shipped_is_named(units):
    """Revenue is better and another success did not move: what is missing is the margin of the guardrail."""
    metrics = PLAN["metrics"] | {"luck": {"role": "success"}, "opted_out": PLAN["metrics"]["opted_out"] | {"margin": 0.01}}
    found = judge(units.assign(luck=np.random.default_rng(8).random(len(units))), metrics=metrics)
    assert found["next_action"] == "Run on with more customers until opted_out can be told from the margin."


def test_margin_is_relative_to_an_estimated_mean(units):
    row = read(units, metrics={"revenue": {"role": "guardrail", "margin": 0.02}}).iloc[0]
    assert (row["p_margin"] < 0.025) == (row["lift_low"] > -0.02)
    assert row["margin_effect"] == pytest.approx(-0.02 * row["mean_control"])


@pytest.mark.parametrize("m", [0.02, 0.05, 0.08, 0.3])
@pytest.mark.parametrize("direction", ["up", "down"])
def test_margins_agree_with_fieller(units, m, direction):
    lower = units.assign(revenue=units["revenue"] - np.where(units["arm"] == "new", 3.0, 0.0) * (1 if direction == "up" else 0))
    row = read(lower, metrics={"revenue": {"role": "guardrail", "margin": m, "direction": direction}}).iloc[0]
    assert (row["p_margin"] < 0.025) == (row["lift_low"] > -m if direction == "up" else row["lift_high"] < m)


def test_several_arms_are_corrected_together(units):
    three = units.assign(arm=np.array(["old", "new", "newer"])[np.arange(len(units)) % 3])
    table = read(three, expected_shares={"old": 1 / 3, "new": 1 / 3, "newer": 1 / 3}, metrics={"revenue": {"role": "success"}})
    first, second = sorted(table["p_value"])
    assert sorted(table["p_adjusted"]) == pytest.approx([min(2 * first, 1), max(min(2 * first, 1), second)])


def test_a_source_without_currency_names_no_amount(units):
    found = judge(units, currency=None)
    assert found["money"] is None
    assert "does not say in which currency" in verdict.money_sentence(found)


def test_a_plan_without_success_metric_holds(units):
    found = judge(units, metrics={"opted_out": PLAN["metrics"]["opted_out"]})
    assert found["verdict"] == "HOLD" and "no success metric" in found["reasons"][0]


def test_arms_that_share_a_binding_stock_are_invalid(units):
    prices = pd.DataFrame({"policy": "new", "rule_id": ["stock"], "kind": ["stock"], "is_binding": [True]})
    plan = parse(PLAN)
    checks = trust.check_interference(prices, is_split=False)
    found = verdict.verdict(readout.readout(units, plan), checks, plan, currency="EUR")
    assert found["verdict"] == "INVALID" and "Divide stock" in found["next_action"]
    assert trust.check_interference(prices, is_split=True)["status"].tolist() == ["pass"]


@pytest.mark.parametrize(("changes", "words"), [
    ({"control": "none"}, "experiment: control 'none' is not an arm"), ({"expected_shares": {"old": 0.5, "new": 0.6}}, "must sum to 1"),
    ({"expected_shares": {"old": 1.0, "new": 0.0}}, "must give the control and another arm a share"),
    ({"metrics": {}}, "experiment.metrics: dictionary should have at least 1 item"),
    ({"metrics": {"revenue": {"role": "goal"}}}, "revenue.role == 'goal': input should be 'success'"),
    ({"metrics": {"revenue": {"role": "success", "sort": "mean"}}}, "revenue.sort: is not known here"),
    ({"metrics": {"aov": {"role": "success", "kind": "ratio"}}}, "needs numerator and denominator"),
    ({"metrics": {"revenue": {"role": "guardrail", "margin": 2}}}, "margin 2 is a share of the control mean"),
    ({"alpha": 5}, "experiment.alpha == 5: input should be less than 1"), ({"correction": "fisher"}, "should be 'holm', 'bh' or 'none'"),
    ({"metrics": {"revenue": {"role": "success", "winsorise": 1}}}, "winsorise == 1: input should be less than 1"),
    ({"sequential": {"nstar": 9}}, "sequential.nstar: is not known here"), ({"sequential": {"n_star": 0}}, "n_star == 0: input should be greater than 0"),
])
def test_a_plan_that_cannot_be_read_is_refused(changes, words):
    with pytest.raises(PlanError, match=words):
        parse(PLAN | changes)


def test_sample_ratio_by_hand():
    counts, shares = np.array([5100, 4900]), np.array([0.5, 0.5])
    assert srm.sample_ratio(counts, shares) == pytest.approx(math.erfc(math.sqrt((100**2 / 5000 * 2) / 2)))


def test_an_arm_with_share_zero_carries_no_degree_of_freedom():
    shares = np.array([0.5, 0.5, 0.0])
    alone = srm.sample_ratio(np.array([5100, 4900]), shares[:2])
    assert srm.sample_ratio(np.array([5100, 4900, 0]), shares) == pytest.approx(float(alone))
    assert srm.sample_ratio(np.array([5000, 5000, 50]), shares) == 0


def test_few_customers_are_held_against_their_own_distribution():
    """Two of twenty in an arm of 2 % have a chance of 6 %; two missing values both in an arm of 15 % one of 2.25 %."""
    chance = 1 - 0.98**20 - 20 * 0.02 * 0.98**19
    assert srm.sample_ratio(np.array([18, 2]), np.array([0.98, 0.02])) == pytest.approx(2 * chance)
    assert srm.missing_ratio(np.array([0, 2]), np.array([8500, 1500])) == pytest.approx(2 * 0.15**2)


def test_a_rare_covariate_in_a_small_arm_is_no_imbalance():
    """Nobody of a hundred has what one customer in fifty has: a chance of 13 %, which Welch's test takes for none."""
    units = pd.DataFrame({"customer_id": range(10_000), "arm": ["old"] * 9900 + ["new"] * 100, "revenue": 1.0, "opted_out": 0})
    plan = parse(PLAN | {"covariates": ["before"], "expected_shares": {"old": 0.99, "new": 0.01}})
    checks = trust.check_units(units.assign(before=np.where((units["arm"] == "old") & (units.index % 50 == 0), 100.0, 0.0)), plan)
    assert checks.set_index("check_id").loc["balance_before", "status"] == "warn"


def test_a_covariate_that_one_arm_lacks_is_not_from_before(units):
    lost = units.assign(pre_revenue=units["pre_revenue"].mask((units["arm"] == "new") & (units["customer_id"] % 3 > 0)))
    found = judge(lost, covariates=["pre_revenue"])
    assert found["verdict"] == "INVALID" and "one arm lacks pre_revenue more often" in found["reasons"][0]


def test_segments_find_whom_it_helped(units):
    helped = units.assign(revenue=units["revenue"] + np.where((units["arm"] == "new") & (units["region"] == "north"), 6.0, 0.0))
    table = segments.by_segment(helped, parse(PLAN | {"segments": ["region"]}), metrics=["revenue"])
    assert table["p_interaction"].max() < 1e-6
    assert (table.set_index("value")["effect"]["north"] - table.set_index("value")["effect"]["south"]) == pytest.approx(6, abs=1.5)
    assert table["shrunk"].between(table["effect"].min(), table["effect"].max()).all()


def test_segments_of_a_test_that_is_looked_at_hold_at_every_look(units):
    once, looked = (segments.by_segment(units, parse(PLAN | {"segments": ["region"], "correction": "none", "sequential": said}),
                                        metrics=["revenue"]) for said in (False, {"n_star": 2000}))
    assert (looked["effect_high"] - looked["effect_low"] > 1.2 * (once["effect_high"] - once["effect_low"])).all()
    assert (looked[["p_value", "p_interaction"]] > once[["p_value", "p_interaction"]]).all(axis=None)
    assert ((looked["effect_low"] > 0) == ((looked["p_value"] < 0.05) & (looked["effect"] > 0))).all()


def test_an_effect_that_fades_is_seen(units):
    rng = np.random.default_rng(5)
    rows = []
    for week in range(4):
        gain = np.where(units["arm"] == "new", 4.0 - week, 0.0)
        rows.append(pd.DataFrame({"customer_id": units["customer_id"], "period": week, "value": rng.gamma(2, 3, len(units)) + gain}))
    table = segments.over_time(pd.concat(rows), units, parse(PLAN), n_periods=4)
    assert table["p_fading"].iloc[0] < 1e-6
    assert table["effect"].round().tolist() == [4, 3, 2, 1]


def test_row_order_changes_nothing(units):
    shuffled = units.sample(frac=1, random_state=np.random.default_rng(1))
    pd.testing.assert_frame_equal(read(units, covariates=["pre_revenue"]), read(shuffled, covariates=["pre_revenue"]), rtol=1e-9)


def test_a_file_gives_the_same_readout_as_a_frame(units, tmp_path):
    units = units.assign(visits=1 + units["customer_id"] % 3, revenue=units["revenue"].where(units["customer_id"] % 7 > 0), text="1", same=0.3)
    units = pd.concat([units, units.head(900).assign(experiment_id="other"), units.head(90).assign(arm="pilot", customer_id=-1 - units.index[:90])])
    units.to_parquet(tmp_path / "units.parquet")
    plan = parse(PLAN | {"covariates": ["pre_revenue"], "metrics": PLAN["metrics"] | {
        "capped": {"role": "exploratory", "column": "revenue", "winsorise": 0.95},
        "late": {"role": "exploratory", "kind": "quantile", "column": "revenue", "quantile": 0.9},
        "text": {"role": "exploratory"}, "absent": {"role": "exploratory"}, "no_share": {"role": "exploratory", "kind": "proportion", "column": "visits"}, "same": {"role": "exploratory"},
        "share": {"role": "exploratory", "kind": "ratio", "numerator": "revenue", "denominator": "visits"}}})
    rows = readout.readout(units, plan).query("method != 'uncapped'").reset_index(drop=True)
    file = readout.readout(tmp_path / "units.parquet", plan)
    assert rows["finding"].tolist() == file["finding"].tolist() and (rows["finding"] == "refused").sum() == 5
    pd.testing.assert_frame_equal(rows.drop(columns="reason"), file[rows.columns].drop(columns="reason"), check_exact=False, rtol=1e-8, check_dtype=False)


def test_third_moments_are_those_of_numpy_in_a_frame_and_in_a_file(units, tmp_path):
    units.to_parquet(tmp_path / "units.parquet")
    plan = parse(PLAN | {"covariates": ["pre_revenue"]})
    values = units.loc[units["arm"] == "old", ["revenue", "pre_revenue"]].to_numpy()
    centred = values - values.mean(axis=0)
    expected = np.einsum("ni,nj,nk->ijk", centred, centred, centred) / len(values)
    for made in (stats.statistics(units, plan), engine.from_parquet(tmp_path / "units.parquet", plan)):
        np.testing.assert_allclose(made["revenue"].third[0], expected, rtol=1e-9)


@pytest.mark.parametrize("change", [
    lambda units: units, lambda units: pd.concat([units, units.head(2)]), lambda units: pd.concat([units, units.head(1).assign(arm="new")]),
    lambda units: units.assign(arm=units["arm"].mask(units["customer_id"] < 3)), lambda units: units.drop(columns="customer_id"),
])
def test_a_file_is_blocked_for_the_reason_of_a_frame(units, change, tmp_path):
    change(units).to_parquet(tmp_path / "units.parquet")
    plan = parse(PLAN)
    assert engine.blocking_reason(tmp_path / "units.parquet", plan) == readout.blocking_reason(change(units), plan)


def test_moments_of_parts_are_those_of_the_whole():
    values = np.random.default_rng(2).gamma(1.0, 1e6, (50, 3)) + 1e9
    whole, parts = stats.moments_of(values), stats.combine(stats.moments_of(values[:20]), stats.moments_of(values[20:]))
    np.testing.assert_allclose(whole.cov, parts.cov, rtol=1e-9)
    np.testing.assert_allclose(whole.cov, np.cov(values.T), rtol=1e-9)


def test_rare_large_values_in_a_small_arm_are_flagged():
    rng = np.random.default_rng(6)
    n = 20_000
    paid = np.where(rng.random(n) < 0.02, np.exp(3 + 1.2 * rng.standard_normal(n)), 0.0)
    units = pd.DataFrame({"customer_id": range(n), "arm": np.where(np.arange(n) % 100 == 0, "new", "old"), "revenue": paid})
    plan = parse(PLAN | {"expected_shares": {"old": 0.99, "new": 0.01}, "metrics": {"revenue": {"role": "success"}}})
    checks = trust.check_units(units, plan).set_index("check_id")
    assert checks.loc["doubt_revenue", "status"] == "warn" and "leans" in checks.loc["doubt_revenue", "detail"]


@pytest.mark.parametrize(("metric", "change", "doubt"), [
    ({"role": "success"}, lambda units: units.assign(revenue=np.random.default_rng(1).pareto(1.2, len(units))), "few large values|leans"),
    ({"role": "success"}, lambda units: units.assign(revenue=units["revenue"].where(units["customer_id"] % 300 < 2, 0.0) ** 3), "customers of an arm carry it"),
    ({"role": "success", "kind": "ratio", "numerator": "revenue", "denominator": "few"},
     lambda units: units.assign(few=(units["customer_id"] % 97 < 2).astype(int)), "carry its denominator 'few'"),
    ({"role": "success", "kind": "quantile", "quantile": 0.999}, lambda units: units, "only 2 customers of an arm lie beyond"),
    ({"role": "guardrail", "kind": "proportion", "direction": "down", "margin": 0.002, "margin_scale": "absolute"},
     lambda units: units.assign(revenue=(units["customer_id"] % 667 < 2).astype(int)), "at its margin"),
])
def test_an_interval_that_must_not_be_trusted_decides_nothing(units, metric, change, doubt):
    found = change(units)
    row = one(found, {"revenue": metric})
    assert row["finding"] == "not to be trusted" and np.isfinite(row["effect_low"])
    assert pd.Series([row["doubt"]]).str.contains(doubt).all(), row["doubt"]
    said = judge(found, metrics={"revenue": metric | {"role": "success"}} if metric["role"] == "success" else {"revenue": metric, "pre_revenue": {"role": "success"}})
    assert said["verdict"] == "HOLD"


def test_an_adjustment_that_leaves_only_the_tail_is_judged_as_well():
    """What was there before explains the plain part of the values; the few large ones that remain are in the small arm too."""
    rng = np.random.default_rng(9)
    n = 6300
    before = rng.standard_normal(n)
    large = np.where(rng.random(n) < 0.02, 15 * rng.lognormal(0, 1, n), 0.0)
    units = pd.DataFrame({"customer_id": range(n), "arm": np.where(np.arange(n) % 21 == 0, "new", "old"), "revenue": 12 * before + large,
                          "pre_revenue": before})
    metrics = {"revenue": {"role": "success"}}
    assert one(units, metrics)["doubt"] == ""
    assert "leans" in one(units, metrics, covariates=["pre_revenue"])["doubt"]


def test_no_money_is_named_from_what_must_not_be_trusted(units):
    found = judge(units.assign(revenue=np.random.default_rng(1).pareto(1.2, len(units)) * 1e3), metrics={"revenue": {"role": "success"}})
    assert found["money"] is None and found["why_no_money"] == "revenue must not be trusted"
    assert "must not be trusted" in found["reasons"][0] and "winsorise" in found["next_action"]


def test_lifts_of_huge_values_keep_their_digits(units):
    row = one(units.assign(revenue=units["revenue"] + 1e12), {"revenue": {"role": "success"}})
    assert [row["lift_low"], row["lift_high"]] == pytest.approx([row["effect_low"] / 1e12, row["effect_high"] / 1e12], rel=1e-6)


def test_scale_and_copies_of_covariates_change_nothing(units):
    far = units.assign(huge=units["pre_revenue"] * 1e12 + 1e15, tiny=(units["region"] == "north") * 1e-9, same=7.0,
                       is_north=(units["region"] == "north").astype(float))
    plain = read(far, covariates=["pre_revenue", "is_north"])
    pd.testing.assert_frame_equal(read(far, covariates=["huge", "tiny", "same", "tiny"]), plain, rtol=1e-6)


def test_a_source_without_experiment_says_so():
    reading = page.read(None, {"name": "log"})
    assert page.headline(reading) == "No verdict: log has no experiment, so no effect can be read."
    facts = page.as_facts(reading, pd.DataFrame(columns=["policy", "gate", "reason"]))
    assert facts["verdict"]["verdict"] == "HOLD"
    schema.require(reading.readout, schema.TABLES["readout"])


def test_the_figure_never_denies_a_guardrail(units):
    """Its margin is in its own unit; Fieller's interval of so rare a thing reaches beyond the margin in percent."""
    rare = units.assign(opted_out=(np.random.default_rng(7).random(len(units)) < 0.004).astype(int))
    plan = PLAN | {"metrics": PLAN["metrics"] | {"opted_out": {"role": "guardrail", "kind": "proportion", "direction": "down",
                                                               "margin": 0.0125, "margin_scale": "absolute"}}}
    reading = page.read(rare, {"name": "shop", "experiment": plan})
    row = page.forest(reading).set_index("label").loc["opted_out"]
    own = reading.readout.set_index("metric").loc["opted_out"]
    assert row["finding"] == "within margin" and row["lift_high"] < row["margin"]
    assert row["lift_high"] == pytest.approx(100 * own["effect_high"] / own["mean_control"])


def test_every_page_sentence_is_one_line(units):
    source = {"name": "shop", "currency": "EUR", "experiment": PLAN | {"segments": ["region"], "covariates": ["pre_revenue"]}}
    for reading in (page.read(units, source), page.read(None, {"name": "log"}), page.read(units, {"name": "shop"})):
        said = [make(reading) for make in (page.trust_sentence, page.score_sentence, page.forest_sentence, page.adjustment_sentence,
                                           page.money_sentence, page.segments_sentence, page.power_sentence, page.headline)]
        assert all(sentence and "\n" not in sentence and "nan" not in sentence for sentence in said)


@pytest.mark.parametrize("change", [
    lambda units: units.iloc[:0], lambda units: units.iloc[:1], lambda units: units.iloc[:2],
    lambda units: units.assign(arm=units["arm"].astype("category")), lambda units: units.assign(region=None),
    lambda units: units.assign(pre_revenue="a"), lambda units: units.assign(pre_revenue=np.nan),
    lambda units: units.assign(revenue=-units["revenue"]), lambda units: units.assign(revenue=units["revenue"] * 1e12 + 1e15),
    lambda units: units.assign(opted_out=units["opted_out"].astype("boolean").mask(units["customer_id"] < 9)),
    lambda units: units.assign(customer_id="c" + units["customer_id"].astype("str")), lambda units: units.drop(columns="experiment_id"),
])
def test_odd_units_are_read_or_refused_in_words(units, change):
    source = {"name": "shop", "currency": "EUR", "experiment": PLAN | {"segments": ["region"], "covariates": ["pre_revenue"]}}
    reading = page.read(change(units), source)
    schema.require(reading.readout, schema.TABLES["readout"])
    facts = page.as_facts(reading, pd.DataFrame(columns=["policy", "gate", "reason"]))
    assert json.dumps(facts, allow_nan=False) and facts["verdict"]["verdict"] in ("SHIP", "HOLD", "ROLLBACK", "INVALID")


def test_a_tiny_shift_of_a_huge_number_is_still_seen(units):
    far = units.assign(revenue=units["revenue"] + 1e9)
    assert read(far).iloc[0]["se"] == pytest.approx(read(units).iloc[0]["se"], rel=1e-6)


@pytest.mark.parametrize(("said", "status"), [({}, "warn"), ({"is_split": False}, "fail"), ({"is_split": True}, "pass")])
def test_the_source_may_say_that_stock_was_split(units, said, status):
    prices = pd.DataFrame({"policy": "new", "rule_id": ["stock"], "kind": ["stock"], "is_binding": [True]})
    reading = page.read(units, {"name": "shop", "experiment": PLAN} | said, rule_prices=prices, rules={"is_split": None})
    assert reading.checks.set_index("check_id").loc["shared_stock", "status"] == status
    assert (reading.verdict["verdict"] == "INVALID") == (status == "fail")
