"""Checks fire on what they are for and stay quiet otherwise."""

import numpy as np
import pandas as pd
import pytest

from reclib import monitoring, schema

NIGHT = pd.Timestamp("2026-03-29", tz="UTC").as_unit("us")


def _events(rng: np.random.Generator, *, n_customers: int = 600, days: int = 56, rate: float = 0.2) -> pd.DataFrame:
    n = rng.poisson(rate * days * n_customers)
    age = rng.integers(0, days, n)
    return pd.DataFrame({
        "occurred_at": NIGHT - pd.to_timedelta(age, unit="D"), "customer_id": rng.integers(0, n_customers, n),
        "event_type": "purchase", "value": rng.lognormal(1, 0.5, n).round(2),
    })


@pytest.fixture
def deliveries() -> pd.DataFrame:
    return pd.DataFrame({
        "decision_id": ["1", "2", "3"], "policy": "value", "customer_id": [1, 1, 2], "item_id": ["a", "b", "a"],
        "position": [1, 2, 1], "p_shown": [1.0, 0.9, 1.0], "is_fallback": False,
    })


@pytest.fixture
def decisions(deliveries) -> pd.DataFrame:
    return deliveries[["policy", "customer_id", "item_id", "position"]].assign(rank=1, is_allowed=True, rule_id=None)


ITEMS = pd.DataFrame({"item_id": ["a", "b"], "stock_on_hand": [5, 5]})


def _status(checks: pd.DataFrame, name: str) -> str:
    return checks.set_index("check_id").loc[name, "status"]


def test_good_slates_pass_every_check(deliveries, decisions):
    checks = monitoring.check_slates(deliveries, decisions, ITEMS, k=2)
    assert checks["status"].unique().tolist() == ["pass"]
    schema.require(checks, schema.TABLES["checks"])


@pytest.mark.parametrize(("fault", "name"), [
    ({"item_id": ["a", "a", "a"]}, "no_item_twice_in_a_slate"),
    ({"position": [1, 3, 1]}, "slates_have_no_gap"),
    ({"item_id": ["a", "z", "a"]}, "every_shown_item_is_in_the_catalogue"),
    ({"item_id": ["a", "z", "a"]}, "no_refused_item_is_shown"),
    ({"customer_id": [1, 1, 1], "item_id": ["a", "b", "c"], "position": [1, 2, 3]}, "slates_are_not_too_long"),
])
def test_a_broken_slate_is_named(deliveries, decisions, fault, name):
    checks = monitoring.check_slates(deliveries.assign(**fault), decisions, ITEMS, k=2)
    assert _status(checks, name) == "fail"


def test_an_item_that_ran_out_is_named(deliveries, decisions):
    checks = monitoring.check_slates(deliveries, decisions, ITEMS.assign(stock_on_hand=[5, 0]), k=2)
    assert _status(checks, "no_item_without_stock_is_shown") == "fail"


def test_stale_and_future_events_fail():
    events = pd.DataFrame({"occurred_at": [NIGHT - pd.Timedelta(days=3)]})
    assert _status(monitoring.check_freshness(events, as_of=NIGHT, max_days=2), "data_is_fresh") == "fail"
    later = pd.DataFrame({"occurred_at": [NIGHT + pd.Timedelta(seconds=1)]})
    assert _status(monitoring.check_freshness(later, as_of=NIGHT, max_days=2), "data_is_not_from_the_future") == "fail"


def test_contacting_somebody_who_opted_out_fails(deliveries):
    customers = pd.DataFrame({"customer_id": [1, 2], "opted_out_at": [NIGHT, pd.NaT]})
    checks = monitoring.check_contact(deliveries, customers, as_of=NIGHT)
    assert checks["status"].tolist() == ["fail"] and checks["observed"].tolist() == ["1"]


def test_halved_events_warn():
    events = _events(np.random.default_rng(1))
    recent = events["occurred_at"] > NIGHT - pd.Timedelta(days=7)
    thinned = events[~recent | (np.arange(len(events)) % 4 == 0)]
    assert _status(monitoring.check_volume(events, as_of=NIGHT), "volume_is_usual") == "pass"
    assert _status(monitoring.check_volume(thinned, as_of=NIGHT), "volume_is_usual") == "warn"


def test_a_leaked_or_skewed_arm_fails():
    arms = pd.DataFrame({"arm": ["a"] * 600 + ["b"] * 400})
    assert monitoring.check_shares(arms, {"a": 0.5, "b": 0.5})["status"].tolist() == ["fail"]
    assert monitoring.check_shares(arms, {"a": 0.6, "b": 0.4})["status"].tolist() == ["pass"]
    assert monitoring.check_shares(arms, {"a": 1.0, "b": 0.0})["status"].tolist() == ["fail"]


@pytest.mark.parametrize(("experiment_id", "held"), [("launch", ["arms_have_their_planned_shares"]), ("another", [])])
def test_tonights_arms_are_held_against_the_plan_that_they_are_of(experiment_id, held):
    arms = pd.DataFrame({"experiment_id": "launch", "arm": ["a"] * 600 + ["b"] * 400})
    plan = {"experiment_id": experiment_id, "expected_shares": {"a": 0.6, "b": 0.4}}
    checks = monitoring.promises({"assignments": arms}, as_of=NIGHT, k=2, experiment=plan)
    assert checks["check_id"].tolist() == held


def test_the_index_of_a_known_shift():
    reference = np.repeat(np.arange(10), 100).astype(float)
    assert monitoring.psi(reference, reference) == pytest.approx(0.0, abs=1e-12)
    assert monitoring.psi(reference, reference[reference < 5]) > 1


def test_drift_is_quiet_when_nothing_moves_and_sees_a_price_change():
    alarms = [monitoring.drift(_events(np.random.default_rng(seed)), as_of=NIGHT)["is_drifted"].any()
              for seed in range(40)]
    assert sum(alarms) <= 3  # binomial(40, 0.01): more than 3 once in 1,600 times
    events = _events(np.random.default_rng(99))
    dearer = events.assign(value=events["value"].where(events["occurred_at"] < NIGHT - pd.Timedelta(days=27),
                                                       events["value"] * 3))
    assert monitoring.drift(dearer, as_of=NIGHT).set_index("signal").loc["spend", "is_drifted"]


def test_opt_outs_above_the_control_are_warned_of():
    units = pd.DataFrame({"arm": ["c"] * 500 + ["t"] * 500, "opted_out": [0] * 500 + [1] * 30 + [0] * 470})
    assert monitoring.check_trust(units, control="c")["status"].tolist() == ["warn"]
    assert monitoring.check_trust(units, control="t")["status"].tolist() == ["pass"]


def test_the_sentence_names_what_failed(deliveries, decisions):
    checks = monitoring.check_slates(deliveries.assign(position=[1, 3, 1]), decisions, ITEMS, k=2)
    assert "slates_have_no_gap" in monitoring.health_sentence(checks)
