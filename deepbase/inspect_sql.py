"""Statements with INSPECT in them: planned, run, and written again as plain SQL around the scores.

For each clause, innermost first: what its SELECT chooses is asked of DuckDB, the inspections that follow are run and
leave their scores in the catalog, and the SELECT is rewritten to read these. What is left is a statement of DuckDB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa

from deepbase import catalog, parameters
from deepbase.duckdb_errors import bound, in_users_text
from deepbase.hypothesis_registry import Hypotheses
from deepbase.inspect_clause import OF_RUN, PlannedClause, check_option
from deepbase.measure_registry import Measures
from deepbase.query.base import InspectSpec
from deepbase.query.clause import Call, Clause, Reader, Value, at_token, starts_call, starts_clause
from deepbase.query.lexer import Token, tokens
from deepbase.query.select import select_around
from deepbase.query.source import Source
from deepbase.relation import translated

OF_CALL = (
    "model",
    "dataset",
    "hypotheses",
    "measures",
    "layers",
    "units",
    "where",
    "group_by",
    "checkpoint",
    "tokenize",
    "text",
    "padding",
    "allow_pickle",
    "trust_remote_code",
    *OF_RUN,
)
"""The options that the function form takes."""

Runner = Callable[[InspectSpec | Mapping[str, Any]], int]
"""Runs an inspection, or explains it; gives the number of its run. It is a spec, or the options of a call."""
Keep = Callable[[pa.RecordBatchReader], str]
"""Stores the records that a query gives, and says under which name."""
Connect = Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]


class Statement:
    """One statement with INSPECT in it.

    Args:
        source: its text.
        values: of its parameters.
        whole: the text of the user that it is part of.
        connect: gives a connection on which the user's tables can be seen.
        hypotheses: the registry.
        measures: the registry of the user's own.
        keep: stores the records that a query chooses.
        catalog_name: what SQL calls the database of the catalog.
    """

    def __init__(
        self,
        source: Source,
        values: Mapping[str, Any],
        whole: str,
        *,
        connect: Connect,
        hypotheses: Hypotheses,
        measures: Measures,
        keep: Keep,
        catalog_name: str,
    ) -> None:
        self.source, self.values, self.whole = source, values, whole
        self.connect, self.hypotheses, self.measures, self.keep = connect, hypotheses, measures, keep
        words = {t.upper for t in tokens(source.text)[:6]}
        stays = {"CREATE", "VIEW"} <= words or {"CREATE", "MACRO"} <= words
        self.schema = "main" if stays else f"{catalog.quoted(catalog_name)}.main"

    def run(self, runner: Runner) -> Source:
        """Run all inspections of the statement.

        Args:
            runner: runs one, or explains it.

        Returns:
            The statement that is left to DuckDB.

        Raises:
            QueryError: if a clause cannot be understood; with its place.
        """
        self._check_syntax()
        self.hypotheses.load_called(self.source.text)
        source = self.source
        while (found := _next(source, self.whole)) is not None:
            if isinstance(found, Call):
                source = self._called(source, found, runner)
                continue
            with self.connect() as connection:
                clause = PlannedClause(self, source, found, connection)
                inspected = clause.inspected()
            runs = [runner(spec) for spec in inspected.specs]
            source = inspected.rewrite(runs)
        return source

    def _check_syntax(self) -> None:
        """Let DuckDB say what is wrong with the text around the clauses, before anything is done."""
        text, found = self.source.text, tokens(self.source.text)
        for i in range(len(found) - 1, -1, -1):
            if starts_clause(found, i):
                clause = Reader(self.source, found, i, self.whole).clause()
                first, end = found[clause.first].start, found[clause.end - 1].end
            elif starts_call(found, i):  # its options may have names that DuckDB reserves, such as where
                call = Reader(self.source, found, i, self.whole).call()
                first, end = found[i + 1].end, found[call.end - 1].start
            else:
                continue
            text = text[:first] + _blank(text[first:end]) + text[end:]
        with self.connect() as connection:
            try:
                connection.extract_statements(text)
            except duckdb.Error as error:
                raise in_users_text(error, Source(text, self.source.origin), self.whole) from error.__cause__

    def execute(self, connection: duckdb.DuckDBPyConnection, query: Source) -> pa.Table:
        """Run a part of the statement."""
        with self._part(connection, query) as relation:
            return relation.to_arrow_table()

    def select(self, connection: duckdb.DuckDBPyConnection, query: Source) -> str:
        """Store the records that a part of the statement gives."""
        with self._part(connection, query) as relation, closing(relation.to_arrow_reader()) as reader:
            return self.keep(reader)

    @contextmanager
    def _part(self, connection: duckdb.DuckDBPyConnection, query: Source) -> Iterator[duckdb.DuckDBPyRelation]:
        """A part of the statement as a relation, whose errors are those of the user's text."""
        try:
            with translated():
                yield bound(connection, query.text, parameters.mentioned(query.text, self.values))
        except duckdb.Error as error:
            raise in_users_text(error, query, self.whole) from error.__cause__

    def evaluate(self, connection: duckdb.DuckDBPyConnection, options: Sequence[Value]) -> dict[str, Any]:
        """The values of options."""
        found = {}
        for option in options:
            query = Source.made("SELECT (", option.value.origin[0]) + option.value + Source.made("\n) AS v", 0)
            value = self.execute(connection, query).column(0)[0].as_py()
            found[option.name.name.lower()] = float(value) if isinstance(value, Decimal) else value
        return found

    def _called(self, source: Source, call: Call, runner: Runner) -> Source:
        """The function form: run it, and put the scores in its place."""
        found = tokens(source.text)
        for option in call.options:
            check_option(option.name, OF_CALL, source, self.whole)
        with self.connect() as connection:
            options = self.evaluate(connection, call.options)
        first = found[call.first]
        for name in ("model", "dataset"):
            if options.get(name) in (None, [], ""):
                raise at_token(f"inspect(...) needs {name}", f"Give it: {name} := ...", source, first, self.whole)
        run = runner(options)
        text = f"(SELECT * FROM {self.schema}.scores WHERE run = {run})" + ("" if call.alias else " AS inspect")
        return source.replace(first.start, found[call.end - 1].end, text)


def _next(source: Source, whole: str) -> Clause | Call | None:
    """The clause or call that can be done next: nothing that it reads has one of its own."""
    found = tokens(source.text)
    starts = [i for i in range(len(found)) if starts_clause(found, i) or starts_call(found, i)]
    for i in sorted(starts, key=lambda i: (-found[i].depth, i)):
        reader = Reader(source, found, i, whole)
        if starts_call(found, i):
            return reader.call()
        clause = reader.clause()
        if sum(starts_clause(found, j) for j in _around(found, i, starts)) > 1:
            raise at_token(
                "a SELECT can have one INSPECT", "Write two SELECTs, and join or UNION them.", source, found[i], whole
            )
        if not any(has_inspect(t.text) for t in select_around(source, found, clause).tables):
            return clause
    return None


def _around(found: Sequence[Token], i: int, starts: Sequence[int]) -> Iterator[int]:
    """The clauses of the same SELECT."""
    depth = found[i].depth
    for j in starts:
        between = found[min(i, j) : max(i, j)]
        same = found[j].depth == depth and all(t.depth >= depth for t in between)
        if same and not any(t.depth == depth and t.upper in ("SELECT", "UNION") for t in between):
            yield j


def has_inspect(text: str) -> bool:
    """Whether a text has an INSPECT clause, or its function form."""
    found = tokens(text)
    return any(starts_clause(found, i) or starts_call(found, i) for i in range(len(found)))


def _blank(text: str) -> str:
    return "".join(c if c in "\r\n" else " " for c in text)
