"""Symbols of records that are unequally long and alike within, for tests of p-values."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import scipy.stats
import torch

from deepbase.blocks import LabelBehavior
from deepbase.measures.base import Target
from deepbase.measures.batch import BatchLabels
from deepbase.measures.exchange import BlockLabels
from deepbase.measures.registry import measures

CPU = torch.device("cpu")
PLENTY = 2**40


class Symbols:
    """Units and boolean hypotheses that are alike within a record and, but for the effect, independent."""

    def __init__(self, records=200, units=10, hypotheses=10, rate=0.3, effect=0.0, seed=0, least=3, most=40, nulls=0.0):
        rng = np.random.default_rng(seed)
        length = rng.integers(least, most, records)
        self.record = np.repeat(np.arange(records), length)
        n = len(self.record)

        def alike(count):
            return np.sqrt(0.5) * (rng.normal(size=(records, count))[self.record] + rng.normal(size=(n, count)))

        self.y = (alike(hypotheses) > scipy.stats.norm.ppf(1 - rate)).astype(float)
        self.x = (alike(units) + effect * self.y[:, :1]).astype(np.float32)
        self.kinds = ("boolean",) * hypotheses
        self.valid = np.ones((n, 1), dtype=bool)
        self.null_class = np.zeros(hypotheses, dtype=np.int64)
        if nulls:  # every second hypothesis has NULLs, more of them in some records than in others
            missing = rng.random(n) < 2 * nulls * rng.random(records)[self.record]
            self.valid = np.stack([np.ones(n, dtype=bool), ~missing], 1)
            self.null_class = np.arange(hypotheses) % 2
            self.y *= self.valid[:, self.null_class]

    @property
    def targets(self):
        return [Target("boolean", (i,)) for i in range(self.y.shape[1])]

    def labels(self, rows=slice(None)):
        return LabelBehavior(self.y[rows], self.valid[rows], self.null_class, self.record[rows], self.kinds)

    def borders(self, blocks):
        """The first symbol of each block of records, and the end."""
        first = np.linspace(0, self.record.max() + 1, blocks + 1).astype(int)
        return np.searchsorted(self.record, first).tolist()

    def block(self, kind, first, end, cuts=(), shift=None):
        """The state of a block that comes in batches."""
        labels = self.labels(slice(first, end))
        shift = np.zeros(self.y.shape[1]) if shift is None else shift
        block = BlockLabels.of(labels, shift)
        bounds = sorted({0, end - first, *(c for c in cuts if c < end - first)})
        x, state = torch.from_numpy(self.x[first:end]), None
        for a, b in itertools.pairwise(bounds):
            batch = replace(BatchLabels.of(labels, a, b - a, shift, CPU, recorded=True), of_block=(block, a))
            state = kind.first(x[a:b], batch, PLENTY) if state is None else state.update(x[a:b], batch)
        return state

    def state(self, kind, blocks=1, cuts=()):
        borders = self.borders(blocks)
        states = [self.block(kind, a, b, cuts) for a, b in itertools.pairwise(borders)]
        while len(states) > 1:
            states = [*states[2:], states[1].merge(states[0])]
        return states[0]

    def values(self, call, blocks=1, targets=None):
        (measure,) = measures([call])
        return measure.compute(self.state(measure.reads, blocks), targets or self.targets)
