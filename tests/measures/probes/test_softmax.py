"""The softmax probe has the optimum of scikit-learn's multinomial regression."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from deepbase.measures.probes.softmax import fit_softmax


@pytest.fixture(scope="module")
def classes(rows):
    rng = np.random.default_rng(3)
    logits = rows.x @ rng.standard_normal((20, 4)) * 0.4 + np.array([1.0, 0.5, 0.0, -2.0])
    return (logits + rng.gumbel(size=logits.shape)).argmax(1)


def _one_hot(rows, classes, count):
    return replace(rows, y=np.eye(count)[classes])


def _objective(rows, classes, w, b, c):
    z = rows.x.astype(np.float64) @ w.T + b
    return np.logaddexp.reduce(z, axis=1).sum() - z[np.arange(len(z)), classes].sum() + (w * w).sum() / 2 / c


@pytest.mark.parametrize("c", [0.01, 1.0, 100.0])
def test_optimum_is_that_of_scikit_learn(rows, classes, c):
    fit = fit_softmax(_one_hot(rows, classes, 4).design, c, tolerance=1e-9)
    model = LogisticRegression(C=c, tol=1e-10, max_iter=10_000).fit(rows.x.astype(np.float64), classes)
    best = _objective(rows, classes, model.coef_, model.intercept_, c)
    assert fit.converged
    assert _objective(rows, classes, fit.coefficients.numpy(), fit.intercept.numpy(), c) == pytest.approx(
        best, rel=1e-6
    )
    assert fit.objective == pytest.approx(best, rel=1e-6)
    assert float(fit.intercept.sum()) == pytest.approx(0, abs=1e-9)
    assert (fit.coefficients[:, 7] == 0).all()


def test_two_classes_are_one_logistic_probe_of_twice_the_strength(rows):
    two = rows.y[:, 0].astype(int)
    fit = fit_softmax(_one_hot(rows, two, 2).design, 1.0, tolerance=1e-9)
    model = LogisticRegression(C=2.0, tol=1e-10, max_iter=10_000).fit(rows.x.astype(np.float64), two)
    found = (fit.coefficients[1] - fit.coefficients[0]).numpy()
    assert found == pytest.approx(model.coef_[0], abs=2e-3 * np.abs(model.coef_).max())


def test_class_without_a_row_is_left_out(rows, classes):
    fit = fit_softmax(_one_hot(rows, classes, 5).design, 1.0)
    without = fit_softmax(_one_hot(rows, classes, 4).design, 1.0)
    assert torch.isnan(fit.coefficients[4]).all()
    assert math.isnan(float(fit.intercept[4]))
    assert torch.allclose(fit.coefficients[:4], without.coefficients)


@pytest.mark.parametrize("count", [0, 1, 700])
def test_less_than_two_classes_cannot_be_fitted(rows, count):
    one = replace(rows, x=rows.x[:count], y=np.eye(3)[np.zeros(count, dtype=int)])
    fit = fit_softmax(one.design, 1.0)
    assert torch.isnan(fit.coefficients).all()
    assert math.isnan(fit.objective)
    assert not fit.converged
