"""Measures of order of permuted labels: from the rows that are kept, with several permutations in one walk.

A walk sorts each unit once, whatever is true of its symbols. So the permuted labels are more columns beside each other,
as many as there is room for, and the measures are computed of them as of any others. All records that are kept exchange
their labels.

Where rows are no longer kept there is no order to permute, and no p-value.

Memory: `LABELS` bytes of labels and `RESULTS` bytes of what walks find, at about 100 bytes a unit and column, unless a
single permutation takes more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from deepbase.measures.base import Target
from deepbase.measures.batch import KeptLabels
from deepbase.measures.exchange import Exchange
from deepbase.measures.order.state import PairOrder

LABELS = 2**27
RESULTS = 2**27
RESULT = 100
"""Bytes that a walk takes for a unit and a column."""


def exchangeable(state: PairOrder) -> bool:
    """Whether the records of a state can exchange their labels: there are two, and they and the rows are kept."""
    return state.sketch is None and Exchange(state.assembled().kept.record.cpu().numpy()).possible


def permuted_orders(
    state: PairOrder, targets: Sequence[Target], permutations: int
) -> Iterator[tuple[PairOrder, list[Target]]]:
    """The same rows with permuted labels, some permutations at a time.

    Args:
        state: whose rows are kept.
        targets: what units are compared with.
        permutations: how many.

    Yields:
        A state, and the targets of each of its permutations in turn.
    """
    kept = state.assembled().kept
    exchange = Exchange(kept.record.cpu().numpy())
    symbols, columns = len(kept.record), len(kept.boolean)
    numbers = kept.numbers.shape[1]
    of_symbols = symbols * (2 * columns + 16 * numbers + 2 * kept.valid.shape[1] + 12)
    of_units = RESULT * state.units[0].shape[1] * (columns + 16 * numbers)
    step = int(max(min(LABELS // max(of_symbols, 1), RESULTS // max(of_units, 1)), 1))
    for first in range(0, permutations, step):
        some = slice(first, min(first + step, permutations))
        labels = _laid(kept, torch.from_numpy(exchange.rows(permutations, some, 0, symbols).astype(np.int64)))
        count = some.stop - some.start
        several = [replace(t, columns=tuple(c + i * columns for c in t.columns)) for i in range(count) for t in targets]
        yield PairOrder(state.limit, state.units, (labels,)), several


def _laid(kept: KeptLabels, rows: torch.Tensor) -> KeptLabels:
    """The labels of several permutations beside each other; rows is int64[permutation, symbol]."""
    count, symbols = rows.shape
    rows = rows.to(kept.record.device)
    truth, numbers, valid = (
        of[rows].transpose(0, 1).reshape(symbols, -1).contiguous() for of in (kept.truth, kept.numbers, kept.valid)
    )
    classes = torch.arange(count, device=rows.device)[:, None] * kept.valid.shape[1]
    return KeptLabels(
        truth=truth,
        numbers=numbers,
        valid=valid,
        null_class=(kept.null_class + classes).ravel(),
        shifts=kept.shifts.repeat(1, count),
        boolean=kept.boolean.repeat(count),
        record=kept.record,
        group=kept.group,
    )
