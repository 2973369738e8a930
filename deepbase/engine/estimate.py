"""What a run will cost, from a few of its records.

Time is measured, not modelled: the block that the run would read first is tokenized and labelled, and some of its
batches, short ones and long ones, go through the model and into states. Batches are padded, so the rest of the time
follows from their numbers of tokens. Memory is arithmetic, since states have a fixed size.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import pyarrow as pa

from deepbase.blocks import Block
from deepbase.engine.base import Job, Part, RunState
from deepbase.engine.behaviors import unlabelled
from deepbase.engine.loop import Session, block_of, fold, own_labels, slices_of
from deepbase.measures.base import AbstractState
from deepbase.measures.own import naming

PLACES = (0.5, 0.75, 0.25, 0.0, 1.0)
"""Which batches are timed, from the longest to the shortest, as far as patience goes."""
PATIENCE = 2.0
"""Seconds after which no further batch is timed."""


@dataclass(frozen=True)
class Estimate:
    """What a run is expected to take.

    Attributes:
        sample: the records of the batches that were timed.
        symbols: of all models together.
        forwards: how many forwards.
        seconds: wall time.
        state_bytes: memory of the states of all groups, by their type, as they are held twice.
    """

    sample: int
    symbols: int
    forwards: int
    seconds: float
    state_bytes: Mapping[type[AbstractState], int]


def estimate(job: Job, session: Session) -> Estimate:
    """Try a job on its first records.

    Args:
        job: what would be done.
        session: opens the catalog for reading.
    """
    table = None
    for chunk in job.records.chunks(0):
        with session() as connection:
            tables = [t for t in job.records.read(connection, chunk) if t.num_rows]
        if tables:
            table = tables[0].slice(0, job.records.limit)
            break
    if table is None:
        return Estimate(0, 0, 0, 0.0, state_bytes(job, 0))
    with naming(job.measures):
        parts = [_part(job, part, table) for part in job.parts]
    whole = job.records.expected / table.num_rows
    return Estimate(
        sample=max(p.sample for p in parts),
        symbols=round(sum(p.symbols for p in parts) * whole),
        forwards=round(sum(p.forwards for p in parts) * whole),
        seconds=sum(p.seconds for p in parts) * whole,
        state_bytes=state_bytes(job, round(max(p.symbols for p in parts) * whole)),
    )


def _part(job: Job, part: Part, table: pa.Table) -> Estimate:
    """What one model takes for one block."""
    start = time.perf_counter()
    codes, slices = slices_of(job, table)
    block = block_of(job, part, 0, table, codes)
    labels = job.labels.evaluate(block.symbols, unlabelled(block.symbols, job.spec.behavior))
    own = own_labels(job, part, block, labels, slices, RunState())
    seconds = time.perf_counter() - start
    batches = block.batches
    places = dict.fromkeys(round((len(batches) - 1) * (1 - p)) for p in PLACES) if batches else {}
    sample = tokens = 0
    timed = 0.0
    for i, place in enumerate([next(iter(places)), *places] if places else []):  # the first one only warms up
        begin = time.perf_counter()
        fold(job, part, _only(block, place), labels, own, lambda *_: None)
        if not i:
            continue
        timed += time.perf_counter() - begin
        tokens += batches[place].ids.size
        sample += len(batches[place].ids)
        if timed > PATIENCE:
            break
    rest = sum(batch.ids.size for batch in batches)
    return Estimate(
        sample=min(sample, table.num_rows),
        symbols=len(block.symbols),
        forwards=len(batches),
        seconds=seconds + (timed * rest / tokens if tokens else 0.0),
        state_bytes={},
    )


def _only(block: Block, place: int) -> Block:
    """A block with one of its batches."""
    return replace(block, batches=block.batches[place : place + 1])


def state_bytes(job: Job, symbols: int) -> dict[type[AbstractState], int]:
    """The memory of the states of all groups, by type: the run's, and those of the block that is under way.

    Args:
        job: what is to be done.
        symbols: how many symbols each model is expected to have.
    """
    hypotheses = len(job.labels.labels)
    sets = [len(s) for s in job.labels.given.summed] if job.labels.given else []
    copies = 2 * job.records.slices
    found = dict.fromkeys(job.state_types, 0)
    for part in job.parts:
        for kind in job.states_of(part):
            sizes = (kind.memory_given(x.width, hypotheses, symbols, job.memory(x), sets) for x in part.layers)
            found[kind] += copies * sum(sizes)
    return found
