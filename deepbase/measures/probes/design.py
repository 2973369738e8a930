"""What probes are fitted on: standardized rows that can be read again and again, a chunk at a time.

An exact probe needs several passes over the same rows (a Newton step is one), and the rows of a large layer do not fit
the memory. So a probe never sees a matrix. It sees a `Design`: a function that gives the chunks, from memory, from a
file, from wherever they are, in the same order each time.

All hypotheses of a design have a value at all of its rows. Hypotheses that are NULL elsewhere get designs of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Chunk = tuple[Tensor, Tensor]
"""float32[row, unit], standardized, and float32[row, hypothesis], as the same rows."""


def joined(chunks: Sequence[Chunk]) -> Chunk:
    """Chunks one behind the other, as one."""
    if len(chunks) == 1:
        return chunks[0]
    return torch.cat([x for x, _ in chunks]), torch.cat([y for _, y in chunks])


@dataclass(frozen=True)
class Design:
    """Rows for a fit.

    Attributes:
        read: gives the chunks, of a few hundred to some ten thousand rows. Nobody writes to them.
        rows: how many rows they have together.
        units: how many units; each has mean 0 and standard deviation 1 over the rows of the training part, or is 0
            throughout where it is constant there.
        hypotheses: how many hypotheses.
    """

    read: Callable[[], Iterator[Chunk]]
    rows: int
    units: int
    hypotheses: int
