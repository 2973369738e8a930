"""The one loop: records, symbols, labels, units, states."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import duckdb
import numpy as np
import pyarrow as pa
from torch import Tensor

from deepbase.blocks import Block, Floats, LabelBehavior
from deepbase.engine.base import Job, LayerStates, RunState
from deepbase.engine.behaviors import behaviors, unlabelled
from deepbase.inputs.symbols import make_block
from deepbase.measures.base import AbstractState, BatchLabels

Session = Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]


def fold_blocks(job: Job, state: RunState, session: Session, check: Callable[[], None]) -> Iterator[RunState]:
    """Fold the blocks that a state has not seen, one by one.

    Args:
        job: what to do.
        state: where to go on.
        session: opens the catalog for reading, for a moment.
        check: called between batches; raises to stop the run, which loses the block that is under way.

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
            shift = _label_shift(job, labels) if state.label_shift is None else state.label_shift
            partial = _fold(job, block, labels=labels, shift=shift, so_far=state.layers, check=check)
            state = state.after(block, labels, shift, partial)
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
    job: Job, block: Block, *, labels: LabelBehavior, shift: Floats, so_far: LayerStates, check: Callable[[], None]
) -> LayerStates:
    """The partial states of one block. Nothing of a layer outlives its own hook."""
    names = [layer.layer for layer in job.layers]
    states: dict[str, dict[type[AbstractState], AbstractState]] = {name: {} for name in names}
    for batch in block.batches:
        check()
        batch_labels = BatchLabels.of(labels, batch.first, batch.symbols, shift, job.model.device)

        def visit(layer: str, values: Tensor, batch=batch, batch_labels=batch_labels) -> None:  # type: ignore[no-untyped-def]
            units = behaviors(values, batch, job.spec.at, job.spec.behavior)
            for kind in job.state_types:
                known = states[layer].get(kind)
                if known is None and layer in so_far:
                    known = so_far[layer][kind].empty_like()
                states[layer][kind] = (
                    kind.first(units, batch_labels) if known is None else known.update(units, batch_labels)
                )

        job.model.run(batch, names, visit)
    return states if block.batches else {}


def _label_shift(job: Job, labels: LabelBehavior) -> Floats:
    """The pilot values of the hypotheses: 0 for a boolean, the first block's mean for a number."""
    symbols = np.maximum(labels.valid.sum(0)[labels.null_class], 1)
    numbers = np.array([x.kind == "number" for x in job.labels.labels])
    return np.where(numbers, labels.values.sum(0) / symbols, 0.0)
