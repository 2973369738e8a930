"""The hypotheses of a database: rows of the catalog on one side, Python functions and DuckDB's UDFs on the other.

A Python hypothesis is loaded when a query names it, and not before: opening a database runs nobody's code. What is
loaded must be what was registered. The library of DeepBase is behind all that: its hypotheses can be named without
registering, and anybody's own hypothesis may take one of its names.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from deepbase import catalog
from deepbase.catalog import HypothesisRow
from deepbase.errors import CatalogError, HypothesisError, nearest
from deepbase.inputs.symbols import symbols_schema
from deepbase.labels.base import Registered
from deepbase.labels.binding import label_kind
from deepbase.labels.evaluate import expression_type, register_functions
from deepbase.labels.hypothesis import Hypothesis
from deepbase.labels.sources import is_file, library, load_file
from deepbase.store import Store

OBJECT = "python"
"""The source of a function that was handed over, and cannot be loaded again."""
MISSING_COLUMN = "not found in FROM"
"""What DuckDB says of a column that is not there."""

_NONE = HypothesisRow("", None, "", "", "", None)


class Hypotheses:
    """The hypotheses of one database; loads each function at most once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.functions: dict[str, Hypothesis] = {}
        self.udfs: dict[str, str] = {}

    def register(self, source: Any, *, name: str | None = None, replace: bool = False) -> list[str]:
        """Register a file, a function, an SQL expression, or several; see `Database.register_hypotheses`."""
        if isinstance(source, list | tuple):
            return [n for s in source for n in self.register(s, name=name, replace=replace)]
        if isinstance(source, str | Path) and not is_file(str(source)):
            return [self._register_expression(str(source), name, replace)]
        functions = self._functions_of(source, name)
        with self.store.transaction() as cursor:
            known = catalog.hypotheses(cursor)
            for function in functions:
                row = _row_of(function)
                mine = function.name in known and known[function.name].source == row.source != OBJECT
                catalog.add_hypothesis(cursor, row, replace=replace or mine)
            self._make_callable(functions)
        return [f.name for f in functions]

    def adopt(self, requests: Any) -> tuple[list[str], list[str]]:
        """Make names of the hypotheses of an inspection: functions and files among them are registered.

        A function that was handed over before may be handed over again with other code.

        Returns:
            All names in order, and those that are new in the database.

        Raises:
            HypothesisError: if two functions of one request have one name.
        """
        one = isinstance(requests, str | Path) or callable(requests)
        with self.store.session() as cursor:
            before = catalog.hypotheses(cursor)
        names: dict[str, Any] = {}
        for request in [requests] if one else requests:
            if isinstance(request, str | Path) and not is_file(str(request)):
                names[str(request)] = request
                continue
            source = request if isinstance(request, str | Path | Hypothesis) else Hypothesis(request)
            again = isinstance(source, Hypothesis) and before.get(source.name, _NONE).source == OBJECT
            for name in self.register(source, replace=again):
                if names.setdefault(name, request) is not request:
                    raise HypothesisError(f"two hypotheses are called '{name}'", "Rename one of them.")
        return list(names), [n for n in names if n not in before and n in self.functions]

    def _functions_of(self, source: Any, name: str | None) -> list[Hypothesis]:
        if isinstance(source, str | Path):
            functions = load_file(str(source))
            if name is not None and len(functions) > 1:
                raise HypothesisError(
                    f"'{source}' defines {len(functions)} hypotheses, which cannot all be called '{name}'",
                    "Name one of them: file.py:name.",
                )
            if name is not None:
                functions[0].name = name
            return functions
        if isinstance(source, Hypothesis):
            return [source]
        if callable(source):
            return [Hypothesis(source, name=name)]
        raise HypothesisError(
            f"a {type(source).__name__} is no hypothesis", "Give a Python file, a function, a column, or SQL."
        )

    def _register_expression(self, expression: str, name: str | None, replace: bool) -> str:
        """An SQL expression; the name of a column, or of something known, needs no registering."""
        with self.store.session() as cursor:
            rows = [catalog.dataset(cursor, d) for d in catalog.names(cursor, "dataset")]
            known = catalog.hypotheses(cursor)
        columns = {c.name: c for row in rows for c in row.columns}
        plain = expression.partition("=")[0]
        if name is None and (plain in columns or expression in known or expression in library()):
            return expression
        if name is None and expression.isidentifier():
            raise HypothesisError(
                f"unknown hypothesis '{expression}'", nearest(expression, [*known, *columns, *library()])
            )
        self.load([expression])
        kind = None
        try:
            schema = symbols_schema(tuple(columns.values()), "token")
            kind = label_kind(expression_type(self.store.connection, expression, schema), name or expression)
        except HypothesisError as error:
            if MISSING_COLUMN not in str(error):  # a dataset that has the column may be yet to come
                raise
        digest = hashlib.sha256(expression.encode()).hexdigest()
        row = HypothesisRow(name or expression, kind, "sql", digest, expression, expression)
        with self.store.transaction() as cursor:
            catalog.add_hypothesis(cursor, row, replace=replace)
        return row.hypothesis

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

    def load(self, texts: Iterable[str]) -> dict[str, Registered]:
        """Load the hypotheses that some requests or SQL texts name, make them callable, and list all that are known.

        Raises:
            HypothesisError: if one cannot be loaded.
            CatalogError: if its code has changed.
        """
        with self.store.session() as cursor:
            rows = catalog.hypotheses(cursor)
        texts = list(texts)
        wanted: set[str] = set()
        while texts:  # the expression of an SQL hypothesis may name others
            text = texts.pop()
            words = set(re.findall(r"\w+", text))
            fresh = {
                n for n in {**library(), **rows} if (n in words or n == text or fnmatch.fnmatchcase(n, text))
            } - wanted
            wanted |= fresh
            texts += [rows[n].expression or "" for n in fresh if n in rows]
        shipped = {n: f for n, f in library().items() if n not in rows}
        functions = [self._function(rows[n]) for n in wanted if n in rows and rows[n].expression is None]
        self._make_callable([*functions, *(shipped[n] for n in wanted if n in shipped)])
        known = {n: _registered(rows[n], self.functions.get(n) if n in wanted else None) for n in rows}
        return {**known, **{n: _registered(_row_of(f), f) for n, f in shipped.items()}}

    def _function(self, row: HypothesisRow) -> Hypothesis:
        function = self.functions.get(row.hypothesis)
        if function is not None and function.fingerprint == row.fingerprint:
            return function
        if row.source == OBJECT:
            raise CatalogError(
                f"hypothesis '{row.hypothesis}' was handed over as a Python function, which is gone",
                "Register it again under its name.",
            )
        function = load_file(row.source)[0]
        function.name = row.hypothesis
        if function.fingerprint != row.fingerprint:
            raise CatalogError(
                f"hypothesis '{row.hypothesis}' in {row.source} has changed: it was {row.fingerprint[:12]} and is now "
                f"{function.fingerprint[:12]}",
                "Register it again, or put the old file back.",
            )
        return function

    def _make_callable(self, functions: Sequence[Hypothesis]) -> None:
        """Register functions as UDFs, where they are not yet."""
        fresh = [f for f in functions if self.udfs.get(f.name) != f.fingerprint]
        register_functions(self.store.connection, fresh)
        self.functions.update({f.name: f for f in functions})
        self.udfs.update({f.name: f.fingerprint for f in fresh})


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
