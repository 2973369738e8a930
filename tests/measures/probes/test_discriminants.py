"""Discriminants are scikit-learn's, and mass-mean probes those of their definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from probe_designs import BOOLEAN, BOTH, close, design_of, labels, problem, units
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from deepbase.measures.probes.discriminant import lda, mass_mean, mass_mean_iid
from deepbase.measures.probes.gram import gram, sums
from deepbase.measures.probes.rows import linear_predictor

VARYING = slice(0, 11)


def within(x, y):
    """The covariance within the classes."""
    return sum((y == c).mean() * np.cov(x[y == c].T, bias=True) for c in (0, 1))


@pytest.mark.parametrize("solver", ["lsqr", "eigen"])
@pytest.mark.parametrize("shrinkage", [None, 1e-3, 0.3, 1.0])
@pytest.mark.parametrize("rows", [400, 3000])
def test_lda_is_that_of_scikit_learn(solver, shrinkage, rows):
    design, x, y = problem(rows, BOTH, kept=VARYING)
    coefficients, intercept = lda(gram(design), shrinkage or 0.0)
    for h in range(len(BOTH)):
        reference = LinearDiscriminantAnalysis(solver=solver, shrinkage=shrinkage).fit(x, y[:, h])
        close(coefficients[h], reference.coef_[0])
        close(intercept[h], reference.intercept_[0])


@pytest.mark.parametrize("shrinkage", [0.0, 0.2])
def test_constant_and_doubled_units_are_no_obstacle(shrinkage):
    x = units(400)
    x[:, 5] = x[:, 2]
    y = labels(x)["linear"]
    reference = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage or None).fit(x.astype(float), y)
    coefficients, intercept = lda(gram(design_of(x, y)), shrinkage)
    close(coefficients[0], reference.coef_[0])
    close(intercept[0], reference.intercept_[0])
    close(coefficients[0, 5], coefficients[0, 2])


@pytest.mark.parametrize("shrinkage", [0.1, 0.9])
def test_fewer_rows_than_units_are_no_obstacle_with_a_shrinkage(shrinkage):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 50)).astype(np.float32), np.arange(20) % 2
    reference = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(x.astype(float), y)
    close(lda(gram(design_of(x, y)), shrinkage)[0][0], reference.coef_[0])


def test_where_no_variance_is_left_within_the_classes_the_direction_is_that_of_a_vanishing_shrinkage():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 50)).astype(np.float32), np.arange(20) % 2
    coefficients, intercept = lda(gram(design_of(x, y)))
    reference = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=1e-8).fit(x.astype(float), y).coef_[0]
    ours = coefficients[0].numpy()
    assert ours @ reference / np.linalg.norm(ours) / np.linalg.norm(reference) == pytest.approx(1, abs=1e-6)
    predicted = linear_predictor((coefficients, intercept))(torch.from_numpy(x))[:, 0] > 0
    assert predicted.tolist() == y.astype(bool).tolist()


def test_mass_mean_is_the_difference_of_the_means_with_the_threshold_between_them():
    design, x, y = problem(400, BOTH)
    coefficients, intercept = mass_mean(sums(design))
    for h in range(len(BOTH)):
        m1, m0 = x[y[:, h] == 1].mean(0), x[y[:, h] == 0].mean(0)
        close(coefficients[h], m1 - m0)
        close(intercept[h], -(m1 - m0) @ (m1 + m0) / 2)


def test_mass_mean_iid_takes_the_inverse_covariance_within_the_classes():
    design, x, y = problem(400, BOTH, kept=VARYING)
    coefficients, intercept = mass_mean_iid(gram(design))
    for h in range(len(BOTH)):
        m1, m0 = x[y[:, h] == 1].mean(0), x[y[:, h] == 0].mean(0)
        w = np.linalg.solve(within(x, y[:, h]), m1 - m0)
        close(coefficients[h], w)
        close(intercept[h], -w @ (m1 + m0) / 2)


@pytest.mark.parametrize("fit", [lda, mass_mean_iid, lambda g: mass_mean(g.sums), lambda g: lda(g, 0.5)])
def test_a_hypothesis_of_one_class_is_predicted_as_that_class(fit):
    design, *_ = problem(400, BOOLEAN)
    coefficients, intercept = fit(gram(design))
    assert not coefficients[-2:].any()
    assert intercept[-2:].tolist() == [-np.inf, np.inf]
    assert coefficients[:-2].isfinite().all()


@pytest.mark.parametrize("fit", [lda, mass_mean_iid, lambda g: lda(g, 0.5)])
def test_no_rows_and_infinite_units_give_nan_and_units_that_are_all_constant_zero(fit):
    empty = gram(design_of(np.zeros((0, 3)), np.zeros((0, 2))))
    broken = gram(design_of([[np.inf], [1.0]], [0, 1]))
    for g in (empty, broken):
        assert fit(g)[0].isnan().all()
        assert fit(g)[1].isnan().all()
    flat = fit(gram(design_of(np.zeros((4, 3)), [0, 1, 0, 1])))
    assert not flat[0].any()
    assert flat[1].tolist() == [0]
