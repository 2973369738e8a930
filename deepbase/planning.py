"""From the relations and predicates of a query to the inspections that answer it.

DuckDB itself says what the predicates choose: the relations that belong together are joined as the user joins them,
over the catalog alone, and give the units, the hypotheses and the dataset. Predicates on records become the filter with
which the records are read. So everything that a query says about what it wants is used before the first forward.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from deepbase import catalog
from deepbase.catalog import HypothesisRow
from deepbase.errors import QueryError, nearest
from deepbase.query.grouping import Groups
from deepbase.query.relations import RECORDS, SCORES, Predicate, Role, Scope, components, quoted
from deepbase.query.rewrite import OF_UNITS, before_scores, joined, where
from deepbase.query.source import Source

KNOWN = "deepbase_known_hypotheses"
"""The relation that stands in for `hypotheses` while a query is planned."""
NAMES: Mapping[str, str] = {"model": "models", "layer": "layers", "dataset": "datasets", "hypothesis": "hypotheses"}
"""The columns whose values are names, and what they are names of."""

Ranges = Mapping[str, tuple[tuple[int, int], ...]]
Run = Callable[[Source], pa.Table]
"""Runs a query on the user's connection, with the user's parameters."""
Rows = Callable[[Sequence[str], Sequence[str]], Mapping[str, HypothesisRow]]
"""Names of datasets, and texts; the hypotheses that can be named."""


@dataclass(frozen=True)
class Target:
    """What one inspection is about.

    Attributes:
        dataset: its dataset.
        units: its units: by model and layer, as ranges.
        hypotheses: their names.
        where: the predicate on its records, over the columns of `inputs`.
        selection: a query that gives its records instead (record, groups); None where a predicate does.
    """

    dataset: str
    units: Mapping[str, Ranges]
    hypotheses: tuple[str, ...]
    where: str
    selection: Source | None


class Planner:
    """Finds out what a query is about.

    Args:
        scope: what its clause sees.
        predicates: those of WHERE, of the joins and of HAVING.
        groups: what it groups by.
        run: runs a query.
        connection: the connection that `run` uses.
        parameters: the values of the parameters.
        nameable: the hypotheses that there are for some datasets.
        builtin: the functions of DuckDB that give the same whenever they are called.
    """

    def __init__(
        self,
        scope: Scope,
        predicates: Sequence[Predicate],
        groups: Groups,
        *,
        run: Run,
        connection: duckdb.DuckDBPyConnection,
        parameters: Mapping[str, Any],
        nameable: Rows,
        builtin: frozenset[str],
    ) -> None:
        self.scope, self.groups, self.run, self.connection = scope, groups, run, connection
        self.parameters, self.nameable, self.builtin = parameters, nameable, builtin
        self.predicates = [q for p in predicates if (q := before_scores(scope, p)) is not None]
        self.components = components(scope, self.predicates)
        self.known_names: dict[str, list[str]] = {}
        self.inputs = scope.required("inputs")
        self.with_records = self._component(RECORDS)

    def targets(self) -> list[Target]:
        """The inspections: one, or one a dataset.

        Raises:
            QueryError: if nothing fits, a name is unknown, or scores would be over several datasets.
        """
        self._check_records_alone()
        self._check_names("model", "layer", "dataset")
        chosen = self._datasets()
        hypotheses = self._hypotheses(chosen)
        units = self._units()
        found = []
        for dataset in chosen:
            of_dataset = units.get(dataset, units.get("", {}))
            names = hypotheses.get(dataset, hypotheses.get("", ()))
            if of_dataset and (names or self.scope.clause.hypotheses is None):
                predicate, selection = self._records(dataset)
                found.append(Target(dataset, of_dataset, tuple(names), predicate, selection))
        if not found:
            raise self._nothing("units" if not units else "hypotheses")
        self._check_one_dataset(found)
        return found

    @property
    def only_records(self) -> frozenset[int]:
        """The relations that serve to choose records, and nothing else."""
        return self.with_records - {RECORDS, self.inputs.number}

    def _component(self, number: int) -> frozenset[int]:
        return next(c for c in self.components if number in c)

    def _about(self, component: frozenset[int]) -> list[Predicate]:
        """The predicates on the relations of a component."""
        return [p for p in self.predicates if p.relations and p.relations <= component]

    def _check_records_alone(self) -> None:
        """Records may be compared with the user's relations, and with nothing that is inspected."""
        roles: tuple[Role, ...] = ("units", "hypotheses", "models", "layers")
        inspected = {r.number for role in roles if (r := self.scope.of(role))}
        if not inspected & self.with_records:
            return
        text = next(
            (p.text for p in self.predicates if RECORDS in p.relations and len(p.relations) > 1),
            self.inputs.item.text,
        )
        raise self.scope.error_at(
            "records are compared with models, units or hypotheses, so that each of these would have its own records",
            "Let models choose their dataset (D.dataset = ...), or inspect them one by one.",
            text,
        )

    def _select(
        self, component: frozenset[int], columns: str, texts: Mapping[int, Source], more: Sequence[Source] = ()
    ) -> Source:
        """A query over the relations of a component."""
        relations = [r for r in self.scope.relations if r.number in component]
        keys: dict[Role, tuple[str, ...]] = {**OF_UNITS, "datasets": ("dataset",)}  # type: ignore[dict-item]
        text, conditions = joined(self.scope, relations, texts, None, keys)
        conditions += [*(p.text for p in self._about(component) if not p.implied), *more]
        at = self.scope.select.items[0].text.origin[0]
        pieces = [Source.made(f"SELECT {columns} FROM", at), text, where(conditions, at)]
        return self.scope.select.with_tables(Source.join(" ", pieces))

    def _check_names(self, *columns: str) -> None:
        """Refuse names that nothing has, where a predicate needs them."""
        for predicate in self.predicates:
            for one in predicate.expression.compared():
                owner = self.scope.owner(one.column)
                if owner is None or owner[0] == SCORES or owner[1] not in columns or not one.certain:
                    continue
                relation = self.scope.relations[owner[0]]
                if not any(relation.is_plain(role) for role in relation.roles):
                    continue
                noun, name = owner[1], self.parameters.get(one.text) if one.parameter else one.text
                names = self._names(noun)
                if isinstance(name, str) and name not in names:
                    raise self.scope.error_at(
                        f"there is no {noun} '{name}'", nearest(name, names), predicate.text, one.start, one.end
                    )

    def _names(self, noun: str) -> list[str]:
        if noun in self.known_names:
            return self.known_names[noun]
        table = KNOWN if noun == "hypothesis" else NAMES[noun]
        found = self.run(Source.made(f"SELECT DISTINCT {noun} FROM {table} ORDER BY ALL", 0))
        self.known_names[noun] = [str(x) for x in found.column(0).to_pylist()]
        return self.known_names[noun]

    def _datasets(self) -> list[str]:
        """The datasets, in order; each has a record that passes, unless there is only one."""
        alias = self.inputs.roles["inputs"].alias
        column = f"DISTINCT {quoted(alias)}.dataset AS dataset"
        component = self._component(self.inputs.number)
        texts = self._texts() if component != self.with_records else {}
        found = self._column(self._select(self._without_hypotheses(component), column, texts))
        if len(found) > 1 and component != self.with_records and len(self._about(self.with_records)):
            listed = ", ".join(map(catalog.literal, found))
            text = Source.made(f"{quoted(alias)}.dataset IN ({listed})", 0)
            found = self._column(self._select(self._records_component, column, {}, [text]))
        if not found:
            raise self._nothing("inputs")
        return found

    @property
    def _records_component(self) -> frozenset[int]:
        return self.with_records | {self.inputs.number}

    def _without_hypotheses(self, component: frozenset[int]) -> frozenset[int]:
        hypotheses = self.scope.of("hypotheses")
        return component - {hypotheses.number} if hypotheses and hypotheses.is_plain("hypotheses") else component

    def _column(self, query: Source) -> list[str]:
        return sorted(str(x) for x in self.run(query).column(0).to_pylist() if x is not None)

    def _texts(self) -> dict[int, Source]:
        """What stands in for the catalog's relations while units and hypotheses are chosen."""
        texts = {}
        if self.inputs.is_plain("inputs"):
            alias = quoted(self.inputs.roles["inputs"].alias)
            at = self.inputs.item.text.origin[0]
            texts[self.inputs.number] = Source.made(f"(SELECT dataset FROM datasets) AS {alias}", at)
        hypotheses = self.scope.of("hypotheses")
        if hypotheses and hypotheses.is_plain("hypotheses"):
            leaf = hypotheses.roles["hypotheses"]
            texts[hypotheses.number] = Source.made(f"{KNOWN} AS {quoted(leaf.alias)}", hypotheses.item.text.origin[0])
        return texts

    def _hypotheses(self, datasets: Sequence[str]) -> dict[str, list[str]]:
        """The hypotheses, by dataset where they depend on it; none where the clause names none."""
        relation = self.scope.of("hypotheses")
        if relation is None:
            return {}
        known = self.nameable(datasets, list(self._compared_hypotheses()))
        table = pa.Table.from_pylist([vars(row) for row in known.values()], schema=_HYPOTHESES)
        self.connection.register(KNOWN, table)
        if relation.is_plain("hypotheses"):
            self._check_names("hypothesis")
        component = self._component(relation.number)
        of_dataset = self._dataset_column(component)
        alias = quoted(relation.roles["hypotheses"].alias)
        found = self.run(
            self._select(component, f"DISTINCT {of_dataset}, {alias}.hypothesis AS hypothesis", self._texts())
        )
        rank = {name: i for i, name in enumerate(known)}
        chosen: dict[str, list[str]] = {}
        pairs = zip(found.column(0).to_pylist(), found.column(1).to_pylist(), strict=True)
        for dataset, name in sorted(pairs, key=lambda p: (p[0], rank.get(p[1], len(rank)), str(p[1]))):
            if name is not None:
                chosen.setdefault(dataset, []).append(str(name))
        if not chosen:
            raise self._nothing("hypotheses")
        return chosen

    def compared_names(self) -> frozenset[str]:
        """The hypotheses that the query names one by one."""
        return frozenset(self._compared_hypotheses())

    def _compared_hypotheses(self) -> Iterator[str]:
        for predicate in self.predicates:
            for one in predicate.expression.compared():
                owner = self.scope.owner(one.column)
                text = self.parameters.get(one.text) if one.parameter else one.text
                if owner is not None and owner[1] == "hypothesis" and isinstance(text, str):
                    yield text

    def _units(self) -> dict[str, dict[str, dict[str, tuple[tuple[int, int], ...]]]]:
        """The units by dataset, model and layer; the dataset is empty where they do not depend on it."""
        relation = self.scope.required("units")
        component = self._component(relation.number)
        alias = quoted(relation.roles["units"].alias)
        columns = f"{self._dataset_column(component)}, {alias}.model AS m, {alias}.layer AS l, "
        columns += f"list_sort(list(DISTINCT {alias}.unit)) AS u"
        text = self._select(component, columns, self._texts())
        found = self.run(text + Source.made(" GROUP BY ALL ORDER BY ALL", 0))
        units: dict[str, dict[str, dict[str, tuple[tuple[int, int], ...]]]] = {}
        for dataset, model, layer, numbers in zip(
            *(c.to_pylist() for c in found.columns[:3]), found.column(3), strict=True
        ):
            ranges = _ranges(np.asarray(numbers.values, dtype=np.int64))
            units.setdefault(dataset, {}).setdefault(model, {})[layer] = ranges
        if not units:
            raise self._nothing("units")
        return units

    def _dataset_column(self, component: frozenset[int]) -> str:
        """The dataset where the relations of a component depend on it, else nothing."""
        inside = self.inputs.number in component
        return f"{quoted(self.inputs.roles['inputs'].alias)}.dataset AS d" if inside else "'' AS d"

    def _records(self, dataset: str) -> tuple[str, Source | None]:
        """The predicate on the records of a dataset, or the query that gives them."""
        predicates = self._about(self._records_component)
        plain = self.inputs.is_plain("inputs") and self.with_records <= {RECORDS, self.inputs.number}
        predicates = [p for p in predicates if RECORDS in p.relations]
        if plain and all(map(self._is_lasting, predicates)):
            return " AND ".join(f"({self._over_inputs(p)})" for p in predicates), None
        alias = quoted(self.inputs.roles["inputs"].alias)
        values = ", ".join(f"CAST({alias}.{quoted(name)} AS VARCHAR)" for name, _ in self.groups.records)
        of_dataset = Source.made(f"{alias}.dataset = {catalog.literal(dataset)}", 0)
        columns = f"DISTINCT CAST({alias}.record AS BIGINT) AS record, CAST([{values}] AS VARCHAR[]) AS groups"
        return "", self._select(self._records_component, columns, {}, [of_dataset])

    def _is_lasting(self, predicate: Predicate) -> bool:
        """Whether a predicate says the same later, and on any connection."""
        expression = predicate.expression
        values = [self.parameters.get(name) for name in expression.parameters]
        known = all(v is None or isinstance(v, bool | int | float | str) for v in values)
        return known and not expression.has_subquery and not expression.stars and expression.functions <= self.builtin

    def _over_inputs(self, predicate: Predicate) -> str:
        """A predicate on records, in terms of `inputs`."""
        text = predicate.text.text
        alias = self.inputs.roles["inputs"].alias.lower()
        changes = [
            (c.start, c.end, ".".join(["inputs", *map(quoted, c.names[1:])]))
            for c in predicate.expression.columns
            if len(c.names) > 1 and c.names[0].lower() == alias
        ]
        changes += [
            (start, end, _literal(self.parameters.get(name))) for name, start, end in predicate.expression.marks()
        ]
        for start, end, new in sorted(changes, reverse=True):
            text = text[:start] + new + text[end:]
        return text

    def _nothing(self, role: Role) -> QueryError:
        """The error of a query that chooses nothing of something."""
        clause = self.scope.clause
        places = {"units": clause.units, "hypotheses": clause.hypotheses or clause.units, "inputs": clause.records}
        token = places[role].relation
        noun = {"units": "unit", "hypotheses": "hypothesis", "inputs": "dataset or record"}[role]
        names: list[str] = []
        texts = [
            one.text
            for p in self.predicates
            for one in p.expression.compared()
            if (o := self.scope.owner(one.column)) and o[1] in NAMES and not one.parameter
        ]
        if role == "hypotheses":
            names = self._names("hypothesis")
        elif role == "units":
            names = [*self._names("model"), *self._names("layer")]
        else:
            names = self._names("dataset")
        unknown = [t for t in texts if t not in names]
        hint = nearest(unknown[0], names) if unknown and names else "Widen the predicates, or register more."
        return self.scope.error(f"no {noun} matches what FROM and WHERE say", hint, token)

    def _check_one_dataset(self, found: Sequence[Target]) -> None:
        """Scores are over one dataset, unless they are grouped by it."""
        if "inputs.dataset" in self.groups.names:
            return
        for one, other in itertools.combinations(found, 2):
            if shared := sorted(set(one.units) & set(other.units)):
                raise self.scope.error(
                    f"the scores of model '{shared[0]}' would be over two datasets, '{one.dataset}' and "
                    f"'{other.dataset}'",
                    "Choose one, as in D.dataset = '...', or make one set of scores for each: GROUP BY D.dataset.",
                    self.scope.clause.records.relation,
                )


_HYPOTHESES = pa.schema(
    [(name, pa.string()) for name in ("hypothesis", "kind", "source", "fingerprint", "description", "expression")]
)


def _ranges(numbers: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Ascending numbers as half-open ranges."""
    breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
    return tuple((int(part[0]), int(part[-1]) + 1) for part in np.split(numbers, breaks))


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return catalog.literal(value)
    if value is None:
        return "NULL"
    return repr(value) if not isinstance(value, bool) else str(value).lower()
