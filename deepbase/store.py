"""The DuckDB instance behind a `Database`, and the file that is attached to it.

The problem. DuckDB lets one process write to a file, and holds its lock for as long as it is open; but an inspection
runs for minutes or hours, and others want to query the file meanwhile.

The idea. The instance itself is in memory, and the file is *attached* to it: relations, registered functions and Arrow
tables belong to the instance and live on while the file is detached. A run releases the file, computes, and attaches it
for the moments in which it reads records or writes what it has. Attaching takes a few milliseconds.

Who finds the file locked waits a while and is told which process holds it.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import duckdb

from deepbase.errors import CatalogError

FORMAT = 1
FILE = "deepbase_file"
PATIENCE = 5.0
RUN_PATIENCE = 600.0
MSG_LOCKED = "database '{path}' is in use by another process{who}"
HINT_LOCKED = "Close it there, or wait until it is done."


class Store:
    """An in-memory DuckDB with, usually, a file attached.

    Args:
        path: the database file; None to keep everything in memory.
        read_only: open the file for reading; others may do so at the same time.

    Attributes:
        connection: the user's connection; its default database is the file.

    Raises:
        CatalogError: if the file cannot be used.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, *, read_only: bool = False) -> None:
        self.path = None if path is None or str(path) == ":memory:" else Path(path).expanduser().absolute()
        self.read_only = read_only and self.path is not None
        self.connection = duckdb.connect()
        self.connection.execute("SET streaming_buffer_size = '64KB'")
        self._released = 0
        self._sessions = 0
        self._lock = threading.RLock()
        try:
            if self.path is not None:
                _check_file(self.path, self.read_only)
                self._attach(PATIENCE)
                self.connection.execute(f"USE {FILE}")
            self._create_tables()
        except BaseException:
            self.connection.close()
            raise

    @property
    def name(self) -> str:
        """The database that holds the catalog, as SQL calls it."""
        return "memory" if self.path is None else FILE

    def close(self) -> None:
        """Close the file and end the instance."""
        self.connection.close()

    @contextmanager
    def session(self, patience: float = RUN_PATIENCE) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor on the catalog; the file is attached for its time if it is released.

        Args:
            patience: seconds to wait for a file that another process has locked.

        Raises:
            CatalogError: if it is still locked then.
        """
        with self._lock:
            if self._released and not self._sessions and self.path is not None:
                self._attach(patience)
            self._sessions += 1
        cursor = self.connection.cursor()
        try:
            cursor.execute(f"USE {self.name}")
            yield cursor
        finally:
            cursor.close()
            with self._lock:
                self._sessions -= 1
                if self._released and not self._sessions:
                    self._detach()

    @contextmanager
    def transaction(self, patience: float = RUN_PATIENCE) -> Iterator[duckdb.DuckDBPyConnection]:
        """A session that is written as a whole, or not at all."""
        if self.read_only:
            raise CatalogError(f"database '{self.path}' is open for reading only", "Connect without read_only.")
        with self.session(patience) as cursor:
            cursor.execute("BEGIN")
            try:
                yield cursor
            except BaseException:
                cursor.execute("ROLLBACK")
                raise
            cursor.execute("COMMIT")

    @contextmanager
    def released(self) -> Iterator[None]:
        """Give the file's lock back for the time of a computation."""
        with self._lock:
            self._released += 1
            if self._released == 1:
                self._detach()
        try:
            yield
        finally:
            with self._lock:
                self._released -= 1
                if not self._released and self.path is not None:
                    self._attach(RUN_PATIENCE)

    def _attach(self, patience: float) -> None:
        cursor = self.connection.cursor()
        until = time.monotonic() + patience
        path = str(self.path).replace("'", "''")
        options = "(TYPE duckdb, READ_ONLY)" if self.read_only else "(TYPE duckdb)"
        try:
            while True:
                try:
                    cursor.execute(f"ATTACH '{path}' AS {FILE} {options}")
                    break
                except duckdb.Error as error:
                    if not _is_locked(error) or time.monotonic() > until:
                        raise _explained(error, self.path) from error
                    time.sleep(0.05)
        finally:
            cursor.close()

    def _detach(self) -> None:
        if self.path is None:
            return
        cursor = self.connection.cursor()
        try:
            cursor.execute(f"DETACH DATABASE IF EXISTS {FILE}")
        finally:
            cursor.close()

    def _create_tables(self) -> None:
        with self.session(PATIENCE) as cursor:
            has = cursor.execute(
                f"SELECT table_name FROM duckdb_tables() WHERE database_name = '{self.name}' AND schema_name = 'main'"
            ).fetchall()
            tables = {row[0] for row in has}
            if "deepbase_format" in tables:
                found = cursor.execute("SELECT format FROM deepbase_format").fetchall()
                if found != [(FORMAT,)]:
                    raise CatalogError(
                        f"database '{self.path}' has another format of DeepBase's tables", "Open a new file."
                    )
                return
            ours = {"models", "layers", "datasets", "hypotheses", "runs", "scores", "checkpoints"}
            if taken := sorted(tables & ours):
                raise CatalogError(
                    f"database '{self.path}' was not made by DeepBase and has a table '{taken[0]}' of its own",
                    "Open another file.",
                )
        if self.read_only:
            raise CatalogError(f"database '{self.path}' holds no DeepBase catalog", "Open it for writing once.")
        with self.transaction(PATIENCE) as cursor:
            cursor.execute((files("deepbase.sql") / "catalog.sql").read_text("utf-8"))
            cursor.execute("INSERT INTO deepbase_format VALUES (?)", [FORMAT])


def _check_file(path: Path, read_only: bool) -> None:
    """Refuse what is no DuckDB file before DuckDB sees it."""
    if path.is_dir():
        raise CatalogError(f"'{path}' is a folder, not a database file", "Name a file in it.")
    if not path.exists():
        if read_only:
            raise CatalogError(f"database '{path}' does not exist", "Check the path, or connect without read_only.")
        if not path.parent.is_dir():
            raise CatalogError(f"folder '{path.parent}' does not exist", "Make it, or choose another file.")
        return
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError as error:
        raise CatalogError(f"cannot read database '{path}': {error.strerror}", "Check its permissions.") from error
    if head and head[8:12] != b"DUCK":
        raise CatalogError(f"'{path}' is not a DuckDB database", "Name another file, or a new one.")


def _is_locked(error: duckdb.Error) -> bool:
    text = str(error)
    return "lock on file" in text or "file handle conflict" in text


def _explained(error: duckdb.Error, path: Path | None) -> CatalogError:
    text = str(error).strip().splitlines()[0]
    if _is_locked(error):
        pid = re.search(r"PID (\d+)", text)
        who = f" (process {pid[1]})" if pid else " or connection"
        return CatalogError(MSG_LOCKED.format(path=path, who=who), HINT_LOCKED)
    return CatalogError(f"cannot open database '{path}': {text}", "Check the path and its permissions.")
