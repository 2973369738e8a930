"""Rows to fit probes on: correlated units, one of them 0 throughout, and hypotheses from common to separable."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from deepbase.measures.probes.design import Chunk, Design

HYPOTHESES = ["half", "noise", "rare", "separable", "never", "always"]


@dataclass
class Rows:
    """Matrices as a design that counts how often it is read."""

    x: np.ndarray
    y: np.ndarray
    chunk: int = 100
    reads: int = 0
    design: Design = field(init=False)

    def __post_init__(self) -> None:
        self.design = Design(self._read, len(self.x), self.x.shape[1], self.y.shape[1])

    def _read(self) -> Iterator[Chunk]:
        self.reads += 1
        for first in range(0, len(self.x), self.chunk):
            rows = slice(first, first + self.chunk)
            yield torch.from_numpy(self.x[rows]).float(), torch.from_numpy(self.y[rows]).float()

    def objective(self, column: int, w: np.ndarray, b: float, c: float, l1_ratio: float = 0) -> float:
        z = self.x.astype(np.float64) @ w + b
        loss = np.logaddexp(0, z).sum() - z @ self.y[:, column]
        return float(loss + ((1 - l1_ratio) / 2 * w @ w + l1_ratio * np.abs(w).sum()) / c)


@pytest.fixture(scope="module")
def rows() -> Rows:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((700, 20)) * np.geomspace(1, 0.03, 20) @ rng.standard_normal((20, 20))
    signal = x @ rng.standard_normal(20)
    x = (x - x.mean(0)) / x.std(0)
    x[:, 7] = 0
    signal = (signal - signal.mean()) / signal.std()
    y = np.stack(
        [
            signal + 0.3 * rng.standard_normal(700) > 0,
            rng.random(700) > 0.7,
            signal + 0.5 * rng.standard_normal(700) > 2.2,
            signal > np.sort(signal)[-9],
            np.zeros(700),
            np.ones(700),
        ],
        1,
    )
    return Rows(x.astype(np.float32), y.astype(np.float64))
