"""SQL as users write it: statement by statement, to DuckDB or to us.

A text in which nothing is ours goes to DuckDB byte for byte. Otherwise it is taken apart at its semicolons: statements
that DuckDB does not have are done here, those with INSPECT in them are planned, run and rewritten, and all others are
DuckDB's, again byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import duckdb

from deepbase import parameters
from deepbase.duckdb_errors import in_users_text
from deepbase.errors import QueryError
from deepbase.inspect_sql import Statement, has_inspect
from deepbase.parameters import Parameters
from deepbase.query.base import InspectSpec
from deepbase.query.clause import MENTIONED, at_token
from deepbase.query.context import with_symbol
from deepbase.query.lexer import statements, tokens
from deepbase.query.source import Source
from deepbase.statements import Ours, Tell, is_ours

if TYPE_CHECKING:
    from deepbase.database import Database
    from deepbase.engine.base import Progress

Found = duckdb.DuckDBPyRelation | None


class Script:
    """Runs SQL for a database.

    Args:
        database: the database.
        progress: told about the inspections of a query.
        tell: told what a statement without an answer did.
    """

    def __init__(self, database: Database, progress: Callable[[Progress], None], tell: Tell) -> None:
        self.database, self.progress, self.tell = database, progress, tell

    def run(self, text: str, given: Parameters) -> Iterator[Found]:
        """Run a script, statement by statement.

        Args:
            text: SQL.
            given: values for the parameters of its last statement.

        Yields:
            A relation, or None for a statement that gives no rows.
        """
        whole = Source.of(text)
        pieces = [whole[a:b] for a, b in statements(text)] if _mentions_ours(text) else None
        if pieces is None:
            yield from self._duckdb(whole, text, given)
            return
        for piece in pieces:
            last = piece is pieces[-1]
            values = given if last else None
            if is_ours(tokens(piece.text)):
                yield self._ours(piece, text, values)
            elif has_inspect(piece.text):
                yield self._inspect(piece, text, values)
            else:
                yield from self._duckdb(piece, text, values, last=last)

    def explain(self, text: str, given: Parameters) -> str:
        """The plan of a query as text; DuckDB's own where it has no INSPECT.

        Raises:
            QueryError: if it is not one statement.
        """
        whole = Source.of(text)
        pieces = [whole[a:b] for a, b in statements(text)]
        if len(pieces) != 1:
            raise QueryError(f"{len(pieces)} statements cannot be explained at once", "Give one SELECT.")
        if not has_inspect(pieces[0].text):
            (relation,) = self._duckdb(Source.made("EXPLAIN ", 0) + pieces[0], text, given)
            assert relation is not None
            return "\n".join(str(plan) for _, plan in relation.fetchall())
        return self._plan(pieces[0], text, given, analyze=False)

    def _plan(self, source: Source, whole: str, given: Parameters, *, analyze: bool) -> str:
        source, values = parameters.named(source, given)
        statement = self._statement(source, values, whole)
        plans: list[str] = []

        def explain(asked: InspectSpec | Mapping[str, Any]) -> int:
            run = self._run(asked) if analyze else 0
            plans.append(self.database.plan(asked, run))
            return run

        try:
            statement.run(explain)
        except QueryError as error:
            if analyze or not plans:
                raise
            plans.append(f"INSPECT what the scores of these choose; EXPLAIN ANALYZE runs them ({error.message})")
        return "\n\n".join(plans)

    def _duckdb(self, source: Source, whole: str, given: Parameters, *, last: bool = True) -> Iterator[Found]:
        """Statements of DuckDB; all but the last of a script are run whether their rows are read or not."""
        with self.database.store.cursor() as cursor:
            try:
                found = cursor.extract_statements(source.text)
            except duckdb.Error as error:
                raise in_users_text(error, source, whole) from error.__cause__
        starts = [begin for begin, _ in statements(source.text)]
        pieces = [source[a:b] for a, b in zip(starts, [*starts[1:], len(source)], strict=False)]
        if len(pieces) != len(found):  # DuckDB has the last word on where its statements end
            pieces = [Source.of(statement.query) for statement in found]
        for statement, written in zip(found, pieces, strict=True):
            piece = with_symbol(written)
            final = statement is found[-1]
            try:
                relation: duckdb.DuckDBPyRelation = self.database.relation(piece.text, given if final else None)
                if not (final and last):
                    relation = relation.materialize()
            except duckdb.Error as error:
                raise in_users_text(error, piece, whole) from error.__cause__
            yield relation if _gives_rows(statement, relation) else None

    def _ours(self, source: Source, whole: str, given: Parameters) -> Found:
        source, values = parameters.named(source, given)

        def evaluate(expression: Source) -> Any:
            query = Source.made("SELECT (", 0) + expression + Source.made("\n)", 0)
            try:
                return self.database.relation(query.text, parameters.mentioned(query.text, values)).fetchall()[0][0]
            except duckdb.Error as error:
                raise in_users_text(error, query, whole) from error.__cause__

        query = Ours(self.database, source, whole, evaluate, self.tell).run()
        return None if query is None else self.database.relation(query)

    def _inspect(self, source: Source, whole: str, given: Parameters) -> Found:
        """A statement with INSPECT in it."""
        words = tokens(source.text)
        if words[0].upper == "EXPLAIN":
            analyze = words[1].upper == "ANALYZE"
            plan = self._plan(source[words[1 + analyze].start :], whole, given, analyze=analyze)
            query = "SELECT 'inspection' AS explain_key, ? AS explain_value"
            return self.database.relation(query, [plan])
        if words[0].upper == "PREPARE":
            raise at_token(
                "a query with INSPECT cannot be prepared, since it is planned with its values",
                "Give the values with the query: sql(query, values).",
                source,
                words[0],
                whole,
            )
        source, values = parameters.named(source, given)
        statement = self._statement(source, values, whole)
        rewritten = statement.run(self._run)
        return next(self._last(rewritten, whole, values))

    def _last(self, rewritten: Source, whole: str, values: Mapping[str, Any]) -> Iterator[Found]:
        return self._duckdb(rewritten, whole, parameters.mentioned(rewritten.text, values))

    def _statement(self, source: Source, values: Mapping[str, Any], whole: str) -> Statement:
        return Statement(
            source,
            values,
            whole,
            connect=self._connection,
            hypotheses=self.database.hypotheses,
            measures=self.database.measures,
            keep=self.database.keep,
            catalog_name=self.database.store.name,
        )

    def _run(self, asked: InspectSpec | Mapping[str, Any]) -> int:
        if isinstance(asked, InspectSpec):
            return self.database.start(asked, self.progress)
        return self.database.inspect(**asked, progress=self.progress).run_id

    @contextmanager
    def _connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection on which queries of the user can be planned."""
        store = self.database.store
        if not store.may_be_released:
            yield store.connection
            return
        with store.session() as cursor:
            yield cursor


def _mentions_ours(text: str) -> bool:
    """Whether a statement of a text is not for DuckDB as it is."""
    if MENTIONED.search(text) and has_inspect(text):
        return True
    found = tokens(text)
    starts = [0, *(i + 1 for i, t in enumerate(found) if t.text == ";" and not t.depth)]
    ends = [*(i - 1 for i in starts[1:]), len(found)]
    return any(is_ours(found[a:b]) for a, b in zip(starts, ends, strict=True))


def _gives_rows(statement: duckdb.Statement, relation: duckdb.DuckDBPyRelation) -> bool:
    """Whether the rows of a statement are an answer, rather than how it went."""
    kinds = statement.expected_result_type
    if kinds == [duckdb.ExpectedResultType.QUERY_RESULT] or relation.columns not in (["Count"], ["Success"]):
        return True
    return any(t.upper == "RETURNING" for t in tokens(statement.query))
