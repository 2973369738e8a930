"""CCA and CKA from moments are those from the whole matrices."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from probe_designs import close, design_of, standardized, units

from deepbase.measures.probes.gram import gram
from deepbase.measures.probes.rows import part
from deepbase.measures.probes.similarity import cca, cka, cka_debiased, row_norms


def two_layers(rows=500, seed=0, noise=0.7):
    """Two sets of units that share something; the second is not centered. Float64 of what the design holds."""
    rng = np.random.default_rng(seed)
    x = units(rows, seed)[:, :11]
    y = x[:, :4] @ rng.normal(size=(4, 7)) + noise * rng.normal(size=(rows, 7)) + rng.normal(size=7)
    y = y.astype(np.float32)
    return design_of(x, y), x.astype(float), y.astype(float)


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
    design, x, y = two_layers(rows)
    found = cca(gram(design))
    bases = [np.linalg.qr(a - a.mean(0))[0] for a in (x, y)]
    expected = np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)
    close(found.correlations, expected)
    assert found.mean == pytest.approx(expected.mean(), abs=1e-5)


def test_constant_and_dependent_units_do_not_count():
    x = units(500)
    x[:, 10] = standardized(x[:, :2].sum(1, keepdims=True))[:, 0]
    x[:, 9] = x[:, 3]
    y = x[:, [0, 3, 3, 11]]
    found = cca(gram(design_of(x, y)))
    close(found.correlations, np.ones(2))
    assert len(textbook(x.astype(float), y.astype(float))) == 2


@pytest.mark.parametrize("seed", range(5))
def test_no_correlation_is_above_one(seed):
    x = units(200, seed)
    found = cca(gram(design_of(x, x[:, :5]))).correlations
    close(found, np.ones(5), 1e-9)
    assert found.max() <= 1


def test_svcca_keeps_the_principal_components_that_hold_most_of_the_variance():
    design, x, y = two_layers()
    reduced = []
    for a in (x - x.mean(0), y - y.mean(0)):
        left, values, _ = np.linalg.svd(a, full_matrices=False)
        kept = np.searchsorted(np.cumsum(values**2) / np.sum(values**2), 0.95) + 1
        assert kept < a.shape[1]
        reduced.append(left[:, :kept] * values[:kept])
    close(cca(gram(design), variance=0.95).correlations, textbook(*reduced))


def test_pwcca_weights_the_correlations_by_what_they_account_for():
    design, x, y = two_layers()
    x, y = x - x.mean(0), y - y.mean(0)
    qx, qy = np.linalg.qr(x)[0], np.linalg.qr(y)[0]
    left, correlations, _ = np.linalg.svd(qx.T @ qy, full_matrices=False)
    shares = np.abs((qx @ left).T @ x).sum(1)
    found = cca(gram(design))
    close(found.weights, shares / shares.sum())
    assert found.weighted_mean == pytest.approx(np.average(correlations, weights=shares), abs=1e-5)


def test_cca_does_not_change_with_the_coordinates_of_either_set():
    _, x, y = two_layers()
    turn = np.random.default_rng(1).normal(size=(7, 7))
    close(cca(gram(design_of(x, y @ turn))).correlations, cca(gram(design_of(x, y))).correlations)


def test_cka_is_that_of_the_kernel_matrices():
    design, x, y = two_layers()
    center = np.eye(len(x)) - 1 / len(x)
    k, m = (center @ a @ a.T @ center for a in (x, y))
    expected = (k * m).sum() / np.linalg.norm(k) / np.linalg.norm(m)
    assert cka(gram(design)) == pytest.approx(expected, abs=1e-6)
    assert cka(gram(design_of(x, x))) == pytest.approx(1)
    assert cka(gram(design_of(x, 3 * x @ np.linalg.qr(np.random.default_rng(0).normal(size=(11, 11)))[0]))) > 1 - 1e-6


@pytest.mark.parametrize("rows", [4, 12, 500])
def test_debiased_cka_is_that_of_the_unbiased_estimator(rows):
    design, x, y = two_layers(rows)
    g = gram(design)
    found = cka_debiased(g, row_norms(design, g))
    assert found == pytest.approx(hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y)), abs=1e-6)


def test_of_independent_units_only_the_debiased_cka_is_about_zero():
    rng = np.random.default_rng(0)
    design = design_of(rng.normal(size=(100, 50)), rng.normal(size=(100, 50)))
    g = gram(design)
    assert cka(g) > 0.2
    assert abs(cka_debiased(g, row_norms(design, g))) < 0.1


def test_moments_of_parts_merge():
    design, *_ = two_layers()
    whole = gram(design)
    halves = part(design, 0, 111), part(design, 111, 500)
    merged = gram(halves[0]).merge(gram(halves[1]))
    assert cka(merged) == pytest.approx(cka(whole), abs=1e-12)
    close(cca(merged).correlations, cca(whole).correlations, 1e-9)
    a, b = (row_norms(d, whole) for d in halves)
    assert cka_debiased(whole, a.merge(b)) == pytest.approx(cka_debiased(whole, row_norms(design, whole)), abs=1e-12)


@pytest.mark.parametrize(
    "design",
    [
        design_of(np.zeros((0, 3)), np.zeros((0, 2))),
        design_of(np.zeros((9, 3)), np.ones((9, 2))),
        design_of(np.eye(9)[:, :3], np.ones((9, 2))),
        design_of(np.full((9, 3), np.inf), np.ones((9, 2))),
    ],
    ids=["no rows", "constant", "one set constant", "infinite"],
)
def test_without_variation_there_is_no_similarity(design):
    g = gram(design)
    assert np.isnan(cka(g))
    assert np.isnan(cka_debiased(g, row_norms(design, g)))
    assert np.isnan(cca(g).mean)
    assert np.isnan(cca(g).weighted_mean)
    assert isinstance(cca(g).correlations, torch.Tensor)
