"""The brief repeats what the layers found, and lets a failed check overrule it."""

import html
import re

import pandas as pd
import pytest
from conftest import HARD_TITLES

from reclib import plots, report, store
from reclib.brief import decision, evidence
from reclib.workflow import publish

SHIP = {"verdict": "SHIP", "reasons": ["revenue is higher."], "effect": 1.5, "low": 0.5, "high": 2.5,
        "money": {"amount": 150.0, "low": 50.0, "high": 250.0, "currency": "EUR", "n_customers": 100,
                  "metric": "contribution", "arm": "value"}}


def _checks(*statuses: str) -> pd.DataFrame:
    return pd.DataFrame({"check_id": [f"check_{i}" for i in range(len(statuses))], "layer": "data", "status": statuses,
                         "observed": "3", "allowed": "0", "detail": "Broken slates."})


def test_a_ship_with_good_checks_stays_a_ship():
    verdict = decision.final_verdict(SHIP, _checks("pass", "warn"))
    assert (verdict["verdict"], verdict["effect"], len(verdict["checks"])) == ("SHIP", 1.5, 2)
    assert verdict["next_action"] == decision.NEXT_ACTION["SHIP"]


def test_a_failed_check_makes_it_invalid_and_hides_the_money():
    verdict = decision.final_verdict(SHIP, _checks("pass", "fail"))
    assert verdict["verdict"] == "INVALID"
    assert verdict["reasons"][0] == "Broken slates: 3, allowed 0 (check_1)."
    assert decision.money_sentence(verdict) == "Money is not shown: the evidence cannot be read."


def test_nothing_of_evidence_that_cannot_be_read_is_shown(readout):
    invalid, ship = (decision.final_verdict(SHIP, _checks(status), readout=readout) for status in ("fail", "pass"))
    assert (decision.believed(readout, invalid), invalid["guardrails"]) == (None, [])
    assert (len(invalid["reasons"]), "not known" in decision.change_sentence(invalid, ship)) == (1, True)
    assert decision.or_refused("It is better.", invalid) == decision.or_refused("", invalid) == "Not shown: the evidence cannot be read."
    assert decision.believed(readout, ship) is readout and len(ship["guardrails"]) == 2
    assert decision.or_refused("It is better.", ship) == "It is better."


def test_without_an_experiment_it_holds_and_says_why():
    verdict = decision.final_verdict({}, None)
    assert (verdict["verdict"], verdict["effect"], verdict["checks"]) == ("HOLD", None, [])
    assert verdict["reasons"] == [decision.NO_EXPERIMENT]
    assert decision.headline(verdict) == f"HOLD. {decision.NOTHING_PROVEN}"


def test_an_unknown_verdict_is_refused():
    with pytest.raises(ValueError, match="verdict == 'MAYBE'"):
        decision.final_verdict({"verdict": "MAYBE"}, None)


def test_money_is_said_with_its_interval():
    sentence = decision.money_sentence(decision.final_verdict(SHIP, None))
    assert sentence == ("Had all 100 customers of the experiment got 'value' for as long as it ran, contribution would be +150.00 EUR "
                        "against the old policy: that is the best guess, and between +50.00 and +250.00 EUR hold with 95 % confidence.")


def test_money_that_cannot_be_named_says_why():
    assert decision.money_sentence(decision.final_verdict({}, None)).endswith("no effect was read.")
    assert decision.money_sentence(decision.final_verdict(SHIP | {"money": None}, None)).endswith("no success metric is in money.")


def test_rules_are_listed_dearest_first_and_legal_ones_are_not_for_sale():
    prices = pd.DataFrame({"policy": "value", "rule_id": ["age", "quota"], "kind": ["safety", "slate_quota"],
                           "is_binding": True, "n_removed": [10, 0], "drop_one_value": [9.0, 2.5]})
    rules = pd.DataFrame({"rule_id": ["age", "quota"], "owner": ["legal", "shop"], "reason": ["law", "variety"]})
    table = evidence.price_list(prices, rules, policy="value")
    assert table[["rule_id", "cost", "for_sale"]].values.tolist() == [["age", 9.0, "no"], ["quota", 2.5, "yes"]]
    sentence = evidence.price_sentence(table, unit="EUR")
    assert sentence == ("The dearest rule that may be relaxed is quota (variety): without it, tonight's slates would be worth 2.50 EUR "
                        "more. Not for sale, whatever it costs: age (law), 9.00 EUR.")
    assert evidence.price_sentence(table[table["for_sale"] == "no"], unit="EUR").startswith("No rule that may be relaxed costs anything")


def test_forecasts_are_told_as_the_ledger_scored_them():
    table = pd.DataFrame({"policy": "p", "metric": "m", "forecast": 1.5, "low": [1.0, 1.0, 1.0, None], "high": [2.0, 2.0, 2.0, None],
                          "observed": [1.5, 5.0, None, 1.0], "observed_low": [1.4, 4.0, None, None], "observed_high": [1.6, 6.0, None, None],
                          "is_inside": pd.array([True, False, None, True], dtype="boolean")})
    shown = evidence.forecasts(table)
    assert shown["agrees"].tolist() == ["yes", "no", "not yet known", "had no interval"]
    # Of those judged, 1.5 / 1.5 and 1.5 / 5 are foretold over come: 35 % too low.
    assert evidence.forecast_sentence(shown) == (
        "1 of 2 forecasts agree with what came (they differ by no more than both intervals allow, which honest ones do 19 times in 20); "
        "what was foretold was 35.0 % too low on average; 1 had no interval to be judged by; 1 wait for their outcome.")
    assert evidence.forecast_sentence(shown.iloc[2:]) == "Of 2 forecasts, 1 had no interval to be judged by and 1 wait for their outcome."


@pytest.fixture
def readout() -> pd.DataFrame:
    """A gain in revenue, a guardrail with an absolute margin, one with a relative one, and a metric that lies open."""
    return pd.DataFrame({
        "metric": ["revenue", "clicks", "returns", "opted_out"], "arm": "value", "role": ["success", "quality", "guardrail", "guardrail"],
        "control": "popular", "n_arm": 60, "n_control": 40, "is_primary": True, "mean_control": [10.0, 1.0, 0.2, 0.1], "mean_arm": [12.0, 1.0, 0.19, 0.1],
        "effect": [2.0, 0.0, -0.01, 0.0], "effect_low": [1.0, -0.1, -0.02, -0.02], "effect_high": [3.0, 0.1, 0.01, 0.02],
        "lift": [0.2, 0.0, -0.05, 0.0], "lift_low": [0.1, -0.1, -0.1, -0.2], "lift_high": [0.3, 0.1, 0.05, 0.2],
        "margin": [None, None, 0.15, 0.4], "margin_effect": [None, None, 0.03, 0.04], "is_margin_absolute": [False, False, True, False],
        "finding": ["better", "not shown", "within margin", "margin not shown"]})


def test_the_scorecard_names_what_moved_and_what_each_metric_counts(readout):
    scores = evidence.scorecard(readout, {"revenue": "money paid"})
    assert scores["metric"].tolist() == ["revenue", "opted_out", "returns", "clicks"]
    assert scores["counts"].tolist() == ["money paid", "", "", ""]
    assert evidence.scorecard_sentence(scores) == "Against the old policy, better: revenue; 3 of 4 are not shown to differ."
    assert evidence.scores_table(scores)["at_least"].tolist() == ["10.0 %", "-10.0 %"]
    assert "arm" not in evidence.trimmed(evidence.scores_table(scores)) and "counts" in evidence.trimmed(evidence.scores_table(scores))


def test_where_nothing_moved_one_sentence_says_so(readout):
    scores = evidence.scorecard(readout.assign(finding="not shown"))
    assert evidence.scorecard_sentence(scores) == "Against the old policy, none of 4 metrics is shown to differ."


def test_a_guardrail_stands_in_the_unit_of_its_margin(readout):
    held = evidence.guardrails(evidence.scorecard(readout))
    assert held[["metric", "change", "at_most", "allowed"]].values.tolist() == [
        ["opted_out", "0.0 %", "20.0 %", "40.0 %"], ["returns", "-0.01", "0.01", "0.03"]]
    assert evidence.guardrail_sentence(held) == "Of 2 guardrails, margin not shown: opted_out; within margin: returns."


def test_a_readout_of_bare_columns_is_told_by_its_intervals(readout):
    scores = evidence.scorecard(readout.drop(columns=["finding", "margin", "margin_effect", "is_margin_absolute"]))
    assert evidence.scorecard_sentence(scores) == "Against the old policy, higher: revenue; 3 of 4 are not shown to differ."


def test_two_arms_are_told_apart(readout):
    both = pd.concat([readout, readout.assign(arm="bold", finding="worse")])
    assert "worse: revenue in bold, opted_out in bold, returns in bold, clicks in bold" in evidence.scorecard_sentence(evidence.scorecard(both))
    assert decision.compared_sentence(both) == (
        "The new policies are 'bold' (60 customers) and 'value' (60 customers); the old one, the control, is 'popular' (40 customers).")


def test_without_a_guardrail_none_is_said_to_have_held(readout):
    bare = readout[readout["role"] != "guardrail"]
    assert decision.final_verdict(SHIP, None, readout=readout)["meaning"] == decision.MEANING["SHIP"]
    assert decision.final_verdict(SHIP, None, readout=bare)["meaning"] == decision.SHIP_UNGUARDED


def test_a_hold_for_a_guardrail_does_not_deny_a_proven_gain(readout):
    hold = SHIP | {"verdict": "HOLD"}
    assert decision.final_verdict(hold, None, readout=readout)["meaning"] == decision.HOLD_UNSURE
    open_one = readout.assign(finding=readout["finding"].replace("better", "not shown"))
    assert decision.final_verdict(hold, None, readout=open_one)["meaning"] == decision.MEANING["HOLD"]


def test_a_reason_says_what_its_metric_counts():
    plan = {"metrics": {"revenue": {"about": "money paid"}, "clicks": {"kind": "mean"}, "ctr": {"kind": "ratio", "numerator": "clicks", "denominator": "views"}}}
    known = decision.meanings({"experiment": plan})
    assert known == {"revenue": "money paid", "clicks": "clicks a customer", "ctr": "clicks for each views"}
    told = decision.final_verdict(SHIP | {"reasons": ["revenue is higher.", "bold: revenue is lower.", "clicks is open."]}, None, meanings=known)
    assert told["reasons"] == ["revenue (money paid) is higher.", "bold: revenue (money paid) is lower.", "clicks is open."]


def test_what_could_not_be_measured_is_told_in_the_words_of_the_source(readout):
    tables = dict.fromkeys(evidence.ABSENT) | {"readout": readout.assign(effect=[2.0, None, -0.01, 0.0])}
    rows = evidence.not_measurable(tables, {"lacks": {"logged_deliveries": "Nothing was logged."}}).set_index("what")["why"]
    assert rows["worth of a policy that did not run"] == "Nothing was logged."
    assert rows["cost of the rules"] == "No rule was priced."
    assert rows["clicks in value"] == "No number could be computed."
    assert "effect of the new policy" not in rows


def test_checks_are_counted_and_named():
    assert decision.health_sentence(_checks("pass", "warn", "fail")) == "1 of 3 checks of data and slates pass; failed: check_2; to look at: check_1."
    assert decision.health_sentence(None) == "Nothing was monitored in this run."


def test_a_changed_verdict_is_said_with_its_figures():
    verdict = decision.final_verdict(SHIP, None, source="shop")
    assert decision.change_sentence(verdict, verdict | {"verdict": "HOLD"}) == "The verdict moved from HOLD to SHIP."
    assert decision.change_sentence(verdict, verdict | {"effect": 1.0}) == (
        "The verdict is SHIP, as in the run before; the effect in the deciding metric was 1 [0.5, 2.5], and is 1.5 [0.5, 2.5].")
    assert decision.change_sentence(verdict, verdict) == "The verdict is SHIP, as in the run before, and so is the effect."
    assert decision.change_sentence(verdict, {}).startswith("No run of this source was published before")


def test_hard_names_stay_text_in_the_brief(readout, monkeypatch):
    shown: list = []
    monkeypatch.setattr("IPython.display.display", lambda output, **_: shown.append(output))
    hard = readout.assign(metric=HARD_TITLES[:4], arm="costs $5 or $6 😀")
    scores = evidence.scorecard(hard, dict.fromkeys(HARD_TITLES, "مرحبا " + "x" * 300))
    report.show(evidence.scores_table(scores), labels=evidence.LABELS)
    report.show(evidence.guardrails(scores), labels=evidence.LABELS)
    plots.show(plots.forest(evidence.for_figure(scores), title="$5 & $6", x="%"), alt=evidence.scorecard_sentence(scores))
    report.takeaway(evidence.scorecard_sentence(scores))
    assert "&lt;b&gt;bold" in shown[0]["text/html"] and "<script>" not in shown[1]["text/html"]
    assert shown[2]["image/png"].startswith(b"\x89PNG")


def test_a_margin_that_holds_is_not_crossed_in_the_figure():
    row = {"metric": "complained", "role": "guardrail", "mean_control": 0.003, "effect": -0.0004, "effect_low": -0.0036,
           "effect_high": 0.0028, "lift": -0.13, "lift_low": -0.88, "lift_high": 4.1, "is_margin_absolute": True, "margin": 0.01 / 0.003}
    drawn = evidence.for_figure(pd.DataFrame([row])).iloc[0]
    assert drawn["lift_high"] == pytest.approx(100 * 0.0028 / 0.003)
    assert drawn["lift_high"] < drawn["margin"]


def test_every_figure_of_the_brief_is_that_of_the_verdict(default_run):
    verdict = publish.read_json(default_run / "verdict.json")
    page = html.unescape(re.sub("<[^>]+>", "", (default_run / "09_brief.html").read_text())).replace("\u00a0", " ")
    assert f"{verdict['verdict']}. {verdict['meaning']}" in page
    for told in (verdict["money_sentence"], f"Next: {verdict['next_action']}", *verdict["reasons"]):
        assert told.replace("`", "") in page
    money = verdict["money"] or {}
    assert [f"{money[name]:+,.2f}" in verdict["money_sentence"] for name in ("amount", "low", "high") if name in money] in ([True] * 3, [])
    status = [check["status"] for check in verdict["checks"] if check["layer"] != "experiments"]
    assert f"{status.count('pass')} of {len(status)} checks of data and slates" in page


def test_the_run_before_is_the_last_published_one_of_the_same_source(tmp_path, monkeypatch):
    nights = [("first", "shop", "published"), ("second", "shop", "published"), ("third", "shop", "failed"), ("other", "market", "published"),
              ("tonight", "shop", "published")]
    for at, (name, source, status) in enumerate(nights):
        publish.write_json(tmp_path / name / "run.json", {"status": status, "started_at": f"2026-11-2{at}", "source": {"name": source}})
        publish.write_json(tmp_path / name / "verdict.json", {"verdict": name})
    publish.make_latest(tmp_path, "other")
    monkeypatch.setenv("RECLIB_REPORTS", str(tmp_path))
    monkeypatch.setenv("RECLIB_RUN", "tonight")
    assert store.facts_before("verdict", source="shop") == {"verdict": "second"}
    assert store.facts_before("verdict", source="elsewhere") == {}
