"""What was recorded over several seeds is whole, and is told as it is."""

import json

import pandas as pd
import pytest

from reclib.experiments import recorded


def test_seeds_are_pooled_by_their_number_of_experiments():
    """20 of 100 and 30 of 300 are 50 of 400."""
    rates = pd.DataFrame({"check": "a", "scenario": "b", "n_simulations": [100, 300], "rate": [0.2, 0.1], "is_accepted": [False, True],
                          "seed": [1, 2]})
    row = recorded.pooled(rates).iloc[0]
    assert row[["n_simulations", "rate", "lowest", "highest", "n_outside"]].tolist() == [400, pytest.approx(0.125), 0.1, 0.2, 1]


def test_the_recorded_calibration_is_whole_and_its_coverage_holds():
    rates = recorded.recorded()
    assert rates["seed"].nunique() == len(recorded.SEEDS) and rates["n_simulations"].min() > 0.99 * recorded.N_SIMULATIONS
    assert not rates.duplicated(["check", "scenario", "seed"]).any()
    covered = recorded.pooled(rates)
    assert covered[covered["check"].str.startswith("coverage")]["rate"].between(0.943, 0.957).all()
    assert rates["is_accepted"].mean() > 0.99


def test_shops_are_gathered_and_told(tmp_path):
    compared = pd.DataFrame({"metric": ["contribution", "revenue"], "role": "success", "truth": [1.0, 2.0], "effect": [1.5, 1.0],
                             "effect_low": [0.5, 0.5], "effect_high": [2.5, 1.5], "holds_truth": [True, False]})
    for seed, word in ((2, "HOLD"), (1, "SHIP")):
        folder = tmp_path / f"shop-{seed}"
        folder.mkdir()
        (folder / f"{recorded.VERDICT_FACTS}.json").write_text(json.dumps(recorded.verdict_rows(compared, {"verdict": word}, seed=seed)))
    (tmp_path / "latest").symlink_to(tmp_path / "shop-1")
    shops = recorded.gather(tmp_path)
    assert shops[["seed", "metric", "verdict"]].to_numpy().tolist()[::2] == [[1, "contribution", "SHIP"], [2, "contribution", "HOLD"]]
    assert recorded.by_metric(shops).set_index("metric").loc["revenue", ["n_shops", "n_held", "n_worse"]].tolist() == [2, 0, 0]
    said = recorded.verdict_sentence(shops, "contribution")
    assert "SHIP 1, HOLD 1" in said and "in 1 of 1" in said and "2 of 4 intervals" in said


def test_recorded_shops_are_whole_and_their_intervals_hold_what_they_say():
    shops = recorded.verdicts()
    assert shops.groupby("seed")["metric"].nunique().nunique() == 1 and not shops.duplicated(["seed", "metric"]).any()
    assert set(shops["verdict"]) <= {"SHIP", "HOLD", "ROLLBACK", "INVALID"} and shops["seed"].nunique() >= 4
    inside = shops["truth"].between(shops["effect_low"], shops["effect_high"])
    assert inside.tolist() == shops["holds_truth"].tolist()
