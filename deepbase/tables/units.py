"""The rows of `activations` and `unit_activations`: forwards, as few and as short as the query allows.

A batch is forwarded only if one of its rows may pass the filter, and only as far as the deepest layer that is asked
for; where nobody reads the values, none is. What a layer gives is copied out of the forward at once: of one unit, its
column; of whole layers, those of one batch, which is small enough that all of them take about `BATCH_VALUES` numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from deepbase.blocks import Batch, Block, Ints, Layer, Level
from deepbase.errors import ModelError, QueryError, nearest
from deepbase.tables.base import PLACE, REQUEST
from deepbase.tables.blocks import with_text
from deepbase.tables.scan import Asked, Rows, record_order

if TYPE_CHECKING:
    from torch import Tensor

    from deepbase.models.base import InspectableModel

BATCH_VALUES = 2**24
"""How many values of all asked layers a batch may have, unless it is a single record."""
LEAST_TOKENS = 256
HEAD_START = 0.01
"""Seconds in which the first forward of a block gets under way."""


class UnitRows(Rows):
    """The rows of `unit_activations`."""

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        layer = _layer(asked.model, asked.request.layer)
        self._layer = layer.layer
        self._unit = _unit(asked.request.unit, layer)
        self._has_values = asked.needs("value")
        self.head_start = HEAD_START * self._has_values
        self.wanted = asked.some(*PLACE) | {"record"}

    def of(self, block: Block) -> Iterator[pa.Table]:
        """The unit at the symbols of a block that may pass the filter, by record and position."""
        known = self.known(block)
        rows = self.asked.rows.possible(known)
        if not len(rows):
            return
        if self._has_values:
            known = known.append_column("value", pa.array(self._values(block, rows)))
        order = record_order(known)
        if len(rows) < len(known):
            passing = np.zeros(len(known), dtype=bool)
            passing[rows] = True
            order = rows if order is None else order[passing[order]]
        yield known if order is None else known.take(pa.array(order))

    def _values(self, block: Block, rows: Ints) -> npt.NDArray[np.float32]:
        """float32[symbol]; NaN in batches without a row that may pass."""
        found = np.full(len(block.symbols), np.nan, dtype=np.float32)
        for batch in block.batches:
            if _touches(batch, rows):
                values = forwarded(self.asked.model, batch, [self._layer], self.asked.request.at, self._unit)
                found[batch.first : batch.first + batch.symbols] = values[self._layer][:, 0]
        return found


class ActivationRows(Rows):
    """The rows of `activations`."""

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        names = pa.table({"layer": [x.layer for x in asked.model.layers]})
        possible = asked.rows.possible(with_text(names, REQUEST, asked.request.key))
        self._layers = [asked.model.layers[i] for i in possible.tolist()]
        self._has_values = asked.needs("activation")
        self.head_start = HEAD_START * self._has_values
        width = sum(x.width for x in self._layers) if self._has_values else 1
        self.batch_tokens = int(min(4096, max(BATCH_VALUES // max(width, 1), LEAST_TOKENS)))
        self.wanted = asked.some(*PLACE) | {"record"}

    def of(self, block: Block) -> Iterator[pa.Table]:
        """The layers at the symbols of a batch that may pass the filter, batch by batch and layer by layer."""
        known = self.known(block)
        for batch in block.batches:
            part = known.slice(batch.first, batch.symbols)
            order = record_order(part)
            part = part if order is None else part.take(pa.array(order))
            rows = self._rows(part)
            layers = [layer for layer, passing in rows.items() if len(passing)]
            values = {}
            if layers and self._has_values:
                values = forwarded(self.asked.model, batch, layers, self.asked.request.at)
            for layer in layers:
                passing = rows[layer]
                every = len(passing) == len(part)
                table = with_text(part if every else part.take(pa.array(passing)), "layer", layer)
                if self._has_values:
                    at = passing if order is None else order[passing]
                    array = values.pop(layer)
                    table = table.append_column("activation", _lists(array if every and order is None else array[at]))
                yield table

    def _rows(self, part: pa.Table) -> dict[str, Ints]:
        """The rows of some symbols that may pass the filter, by layer."""
        if "layer" not in self.asked.rows.columns:
            return dict.fromkeys((x.layer for x in self._layers), self.asked.rows.possible(part))
        return {x.layer: self.asked.rows.possible(with_text(part, "layer", x.layer)) for x in self._layers}


def forwarded(
    model: InspectableModel, batch: Batch, layers: Collection[str], at: Level, unit: int | None = None
) -> dict[str, npt.NDArray[np.float32]]:
    """float32[symbol, unit] by layer: of one unit, or of all."""
    from deepbase.engine.behaviors import behaviors

    found: dict[str, npt.NDArray[np.float32]] = {}

    def visit(layer: str, values: Tensor) -> None:
        chosen = values if unit is None else values[:, unit : unit + 1]
        found[layer] = behaviors(chosen, batch, at, "value").cpu().numpy()
        if unit is not None:
            found[layer] = found[layer].copy()  # else a view of the whole layer

    model.run(batch, layers, visit)
    return found


def _lists(values: npt.NDArray[np.float32]) -> pa.ListArray:
    rows, width = values.shape
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * width)
    return pa.ListArray.from_arrays(offsets, pa.array(values.reshape(-1)))


def _touches(batch: Batch, rows: Ints) -> bool:
    """Whether one of some ascending rows is in a batch."""
    at = int(np.searchsorted(rows, batch.first))
    return at < len(rows) and int(rows[at]) < batch.first + batch.symbols


def _layer(model: InspectableModel, name: str) -> Layer:
    for layer in model.layers:
        if layer.layer == name:
            return layer
    if name in model.refused:
        raise ModelError(f"layer '{name}' has no value per symbol", model.refused[name])
    raise ModelError(f"there is no layer '{name}'", nearest(name, [x.layer for x in model.layers]))


def _unit(text: str, layer: Layer) -> int:
    if text.isdecimal() and int(text) < layer.width:
        return int(text)
    raise QueryError(
        f"layer '{layer.layer}' has no unit {text or 'NULL'}", f"Its units are the numbers 0 to {layer.width - 1}."
    )
