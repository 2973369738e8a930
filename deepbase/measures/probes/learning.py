"""How far a probe that learns from more records may be from this one: the learning curve, without a second fit.

The problem. The score of a run that reads some of the records stands for that of a run that reads all. The latter is
that of *another* probe, which has learned from more records, and mostly is better. On annotated text (logistic probes
of 384 units, 300 to 1200 of 2001 records), 95 % intervals from the held-out records alone cover what the same probe
reaches on other records in 92 to 94 % of cases, and what a probe of all records reaches in 74 to 80 % only. With what
is added here they cover the latter in 96 to 99 %: such an interval rather is too wide.

The idea. Where a probe overfits, its score on rows that it has learned from is too high by about as much as that on
held-out rows is too low, and both meet in the middle as records are added (Cortes, Jackel, Solla, Vapnik and Denker
1993, "Learning curves: asymptotic values and rate of convergence", section 2; for least squares exactly so). So half of
the *gap* between the score on some training records and that on held-out ones is what can still be gained. How fast
depends on the exponent of the curve: the gain from n to N records, as a share of half the gap times the share of
records that are unread, is 1 for the exponent 1, and between 1/2 and 1 for the exponent 1/2, which the annotated text
has. `GAIN` of it is taken for a bias, and `DOUBT` of it is added to the error.

*Penalties.* A penalty that is not small makes scores low on training rows as well, and stands against the losses of
more rows as records are added. By how much, nothing here can tell: half the gap was up to 30 times too small. So a
probe with a strong penalty has no interval: where its weight 1 / C is more than `STRONG` of the curvature of the loss
for a unit of variance 1, n p (1 - p) with p the share of the rows where the hypothesis holds; for a regression, alpha
more than `STRONG` of n.

*Other records to learn from.* Even without a gain, a probe from other training records has another score. On annotated
text this adds to the variance at most `RETRAINED` times that of the held-out records, divided by how many times more
training records there are; for a probe that chooses units more (`AbstractProbe.retrained`).

Left out: a second fit at fewer records, which is the textbook's way, and costs half as much again.

Cost: predictions for as many training rows as there are held-out ones. Memory: none to speak of.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from deepbase.blocks import Ints
from deepbase.measures.probes.design import Design
from deepbase.measures.probes.group import Fold
from deepbase.measures.probes.rows import part
from deepbase.measures.probes.sampling import Certainty

GAIN = 0.75
DOUBT = 0.5
RETRAINED = 2.0
STRONG = 0.02


def seen_before(fold: Fold) -> Design:
    """Some of the training records, with about as many rows as are held out."""
    ends = torch.from_numpy(fold.rows_of_records[0]).cumsum(0)
    wanted = torch.searchsorted(ends, max(fold.test.rows, 1))
    rows = int(ends[wanted.clamp_max(len(ends) - 1)]) if len(ends) else 0
    return part(fold.train, 0, rows)


def with_learning(
    known: Certainty,
    score: Tensor,
    learned: Tensor,
    records: tuple[Ints, Ints],
    retrained: float,
) -> Certainty:
    """The certainty of scores with what more and other training records may change.

    Args:
        known: of the scores of this probe.
        score: float64[hypothesis], on the held-out rows.
        learned: float64[hypothesis], on rows that it has learned from.
        records: how many rows each training and each held-out record has.
        retrained: the variance by other training records, see above.
    """
    gain = ((learned - score) / 2).nan_to_num(0)
    more = retrained * len(records[1]) / max(len(records[0]), 1)
    error = (known.error.square() * (1 + more) + (DOUBT * gain).square()).sqrt()
    return replace(known, error=error, bias=-GAIN * gain.clamp_min(0))
