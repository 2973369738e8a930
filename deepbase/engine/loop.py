"""The one loop: records, symbols, labels, units, states."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial

import duckdb
import numpy as np
import pyarrow as pa
from torch import Tensor

from deepbase.blocks import Batch, Block, Floats, LabelBehavior
from deepbase.engine.base import Job, LayerStates, RunState
from deepbase.engine.behaviors import behaviors, unlabelled
from deepbase.engine.memory import give_back_memory
from deepbase.inputs.symbols import make_block
from deepbase.measures.base import AbstractState, BatchLabels

Between = Callable[[int, int], None]
States = dict[str, dict[type[AbstractState], AbstractState]]
Session = Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]


def fold_blocks(job: Job, state: RunState, session: Session, between: Between) -> Iterator[RunState]:
    """Fold the blocks that a state has not seen, one by one.

    Args:
        job: what to do.
        state: where to go on.
        session: opens the catalog for reading, for a moment.
        between: called between batches with the records and the symbols of the block that are done; it may raise to
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
            block = _block(job, index, table.slice(0, rest))
            labels = job.labels.evaluate(block.symbols, unlabelled(block.symbols, job.spec.behavior))
            shift = _label_shift(job, labels, state)
            folded = _fold(job, block, labels=labels, shift=shift, so_far=state.layers, between=between)
            state = state.after(block, labels, shift, folded)
            del block, labels, folded
            give_back_memory()
            yield state


def _block(job: Job, index: int, table: pa.Table) -> Block:
    texts = table["text"].to_pylist()
    return make_block(
        index,
        table,
        job.tokenize(texts),
        job.model.input_format,
        job.columns,
        level=job.spec.at,
        batch_size=job.spec.batch_size,
        window=job.spec.window,
    )


def _fold(
    job: Job, block: Block, *, labels: LabelBehavior, shift: Floats, so_far: LayerStates, between: Between
) -> LayerStates:
    """The partial states of one block. Nothing of a layer outlives its own hook.

    The longest records come first: their symbols are the better pilot, and memory that was taken once serves the rest.
    """
    states: States = {}
    between(0, 0)
    for batch in reversed(block.batches):
        batch_labels = BatchLabels.of(labels, batch.first, batch.symbols, shift, job.state_device)
        if not states:  # before the forward: what lives long must not lie between what comes and goes
            states = {
                layer.layer: {kind: s.empty_like(batch_labels) for kind, s in so_far.get(layer.layer, {}).items()}
                for layer in job.layers
            }
        job.model.run(batch, list(states), partial(_visit, job, batch, batch_labels, states))
        between(int(labels.record[-1] + 1 - labels.record[batch.first]), len(labels.record) - batch.first)
    return states


def _visit(job: Job, batch: Batch, labels: BatchLabels, states: States, layer: str, values: Tensor) -> None:
    """Fold what one layer gives for one batch; called from inside the forward."""
    units = behaviors(values.to(job.state_device), batch, job.spec.at, job.spec.behavior)
    for kind in job.state_types:
        known = states[layer].get(kind)
        states[layer][kind] = kind.first(units, labels) if known is None else known.update(units, labels)


def _label_shift(job: Job, labels: LabelBehavior, state: RunState) -> Floats:
    """The pilot values of the hypotheses: 0 for a boolean, for a number about the mean of the first block that has one.

    It is the mean to within the mean deviation, as a multiple of a power of two, so that whole numbers stay whole.
    """
    old, seen = state.label_shift, state.symbols
    fresh = [i for i, x in enumerate(job.labels.labels) if x.kind == "number" and (seen is None or not seen[i])]
    shift = np.zeros(len(job.labels.labels)) if old is None else old
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
