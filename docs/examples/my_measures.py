"""Two measures: one that reads a state which is there already, and one with a state of its own."""

import math
from dataclasses import dataclass

import torch

import deepbase


@dataclass(frozen=True)
class Slope(deepbase.Measure):
    """The slope of the line that predicts a unit from a hypothesis, by least squares."""

    standardized: bool = False  # an option, with its default

    name = "slope"
    description = "how much a unit changes where the hypothesis is one greater"
    formula = "cov(x, y) / var(y)"
    state_type = deepbase.PairMoments
    range = (-math.inf, math.inf)
    signed = True
    kinds = ("boolean", "number")

    def compute(self, state, targets):
        (x, var_x), (y, var_y), of = state.unit_moments(), state.label_moments(), state.null_class
        slope = (state.xy / state.symbols() - x[of] * y[:, None]) / var_y[:, None]
        slope = slope / var_x[of].sqrt() if self.standardized else slope
        return deepbase.pair_values(slope, state, targets, self.kinds)


@dataclass(frozen=True)
class Extremes(deepbase.MeasureState):
    """float32[hypothesis, unit]: the least value where a hypothesis is true, the greatest where it is false."""

    least: torch.Tensor
    greatest: torch.Tensor

    @classmethod
    def first(cls, units, labels, memory):
        nothing = torch.full((len(labels.kinds), units.shape[1]), math.inf, device=units.device)
        return cls(nothing, -nothing).update(units, labels)

    def empty_like(self, labels):
        return Extremes(torch.full_like(self.least, math.inf), torch.full_like(self.greatest, -math.inf))

    def update(self, units, labels):
        least, greatest = self.least.clone(), self.greatest.clone()
        for h in range(len(labels.kinds)):
            known, true = labels.known[:, h], labels.values[:, h] > 0
            for rows, kept, take in ((known & true, least, torch.amin), (known & ~true, greatest, torch.amax)):
                if rows.any():
                    kept[h] = take(torch.stack([kept[h], take(units[rows], 0)]), 0)
        least[:, ~units.isfinite().all(0)] = math.nan  # for good: NaN stays NaN in every minimum
        return Extremes(least, greatest)

    def merge(self, other):
        return Extremes(torch.minimum(self.least, other.least), torch.maximum(self.greatest, other.greatest))

    @classmethod
    def memory(cls, units, columns, symbols, limit):
        return 2 * 4 * units * columns


@dataclass(frozen=True)
class Margin(deepbase.Measure):
    """Above 0, one threshold on the unit tells all true symbols from all false ones."""

    name = "margin"
    description = "least value of a unit where the hypothesis is true, less its greatest where it is false"
    formula = "min(x | y) - max(x | not y)"
    state_type = Extremes
    range = (-math.inf, math.inf)
    signed = False
    kinds = ("boolean",)

    def compute(self, state, targets):
        columns = [target.columns[0] for target in targets]
        missing = "hypothesis is constant, or unit is not finite"
        return deepbase.Values.of((state.least - state.greatest)[columns], missing)
