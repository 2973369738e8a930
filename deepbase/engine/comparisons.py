"""Groups of units compared with each other: which there are in a run, and what their rows of `scores` are of.

The groups are the layers, or the models, of a run; within a slice every two of them are compared. The rows of a group
name the other one in the place of a hypothesis: by its layer where it is of the same model, as `model:layer` where it
is of another, and by the model alone where whole models are compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from deepbase.engine.base import ChosenLayer, Job, Part, RunState, Slice, SliceState
from deepbase.measures.base import Values
from deepbase.measures.probes.comparisons import AbstractComparison
from deepbase.measures.probes.matching import MatchedUnits, Order, matched
from deepbase.measures.rows import Rows


@dataclass(frozen=True)
class Comparison:
    """The scores of the units of a layer against another group.

    Attributes:
        part: the model of the layer.
        layer: the layer, which is the group or a part of it.
        values: the slice.
        found: what is known of the model on it, with the symbols and records that were compared.
        measure: by what.
        other: what the other group is called.
        scores: of one target.
    """

    part: Part
    layer: ChosenLayer
    values: Slice
    found: SliceState
    measure: AbstractComparison
    other: str
    scores: Values


@dataclass(frozen=True)
class _Group:
    """Some layers of a model that are compared as one."""

    part: Part
    found: SliceState
    layers: Sequence[ChosenLayer]
    units: MatchedUnits
    whole: bool

    def name(self, to: _Group) -> str:
        """What it is called in the rows of another group."""
        if self.whole:
            return self.part.name
        layer = self.layers[0].layer
        return layer if self.part is to.part else f"{self.part.name}:{layer}"


def comparisons(job: Job, state: RunState) -> Iterator[Comparison]:
    """What the measures of a job that compare groups say; nothing where it has none."""
    measures = [m for m in job.measures if isinstance(m, AbstractComparison)]
    if not measures:
        return
    for values in dict.fromkeys(values for values, _ in state.slices):
        parts = [p for p in job.parts if not p.baseline and (values, p.key) in state.slices]
        states = [state.slices[values, p.key] for p in parts]
        rows = [_rows(s, p.layers[0]) for p, s in zip(parts, states, strict=True)]
        orders = matched(rows, without_first=job.spec.behavior == "derivative")
        models = [(p, _compared(s, o), o) for p, s, o in zip(parts, states, orders, strict=True)]
        for measure in measures:
            groups = [g for model in models for g in _groups(*model, whole=measure.group == "model")]
            for i, j, scores in measure.compare([g.units for g in groups]):
                first, other = groups[i], groups[j].name(groups[i])
                unit = 0
                for layer in first.layers:
                    own = scores.units(slice(unit, unit + layer.width))
                    yield Comparison(first.part, layer, values, first.found, measure, other, own)
                    unit += layer.width


def _groups(part: Part, found: SliceState, order: Order, *, whole: bool) -> Iterator[_Group]:
    """The layers of a model, each alone or all together."""
    for layers in [part.layers] if whole else [(layer,) for layer in part.layers]:
        units = MatchedUnits(tuple(_rows(found, layer) for layer in layers), order)
        yield _Group(part, found, layers, units, whole)


def _rows(found: SliceState, layer: ChosenLayer) -> Rows:
    return cast(Rows, found.layers[layer.layer][Rows])


def _compared(found: SliceState, order: Order) -> SliceState:
    """The state of a slice with the symbols and records that are compared."""
    return replace(found, symbols=np.array([len(order.rows)]), records=np.array([len(np.unique(order.record))]))
