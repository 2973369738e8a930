"""How many bits the value of a unit tells of a hypothesis, and the other way round."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deepbase.blocks import Floats, Kind
from deepbase.errors import MeasureError
from deepbase.measures.base import AbstractState, Target, Values
from deepbase.measures.order.errors import spread_of_counts
from deepbase.measures.order.scores import BORDERS, exact_values, sketch_values
from deepbase.measures.order.sketch import Sketch
from deepbase.measures.order.state import PairOrder
from deepbase.measures.order.walk import UNITS, Cuts, Walk
from deepbase.measures.spread import Spread
from deepbase.measures.tested import AbstractTested

MOST_BINS = 256


@final
@dataclass(frozen=True)
class MutualInformation(AbstractTested):
    """Mutual information of the bins of a unit with a hypothesis, in bits.

    A symbol with b symbols below it, of n, is in the bin `floor(bins * b / n)`: bins of equal size, except that
    ties are all in the bin of the first of them. A number has bins in the same way.

    Counts in cells make chance look like information. Corrected by Miller and Madow, an entropy from K cells that are
    not empty is greater by `(K - 1) / (2 n)` nats (Miller 1955, "Note on the bias of information estimates"; Paninski
    2003, "Estimation of entropy and mutual information", equation 4), so that the information is less by
    `(K_xy - K_x - K_y + 1) / (2 n)` nats. What is below 0 then is 0.

    Where the rows no longer fit, bins are cut at the nearest borders of the sketch: this is the exact value of other
    bins, and the note tells by how much of the symbols their borders may be off. Of numbers, both sides count.

    Attributes:
        bins: how many bins a unit, or a number, has.
        corrected: whether the bias is corrected.
    """

    bins: int = field(default=16, metadata={"description": "bins of a unit, and of a number"})
    corrected: bool = field(default=True, metadata={"description": "correct the bias of small samples (Miller 1955)"})

    name: ClassVar[str] = "mutual_information"
    description: ClassVar[str] = "bits that a unit, in bins of equal size, tells of a hypothesis"
    formula: ClassVar[str] = "sum over bins b and values y of p(b, y) log2(p(b, y) / (p(b) p(y))), less its bias"
    source: ClassVar[str] = "Shannon 1948; Miller 1955; sklearn.metrics.mutual_info_score"
    state_type: ClassVar[type[AbstractState]] = PairOrder
    range: ClassVar[tuple[float, float]] = (0.0, math.inf)
    signed: ClassVar[bool] = False
    kinds: ClassVar[tuple[Kind, ...]] = ("boolean", "number", "category")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= self.bins <= MOST_BINS:
            raise MeasureError(
                f"option 'bins' of measure 'mutual_information' cannot be {self.bins}",
                f"Give a whole number from 2 to {MOST_BINS}.",
            )

    def score(self, state: AbstractState, targets: Sequence[Target]) -> Values:
        """Scores in bits."""
        assert isinstance(state, PairOrder)
        cuts = Cuts(bins=self.bins)
        if state.sketch is None:
            walk = state.walk(cuts)
            counts = replace(walk, counts=walk.counts[:, :-1], sizes=walk.sizes[:, :, :-1])
            score = np.maximum(self._of_counts(state, counts, targets), 0)
            return exact_values(score, walk, state, targets, self.kinds)
        found = [self._of_bins(state.sketch, t, cuts) for t in targets]
        bits, off = torch.stack([s for s, _ in found]), torch.stack([e for _, e in found])
        return sketch_values(bits, off, state.sketch, targets, self.kinds, BORDERS)

    def spread(self, state: AbstractState, targets: Sequence[Target], found: Values) -> Spread | None:
        """Standard errors by the delete-a-group jackknife, in a pass of its own: each group has cuts of its own.

        They are those of the information before what is below 0 becomes 0. The bins of a number stay those of all.
        """
        assert isinstance(state, PairOrder)

        def formula(walk: Walk, several: Sequence[Target]) -> Floats:
            return self._of_counts(state, walk, several)

        cuts = Cuts(bins=self.bins)
        return spread_of_counts(state, targets, found.unit_score, formula, self.error_scale, cuts, slice(0, -1))

    def _of_counts(self, state: PairOrder, walk: Walk, targets: Sequence[Target]) -> Floats:
        """float64[target, unit], from the counts at the cuts between bins; less its bias it may be below 0."""
        score = np.empty((len(targets), len(walk.finite)))
        booleans = [i for i, t in enumerate(targets) if t.kind == "boolean"]
        score[booleans] = self._exact_booleans(walk, [targets[i].columns[0] for i in booleans]).T
        for i, target in enumerate(targets):
            if target.kind != "boolean":
                score[i] = self._exact(state, walk, target)
        return score

    def _exact(self, state: PairOrder, walk: Walk, target: Target) -> Floats:
        """float64[unit], for a number or a category."""
        first, columns = target.columns[0], list(target.columns)
        if target.kind == "number":
            boolean = state.assembled().boolean
            at = len(boolean) + int((~boolean[:first]).sum()) * self.bins
            columns = list(range(at, at + self.bins))
        table = _between(walk.counts[:, :, columns], walk.positives[columns])
        return np.asarray(self._bits(torch.from_numpy(table).double()))

    def _exact_booleans(self, walk: Walk, columns: list[int]) -> Floats:
        """float64[unit, column], what `_bits` is for two values, with the logarithm of each count taken once."""
        of = walk.null_class[columns]
        all_p, n = walk.positives[columns].astype(np.int64), walk.n[of]
        logs = torch.xlogy(x := torch.arange(int(walk.n.max(initial=0)) + 1, dtype=torch.float64), x).numpy()
        found = np.empty((len(walk.finite), len(columns)))
        for first in range(0, len(found), UNITS):
            some = slice(first, first + UNITS)
            p = _between(walk.counts[some][:, :, columns], all_p[None, None])
            sizes = np.ascontiguousarray(walk.sizes[:, some].transpose(1, 2, 0))
            rows = _between(sizes, walk.n[None, None])
            r = rows[:, :, of]
            nats = (logs[p] + logs[r - p] - logs[rows][:, :, of]).sum(1)
            nats = (nats - logs[all_p] - logs[n - all_p] + logs[n]) / np.maximum(n, 1)
            if self.corrected:
                cells = ((p > 0).sum(1) + (p < r).sum(1)) - (r > 0).sum(1) - (all_p > 0) - (all_p < n) + 1
                nats -= cells / (2 * np.maximum(n, 1))
            found[some] = nats / math.log(2)
        return found

    def _of_bins(self, sketch: Sketch, target: Target, cuts: Cuts) -> tuple[Tensor, Tensor]:
        """The scores of bins that are cut at borders of a sketch, and by how much these may be off, float64[unit]."""
        first, columns = target.columns[0], list(target.columns)
        of = sketch.null_class[first]
        n = sketch.classes[:, :, of].flip(1).double()
        most = int(n[0].sum()) - torch.from_numpy(cuts.needs(int(n[0].sum()))[:-1]).to(n.device)
        at, off = nearest_borders(n, ~sketch.pure().flip(1), most)
        if target.kind == "number":
            number = int((~sketch.boolean[:first]).sum())
            table = sketch.number_counts(number).flip(1).double()
            n_y = table[:1].sum(1).flip(1)
            at_y, off_y = nearest_borders(n_y, ~sketch.pure_numbers()[number, None].flip(1), most)
            above_y = torch.nn.functional.pad(table.flip(2).cumsum(2), (1, 0))[:, :, at_y[0]]
            table = _between_tensors(above_y.mT, table.sum(2)[:, None]).mT
            off = torch.maximum(off, off_y)
        else:
            table = sketch.counts[:, :, columns].flip(1).double()
            if target.kind == "boolean":
                table = torch.cat([table, n[:, :, None] - table], 2)
        above = torch.nn.functional.pad(table.cumsum(1), (0, 0, 1, 0))
        above = above.gather(1, at[:, :, None].expand(-1, -1, table.shape[2]))
        return self._bits(_between_tensors(above, table.sum(1, keepdim=True))).clamp_min(0), off

    def _bits(self, table: Tensor) -> Tensor:
        """float64[unit]: the information of tables of counts, float64[unit, bin, value]."""
        n = table.sum((1, 2))
        rows, columns = table.sum(2), table.sum(1)
        parts = [torch.xlogy(t, t).flatten(1).sum(1) for t in (table, rows, columns)]
        nats = (parts[0] - parts[1] - parts[2] + torch.xlogy(n, n)) / n
        if self.corrected:
            cells = [(t > 0).flatten(1).sum(1) for t in (table, rows, columns)]
            nats = nats - (cells[0] - cells[1] - cells[2] + 1) / (2 * n)
        return nats / math.log(2)


def nearest_borders(n: Tensor, loose: Tensor, most: Tensor) -> tuple[Tensor, Tensor]:
    """The borders of bins that are nearest to cuts.

    Args:
        n: float64[unit, bin], symbols, from the greatest values to the least.
        loose: bool[unit, bin], which bins may hold more than one value.
        most: int64[cut], how many symbols may be above each cut.

    Returns:
        How many bins are above each cut, int64[unit, cut]; and the greatest share of the symbols that a border may be
        off by, float64[unit].
    """
    after = n.cumsum(1)
    inside = torch.searchsorted(after, most.double().expand(len(n), -1).contiguous(), right=True)
    following = inside.clamp_max(n.shape[1] - 1)
    size, more = after.gather(1, following) - n.gather(1, following), n.gather(1, following)
    open_bin = loose.gather(1, following) & (inside < n.shape[1])
    further = open_bin & (2 * (most - size) > more)
    off = torch.where(open_bin, torch.where(further, more, most - size), 0).amax(1) / after[:, -1].clamp_min(1)
    return inside + further, off


def _between(above: npt.NDArray[Any], whole: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """[unit, bin, value] of counts above cuts, from the lowest cut to the highest, and of all symbols."""
    borders = np.concatenate([np.broadcast_to(whole, (len(above), 1, above.shape[2])), above, 0 * above[:, :1]], 1)
    between: npt.NDArray[Any] = borders[:, :-1] - borders[:, 1:]
    return between


def _between_tensors(above: Tensor, whole: Tensor) -> Tensor:
    """The same of tensors."""
    return torch.cat([whole, above], 1) - torch.nn.functional.pad(above, (0, 0, 0, 1))
