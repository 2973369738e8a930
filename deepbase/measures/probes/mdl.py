"""Minimum description length: how many bits the labels cost someone who has the units, by online coding.

Voita and Titov 2020, "Information-Theoretic Probing with Minimum Description Length", section on the online code. The
rows are cut at t_1 < ... < t_S = n, at 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.25, 12.5, 25, 50 and 100 % of them. The labels
of the first part are sent with the uniform code over K classes, those of each further part with the probe that was
fitted on all rows before it:

    L = t_1 log2 K - sum over i of log2 p_i(labels of the rows t_i to t_(i+1)),     compression = n log2 K / L.

A probe that finds the labels easily, from few rows, makes a short code; no information gives a compression of about 1
where the classes are of equal size, and what the majority class alone saves where they are not.

Cuts are moved up to the next end of a block, since rows of one record are not independent; cuts that meet become one.
The rows have to be in random order.

What the paper leaves open: a fit that has not seen a class yet would give it probability 0. Of t rows, each class that
was not among them gets 1 / (t + K), and the classes that were share the rest by the probe; with a single one seen that
is Laplace's rule of succession.

Cost: fits on 0.1 to 50 % of the rows, together about one fit on all rows, and reading them about 3 times. Memory: that
of the fit.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid

from deepbase.measures.probes.design import Design
from deepbase.measures.probes.rows import Fit, columns, linear_predictor, part, portions

FRACTIONS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.0625, 0.125, 0.25, 0.5, 1.0)

Code = Callable[[Tensor, Tensor], Tensor]
"""Of float32[row, unit] and float32[row, hypothesis]: the nats of the labels, float64[hypothesis]."""


@final
@dataclass(frozen=True)
class CodeLength:
    """What labels cost.

    Attributes:
        bits: float64[hypothesis]; one value for the categories of one hypothesis. NaN where a fit was NaN.
        uniform: the bits of the uniform code, `rows * log2(classes)`.
        cuts: the rows after which the parts end.
    """

    bits: Tensor
    uniform: float
    cuts: tuple[int, ...]

    @property
    def compression(self) -> Tensor:
        """How many times shorter than the uniform code, float64[hypothesis]; NaN without rows or with one category."""
        return self.uniform / self.bits


def online_code(
    design: Design, blocks: Sequence[int], fit: Fit, categories: bool = False, fractions: Sequence[float] = FRACTIONS
) -> CodeLength:
    """The online code length of all hypotheses.

    Args:
        design: the rows, blocks in random order; the hypotheses are boolean, or the categories of one hypothesis, one
            of which is 1 at each row.
        blocks: the rows of each block of whole records, in order; together all rows.
        fit: fits probes on a part of the rows. It is given only hypotheses (or categories) with both values there. For
            categories its coefficients are those of a softmax.
        categories: which of the two.
        fractions: where to cut, as shares of the rows; the last cut is the end in any case.

    Returns:
        The bits and how they compare.
    """
    cuts = _cuts(blocks, fractions)
    one_label = math.log2(max(design.hypotheses, 1) if categories else 2)
    coder = _softmax_code if categories else _logistic_code
    first = (cuts[0] if cuts else 0) * one_label
    bits = torch.full((1 if categories else design.hypotheses,), first, dtype=torch.float64)
    seen = torch.zeros(design.hypotheses, dtype=torch.float64)
    for begin, cut, end in zip((0, *cuts), cuts, cuts[1:], strict=False):
        for _, y in portions(part(design, begin, cut)):
            seen = seen.to(y.device) + y.sum(0, dtype=torch.float64)
        code = coder(part(design, 0, cut), seen, fit)
        for x, y in portions(part(design, cut, end)):
            bits = bits.to(x.device) + code(x, y) / math.log(2)
    return CodeLength(bits, design.rows * one_label, cuts)


def _cuts(blocks: Sequence[int], fractions: Sequence[float]) -> tuple[int, ...]:
    """The ends of blocks at or next after the fractions, each once."""
    ends = [end for end in itertools.accumulate(blocks) if end]
    if not ends:
        return ()
    exact = [fraction * ends[-1] * (1 - 1e-12) for fraction in fractions]
    return tuple(sorted({*(next(end for end in ends if end >= cut) for cut in exact), ends[-1]}))


def _logistic_code(before: Design, seen: Tensor, fit: Fit) -> Code:
    """The code by logistic probes fitted on the rows before."""
    rows = before.rows
    both = ((seen > 0) & (seen < rows)).nonzero()[:, 0]
    predict = linear_predictor(fit(columns(before, both))) if len(both) else None
    share = (seen + 1) / (rows + 2)
    laplace = (share / (1 - share)).log()

    def code(x: Tensor, y: Tensor) -> Tensor:
        z = laplace.expand(y.shape).clone()
        if predict is not None:
            z[:, both] = predict(x)
        return -logsigmoid(torch.where(y > 0, z, -z)).sum(0)

    return code


def _softmax_code(before: Design, seen: Tensor, fit: Fit) -> Code:
    """The code by a softmax probe fitted on the rows before."""
    classes, rows = before.hypotheses, before.rows
    known = (seen > 0).nonzero()[:, 0]
    predict = linear_predictor(fit(columns(before, known))) if len(known) > 1 else None
    unknown = classes - len(known)
    escape = 1 / (rows + classes)

    def code(x: Tensor, y: Tensor) -> Tensor:
        nats = torch.full(y.shape, -math.log(escape), dtype=torch.float64, device=y.device)
        z = predict(x) if predict is not None else nats.new_zeros(len(x), len(known))
        nats[:, known] = -log_softmax(z, dim=1) - math.log1p(-unknown * escape)
        return nats.gather(1, y.argmax(1, keepdim=True)).sum()[None]

    return code
