"""Labels that a probe should not be able to learn: what it reaches on them says how much its own score is worth.

*Control task* (Hewitt and Liang 2019, "Designing and Interpreting Probes with Control Tasks", section 2). Every word
type gets a random label, with the distribution of the labels in the training part. A probe that learns it has memorized
word types. The difference of both scores is its *selectivity*.

*Shuffled labels.* The labels of whole records are laid on other records, within each part of the split. They keep all
that labels have in common with their neighbours, and nothing that they have in common with the units.

Both depend on nothing but the words, the labels and a constant, so that a control is the same in every run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from deepbase.blocks import Ints, Kind
from deepbase.measures.hashing import hashed
from deepbase.measures.probes.design import Chunk, Design

TASK, SHUFFLE = 1_000_001, 1_000_002
"""Seeds of the two."""


def labels_of(design: Design) -> Tensor:
    """float32[row, hypothesis], all labels of a design."""
    found = [y for _, y in design.read()]
    return torch.cat(found) if found else torch.empty(0, design.hypotheses)


def with_labels(design: Design, labels: Tensor) -> Design:
    """The same rows with other labels."""

    def read() -> Iterator[Chunk]:
        first = 0
        for x, _ in design.read():
            yield x, labels[first : first + len(x)].to(x.device)
            first += len(x)

    return replace(design, read=read, hypotheses=labels.shape[1])


def control_task(train: Tensor, words: Ints, kind: Kind) -> Tensor:
    """A random label for each word type.

    Args:
        train: float32[training row, hypothesis], the labels whose distribution is taken; of a category, its values.
        words: int64[row], a hash of the word type of each row that is to be labelled.
        kind: of the hypotheses.

    Returns:
        float32[row, hypothesis].
    """
    chance = torch.from_numpy(hashed(words, TASK).astype(np.float64) / 2.0**64)[:, None].to(train.device)
    if kind == "number":
        at = (chance[:, 0] * len(train)).long().clamp_max(len(train) - 1)
        return train.sort(0).values[at]
    share = train.double().mean(0)
    if kind == "boolean":
        return (chance < share).float()
    ends = share.cumsum(0)
    below = torch.cat([ends.new_zeros(1), ends[:-1]])
    last = (share > 0).nonzero()[-1]
    ends = torch.where(torch.arange(len(ends), device=ends.device) == last, 2.0, ends)
    return ((below <= chance) & (chance < ends) & (share > 0)).float()


def shuffled(labels: Tensor, rows_of_records: Ints) -> Tensor:
    """The labels of whole records, laid one after the other in a random order.

    Args:
        labels: float32[row, hypothesis].
        rows_of_records: int64[record], how many rows each record has, in the order of the rows.
    """
    ends = np.cumsum(rows_of_records)
    order = np.argsort(hashed(np.arange(len(ends)), SHUFFLE), kind="stable")
    rows = [np.arange(ends[r] - rows_of_records[r], ends[r]) for r in order]
    at = np.concatenate(rows) if rows else np.empty(0, dtype=np.int64)
    return labels[torch.from_numpy(at).to(labels.device)]
