"""The readout held against independent libraries, real data and thousands of simulated experiments."""

import inspect
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reclib.experiments import (
    calibration,
    effects,
    power,
    readout,
    segments,
    sequential,
    stats,
    trust,
)
from reclib.experiments.plan import parse

DATA = Path(os.environ.get("RECLIB_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
ARMS = {"No E-Mail": 1 / 3, "Mens E-Mail": 1 / 3, "Womens E-Mail": 1 / 3}
METRICS = {
    "visit": {"role": "success", "kind": "proportion"}, "conversion": {"role": "success", "kind": "proportion"},
    "spend": {"role": "success"}, "capped": {"role": "exploratory", "column": "spend", "winsorise": 0.999, "winsorise_over": "all"},
    "deleted": {"role": "exploratory", "column": "spend", "winsorise": 0.99, "winsorise_over": "all"},
    "per_visit": {"role": "exploratory", "kind": "ratio", "numerator": "spend", "denominator": "visit"},
    "aov": {"role": "exploratory", "kind": "ratio", "numerator": "spend", "denominator": "conversion"},
    "conversion_per_visit": {"role": "exploratory", "kind": "ratio", "numerator": "conversion", "denominator": "visit"},
}


@pytest.fixture(scope="module")
def customers():
    path = DATA / "hillstrom" / "hillstrom.csv"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    raw = pd.read_csv(path).rename(columns={"segment": "arm"})
    return raw.assign(experiment_id="hillstrom", customer_id=np.arange(len(raw)))


@pytest.fixture(scope="module")
def plan():
    return parse({"experiment_id": "hillstrom", "control": "No E-Mail", "expected_shares": ARMS, "metrics": METRICS,
                  "covariates": ["history"], "segments": ["womens", "newbie"], "sequential": {"n_star": 5000}})


@pytest.fixture(scope="module")
def table(customers, plan):
    return readout.readout(customers, plan).set_index(["metric", "arm", "method"]).sort_index()


def test_hillstrom_ratios_caps_and_looks(table):
    cells = {("per_visit", "Mens E-Mail"): (1.63552, 0.0976), ("aov", "Mens E-Mail"): (-0.47578, 0.967),
             ("aov", "Womens E-Mail"): (7.892, 0.512), ("conversion_per_visit", "Mens E-Mail"): (0.014632, 0.01907),
             ("capped", "Mens E-Mail"): (0.65916, 8.6e-9), ("capped", "Womens E-Mail"): (0.38292, 2.9e-4)}
    for (metric, arm), (effect, p_value) in cells.items():
        row = table.loc[(metric, arm, "unadjusted")]
        assert (row["effect"], row["p_value"]) == (pytest.approx(effect, rel=1e-4), pytest.approx(p_value, rel=0.02))
    assert table.loc[("capped", "Mens E-Mail", "unadjusted"), "cap"] == pytest.approx(243.66, abs=0.01)
    assert table.loc["deleted", "effect"].isna().all()
    looks = table.loc[("spend", "Womens E-Mail", "unadjusted_anytime")]
    assert looks[["effect_low", "effect_high", "p_value"]].tolist() == pytest.approx([0.0046, 0.8442, 0.0446], abs=6e-5)


def test_hillstrom_split_and_segments(customers, plan):
    checks = trust.check_units(customers, plan).set_index("check_id")
    assert float(checks.loc["sample_ratio", "observed"]) == pytest.approx(0.90369, abs=1e-4)
    womens = segments.by_segment(customers, plan, metrics=["visit"]).query("arm == 'Womens E-Mail' and segment == 'womens'")
    assert womens.set_index("value")["effect"].to_dict() == {"0": pytest.approx(0.0111, abs=1e-4), "1": pytest.approx(0.0731, abs=1e-4)}
    assert womens["p_interaction"].iloc[0] == pytest.approx(4 * 2.8e-22, rel=0.05)


def test_tea_tasting_agrees_on_hillstrom(customers, table):
    import pyarrow as pa
    import tea_tasting as tt

    pair = customers[customers["arm"].isin(["No E-Mail", "Mens E-Mail"])]
    columns = ["spend", "visit", "history"]
    frame = pa.table({name: pair[name].to_numpy(dtype=float) for name in columns} | {"variant": (pair["arm"] == "Mens E-Mail").to_numpy(dtype=int)})
    word = "covariate" if "covariate" in inspect.signature(tt.Mean.__init__).parameters else "column_covariate"
    found = tt.Experiment(spend=tt.Mean("spend"), adjusted=tt.Mean("spend", **{word: "history"}),
                          per_visit=tt.RatioOfMeans("spend", "visit")).analyze(frame)
    for name, key in (("spend", ("spend", "unadjusted")), ("adjusted", ("spend", "cuped")), ("per_visit", ("per_visit", "unadjusted"))):
        ours, theirs = table.loc[(key[0], "Mens E-Mail", key[1])], found[name]
        assert ours["effect"] == pytest.approx(theirs.effect_size, rel=1e-9)
        assert ours["p_value"] == pytest.approx(theirs.pvalue, rel=1e-6)
        assert ours["effect_low"] == pytest.approx(theirs.effect_size_ci_lower, rel=1e-6)


def test_planned_customers_agree_with_statsmodels():
    from statsmodels.stats.power import NormalIndPower, TTestIndPower

    n = power.customers_needed(0.1, 1.0, alpha=0.05)
    assert n == pytest.approx(2 * NormalIndPower().solve_power(0.1, alpha=0.05, power=0.8), abs=2)
    assert power.power_of(0.1, np.sqrt(2 / 800), alpha=0.05) == pytest.approx(TTestIndPower().power(0.1, 800, 0.05), abs=1e-3)


def test_holm_and_benjamini_hochberg_agree_with_statsmodels():
    from statsmodels.stats.multitest import multipletests

    p = np.random.default_rng(0).uniform(0, 0.1, 12)
    np.testing.assert_allclose(readout.adjusted(p, "holm"), multipletests(p, method="holm")[1])
    np.testing.assert_allclose(readout.adjusted(p, "bh"), multipletests(p, method="fdr_bh")[1])


def test_anytime_interval_and_p_value_are_one():
    z = sequential.critical(np.array([500, 5000, 50_000]), alpha=0.05, n_star=5000)
    assert sequential.p_value(z, np.array([500, 5000, 50_000]), alpha=0.05, n_star=5000) == pytest.approx([0.05] * 3)
    assert (z > 1.96).all()


@settings(max_examples=60, deadline=None)
@given(top=st.floats(-50, 50), below=st.floats(0.5, 50), top_variance=st.floats(0.001, 4), below_variance=st.floats(0.001, 4))
def test_fieller_never_contradicts_the_difference(top, below, top_variance, below_variance):
    half = 1.96
    low, high = effects.fieller(*(np.array(each) for each in (top, top_variance, below, below_variance)), np.array(half))
    is_apart = abs(top - below) > half * np.sqrt(top_variance + below_variance) * (1 + 1e-6)
    is_close = abs(top - below) < half * np.sqrt(top_variance + below_variance) * (1 - 1e-6)
    if np.isfinite(low):
        assert low <= top / below - 1 <= high
        assert not (is_apart and low < 0 < high) and not (is_close and not low < 0 < high)


def test_quantiles_keep_their_promise():
    rng = np.random.default_rng(8)
    found = [effects.compare(*(effects.Estimate(np.array(800.0), *map(np.array, stats.quantile_of(np.sort(rng.gamma(2, 3, 800)), 0.9)))
                               for _ in range(2)), alpha=0.05)["p_value"] for _ in range(1000)]
    assert calibration.rate_row("A/A", "quantile", np.array(found) < 0.05, target=0.05)["is_accepted"]


def test_relabelled_small_arm_errs_and_is_flagged(customers):
    spend = customers["spend"].to_numpy(dtype=float)[:20_000]
    p = calibration.relabelled(spend[:, None], 300, np.random.default_rng(13), share=0.01)
    assert (p < 0.05).mean() > 0.1
    arm = np.where(np.arange(len(spend)) % 100 == 0, "new", "old")
    small = parse({"experiment_id": "x", "control": "old", "expected_shares": {"old": 0.99, "new": 0.01}, "metrics": {"spend": {"role": "success"}}})
    checks = trust.check_units(pd.DataFrame({"customer_id": range(len(spend)), "arm": arm, "spend": spend}), small)
    assert checks.set_index("check_id").loc["doubt_spend", "status"] == "warn"
