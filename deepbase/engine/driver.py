"""A run from its first block to its last row: what is written when, and what is left when it does not get there.

While it computes, the run holds no lock on the file. Every now and then it writes itself as a whole (state, scores,
standing); how often depends on what that costs, so that it stays within a few percent of the time. Ctrl-C stops it
between two batches and an error wherever it happens; either way what the finished blocks gave is written. A second
Ctrl-C does not wait.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from types import FrameType

import duckdb

from deepbase import catalog, runs
from deepbase.engine.base import Job, Progress
from deepbase.engine.course import Course
from deepbase.engine.memory import give_back_memory
from deepbase.engine.pieces import Piece, from_bytes, to_bytes
from deepbase.engine.results import computed, score_tables
from deepbase.errors import CatalogError, InspectionError
from deepbase.measures.own import naming
from deepbase.store import Store

PROGRESS_SECONDS = 0.5
CHECKPOINT_SHARE = 0.04
"""The share of a run's time that may go into writing checkpoints."""

Observe = Callable[[Progress], None]


class RunInterrupted(KeyboardInterrupt):
    """Ctrl-C stopped a run, which keeps what it had."""

    def __init__(self, run: int, records_seen: int) -> None:
        super().__init__(f"run {run} was interrupted after {records_seen:,} records and keeps what it had")
        self.run = run
        self.records_seen = records_seen


def drive(
    job: Job,
    store: Store,
    run: int,
    pieces: list[Piece],
    *,
    dataset_fingerprint: str,
    seconds: float,
    checkpoint: float,
    observe: Observe,
) -> None:
    """Carry a run to its end and write what it found.

    Args:
        job: what to do.
        store: where to write.
        run: the number of the run, which is in `runs` already.
        pieces: where to begin.
        dataset_fingerprint: of the dataset that the run is about; another one under its name ends the run.
        seconds: the time that was spent on it before.
        checkpoint: the least number of seconds between two checkpoints.
        observe: told about every block, and twice a second inside one.

    Raises:
        RunInterrupted: on Ctrl-C; the run is marked `interrupted`.
        Exception: whatever went wrong; the run is marked `failed`.
    """
    writer = _Writer(job, store, run, seconds, checkpoint)
    course = Course(job, pieces, lambda: writer.seconds - seconds)
    reading = partial(_reading, store, job.spec.dataset, dataset_fingerprint)
    show = _Show(observe, job.records.expected, writer)
    with store.released():
        try:
            with naming(job.measures), _interruptible() as check:

                def between(records: int, symbols: int) -> None:
                    check()
                    if time.monotonic() - show.last > PROGRESS_SECONDS:
                        show(course, records, symbols)

                for _ in course.run(reading, between):
                    show(course)
                    writer.maybe_write(course)
        except KeyboardInterrupt:
            writer.write(course, "interrupted", "Ctrl-C")
            raise RunInterrupted(run, course.state.records_seen) from None
        except BaseException as error:
            writer.fail(course, error)
            raise
        try:
            with naming(job.measures):
                writer.write(course, "done", course.because)
        except Exception as error:
            writer.fail(course, error)
            raise


def restored(job: Job, data: bytes, *, reopened: bool = False) -> list[Piece]:
    """The pieces that a run of a job had written.

    Args:
        job: what was done, or the same with another question about its scores.
        data: what it had written.
        reopened: whether it is another question, so that what was settled may be open again.
    """
    with naming(job.measures):
        pieces = from_bytes(job, data)
    return [replace(p, going=True, due=0) for p in pieces] if reopened else pieces


class _Show:
    """Tells an onlooker how far a run is."""

    def __init__(self, observe: Observe, expected: int, writer: _Writer) -> None:
        self.observe, self.expected, self.writer = observe, expected, writer
        self.last = time.monotonic()

    def __call__(self, course: Course, records: int = 0, symbols: int = 0) -> None:
        """Show where a run is, and what is done of the block after it."""
        self.last = time.monotonic()
        state = course.pieces[0].state
        seen, symbols = state.records_seen + records, state.symbols_seen + symbols
        progress = Progress(seen, self.expected, symbols, self.writer.seconds)
        if (look := course.seen) is not None:
            progress = replace(progress, pairs=look.pairs, open=look.open, widest=look.widest)
        self.observe(progress)


@contextmanager
def _reading(store: Store, dataset: str, fingerprint: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """The catalog, for reading records that are still those with which the run began."""
    with store.session() as cursor:
        if catalog.fingerprint(cursor, "dataset", dataset) != fingerprint:
            raise InspectionError(
                f"dataset '{dataset}' was removed or replaced while a run was reading it", "Start a new run."
            )
        yield cursor


class _Writer:
    """Writes a run, and decides how often."""

    def __init__(self, job: Job, store: Store, run: int, seconds: float, checkpoint: float) -> None:
        self.job, self.store, self.run = job, store, run
        self.checkpoint = checkpoint
        self.began = time.monotonic() - seconds
        give_back_memory()
        self.written = time.monotonic()
        self.cost = 0.0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def maybe_write(self, course: Course) -> None:
        """Write a checkpoint if it is time; a file that is locked just now can wait for the next block.

        What is in memory is gone with the process anyway, so there it would be for nothing.
        """
        if self.store.path is None or time.monotonic() - self.written < max(
            self.checkpoint, self.cost / CHECKPOINT_SHARE
        ):
            return
        with suppress(CatalogError):
            self.write(course, "running", None, patience=0.0)

    def write(self, course: Course, status: str, because: str | None, *, patience: float = math.inf) -> None:
        """Write everything in one transaction; the end of a run waits for the file as long as it takes."""
        start = time.monotonic()
        scores = course.scores()
        saved = None if status == "done" and course.has_read_all else _saved(course)
        with computed(score_tables(self.run, scores), self.job.is_quick) as tables:
            standing = self._standing(course, status, because)
            with self.store.transaction(patience) as cursor:
                runs.write(cursor, self.run, standing, tables, saved)
        give_back_memory()
        self.written = time.monotonic()
        self.cost = self.written - start

    def fail(self, course: Course, error: BaseException) -> None:
        """Mark the run as failed, and keep what it had; the error comes first, whatever else goes wrong.

        Where it is the scores themselves that fail, there are none.
        """
        because = " ".join(f"{type(error).__name__}: {error}".split())
        try:
            self.write(course, "failed", because)
        except Exception:
            saved = None
            with suppress(Exception):
                saved = _saved(course)
            try:
                with self.store.transaction(math.inf) as cursor:
                    runs.write(cursor, self.run, self._standing(course, "failed", because), (), saved)
            except Exception as second:
                error.add_note(f"Run {self.run} could not be marked as failed: {second}")

    def _standing(self, course: Course, status: str, because: str | None) -> runs.Standing:
        state = course.state
        return runs.Standing(status, state.records_seen, state.symbols_seen, because, self.seconds, state.counts)


def _saved(course: Course) -> bytes | None:
    """What a run needs to go on, or a later one that asks for more; None where a measure keeps more than that holds."""
    return to_bytes(course.pieces) if all(p.state.is_saved for p in course.pieces) else None


@contextmanager
def _interruptible() -> Iterator[Callable[[], None]]:
    """Turn the first Ctrl-C into a flag; the function that is given raises KeyboardInterrupt once it is up."""
    asked = threading.Event()

    def check() -> None:
        if asked.is_set():
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield check
        return

    def on_signal(_signal: int, _frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield check
        check()
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler if before is None else before)
