"""What a run will cost, from a few of its records.

Time is measured, not modelled: the records that the run would read first go through everything that it would do with
them, once to warm up and once to be timed. Memory is arithmetic, since states have a fixed size.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import pyarrow as pa

from deepbase.engine.base import Job, RunState
from deepbase.engine.loop import Session, fold_block

SAMPLE_BATCHES = 2
"""Batches that are timed at most."""
PATIENCE = 2.0
"""Seconds that the timed records may take."""


@dataclass(frozen=True)
class Estimate:
    """What a run is expected to take.

    Attributes:
        sample: the records that were timed.
        symbols: of all models together.
        forwards: how many forwards.
        seconds: wall time.
        state_bytes: memory of the states of all groups, as they are held twice.
    """

    sample: int
    symbols: int
    forwards: int
    seconds: float
    state_bytes: int


def estimate(job: Job, session: Session) -> Estimate:
    """Try a job on its first records.

    Args:
        job: what would be done.
        session: opens the catalog for reading.
    """
    tables = []
    for chunk in job.records.chunks(0):
        with session() as connection:
            tables = [t for t in job.records.read(connection, chunk) if t.num_rows]
        if tables:
            break
    if not tables:
        return Estimate(0, 0, 0, 0.0, state_bytes(job))
    _seconds(job, tables[0].slice(0, 1))
    each = _seconds(job, tables[0].slice(0, 1))[0]
    table = tables[0].slice(0, max(min(SAMPLE_BATCHES * job.spec.batch_size, int(PATIENCE / each)), 1))
    if table.num_rows * each < PATIENCE / 4:  # the first batch of a size is slower than the others
        _seconds(job, table)
    seconds, forwards, symbols = _seconds(job, table)
    whole = job.records.expected / table.num_rows
    return Estimate(
        sample=table.num_rows,
        symbols=round(symbols * whole),
        forwards=max(round(forwards * whole), forwards),
        seconds=seconds * whole,
        state_bytes=state_bytes(job),
    )


def _seconds(job: Job, table: pa.Table) -> tuple[float, int, int]:
    """How long some records take, in how many forwards, and how many symbols they have."""
    seen: dict[int, None] = {}

    def count(_records: int, symbols: int) -> None:
        seen[symbols] = None

    start = time.perf_counter()
    state = fold_block(job, 0, table, RunState(), count)
    return time.perf_counter() - start, max(len(seen) - 1, 1), state.symbols_seen


def state_bytes(job: Job) -> int:
    """The memory of the states of all groups: the run's, and those of the block that is under way."""
    hypotheses = len(job.labels.labels)
    widths = [layer.width for part in job.parts for layer in part.layers]
    return 2 * job.records.slices * sum(kind.memory(width, hypotheses) for kind in job.state_types for width in widths)
