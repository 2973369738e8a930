"""A scan: from a request and a filter to Arrow batches.

Everything is found out when the first batch is asked for, on the thread that asks. The scan reads the records in one
transaction of its own cursor, so that a dataset that is replaced meanwhile is read as it was; it keeps the file
attached until it is closed, as the query does to which it belongs. Between two batches it holds no lock and no mode of
torch, since the next one may be asked for on another thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepbase import catalog
from deepbase.blocks import Block, Ints
from deepbase.catalog import DatasetRow
from deepbase.errors import QueryError
from deepbase.tables.base import REQUEST, Request, Source
from deepbase.tables.blocks import Reading, made_ahead, record_numbers, with_text
from deepbase.tables.filters import Filter

if TYPE_CHECKING:
    from deepbase.models.base import InspectableModel

ROWS = 8192
"""The most rows of an Arrow batch."""


@dataclass(frozen=True)
class Asked:
    """What one scan was asked for, resolved.

    Attributes:
        source: where things come from.
        request: the arguments of the call.
        rows: the filter.
        columns: the columns that the batches have.
        schema: of the table.
        dataset, model: what the request names.
    """

    source: Source
    request: Request
    rows: Filter
    columns: list[str]
    schema: pa.Schema
    dataset: DatasetRow
    model: InspectableModel

    def needs(self, column: str) -> bool:
        """Whether a column is read by anybody."""
        return column in self.columns or column in self.rows.columns

    def some(self, *names: str) -> set[str]:
        """Those of some columns that are needed."""
        return {name for name in names if self.needs(name)}

    def finished(self, table: pa.Table) -> Iterator[pa.RecordBatch]:
        """The rows that pass the filter, with the columns of the batches and their types."""
        wanted = pa.schema([self.schema.field(name) for name in self.columns])
        for start in range(0, len(table), ROWS):
            found = self.rows.rows(table.slice(start, ROWS))
            if len(found):
                yield from found.select(self.columns).cast(wanted).combine_chunks().to_batches()


class Rows(ABC):
    """What a virtual table makes of a block of symbols; made with what was asked for, and closed at the end.

    Attributes:
        wanted: the columns of the symbols that it needs.
        batch_tokens: the most tokens of a batch of the model.
        head_start: the seconds that pass before the block after the present one is made.
    """

    wanted: Collection[str]
    batch_tokens: int = 4096
    head_start: float = 0.0

    def __init__(self, asked: Asked) -> None:
        self.asked = asked

    @abstractmethod
    def of(self, block: Block) -> Iterator[pa.Table]:
        """Tables with the columns that are asked for or filtered, before the filter, in order."""

    def close(self) -> None:  # noqa: B027
        """Give back what was taken."""

    def known(self, block: Block) -> pa.Table:
        """The symbols of a block, with the request to which they belong."""
        return with_text(block.symbols, REQUEST, self.asked.request.key)


Make = Callable[[Asked], Rows]


def scan(
    source: Source,
    table: str,
    schema: pa.Schema,
    columns: list[str],
    expression: pc.Expression | None,
    make: Make,
) -> Iterator[pa.RecordBatch]:
    """The rows of a virtual table.

    Args:
        source: where things come from.
        table: its name.
        schema: of the table.
        columns: what the batches have to have.
        expression: the filter.
        make: makes the rows of the table, once it is known what is asked for.

    Raises:
        DeepBaseError: for whatever the request names that is not there, or does not work.
    """
    request = Request.of(table, expression)
    with ExitStack() as stack:
        with source.store.guest():
            cursor = stack.enter_context(source.store.session())
            cursor.execute("BEGIN")
            asked = Asked(
                source=source,
                request=request,
                rows=Filter(expression, schema, REQUEST),
                columns=columns,
                schema=schema,
                dataset=catalog.dataset(cursor, request.dataset),
                model=_model(source, cursor, request.model),
            )
            rows = stack.enter_context(closing(make(asked)))
        for block in stack.enter_context(closing(_blocks(asked, rows, cursor))):
            for found in rows.of(block):
                yield from asked.finished(found)


def _model(source: Source, cursor: duckdb.DuckDBPyConnection, name: str) -> InspectableModel:
    catalog.model(cursor, name)  # says what there is, without loading anything
    return source.model(name)


def _blocks(asked: Asked, rows: Rows, cursor: duckdb.DuckDBPyConnection) -> Generator[Block]:
    reading = Reading(
        dataset=asked.dataset,
        tokenize=partial(asked.source.encodings.encode, asked.model.fingerprint, asked.model.tokenize),
        input_format=asked.model.input_format,
        at=asked.request.at,
        wanted=rows.wanted,
        batch_tokens=rows.batch_tokens,
    )
    numbers = record_numbers(asked.rows, REQUEST, asked.request.key, asked.dataset.records)
    return made_ahead(reading.blocks(cursor, numbers), rows.head_start)


FIXED = frozenset({"record", "position", "symbol", "token", "start", "end", "word", "word_index", "text"})
"""The columns of symbols whatever the dataset."""


class SymbolRows(Rows):
    """The rows of `symbols`."""

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked)
        self._fields = [asked.schema.field(name) for name in asked.schema.names if asked.needs(name)]
        self.wanted = {f.name for f in self._fields} - {REQUEST}
        gone = self.wanted - FIXED - {c.name for c in asked.dataset.columns}
        if gone:
            raise QueryError(
                f"dataset '{asked.dataset.dataset}' was replaced, and has no column '{min(gone)}' any more",
                "Ask again.",
            )

    def of(self, block: Block) -> Iterator[pa.Table]:
        """The symbols by record and position; what has no value at their level is NULL."""
        known = in_order(self.known(block))
        for field in self._fields:
            if field.name not in known.column_names:
                known = known.append_column(field.name, pa.nulls(len(known), field.type))
        yield known


def in_order(symbols: pa.Table) -> pa.Table:
    """Symbols by record and position; those of one record stand together already."""
    order = record_order(symbols)
    return symbols if order is None else symbols.take(pa.array(order))


def record_order(symbols: pa.Table) -> Ints | None:
    """int64[symbol], the rows of symbols by record and position; None where they are in this order."""
    record = symbols["record"].to_numpy()
    if (record[1:] >= record[:-1]).all():
        return None
    return np.argsort(record, kind="stable")
