"""What a score can be at least and at most, if only the order within bins is unknown.

Bins go from the greatest values to the least. A bin of one value is known altogether: its symbols are tied. In any
other bin the order may be the best one, all true symbols first, or the worst, or all may be tied; each function gives
the two ends of what the score can then be, over all bins together. So the middle between the ends is off by half of
their distance at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from deepbase.measures.order.sketch import Sketch

UNITS = 32
"""Units whose bins are looked at together."""
Interval = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Bins:
    """The bins of some units, for columns of one null class, from the greatest values to the least.

    Attributes:
        p: float64[unit, bin, column], the true ones.
        n: float64[unit, bin, 1], the symbols.
        loose: float64[unit, bin, 1], 1 for bins that may hold more than one value.
    """

    p: Tensor
    n: Tensor
    loose: Tensor

    @cached_property
    def q(self) -> Tensor:
        """The false ones."""
        return self.n - self.p

    @cached_property
    def all_p(self) -> Tensor:
        """float64[unit, column], the true ones of all bins."""
        return self.p.sum(1)

    @cached_property
    def all_n(self) -> Tensor:
        """float64[unit, 1], the symbols of all bins."""
        return self.n.sum(1)

    @cached_property
    def p_after(self) -> Tensor:
        """The true ones above the lower border of each bin."""
        return self.p.cumsum(1)

    @cached_property
    def n_after(self) -> Tensor:
        """The symbols above the lower border of each bin."""
        return self.n.cumsum(1)

    @cached_property
    def wins(self) -> Interval:
        """float64[unit, column]: pairs of a true and a false symbol in which the true one is greater; ties count half.

        Unknown is each pair within a bin: `p * q` of them, of which half are won on average.
        """
        below = self.n.sum(1, keepdim=True) - self.p.sum(1, keepdim=True) - self.q.cumsum(1)
        middle = (self.p * (below + self.q / 2)).sum(1)
        slack = (self.loose * self.p * self.q).sum(1) / 2
        return middle - slack, middle + slack


def bins_of(sketch: Sketch, columns: list[int], null_class: int) -> Iterator[Bins]:
    """The bins of all units, some units at a time, for boolean columns of a null class."""
    loose = (~sketch.pure()).double()
    for first in range(0, len(loose), UNITS):
        some = slice(first, first + UNITS)
        yield Bins(
            sketch.counts[some][:, :, columns].flip(1).double(),
            sketch.classes[some][:, :, null_class, None].flip(1).double(),
            loose[some, :, None].flip(1),
        )


def auroc(bins: Bins) -> Interval:
    """The pairs that are won, of all pairs."""
    low, high = bins.wins
    pairs = bins.all_p * (bins.all_n - bins.all_p)
    return low / pairs, high / pairs


def average_precision(bins: Bins) -> Interval:
    """The sum of precisions at the true symbols.

    At least, a bin has its false symbols first, and the j-th true one has the precision `(t + j) / (a + j)`, where t
    true ones and `a` symbols are before it. The sum is bounded through `sum of 1 / (a + j) <= log((a + p + 1/2) /
    (a + 1/2))`, since 1/x is convex. At most, its true symbols are tied, and above all false ones.
    """
    a = bins.n_after - bins.p
    worst = bins.p - (a + bins.p - bins.p_after) * torch.log1p(bins.p / (a + 0.5))
    tied = bins.p * bins.p_after / bins.n_after.clamp_min(1)
    best = bins.p * bins.p_after / (bins.n_after - bins.q).clamp_min(1)
    loose = bins.loose > 0
    low, high = torch.where(loose, worst, tied).sum(1), torch.where(loose, best, tied).sum(1)
    return low / bins.all_p, high / bins.all_p


def f1(bins: Bins) -> Interval:
    """The best F1 at the borders; at most, a threshold lies between the true symbols of a bin and its false ones."""
    p, all_p = bins.p_after, bins.all_p[:, None]
    low = 2 * p / (all_p + bins.n_after)
    high = 2 * p / (all_p + bins.n_after - bins.loose * bins.q)
    return low.amax(1), high.amax(1)


def accuracy(bins: Bins) -> Interval:
    """The best accuracy, likewise, or that of the threshold above everything."""
    gain = 2 * bins.p_after - bins.n_after
    q = bins.all_n - bins.all_p
    low, high = gain.amax(1).clamp_min(0), (gain + bins.loose * bins.q).amax(1).clamp_min(0)
    return (low + q) / bins.all_n, (high + q) / bins.all_n


def jaccard(bins: Bins, most: int) -> Interval:
    """The intersection over the union with the greatest values, of which there may be `most`.

    Whole bins that fit are in; of the next one, as many symbols as there is room for may be, true ones or false ones.
    """
    inside = (bins.n_after <= most).double()
    p, n = (inside * bins.p).sum(1), (inside * bins.n).sum(1)
    following = inside.sum(1).long().clamp_max(inside.shape[1] - 1)
    at = following[:, :, None]
    room = bins.loose.gather(1, at)[:, 0] * (most - n)
    more_p = torch.minimum(bins.p.gather(1, at.expand(-1, 1, bins.p.shape[2]))[:, 0], room)
    more_q = torch.minimum(bins.q.gather(1, at.expand(-1, 1, bins.p.shape[2]))[:, 0], room)
    return p / (bins.all_p + n - p + more_q), (p + more_p) / (bins.all_p + n - p)


def spearman(bins: Bins) -> Interval:
    """Of a boolean, Spearman's correlation is that of its values with the mid-ranks of the unit.

    The variance of the ranks is that of `n**3 - n` less the ties', which lie between none and all of a bin.
    """
    p, n = bins.all_p, bins.all_n
    half = p * (n - p) / 2
    tied = bins.n**3 - bins.n
    least = (n**3 - n - tied.sum(1)) / 12
    most = least + (bins.loose * tied).sum(1) / 12
    low, high = (w - half for w in bins.wins)
    return quotient(low, high, (least * 2 * half / n).sqrt(), (most * 2 * half / n).sqrt())


def kendall(bins: Bins) -> Interval:
    """Of a boolean, the pairs that are won less those that are lost, over the geometric mean of the untied pairs."""
    p, n = bins.all_p, bins.all_n
    across = p * (n - p)
    tied = bins.n * (bins.n - 1) / 2
    least = n * (n - 1) / 2 - tied.sum(1)
    most = least + (bins.loose * tied).sum(1)
    low, high = (2 * w - across for w in bins.wins)
    return quotient(low, high, (least * across).sqrt(), (most * across).sqrt())


def spearman_of_number(table: Tensor, loose: Tensor, loose_numbers: Tensor) -> Interval:
    """Spearman's correlation with a number, of which there are bins, too.

    A rank is the middle of its bin plus a deviation, which sums to 0 over the bin, and whose squares sum to at most
    `(n**3 - n) / 12`. The products of middles are known; those of deviations with middles, and with each other, are
    bounded by the inequality of Cauchy and Schwarz, bin by bin.

    Args:
        table: float64[unit, bin, number bin], symbols.
        loose: bool[unit, bin], which bins may hold more than one value.
        loose_numbers: bool[number bin].
    """
    n = table.sum((1, 2))
    x, x_known, x_slack = _middles(table.sum(2), loose, n)
    y, y_known, y_slack = _middles(table.sum(1), loose_numbers, n)
    middle = torch.einsum("ubg,ub,ug->u", table, x, y)
    slack = (x_slack * _spread(table, y)).sqrt().sum(1) + (y_slack * _spread(table.mT, x)).sqrt().sum(1)
    slack = slack + (x_slack.sum(1) * y_slack.sum(1)).sqrt()
    least, most = x_known * y_known, (x_known + x_slack.sum(1)) * (y_known + y_slack.sum(1))
    return quotient(middle - slack, middle + slack, least.sqrt(), most.sqrt())


def _middles(n: Tensor, loose: Tensor, whole: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mid-ranks of bins about their mean, the sum of their squares, and what the squares within bins may be."""
    middle = n.cumsum(1) - n / 2 - whole[:, None] / 2
    return middle, (n * middle.square()).sum(1), loose * (n**3 - n) / 12


def _spread(table: Tensor, values: Tensor) -> Tensor:
    """float64[unit, row]: the sum of squares about the row's mean of values, float64[unit, column], in a table."""
    sums = torch.einsum("ubg,ug->ub", table, values)
    squares = torch.einsum("ubg,ug->ub", table, values.square())
    return (squares - sums.square() / table.sum(2).clamp_min(1)).clamp_min(0)


def quotient(low: Tensor, high: Tensor, least: Tensor, most: Tensor) -> Interval:
    """What a quotient can be, within [-1, 1]: of something from low to high by something from least to most."""
    bottom = torch.where(low < 0, low / least, low / most)
    top = torch.where(high > 0, high / least, high / most)
    return bottom.nan_to_num(-1, posinf=1, neginf=-1).clamp(-1, 1), top.nan_to_num(1, posinf=1, neginf=-1).clamp(-1, 1)
