"""Ridge regression from a Gram matrix is scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from probe_designs import close, design_of, labels, problem, standardized, units
from sklearn.linear_model import LinearRegression, Ridge

from deepbase.measures.probes.gram import gram, solve, sums
from deepbase.measures.probes.linear import ridge
from deepbase.measures.probes.rows import batches, columns, part, portions, where

NUMBERS = ["number", "far", "constant", "half", "rare"]


def check(fit, x, y, alpha):
    for h in range(y.shape[1]):
        reference = Ridge(alpha=alpha, solver="svd").fit(x, y[:, h])
        close(fit[0][h], reference.coef_)
        close(fit[1][h], reference.intercept_)


@pytest.mark.parametrize("alpha", [0.01, 1, 1000])
@pytest.mark.parametrize("rows", [400, 5000, 8])
def test_ridge_is_that_of_scikit_learn(alpha, rows):
    design, x, y = problem(rows, NUMBERS)
    check(ridge(gram(design), alpha), x, y, alpha)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rows", [400, 8])
def test_without_a_penalty_the_solution_of_least_norm_is_found(rows, seed):
    x = units(rows, seed)
    x[:, 4] = x[:, 0]
    y = labels(x)["number"].astype(np.float32)
    reference = LinearRegression().fit(x.astype(float), y.astype(float))
    fit = ridge(gram(design_of(x, y)), 0)
    close(fit[0][0], reference.coef_)
    close(fit[1][0], reference.intercept_)


def test_a_constant_unit_and_a_constant_hypothesis_have_coefficients_of_zero():
    design, *_ = problem(400, ["number", "constant"])
    coefficients, intercept = ridge(gram(design), 0)
    assert coefficients[0, -1] == 0
    close(coefficients[1], np.zeros(12), 1e-9)
    assert intercept[1].item() == pytest.approx(2.5)


def test_products_in_float32_serve_where_there_is_a_penalty():
    design, x, y = problem(5000, NUMBERS)
    check(ridge(gram(design, torch.float32), 500.0), x, y, 500.0)


def test_a_gram_matrix_holds_the_sums_of_products_and_the_scatter():
    design, x, y = problem(3000, ["number", "half"])
    g = gram(design)
    x, y = x.astype(np.float32).astype(float), y.astype(np.float32).astype(float)
    close(g.xx, x.T @ x, 1e-12)
    close(g.yy, y.T @ y, 1e-12)
    close(g.sums.xy, y.T @ x, 1e-12)
    total = np.cov(np.hstack([x, y]).T, bias=True) * len(x)
    for ours, theirs in zip(g.scatter(), (total[:12, :12], total[12:, :12], total[12:, 12:]), strict=True):
        close(ours, theirs, 1e-12)
    cheap = sums(design)
    close(cheap.xy, y.T @ x, 1e-12)
    close(cheap.x, x.sum(0), 1e-12)
    close(cheap.y, y.sum(0), 1e-12)


def test_many_units_are_multiplied_in_panels():
    x = standardized(np.random.default_rng(0).normal(size=(300, 700)))
    close(gram(design_of(x, x[:, :1])).xx, x.astype(float).T @ x.astype(float), 1e-12)


def test_gram_matrices_merge():
    design, *_ = problem(1000, ["number", "half"])
    first, second = gram(part(design, 0, 333)), gram(part(design, 333, 1000))
    merged, whole = first.merge(second), gram(design)
    assert merged.sums.rows == 1000
    for name in ("xx", "yy"):
        close(getattr(merged, name), getattr(whole, name), 1e-12)
    for name in ("x", "y", "xy"):
        close(getattr(merged.sums, name), getattr(whole.sums, name), 1e-12)
    assert first.merge(gram(design, torch.float32)).products == torch.float32


def test_no_rows_and_infinite_units_give_nan_and_no_error():
    empty = gram(design_of(np.zeros((0, 3)), np.zeros((0, 2))))
    assert empty.xx.shape == (3, 3)
    assert sums(design_of(np.zeros((0, 3)), np.zeros((0, 2)))).xy.shape == (2, 3)
    broken = gram(design_of([[np.inf], [1.0]], [0, 1]))
    for g in (empty, broken):
        fit = ridge(g)
        assert fit[0].isnan().all()
        assert fit[1].isnan().all()


def test_an_ill_conditioned_system_is_solved_in_its_eigenbasis():
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0]
    matrix = (basis * [1, 1e-3, 1e-6, 1e-10, 0]) @ basis.T
    right = matrix @ np.arange(5.0)
    close(matrix @ solve(torch.tensor(matrix), torch.tensor(right)[:, None], 1e-12)[:, 0].numpy(), right, 1e-12)
    assert not solve(torch.zeros(2, 2).double(), torch.ones(2, 1).double(), 1e-12).any()


@pytest.mark.parametrize("size", [1, 30, 1000])
def test_rows_are_read_in_portions_batches_parts_and_columns(size):
    design, x, y = problem(250, ["number", "half", "rare"])
    for reader in (portions, batches):
        chunks = list(reader(design, size))
        assert max(len(c[0]) for c in chunks) <= size
        close(torch.cat([c[0] for c in chunks]).double(), x, 0)
        close(torch.cat([c[1] for c in chunks]).double(), y, 0)
    assert {len(c[0]) for c in list(batches(design, size))[:-1]} <= {size}
    for first, end in ((0, 10), (95, 210), (240, 999), (20, 20)):
        some = part(design, first, end)
        read = torch.cat([torch.zeros(0, 12), *(c[0] for c in some.read())])
        close(read.double(), x[first:end], 0)
        assert some.rows == len(read)
    close(torch.cat([c[1] for c in columns(design, torch.tensor([2, 0])).read()]).double(), y[:, [2, 0]], 0)
    odd = where(design, lambda a, b: torch.arange(a, b) % 3 == 1)
    close(torch.cat([c[0] for c in odd.read()]).double(), x[1::3], 0)
    assert odd.rows == len(x[1::3])
