"""What was recorded over several seeds is whole, and is told as it is."""

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
