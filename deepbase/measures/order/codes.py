"""Float32 values as whole numbers of the same order, and borders between them that other samples find, too.

The bits of a positive float32, read as an integer, grow with its value; those of a negative one shrink, and all but the
sign are flipped. So sorting floats is sorting integers, and a code with a row number below it sorts both at once.
"""

from __future__ import annotations

import torch
from torch import Tensor

MAGNITUDE = 0x7FFFFFFF
NOWHERE = MAGNITUDE
"""A border above all numbers: the place of a border that is not needed."""
INFINITY = 0x7F800000
"""The code of infinity; that of minus infinity is `-INFINITY - 1`."""


def codes(values: Tensor) -> Tensor:
    """int32 of the shape of float32 `values`, in the same order; both zeros have one code."""
    bits = (values + 0.0).view(torch.int32)
    return bits ^ ((bits >> 31) & MAGNITUDE)


def decoded(code: Tensor) -> Tensor:
    """The float32 values of some codes, int32."""
    return (code ^ ((code >> 31) & MAGNITUDE)).view(torch.float32)


def borders(sample: Tensor, bins: int) -> Tensor:
    """Borders of bins that hold about equal shares of a sample.

    Between two neighbouring quantiles the border is the roundest code: the one with the most zeros at its end. Another
    sample, whose quantiles lie a little elsewhere, mostly finds the same one, so that two sets of bins share most of
    their borders. A value that fills a bin by itself gets a border on either side, and a bin of its own.

    Args:
        sample: int32[unit, symbol], codes, each row sorted.
        bins: how many.

    Returns:
        int32[unit, bins - 1], ascending; `NOWHERE` stands for those that are not needed. A code belongs to the bin
        whose number is that of the borders not above it.
    """
    units, symbols = sample.shape
    if not symbols:
        return torch.full((units, bins - 1), NOWHERE, dtype=torch.int32, device=sample.device)
    at = torch.arange(bins - 1, device=sample.device) * (symbols - 1) // max(bins - 2, 1)
    quantiles = sample[:, at].long() + 2**31
    before = torch.nn.functional.pad(quantiles[:, :-1], (1, 0))
    after = torch.nn.functional.pad(quantiles[:, 1:], (0, 1), value=2**32)
    twice = torch.nn.functional.pad(before[:, :-1], (1, 0), value=-1)
    border = _roundest(before, quantiles)
    border = torch.where(before == twice, before + 1, border)  # where a repeated value ends
    border = torch.where(quantiles == after, quantiles, border)  # where one begins
    border = torch.where(before == quantiles, quantiles + 1, border)
    border = border.clamp_max(2**32 - 1) - 2**31
    return distinct(border.to(torch.int32))


def distinct(border: Tensor) -> Tensor:
    """Borders sorted, each once, with `NOWHERE` in the room that is left."""
    border = border.sort(1).values
    again = torch.zeros_like(border, dtype=torch.bool)
    again[:, 1:] = border[:, 1:] == border[:, :-1]
    return torch.where(again, NOWHERE, border).sort(1).values


def common(a: Tensor, b: Tensor) -> Tensor:
    """The borders that are in both of two sets, int32[unit, border] each; as many columns as `a` has."""
    at = torch.searchsorted(b, a).clamp_max(b.shape[1] - 1)
    return torch.where(b.gather(1, at) == a, a, NOWHERE).sort(1).values


def _roundest(a: Tensor, b: Tensor) -> Tensor:
    """The code in (a, b] with the most zeros at its end; of int64 from 0 to 2**32 - 1, `a <= b`."""
    highest = torch.frexp((a ^ b).double().clamp_min(1))[1].long() - 1
    return (b >> highest) << highest
