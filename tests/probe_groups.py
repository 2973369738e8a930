"""Rows of records with planted hypotheses, as the layers of a run have them, and what becomes of them for a probe."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import torch

from deepbase.measures.batch import BatchLabels
from deepbase.measures.rows import Rows
from deepbase.testing import CPU, Data, label_behavior, label_shift

RECORDS, LENGTH = 60, 7


def planted(seed=0, records=RECORDS):
    """Units of which the first three carry what the hypotheses say."""
    rng = np.random.default_rng(seed)
    n = records * LENGTH
    x = rng.normal(size=(n, 8)) * [1, 10, 1e-3, 1, 1, 1, 1, 1] + [0, 1e4, 0, 0, 0, 0, 0, 0]
    z = x[:, 0] + (x[:, 1] - 1e4) / 10 - x[:, 2] * 1e3
    x[:, 6] = 3.0
    words = rng.random(n) < 0.8
    return Data(
        {str(i): x[:, i].astype(np.float32) for i in range(8)},
        {
            "yes": (z > 0).astype(float),
            "yes, of words": np.where(words, z > 0.5, np.nan),
            "how much": 1e6 + z,
            "always": np.ones(n),
            "which": np.digitize(z, [-1, 1]).astype(float),
        },
        {"yes": "boolean", "yes, of words": "boolean", "how much": "number", "always": "boolean", "which": "category"},
        {"which": 3},
        np.repeat(np.arange(records) * 10 + 3, LENGTH),
    )


DATA = planted()


def rows_of(data, cuts=(), memory=2**40, parts=1):
    """The rows in blocks between some records, of some parts of the units each as a layer."""
    labels, shift = label_behavior(data), label_shift(data)
    bounds = [0, *(c * LENGTH for c in cuts), data.symbols]
    layers = []
    for units in np.array_split(np.arange(len(data.units)), parts):
        state = None
        for first, end in itertools.pairwise(bounds):
            batch = BatchLabels.of(labels, first, end - first, shift, CPU)
            batch = replace(batch, word=torch.arange(first, end) % 17)
            block = Rows.first(torch.from_numpy(data.x[first:end, units]), batch, memory)
            state = block if state is None else state.merge(block)
        layers.append(state)
    return layers


def matrices(design):
    x, y = zip(*design.read(), strict=True)
    return torch.cat(x).double().numpy(), torch.cat(y).double().numpy()
