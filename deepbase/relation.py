"""DuckDB's relations, whose errors are those that happened.

A scan of a virtual table, or a Python hypothesis in a query, runs somewhere inside DuckDB, and what it raises comes out
as an error of DuckDB: a message about a stream, the class lost, Ctrl-C among them. A `Relation` is DuckDB's own, and
can do all that DuckDB's can; but whatever it is asked for, an exception that `deepbase.faults` keeps is raised itself,
`from` DuckDB's error, and an interrupted query is a KeyboardInterrupt.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import duckdb
import pyarrow as pa

from deepbase import faults

INTERRUPTED = ("Query interrupted", "UDF: KeyboardInterrupt", "exception: KeyboardInterrupt")
"""What errors say that stand for Ctrl-C."""


@contextmanager
def translated() -> Iterator[None]:
    """Raise what happened, where DuckDB or Arrow raise what they made of it."""
    try:
        yield
    except (duckdb.Error, RuntimeError, pa.ArrowException, OSError) as error:
        found = _meaning(error)
        if found is None:
            raise
        if found.__cause__ is not None:
            raise found  # noqa: B904  (it says itself what it comes from)
        raise found from error


def _meaning(error: Exception) -> BaseException | None:
    found = faults.original(error)
    if found is not None:
        return found
    if isinstance(error, duckdb.InterruptException) or any(sign in str(error) for sign in INTERRUPTED):
        return KeyboardInterrupt()
    return None


class Relation(duckdb.DuckDBPyRelation):
    """A relation of DuckDB that raises what happened, as do the relations and the readers that it gives."""

    __slots__ = ()

    @classmethod
    def of(cls, relation: duckdb.DuckDBPyRelation, keep: object = None) -> Self:
        """The same relation, as one of these.

        Args:
            relation: of DuckDB.
            keep: what has to live as long as the relation, and those that are made of it.
        """
        relation.__class__ = cls
        if keep is not None:
            weakref.finalize(relation, _let_go, keep).atexit = False
        return relation  # type: ignore[return-value]

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_"):
            return super().__getattribute__(name)
        with translated():
            return _wrapped(super().__getattribute__(name))

    def __getitem__(self, name: Any) -> Any:
        with translated():
            return _wrapped(super().__getitem__(name))

    def __len__(self) -> int:
        with translated():
            return super().__len__()

    def __repr__(self) -> str:
        with translated():
            return super().__repr__()

    def __str__(self) -> str:
        with translated():
            return super().__str__()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        with translated():
            return super().__arrow_c_stream__(requested_schema)

    def _repr_mimebundle_(self, *args: Any, **options: Any) -> Any:
        with translated():
            return super()._repr_mimebundle_(*args, **options)


class Reader:
    """An Arrow reader whose errors are those that happened; otherwise the reader that it was made of."""

    def __init__(self, reader: pa.RecordBatchReader) -> None:
        self._reader = reader
        self.relation: object = None

    def __getattr__(self, name: str) -> Any:
        return _wrapped(getattr(self._reader, name))

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return _rows(iter(self._reader))

    def __next__(self) -> pa.RecordBatch:
        with translated():
            return next(self._reader)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._reader.__arrow_c_stream__(requested_schema)


def _let_go(_: object) -> None:
    """What is kept is an argument of this, until it is called."""


def _wrapped(value: Any) -> Any:
    """What a relation or a reader gives, with its later errors translated as well."""
    if isinstance(value, Relation | Reader | type):
        return value
    if isinstance(value, duckdb.DuckDBPyRelation):
        return Relation.of(value)
    if isinstance(value, pa.RecordBatchReader):
        return Reader(value)
    if isinstance(value, Iterator):
        return _rows(value)
    if callable(value):
        return _calling(value)
    return value


def _calling(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        with translated():
            found = _wrapped(function(*args, **options))
        if isinstance(found, Reader):
            found.relation = function  # which holds what the relation keeps
        return found

    return call


def _rows(rows: Iterator[Any]) -> Iterator[Any]:
    with translated():
        yield from rows
