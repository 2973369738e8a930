"""CCA and CKA from products of units are those from the whole matrices."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from probe_designs import close, design_of, standardized, units
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score

from deepbase.measures.probes import similarity
from deepbase.measures.probes.gram import gram
from deepbase.measures.probes.similarity import Cca, Components, Products, alignment, explained


def two_layers(rows=500, seed=0, noise=0.7):
    """Two sets of units that share something, about their means; float64."""
    rng = np.random.default_rng(seed)
    x = units(rows, seed)[:, :11].astype(float)
    y = x[:, :4] @ rng.normal(size=(4, 7)) + noise * rng.normal(size=(rows, 7))
    return x - x.mean(0), y - y.mean(0)


def cca(x, y, variance=1.0):
    g = gram(design_of(x, y))
    xx, yx, yy = g.scatter()
    a, b = (Components.of(s, g.tolerance, variance) for s in (xx, yy))
    return Cca.of(a, b, yx), a, b


def cka(x, y, unbiased=False):
    def reader(values):
        def read(units):
            yield from torch.from_numpy(values[:, units].astype(np.float32)).split(64)

        return read

    def products(a, b):
        group = torch.arange(len(a)) % 5
        return Products.of(reader(a), reader(b), (a.shape[1], b.shape[1]), group, unbiased=unbiased)

    both, own = products(x, y), [products(a, a).whole for a in (x, y)]
    return alignment(both.whole, *own), both


def textbook(x, y):
    """Canonical correlations from orthonormal bases of the column spaces."""
    bases = [scipy.linalg.orth(a - a.mean(0), rcond=1e-6) for a in (x, y)]
    return np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)


def hsic(a, b):
    """The unbiased estimator from kernel matrices, Song et al. 2012, eq. 5."""
    n = len(a)
    k, m = (z @ z.T * (1 - np.eye(n)) for z in (a, b))
    last = 2 / (n - 2) * (k @ m).sum()
    return (np.trace(k @ m) + k.sum() * m.sum() / ((n - 1) * (n - 2)) - last) / (n * (n - 3))


@pytest.mark.parametrize("rows", [500, 5000])
def test_canonical_correlations_are_those_from_qr_and_svd(rows):
    x, y = two_layers(rows)
    bases = [np.linalg.qr(a - a.mean(0))[0] for a in (x, y)]
    close(cca(x, y)[0].correlations, np.linalg.svd(bases[0].T @ bases[1], compute_uv=False))


def test_constant_and_dependent_units_do_not_count():
    x = units(500)
    x[:, 10] = standardized(x[:, :2].sum(1, keepdims=True))[:, 0]
    x[:, 9] = x[:, 3]
    y = x[:, [0, 3, 3, 11]]
    close(cca(x, y)[0].correlations, np.ones(2))
    assert len(textbook(x.astype(float), y.astype(float))) == 2


@pytest.mark.parametrize("seed", range(5))
def test_no_correlation_is_above_one(seed):
    x = units(200, seed)
    found = cca(x, x[:, :5])[0].correlations
    close(found, np.ones(5), 1e-9)
    assert found.max() <= 1


def test_svcca_keeps_the_principal_components_that_hold_most_of_the_variance():
    x, y = two_layers()
    reduced = []
    for a in (x, y):
        left, values, _ = np.linalg.svd(a, full_matrices=False)
        kept = np.searchsorted(np.cumsum(values**2) / np.sum(values**2), 0.95) + 1
        assert kept < a.shape[1]
        reduced.append(left[:, :kept] * values[:kept])
    close(cca(x, y, variance=0.95)[0].correlations, textbook(*reduced))


def test_pwcca_weights_the_correlations_by_what_they_account_for_in_either_group():
    x, y = two_layers()
    qx, qy = np.linalg.qr(x)[0], np.linalg.qr(y)[0]
    left, _, right = np.linalg.svd(qx.T @ qy, full_matrices=False)
    found, *sides = cca(x, y)
    for group, (a, q, turn) in enumerate(((x, qx, left), (y, qy, right.T))):
        shares = np.abs((q @ turn).T @ a).sum(1)
        close(found.weights(sides[group], group), shares / shares.sum())


def test_cca_does_not_change_with_the_coordinates_of_either_set():
    x, y = two_layers()
    turn = np.random.default_rng(1).normal(size=(7, 7))
    close(cca(x, y @ turn)[0].correlations, cca(x, y)[0].correlations)


def test_directions_are_tried_on_other_symbols():
    x, y = two_layers(1000)
    learned, other = slice(0, 300), slice(300, None)
    found, *_ = cca(*(a[learned] - a[learned].mean(0) for a in (x, y)))
    variates = x[other] @ found.first.numpy(), y[other] @ found.second.numpy()
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(variates[0].T, variates[1].T, strict=True)]
    means = [a[learned].mean(0) for a in (x, y)]
    close(found.on(gram(design_of(*(a[other] - m for a, m in zip((x, y), means, strict=True))))), expected)


@pytest.mark.parametrize("held_out", [False, True])
def test_a_unit_is_explained_as_a_regression_on_the_other_group_explains_it(held_out):
    x, y = two_layers(1000)
    learned = slice(0, 300)
    other = slice(300, None) if held_out else learned
    means = [a[learned].mean(0) for a in (x, y)]
    _, _, components = cca(*(a[learned] - m for a, m in zip((x, y), means, strict=True)))
    cross = gram(design_of(*(a[learned] - m for a, m in zip((x, y), means, strict=True)))).sums.xy
    others = gram(design_of(*(a[other] - m for a, m in zip((x, y), means, strict=True))))
    predicted = LinearRegression().fit(y[learned], x[learned]).predict(y[other])
    expected = r2_score(x[other], predicted, multioutput="raw_values")
    close(explained(components, cross, others), expected)


@pytest.mark.parametrize("panel", [3, 2048])
def test_cka_is_that_of_the_kernel_matrices_however_the_units_are_cut(monkeypatch, panel):
    monkeypatch.setattr(similarity, "PANEL", panel)
    x, y = two_layers()
    expected = ((x @ x.T) * (y @ y.T)).sum() / np.linalg.norm(x @ x.T) / np.linalg.norm(y @ y.T)
    found, both = cka(x, y)
    assert found == pytest.approx(expected, abs=1e-6)
    close(both.first, np.square(y.T @ x).sum(0), 1e-6 * float(both.whole))
    close(both.second, np.square(y.T @ x).sum(1), 1e-6 * float(both.whole))
    assert cka(x, x)[0] == pytest.approx(1)
    assert cka(x, 3 * x @ np.linalg.qr(np.random.default_rng(0).normal(size=(11, 11)))[0])[0] > 1 - 1e-6


@pytest.mark.parametrize("rows", [4, 12, 500])
def test_unbiased_cka_is_that_of_the_unbiased_estimator(rows):
    x, y = two_layers(rows)
    found, both = cka(x, y, unbiased=True)
    assert found == pytest.approx(hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y)), abs=1e-6)
    assert float(both.second.sum()) == pytest.approx(both.whole)


def test_of_independent_units_only_the_unbiased_cka_is_about_zero():
    rng = np.random.default_rng(0)
    x, y = (a - a.mean(0) for a in rng.normal(size=(2, 100, 50)))
    assert cka(x, y)[0] > 0.2
    assert abs(cka(x, y, unbiased=True)[0]) < 0.1


def test_without_variation_there_is_no_similarity():
    x, y = np.eye(9)[:, :3], np.zeros((9, 2))
    assert np.isnan(cka(x, y)[0])
    assert np.isnan(cka(x, y, unbiased=True)[0])
    assert len(cca(x, y)[0].correlations) == 0
