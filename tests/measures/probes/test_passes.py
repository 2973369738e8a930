"""One pass gives losses, gradients and Hessians of all probes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from deepbase.measures.probes.passes import BLOCK, blocks, evaluate


def _at(rows, seed=0):
    points = torch.randn(4, 21, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x = np.hstack([rows.x.astype(np.float64), np.ones((len(rows.x), 1))])
    return points, x, x @ points.numpy().T


def test_losses_and_gradients_are_the_textbook_ones(rows):
    points, x, z = _at(rows)
    seen = evaluate(rows.design, points, torch.arange(4), [0] * 4)
    loss = np.logaddexp(0, z).sum(0) - (z * rows.y[:, :4]).sum(0)
    assert seen.value.numpy() == pytest.approx(loss, rel=1e-6)
    gradient = (1 / (1 + np.exp(-z)) - rows.y[:, :4]).T @ x
    assert seen.gradient.numpy() == pytest.approx(gradient, rel=1e-4, abs=1e-2)
    assert seen.curvature == [None] * 4


def _hessians(x, z):
    p = 1 / (1 + np.exp(-z))
    return np.stack([(x * (p * (1 - p))[:, [i]]).T @ x for i in range(z.shape[1])])


def test_hessian_of_all_rows_is_exact(rows):
    points, x, z = _at(rows)
    seen = evaluate(rows.design, points, torch.arange(4), [10**9, 0, 10**9, 0])
    expected = _hessians(x, z)
    assert seen.curvature[1] is None
    for i in (0, 2):
        assert seen.curvature[i].numpy() == pytest.approx(expected[i], abs=1e-5 * np.abs(expected[i]).max())


def test_hessian_of_a_sample_is_near(rows):
    points, x, z = _at(rows)
    seen = evaluate(rows.design, points / 10, torch.arange(4), [300] * 4)
    for found, expected in zip(seen.curvature, _hessians(x, z / 10), strict=True):
        assert np.linalg.norm(found.numpy() - expected) < 0.2 * np.linalg.norm(expected)


def test_blocks_are_the_rows_in_order():
    from deepbase.measures.probes.design import Design

    sizes = [3, BLOCK - 3, 1, 2 * BLOCK + 5, 7]
    ends = np.cumsum(sizes)
    x = torch.arange(float(ends[-1]))[:, None]
    read = [(x[e - n : e], x[e - n : e] % 2) for e, n in zip(ends, sizes, strict=True)]
    found = list(blocks(Design(lambda: iter(read), len(x), 1, 1)))
    assert torch.equal(torch.cat([units for units, _ in found]), x)
    assert torch.equal(torch.cat([labels for _, labels in found]), x % 2)
    assert max(len(units) for units, _ in found) <= BLOCK
    assert len(found) <= 6


def test_sure_rows_keep_their_share_of_the_gradient(rows):
    """A float32 `p - y` would be 0 there."""
    sure = replace(rows, x=np.array([[1.0]] * 4, dtype=np.float32), y=np.ones((4, 1)))
    seen = evaluate(sure.design, torch.tensor([[30.0, 0.0]], dtype=torch.float64), torch.tensor([0]), [0])
    assert seen.gradient[0].numpy() == pytest.approx([-4 * np.exp(-30.0)] * 2, rel=1e-5)
    assert float(seen.value[0]) == pytest.approx(4 * np.exp(-30.0), rel=1e-5)
