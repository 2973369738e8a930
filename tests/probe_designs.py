"""Designs with all that probes meet: correlated, sparse, heavy-tailed and constant units, rare, absent and constant
hypotheses; and their textbook matrices in float64.
"""

from __future__ import annotations

import numpy as np
import torch

from deepbase.measures.probes.design import Design

BOTH = ["half", "linear", "rare", "separable"]
"""Boolean hypotheses of which both classes occur."""
BOOLEAN = [*BOTH, "none", "all"]


def design_of(x, y, sizes=(100, 7, 64)):
    """A design of these rows, in chunks of these sizes in turn."""
    x, y = (torch.as_tensor(a).float() for a in (x, y))
    y = y[:, None] if y.ndim == 1 else y

    def read():
        first, turn = 0, 0
        while first < len(x):
            end = first + sizes[turn % len(sizes)]
            yield x[first:end], y[first:end]
            first, turn = end, turn + 1

    return Design(read, len(x), x.shape[1], y.shape[1])


def standardized(x):
    spread = x.std(0)
    return ((x - x.mean(0)) / np.where(spread > 0, spread, 1)).astype(np.float32)


def units(rows, seed=0):
    """float32[row, 12]: four independent ones, two nearly the first, a sum, a sparse one, two with heavy tails, one
    that is saturated, and a constant.
    """
    rng = np.random.default_rng(seed)
    free = rng.normal(size=(rows, 4))
    near = free[:, :1] + 0.03 * rng.normal(size=(rows, 2))
    both = free[:, 1:3].sum(1, keepdims=True) + 0.2 * rng.normal(size=(rows, 1))
    sparse = np.maximum(rng.normal(size=(rows, 1)) - 1.5, 0)
    heavy = rng.standard_t(3, size=(rows, 2))
    saturated = np.tanh(5 * free[:, 3:] + rng.normal(size=(rows, 1)))
    return standardized(np.hstack([free, near, both, sparse, heavy, saturated, np.full((rows, 1), 3.0)]))


def labels(x, seed=0):
    """The hypotheses by name, float64[row]: booleans, and the numbers `number`, `far` and `constant`."""
    rng = np.random.default_rng(seed + 1)
    rows = len(x)
    signal = x[:, :3] @ [1.0, -2.0, 0.5]
    rare = np.zeros(rows)
    rare[rng.choice(rows, max(rows // 60, 2), replace=False)] = 1
    number = signal + rng.normal(size=rows)
    return {
        "half": (rng.random(rows) < 0.5).astype(float),
        "linear": (signal + rng.normal(size=rows) > 0).astype(float),
        "rare": rare,
        "separable": (x[:, 3] > 0.4).astype(float),
        "none": np.zeros(rows),
        "all": np.ones(rows),
        "number": number,
        "far": 1000 + 5 * number,
        "constant": np.full(rows, 2.5),
    }


def problem(rows=400, names=BOTH, seed=0, kept=slice(None)):
    """A design, and float64 of its units and hypotheses. `kept` is which units."""
    x = units(rows, seed)
    y = labels(x, seed)
    y = np.stack([y[n] for n in names], axis=1)
    x = x[:, kept]
    return design_of(x, y), x.astype(np.float64), y.astype(np.float32).astype(np.float64)


def close(ours, theirs, tolerance=1e-5):
    """Equal, as float64, up to a tolerance relative to the largest value where that is above 1."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.dtype == np.float64
    assert ours.shape == theirs.shape
    scale = max(1.0, np.abs(theirs[np.isfinite(theirs)]).max(initial=0))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * scale)
