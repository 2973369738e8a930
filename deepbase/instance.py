"""The DuckDB instance of a database file, shared by all who open that file in this process.

The problem. DuckDB lets one process write to a file, and holds its lock for as long as it is open; but an inspection
runs for minutes or hours, and others want to query the file meanwhile. And a notebook opens its file again whenever a
cell is run again, which within one process is no conflict at all.

The idea. The instance itself is in memory, and the file is *attached* to it: relations, registered functions and Arrow
tables belong to the instance and live on while the file is detached. A run releases the file, computes, and attaches it
for the moments in which it reads records or writes what it has. Attaching takes a few milliseconds. There is one
instance a file and process; whoever opens the file again gets the same one.

Who finds the file locked waits a while and is told which process holds it.
"""

from __future__ import annotations

import re
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb

from deepbase.errors import CatalogError, DeepBaseWarning

FILE = "deepbase_file"
"""What SQL calls the attached file."""
PATIENCE = 5.0
"""Seconds to wait for a file that another process has locked, where a person waits for the answer."""
RUN_PATIENCE = 600.0
"""Seconds to wait where a run would be lost otherwise."""
OWN_PATIENCE = 0.5
"""Seconds to wait for a connection of this process, where a person waits."""
SILENCE = 3.0
"""Seconds after which a wait is announced."""

MSG_LOCKED = "database '{path}' is in use by {who}"
HINT_LOCKED = "Close it there, or wait until it is done."

_open: dict[tuple[Path, bool], Instance] = {}
_guard = threading.RLock()  # the collector may end an instance in the middle of `of`


class Instance:
    """An in-memory DuckDB with, usually, a file attached. Made by `Instance.of`, left with `leave`.

    Args:
        path: the database file; None to keep everything in memory.
        read_only: attach the file for reading.

    Attributes:
        root: a connection that is used for functions and cursors only, under `lock`.
        lock: held while the attachment changes.
        writing: held during a transaction; writers of one process take turns.
        functions: the fingerprints of the registered functions, by name.
    """

    def __init__(self, path: Path | None, read_only: bool) -> None:
        self.path = path
        self.read_only = read_only
        self.root = duckdb.connect()  # what a detached file took is given back to the system, for the run's peak
        self.root.execute("SET GLOBAL allocator_bulk_deallocation_flush_threshold = '1MB'")
        self.lock = threading.RLock()
        self.writing = threading.RLock()
        self.functions: dict[str, str] = {}
        self._users = 0
        self._released = 0
        self._sessions = 0
        self._threads: set[int] = set()
        self._local = threading.local()
        self._attached = False
        self._identity: tuple[int, int] | None = None

    @classmethod
    def of(cls, path: Path | None, read_only: bool) -> Instance:
        """The instance of a file, attached.

        Raises:
            CatalogError: if the file cannot be attached.
        """
        key = (path.resolve(), read_only) if path else None
        with _guard:
            found = _open.get(key) if key else None
            if found is not None:
                found._check_identity()
                found._users += 1
            if found is None or key not in _open:
                found = cls(path, read_only)
                found._users = 1
                try:
                    found._attach(PATIENCE)
                except BaseException:
                    found.root.close()
                    raise
                if key:
                    _open[key] = found
        return found

    def leave(self, close: bool) -> None:
        """Give the instance up; it ends, and its file is closed, with the last of its users.

        Args:
            close: close it at once; otherwise relations that are still in use keep it alive until they are gone.
        """
        with _guard:
            self._users -= 1
            if self._users:
                return
            for key in [k for k, v in _open.items() if v is self]:
                del _open[key]
            if close:
                self.root.close()

    @property
    def name(self) -> str:
        """The database that holds the catalog, as SQL calls it."""
        return "memory" if self.path is None else FILE

    @property
    def is_released(self) -> bool:
        """Whether the file is detached except for moments."""
        return self._released > 0

    @property
    def may_be_released(self) -> bool:
        """Whether that is so, or may be so at any moment, since several threads use the file."""
        return self.path is not None and (self._released > 0 or len(self._threads) > 1)

    @property
    def is_guest(self) -> bool:
        """Whether this thread works inside a query for a while, and is no user of the file."""
        return bool(getattr(self._local, "guest", False))

    @contextmanager
    def guest(self) -> Iterator[None]:
        """Work inside a query, on whichever thread DuckDB does that: the file is not released for it."""
        before, self._local.guest = self.is_guest, True
        try:
            yield
        finally:
            self._local.guest = before

    @contextmanager
    def session(self, patience: float) -> Iterator[None]:
        """Have the file attached for a while.

        Raises:
            CatalogError: if another process has locked it for longer than `patience` seconds.
        """
        with self.lock:
            if not self.is_guest:
                self._threads.add(threading.get_ident())
            self._attach(patience)
            self._sessions += 1
        try:
            yield
        finally:
            with self.lock:
                self._sessions -= 1
                if self._released and not self._sessions:
                    self._detach()

    @contextmanager
    def released(self) -> Iterator[None]:
        """Give the file's lock back for the time of a computation."""
        with self.lock:
            self._threads.add(threading.get_ident())
            self._released += 1
            if not self._sessions:
                self._detach()
        try:
            yield
        finally:
            with self.lock:
                self._released -= 1
                if not self._released:
                    with suppress(CatalogError):  # whoever needs the file next will wait for it, or hear why not
                        self._attach(PATIENCE)

    def _attach(self, patience: float) -> None:
        if self._attached or self.path is None:
            return
        began, told = time.monotonic(), False
        path = str(self.path).replace("'", "''")
        with self.root.cursor() as cursor:
            while not self._attached:
                if self._identity and not self.path.exists():
                    raise CatalogError(f"database '{self.path}' was deleted while it was open", "Put it back.")
                try:
                    cursor.execute(f"ATTACH '{path}' AS {FILE} (TYPE duckdb{', READ_ONLY' if self.read_only else ''})")
                    self._attached = True
                except duckdb.Error as error:
                    waited = time.monotonic() - began
                    reason = explained(error, self.path)
                    if "file handle conflict" in str(error) and patience <= PATIENCE:
                        patience = min(patience, OWN_PATIENCE)
                    if not is_locked(error) or waited >= patience:
                        raise reason from error
                    if waited > SILENCE and patience > PATIENCE and not told:
                        warnings.warn(f"{reason.message}; waiting for it", DeepBaseWarning, stacklevel=2)
                        told = True
                    time.sleep(0.05)
        self._identity = _identity(self.path)

    def _detach(self) -> None:
        if not self._attached:
            return
        with self.root.cursor() as cursor:
            cursor.execute(f"DETACH DATABASE IF EXISTS {FILE}")
        self._attached = False

    def _check_identity(self) -> None:
        """Whoever deletes a file and opens it again does not want the old one."""
        if self.path is not None and self._attached and _identity(self.path) != self._identity:
            raise CatalogError(
                f"database '{self.path}' was deleted or replaced while this process has it open",
                "Close the Database that was opened first, then connect again.",
            )


def is_locked(error: duckdb.Error) -> bool:
    """Whether waiting may help."""
    text = str(error)
    return "lock on file" in text or "file handle conflict" in text


def explained(error: duckdb.Error, path: Path) -> CatalogError:
    """What an error of ATTACH means, and what to do."""
    text = re.sub(r"^\w+ Error: ", "", str(error).strip().splitlines()[0]).rstrip("!.")
    if "file handle conflict" in text:
        who = "a result or a transaction of this process that was not finished, or by a connection of its own"
        return CatalogError(MSG_LOCKED.format(path=path, who=who), "Finish or close it first.")
    if is_locked(error):
        pid = re.search(r"PID (\d+)", text)
        return CatalogError(
            MSG_LOCKED.format(path=path, who=f"process {pid[1]}" if pid else "another process"), HINT_LOCKED
        )
    if "Corrupt" in str(error) or "Could not read enough bytes" in text or "WAL" in text:
        return CatalogError(f"database '{path}' is damaged: {text}", "Restore a copy of it, or name another file.")
    if "Permission denied" in text or "Read-only file system" in text:
        return CatalogError(f"database '{path}' cannot be written: {text}", "Connect with read_only, or copy it.")
    return CatalogError(f"cannot open database '{path}': {text}", "Check the path and its permissions.")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
