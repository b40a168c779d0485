"""Calibrators and the figures that say how far to trust a probability."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reclib.ranking import calibration
from reclib.ranking.calibration import calibrate, expit, logit, quality


def make_answers(n: int, *, slope: float = 1.0, level: float = -2.0, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    raw = rng.normal(level, 1.2, n)
    return raw, (rng.random(n) < expit(slope * raw)).astype(int), np.arange(n) // 10


def test_sigmoid_repairs_a_ranker_that_exaggerates():
    raw, label, group = make_answers(4_000, slope=0.6)
    fitted = calibrate(raw, label, group)
    assert fitted.method == "sigmoid" and fitted.x[0] == pytest.approx(0.6, abs=0.08)
    assert fitted(raw).mean() == pytest.approx(label.mean(), abs=1e-6)


def test_isotonic_is_tried_with_many_responses_and_kept_where_it_is_better():
    rng = np.random.default_rng(2)
    raw = rng.uniform(-3, 3, 20_000)
    label = (rng.random(20_000) < np.where(raw < 0, 0.1, 0.6)).astype(int)
    fitted = calibrate(raw, label, np.arange(20_000) // 10)
    assert set(fitted.brier) == {"sigmoid", "isotonic"} and fitted.method == "isotonic"
    assert fitted(np.array([-1.0]))[0] == pytest.approx(0.1, abs=0.02)


def test_centred_isotonic_keeps_the_order_strict_between_plateaus():
    fitted = calibration._isotonic(np.array([0.0, 1.0, 2.0, 3.0]), np.array([0, 1, 0, 1]))
    assert fitted.x.tolist() == [0.0, 1.5, 3.0] and fitted.y.tolist() == [0.0, 0.5, 1.0]
    assert fitted(np.array([1.0]))[0] == pytest.approx(1 / 3)


@pytest.mark.parametrize("method", [calibration._sigmoid, calibration._isotonic])
def test_a_levelled_calibrator_meets_the_newest_rate_and_keeps_its_slope(method):
    raw, label, _ = make_answers(4_000)
    fitted = method(raw, label)
    moved = fitted.levelled(raw + 0.5, label)
    assert fitted(raw + 0.5).mean() > label.mean() + 0.01
    assert moved(raw + 0.5).mean() == pytest.approx(label.mean(), abs=1e-3)
    inner = np.array([-2.5, -1.5])
    assert np.ptp(logit(moved(inner))) == pytest.approx(np.ptp(logit(fitted(inner))), rel=0.2)
    assert fitted.levelled(raw, np.zeros(len(raw))) is fitted


@pytest.mark.parametrize("label, method", [([0] * 50, "none"), ([1] * 50, "none"), ([1] * 5 + [0] * 45, "shift")])
def test_few_responses_move_the_level_only(label, method):
    fitted = calibrate(np.linspace(-2, 2, 50), np.array(label), np.arange(50))
    assert fitted.method == method
    if method == "shift":
        assert fitted(np.linspace(-2, 2, 50)).mean() == pytest.approx(0.1, abs=1e-6)


def test_a_ranker_turned_upside_down_is_flattened_not_followed():
    raw, label, group = make_answers(3_000, slope=-1.0, level=0.0)
    p = calibrate(raw, label, group)(np.array([-2.0, 2.0]))
    assert p[0] <= p[1] and p[1] - p[0] < 0.01


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(30, 400))
def test_calibrators_never_swap_two_pairs(seed, n):
    raw, label, group = make_answers(n, seed=seed, level=-0.5)
    p = calibrate(raw, label, group)(np.sort(raw))
    assert (np.diff(p) >= 0).all() and ((p > 0) & (p < 1)).all()


def test_reliability_bins_have_equal_counts_and_wilson_intervals():
    table = calibration.reliability(np.array([0.1, 0.2, 0.3, 0.4]), np.array([0, 0, 1, 1]), n_bins=2)
    assert table["n_pairs"].tolist() == [2, 2] and table["observed"].tolist() == [0.0, 1.0]
    assert table["foretold"].tolist() == pytest.approx([0.15, 0.35])
    assert calibration.wilson(1, 10) == pytest.approx((0.0179, 0.4042), abs=1e-4)
    assert calibration.ece(np.array([0.1, 0.2, 0.3, 0.4]), np.array([0, 0, 1, 1]), n_bins=2) == pytest.approx(0.4)


def test_the_null_band_holds_for_true_probabilities():
    inside = 0
    for seed in range(60):
        raw, label, _ = make_answers(2_000, seed=seed)
        low, high = calibration.ece_null(expit(raw), rng=np.random.default_rng(seed))
        inside += low <= calibration.ece(expit(raw), label) <= high
    assert inside >= 50


def test_quality_of_true_and_of_exaggerated_probabilities():
    raw, label, group = make_answers(20_000)
    good = quality(expit(raw), label, group, rng=np.random.default_rng(1))
    assert good["slope_low"] < 1 < good["slope_high"] and abs(good["level"]) < 0.1
    assert calibration.quality_sentence(good).startswith("p_response can be read as a probability")
    bad = quality(expit(2 * raw + 1), label, group, rng=np.random.default_rng(1))
    assert bad["slope"] == pytest.approx(0.5, abs=0.05) and bad["intercept"] == pytest.approx(-0.5, abs=0.1)
    assert "is off in slope and level" in calibration.quality_sentence(bad)


def test_what_cannot_be_judged_is_said():
    few = quality(np.full(30, 0.1), np.r_[1, np.zeros(29)].astype(int), np.arange(30), rng=np.random.default_rng(1))
    assert "slope" not in few and "cannot be judged" in calibration.quality_sentence(few)
    none = quality(np.zeros(0), np.zeros(0, int), np.zeros(0, int), rng=np.random.default_rng(1))
    assert "has no pairs" in calibration.quality_sentence(none)


def test_logit_and_expit_are_inverse():
    assert expit(logit(np.array([0.01, 0.5, 0.9]))) == pytest.approx([0.01, 0.5, 0.9])
