"""How many pairs of symbols a unit and a number order differently, for all units of a layer.

Rows are numbered in the order of the number. Sorted by the unit, and by these numbers where the unit is tied, the pairs
in question are the inversions of the sequence of row numbers (Knight 1966).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from deepbase.blocks import Floats
from deepbase.measures.order.codes import codes
from deepbase.measures.order.compiled import kernels
from deepbase.measures.order.labels import Ranks
from deepbase.measures.order.walk import UNITS, Rows, in_threads, sorted_keys


def discordant_pairs(rows: Rows, order: Ranks, symbols: int) -> tuple[Floats, Floats]:
    """The discordant pairs, and those that are tied in the unit and in the number, float64[unit] each.

    Args:
        rows: float32[symbol, unit], batches.
        order: of the number.
        symbols: how many rows there are.
    """
    units, n = rows[0].shape[1], len(order.row)
    found = np.zeros((units, 4))
    made = kernels() if rows[0].device.type == "cpu" else None
    if made is not None:
        place = np.full(symbols, -1, dtype=np.int64)
        place[order.row] = np.arange(n)
        ends = order.high.astype(np.int32)

        def block(first: int) -> None:
            last = min(first + UNITS, units)
            made.inversions(sorted_keys(made, rows, place, n, first, last), ends, found[first:last])

        in_threads(units, block)
    else:
        row = torch.from_numpy(order.row).to(rows[0].device)
        high = torch.from_numpy(order.high).to(row.device)
        for first in range(0, units, UNITS):
            code = codes(torch.cat([batch[:, first : first + UNITS] for batch in rows])[row].T.contiguous())
            found[first : first + UNITS, :2] = _inversions(code, high).cpu().numpy()
    return found[:, 0], found[:, 1]


def _inversions(code: Tensor, ends: Tensor) -> Tensor:
    """float64[unit, 2]: what `compiled._inversions` counts, bit by bit.

    Two ranks are told apart by the highest bit in which they differ. Among those that agree in all bits above one,
    which stand together once they are sorted by these bits, each that lacks the bit is inverted with every one before
    it that has the bit.

    Args:
        code: int32[unit, symbol], codes, where symbols stand in the order of the number.
        ends: int64[symbol], where those that tie in the number end.
    """
    x, by = code.sort(stable=True, dim=1)
    rank = ends[by]
    new = torch.ones_like(x, dtype=torch.bool)
    new[:, 1:] = (x[:, 1:] != x[:, :-1]) | (rank[:, 1:] != rank[:, :-1])
    places = torch.arange(x.shape[1], device=x.device)
    both = (places - torch.where(new, places, 0).cummax(1).values).double().sum(1)
    inverted = torch.zeros_like(both)
    for bit in range(int(ends.max() if len(ends) else 0).bit_length() - 1, -1, -1):
        above, has = rank >> (bit + 1), (rank >> bit) & 1
        start = torch.ones_like(new)
        start[:, 1:] = above[:, 1:] != above[:, :-1]
        before = has.cumsum(1) - has
        of_group = torch.where(start, before, 0).cummax(1).values
        inverted += ((1 - has) * (before - of_group)).double().sum(1)
        rank = rank.gather(1, (rank >> bit).sort(stable=True, dim=1).indices)
    return torch.stack([inverted, both], 1)
