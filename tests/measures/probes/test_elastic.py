"""Sparse probes have scikit-learn's optimum and its zeros."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from deepbase.measures.probes.elastic import fit_elastic
from deepbase.measures.probes.logistic import fit_logistic
from deepbase.measures.probes.quadratic import minimize

CASES = [(column, c, r) for column in range(4) for c in (0.02, 1.0) for r in (0.3, 1.0)]


@pytest.mark.parametrize(("column", "c", "l1_ratio"), CASES)
def test_optimum_is_that_of_scikit_learn(rows, column, c, l1_ratio):
    (fit,) = fit_elastic(rows.design, [c], l1_ratio, tolerance=1e-9)
    model = LogisticRegression(C=c, l1_ratio=l1_ratio, solver="saga", tol=1e-7, max_iter=20_000, random_state=0)
    model.fit(rows.x.astype(np.float64), rows.y[:, column])
    best = rows.objective(column, model.coef_[0], model.intercept_[0], c, l1_ratio)
    w = fit.coefficients[column].numpy()
    found = rows.objective(column, w, float(fit.intercept[column]), c, l1_ratio)
    assert found == pytest.approx(float(fit.objective[column]), rel=1e-6)
    assert found <= best * (1 + 1e-6)


@pytest.mark.parametrize(("column", "c", "l1_ratio"), CASES)
def test_result_meets_the_optimality_conditions(rows, column, c, l1_ratio):
    (fit,) = fit_elastic(rows.design, [c], l1_ratio, tolerance=1e-10)
    w, b = fit.coefficients[column].numpy(), float(fit.intercept[column])
    x = rows.x.astype(np.float64)
    residual = 1 / (1 + np.exp(-(x @ w + b))) - rows.y[:, column]
    slope = (x.T @ residual + (1 - l1_ratio) / c * w) * c / l1_ratio
    slack = 2e-2 * max(1, c)
    assert (np.abs(slope[w == 0]) <= 1 + slack).all()
    assert slope[w != 0] == pytest.approx(-np.sign(w[w != 0]), abs=slack)
    assert residual.sum() == pytest.approx(0, abs=1e-2)


def test_l1_gives_the_zeros_of_scikit_learn(rows):
    (fit,) = fit_elastic(rows.design, [0.1], 1.0, tolerance=1e-10)
    for column in range(4):
        model = LogisticRegression(C=0.1, l1_ratio=1, solver="saga", tol=1e-9, max_iter=50_000, random_state=0)
        model.fit(rows.x.astype(np.float64), rows.y[:, column])
        assert 0 < (fit.coefficients[column] != 0).sum() < 20
        assert ((fit.coefficients[column].numpy() != 0) == (np.abs(model.coef_[0]) > 1e-5)).all()


def test_strengths_together_are_strengths_alone(rows):
    strengths = [0.01, 1.0]
    for c, fit in zip(strengths, fit_elastic(rows.design, strengths, 1.0, memory=1), strict=True):
        (alone,) = fit_elastic(rows.design, [c], 1.0)
        assert torch.allclose(fit.objective, alone.objective, rtol=1e-5, equal_nan=True)


def test_strong_penalty_leaves_the_intercept(rows):
    (fit,) = fit_elastic(rows.design, [1e-4], 1.0)
    assert (fit.coefficients[:4] == 0).all()
    share = torch.from_numpy(rows.y[:, :4].mean(0))
    assert torch.allclose(fit.intercept[:4], torch.logit(share), atol=1e-3)


def test_without_l1_it_is_the_l2_probe(rows):
    (fit,) = fit_elastic(rows.design, [1.0], 0.0)
    (same,) = fit_logistic(rows.design, [1.0])
    assert torch.equal(fit.coefficients[:4], same.coefficients[:4])


def test_conventions(rows):
    (fit,) = fit_elastic(rows.design, [1.0], 1.0)
    assert fit.converged.tolist() == fit.fitted.tolist() == [True] * 4 + [False] * 2
    assert torch.isnan(fit.coefficients[4:]).all()
    assert (fit.coefficients[:4, 7] == 0).all()


def test_models_are_solved_from_any_point():
    generator = torch.Generator().manual_seed(1)
    roots = torch.randn(12, 30, 25, generator=generator, dtype=torch.float64)
    curvature = roots.mT @ roots + 0.1 * torch.eye(25, dtype=torch.float64)
    gradient = 20 * torch.randn(12, 25, generator=generator, dtype=torch.float64)
    point = torch.randn(12, 25, generator=generator, dtype=torch.float64)
    lasso = torch.linspace(0.1, 20, 12, dtype=torch.float64)
    here, lowered = minimize(curvature, gradient, point, lasso)
    value = ((here - point) * (gradient + (curvature @ (here - point)[..., None])[..., 0] / 2)).sum(1)
    value += lasso * (here[:, :-1].abs() - point[:, :-1].abs()).sum(1)
    assert torch.allclose(value, -lowered, rtol=1e-9)
    for _ in range(200):
        nearby = here + 1e-2 * torch.randn(12, 25, generator=generator, dtype=torch.float64)
        other = ((nearby - point) * (gradient + (curvature @ (nearby - point)[..., None])[..., 0] / 2)).sum(1)
        other += lasso * (nearby[:, :-1].abs() - point[:, :-1].abs()).sum(1)
        assert (other >= value - 1e-2 * lowered).all()
