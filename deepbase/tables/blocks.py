"""The records of a scan, block by block, in the order of the dataset, and as symbols.

The first block is small, so that a LIMIT is answered soon, and each is twice the one before it, up to a size at which a
forward is efficient. Which records a filter leaves is found in pieces, so that no list of all is ever made.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Collection, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from deepbase.blocks import Block, Column, InputFormat, Ints, Level, Tokenize
from deepbase.catalog import DatasetRow, quoted
from deepbase.inputs.symbols import make_block, needs_words
from deepbase.tables.filters import Filter

FIRST_RECORDS = 32
BLOCK_RECORDS = 1024
BLOCK_CHARACTERS = 131_072
BATCH_RECORDS = 32
LEAST_BATCH = 8
"""The most records of a batch of a small block, which has few that are of like length."""
PLACES = 2**16
"""How many numbers of records are looked at together."""
ORDER = "deepbase_records"
AT_ONCE = 2
"""How many blocks are made when they are asked for; those that follow, while the one before is at work."""


@dataclass(frozen=True)
class Reading:
    """What is read for a scan, and how it becomes symbols.

    Attributes:
        dataset: what is read.
        tokenize: texts to encodings.
        input_format: how the model wants to be fed.
        at: what a symbol is.
        wanted: the columns of the symbols that the scan needs.
        batch_tokens: the most tokens of a batch.
    """

    dataset: DatasetRow
    tokenize: Tokenize
    input_format: InputFormat
    at: Level
    wanted: Collection[str]
    batch_tokens: int = 4096

    @property
    def columns(self) -> list[Column]:
        """The columns of the dataset that are needed."""
        return [column for column in self.dataset.columns if column.name in self.wanted]

    def blocks(self, cursor: duckdb.DuckDBPyConnection, numbers: Iterator[Ints]) -> Iterator[Block]:
        """The blocks of some records.

        Args:
            cursor: a cursor on the catalog, for the time of the reading.
            numbers: int64[record] in pieces, ascending.
        """
        own = [str(row[0]) for row in cursor.execute(f"DESCRIBE {self.dataset.table}").fetchall()]
        names = ["record", "text", *(column.name for column in self.columns)]
        if needs_words(self.wanted, self.columns, self.at):
            names += [n for n in ("word", "word_start", "word_end") if n in own]
        size, most = FIRST_RECORDS, BLOCK_RECORDS
        rest = np.empty(0, dtype=np.int64)
        for piece in numbers:
            rest = np.concatenate([rest, piece])
            while len(rest) >= min(size, most):
                size = min(size, most)
                block = self._block(_read(cursor, self.dataset.table, names, rest[:size]))
                rest, size = rest[size:], 2 * size
                most = min(BLOCK_RECORDS, max(int(BLOCK_CHARACTERS * block[1]), 1))
                yield block[0]
        while len(rest):
            yield self._block(_read(cursor, self.dataset.table, names, rest[:most]))[0]
            rest = rest[most:]

    def _block(self, records: pa.Table) -> tuple[Block, float]:
        """A block, and how many of its records have one character together."""
        texts = records["text"].to_pylist()
        block = make_block(
            0,
            records,
            self.tokenize(texts),
            self.input_format,
            self.columns,
            level=self.at,
            batch_size=min(max(len(texts) // 4, LEAST_BATCH), BATCH_RECORDS),
            batch_tokens=self.batch_tokens,
            wanted=self.wanted,
        )
        return block, len(texts) / max(sum(map(len, texts)), 1)


def record_numbers(rows: Filter, column: str, text: str, total: int) -> Iterator[Ints]:
    """int64[record], the numbers of the records that a filter leaves, in pieces.

    Args:
        rows: the filter.
        column, text: a column that has one text.
        total: how many records there are.
    """
    for start in range(0, total, PLACES):
        numbers = np.arange(start, min(start + PLACES, total), dtype=np.int64)
        yield numbers[rows.possible(with_text(pa.table({"record": numbers}), column, text))]


def with_text(table: pa.Table, name: str, text: str) -> pa.Table:
    """A table with one more column, which has one text."""
    return table.append_column(name, pa.repeat(text, len(table)))


def _read(cursor: duckdb.DuckDBPyConnection, table: str, names: list[str], numbers: Ints) -> pa.Table:
    columns = ", ".join(f"t.{quoted(n)}" for n in dict.fromkeys(names))
    first, last = int(numbers[0]), int(numbers[-1])
    between = f"t.record BETWEEN {first} AND {last}"
    if last - first + 1 == len(numbers):
        return cursor.sql(f"SELECT {columns} FROM {table} t WHERE {between} ORDER BY t.record").to_arrow_table()
    cursor.register(ORDER, pa.table({"n": numbers}))
    try:
        return cursor.sql(
            f"SELECT {columns} FROM {table} t SEMI JOIN {ORDER} ON t.record = n WHERE {between} ORDER BY t.record"
        ).to_arrow_table()
    finally:
        cursor.unregister(ORDER)


def made_ahead(blocks: Iterator[Block], head_start: float = 0.0) -> Generator[Block]:
    """The same blocks, of which the later ones are made in a thread while the one before is at work.

    The thread ends with this generator, however that ends.

    Args:
        blocks: the blocks.
        head_start: how many seconds the work on a block has before the next one is made, since both want Python's lock.
    """
    yield from itertools.islice(blocks, AT_ONCE)
    with ThreadPoolExecutor(1, "deepbase-blocks") as thread:

        def make(wait: float) -> Block | None:
            time.sleep(wait)
            return next(blocks, None)

        coming: Future[Block | None] = thread.submit(make, 0.0)
        while (block := coming.result()) is not None:
            coming = thread.submit(make, head_start)
            yield block
