"""The ranker's logistic regression against scikit-learn's, whose minimum it must find."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from reclib.ranking.newton import fit_logistic


def cases(n: int, n_columns: int, *, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    design = rng.normal(size=(n, n_columns)) * scale
    label = (rng.random(n) < 1 / (1 + np.exp(3 - 2 * design[:, 0] / scale))).astype(float)
    return design, label, rng.choice([1.0, 20.0], n)


@pytest.mark.parametrize(("scale", "strength"), [(1.0, 0.01), (1.0, 100.0), (1e-3, 0.01), (1e3, 1.0)])
def test_the_minimum_is_that_of_scikit_learn(scale, strength):
    design, label, weight = cases(2_000, 30, scale=scale)
    peer = LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-12, max_iter=200).fit(design, label, sample_weight=weight)
    coefficients, intercept = fit_logistic(design, label, weight, strength=strength)
    assert design @ coefficients + intercept == pytest.approx(peer.decision_function(design), abs=1e-7)


def test_columns_that_repeat_share_what_they_say():
    design, label, weight = cases(500, 1)
    coefficients, _ = fit_logistic(np.repeat(design, 2, axis=1), label, weight, strength=1.0)
    assert coefficients[0] == pytest.approx(coefficients[1], abs=1e-9)


def test_labels_of_one_kind_give_a_certain_answer_and_no_error():
    design, _, weight = cases(200, 3)
    coefficients, intercept = fit_logistic(design, np.ones(200), weight, strength=1.0)
    assert intercept > 10 and np.abs(coefficients).max() < 1e-3
