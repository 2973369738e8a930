"""The hypotheses that a query may choose from: all that has a name for some datasets.

The table `hypotheses` has what was registered. An inspection may name more: the library, each value of an annotation
column (`upos=NOUN`), numeric and boolean columns, and any SQL expression. For a query with an INSPECT clause they are
all rows of `hypotheses`, so that a predicate can choose them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import duckdb

from deepbase.blocks import Level
from deepbase.catalog import DatasetRow, HypothesisRow
from deepbase.errors import HypothesisError
from deepbase.hypothesis_registry import Hypotheses
from deepbase.inputs.symbols import columns_at, symbols_schema
from deepbase.labels.base import Label, Registered, whole
from deepbase.labels.base import categories as by_category
from deepbase.labels.binding import bind, of_columns, unshadowed
from deepbase.labels.evaluate import expression_type


class Nameable:
    """The hypotheses that can be named for some datasets.

    Args:
        hypotheses: the registry.
        datasets: the datasets.
        connection: binds SQL expressions.
        level: what the symbols are.
    """

    def __init__(
        self,
        hypotheses: Hypotheses,
        datasets: Sequence[DatasetRow],
        connection: duckdb.DuckDBPyConnection,
        level: Level,
    ) -> None:
        self.hypotheses, self.datasets, self.connection, self.level = hypotheses, datasets, connection, level

    def rows(self, texts: Iterable[str], *, categories: bool = False) -> dict[str, HypothesisRow]:
        """All of them, by name.

        Args:
            texts: what the query compares hypotheses with; those that are SQL expressions, or values that no column
                lists, are among them.
            categories: with the categories themselves, beside their values.
        """
        found = {row.hypothesis: row for row in self._registered(categories)}
        for dataset in self.datasets:
            labels = of_columns(columns_at(dataset.columns, self.level))
            if categories:
                labels += tuple(whole(members) for members in by_category(labels).values())
            found.update({r.hypothesis: r for r in self.hypotheses.rows_of(labels) if r.hypothesis not in found})
        for text in texts:
            if text not in found and not any(c in text for c in "*?["):
                known = self.hypotheses.load([text])
                for dataset in self.datasets:
                    labels = self._labels(dataset, text, known)
                    if [x.name for x in labels] == [text]:
                        found.update({text: self.hypotheses.rows_of(labels)[0]})
        return found

    def not_applicable(self, names: Sequence[str]) -> list[str]:
        """Those of some hypotheses that read what the dataset does not have."""
        (dataset,) = self.datasets
        own = {c.name for c in columns_at(dataset.columns, self.level)}
        doubtful = [n for n in names if n not in own and n.partition("=")[0] not in own]
        known = self.hypotheses.load(doubtful)
        return [name for name in doubtful if not self._labels(dataset, name, known)]

    def _labels(self, dataset: DatasetRow, name: str, known: Mapping[str, Registered]) -> tuple[Label, ...]:
        """What a name means for a dataset; nothing if it means nothing."""
        columns = columns_at(dataset.columns, self.level)
        try:
            return bind([name], unshadowed(known, columns), columns, partial(self._type_of, dataset))
        except HypothesisError:
            return ()

    def _registered(self, whole_categories: bool) -> list[HypothesisRow]:
        """The registered ones and the library; a function of categories is one hypothesis for each of them."""
        known = unshadowed(self.hypotheses.load([]), [c for d in self.datasets for c in d.columns])
        categories = [n for n, h in known.items() if h.kind == "category"]
        loaded = self.hypotheses.load(categories)
        rows = []
        for name, one in known.items():
            function = loaded[name].function if name in categories else None
            members = [f"{name}={v}" for v in function.values] if function else [name]
            for member in [*members, name] if function and whole_categories else members:
                rows.append(
                    HypothesisRow(
                        hypothesis=member,
                        kind=one.kind if member == name else "boolean",
                        source=one.source,
                        fingerprint=one.fingerprint,
                        description=one.description,
                        expression=one.expression or None,
                    )
                )
        return rows

    def _type_of(self, dataset: DatasetRow, expression: str) -> str:
        schema = symbols_schema(dataset.columns, self.level)
        return expression_type(self.connection, expression, schema)
