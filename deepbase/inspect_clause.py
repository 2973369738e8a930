"""One INSPECT clause: what its SELECT chooses becomes the inspections to run, and the SELECT is written around them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import duckdb

from deepbase import catalog
from deepbase.blocks import SCORES_COLUMNS, Level
from deepbase.catalog import HypothesisRow
from deepbase.duckdb_functions import aggregates, lasting
from deepbase.errors import DeepBaseWarning, MeasureError, QueryError, nearest
from deepbase.nameable import Nameable
from deepbase.planning import KNOWN, Planner, Target
from deepbase.query.analysis import leaves
from deepbase.query.base import InspectSpec, bounds
from deepbase.query.clause import Clause, at_token
from deepbase.query.goal import goal
from deepbase.query.grouping import Groups, groups
from deepbase.query.lexer import Token, tokens
from deepbase.query.relations import Predicate, Scope
from deepbase.query.rewrite import around_scores, refuse_single_records
from deepbase.query.select import select_around
from deepbase.query.slices import slice_sql
from deepbase.query.source import Source
from deepbase.run_registry import OF_SPEC

if TYPE_CHECKING:
    from deepbase.inspect_sql import Statement
    from deepbase.measures.base import AbstractMeasure

OF_RUN = (*OF_SPEC, "threshold")
"""The options that WITH takes."""


@dataclass(frozen=True)
class Inspected:
    """What one clause asks for, and how its SELECT is written around the runs."""

    specs: tuple[InspectSpec, ...]
    rewrite: Callable[[Sequence[int]], Source]


class PlannedClause:
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
            check_option(option.name, OF_RUN, self.source, statement.whole)
        options = statement.evaluate(connection, self.clause.options)
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
        wanted = {} if {"top", "threshold"} & set(options) else self._goal(scope, predicates, asked)
        specs = [self._spec(t, asked, found, options, named, wanted) for t in targets]
        rewrite = partial(self._rewritten, scope, predicates, found, planner.only_records)
        return Inspected(tuple(specs), rewrite)

    def _spec(
        self,
        target: Target,
        asked: Sequence[str],
        found: Groups,
        options: Mapping[str, Any],
        named: frozenset[str],
        wanted: Mapping[str, Any],
    ) -> InspectSpec:
        hypotheses = self._applicable(target, named, options.get("at", "token"))
        own = {name: value for name, value in options.items() if name != "threshold"}
        try:
            if "threshold" in options:
                wanted = {"thresholds": bounds(options["threshold"])}
            spec = InspectSpec(
                models=tuple(target.units),
                dataset=target.dataset,
                hypotheses=hypotheses,
                measures=tuple(dict.fromkeys(asked)),
                units=target.units,
                group_by=found.names,
                where=target.where,
                query=self.statement.source.text.strip(),
                **wanted,
                **own,
            )
        except QueryError as error:
            name = next((o for o in options if error.message.startswith(f"{o} ")), "")
            raise self._error(error.message, error.hint, name) from error
        if target.selection is None:
            return spec
        return replace(spec, selection=self.statement.select(self.connection, target.selection))

    def _goal(self, scope: Scope, predicates: Sequence[Predicate], calls: Sequence[str]) -> dict[str, Any]:
        """What the query has to know of the scores."""
        from deepbase.measures.registry import measures

        signed = any(m.signed for m in measures(calls, self.measures))
        return goal(
            scope, predicates, parse=partial(_parse, self.connection), values=self.statement.values, signed=signed
        )

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


def check_option(name: Token, known: Sequence[str], source: Source, whole: str) -> None:
    """Refuse an option that there is not.

    Raises:
        QueryError: with its place in the text of the user.
    """
    if name.name.lower() not in known:
        raise at_token(f"unknown option '{name.name}'", nearest(name.name, known), source, name, whole)


def _parse(connection: duckdb.DuckDBPyConnection, query: str) -> dict[str, Any]:
    """The tree of a SELECT."""
    found = json.loads(connection.execute("SELECT json_serialize_sql(?)", [query]).fetchall()[0][0])
    if found["error"]:
        raise QueryError(f"cannot understand the query: {found['error_message']}", "Mend this part of it.")
    tree: dict[str, Any] = found
    return tree
