"""The proof of calibration: its page is executed over a thousand experiments a rate, and says ten thousand as committed."""

from __future__ import annotations

from pathlib import Path

import nbformat
import numpy as np
import pytest
from scipy.stats import ttest_ind

from reclib import store
from reclib.experiments import calibration, stats
from reclib.workflow import execute, parameters

PROOF = store.project() / "notebooks/proofs/calibration.ipynb"
CHECKS = ("A/A false positives", "coverage of the effect", "coverage of the lift", "false positives over 20 looks",
          "power at the planned effect", "sample ratio mismatch found", "leaked arm found", "guardrail at its margin passes", "verdict SHIP")


def shown(path: Path) -> tuple[list[str], str]:
    """The takeaways of a notebook, and all text that it shows."""
    outputs = [output for cell in nbformat.read(path, as_version=4).cells for output in cell.get("outputs", [])]
    told = [output["data"]["text/markdown"] for output in outputs if output["metadata"].get("reclib_takeaway")]
    return told, "\n".join(output["data"].get("text/plain", "") for output in outputs)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], str]:
    """The page, executed with another seed over a thousand experiments a rate."""
    executed = tmp_path_factory.mktemp("proof") / "calibration.ipynb"
    failure = execute.execute(PROOF, executed, parameters={"n_simulations": 1_000, "seed": 11}, environment={}, folder=PROOF.parent)
    assert failure is None, failure
    return shown(executed)


def test_every_error_rate_of_a_thousand_experiments_lies_in_its_band(page):
    told, text = page
    assert [each for each in told if "outside" in each] == []
    assert "over 1,000 simulated experiments or more each" in told[-1]
    assert [check for check in CHECKS if check not in text] == []


def test_the_committed_page_is_over_ten_thousand_experiments_a_rate():
    told, text = shown(PROOF)
    assert parameters.declared(PROOF)["n_simulations"].default == 10_000
    assert [each for each in told if "outside" in each] == []
    assert "over 10,000 simulated experiments or more each" in told[-1]
    assert [check for check in (*CHECKS, "A/A on real customers at 5 %") if check not in text] == []


def test_a_rate_outside_its_band_is_not_accepted():
    """60 of 1,000 lie within three standard errors of 5 %, 3 sqrt(0.05 x 0.95 / 1000) = 2.07 points; 71 do not."""
    hits = np.arange(1_000)
    assert [calibration.rate_row("a", "b", hits < n, target=0.05)["is_accepted"] for n in (29, 30, 70, 71)] == [False, True, True, False]


def test_thirds_of_simulations_are_those_of_groups():
    values = np.random.default_rng(0).gamma(1.0, 1.0, (4, 50, 3))
    moments, of = stats.moments_of(values), np.repeat(np.arange(4), 50)
    expected = stats.grouped_thirds(values.reshape(-1, 3), of, moments)
    np.testing.assert_allclose(calibration._thirds_of(values, moments), expected, atol=1e-12)


def test_a_relabelling_is_the_test_of_welch():
    values = np.random.default_rng(1).gamma(1.0, 1.0, (500, 2))
    is_arm = np.random.default_rng(2).random(500, dtype=np.float32) < 0.3
    found = calibration.relabelled(values, 1, np.random.default_rng(2), share=0.3)
    np.testing.assert_allclose(found[0], ttest_ind(values[is_arm], values[~is_arm], equal_var=False).pvalue)
