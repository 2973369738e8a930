"""Logistic probes have scikit-learn's optimum, whatever the chunks, the strengths beside and the memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from deepbase.measures.probes.logistic import fit_logistic

FITTED = range(4)
STRENGTHS = [0.01, 1.0, 100.0]


def _reference(rows, column, c):
    model = LogisticRegression(C=c, solver="newton-cholesky", tol=1e-12, max_iter=1000)
    model.fit(rows.x.astype(np.float64), rows.y[:, column])
    return model.coef_[0], model.intercept_[0]


@pytest.mark.parametrize("c", STRENGTHS)
@pytest.mark.parametrize("column", FITTED)
def test_optimum_is_that_of_scikit_learn(rows, column, c):
    (fit,) = fit_logistic(rows.design, [c], tolerance=1e-9)
    w, b = _reference(rows, column, c)
    best = rows.objective(column, w, b, c)
    found = rows.objective(column, fit.coefficients[column].numpy(), float(fit.intercept[column]), c)
    assert found == pytest.approx(best, rel=2e-7)
    assert float(fit.objective[column]) == pytest.approx(best, rel=1e-6)
    assert fit.coefficients[column].numpy() == pytest.approx(w, abs=2e-3 * np.abs(w).max())


def test_default_tolerance_bounds_the_gap(rows):
    for c, fit in zip(STRENGTHS, fit_logistic(rows.design, STRENGTHS), strict=True):
        assert fit.converged[:4].all()
        for column in FITTED:
            best = rows.objective(column, *_reference(rows, column, c), c)
            assert float(fit.objective[column]) <= best * (1 + 1e-5)


def test_strengths_together_are_strengths_alone(rows):
    together = fit_logistic(rows.design, STRENGTHS, tolerance=1e-9)
    for c, fit in zip(STRENGTHS, together, strict=True):
        (alone,) = fit_logistic(rows.design, [c], tolerance=1e-9)
        assert torch.allclose(fit.objective, alone.objective, rtol=1e-6, equal_nan=True)


@pytest.mark.parametrize("chunk", [1, 37, 700])
def test_chunks_make_no_difference(rows, chunk):
    (fit,) = fit_logistic(replace(rows, chunk=chunk).design, [1.0])
    (other,) = fit_logistic(rows.design, [1.0])
    assert torch.allclose(fit.coefficients, other.coefficients, rtol=1e-3, atol=1e-4, equal_nan=True)


def test_probes_wait_where_memory_is_short(rows):
    (short,) = fit_logistic(rows.design, [1.0], memory=1)
    (fit,) = fit_logistic(rows.design, [1.0])
    assert torch.allclose(fit.objective, short.objective, rtol=1e-5, equal_nan=True)


def test_one_pass_is_for_all(rows):
    counted = replace(rows, reads=0)
    fits = fit_logistic(counted.design, STRENGTHS)
    assert counted.reads == 1 + max(int(fit.passes.max()) for fit in fits)


def test_separable_hypothesis_has_finite_weights(rows):
    (fit,) = fit_logistic(rows.design, [1e4])
    assert torch.isfinite(fit.coefficients[3]).all()
    z = rows.x @ fit.coefficients[3].numpy() + float(fit.intercept[3])
    assert ((z > 0) == rows.y[:, 3]).all()


def test_hypothesis_without_two_classes_is_not_fitted(rows):
    (fit,) = fit_logistic(rows.design, [1.0])
    assert fit.fitted.tolist() == [True] * 4 + [False] * 2
    assert torch.isnan(fit.coefficients[4:]).all()
    assert torch.isnan(fit.intercept[4:]).all()
    assert not fit.converged[4:].any()
    assert fit.passes[4:].tolist() == [0, 0]


def test_unit_that_is_0_has_weight_0(rows):
    (fit,) = fit_logistic(rows.design, [1.0])
    assert (fit.coefficients[:4, 7] == 0).all()


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_rows(rows, count):
    few = replace(rows, x=rows.x[:count], y=rows.y[:count])
    for fit in fit_logistic(few.design, STRENGTHS):
        assert fit.coefficients.shape == (6, 20)
        assert not fit.fitted.any()


def test_two_rows(rows):
    few = replace(rows, x=rows.x[:2], y=np.array([[0.0], [1.0]]))
    (fit,) = fit_logistic(few.design, [1.0])
    model = LogisticRegression(C=1.0, tol=1e-10).fit(few.x.astype(np.float64), few.y[:, 0])
    assert fit.coefficients[0].numpy() == pytest.approx(model.coef_[0], abs=1e-3)


def test_giving_up_is_said(rows):
    (fit,) = fit_logistic(rows.design, [1.0], max_passes=2)
    assert fit.converged.tolist() == [False, True, False, False, False, False]
    assert torch.isfinite(fit.objective[:4]).all()
    assert fit.passes[:4].tolist() == [2] * 4
