"""Encoded records to the sequences that a model reads.

A record that fits the model's context is one sequence. A longer one is cut at its end, keeping the special tokens on
both sides, or, with `window`, read as several overlapping sequences, each as long as the context allows: the first
contributes all its tokens, each later one those at its end that no earlier one had, at most half of them, so that
every later token has at least half a window in front of it.

Records are sorted by length, so that batches need little padding, and a batch holds whole records: all windows of one,
all tokens of one. A single record may therefore exceed the limits of a batch; that is the memory of a forward. Where
records are grouped into slices, those of one slice stand together within their batch: batches of one slice each would
need a third more padding with eight slices, and would be tiny with hundreds.

All positions are computed for the whole block at once; only records and batches are looped over, never tokens.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from deepbase.blocks import Batch, Bools, Encodings, InputFormat, Ints, SliceRows
from deepbase.errors import ModelError


@dataclass(frozen=True)
class Tokens:
    """The tokens of all records of a block, one record after another.

    Attributes:
        ids: int64[token].
        start: int64[token], first character in its record.
        end: int64[token].
        special: bool[token].
        record: int64[token].
        first: int64[record + 1], the first token of each record, and the end.
    """

    ids: Ints
    start: Ints
    end: Ints
    special: Bools
    record: Ints
    first: Ints


@dataclass(frozen=True)
class Sequences:
    """The sequences of a block in the order of its batches; a cell is a token in a sequence.

    Attributes:
        token: int64[cell], which token it is.
        taken: bool[cell], whether it contributes a symbol: it is not special and not mere context of a window.
        length: int64[sequence].
        record: int64[sequence].
        cut: how many records were cut.
    """

    token: Ints
    taken: Bools
    length: Ints
    record: Ints
    cut: int


def flatten(encodings: Encodings) -> Tokens:
    """Lay the tokens of all records one after another."""
    lengths = np.array([len(ids) for ids in encodings.ids], dtype=np.int64)
    spans = np.concatenate([np.zeros((0, 2), dtype=np.int64), *encodings.spans])
    return Tokens(
        ids=np.concatenate([np.zeros(0, dtype=np.int64), *encodings.ids]),
        start=spans[:, 0],
        end=spans[:, 1],
        special=np.concatenate([np.zeros(0, dtype=bool), *encodings.special]),
        record=np.repeat(np.arange(len(lengths)), lengths),
        first=np.concatenate([[0], np.cumsum(lengths)]),
    )


def ranges(start: Ints, length: Ints) -> Ints:
    """The numbers `start .. start + length`, range after range.

    >>> ranges(np.array([5, 1]), np.array([2, 3])).tolist()
    [5, 6, 1, 2, 3]
    """
    ends = np.cumsum(length)
    shift: Ints = np.repeat(start - (ends - length), length)
    return shift + np.arange(len(shift))


def lay_out(tokens: Tokens, context: int | None, *, window: bool) -> Sequences:
    """Make sequences of all records that have a symbol, the shortest records first.

    Args:
        tokens: of the block.
        context: the most tokens of a sequence; None without a limit.
        window: whether a longer record is split rather than cut.

    Raises:
        ModelError: the context has no room for more than the special tokens.
    """
    has_symbols = np.zeros(len(tokens.first) - 1, dtype=bool)
    has_symbols[tokens.record[~tokens.special]] = True
    lengths = np.diff(tokens.first)
    limit = int(lengths.max(initial=0)) if context is None else context
    order = np.argsort(np.minimum(lengths, limit), kind="stable")
    pieces: list[tuple[int, int, int, bool]] = []  # sequence, first token, tokens, whether they are taken
    owners: list[int] = []
    cut = 0
    for record in order[has_symbols[order]].tolist():
        first, length = int(tokens.first[record]), int(lengths[record])
        if length <= limit:
            pieces.append((len(owners), first, length, True))
            owners.append(record)
            continue
        lead, trail = _affixes(tokens.special[first : first + length])
        room = limit - lead - trail
        if room < 1:
            raise ModelError(f"The model's context of {limit} tokens is filled by {lead + trail} special tokens alone")
        cut += not window
        content = length - lead - trail
        for start, taken in _windows(content, room) if window else [(0, 0)]:
            at = first + lead
            pieces.append((len(owners), first, lead, False))
            pieces.append((len(owners), at + start, taken - start, False))
            pieces.append((len(owners), at + taken, start + room - taken, True))
            pieces.append((len(owners), first + length - trail, trail, False))
            owners.append(record)
    table = np.array(pieces, dtype=np.int64).reshape(-1, 4)
    token = ranges(table[:, 1], table[:, 2])
    return Sequences(
        token=token,
        taken=np.repeat(table[:, 3] == 1, table[:, 2]) & ~tokens.special[token],
        length=np.bincount(table[:, 0], weights=table[:, 2], minlength=len(owners)).astype(np.int64),
        record=np.array(owners, dtype=np.int64),
        cut=cut,
    )


def _affixes(special: Bools) -> tuple[int, int]:
    """How many special tokens lead and trail a record that has others."""
    return int(np.argmin(special)), int(np.argmin(special[::-1]))


def _windows(content: int, room: int) -> list[tuple[int, int]]:
    """Where windows over `content` tokens begin, and from where on their tokens are taken; `room` < `content`.

    >>> _windows(11, 4)
    [(0, 0), (2, 4), (4, 6), (6, 8), (7, 10)]
    """
    step = max(room // 2, 1)
    found = [(0, 0)]
    covered = room
    while covered < content:
        end = min(covered + step, content)
        found.append((end - room, covered))
        covered = end
    return found


def by_slice(sequences: Sequences, groups: Sequence[tuple[int, int]], slices: Ints) -> Sequences:
    """The same sequences, in each batch slice after slice.

    Args:
        sequences: of the block.
        groups: the sequences of each batch, as ranges.
        slices: int64[record], the slice of each record.
    """
    batch = np.repeat(np.arange(len(groups)), [end - begin for begin, end in groups])
    order = np.lexsort((slices[sequences.record], batch))
    first = np.cumsum(sequences.length) - sequences.length
    cells = ranges(first[order], sequences.length[order])
    return replace(
        sequences,
        token=sequences.token[cells],
        taken=sequences.taken[cells],
        length=sequences.length[order],
        record=sequences.record[order],
    )


def batches(
    sequences: Sequences,
    tokens: Tokens,
    cells: Ints,
    rows: Ints,
    form: InputFormat,
    *,
    groups: Sequence[tuple[int, int]],
    slices: Ints,
) -> list[Batch]:
    """Pad sequences together; a batch in which no token is part of a symbol is left out.

    Args:
        sequences: of the block.
        tokens: of the block.
        cells: int64[part], the cells that are part of symbols, by ascending row.
        rows: int64[part], the row of the block's symbols that each of them is part of, ascending.
        form: how the model wants to be fed.
        groups: the sequences of each batch, as ranges.
        slices: int64[record], the slice of each record.
    """
    first_cell = np.concatenate([[0], np.cumsum(sequences.length)])
    slice_of = slices[np.repeat(sequences.record, sequences.length)[cells]]
    found: list[Batch] = []
    done = 0
    for begin, end in groups:
        length = sequences.length[begin:end]
        width = int(length.max())
        indent = width - length if form.padding == "left" else np.zeros_like(length)
        place = ranges(np.arange(end - begin) * width + indent, length)
        ids = np.full((end - begin) * width, form.pad_id, dtype=np.int64)
        ids[place] = tokens.ids[sequences.token[first_cell[begin] : first_cell[end]]]
        mask = np.zeros(len(ids), dtype=bool)
        mask[place] = True
        upto = done + int(np.count_nonzero(cells[done:] < first_cell[end]))
        if upto > done:
            first = int(rows[done])
            found.append(
                Batch(
                    ids=ids.reshape(-1, width),
                    mask=mask.reshape(-1, width),
                    take=place[cells[done:upto] - first_cell[begin]],
                    symbol=rows[done:upto] - first,
                    first=first,
                    symbols=int(rows[upto - 1]) - first + 1,
                    slices=_slices(slice_of[done:upto], rows[done:upto]),
                )
            )
        done = upto
    return found


def _slices(slices: Ints, rows: Ints) -> tuple[SliceRows, ...]:
    """The rows of each slice of a batch, given the slice and the row of each of its parts, slice after slice."""
    starts = np.flatnonzero(np.diff(slices, prepend=-1))
    ends = [*starts[1:].tolist(), len(slices)]
    return tuple(
        SliceRows(int(slices[a]), int(rows[a]), int(rows[b - 1] - rows[a]) + 1)
        for a, b in zip(starts.tolist(), ends, strict=True)
    )


def groups(sequences: Sequences, form: InputFormat, batch_size: int, batch_tokens: int) -> list[tuple[int, int]]:
    """The sequences that run together, as ranges; they are in ascending order of length.

    Args:
        sequences: of the block.
        form: how the model wants to be fed.
        batch_size: the most records of a batch.
        batch_tokens: the most tokens of a batch with more than one record, padding included.
    """
    found = []
    begin = records = 0
    bounds = np.flatnonzero(np.diff(sequences.record, prepend=-1, append=-1)).tolist()
    lengths = sequences.length.tolist()
    for i, (first, end) in enumerate(itertools.pairwise(bounds)):
        full = records == batch_size or (end - begin) * lengths[first] > batch_tokens
        odd = form.padding == "none" and lengths[first] != lengths[begin]
        if i and (full or odd):
            found.append((begin, first))
            begin, records = first, 0
        records += 1
    if lengths:
        found.append((begin, len(lengths)))
    return found
