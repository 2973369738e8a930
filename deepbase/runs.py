"""The rows of runs: what an inspection leaves in `runs`, `run_hypotheses`, `scores` and `checkpoints`.

A run that is going on is written from time to time as a whole: its state, the scores that follow from it, and how far
it came, in one transaction. So a process that is killed leaves a run whose scores are right for the records that it
counts. Nobody can mark a killed run while it dies: whoever opens the file next finds that its process is gone.
"""

from __future__ import annotations

import json
import os
import platform
import socket
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from deepbase import catalog, selections
from deepbase.catalog import HypothesisRow
from deepbase.errors import CatalogError, InspectionError, nearest

SCORES_AT_ONCE = 500_000
"""How many scores one statement writes: some 30 MB of them, and faster than layer by layer."""


@dataclass(frozen=True)
class Standing:
    """How far a run has come."""

    status: str
    records_seen: int
    symbols_seen: int
    stopped_because: str | None
    seconds: float
    counts: Mapping[str, int]


@cache
def this_process() -> str:
    """Host, process id and the process's start, so that a number that is given again is not mistaken."""
    return f"{socket.gethostname()}:{os.getpid()}:{_started(os.getpid())}"


def _started(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _is_alive(process: str) -> bool:
    """Whether the process of a run is still there; one on another host is believed."""
    host, pid, started = process.rsplit(":", 2)
    if host != socket.gethostname():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return _started(int(pid)) == started


def mark_dead(cursor: duckdb.DuckDBPyConnection) -> None:
    """Mark the runs whose process is gone."""
    for run, process in cursor.execute("SELECT run, process FROM runs WHERE status = 'running'").fetchall():
        if not _is_alive(process):
            cursor.execute(
                "UPDATE runs SET status = 'interrupted', stopped_because = 'its process ended', finished = ?"
                " WHERE run = ?",
                [catalog.now(), run],
            )


def versions() -> dict[str, str]:
    """What the scores were computed with."""
    packages = ("deepbase", "torch", "transformers", "duckdb", "numpy")
    return {"python": platform.python_version(), **{p: version(p) for p in packages}}


def start(
    cursor: duckdb.DuckDBPyConnection, spec: Mapping[str, Any], seed: int, hypotheses: Sequence[HypothesisRow]
) -> int:
    """Write a new run with the hypotheses that it scores, and give its number."""
    run = int(cursor.execute("SELECT coalesce(max(run), 0) + 1 FROM runs").fetchall()[0][0])
    cursor.execute(
        "INSERT INTO runs VALUES (?, ?, NULL, 'running', ?, 0, 0, NULL, ?, ?, 0, '{}', ?)",
        [run, catalog.now(), json.dumps(spec), seed, json.dumps(versions()), this_process()],
    )
    names = [f.name for f in fields(HypothesisRow)]
    table = pa.table({name: pa.array([getattr(h, name) for h in hypotheses], pa.string()) for name in names})
    _insert(cursor, "run_hypotheses", table.append_column("run", pa.array([run] * len(hypotheses), pa.int64())))
    return run


def _insert(cursor: duckdb.DuckDBPyConnection, name: str, rows: pa.Table) -> None:
    cursor.register("new_rows", rows)
    try:
        cursor.execute(f"INSERT INTO {name} BY NAME SELECT * FROM new_rows")
    finally:
        cursor.unregister("new_rows")


@dataclass(frozen=True)
class Saved:
    """What a run left to go on from."""

    state: bytes
    seconds: float


def check_resumable(cursor: duckdb.DuckDBPyConnection, run: int) -> None:
    """See whether a run can be resumed.

    Raises:
        CatalogError: if there is no such run.
        InspectionError: if it is done, or running.
    """
    mark_dead(cursor)
    row = read(cursor, run)
    if row["status"] == "done":
        raise InspectionError(f"run {run} is done, there is nothing to resume", "Look at its scores.")
    if row["status"] == "running":
        raise InspectionError(
            f"run {run} is still running in {row['process']}",
            "Wait for it, or stop it; if its host is gone, remove the run.",
        )


def restart(cursor: duckdb.DuckDBPyConnection, run: int) -> Saved | None:
    """Take over a run that stopped; None where it had written no state.

    Raises:
        CatalogError: if there is no such run.
        InspectionError: if it is done, or running.
    """
    check_resumable(cursor, run)
    cursor.execute(
        "UPDATE runs SET status = 'running', finished = NULL, stopped_because = NULL, process = ? WHERE run = ?",
        [this_process(), run],
    )
    found = cursor.execute(
        "SELECT state, seconds FROM checkpoints JOIN runs USING (run) WHERE run = ?", [run]
    ).fetchall()
    return Saved(bytes(found[0][0]), float(found[0][1])) if found else None


def earlier(
    cursor: duckdb.DuckDBPyConnection, spec: Mapping[str, Any], question: Collection[str]
) -> tuple[int, bytes] | None:
    """The last run that did the same with another question about its scores, and stopped early; with its state.

    One that was computed with other versions of anything is none.

    Args:
        cursor: on the catalog.
        spec: of the new run, with its fingerprints.
        question: the fields of a spec that are about the scores, and not about what is computed.
    """

    def work(of: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in of.items() if name not in question and name != "continues"}

    rows = cursor.execute(
        "SELECT run, spec FROM runs JOIN checkpoints USING (run) WHERE status = 'done' AND versions::VARCHAR = ?"
        " ORDER BY run DESC",
        [json.dumps(versions())],
    ).fetchall()
    wanted = json.loads(json.dumps(work(spec)))
    for run, text in rows:
        if work(json.loads(text)) == wanted:
            found = cursor.execute("SELECT state FROM checkpoints WHERE run = ?", [run]).fetchall()
            return int(run), bytes(found[0][0])
    return None


def tally(cursor: duckdb.DuckDBPyConnection, run: int) -> list[tuple[str | None, int]]:
    """How many scores a run left, by note."""
    rows = cursor.execute("SELECT note, count(*) FROM scores WHERE run = ? GROUP BY ALL ORDER BY ALL", [run]).fetchall()
    return [(note, int(count)) for note, count in sorted(rows, key=lambda r: r[0] or "")]


def number(name: str | int) -> int:
    """The number of a run.

    Raises:
        CatalogError: if that is no number.
    """
    if not str(name).isdecimal():
        raise CatalogError(f"there is no run {name!r}", "Runs have numbers.")
    return int(name)


def remove(cursor: duckdb.DuckDBPyConnection, run: int) -> None:
    """Forget a run, its scores, and the selection of records that it alone names.

    Raises:
        CatalogError: if there is no such run, or it is running on this host.
    """
    mark_dead(cursor)
    row = read(cursor, run)
    if row["status"] == "running" and row["process"].rsplit(":", 2)[0] == socket.gethostname():
        raise CatalogError(f"run {run} is still running in {row['process']}", "Wait for it, or stop it.")
    for table in ("score_lists", "checkpoints", "run_hypotheses", "runs"):
        cursor.execute(f"DELETE FROM {table} WHERE run = ?", [run])
    selections.remove_unused(cursor)


def write(
    cursor: duckdb.DuckDBPyConnection,
    run: int,
    standing: Standing,
    scores: Iterable[pa.Table] | None,
    state: bytes | None,
) -> None:
    """Write how far a run has come, its scores if they are given, and its state; a finished run keeps no state.

    Raises:
        InspectionError: if the run is not this process's any more.
    """
    finished = None if standing.status == "running" else catalog.now()
    mine = cursor.execute(
        "UPDATE runs SET status = ?, finished = ?, records_seen = ?, symbols_seen = ?, stopped_because = ?,"
        " seconds = ?, counts = ? WHERE run = ? AND process = ? RETURNING run",
        [
            standing.status,
            finished,
            standing.records_seen,
            standing.symbols_seen,
            standing.stopped_because,
            standing.seconds,
            json.dumps(dict(standing.counts)),
            run,
            this_process(),
        ],
    ).fetchall()
    if not mine:
        raise InspectionError(
            f"run {run} was removed, or taken over by another process, while it was running", "Start it again."
        )
    cursor.execute("DELETE FROM checkpoints WHERE run = ?", [run])
    if state is not None:
        cursor.execute("INSERT INTO checkpoints VALUES (?, ?)", [run, state])
    if scores is None:
        return
    cursor.execute("DELETE FROM score_lists WHERE run = ?", [run])
    waiting: list[pa.Table] = []
    count = 0
    for table in scores:
        waiting.append(table)
        count += sum(len(chunk.values) for chunk in table["unit_score"].chunks)
        if count >= SCORES_AT_ONCE:
            _insert(cursor, "score_lists", pa.concat_tables(waiting))
            waiting.clear()
            count = 0
    if waiting:
        _insert(cursor, "score_lists", pa.concat_tables(waiting))


def read(cursor: duckdb.DuckDBPyConnection, run: int) -> dict[str, Any]:
    """The row of a run by column, its JSON columns parsed.

    Raises:
        CatalogError: if there is no such run.
    """
    rows = cursor.execute("SELECT * FROM runs WHERE run = ?", [run])
    columns = [c[0] for c in rows.description or ()]
    found = rows.fetchall()
    if not found:
        raise CatalogError(f"there is no run {run}", nearest("", catalog.names(cursor, "run")))
    row = dict(zip(columns, found[0], strict=True))
    return {k: json.loads(v) if k in ("spec", "versions", "counts") else v for k, v in row.items()}
