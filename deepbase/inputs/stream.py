"""Records in a random order, block by block, from a table of any size.

The problem. Scores should come from a random sample of records at every moment, whatever the order of the file, and
nothing may grow with the number of records: not even a shuffled list of their numbers.

The idea. A keyed permutation of `0 .. n-1` that is computed, not stored: a Feistel network over the next power of four,
walked until it lands inside the range (Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002). Block
`i` is positions `i * span .. (i + 1) * span` of the permutation, so any block can be read at any time, which is what
makes a run resumable. DuckDB joins the record numbers to the table; several blocks are read at once, to spare scans.

A filter on records is part of that query. It widens the span of a block instead of thinning the block, so that blocks
stay full when few records pass, as far as `READ_PLACES` goes.

Cost: each read scans the columns it needs once. Memory: the blocks that are read ahead, at most about `READ_CHARACTERS`
characters of text and their annotations, and `READ_PLACES` numbers of records.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from deepbase.blocks import Ints
from deepbase.errors import DatasetError

BLOCK_RECORDS = 1024
BLOCK_CHARACTERS = 131_072
BLOCK_LABELS = 2**25
READ_CHARACTERS = 2**22
READ_PLACES = 2**19
ROUNDS = 6
PLACE, DRAWN = "deepbase_place", "deepbase_drawn"
ALWAYS = ("record", "text", "word", "word_start", "word_end")


@dataclass(frozen=True)
class Records:
    """The records of a dataset that a run reads, and how they fall into blocks.

    Attributes:
        table: the qualified name of the table.
        columns: the columns that are read.
        where: an SQL predicate over its columns; empty for all.
        total: how many records the table has.
        matching: how many of them pass the filter.
        limit: how many are read at most.
        span: positions of the random order that make a block.
        ahead: how many blocks one query reads.
        seed: of the random order.
    """

    table: str
    columns: tuple[str, ...]
    where: str
    total: int
    matching: int
    limit: int
    span: int
    ahead: int
    seed: int

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return -(-self.total // self.span)

    @property
    def expected(self) -> int:
        """How many records will be read if nothing stops the run."""
        return min(self.matching, self.limit)

    def chunks(self, first: int) -> Iterator[range]:
        """The blocks from `first` on, in groups that one query reads."""
        for block in range(first, self.blocks, self.ahead):
            yield range(block, min(block + self.ahead, self.blocks))

    def read(self, connection: duckdb.DuckDBPyConnection, blocks: range) -> list[pa.Table]:
        """The records of some blocks, one table a block, in the random order."""
        places = np.arange(blocks.start * self.span, min(blocks.stop * self.span, self.total), dtype=np.int64)
        order = pa.table({PLACE: places, DRAWN: permuted(places, self.total, self.seed)})
        connection.register("block_order", order)
        columns = ", ".join(f't."{c.replace(chr(34), chr(34) * 2)}"' for c in self.columns)
        condition = f"WHERE ({self.where}\n)" if self.where else ""
        try:
            table = connection.sql(
                f"SELECT {PLACE}, {columns} FROM block_order JOIN {self.table} t ON t.record = {DRAWN} "
                f"{condition} ORDER BY {PLACE}"
            ).to_arrow_table()
        finally:
            connection.unregister("block_order")
        block = table[PLACE].to_numpy() // self.span
        bounds = np.searchsorted(block, np.arange(blocks.start, blocks.stop + 1))
        table = table.drop_columns([PLACE])
        return [table.slice(a, b - a) for a, b in itertools.pairwise(bounds)]


def records(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    *,
    columns: Sequence[str] = (),
    where: str = "",
    limit: int | None = None,
    seed: int = 0,
    hypotheses: int = 1,
) -> Records:
    """Plan the reading of a table of records.

    Args:
        connection: to count with.
        table: the qualified name of the table.
        columns: what is read beside the text and the words.
        where: an SQL predicate over its columns.
        limit: how many records to read at most.
        seed: of the random order.
        hypotheses: how many there are; more of them make smaller blocks.

    Raises:
        DatasetError: if the predicate does not bind, or no record passes.
    """
    own = [r[0] for r in connection.execute(f"DESCRIBE {table}").fetchall()]
    total, characters = connection.execute(f"SELECT count(*), avg(length(text)) FROM {table}").fetchall()[0]
    matching = total
    if where:
        try:
            matching = connection.execute(f"SELECT count(*) FROM {table} t WHERE ({where}\n)").fetchall()[0][0]
        except duckdb.Error as error:
            raise DatasetError(
                f"cannot filter records by {where!r}: {str(error).splitlines()[0]}",
                f"The columns are: {', '.join(own)}.",
            ) from error
        if not matching:
            raise DatasetError(f"no record passes the filter {where!r}", "Widen it.")
    mean = max(float(characters or 0), 1.0)
    size = int(min(BLOCK_RECORDS, max(min(BLOCK_CHARACTERS, BLOCK_LABELS // max(hypotheses, 1)) / mean, 1)))
    span = min(max(size * total // matching, 1), total, READ_PLACES)
    return Records(
        table=table,
        columns=tuple(c for c in own if c in ALWAYS or c in columns),
        where=where,
        total=total,
        matching=matching,
        limit=matching if limit is None else limit,
        span=span,
        ahead=int(max(min(READ_CHARACTERS / (size * mean), READ_PLACES / span), 1)),
        seed=seed,
    )


def permuted(places: Ints, size: int, seed: int) -> Ints:
    """Where a seeded random permutation of `0 .. size-1` sends some places.

    >>> sorted(permuted(np.arange(10), 10, seed=1).tolist())
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    half = max((max(size - 1, 1).bit_length() + 1) // 2, 1)
    keys = np.random.default_rng([seed, size]).integers(0, 2**63, ROUNDS, dtype=np.uint64)
    found = _feistel(places.astype(np.uint64), half, keys)
    while (outside := found >= size).any():
        found[outside] = _feistel(found[outside], half, keys)
    return found.astype(np.int64)


def _feistel(x: np.ndarray, half: int, keys: np.ndarray) -> np.ndarray:
    """A balanced Feistel network on `2 * half` bits, with the mixer of SplitMix64 as its round function."""
    mask, shift = np.uint64(2**half - 1), np.uint64(half)
    left, right = x >> shift, x & mask
    for key in keys:
        mixed = right + key
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        left, right = right, left ^ ((mixed ^ (mixed >> np.uint64(31))) & mask)
    return (left << shift) | right
