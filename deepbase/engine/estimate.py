"""What a run will cost, from a few of its records.

Time is measured, not modelled: the records that the run would read first go through everything that it would do with
them, once to warm up and once to be timed. Memory is arithmetic, since states have a fixed size.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from deepbase.engine.base import Job, RunState
from deepbase.engine.loop import Session, fold_block

SAMPLE_BATCHES = 2
"""Batches that are timed."""


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
    wanted = min(SAMPLE_BATCHES * job.spec.batch_size, job.records.expected)
    tables = []
    for chunk in job.records.chunks(0):
        with session() as connection:
            tables = [t for t in job.records.read(connection, chunk) if t.num_rows]
        if tables:
            break
    if not tables:
        return Estimate(0, 0, 0, 0.0, state_bytes(job))
    table = tables[0].slice(0, wanted)
    forwards = 0

    def count(_records: int, symbols: int) -> None:
        nonlocal forwards
        forwards += symbols > 0

    fold_block(job, 0, table.slice(0, 1), RunState(), lambda *_: None)
    start = time.perf_counter()
    state = fold_block(job, 0, table, RunState(), count)
    seconds = time.perf_counter() - start
    whole = job.records.expected / table.num_rows
    return Estimate(
        sample=table.num_rows,
        symbols=round(state.symbols_seen * whole),
        forwards=max(round(forwards * whole), forwards),
        seconds=seconds * whole,
        state_bytes=state_bytes(job),
    )


def state_bytes(job: Job) -> int:
    """The memory of the states of all groups: the run's, and those of the block that is under way."""
    hypotheses = len(job.labels.labels)
    widths = [layer.width for part in job.parts for layer in part.layers]
    return 2 * job.records.slices * sum(kind.memory(width, hypotheses) for kind in job.state_types for width in widths)
