"""How far a probe that learns from more records may be from this one: the learning curve, without a second fit.

The problem. The score of a run that reads some of the records stands for that of a run that reads all. The latter is
that of *another* probe, which has learned from more records, and mostly is better. On annotated text (logistic probes
of 384 units, 300 to 1200 of 2001 records), intervals from the held-out records alone cover what the same probe reaches
on other records in 95 % of cases, and what a probe of all records reaches in 66 to 80 % only.

The idea. Where a probe overfits, its score on rows that it has learned from is too high by about as much as that on
held-out rows is too low, and both meet in the middle as records are added (Cortes, Jackel, Solla, Vapnik and Denker
1993, "Learning curves: asymptotic values and rate of convergence", section 2; for least squares exactly so). So half of
the *gap* between the score on some training records and that on held-out ones is what can still be gained. How fast
depends on the exponent of the curve: the gain from n to N records, as a share of half the gap times the share of
records that are unread, is 1 for the exponent 1, and between 1/2 and 1 for the exponent 1/2, which the annotated text
has. `GAIN` of it is taken for a bias, and `DOUBT` of it is added to the error.

*Penalties.* A penalty that is not small costs scores on training rows, too, and less so as records are added, since
the losses of more rows stand against it. To see how much, the scale of the predictions and the intercept are fitted to
some training rows without a penalty (`rescaled`, `regressed`): by how much the score on held-out rows improves is taken
for a bias, and half of it is added to the error.

*Other records to learn from.* Even without a gain, a probe from other training records has another score. On annotated
text this adds to the variance at most `RETRAINED` times that of the held-out records, divided by how many times more
training records there are; for a probe that chooses units more (`AbstractProbe.retrained`).

Left out: a second fit at fewer records, which is the textbook's way, and costs half as much again.

Cost: predictions for as many training rows as there are held-out ones. Memory: float32[`ROWS`, hypothesis] for a
penalty.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from deepbase.blocks import Ints
from deepbase.measures.probes.design import Design
from deepbase.measures.probes.group import Fold
from deepbase.measures.probes.rows import Predict, part, portions
from deepbase.measures.probes.sampling import Certainty

GAIN = 0.75
DOUBT = 0.5
RETRAINED = 2.0
ROWS = 4096
"""Training rows on which margins are scaled."""
STEPS = 6
FURTHEST = 1.0
"""How far a step may go in the logarithm of the scale, or in the intercept per standard deviation of the margins."""


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
    relaxed: Tensor | None,
    records: tuple[Ints, Ints],
    retrained: float,
) -> Certainty:
    """The certainty of scores with what more and other training records may change.

    Args:
        known: of the scores of this probe.
        score: float64[hypothesis], on the held-out rows.
        learned: float64[hypothesis], on rows that it has learned from.
        relaxed: float64[hypothesis], on the held-out rows with the penalty off; None for a probe without one.
        records: how many rows each training and each held-out record has.
        retrained: the variance by other training records, see above.
    """
    gain = ((learned - score) / 2).nan_to_num(0)
    freed = torch.zeros_like(gain) if relaxed is None else (relaxed - score).nan_to_num(0).clamp_min(0)
    more = retrained * len(records[1]) / max(len(records[0]), 1)
    doubt = DOUBT * (gain.abs() + freed)
    error = (known.error.square() * (1 + more) + doubt.square()).sqrt()
    return replace(known, error=error, bias=-(GAIN * gain.clamp_min(0) + freed))


def rescaled(predict: Predict, rows: Design) -> tuple[Tensor, Tensor]:
    """The scale of margins and what is added to them, fitted by a logistic regression of the labels on them.

    A few damped Newton steps from where they are; where rows are separable, they stay near.

    Args:
        predict: logistic probes.
        rows: that they have learned from; the hypotheses are boolean.

    Returns:
        float64[hypothesis] each.
    """
    parts = [(predict(x).float(), y) for x, y in portions(part(rows, 0, ROWS)) if len(x)]
    if not parts:
        return torch.ones(rows.hypotheses, dtype=torch.float64), torch.zeros(rows.hypotheses, dtype=torch.float64)
    z, y = torch.cat([z for z, _ in parts]), torch.cat([y for _, y in parts])
    middle, size = z.mean(0), z.std(0, unbiased=False).clamp_min(1e-12)
    z = (z - middle) / size
    scale, offset = size.clone(), middle.clone()
    for _ in range(STEPS):
        p = torch.addcmul(offset, z, scale).sigmoid_()
        wrong, weight = p - y, p * (1 - p)
        g0, g1 = wrong.sum(0), (wrong * z).sum(0)
        weighted = weight * z
        h00, h01, h11 = weight.sum(0), weighted.sum(0), (weighted * z).sum(0)
        small = 1e-3 * (h00 + h11) + 1e-6
        h00, h11 = h00 + small, h11 + small
        determinant = h00 * h11 - h01.square()
        offset = offset - ((h11 * g0 - h01 * g1) / determinant).clamp(-FURTHEST, FURTHEST) * scale.clamp_min(1)
        scale = scale - ((h00 * g1 - h01 * g0) / determinant).clamp(-FURTHEST, FURTHEST) * scale.clamp_min(1)
        scale = scale.clamp_min(1e-12)
    factor = scale / size
    return factor.double(), (offset - factor * middle).double()


def regressed(predict: Predict, rows: Design) -> tuple[Tensor, Tensor]:
    """The factor and the summand with which predicted numbers fit the rows best, by least squares.

    Args:
        predict: regressions.
        rows: that they have learned from; the hypotheses are numbers.

    Returns:
        float64[hypothesis] each.
    """
    pilot: tuple[Tensor, Tensor] | None = None
    sums, n = torch.zeros(4, rows.hypotheses, dtype=torch.float64), 0
    for x, y in portions(rows):
        if len(x):
            z, true = predict(x), y.double()
            pilot = (z.mean(0), true.mean(0)) if pilot is None else pilot
            z, true = z - pilot[0], true - pilot[1]
            sums = sums.to(z.device) + torch.stack([z.sum(0), true.sum(0), z.square().sum(0), (z * true).sum(0)])
            n += len(x)
    if pilot is None:
        return torch.ones_like(sums[0]), torch.zeros_like(sums[0])
    z, true, squares, products = sums
    whole = squares - z.square() / n
    factor = torch.where(whole > 0, (products - z * true / n) / whole, 1.0)
    return factor, pilot[1] + true / n - factor * (pilot[0] + z / n)
