"""What a fit of probes leaves behind."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LogisticFit:
    """The probes of all hypotheses of a design, for one strength of the penalty.

    A hypothesis that is true at no row, or at every row, has no finite optimum of its intercept. It is not fitted: NaN
    everywhere, 0 passes, not converged. Units that are 0 throughout have the weight 0 exactly.

    Attributes:
        coefficients: float64[hypothesis, unit].
        intercept: float64[hypothesis].
        objective: float64[hypothesis], the penalized sum of the losses at the coefficients, as the fit's module has it.
        passes: int64[hypothesis], how often the design was read while the hypothesis took part in the computation.
        converged: bool[hypothesis], whether the criterion of convergence was met.
    """

    coefficients: Tensor
    intercept: Tensor
    objective: Tensor
    passes: Tensor
    converged: Tensor

    @property
    def fitted(self) -> Tensor:
        """bool[hypothesis], whether there was something to fit."""
        return ~torch.isnan(self.objective)


class Collected:
    """The results of probes while they come in, one row a probe."""

    def __init__(self, probes: int, units: int, device: torch.device) -> None:
        self.point = torch.full((probes, units + 1), torch.nan, dtype=torch.float64, device=device)
        self.objective = torch.full((probes,), torch.nan, dtype=torch.float64, device=device)
        self.passes = torch.zeros(probes, dtype=torch.int64, device=device)
        self.converged = torch.zeros(probes, dtype=torch.bool, device=device)

    def put(self, probe: Tensor, point: Tensor, objective: Tensor, passes: Tensor, converged: Tensor) -> None:
        """Keep what became of some probes."""
        self.point[probe], self.objective[probe] = point, objective
        self.passes[probe], self.converged[probe] = passes, converged

    def fits(self, strengths: int) -> tuple[LogisticFit, ...]:
        """The probes by strength, where those of a strength are next to each other."""
        parts = (x.chunk(strengths) for x in (self.point, self.objective, self.passes, self.converged))
        return tuple(
            LogisticFit(point[:, :-1], point[:, -1], objective, passes, converged)
            for point, objective, passes, converged in zip(*parts, strict=True)
        )
