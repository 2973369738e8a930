"""Sparse probes choose as they say, and their fits are scikit-learn's logistic regressions on the chosen units."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from probe_designs import BOOLEAN, BOTH, close, design_of, labels, problem, standardized
from sklearn.linear_model import LogisticRegression

from deepbase.measures.probes import newton
from deepbase.measures.probes.newton import logistic_on
from deepbase.measures.probes.sparse import SIZES, sparse


def reference(x, y, penalty=1.0):
    fit = LogisticRegression(C=1 / penalty, solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(x, y)
    return fit.coef_[0], fit.intercept_[0]


def difference(x, y):
    return np.abs(x[y == 1].mean(0) - x[y == 0].mean(0))


@pytest.mark.parametrize("penalty", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("rows", [400, 3000])
def test_fits_on_the_units_farthest_apart_are_those_of_scikit_learn(penalty, rows):
    design, x, y = problem(rows)
    found = sparse(design, (1, 2, 4, 8, 16), penalty)
    assert list(found) == [1, 2, 4, 8, 12]
    for k, probe in found.items():
        for h in range(len(BOTH)):
            chosen = probe.units[h].numpy()
            far = difference(x, y[:, h])
            close(far[chosen], np.sort(far)[::-1][:k].copy())
            coefficients, intercept = reference(x[:, chosen], y[:, h], penalty)
            close(probe.coefficients[h], coefficients)
            close(probe.intercept[h], intercept)


def test_adaptive_thresholding_keeps_the_units_with_the_largest_coefficients():
    design, x, y = problem(1000)
    found = sparse(design, (1, 2, 4, 8), adaptive=True)
    for h in range(len(BOTH)):
        chosen = np.argsort(-difference(x, y[:, h]), kind="stable")[:8]
        for k in (8, 4, 2, 1):
            assert sorted(found[k].units[h].tolist()) == sorted(chosen)
            coefficients, intercept = reference(x[:, chosen], y[:, h])
            order = found[k].units[h].tolist()
            close(found[k].coefficients[h], coefficients[[chosen.tolist().index(u) for u in order]])
            close(found[k].intercept[h], intercept)
            chosen = chosen[np.argsort(-np.abs(coefficients), kind="stable")[: k // 2]]


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_dense_probe_may_say_where_to_begin(adaptive):
    design, *_ = problem(400)
    weights = torch.zeros(4, 12, dtype=torch.float64)
    weights[:, [9, 2, 7]] = torch.tensor([-3.0, 2.0, 1.0]).double()
    found = sparse(design, (2,), adaptive=adaptive, dense=lambda d: (weights, weights[:, 0]))
    assert found[2].units.tolist() == [[9, 2]] * 4


def test_of_64_units_all_sizes_are_fitted():
    rng = np.random.default_rng(0)
    x = standardized(rng.normal(size=(500, 80)) @ rng.normal(size=(80, 80)))
    y = (x[:, 0] + x[:, 40] + rng.normal(size=500) > 0).astype(float)
    found = sparse(design_of(x, y))
    assert tuple(found) == SIZES
    for probe in found.values():
        coefficients, intercept = reference(x[:, probe.units[0].numpy()].astype(float), y)
        close(probe.coefficients[0], coefficients)
        close(probe.intercept[0], intercept)
    units = found[64].units[0].tolist()
    weights, _ = found[2].weights(80)
    assert weights[0].nonzero()[:, 0].tolist() == sorted(units[:2])
    assert weights[0, units[:2]].tolist() == found[2].coefficients[0].tolist()


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_hypothesis_of_one_class_is_predicted_as_that_class_and_changes_nothing_for_the_others(adaptive):
    design, *_ = problem(400, BOOLEAN)
    alone, *_ = problem(400, BOTH)
    found, without = sparse(design, (1, 4), adaptive=adaptive), sparse(alone, (1, 4), adaptive=adaptive)
    for k in (1, 4):
        assert not found[k].coefficients[-2:].any()
        assert found[k].intercept[-2:].tolist() == [-np.inf, np.inf]
        close(found[k].coefficients[:-2], without[k].coefficients, 1e-9)


@pytest.mark.parametrize("penalty", [0.01, 1.0])
def test_steps_that_go_too_far_are_taken_back(penalty):
    """One outlier is enough to send plain Newton steps away."""
    for seed in (0, 12, 30, 42, 56):
        x, y = outlier(seed)
        positives = torch.tensor([y.sum()])
        ((w, b),) = logistic_on(design_of(x, y), [torch.arange(3)[None]], positives, penalty)
        error = torch.sigmoid(torch.tensor(x).double() @ w[0] + b).numpy() - y
        slope = np.append(x.T.astype(float) @ error + penalty * w[0].numpy(), error.sum())
        close(slope, np.zeros(4), 1e-6)


def outlier(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(30, 3))
    x[-1] = 300 * rng.normal(size=3)
    x = standardized(x)
    return x, (x[:, 0] - x[:, 1] + 0.2 * rng.normal(size=30) > 0).astype(float)


def test_rows_that_are_not_finite_end_without_an_error():
    ((coefficients, _),) = logistic_on(
        design_of([[np.inf], [1.0], [np.nan]], [0, 1, 0]), [torch.zeros(1, 1).long()], torch.ones(1).double()
    )
    assert coefficients.shape == (1, 1)


def test_gathering_in_small_portions_gives_the_same(monkeypatch):
    design, *_ = problem(1000)
    whole = sparse(design, (4,))[4]
    monkeypatch.setattr(newton, "GATHERED", 1)
    close(sparse(design, (4,))[4].coefficients, whole.coefficients, 1e-9)


def test_fewer_rows_than_units_are_no_obstacle():
    rng = np.random.default_rng(0)
    x = standardized(rng.normal(size=(20, 50)))
    y = labels(x)["separable"]
    probe = sparse(design_of(x, y), (32,))[32]
    coefficients, intercept = reference(x[:, probe.units[0].numpy()].astype(float), y)
    close(probe.coefficients[0], coefficients)
    close(probe.intercept[0], intercept)
