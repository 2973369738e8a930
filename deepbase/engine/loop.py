"""The one loop: records, symbols, labels, units, states."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from deepbase.blocks import Batch, Block, Bools, Floats, Ints, LabelBehavior
from deepbase.engine.base import ChosenLayer, Job, LayerStates, Part, RunState, Slice, SliceState
from deepbase.engine.behaviors import behaviors, unlabelled
from deepbase.engine.memory import give_back_memory
from deepbase.inputs.symbols import make_block
from deepbase.measures.base import AbstractState
from deepbase.measures.batch import BatchLabels
from deepbase.measures.exchange import BlockLabels
from deepbase.measures.own import a_state

LEAST_BATCH, BATCHES = 8, 16
"""Small blocks are sorted by length and cut into as many batches, so that they are not padded more than large ones."""
Between = Callable[[int, int], None]
States = dict[str, dict[type[AbstractState], AbstractState]]
Session = Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]


def fold_blocks(job: Job, state: RunState, session: Session, between: Between) -> Iterator[RunState]:
    """Fold the blocks that a state has not seen, one by one.

    Args:
        job: what to do.
        state: where to go on.
        session: opens the catalog for reading, for a moment.
        between: called between layers with the records and the symbols of the block that are done; it may raise to
            stop the run, which loses the block that is under way.

    Yields:
        The state after each block.
    """
    for chunk in job.records.chunks(state.next_block):
        with session() as connection:
            tables = job.records.read(connection, chunk)
        for index, table in zip(chunk, tables, strict=True):
            rest = job.records.limit - state.records_seen
            if rest <= 0:
                return
            state = _fold_block(job, index, table.slice(0, rest), state, between)
            give_back_memory()
            yield state


def _fold_block(job: Job, index: int, table: pa.Table, state: RunState, between: Between) -> RunState:
    """The state with one more block, which every model reads in turn."""
    codes, slices = slices_of(job, table)
    blocks: list[Block] = []
    partial_states: dict[tuple[Slice, str], SliceState] = {}
    for number, part in enumerate(job.parts):
        block = block_of(job, part, index, table, codes)
        labels = job.labels.evaluate(block.symbols, unlabelled(block.symbols, job.spec.behavior))

        def done(records: int, symbols: int, before: int = number) -> None:
            whole = before * table.num_rows + records
            between(whole // len(job.parts), symbols + sum(len(b.symbols) for b in blocks))

        own = own_labels(job, part, block, labels, slices, state)
        found = fold(job, part, block, labels, own, done)
        partial_states |= {
            (slices[i], part.key): SliceState(own[i].shift, **own[i].coverage, layers=states)
            for i, states in found.items()
        }
        # What the other models have to say needs the room.
        if not part.baseline:
            blocks.append(replace(block, symbols=block.symbols.select(["record"]), batches=()))
        del block, labels, own, found
    return state.after(blocks, partial_states)


def slices_of(job: Job, table: pa.Table) -> tuple[Ints, list[Slice]]:
    """int64[record], the slice of each record of a block, and what the slices are."""
    codes = np.zeros(table.num_rows, dtype=np.int64)
    found: list[Slice] = [()]
    for name in job.records.group_columns:
        column = pc.dictionary_encode(table[name].combine_chunks(), null_encoding="encode")
        values = column.dictionary.to_pylist()
        pairs = codes * len(values) + column.indices.to_numpy()
        distinct, codes = np.unique(pairs, return_inverse=True)
        found = [(*found[p // len(values)], values[p % len(values)]) for p in distinct.tolist()]
    return codes, found


def block_of(job: Job, part: Part, index: int, table: pa.Table, slices: Ints) -> Block:
    """Some records as one model reads them."""
    texts = table["text"].to_pylist()
    return make_block(
        index,
        table,
        part.tokenize(texts),
        part.model.input_format,
        job.columns,
        slices=slices,
        level=job.spec.at,
        batch_size=_batch_size(job, table.num_rows),
        window=job.spec.window,
    )


def _batch_size(job: Job, records: int) -> int:
    """How many sequences go through a model together: fewer where the first blocks are small."""
    asked = job.spec.batch_size
    return min(asked, max(LEAST_BATCH, records // BATCHES)) if job.records.grows else asked


@dataclass(frozen=True)
class _Own:
    """What a slice has of its own in one block.

    Attributes:
        shift: the pilot values of the hypotheses.
        coverage: the counts of `SliceState` in this block, by name.
        so_far: the states of the blocks before.
        rows: int64[symbol], its rows of the block.
        block: their labels; None where no state asks for those of the whole block.
    """

    shift: Floats
    coverage: Mapping[str, Ints]
    so_far: LayerStates
    rows: Ints
    block: BlockLabels | None = None

    def placed(self, batch: BatchLabels, first: int) -> BatchLabels:
        """The labels of a batch that knows the block's; apart, since states that keep labels must not keep a block."""
        if self.block is None:
            return batch
        return replace(batch, of_block=(self.block, int(np.searchsorted(self.rows, first))))


def own_labels(
    job: Job, part: Part, block: Block, labels: LabelBehavior, slices: Sequence[Slice], state: RunState
) -> dict[int, _Own]:
    """What each slice that has a symbol has of its own, by the number of the slice."""
    pieces: dict[int, list[Ints]] = {}
    for number, first, symbols in (piece for batch in block.batches for piece in batch.slices):
        pieces.setdefault(number, []).append(np.arange(first, first + symbols))
    found = {}
    exchanges = any(kind.exchanges for kind in job.states_of(part))
    for number, several in pieces.items():
        own, rows = labels, np.concatenate(several)
        if len(pieces) > 1:
            own = replace(labels, values=labels.values[rows], valid=labels.valid[rows], record=labels.record[rows])
            if own.confounds is not None:
                own = replace(own, confounds=replace(own.confounds, values=own.confounds.values[rows]))
        old = state.slices.get((slices[number], part.key))
        shift = _label_shift(job, own, old)
        whole = BlockLabels.of(own, shift) if exchanges else None
        found[number] = _Own(shift, _coverage(own), old.layers if old else {}, rows, whole)
    return found


def _coverage(labels: LabelBehavior) -> dict[str, Ints]:
    """How many symbols and records each hypothesis has a value at, and how many there are; see `SliceState`."""
    starts = np.flatnonzero(np.diff(labels.record, prepend=-1))
    every = np.append(labels.valid, np.ones((len(labels.valid), 1), dtype=bool), axis=1)
    of = np.append(labels.null_class, labels.valid.shape[1])
    found = []
    for known in _known(labels):
        there = every & known[:, None] if known is not None else every
        records = np.logical_or.reduceat(there, starts, axis=0).sum(0)
        found.append((there.sum(0)[of], records[of]))
    symbols, records = (np.concatenate(several) for several in zip(*found, strict=True))
    true = labels.values != 0
    false = ~true & labels.valid[:, labels.null_class]
    with_true, with_false = (np.logical_or.reduceat(v, starts, axis=0).sum(0) for v in (true, false))
    return {"symbols": symbols, "records": records, "with_true": with_true, "with_false": with_false}


def _known(labels: LabelBehavior) -> Iterator[Bools | None]:
    """bool[symbol]: every symbol, as None, and for each set of confounds, those where all of it have a value."""
    yield None
    if labels.confounds is not None:
        for columns in labels.confounds.sets:
            yield np.asarray(~np.isnan(labels.confounds.values[:, list(columns)]).any(1))


def fold(
    job: Job, part: Part, block: Block, labels: LabelBehavior, own: Mapping[int, _Own], between: Between
) -> dict[int, States]:
    """The partial states of one block of one model, by the number of the slice. Nothing of a layer outlives its hook.

    The longest records come first: their symbols are the better pilot, and memory that was taken once serves the rest.
    """
    found: dict[int, States] = {}
    chosen = {x.layer: x for x in part.layers}
    records = symbols = 0
    between(records, symbols)
    for batch in reversed(block.batches):
        pieces = []
        for number, first, count in batch.slices:
            shift = own[number].shift
            piece = BatchLabels.of(labels, first, count, shift, job.state_device, recorded=job.needs_records)
            if number not in found:  # before the forward: what lives long must not lie between what comes and goes
                so_far = own[number].so_far
                found[number] = {
                    x: {kind: a_state(kind, s.empty_like(piece), "empty_like") for kind, s in so_far.get(x, {}).items()}
                    for x in chosen
                }
            rows = slice(first - batch.first, first - batch.first + count)
            pieces.append((rows, piece, own[number].placed(piece, first), found[number]))
        visit = partial(_visit, job, job.states_of(part), batch, chosen, pieces, partial(between, records, symbols))
        part.model.run(batch, list(chosen), visit)
        symbols = len(labels.record) - batch.first
        records = 1 + int((np.diff(labels.record[batch.first :]) != 0).sum())
        between(records, symbols)
    return found


def _visit(
    job: Job,
    kinds: Sequence[type[AbstractState]],
    batch: Batch,
    layers: Mapping[str, ChosenLayer],
    pieces: Sequence[tuple[slice, BatchLabels, BatchLabels, States]],
    check: Callable[[], None],
    layer: str,
    values: Tensor,
) -> None:
    """Fold what one layer gives for one batch, slice by slice; called from inside the forward."""
    check()
    asked = layers[layer].units
    if asked is not None:
        values = values.index_select(1, torch.from_numpy(asked).to(values.device))
    units = behaviors(values.to(job.state_device), batch, job.spec.at, job.spec.behavior)
    for rows, alone, placed, states in pieces:
        for kind in kinds:
            known = states[layer].get(kind)
            own, labels = units[rows], placed if kind.exchanges else alone
            if known is None:
                states[layer][kind] = a_state(kind, kind.first(own, labels, job.memory(layers[layer])), "first")
            else:
                states[layer][kind] = a_state(kind, known.update(own, labels), "update")


def _label_shift(job: Job, labels: LabelBehavior, state: SliceState | None) -> Floats:
    """The pilot values of the hypotheses: 0 for a boolean, for a number about the mean of the first block that has one.

    It is the mean to within the mean deviation, as a multiple of a power of two, so that whole numbers stay whole.
    """
    numbers = [i for i, x in enumerate(job.labels.labels) if x.kind == "number"]
    fresh = [i for i in numbers if state is None or not state.symbols[i]]
    shift = np.zeros(len(job.labels.labels)) if state is None else state.label_shift
    if not fresh:
        return shift
    shift = shift.copy()
    values, valid = labels.values[:, fresh], labels.valid[:, labels.null_class[fresh]]
    symbols = np.maximum(valid.sum(0), 1)
    mean = values.sum(0) / symbols
    deviation = (np.abs(values - mean) * valid).sum(0) / symbols
    least = np.maximum(2.0**-40 * np.abs(mean), np.finfo(np.float64).tiny)
    step = np.exp2(np.floor(np.log2(np.maximum(deviation, least))))
    shift[fresh] = np.where(deviation > 0, np.round(mean / step) * step, mean)
    return shift
