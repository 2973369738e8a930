"""The hypotheses of a database: rows of the catalog on one side, Python functions and DuckDB's UDFs on the other.

A Python hypothesis is loaded when a query calls it or an inspection names it, and not before: opening a database runs
nobody's code, and neither does asking for its scores. What is loaded must be what was registered. The library of
DeepBase is behind all that: its hypotheses can be named without registering, and anybody's own hypothesis may take one
of its names.
"""

from __future__ import annotations

import copy
import fnmatch
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from deepbase import catalog
from deepbase.catalog import HypothesisRow
from deepbase.errors import CatalogError, HypothesisError, nearest
from deepbase.inputs.symbols import symbols_schema
from deepbase.labels.base import Label, Registered
from deepbase.labels.binding import label_kind
from deepbase.labels.evaluate import expression_type, register_functions
from deepbase.labels.hypothesis import Hypothesis
from deepbase.labels.sources import library, load_file
from deepbase.python_files import is_file
from deepbase.store import Store

OBJECT = "python"
"""The source of a function that was handed over, and cannot be loaded again."""
MISSING_COLUMN = "not found in FROM"
"""What DuckDB says of a column that is not there."""
MISSING_FUNCTION = re.compile(r"Scalar Function with name (.+) does not exist!")
CALLED = re.compile(r'(\w+|"(?:[^"]|"")+")\s*\(')
"""A name that a query calls as a function."""


class Hypotheses:
    """The hypotheses of one database; loads each function at most once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.functions: dict[str, Hypothesis] = {}

    def register(self, source: Any, *, name: str | None = None, replace: bool = False) -> list[str]:
        """Register a file, a function, an SQL expression, or several: all of them, or none.

        Returns:
            The names of what is registered now. A column needs no registering, and is not among them.

        Raises:
            HypothesisError: if one cannot be understood, or two have one name.
            CatalogError: if a name is taken by another hypothesis.
        """
        several = list(source) if isinstance(source, list | tuple) else [source]
        if name is not None and len(several) > 1:
            raise HypothesisError(f"{len(several)} hypotheses cannot all be called '{name}'", "Register one at a time.")
        found: list[tuple[HypothesisRow, Hypothesis | None]] = []
        for one in several:
            if isinstance(one, str | Path) and not is_file(str(one)):
                row = self._expression(str(one), name)
                found += [(row, None)] if row else []
            else:
                found += [(_row_of(f), f) for f in _functions_of(one, name)]
        self._write(found, replace=replace)
        return [row.hypothesis for row, _ in found]

    def adopt(self, requests: Any) -> tuple[list[str], dict[str, HypothesisRow | None]]:
        """Make names of the hypotheses of an inspection: functions and files among them are registered.

        A function that was handed over before may be handed over again with other code.

        Returns:
            All names in order; and the names that were written, each with the row that it had before.

        Raises:
            HypothesisError: if one cannot be loaded, or two of them have one name.
            CatalogError: if a name is taken by another hypothesis.
        """
        one = isinstance(requests, str | Path) or callable(requests)
        names: list[str] = []
        found: list[tuple[HypothesisRow, Hypothesis | None]] = []
        for request in [requests] if one else requests:
            if isinstance(request, str | Path) and not is_file(str(request)):
                names.append(str(request))
                continue
            functions = _functions_of(request, None)
            found += [(_row_of(f), f) for f in functions]
            names += [f.name for f in functions]
        before = self._write(found, again=True) if found else {}
        return list(dict.fromkeys(names)), {row.hypothesis: before.get(row.hypothesis) for row, _ in found}

    def restore(self, cursor: duckdb.DuckDBPyConnection, before: Mapping[str, HypothesisRow | None]) -> None:
        """Undo what `adopt` wrote."""
        for name, row in before.items():
            if row is not None:
                catalog.add_hypothesis(cursor, row, replace=True)
            elif name in catalog.names(cursor, "hypothesis"):
                catalog.remove(cursor, "hypothesis", name)

    def row(self, name: str) -> HypothesisRow:
        """What is known of a hypothesis, registered or shipped.

        Raises:
            CatalogError: if there is no such hypothesis.
        """
        with self.store.session() as cursor:
            known = catalog.hypotheses(cursor)
        if name in known:
            return known[name]
        if name in library():
            return _row_of(library()[name])
        raise CatalogError(f"there is no hypothesis '{name}'", nearest(name, [*known, *library()]))

    def rows_of(self, labels: Iterable[Label]) -> list[HypothesisRow]:
        """What a run writes about the hypotheses that it scores, one row a label."""
        return [HypothesisRow(**label.facts()) for label in labels]  # type: ignore[arg-type]

    def load(self, requests: Iterable[str]) -> dict[str, Registered]:
        """Load the hypotheses that some requests name, and make them callable.

        Returns:
            All that are known, by name; with their functions, those that are named.

        Raises:
            HypothesisError: if one cannot be loaded.
            CatalogError: if its code has changed.
        """
        with self.store.session() as cursor:
            rows = catalog.hypotheses(cursor)
        names = {**library(), **rows}.keys()
        texts = list(requests)
        wanted = {n for text in texts for n in names if n == text or fnmatch.fnmatchcase(n, text)}
        wanted |= {text.partition("=")[0] for text in texts} & names  # one category of those that a function gives
        while True:  # the expression of an SQL hypothesis may call others
            expressions = [rows[n].expression or "" for n in wanted if n in rows]
            more = {n for text in [*texts, *expressions] for n in _called(text) if n in names} - wanted
            if not more:
                break
            wanted |= more
        shipped = {n: f for n, f in library().items() if n not in rows}
        functions = [self._function(rows[n]) for n in wanted if n in rows and rows[n].expression is None]
        self._make_callable([*functions, *(shipped[n] for n in wanted if n in shipped)])
        every = {**{n: _row_of(f) for n, f in shipped.items()}, **rows}
        return {n: _registered(row, self.functions.get(n) if n in wanted else None) for n, row in every.items()}

    def load_called(self, query: str) -> None:
        """Make the hypotheses callable that a query calls.

        Raises:
            HypothesisError: if one cannot be loaded.
            CatalogError: if its code has changed.
        """
        if names := set(_called(query)):
            self.load([n for n in names if not any(c in n for c in "*?[")])

    def load_missing(self, error: duckdb.Error) -> bool:
        """Make the hypothesis callable that a view or a macro in a query called; False if there is no such thing."""
        found = MISSING_FUNCTION.search(str(error))
        if found is None or found[1] in self.functions:
            return False
        known = self.load([found[1]]).get(found[1])
        return known is not None and known.function is not None

    def _write(
        self, found: Sequence[tuple[HypothesisRow, Hypothesis | None]], *, replace: bool = False, again: bool = False
    ) -> dict[str, HypothesisRow]:
        """Write rows and make their functions callable; returns what was known before.

        What comes from the same file again takes its own place; what is handed over, only if it is handed over `again`.
        """
        catalog.refuse_namesakes((row for row, _ in found), "hypotheses", HypothesisError)
        with self.store.transaction() as cursor:
            known = catalog.hypotheses(cursor)
            for row, function in found:
                old = known.get(row.hypothesis)
                own = function is not None and old is not None and old.source == row.source
                catalog.add_hypothesis(cursor, row, replace=replace or (own and (again or row.source != OBJECT)))
            self._make_callable([f for _, f in found if f is not None])
        return known

    def _expression(self, expression: str, name: str | None) -> HypothesisRow | None:
        """The row of an SQL expression; None for a column, or for what is known already."""
        with self.store.session() as cursor:
            rows = [catalog.dataset(cursor, d) for d in catalog.names(cursor, "dataset")]
            known = catalog.hypotheses(cursor)
        columns = {c.name: c for row in rows for c in row.columns}
        plain = expression.partition("=")[0]
        if name is None and (plain in columns or expression in known or expression in library()):
            return None
        if name is None and expression.isidentifier():
            raise HypothesisError(
                f"unknown hypothesis '{expression}'", nearest(expression, [*known, *columns, *library()])
            )
        catalog.check_name("hypothesis", name or expression)
        self.load_called(expression)
        kind = None
        try:
            schema = symbols_schema(tuple(columns.values()), "token")
            with self.store.session() as cursor:
                kind = label_kind(expression_type(cursor, expression, schema), name or expression)
        except HypothesisError as error:
            if MISSING_COLUMN not in str(error):  # a dataset that has the column may be yet to come
                raise
        digest = hashlib.sha256(expression.encode()).hexdigest()
        return HypothesisRow(name or expression, kind, "sql", digest, expression, expression)

    def _function(self, row: HypothesisRow) -> Hypothesis:
        function = self.functions.get(row.hypothesis)
        if function is not None and function.fingerprint == row.fingerprint:
            return function
        if row.source == OBJECT:
            raise CatalogError(
                f"hypothesis '{row.hypothesis}' was handed over as a Python function, which is gone",
                "Register it again under its name.",
            )
        try:
            function = load_file(row.source)[0]
        except HypothesisError as error:
            raise HypothesisError(
                f"hypothesis '{row.hypothesis}' (fingerprint {row.fingerprint[:12]}) cannot be loaded again: "
                f"{error.message}",
                "If it was moved, register it again from where it is.",
            ) from error
        if function.fingerprint != row.fingerprint:
            raise CatalogError(
                f"hypothesis '{row.hypothesis}' in {row.source} has changed: its fingerprint was "
                f"{row.fingerprint[:12]} and is now {function.fingerprint[:12]}",
                "Register it again, or put the old file back.",
            )
        return _named(function, row.hypothesis)

    def _make_callable(self, functions: Sequence[Hypothesis]) -> None:
        """Register functions as UDFs, where they are not yet."""
        with self.store.functions() as (connection, registered):
            fresh = [f for f in functions if registered.get(f.name) != f.fingerprint]
            register_functions(connection, fresh)
            registered.update({f.name: f.fingerprint for f in fresh})
            self.functions.update({f.name: f for f in functions})


def _functions_of(source: Any, name: str | None) -> list[Hypothesis]:
    """The functions of a file, or the one that was handed over."""
    if isinstance(source, str | Path):
        functions = load_file(str(source))
        if name is not None and len(functions) > 1:
            raise HypothesisError(
                f"'{source}' defines {len(functions)} hypotheses, which cannot all be called '{name}'",
                "Name one of them: file.py:name.",
            )
    elif isinstance(source, Hypothesis):
        functions = [source]
    elif callable(source):
        functions = [Hypothesis(source, name=name)]
    else:
        raise HypothesisError(
            f"a {type(source).__name__} is no hypothesis", "Give a Python file, a function, a column, or SQL."
        )
    return functions if name is None else [_named(functions[0], name)]


def _named(function: Hypothesis, name: str) -> Hypothesis:
    """A function under another name; the one that was given keeps its own."""
    if function.name == name:
        return function
    named = copy.copy(function)
    named.name = name
    return named


def _called(text: str) -> list[str]:
    """The names that a piece of SQL seems to call."""
    return [n[1:-1].replace('""', '"') if n.startswith('"') else n for n in CALLED.findall(text)]


def _row_of(function: Hypothesis) -> HypothesisRow:
    return HypothesisRow(
        function.name, function.kind, function.source, function.fingerprint, function.description, None
    )


def _registered(row: HypothesisRow, function: Hypothesis | None) -> Registered:
    return Registered(
        name=row.hypothesis,
        kind=row.kind,
        source=row.source,
        fingerprint=row.fingerprint,
        description=row.description,
        function=function,
        expression=row.expression or "",
    )
