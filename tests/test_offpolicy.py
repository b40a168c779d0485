import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reclib import schema
from reclib.experiments import ledger, logged
from reclib.offpolicy import carryover, estimators, logs, mixture, support
from reclib.offpolicy import values as valuing

DATA = Path(os.environ.get("RECLIB_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


@pytest.fixture
def log():
    return pd.DataFrame({
        "decision_id": range(8), "delivered_at": pd.Timestamp("2026-01-05", tz="UTC").as_unit("us"), "policy": "random",
        "item_id": list("aabbaabb"), "position": 1, "p_shown": 0.5, "reward": [1.0, 0, 0, 1, 1, 0, 0, 0],
    })


def golden(log):
    table = pd.read_csv(Path(__file__).parent / "golden" / "offpolicy_obp.csv")
    return table[table["log"] == log].set_index("estimator")["value"].to_dict()


def only(item):
    return pd.DataFrame({"item_id": [item], "p_target": [1.0]})


def open_bandit():
    if not (DATA / "open-bandit").exists():
        pytest.skip(f"{DATA / 'open-bandit'} is not there")
    found = []
    for policy in ("random", "bts"):
        raw = pd.read_csv(DATA / "open-bandit" / policy / "men.csv", usecols=["item_id", "position", "click", "propensity_score"])
        found.append(raw.rename(columns={"propensity_score": "p_shown", "click": "reward"}).assign(policy=policy, reward=lambda own: own["reward"] * 1.0))
    return found


def test_values_by_hand(log):
    weighed = estimators.weigh(log, only("a"), prior=0)
    assert weighed["weight"].tolist() == [2, 2, 0, 0, 2, 2, 0, 0]
    found = estimators.estimate(*(weighed[name].to_numpy() for name in ("weight", "reward", "q", "q_target")))
    assert found["ips"][0] == pytest.approx(4 / 8)
    assert found["snips"][0] == pytest.approx((4 / 8) / (8 / 8))
    assert found["dm"][0] == pytest.approx(2 / 4)
    assert found["dr"][0] == pytest.approx(1 / 2 + (2 * (1 - 0.5) * 2 + 2 * (0 - 0.5) * 2) / 8)


def test_direct_model_has_no_interval(log):
    weighed = estimators.weigh(log, only("a"))
    found = estimators.estimate(*(weighed[name].to_numpy() for name in ("weight", "reward", "q", "q_target")))
    assert np.isnan(found["dm"][1:]).all()


@pytest.mark.parametrize("source", ["random -> bts", "bts -> uniform"])
def test_open_bandit_has_the_digits_of_the_reference_library(source):
    """The reference values are those of obp 0.5.7 with the same tabular direct model and tau = 5."""
    random, bts = open_bandit()
    own = random if source.startswith("random") else bts
    target = logs.shares_by_position(bts) if source.endswith("bts") else logs.uniform(random["item_id"], random["position"])
    weighed = estimators.weigh(own, target)
    found = estimators.estimate(*(weighed[name].to_numpy(dtype=float) for name in ("weight", "reward", "q", "q_target")))
    expected = golden(source)
    assert len(expected) == 6
    assert {name: found[name][0] for name in expected} == pytest.approx(expected, abs=1e-9)


def test_slates_have_the_digits_of_the_reference_library():
    rng = np.random.default_rng(11)
    item = (rng.random((2000, 3)) < 0.5).astype(int)
    reward = (rng.random((2000, 3)) < np.where(item == 0, 0.6, 0.3)).astype(float)
    found = estimators.slate_values(np.where(item == 0, 0.8, 0.2) / 0.5, reward)
    assert {name: value for name, (value, _, _) in found.items()} == pytest.approx(golden("slates of two items"), abs=1e-9)


def test_open_bandit_is_weak_and_says_why():
    random, bts = open_bandit()
    table = valuing.value_policy(random, logs.shares_by_position(bts), policy="bts")
    row = table.set_index("estimator").loc["ips"]
    assert row["gate"] == "weak" and "16.4 effective rewards" in row["reason"]
    assert row[["low", "high", "ess", "max_weight", "mean_weight"]].tolist() == pytest.approx([0.00292, 0.00840, 2869, 7.48, 0.985], rel=2e-3)
    schema.require(table, schema.TABLES["policy_values"])


def test_one_huge_weight_is_refused():
    rng = np.random.default_rng(1)
    weight = np.where(np.arange(2000) == 0, 2000.0, rng.gamma(4, 0.05, 2000))
    found = support.diagnose(weight, (rng.random(2000) < 0.05) | (np.arange(2000) == 0))
    word, reason = support.gate(found)
    assert word == "refuse" and found["ess"] < 2 and reason


def test_probabilities_before_rules_are_refused():
    rng = np.random.default_rng(2)
    n = 20_000
    item = rng.integers(0, 7, n)
    log = pd.DataFrame({"item_id": item, "p_shown": 0.1, "reward": (rng.random(n) < 0.1).astype(float)})
    target = pd.DataFrame({"item_id": range(7), "p_target": 1 / 7})
    table = valuing.value_policy(log, target, policy="uniform")
    assert table["gate"].eq("refuse").all() and table["value"].isna().all()
    assert "mean weight is 1.43" in table["reason"].iloc[0]


def test_mass_without_support_is_named_by_rule(log):
    target = pd.DataFrame({"item_id": ["a", "c", "d"], "p_target": [0.5, 0.3, 0.2]})
    lost = support.unsupported_mass(log, target, pd.DataFrame({"item_id": ["c"], "rule_id": ["adults_only"]}))
    assert lost.set_index("rule_id")["share"].to_dict() == pytest.approx({"adults_only": 0.3, "no rule known": 0.2})
    table = valuing.value_policy(log, target, policy="new")
    assert table["gate"].iloc[0] == "refuse" and "never shows 50.0 %" in table["reason"].iloc[0]


def test_a_target_that_does_not_fit_the_log_is_refused_in_words(log):
    table = valuing.value_policy(log, pd.DataFrame({"customer_id": [1], "item_id": ["a"], "p_target": [1.0]}), policy="value")
    assert table["value"].isna().all() and "columns ['customer_id'] are not in the log" in table["reason"].iloc[0]
    schema.require(table, schema.TABLES["policy_values"])


@pytest.mark.parametrize(("log_change", "target", "words"), [
    ({"p_shown": 0.0}, only("a"), "are not above 0"),
    ({}, pd.DataFrame({"item_id": ["a", "b"], "p_target": [0.7, 0.7]}), "largest sum in a context is 1.4"),
])
def test_impossible_probabilities_raise(log, log_change, target, words):
    with pytest.raises(ValueError, match=words):
        estimators.weigh(log.assign(**log_change), target)


def test_rows_of_one_customer_move_together(log):
    twice = pd.concat([log, log], ignore_index=True)
    pieces = [estimators.weigh(frame, only("a")) for frame in (log, twice)]
    columns = ("weight", "reward", "q", "q_target")
    alone = estimators.estimate(*(pieces[0][name].to_numpy() for name in columns), clusters=np.arange(8))
    doubled = estimators.estimate(*(pieces[1][name].to_numpy() for name in columns), clusters=np.tile(np.arange(8), 2))
    assert doubled["ips"] == pytest.approx(alone["ips"])


def test_slates_are_valued_by_position():
    rng = np.random.default_rng(3)
    n, k, theta = 20_000, 3, np.array([0.6, 0.4])
    item = (rng.random((n, k)) < 0.5).astype(int)
    weight = np.where(item == 0, 0.8, 0.2) / 0.5
    reward = (rng.random((n, k)) < theta[item]).astype(float)
    found = estimators.slate_values(weight, reward)
    truth = k * (0.8 * 0.6 + 0.2 * 0.4)
    assert all(low <= truth <= high for _, low, high in found.values())
    width = {name: high - low for name, (_, low, high) in found.items()}
    assert width["iips"] < width["rips"] < width["sips"]


def test_position_by_position_is_biased_where_slots_influence_each_other():
    rng = np.random.default_rng(4)
    n = 40_000
    item = (rng.random((n, 2)) < 0.5).astype(int)
    weight = np.where(item == 0, 0.9, 0.1) / 0.5
    first = rng.random(n) < np.where(item[:, 0] == 0, 0.6, 0.2)
    second = ~first & (rng.random(n) < 0.5)
    found = estimators.slate_values(weight, np.column_stack([first, second]).astype(float))
    truth = 0.9 * 0.6 + 0.1 * 0.2 + (1 - (0.9 * 0.6 + 0.1 * 0.2)) * 0.5
    assert found["rips"][1] <= truth <= found["rips"][2] and found["sips"][1] <= truth <= found["sips"][2]
    assert not found["iips"][1] <= truth <= found["iips"][2]


def test_rewards_are_joined_and_unseen_slots_left_out(log):
    outcomes = pd.DataFrame({"decision_id": [0, 1, 0], "outcome_type": ["impression", "impression", "click"], "value": [1.0, 1.0, 2.0]})
    joined = logs.with_rewards(log.drop(columns="reward"), outcomes)
    assert joined[["decision_id", "reward"]].to_numpy().tolist() == [[0, 1.0], [1, 0.0]]


def test_policies_of_one_log_are_valued_from_each_other():
    random, bts = open_bandit()
    both = pd.concat([random, bts], ignore_index=True).assign(decision_id=range(20_000), delivered_at=pd.Timestamp("2019-11-24", tz="UTC"))
    outcomes = both.loc[both["reward"] > 0, ["decision_id"]].assign(outcome_type="click", value=1.0)
    values = valuing.value_all(both.drop(columns="reward"), outcomes)
    assert values.query("estimator == 'ips'").set_index("policy")["value"].to_dict() == pytest.approx(
        {"bts": 0.0056563, "random": 0.0030086}, abs=1e-6)
    table = ledger.ledger(values, ledger.observe(both, outcomes), metric="click", made_at=pd.Timestamp("2019-12-01", tz="UTC").as_unit("us"))
    assert table.set_index("policy")["observed"].to_dict() == pytest.approx({"bts": 0.0069, "random": 0.0046})
    assert table["is_inside"].all()
    schema.require(table, schema.TABLES["forecasts"])


def test_without_a_log_nothing_is_valued():
    values = valuing.value_all(None, None)
    assert values.empty and "no log" in valuing.values_sentence(values)
    table = ledger.ledger(values, None, metric="click", made_at=pd.Timestamp("2026-01-05", tz="UTC").as_unit("us"))
    schema.require(values, schema.TABLES["policy_values"])
    schema.require(table, schema.TABLES["forecasts"])


def test_decided_slates_are_a_policy():
    decisions = pd.DataFrame({"policy": ["value", "value", "popular"], "customer_id": 1, "item_id": ["a", "b", "a"],
                              "position": [1.0, np.nan, 1.0]})
    assert logs.slates_of(decisions, "value").to_dict("records") == [
        {"customer_id": 1, "position": 1, "item_id": "a", "p_target": 1.0}]


def test_mass_that_rules_take_is_named_by_rule():
    decisions = pd.DataFrame({"policy": "value", "customer_id": [1, 1, 1, 2, 2], "item_id": list("abcab"), "rank": [1, 2, 3, 1, 2],
                              "rule_id": ["stock", None, None, "stock", "age"], "position": [np.nan, 1, 2, np.nan, np.nan]})
    table = support.mass_by_rule(decisions)
    assert table.to_dict("records") == [{"policy": "value", "rule_id": "stock", "share": 2 / 4}, {"policy": "value", "rule_id": "age", "share": 1 / 4}]
    assert support.mass_by_rule(None).empty


def test_the_ranker_is_held_to_how_it_ranks_policies():
    """Half of the slots of value are answered in time and a quarter of popular's: twice as many, where 0.35 / 0.25 was foretold."""
    at = pd.Timestamp("2026-01-05", tz="UTC").as_unit("us")
    pairs = pd.DataFrame({"customer_id": [1, 1, 2, 2] * 2, "item_id": list("abab") * 2, "policy": ["value"] * 4 + ["popular"] * 4})
    deliveries, ranked = pairs.assign(decision_id=range(8), delivered_at=at), pairs.assign(p_response=[0.5, 0.2, 0.5, 0.2, 0.3, 0.2, 0.3, 0.2])
    days = pd.to_timedelta([2, 6, 9, 3], unit="D")
    outcomes = pd.DataFrame({"decision_id": [0, 3, 2, 4], "outcome_type": "purchase", "value": 1.0, "occurred_at": at + days})
    facts = {"response": "purchase", "label_days": 7, "calibration": {"slope": 1.0, "slope_low": 0.9, "slope_high": 1.1, "intercept": 0.0}}
    table = ledger.foretell(deliveries, ranked, outcomes, facts, control="popular")
    schema.require(table, schema.TABLES["forecasts"])
    row, = table.to_dict("records")
    assert (row["forecast"], row["observed"]) == (pytest.approx(0.35 / 0.25), pytest.approx(0.5 / 0.25))
    assert row["low"] < 0.35 / 0.25 < row["high"] and row["is_inside"] and row["metric"].endswith("times that of popular")
    assert ledger.foretell(None, None, None, {}, control="popular").empty
    assert ledger.foretell(deliveries, ranked, outcomes, facts, control=None).empty
    assert ledger.foretell(deliveries, ranked[ranked["policy"] == "value"], outcomes, facts, control="popular").empty


def test_outcome_of_a_launch_has_customers_as_units():
    deliveries = pd.DataFrame({"decision_id": range(4), "customer_id": [1, 1, 2, 2], "policy": "value"})
    outcomes = pd.DataFrame({"decision_id": [0, 1, 2, 0], "outcome_type": ["impression"] * 3 + ["click"], "value": [3.0, 1, 2, 2]})
    row = ledger.observe(deliveries, outcomes).iloc[0]
    assert row["observed"] == pytest.approx(2 / 6) and row["n_seen"] == 6
    residual = np.array([2 - 4 / 3, 0 - 2 / 3])
    assert row["observed_high"] - row["observed"] == pytest.approx(1.959964 * np.sqrt((residual**2).sum() * 2) / 6)


@pytest.fixture(scope="module")
def still():
    return logged.many(12, first_seed=500, **logged.STILL)


def test_a_still_shop_is_valued_within_its_intervals(still):
    rates = logged.coverage(still).set_index(["check", "scenario"])
    assert len(rates) >= 5 and rates["is_accepted"].all(), rates["rate"].to_dict()
    assert still["carry_over"].abs().max() < 0.1, "nobody tires in a still shop"
    assert logged.bias_by_policy(still).query("estimator == 'examined'")["bias"].abs().max() < 0.12
    assert "% of its intervals hold what came" in logged.living_sentence(still)
    assert logged.bias_sentence(logged.bias_by_policy(still)).startswith("On average examined says ")


def test_an_estimator_says_what_it_lacks():
    table = pd.DataFrame({"seed": 1, "policy": ["a", "a", "b", "b"], "estimator": ["dr", "examined"] * 2,
                          "gate": ["weak", "usable", "usable", "usable"], "n_positives": [20.0, 80, 64, 120]})
    said = logged.thin_sentence(table)
    assert said.startswith("dr is usable for 1 of 2 policies, examined for 2")
    assert "leaves 42 effective rewards in the middle case, and 100 where every showing counts; the gate asks for 60." in said


def test_the_log_crowns_the_truly_best_more_often_than_chance(still):
    crowned = logged.winners(still).set_index("estimator")
    assert (crowned.loc[["dr", "examined"], "right"] >= 0.7).all(), crowned.to_dict()
    assert f"in {crowned.loc['dr', 'right']:.0%} of them" in logged.winner_sentence(crowned.reset_index())


def test_slates_drawn_in_turn_are_valued_within_their_intervals():
    found = logged.many_slates(12, first_seed=500)
    assert logged.coverage(found)["is_accepted"].all()
    assert logged.width_sentence(found).index("iips") < logged.width_sentence(found).index("sips")


def shop_log():
    """Two customers, three visits each; "a" stands twice in slot 1 and once in slot 2; "b" is gone on the second day."""
    days = pd.to_datetime(["2026-01-05", "2026-01-06", "2026-01-07"], utc=True).as_unit("us")
    return pd.DataFrame({
        "customer_id": np.repeat([1, 2], 6), "delivered_at": np.tile(np.repeat(days, 2), 2), "position": [1, 2] * 6,
        "item_id": list("abacba") * 2, "p_shown": 0.25, "p_in_slate": 0.5, "reward": [1.0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 0],
    })


def test_every_showing_counts_moved_to_the_position_of_the_policy():
    """Slot 1 is clicked 3 times of 6, slot 2 once of 6: e = 1, 1/3. "a" belongs into slot 2: its clicks count 1/3, 1/3 and 1."""
    log = shop_log()
    assert estimators.examination(log).to_dict() == pytest.approx({1: 1.0, 2: 1 / 3})
    target = pd.DataFrame({"customer_id": [1, 2], "position": 2, "item_id": "a", "p_target": 1.0})
    moved = estimators.by_examination(log, target)
    assert moved["weight"].tolist() == [2.0 if item == "a" else 0.0 for item in log["item_id"]]
    assert moved["moved"].tolist() == pytest.approx([1 / 3, 0, 1 / 3, 0, 0, 1, 0, 0, 1 / 3, 0, 0, 0])
    value, low, high = estimators.ratio(moved["weight"].to_numpy(), moved["moved"].to_numpy())
    assert value == pytest.approx((1 / 3 + 1 / 3 + 1 + 1 / 3) / 6) and low < value < high


def test_what_was_not_on_offer_is_set_aside():
    log = pd.concat([shop_log()] * 3, ignore_index=True)
    target = pd.DataFrame({"customer_id": [1, 1], "position": [1, 2], "item_id": ["b", "a"], "p_target": 1.0})
    away = logs.is_withdrawn(log, target)
    day = log["delivered_at"].dt.day
    assert away.tolist() == ((day == 6) & (log["customer_id"] == 1) & (log["position"] == 1)).tolist()
    assert not logs.is_withdrawn(shop_log(), target).any(), "two showings a day are too few to tell"


def test_answers_that_chose_the_slates_do_not_judge_them():
    log, at = shop_log().drop(columns="reward").assign(decision_id=range(12), policy="house"), pd.Timestamp("2026-01-06T12:00", tz="UTC")
    outcomes = pd.DataFrame({"decision_id": [0, 2], "outcome_type": "click", "value": 1.0})
    decisions = pd.DataFrame({"policy": "value", "customer_id": [1, 2], "item_id": "a", "position": 1.0})
    late = valuing.value_all(log, outcomes, decisions=decisions, as_of=pd.Timestamp("2026-01-08", tz="UTC"))
    assert late["gate"].eq("refuse").all() and "cannot judge them" in late["reason"].iloc[0]
    rehearsed = decisions.assign(decided_at=at)
    (policy, own, _), = valuing.questions(log, outcomes, decisions=decisions, rehearsed=rehearsed, as_of=log["delivered_at"].max())
    assert policy == "value" and own["delivered_at"].dt.day.unique().tolist() == [7]
    (_, later, _), = valuing.questions(log, outcomes, decisions=decisions, rehearsed=rehearsed, as_of=at)
    assert later["delivered_at"].dt.day.unique().tolist() == [7]


def test_the_plainest_usable_estimator_is_read_else_the_one_with_most_evidence():
    table = pd.DataFrame({
        "policy": ["a", "a", "b", "b", "c"], "estimator": ["examined", "snips", "snips", "examined", "ips"],
        "value": [1.0, 2, 3, 4, np.nan], "gate": ["usable", "usable", "weak", "weak", "refuse"], "n_positives": [90, 60, 20, 40, 1.0],
    })
    assert valuing.best(table)["estimator"].tolist() == ["snips", "examined", "ips"]


def test_forecasts_are_scored_against_the_first_days_only():
    at = pd.Timestamp("2026-01-05", tz="UTC").as_unit("us")
    served = pd.DataFrame({"decision_id": ["x", "y"], "customer_id": [1, 2], "policy": "value", "delivered_at": at})
    answers = pd.DataFrame({"decision_id": ["x", "x", "x", "y", "y", None], "event_type": ["impression", "click", "click", "impression", "click", "click"],
                            "occurred_at": at + pd.to_timedelta([1, 2, 9, 3, 8, 1], unit="D")})
    came = ledger.within(served, answers, days=7)
    assert came.to_dict("records") == [
        {"decision_id": "x", "outcome_type": "click", "value": 1}, {"decision_id": "x", "outcome_type": "impression", "value": 1},
        {"decision_id": "y", "outcome_type": "impression", "value": 1}]
    assert ledger.observe(served, came)["observed"].tolist() == [0.5]
    assert ledger.within(served, None, days=7) is None


def test_the_ledger_says_how_often_slots_were_shown():
    """In the log pair (1, a) is shown three times and (2, b) once: 2 a pair. The launch shows its slot 6 times."""
    at = pd.date_range("2026-01-05", periods=4, tz="UTC").as_unit("us")
    log = pd.DataFrame({"customer_id": [1, 1, 1, 2], "item_id": list("aaab"), "delivered_at": at})
    outcomes = pd.DataFrame({"decision_id": ["x", "x"], "outcome_type": ["impression", "click"], "value": [6.0, 1.0]})
    said = ledger.exposure_sentence(pd.DataFrame({"decision_id": ["x"]}), outcomes, log, {"label_days": 7})
    assert "shown 2.0 times in 7 days" in said and "shown 6.0 times, more often" in said
    assert ledger.exposure_sentence(None, None, log, {}) == ""


def test_the_score_of_the_ledger_says_which_way_it_missed():
    table = pd.DataFrame({"forecast_id": list("abc"), "policy": ["p", "q", "r"], "metric": "click", "estimator": ["snips", "snips", "ips"],
                          "forecast": [0.2, 0.1, 0.3], "observed": [0.1, 0.1, np.nan], "is_inside": pd.array([False, True, pd.NA], dtype="boolean")})
    score = ledger.score(table).set_index("estimator")
    assert score.loc["snips", ["n_scored", "n_inside", "inside_share", "bias"]].tolist() == [2, 1, 0.5, pytest.approx(0.5)]
    assert score.loc["ips", ["n_forecasts", "n_scored"]].tolist() == [1, 0]
    assert ledger.score_sentence(table) == "1 of 2 forecasts met what came; p, click, was overstated by snips."


def tired_log(*, tires: float, n_customers: int = 300, n_visits: int = 14, seed: int = 5) -> pd.DataFrame:
    """Customers come once a day and see one of three items by a fair draw; each earlier showing divides the clicks by 1 + tires."""
    rng = np.random.default_rng(seed)
    item = rng.integers(0, 3, (n_customers, n_visits))
    seen = np.stack([np.cumsum(item == at, axis=1) - (item == at) for at in range(3)])
    earlier = np.take_along_axis(seen, item[None], axis=0)[0]
    reward = rng.random(item.shape) < 0.5 * (1 + earlier) ** -tires
    days = pd.Timestamp("2026-01-05T12:00", tz="UTC").as_unit("us") + pd.to_timedelta(np.arange(n_visits), unit="D")
    return pd.DataFrame({
        "decision_id": np.arange(item.size), "customer_id": np.repeat(np.arange(n_customers), n_visits),
        "delivered_at": np.tile(days, n_customers), "policy": "house", "position": 1, "item_id": np.array(list("abc"))[item.ravel()],
        "p_shown": 1 / 3, "p_in_slate": 1 / 3, "reward": reward.ravel().astype(float)})


@pytest.mark.parametrize("tires", [0.0, 0.5])
def test_a_log_tells_how_customers_tire_of_what_they_see_again(tires):
    log = tired_log(tires=tires)
    memory = carryover.remember(log, log)
    assert memory.slope == pytest.approx(-tires, abs=3 * memory.slope_error) and memory.slope_error < 0.06


def test_lived_a_slate_is_shown_at_every_visit_and_moves_the_value():
    """On the 7 days of a run the only item was shown 0 ... 6 times before by the policy, and a third as often by the log."""
    log = tired_log(tires=0.5)
    memory = carryover.remember(log[log["delivered_at"].dt.day >= 12].reset_index(drop=True), log)
    target = pd.DataFrame({"customer_id": np.arange(300), "position": 1, "item_id": "a", "p_target": 1.0})
    change = carryover.carry_over(memory, target, np.zeros(len(memory.log), dtype=bool))
    earlier = log.assign(a=(log["item_id"] == "a").astype(int)).pivot(index="customer_id", columns="delivered_at", values="a").to_numpy()
    in_log = np.cumsum(earlier, axis=1)[:, 6:13]
    lived = earlier[:, :7].sum(axis=1)[:, None] + np.arange(7)
    whole = memory.slope * (np.log1p(lived).mean() - np.log1p(in_log).mean())
    assert change.factor == pytest.approx(np.exp(whole)) and change.factor < 0.9
    assert change.error >= abs(whole) / np.sqrt(12)
    assert carryover.carry_over(memory, only("a"), np.zeros(len(memory.log), dtype=bool)) is None


def test_a_policy_that_repeats_beyond_the_log_is_weak():
    log = tired_log(tires=0.0)
    memory = replace(carryover.remember(log, log), known=1.0)
    target = pd.DataFrame({"customer_id": np.arange(300), "position": 1, "item_id": "a", "p_target": 1.0})
    table = valuing.value_policy(log, target, policy="value", memory=memory).set_index("estimator")
    assert table.loc["examined", "gate"] == "weak" and "repeated more often than the log knows" in table.loc["examined", "reason"]
    assert table.loc["examined", "low"] * table.loc["examined", "high"] == pytest.approx(table.loc["examined", "value"] ** 2)


@pytest.mark.parametrize("estimator", valuing.PREFERENCE)
def test_a_policy_alone_is_valued_in_a_mixture_as_it_is_in_the_table(estimator, monkeypatch):
    monkeypatch.setattr(valuing, "PREFERENCE", (estimator,))
    log = tired_log(tires=0.5)
    asked = log[log["delivered_at"].dt.day >= 12].reset_index(drop=True)
    target = pd.DataFrame({"customer_id": np.arange(300), "position": 1, "item_id": "a", "p_target": 1.0})
    memory = carryover.remember(asked, log)
    row, = valuing.best(valuing.value_policy(asked, target, policy="a", memory=memory)).to_dict("records")
    held = mixture.mix(asked, target, memory=memory)
    found, logged_only = held.value(1.0, np.inf), held.value(0.0, np.inf)
    names = ["value", "low", "high", "n_positives", "ess", "mean_weight", "max_weight", "largest_share"]
    assert [found[name] for name in names] == pytest.approx([row[name] for name in names])
    assert (held.estimator, found["gate"], found["reason"]) == (estimator, row["gate"], row["reason"])
    assert logged_only["value"] == pytest.approx(asked["reward"].mean())


def test_weeks_that_differ_beyond_luck_widen_what_is_foretold():
    """Two items earn 8 and 12 a week of 10 expected, which luck alone explains; 40 and 160 of 100 it does not."""
    item, week = np.repeat(["a", "b"], 2), np.tile([0, 1], 2)
    assert carryover._excess(np.array([8.0, 12, 12, 8]), np.full(4, 10.0), item, week) == 0
    assert carryover._excess(np.array([40.0, 160, 160, 40]), np.full(4, 100.0), item, week) == pytest.approx((60**2 - 50) / (100**2 / 2))


def test_the_week_to_come_is_farther_than_a_week_drawn_again():
    """A level that steps by -1 or 1 a week, every way that three weeks can go."""
    steps = np.array([[first, second] for first in (-1, 1) for second in (-1, 1)])
    level = np.column_stack([np.zeros(4), np.cumsum(steps, axis=1)])
    spread, missed = level[:, :2].var(axis=1, ddof=1).mean(), ((level[:, 2] - level[:, :2].mean(axis=1)) ** 2).mean()
    assert carryover._reach(2, 2) == pytest.approx(missed / spread)
    assert carryover._reach(4, 6) > 1 + 1 / 4


def test_a_log_without_customers_has_no_memory(log):
    assert carryover.remember(log, log) is None
