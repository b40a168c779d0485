"""The brief repeats what the layers found, and lets a failed check overrule it."""

import pandas as pd
import pytest

from reclib import brief

SHIP = {"verdict": "SHIP", "reasons": ["revenue is higher."], "effect": 1.5, "low": 0.5, "high": 2.5,
        "money": {"amount": 150.0, "low": 50.0, "high": 250.0, "currency": "EUR", "n_customers": 100}}


def _checks(*statuses: str) -> pd.DataFrame:
    return pd.DataFrame({"check_id": [f"check_{i}" for i in range(len(statuses))], "layer": "data", "status": statuses,
                         "observed": "3", "allowed": "0", "detail": "Broken slates."})


def test_a_ship_with_good_checks_stays_a_ship():
    verdict = brief.final_verdict(SHIP, _checks("pass", "warn"))
    assert (verdict["verdict"], verdict["effect"], len(verdict["checks"])) == ("SHIP", 1.5, 2)
    assert verdict["next_action"] == brief.NEXT_ACTION["SHIP"]


def test_a_failed_check_makes_it_invalid_and_hides_the_money():
    verdict = brief.final_verdict(SHIP, _checks("pass", "fail"))
    assert verdict["verdict"] == "INVALID"
    assert verdict["reasons"][0] == "Broken slates: 3, allowed 0 (check_1)."
    assert brief.money_sentence(verdict) == "Money is not shown: the evidence cannot be read."


def test_without_an_experiment_it_holds_and_says_why():
    verdict = brief.final_verdict({}, None)
    assert (verdict["verdict"], verdict["effect"], verdict["checks"]) == ("HOLD", None, [])
    assert verdict["reasons"] == [brief.NO_EXPERIMENT]
    assert brief.headline(verdict) == f"HOLD. {brief.NOTHING_PROVEN}"


def test_an_unknown_verdict_is_refused():
    with pytest.raises(ValueError, match="verdict == 'MAYBE'"):
        brief.final_verdict({"verdict": "MAYBE"}, None)


def test_money_is_said_with_its_interval():
    sentence = brief.money_sentence(brief.final_verdict(SHIP, None))
    assert sentence == ("Best guess 150.00 EUR for the 100 customers of the experiment, "
                        "between 50.00 and 250.00 with 95 % confidence.")


def test_rules_are_listed_dearest_first_and_legal_ones_are_not_for_sale():
    prices = pd.DataFrame({"policy": "value", "rule_id": ["age", "quota"], "kind": ["safety", "slate_quota"],
                           "is_binding": True, "n_removed": [10, 0], "drop_one_value": [9.0, 2.5]})
    rules = pd.DataFrame({"rule_id": ["age", "quota"], "owner": ["legal", "shop"], "reason": ["law", "variety"]})
    table = brief.price_list(prices, rules, policy="value")
    assert table[["rule_id", "cost", "for_sale"]].values.tolist() == [["age", 9.0, "no"], ["quota", 2.5, "yes"]]
    sentence = brief.price_sentence(table, unit="EUR")
    assert "'quota'" in sentence and "2.50 EUR more" in sentence and "cost 9.00 EUR, and are not for sale" in sentence


def test_a_forecast_is_scored_by_overlap():
    forecasts = pd.DataFrame({"low": [1.0, 1.0, 1.0], "high": [2.0, 2.0, 2.0], "observed": [1.5, 5.0, None],
                              "observed_low": [1.4, 4.0, None], "observed_high": [1.6, 6.0, None]})
    assert brief.forecast_sentence(forecasts).startswith("1 of 2 forecasts agree")


def test_the_scorecard_names_what_moved():
    scores = pd.DataFrame({"metric": ["revenue", "clicks", "aov"], "arm": "value", "lift": 0.0, "lift_low": [0.1, -0.3, -0.1],
                           "lift_high": [0.2, -0.1, 0.1]})
    assert brief.scorecard_sentence(scores) == (
        "Against the control, higher: revenue; lower: clicks; 1 of 3 are not shown to differ.")


def test_a_changed_verdict_is_said():
    verdict = brief.final_verdict(SHIP, None, source="shop")
    before = {"verdict": "HOLD", "source": "shop"}
    assert brief.change_sentence(verdict, before) == "The verdict moved from HOLD to SHIP."
    assert "not of this source" in brief.change_sentence(verdict, {"verdict": "HOLD", "source": "another"})
