"""The rows of `hypothesis_values`: one hypothesis at every symbol, evaluated as in an inspection."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import duckdb
import pyarrow as pa

from deepbase.blocks import Block
from deepbase.errors import HypothesisError
from deepbase.inputs.symbols import columns_at, symbols_schema
from deepbase.labels.base import Label
from deepbase.labels.binding import bind, mentions, unshadowed
from deepbase.labels.evaluate import Labels, expression_type, register_functions
from deepbase.tables.base import PLACE, REQUEST
from deepbase.tables.scan import FIXED, Asked, Rows, in_order


class LabelRows(Rows):
    """The rows of `hypothesis_values`, with a small DuckDB of its own, in which the hypothesis is evaluated."""

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._workspace = duckdb.connect(config={"threads": 1})
        try:
            label = self._bound(asked)
        except BaseException:
            self._workspace.close()
            raise
        self._labels = Labels(self._workspace, [label])
        self._has_values = asked.needs("value")
        self.wanted = asked.some(*PLACE) | {"record"}
        if self._has_values:
            own = {c.name for c in asked.dataset.columns if mentions(label.expression, c.name)}
            self.wanted |= FIXED | own

    def of(self, block: Block) -> Iterator[pa.Table]:
        """The hypothesis at the symbols of a block, by record and position."""
        known = self.known(block)
        known = known.select([name for name in known.column_names if name in (REQUEST, *PLACE)])
        if self._has_values:
            found = self._labels.evaluate(block.symbols)
            values = pa.array(found.values[:, 0], mask=~found.valid[:, found.null_class[0]])
            known = known.append_column("value", values)
        yield in_order(known)

    def close(self) -> None:
        """End the DuckDB."""
        self._workspace.close()

    def _bound(self, asked: Asked) -> Label:
        request, schema = asked.request, symbols_schema(asked.dataset.columns, asked.request.at)
        columns = columns_at(asked.dataset.columns, request.at)
        known = asked.source.hypotheses([request.hypothesis])
        register_functions(self._workspace, [h.function for h in known.values() if h.function])
        labels = bind(
            [request.hypothesis], unshadowed(known, columns), columns, partial(_type_of, self._workspace, schema)
        )
        if len(labels) > 1:
            some = ", ".join(f"'{x.name}'" for x in labels[:5])
            raise HypothesisError(
                f"'{request.hypothesis}' means {len(labels)} hypotheses: {some}{', ...' if len(labels) > 5 else ''}",
                "Name one of them.",
            )
        return labels[0]


def _type_of(connection: duckdb.DuckDBPyConnection, schema: pa.Schema, expression: str) -> str:
    return expression_type(connection, expression, schema)
