"""Many iterative fits over the same rows, one pass over the rows a step for all of them.

The probes of all hypotheses and strengths take part in one computation. Each has a search of its own; what they share
is the pass that evaluates all of them (`passes`). A probe leaves when it has converged, or given up. A search needs
memory for what it knows of its curvature, so there is room for some only: the others wait, and enter as probes leave.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from deepbase.measures.probes.design import Design
from deepbase.measures.probes.lbfgs import SHORTEST, Stacked
from deepbase.measures.probes.passes import Evaluation, evaluate
from deepbase.measures.probes.result import Collected, LogisticFit
from deepbase.measures.probes.start import Survey, survey


class AbstractSearches(Stacked, abc.ABC):
    """The searches that are in the computation, one row each.

    Attributes:
        probe: int64[search], their numbers: strength by strength, hypothesis by hypothesis.
    """

    probe: Tensor

    @abc.abstractmethod
    def there(self) -> Tensor:
        """float64[search, unit + 1], the points to look at next."""

    @abc.abstractmethod
    def sample(self, rows: int) -> list[int]:
        """From how many of the rows each wants its Hessian in the next pass."""

    @abc.abstractmethod
    def step(self, there: Tensor, seen: Evaluation) -> None:
        """Take in what was seen at these points, and choose where to go next."""

    @abc.abstractmethod
    def standing(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """float64[search]: the point, the value, how far that is above the optimum, the passes, the next length."""


Begin = Callable[[Tensor, Tensor], AbstractSearches]
"""The searches of some probes, int64[search], with their penalties `1 / C`, float64[search]."""


def fit_together(
    design: Design,
    strengths: Sequence[float],
    prepare: Callable[[Survey], Begin],
    *,
    tolerance: float,
    max_passes: int,
    room: int,
) -> tuple[LogisticFit, ...]:
    """Fit the probes of all hypotheses and strengths, at most `room` at a time, but one always.

    The other arguments are those of `fit_logistic`; `prepare` makes of what one pass learned what begins searches.
    """
    found = survey(design)
    if found is None:
        return Collected(len(strengths) * design.hypotheses, design.units, torch.device("cpu")).fits(len(strengths))
    begin = prepare(found)
    results = Collected(len(strengths) * design.hypotheses, design.units, found.gram.device)
    waiting = found.varies.repeat(len(strengths)).nonzero()[:, 0]
    weight = torch.tensor([1 / c for c in strengths], dtype=torch.float64, device=waiting.device)
    weight = weight.repeat_interleave(design.hypotheses)
    running = begin(waiting[:0], weight[:0])
    while len(waiting) or len(running.probe):
        if free := max(0, max(1, room) - len(running.probe)):
            new, waiting = waiting[:free], waiting[free:]
            running = running.joined(begin(new, weight[new])) if len(new) else running
        there = running.there()
        running.step(there, evaluate(design, there, running.probe % design.hypotheses, running.sample(design.rows)))
        point, value, gap, passes, length = running.standing()
        close = gap <= tolerance * value
        done = close | (passes >= max_passes) | (length < SHORTEST)
        results.put(*(x[done] for x in (running.probe, point, value, passes, close)))
        running = running if not bool(done.any()) else running.only(~done)
    return results.fits(len(strengths))
