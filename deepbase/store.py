"""The file of a `Database`: its connections, its transactions, and the check that it is one.

A `Store` is one user's view of an `Instance`, which knows when the file is attached. Every thread has a connection of
its own, since DuckDB's connections refuse to be shared; all of them see the same tables and functions.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib.resources import files
from pathlib import Path

import duckdb

from deepbase.errors import CatalogError, QueryError
from deepbase.instance import PATIENCE, RUN_PATIENCE, Instance

FORMAT = 6
SCRIPTS = ("catalog.sql", "tables.sql", "macros.sql")
OURS = frozenset(
    {"models", "layers", "units", "datasets", "inputs", "hypotheses", "measures", "selections"}
    | {"runs", "run_hypotheses", "scores", "score_lists", "checkpoints"}
)


class Store:
    """A database file, or a database in memory.

    Args:
        path: the database file; None, or `:memory:`, to keep everything in memory.
        read_only: open the file for reading; others may do so at the same time.
        create: make the file, or the tables in it, where they are not there.

    Attributes:
        made: whether the file was made now.
        prepare: called with the connection of each thread when it is made.

    Raises:
        CatalogError: if the file cannot be used.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None = None, *, read_only: bool = False, create: bool = True
    ) -> None:
        self.path = None if path is None or str(path) == ":memory:" else Path(path).expanduser().absolute()
        self.read_only = read_only and self.path is not None
        self.made = self.path is not None and not self.path.exists()
        if self.path is not None:
            _check_file(self.path, create=create and not read_only)
        self.prepare: Callable[[duckdb.DuckDBPyConnection], None] | None = None
        self._instance = Instance.of(self.path, self.read_only)
        self._leave = weakref.finalize(self, self._instance.leave, False)
        self._local = threading.local()
        self._connections: weakref.WeakSet[duckdb.DuckDBPyConnection] = weakref.WeakSet()
        try:
            with self._instance.writing:
                self._check_tables(create=(create or self.path is None) and not self.read_only)
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> str:
        """The database that holds the catalog, as SQL calls it."""
        return self._instance.name

    @property
    def may_be_released(self) -> bool:
        """Whether a run of this process has released the file, or another thread may do so at any moment."""
        return self._instance.may_be_released

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The connection of the calling thread, whose default database is the file."""
        self._check_open()
        found: duckdb.DuckDBPyConnection | None = getattr(self._local, "connection", None)
        if found is None:
            with self.session(PATIENCE):
                found = self._local.connection = self.cursor()
                found.execute(f"USE {self.name}")
                found.execute("SET python_scan_all_frames = true")  # the frame of the user is above ours
                self._connections.add(found)
                if self.prepare is not None:
                    self.prepare(found)
        elif not self._instance.is_released:
            with self.session(PATIENCE):  # attaches the file again if that failed after a run
                pass
        return found

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection that its user closes; its default database is none of the file's."""
        self._check_open()
        with self._instance.lock:
            cursor = self._instance.root.cursor()
        cursor.execute("SET streaming_buffer_size = '64KB'")
        return cursor

    @contextmanager
    def functions(self) -> Iterator[tuple[duckdb.DuckDBPyConnection, dict[str, str]]]:
        """The connection on which functions are registered, for all to see, and the fingerprints of those that are."""
        self._check_open()
        with self._instance.lock:
            yield self._instance.root, self._instance.functions

    def close(self) -> None:
        """Close the connections, and the file if nobody else in this process has it open."""
        for connection in list(self._connections):
            connection.close()
        if self._leave.detach():
            self._instance.leave(True)

    def discard_if_unused(self) -> None:
        """Close, and delete the file if it was made by this store and nothing was ever written to it."""
        unused = False
        if self.made and self.path is not None and self._leave.alive:
            with self.session(PATIENCE) as cursor:
                found = cursor.execute("SELECT table_name FROM duckdb_tables() WHERE database_name = ?", [self.name])
                tables = {str(row[0]) for row in found.fetchall()} - {"deepbase_format"}
                unused = tables <= OURS and not any(cursor.execute(f"FROM {t} LIMIT 1").fetchall() for t in tables)
        self.close()
        if unused and self.path is not None:
            self.path.unlink(missing_ok=True)

    @contextmanager
    def session(self, patience: float = RUN_PATIENCE) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor on the catalog; the file is attached for its time if it is released.

        Args:
            patience: seconds to wait for a file that another process has locked.

        Raises:
            CatalogError: if it is still locked then.
        """
        with self._instance.session(patience), self.cursor() as cursor:
            cursor.execute(f"USE {self.name}")
            yield cursor

    @contextmanager
    def transaction(self, patience: float = RUN_PATIENCE) -> Iterator[duckdb.DuckDBPyConnection]:
        """A session that is written as a whole, or not at all."""
        if self.read_only and self.path is not None:
            allowed = os.access(self.path, os.W_OK)
            raise CatalogError(
                f"database '{self.path}' is open for reading only",
                "Connect without read_only." if allowed else "It may not be written: change that, or copy it.",
            )
        with self._instance.writing, self.session(patience) as cursor:
            cursor.execute("BEGIN")
            try:
                yield cursor
                cursor.execute("COMMIT")
            except BaseException:
                with suppress(duckdb.TransactionException):  # a failed COMMIT has rolled back
                    cursor.execute("ROLLBACK")
                raise

    @contextmanager
    def released(self) -> Iterator[None]:
        """Give the file's lock back for the time of a computation.

        Raises:
            QueryError: if the thread's own connection holds on to the file.
        """
        self._check_open()
        if self._instance.is_guest:
            yield
            return
        if self.path is not None and not self._instance.is_released:
            self._check_idle()
        with self._instance.released():
            yield

    def guest(self) -> AbstractContextManager[None]:
        """The time of some work inside a query: its thread is no user of the file, and does not release it."""
        return self._instance.guest()

    def _check_open(self) -> None:
        if not self._leave.alive:
            raise CatalogError(f"database '{self.path or ':memory:'}' is closed", "Connect again.")

    def _check_idle(self) -> None:
        """A transaction or an open result would keep the file attached, and this thread waiting for itself."""
        connection = getattr(self._local, "connection", None)
        if connection is None:
            return
        try:
            connection.execute("BEGIN")
            connection.execute("ROLLBACK")
        except duckdb.TransactionException as error:
            raise QueryError(
                "a transaction is open, in which nothing can be inspected", "COMMIT it or ROLLBACK first."
            ) from error
        except duckdb.ResourceInUseException as error:
            raise QueryError("the result of an earlier query is open", "Read it to its end, or close it.") from error

    def _check_tables(self, *, create: bool) -> None:
        with self.session(PATIENCE) as cursor:
            has = cursor.execute(
                "SELECT table_name FROM information_schema.tables WHERE table_catalog = ? AND table_schema = 'main'",
                [self.name],
            ).fetchall()
            tables = {str(row[0]) for row in has}
            if "deepbase_format" in tables:
                found = cursor.execute("SELECT format FROM deepbase_format").fetchall()
                if found != [(FORMAT,)]:
                    raise CatalogError(
                        f"database '{self.path}' has another format of DeepBase's tables", "Open a new file."
                    )
                return
        if taken := sorted(tables & OURS):
            raise CatalogError(
                f"database '{self.path}' was not made by DeepBase and has a table '{taken[0]}' of its own",
                "Open another file.",
            )
        if not create:
            raise CatalogError(
                f"database '{self.path}' holds nothing of DeepBase", "Register or inspect something in it first."
            )
        with self.transaction(PATIENCE) as cursor:
            for script in SCRIPTS:
                cursor.execute((files("deepbase.sql") / script).read_text("utf-8"))
            cursor.execute("INSERT INTO deepbase_format VALUES (?)", [FORMAT])


def _check_file(path: Path, *, create: bool) -> None:
    """Refuse what is no DuckDB file before DuckDB sees it."""
    if path.is_dir():
        raise CatalogError(f"'{path}' is a folder, not a database file", "Name a file in it.")
    if not path.exists():
        if not path.parent.is_dir():
            raise CatalogError(f"folder '{path.parent}' does not exist", "Make it, or choose another file.")
        if not create:
            raise CatalogError(
                f"there is no database '{path}'", "Check the path; whatever registers or inspects something makes it."
            )
        return
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError as error:
        raise CatalogError(f"cannot read database '{path}': {error.strerror}", "Check its permissions.") from error
    if not head:
        raise CatalogError(f"'{path}' is an empty file, not a database", "Delete it, or name another file.")
    if head[8:12] != b"DUCK":
        raise CatalogError(f"'{path}' is not a DuckDB database", "Name another file, or a new one.")
