"""Statements with INSPECT in them: planned, run, and written again as plain SQL around the scores.

For each clause, innermost first: what its SELECT chooses is asked of DuckDB, the inspections that follow are run and
leave their scores in the catalog, and the SELECT is rewritten to read these. What is left is a statement of DuckDB.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from deepbase import catalog, parameters
from deepbase.blocks import SCORES_COLUMNS, Level
from deepbase.catalog import HypothesisRow
from deepbase.duckdb_errors import bound, in_users_text
from deepbase.duckdb_functions import aggregates, lasting
from deepbase.errors import DeepBaseWarning, MeasureError, QueryError, nearest
from deepbase.hypothesis_registry import Hypotheses
from deepbase.measure_registry import Measures
from deepbase.nameable import Nameable
from deepbase.planning import KNOWN, Planner, Target
from deepbase.query.analysis import leaves
from deepbase.query.base import InspectSpec
from deepbase.query.clause import Call, Clause, Reader, Value, at_token, starts_call, starts_clause
from deepbase.query.grouping import Groups, groups
from deepbase.query.lexer import Token, tokens
from deepbase.query.relations import Scope
from deepbase.query.rewrite import around_scores, refuse_single_records
from deepbase.query.select import select_around
from deepbase.query.slices import slice_sql
from deepbase.query.source import Source
from deepbase.relation import translated
from deepbase.run_registry import OF_SPEC

if TYPE_CHECKING:
    from deepbase.measures.base import AbstractMeasure

OF_RUN = (*OF_SPEC, "exact")
"""The options that WITH takes."""
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


@dataclass(frozen=True)
class Inspected:
    """What one clause asks for, and how its SELECT is written around the runs."""

    specs: tuple[InspectSpec, ...]
    rewrite: Callable[[Sequence[int]], Source]


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
                clause = _Clause(self, source, found, connection)
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
            _check_option(option.name, OF_CALL, source, self.whole)
        with self.connect() as connection:
            options = self.evaluate(connection, call.options)
        first = found[call.first]
        for name in ("model", "dataset"):
            if options.get(name) in (None, [], ""):
                raise at_token(f"inspect(...) needs {name}", f"Give it: {name} := ...", source, first, self.whole)
        run = runner(options)
        text = f"(SELECT * FROM {self.schema}.scores WHERE run = {run})" + ("" if call.alias else " AS inspect")
        return source.replace(first.start, found[call.end - 1].end, text)


class _Clause:
    """One clause: what it asks for, and how it is written."""

    def __init__(
        self, statement: Statement, source: Source, clause: Clause, connection: duckdb.DuckDBPyConnection
    ) -> None:
        self.statement, self.source, self.clause, self.connection = statement, source, clause, connection
        self.select = select_around(source, tokens(source.text), clause)
        self.measures = statement.measures.known()

    def inspected(self) -> Inspected:
        """Plan it."""
        statement, connection = self.statement, self.connection
        for option in self.clause.options:
            _check_option(option.name, OF_RUN, self.source, statement.whole)
        options = statement.evaluate(connection, self.clause.options)
        if not options.pop("exact", True):
            raise self._error("a run cannot stop early yet: it reads every record", "Leave exact out.", "exact")
        asked = [self._measure(i) for i in range(len(self.clause.measures))]
        scope = Scope(
            self.select,
            self.clause,
            parse=partial(_parse, connection),
            describe=self._describe,
            score_columns=SCORES_COLUMNS,
            aggregates=aggregates(),
            whole=statement.whole,
        )
        predicates = [*scope.predicates(), *(scope.predicate(text) for text in self.select.having)]
        found = groups(scope)
        refuse_single_records(scope, found.columns_of_records)
        planner = Planner(
            scope,
            [p for p in predicates if not p.expression.functions & scope.aggregates],
            found,
            run=partial(statement.execute, connection),
            connection=connection,
            parameters=statement.values,
            nameable=partial(self._nameable, options.get("at", "token"), self._takes_categories(asked)),
            builtin=lasting(),
        )
        try:
            targets = planner.targets()
            named = planner.compared_names()
        finally:
            if self.clause.hypotheses:
                connection.unregister(KNOWN)
        specs = [self._spec(t, asked, found, options, named) for t in targets]
        rewrite = partial(self._rewritten, scope, predicates, found, planner.only_records)
        return Inspected(tuple(specs), rewrite)

    def _spec(
        self,
        target: Target,
        asked: Sequence[str],
        found: Groups,
        options: Mapping[str, Any],
        named: frozenset[str],
    ) -> InspectSpec:
        hypotheses = self._applicable(target, named, options.get("at", "token"))
        try:
            spec = InspectSpec(
                models=tuple(target.units),
                dataset=target.dataset,
                hypotheses=hypotheses,
                measures=tuple(dict.fromkeys(asked)),
                units=target.units,
                group_by=found.names,
                where=target.where,
                query=self.statement.source.text.strip(),
                **options,
            )
        except QueryError as error:
            name = next((o for o in options if error.message.startswith(f"{o} ")), "")
            raise self._error(error.message, error.hint, name) from error
        if target.selection is None:
            return spec
        return replace(spec, selection=self.statement.select(self.connection, target.selection))

    def _measure(self, i: int) -> str:
        """The i-th measure, as a spec has it."""
        from deepbase.measures.registry import call_text, measures

        call = self.clause.measures[i]
        options = self.statement.evaluate(self.connection, call.options)
        try:
            text = call_text(call.name.name, options, self.measures)
            measure, *_ = measures([text], self.measures)
            self._check_needs(measure)
        except MeasureError as error:
            token = next((o.name for o in call.options if f"'{o.name.name}'" in error.message), call.name)
            raise at_token(error.message, error.hint, self.source, token, self.statement.whole) from error
        return text

    def _check_needs(self, measure: AbstractMeasure) -> None:
        """Hypotheses are there for measures that need them, and for no others.

        Raises:
            MeasureError: if not.
        """
        if self.clause.hypotheses is None and measure.kinds:
            raise MeasureError(
                f"measure '{measure.name}' compares units with a hypothesis",
                "Name the hypotheses, as in INSPECT U.unit AND H.hypothesis, and add hypotheses H to FROM.",
            )
        if self.clause.hypotheses is not None and not measure.kinds:
            what = "compares groups of units" if measure.grouped else "is a fact of a unit"
            raise MeasureError(
                f"measure '{measure.name}' {what}, and needs no hypothesis",
                f"Ask for it alone, as in INSPECT U.unit USING {measure.name} OVER D.record AS S.",
            )

    def _takes_categories(self, calls: Sequence[str]) -> bool:
        from deepbase.measures.registry import measures

        return any("category" in m.takes for m in measures(calls, self.measures))

    def _describe(self, item: Source, before: Sequence[Source]) -> Mapping[str, str]:
        text = Source.made("SELECT * FROM ", 0) + item
        if before:  # a lateral one cannot stand alone
            alone = [leaf.alias for leaf in leaves(item, partial(_parse, self.connection))]
            listed = ", ".join(f"{catalog.quoted(alias)}.*" for alias in alone)
            text = Source.made(f"SELECT {listed} FROM ", 0) + Source.join(", ", [*before, item])
        found = self.statement.execute(self.connection, Source.made("DESCRIBE ", 0) + self.select.with_tables(text))
        return dict(zip(found.column(0).to_pylist(), found.column(1).to_pylist(), strict=True))

    def _nameable(
        self, level: Level, whole: bool, datasets: Sequence[str], texts: Sequence[str]
    ) -> Mapping[str, HypothesisRow]:
        return self._names(level, datasets).rows(texts, categories=whole)

    def _names(self, level: Level, datasets: Sequence[str]) -> Nameable:
        rows = [catalog.dataset(self.connection, name) for name in datasets]
        return Nameable(self.statement.hypotheses, rows, self.connection, level)

    def _applicable(self, target: Target, named: frozenset[str], level: Level) -> tuple[str, ...]:
        """The hypotheses without those that only a broad predicate chose, and that the dataset cannot answer."""
        if self.clause.hypotheses is None:
            return ()
        broad = [name for name in target.hypotheses if name not in named]
        left_out = self._names(level, [target.dataset]).not_applicable(broad)
        if left_out:
            few = ", ".join(left_out[:5]) + (f" and {len(left_out) - 5} more" if len(left_out) > 5 else "")
            message = f"left out, since they read what dataset '{target.dataset}' does not have: {few}"
            warnings.warn(message, DeepBaseWarning, stacklevel=2)
        kept = tuple(n for n in target.hypotheses if n not in left_out)
        if not kept:
            raise self._error(f"no hypothesis applies to dataset '{target.dataset}'", "Choose others.", "")
        return kept

    def _rewritten(
        self, scope: Scope, predicates: Sequence[Any], found: Groups, only: frozenset[int], runs: Sequence[int]
    ) -> Source:
        """The statement with the scores of some runs in it."""
        at = self.source.origin[self.select.begin]
        schema, listed = self.statement.schema, ", ".join(map(str, runs))
        inputs, hypotheses = scope.required("inputs"), scope.of("hypotheses")
        texts = {inputs.number: Source.made(self._records(found, schema, listed, inputs.roles["inputs"].alias), at)}
        keys: dict[Any, tuple[str, ...]] = {
            "units": ("model", "layer", "unit"),
            "models": ("model",),
            "layers": ("model", "layer"),
            "hypotheses": ("hypothesis",),
            "inputs": ("run", "slice") if found.records else ("run",),
            "datasets": ("dataset",),
        }
        if hypotheses and hypotheses.is_plain("hypotheses"):
            keys["hypotheses"] = ("run", "hypothesis")
            text = (
                f"(SELECT r.*, h.registered FROM {schema}.run_hypotheses r LEFT JOIN {schema}.hypotheses h "
                f"USING (hypothesis) WHERE r.run IN ({listed})) AS {catalog.quoted(_alias(hypotheses, 'hypotheses'))}"
            )
            texts[hypotheses.number] = Source.made(text, at)
        scores = f"(SELECT * FROM {schema}.scores WHERE run IN ({listed})) AS {catalog.quoted(self.clause.alias.name)}"
        new = around_scores(
            scope,
            predicates,
            scores=Source.made(scores, at),
            texts=texts,
            keys=keys,
            only_records=only,
            aggregated=found.aggregated,
        )
        return self.source[: self.select.begin] + new + self.source[self.select.end :]

    @staticmethod
    def _records(found: Groups, schema: str, runs: str, alias: str) -> str:
        """What is left of the records: the dataset of each run, and the columns that it was grouped by."""
        name = f"(SELECT spec->>'dataset' FROM {schema}.runs r WHERE r.run = s.run) AS dataset"
        if not found.records:
            text = f"SELECT s.run, {name} FROM {schema}.runs s"
        else:
            columns = ""
            for column, kind in found.records:
                value = slice_sql(found.names, found.names.index(f"inputs.{column}"))
                columns += f", CAST({value} AS {kind}) AS {catalog.quoted(column)}"
            text = f"SELECT DISTINCT s.run, s.slice, {name}{columns} FROM {schema}.scores s"
        return f"({text} WHERE s.run IN ({runs})) AS {catalog.quoted(alias)}"

    def _error(self, message: str, hint: str, option: str) -> QueryError:
        """An error about an option, or about the clause."""
        token = tokens(self.source.text)[self.clause.first]
        token = next((o.name for o in self.clause.options if o.name.name.lower() == option), token)
        return at_token(message, hint, self.source, token, self.statement.whole)


def _alias(relation: Any, role: str) -> str:
    alias: str = relation.roles[role].alias
    return alias


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


def _check_option(name: Token, known: Sequence[str], source: Source, whole: str) -> None:
    if name.name.lower() not in known:
        raise at_token(f"unknown option '{name.name}'", nearest(name.name, known), source, name, whole)


def _blank(text: str) -> str:
    return "".join(c if c in "\r\n" else " " for c in text)


def _parse(connection: duckdb.DuckDBPyConnection, query: str) -> dict[str, Any]:
    """The tree of a SELECT."""
    found = json.loads(connection.execute("SELECT json_serialize_sql(?)", [query]).fetchall()[0][0])
    if found["error"]:
        raise QueryError(f"cannot understand the query: {found['error_message']}", "Mend this part of it.")
    tree: dict[str, Any] = found
    return tree
