"""Records in a random order, block by block, from a table of any size.

The problem. Scores should come from a random sample of records at every moment, whatever the order of the file, and
nothing may grow with the number of records: not even a shuffled list of their numbers.

The idea. The order is a seeded permutation of the record numbers that is computed, not stored (`inputs.order`). Block
`i` is the positions `bounds(i)` of it, so any block can be read at any time, which is what makes a run resumable. Every
record is as likely as any other to come first, second or last, and seeds share nothing, so that a file that is sorted
gives samples as good as one that is shuffled.

A run that may stop early looks at its scores after each block, so its blocks grow: half of what was read before, from
`FIRST_RECORDS` up to the size of the others. Where a block lies follows from the dataset and the filter alone.

Random reads. The records of some positions are found in one of three ways, by what they cost (DuckDB 2.0, two cores):

- A scan joins their numbers to the table. DuckDB compares the numbers and decodes nothing else where none fits, but it
  passes every row group: 4 to 9 ns a row of the table (0.1 s for 20 million, 1.7 s for 200 million), and about
  2 microseconds a record that is found.
- Look-ups, `record = number` one by one, pass one row group each, since records lie in the order of their numbers:
  1.2 ms, however long the table. They win where the table has more than `LOOKUP_ROWS` rows a record that is wanted,
  which is at the beginning of a large one.
- A scan for many records at once, sorted by DuckDB (which uses the disk if need be) into a temporary file, from which
  they are read one after another: 2 microseconds a record where there are 20 million, 4 where there are 200 million. So
  a run that goes on reads a shuffled copy, in parts, without ever having to shuffle what it does not come to. The parts
  are no larger because the database is locked while one is made. An index would have to be built for the whole table
  first, as would a stored copy in another order, and such a copy would tie the samples of different seeds together.

No read goes further than `READ_GROWTH` times what was read before, so a run that stops early has paid for little more
than it saw, and one that goes on takes few scans.

A filter on records is part of that query, and so is a stored selection of them. They widen the span of a block instead
of thinning the block, so that blocks stay full when few records pass, as far as `READ_PLACES` goes.

The values by which records are grouped come along as text, one column each (`group_columns`).

Cost: a scan of the columns of a filter, to count who passes; the scans above. Memory: at most about `READ_CHARACTERS`
characters of text and their annotations, and `SPOOL_PLACES` numbers of records. Disk: two
temporary files of at most `SPOOL_CHARACTERS` of text, at about 5 bytes a character with words and one annotation.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from deepbase.errors import DatasetError
from deepbase.inputs.files import identifier, quoted
from deepbase.inputs.order import permuted
from deepbase.inputs.spool import room, spooled

BLOCK_RECORDS = 1024
BLOCK_CHARACTERS = 131_072
BLOCK_LABELS = 2**25
READ_CHARACTERS = 2**22
READ_PLACES = 2**19
READ_GROWTH = 4
LOOKUP_ROWS = 200_000
LOOKUPS = 128
SPOOL_CHARACTERS = 2**27
SPOOL_PLACES = 2**20
SPOOL_ROWS = 2**14
SPOOL_ROOM = 64
COUNTED_RECORDS = 2**20
SAMPLED_RECORDS = 256
FIRST_RECORDS = 128
FIRST_SHARE = 8
"""The first block of a run that may stop early is this part of the records at most."""
TOKEN_CHARACTERS = 4
"""About how many characters of text make a token."""
ROUND_RECORDS = 64
MOST_GROUPS = 1_000
PLACE, DRAWN = "deepbase_place", "deepbase_drawn"
SELECTED, GROUPS = "deepbase_selected", "deepbase_groups"
ALWAYS = ("record", "text", "word", "word_start", "word_end")


@dataclass(frozen=True)
class Records:
    """The records of a dataset that a run reads, and how they fall into blocks.

    Attributes:
        source: SQL for the records, which are called `inputs`; with a stored selection, for those alone.
        columns: the columns that are read.
        groups: SQL for the values by which records are grouped.
        slices: how many groups of records there are.
        where: an SQL predicate over the columns of `inputs`; empty for all.
        total: how many records the table has.
        matching: how many of them pass the filter.
        limit: how many are read at most.
        starts: where the first blocks begin, as positions of the random order; the last of them has `span`.
        span: positions that make a block from there on.
        blocks: how many blocks there are; the last one ends with the order, somewhat before or after its span.
        ahead: positions that one query reads, if they are more than a block.
        kept: positions whose records are held in memory; those of a query for more lie in a temporary file.
        tokens: about how many tokens a record has.
        seed: of the random order.
    """

    source: str
    columns: tuple[str, ...]
    groups: tuple[str, ...]
    slices: int
    where: str
    total: int
    matching: int
    limit: int
    starts: tuple[int, ...]
    span: int
    blocks: int
    ahead: int
    kept: int
    tokens: float
    seed: int

    @property
    def group_columns(self) -> tuple[str, ...]:
        """The columns of what is read that hold the values of `groups`."""
        return tuple(f"deepbase_group_{i}" for i in range(len(self.groups)))

    @property
    def grows(self) -> bool:
        """Whether the first blocks are smaller than the others."""
        return len(self.starts) > 1

    @property
    def expected(self) -> int:
        """How many records will be read if nothing stops the run."""
        return min(self.matching, self.limit)

    def unread(self, read: int) -> float:
        """The share of the records that pass which is left when so many have been read."""
        return 1 - min(read, self.matching) / self.matching

    def bounds(self, block: int) -> tuple[int, int]:
        """The positions of the random order at which a block begins and ends."""
        return self._start(block), self._start(block + 1)

    def _start(self, block: int) -> int:
        if block >= self.blocks:
            return self.total
        grown = len(self.starts) - 1
        return self.starts[block] if block <= grown else self.starts[-1] + (block - grown) * self.span

    def chunks(self, first: int) -> Iterator[range]:
        """The blocks from `first` on, in groups that one query reads.

        Where every record is read, these end with the block that reaches the limit.
        """
        last = min(self.blocks, self._ended(self._end - 1) + 1)
        while first < last:
            start, end = self.bounds(first)
            stop = self._ended(max(min(READ_GROWTH * start, start + self.ahead), end))
            yield range(first, min(stop, last))
            first = stop

    @property
    def _end(self) -> int:
        """The position at which the last record that may be read is known to be passed."""
        return min(self.total, self.limit) if self.matching == self.total else self.total

    def _ended(self, place: int) -> int:
        """How many blocks end at a position or before it."""
        if place >= self.total:
            return self.blocks
        grown = len(self.starts) - 1
        whole = (place - self.starts[-1]) // self.span
        return min(grown + whole, self.blocks - 1) if whole >= 0 else bisect_right(self.starts, place) - 1

    def read(self, connection: duckdb.DuckDBPyConnection, blocks: range) -> list[pa.Table]:
        """The records of some blocks, one table a block, in the random order."""
        starts = [min(self._start(block), self._end) for block in range(blocks.start, blocks.stop + 1)]
        table = (self._look_up if self._is_few(starts[-1] - starts[0]) else self._scan)(
            connection, starts[0], starts[-1]
        )
        bounds = np.searchsorted(table[PLACE].to_numpy(), starts)
        table = table.drop_columns([PLACE])
        return [table.slice(a, b - a) for a, b in itertools.pairwise(bounds)]

    def _is_few(self, places: int) -> bool:
        """Whether so many records are found sooner one by one; those of a selection would be joined one by one, too."""
        return SELECTED not in self.source and places * LOOKUP_ROWS < self.total

    @property
    def _selected(self) -> str:
        columns = [f"inputs.{identifier(c)}" for c in self.columns]
        columns += [f"{group} AS {name}" for group, name in zip(self.groups, self.group_columns, strict=True)]
        return ", ".join(columns)

    def _look_up(self, connection: duckdb.DuckDBPyConnection, first: int, last: int) -> pa.Table:
        """The records at some positions, each by its number."""
        condition = f"AND ({self.where}\n)" if self.where else ""
        found = []
        for start in range(first, last, LOOKUPS):
            places = np.arange(start, min(start + LOOKUPS, last))
            drawn = permuted(places, self.total, self.seed)
            each = (
                f"SELECT {place} AS {PLACE}, {self._selected} FROM {self.source} "
                f"WHERE inputs.record = {number} {condition}"
                for place, number in zip(places.tolist(), drawn.tolist(), strict=True)
            )
            query = " UNION ALL ".join(f"({one})" for one in each)
            found.append(connection.sql(f"FROM ({query}) ORDER BY {PLACE}").to_arrow_table())
        return pa.concat_tables(found)

    def _scan(self, connection: duckdb.DuckDBPyConnection, first: int, last: int) -> pa.Table:
        """The records at some positions, found in one scan."""
        connection.register("block_order", self._order(first, last))
        try:
            result = connection.sql(
                f"SELECT {PLACE}, {self._selected} FROM block_order JOIN {self.source} "
                f"ON inputs.record = {DRAWN} {_condition(self.where)} ORDER BY {PLACE}"
            )
            if last - first <= self.kept:
                return result.to_arrow_table()
            with result.to_arrow_reader(SPOOL_ROWS) as reader:
                return spooled(reader)
        finally:
            connection.unregister("block_order")

    def _order(self, first: int, last: int) -> pa.Table:
        """Which record is at which position; bit by bit, since permuting takes room of its own."""
        pieces = []
        for start in range(first, last, READ_PLACES):
            places = np.arange(start, min(start + READ_PLACES, last), dtype=np.int64)
            pieces.append(pa.table({PLACE: places, DRAWN: permuted(places, self.total, self.seed)}))
        return pa.concat_tables(pieces)

    @property
    def reading(self) -> str:
        """How the records are read, for a person, if nothing stops the run before it has them all."""
        numbers = scans = files = 0
        for chunk in self.chunks(0):
            first, last = self._start(chunk.start), min(self._start(chunk.stop), self._end)
            if first * self.matching >= self.limit * self.total:
                break
            if self._is_few(last - first):
                numbers += last - first
            else:
                scans += 1
                files += last - first > self.kept
        ways = []
        if numbers:
            ways.append(f"{numbers:,} look-up{'s' * (numbers > 1)} by number")
        if scans:
            kept = f", {files:,} of them into a temporary file" if files else ""
            ways.append(f"{scans:,} scan{'s' * (scans > 1)} of the table{kept}")
        return ("up to " if len(self.starts) > 1 else "") + " and ".join(ways)


def records(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    *,
    dataset: str = "",
    columns: Sequence[str] = (),
    group_by: Sequence[str] = (),
    where: str = "",
    selection: str = "",
    limit: int | None = None,
    seed: int = 0,
    hypotheses: int = 1,
    first: float | None = None,
) -> Records:
    """Plan the reading of a table of records.

    Args:
        connection: to count with.
        table: the qualified name of the table.
        dataset: the name of the dataset, which is the value of the column `dataset`.
        columns: what is read beside the text and the words.
        group_by: the columns by which records are grouped; with a selection, what its `groups` hold.
        where: an SQL predicate over the columns of the table, which is called `inputs`.
        selection: the id of the stored records that alone are read; empty for all.
        limit: how many records to read at most.
        seed: of the random order.
        hypotheses: how many there are; more of them make smaller blocks.
        first: how many tokens the first look of a run that may stop early waits for, whose first blocks are small; None
            for one that reads everything.

    Raises:
        DatasetError: if the predicate does not bind, no record passes, or there are too many groups.
    """
    own = [r[0] for r in connection.execute(f"DESCRIBE {table}").fetchall()]
    total = int(connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0])
    source = _source(table, dataset, selection)
    groups = [f"{GROUPS}[{i + 1}]" if selection else f"inputs.{identifier(g)}::VARCHAR" for i, g in enumerate(group_by)]
    matching = total
    if where or selection:
        matching = _matching(connection, source, where, own)
    slices = _count_groups(connection, f"{source} {_condition(where)}", groups, group_by) if groups else 1
    mean = _mean_characters(connection, table, total)
    size = int(min(BLOCK_RECORDS, max(min(BLOCK_CHARACTERS, BLOCK_LABELS // max(hypotheses, 1)) / mean, 1)))
    kept = READ_CHARACTERS / mean * total / matching
    spool = min(SPOOL_CHARACTERS, room() // SPOOL_ROOM) / mean * total / matching
    tokens = max(mean / TOKEN_CHARACTERS, 1.0)
    small = 0 if first is None else max(FIRST_RECORDS, min(math.ceil(first / tokens), matching // FIRST_SHARE))
    starts, span, blocks = _schedule(size, total, matching, small)
    return Records(
        source=source,
        columns=tuple(c for c in own if c in ALWAYS or c in columns),
        groups=tuple(groups),
        slices=slices,
        where=where,
        total=total,
        matching=matching,
        limit=matching if limit is None else limit,
        starts=starts,
        span=span,
        blocks=blocks,
        ahead=int(min(max(kept, spool), SPOOL_PLACES)),
        kept=int(max(kept, span)),
        tokens=tokens,
        seed=seed,
    )


def _mean_characters(connection: duckdb.DuckDBPyConnection, table: str, total: int) -> float:
    """About the mean length of a text, at least 1: of all records, or of the same few if there are many."""
    texts = f"SELECT text FROM {table}"
    if total > COUNTED_RECORDS:
        some = permuted(np.arange(SAMPLED_RECORDS), total, seed=0).tolist()
        texts = " UNION ALL ".join(f"({texts} WHERE record = {number})" for number in some)
    found = connection.execute(f"SELECT avg(length(text)) FROM ({texts})").fetchall()[0][0]
    return max(float(found or 0), 1.0)


def _schedule(size: int, total: int, matching: int, first: int) -> tuple[tuple[int, ...], int, int]:
    """Where blocks begin: `starts`, `span` and `blocks` of `Records`.

    Where there is a `first` block, the others have half of the records that were read before, or of those that are
    left, as a multiple of `ROUND_RECORDS` and at least as many as the first, until they have `size`. A last block below
    a third of the one before joins it.

    >>> _schedule(1024, 5000, 5000, 128)
    ((0, 128, 256, 384, 576, 896, 1344, 2048), 1024, 10)
    """

    def places(records: int) -> int:
        return min(max(records * total // matching, 1), total, READ_PLACES)

    span, starts, records = places(size), [0], 0
    while first:
        half = (min(records, matching - records) // 2 + ROUND_RECORDS // 2) // ROUND_RECORDS
        step = max(first, half * ROUND_RECORDS)
        if places(step) >= span or starts[-1] + places(step) >= total:
            break
        starts.append(starts[-1] + places(step))
        records += step
    whole, rest = divmod(total - starts[-1], span)
    if not first or not rest:
        return tuple(starts), span, len(starts) - 1 + whole + bool(rest)
    if not whole and len(starts) > 1 and 3 * rest < starts[-1] - starts[-2]:
        starts.pop()
        whole = 1
    elif not whole or 3 * rest >= span:
        whole += 1
    return tuple(starts), span, len(starts) - 1 + whole


def _condition(where: str) -> str:
    return f"WHERE ({where}\n)" if where else ""


def _source(table: str, dataset: str, selection: str) -> str:
    """The records of a dataset with its name, and if there is a selection those in it, with their groups."""
    named = f"SELECT *, {quoted(dataset)} AS dataset FROM {table}"
    if not selection:
        return f"({named}) AS inputs"
    chosen = f"SELECT record AS {SELECTED}, groups AS {GROUPS} FROM selections WHERE selection = {quoted(selection)}"
    return f"(SELECT * FROM ({named}) JOIN ({chosen}) ON record = {SELECTED}) AS inputs"


def _matching(connection: duckdb.DuckDBPyConnection, source: str, where: str, own: Sequence[str]) -> int:
    """How many records pass."""
    try:
        found = int(connection.execute(f"SELECT count(*) FROM {source} {_condition(where)}").fetchall()[0][0])
    except duckdb.Error as error:
        raise DatasetError(
            f"cannot filter records by {where!r}: {str(error).splitlines()[0]}",
            f"The columns are: {', '.join(own)}.",
        ) from error
    if not found:
        if not where:
            raise DatasetError("the selection holds no record of the dataset", "Widen it, or select again.")
        raise DatasetError(f"no record passes the filter {where!r}", "Widen it.")
    return found


def _count_groups(
    connection: duckdb.DuckDBPyConnection, source: str, groups: Sequence[str], group_by: Sequence[str]
) -> int:
    """How many groups there are; more than have room for their states are refused."""
    query = f"SELECT count(*) FROM (SELECT DISTINCT {', '.join(groups)} FROM {source})"
    found = int(connection.execute(query).fetchall()[0][0])
    if found > MOST_GROUPS:
        raise DatasetError(
            f"grouping records by {', '.join(group_by)} makes {found:,} groups, and each has states of its own",
            f"Group by something that has at most {MOST_GROUPS:,} values.",
        )
    return found
