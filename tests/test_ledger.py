"""The forecast ledger: what was foretold, what came, and whether both agree."""

import json

import numpy as np
import pandas as pd
import pytest

from reclib import plots, schema
from reclib.experiments import launched, ledger, nightly

NUMBERS = ["forecast", "low", "high", "observed", "observed_low", "observed_high"]


def test_forecast_and_outcome_agree_by_the_sides_that_face_each_other():
    """Between 1 and 6 lie reaches of 3 and 4, hypot 5: they agree, where 2 and 4 would not; overlap alone (3 + 4 > 6) is not enough."""
    rows = [(1.0, 0.9, 4.0, 6.0, 2.0, 6.1), (1.0, 0.9, 3.0, 6.0, 2.0, 6.1), (1.0, 0.9, 4.0, 7.0, 3.0, 7.1),
            (1.0, np.nan, np.nan, 2.0, 1.0, 9.0), (1.0, 0.0, 2.0, np.nan, np.nan, np.nan)]
    table = pd.DataFrame(rows, columns=NUMBERS)
    assert ledger.agrees(table).tolist() == [True, False, False, True, pd.NA]


def test_honest_intervals_agree_at_their_rate():
    rng = np.random.default_rng(1)
    forecast, observed = rng.normal(0, 1, 20_000), rng.normal(0, 2, 20_000)
    table = pd.DataFrame(dict(zip(NUMBERS, (forecast, forecast - 1.96, forecast + 1.96, observed, observed - 3.92, observed + 3.92))))
    assert ledger.agrees(table).astype(float).mean() == pytest.approx(0.95, abs=0.005)


def shops() -> pd.DataFrame:
    """Two shops that shipped and one that held: each metric as read and as true, in the experiment and in the launch after it."""
    rows = [(1, "SHIP", 1.5, 1.0, 1.2, 0.8), (2, "SHIP", 1.9, 1.0, 0.2, 0.8), (3, "HOLD", 0.1, 0.5, 0.3, -0.2)]
    table = pd.DataFrame(rows, columns=["seed", "verdict", "effect", "truth", "effect_after", "truth_after"])
    ends = {f"effect_{end}{when}": table[f"effect{when}"] + sign * 0.6 for end, sign in (("low", -1), ("high", 1)) for when in ("", "_after")}
    return table.assign(metric="contribution", arm="value", role="success", bend=0.1, **ends)


def test_a_launch_is_scored_stage_by_stage():
    """Reaches are 0.6 against a truth and 0.85 between two readings: shop 2 read 0.9 too much, and 1.7 more than its holdout."""
    scored = launched.stages(shops()).pivot(index="seed", columns=["estimator", "against"], values="is_inside")
    assert scored["experiment", launched.THEN].tolist() == [True, False, True]
    assert scored["experiment", launched.HOLDOUT].tolist() == [True, False, True]
    assert scored[launched.HOLDOUT, launched.AFTER].tolist() == [True, True, True]
    table = launched.honesty(shops()).set_index(["estimator", "against"])
    row = table.loc[("experiment", launched.THEN)]
    assert row[["n_shops", "n_inside", "bias"]].tolist() == [3, 2, pytest.approx((0.5 + 0.9 - 0.4) / 3)]
    assert row["low"] < 2 / 3 < row["high"]


def test_verdicts_and_what_shipping_selects_are_put_into_words():
    assert launched.verdict_sentence(shops(), "contribution") == (
        "Verdicts of 3 shops by contribution: HOLD 1, after which the new policy was truly better in 0 and worse in 1; "
        "SHIP 2, after which the new policy was truly better in 2 and worse in 0.")
    # Shipped shops were read by 0.5 and 0.9 too much, and both lost 0.2.
    assert launched.curse_sentence(shops(), "contribution") == (
        "In the 2 shops that shipped, contribution a customer was read by 0.70 ± 0.39 more than it was in the days of the experiment "
        "(beyond chance); it was truly by 0.20 ± 0.00 less in the days of the launch than in those of the experiment (beyond chance).")


def test_shops_are_gathered(tmp_path):
    for seed, own in shops().groupby("seed"):
        (tmp_path / f"shop-{seed}").mkdir()
        record = launched.verdict_rows(own, {"verdict": own["verdict"].iloc[0]}, seed=int(seed))
        (tmp_path / f"shop-{seed}" / f"{launched.FACTS}.json").write_text(json.dumps(record))
    (tmp_path / "latest").symlink_to(tmp_path / "shop-1")
    found = launched.gather(tmp_path)
    pd.testing.assert_frame_equal(found[sorted(found)], shops()[sorted(found)], check_dtype=False)


def test_a_holdout_keeps_the_metrics_and_refuses_to_keep_nobody():
    plan = {"experiment_id": "launch", "control": "popular", "metrics": {"revenue": {}}, "expected_shares": {"popular": 0.5, "value": 0.5}}
    made = launched.holdout_plan(plan, arm="value", share=0.1)
    assert made == plan | {"experiment_id": "launch-holdout", "expected_shares": {"popular": 0.1, "value": 0.9}}
    with pytest.raises(ValueError, match="holdout_share == 0, must lie between 0 and 1"):
        launched.holdout_plan(plan, arm="value", share=0)


def test_forecasts_of_answers_are_held_against_a_later_launch():
    """Two customers saw 2 and 1 slots of value in the first week and clicked one; popular was not launched."""
    at = pd.Timestamp("2026-02-01", tz="UTC").as_unit("us")
    table = pd.DataFrame({"forecast_id": ["v", "p", "r"], "policy": ["value", "popular", "value"], "made_at": at, "estimator": "examined", "gate": "usable",
                          "metric": ["click of a seen slot in the first 7 days"] * 2 + ["purchase of a slot, times that of popular"],
                          "forecast": 0.9, "low": 0.8, "high": 1.0, "is_inside": True, **dict.fromkeys(NUMBERS[3:], 0.5)})
    served = pd.DataFrame({"decision_id": ["x", "y"], "customer_id": [1, 2], "policy": "value", "delivered_at": at})
    answers = pd.DataFrame({"decision_id": ["x", "x", "x", "y"], "event_type": ["impression", "impression", "click", "impression"],
                            "occurred_at": at + pd.Timedelta(days=1)})
    row, = ledger.again(table, served, answers, days=7).to_dict("records")
    assert (row["forecast_id"], row["observed"]) == ("v", pytest.approx(1 / 3))
    assert ledger.in_words(pd.DataFrame([row | {"against": "launch", "observed_low": 0.2, "observed_high": 0.4}])).to_dict("records") == [{
        "policy": "value", "metric": table["metric"][0], "foretold by": "examined", "foretold": "0.900 [0.800, 1.000]", "held against": "launch",
        "came": "0.333 [0.200, 0.400]", "agrees": "no"}]


def test_a_night_likens_its_slots_to_those_of_their_kind():
    """Of slots bought before, 2 of 4 were clicked; of others 0 of 2. Tonight one customer of each kind, who came once each: half and half."""
    at = pd.Timestamp("2026-02-01 23:59", tz="UTC").as_unit("us")
    seen = pd.DataFrame({"customer_id": [1, 1, 1, 1, 2, 2], "item_id": list("aaaabb"), "decision_id": list("123456"), "event_type": "impression"})
    clicks = seen[seen["decision_id"].isin(["1", "2"])].assign(event_type="click")
    bought = pd.DataFrame({"customer_id": [1], "item_id": ["a"], "event_type": "purchase", "occurred_at": at - pd.Timedelta(days=40)})
    events = pd.concat([bought, pd.concat([seen, clicks]).assign(occurred_at=at - pd.Timedelta(hours=1))]).assign(session_id="s")
    slates = pd.DataFrame({"customer_id": [1, 2], "item_id": ["a", "b"], "policy": "value"})
    table = nightly.foretell(slates, events, as_of=at).set_index("metric")
    row = table.loc["click" + nightly.NEXT_DAY]
    assert row["forecast"] == pytest.approx(0.5 * 2 / 4 + 0.5 * 0 / 2) and row["low"] <= row["forecast"] <= row["high"]
    schema.require(table.reset_index(), schema.TABLES["forecasts"])
    assert nightly.foretell(slates, events[events["event_type"] == "purchase"], as_of=at).empty
    assert nightly.foretell(slates, events[events["event_type"] != "click"], as_of=at).empty
    assert nightly.foretell(slates, events[events["customer_id"] == events["customer_id"].iloc[0]], as_of=at).empty


def test_a_night_is_scored_by_the_day_after_it_alone():
    at = pd.Timestamp("2026-02-01", tz="UTC").as_unit("us")
    waits = pd.DataFrame({"forecast_id": ["n"], "policy": "value", "metric": "click" + nightly.NEXT_DAY, "made_at": at, "forecast": 0.5, "low": 0.4,
                          "high": 0.6, "observed": np.nan, "observed_low": np.nan, "observed_high": np.nan, "estimator": "slots alike", "gate": "log",
                          "is_inside": pd.NA})
    answers = pd.DataFrame({"customer_id": [1, 1, 2, 2, 1], "event_type": ["impression", "click", "impression", "impression", "impression"],
                            "occurred_at": at + pd.to_timedelta([1, 1, 2, 3, 30], unit="h")})
    row, = nightly.score(waits, answers).to_dict("records")
    assert row["observed"] == pytest.approx(1 / 3) and row["is_inside"]
    assert nightly.score(waits, answers.tail(1))["observed"].isna().all() and nightly.score(None, answers).empty
    assert nightly.sentence(nightly.score(waits, answers)) == (
        "1 of 1 forecasts of the next day's answers met what came (100 %, where honest intervals do in 95 %); all days together, click 50.0 % too high.")
    assert nightly.sentence(waits) == "Of 1 forecasts none has met its day yet; 1 waits for what comes."
    assert nightly.sentence(None) == "No night foretold anything."


def test_forecasts_are_drawn_against_what_came():
    table = pd.DataFrame({"forecast": [1.0, 2.0, 3.0], "low": 0.5, "high": 3.5, "observed": [1.5, 9.0, np.nan], "observed_low": 1.0, "observed_high": 9.5,
                          "is_inside": pd.array([True, False, pd.NA], dtype="boolean"), "by": "experiment"})
    axes = plots.foretold(table, by="by", title="Forecasts", unit="EUR").axes[0]
    equal, inside, outside = (line.get_xydata().tolist() for line in axes.lines)
    assert (equal, inside, outside) == ([[0.5, 0.5], [9.5, 9.5]], [[1.0, 1.5]], [[2.0, 9.0]])
    plots.plt.close("all")


def test_recorded_shops_are_whole_and_scored_as_they_read():
    shops = launched.verdicts()
    assert shops.groupby("seed")["metric"].nunique().nunique() == 1 and not shops.duplicated(["seed", "metric"]).any()
    assert set(shops["verdict"]) <= {"SHIP", "HOLD", "ROLLBACK", "INVALID"}
    own = shops[shops["metric"] == "contribution"]
    inside = own["truth"].between(own["effect_low"], own["effect_high"])
    row = launched.honesty(shops).query("metric == 'contribution'").iloc[0]
    assert (row["n_shops"], row["n_inside"]) == (shops["seed"].nunique(), inside.sum())
