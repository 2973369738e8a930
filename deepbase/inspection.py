"""What an inspection found: its run, its scores, and how to take them elsewhere."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from deepbase.errors import InspectionError

if TYPE_CHECKING:
    from deepbase.database import Database
    from deepbase.measures.base import AbstractMeasure

OUTPUTS = {
    ".parquet": "FORMAT parquet",
    ".csv": "FORMAT csv, HEADER",
    ".json": "FORMAT json, ARRAY true",
    ".jsonl": "FORMAT json",
}


@dataclass(frozen=True, repr=False)
class Inspection:
    """What an inspection found.

    Attributes:
        database: the database that holds it.
        run_id: the number of the run.
    """

    database: Database
    run_id: int

    @property
    def scores(self) -> duckdb.DuckDBPyRelation:
        """The run's rows of `scores`, as a DuckDB relation: `.df()`, `.pl()`, `.to_arrow_table()`, and more SQL."""
        return self.database.relation(f"FROM {self.database.store.name}.main.scores WHERE run = {self.run_id}")

    @property
    def open(self) -> duckdb.DuckDBPyRelation:
        """The rows of `scores` that are not settled: the run ended before it could tell, or a tie was left open."""
        return self.scores.filter("open")

    @property
    def run(self) -> dict[str, Any]:
        """The run's row of `runs`."""
        return self.database.run(self.run_id)

    @property
    def falling(self) -> list[str]:
        """Those of the run's measures of which less is better."""
        return [m.call for m in self._measures() if not m.higher_is_better]

    @property
    def asks_for_tests(self) -> bool:
        """Whether one of the run's measures has an option that is there for p-values alone."""
        return any(m.needs_records for m in self._measures())

    @property
    def unsigned(self) -> list[str]:
        """Those of the run's measures whose sign is no direction: their strength is the score itself."""
        return [m.call for m in self._measures() if not m.signed]

    @property
    def comparing(self) -> list[str]:
        """Those of the run's measures that compare groups of units, whose `hypothesis` is another group."""
        return [m.call for m in self._measures() if m.grouped and not m.kinds]

    def _measures(self) -> Sequence[AbstractMeasure]:
        from deepbase.measures.registry import measures

        return measures(self.run["spec"]["measures"], self.database.measures.known())

    def __repr__(self) -> str:
        return f"<Inspection: run {self.run_id} of {self.database!r}>"

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the scores to a `.parquet`, `.csv`, `.json` or `.jsonl` file; it appears whole or not at all.

        Raises:
            InspectionError: if the file cannot be written.
        """
        target = Path(path).expanduser()
        check_output(target)
        part = _part(target)
        name = str(part.absolute()).replace("'", "''")
        try:
            with self.database.store.session() as cursor:
                rows = f"FROM scores WHERE run = {self.run_id}"
                cursor.execute(f"COPY ({rows}) TO '{name}' ({OUTPUTS[target.suffix.lower()]})")
            part.replace(target)
        except (duckdb.Error, OSError) as error:
            part.unlink(missing_ok=True)
            raise InspectionError(f"cannot write '{target}': {error}", "The scores are in the database.") from error


def check_output(path: Path) -> None:
    """See whether a file could be written, before a run is spent on it.

    Raises:
        InspectionError: if not.
    """
    path = path.expanduser()
    if path.suffix.lower() not in OUTPUTS:
        raise InspectionError(f"cannot write '{path}'", f"End its name with one of: {', '.join(OUTPUTS)}.")
    if not path.parent.is_dir():
        raise InspectionError(f"cannot write '{path}': there is no folder '{path.parent}'", "Make it first.")
    if path.is_dir():
        raise InspectionError(f"cannot write '{path}': it is a folder", "Name a file.")
    try:
        _part(path).touch()
        _part(path).unlink()
        if path.exists():
            path.open("r+b").close()
    except OSError as error:
        raise InspectionError(f"cannot write '{path}': {error.strerror}", "Choose another place.") from error


def _part(path: Path) -> Path:
    """Where a file is written before it has its name."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")
