"""What of a unit is compared: from the values at tokens to the behaviour at symbols.

A symbol of several tokens (a word, a record) has the mean of the unit over them. Then `abs` takes its magnitude, and
`derivative` its difference from the symbol before it in the record; the first symbol of a record has none and is left
out of every hypothesis. Magnitude and derivative are those of Sellam et al. 2019, section 3.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from deepbase.blocks import Batch, Bools, Level
from deepbase.query.base import Behavior


def behaviors(values: Tensor, batch: Batch, at: Level, behavior: Behavior) -> Tensor:
    """float32[token, unit] to float32[symbol, unit]."""
    if at != "token":
        values = _mean(values, torch.from_numpy(batch.symbol).to(values.device), batch.symbols)
    if behavior == "abs":
        return values.abs()
    if behavior == "derivative":
        return torch.diff(values, dim=0, prepend=values[:1])
    return values


def unlabelled(symbols: pa.Table, behavior: Behavior) -> Bools | None:
    """bool[symbol], the symbols that have no such behaviour; None where all have one."""
    if behavior != "derivative":
        return None
    record = symbols["record"].to_numpy()
    return np.asarray(np.diff(record, prepend=-1) != 0)


def _mean(values: Tensor, symbol: Tensor, symbols: int) -> Tensor:
    # In float64, since the sum over a long record rounds away how little a saturated unit moves.
    sums = values.new_zeros(symbols, values.shape[1], dtype=torch.float64).index_add_(0, symbol, values.double())
    return (sums / torch.bincount(symbol, minlength=symbols)[:, None]).float()
