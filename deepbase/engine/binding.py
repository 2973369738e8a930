"""A request and what it names -> a job: every choice made and every mistake found before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import duckdb

from deepbase.blocks import Level
from deepbase.catalog import DatasetRow
from deepbase.engine.base import Job
from deepbase.inputs.stream import records
from deepbase.inputs.symbols import symbols_schema
from deepbase.inputs.tokenization import encode
from deepbase.labels.base import Registered
from deepbase.labels.binding import bind
from deepbase.labels.evaluate import Labels, expression_type
from deepbase.labels.sources import LIBRARY
from deepbase.measures.registry import measures
from deepbase.models.base import InspectableModel
from deepbase.query.base import InspectSpec
from deepbase.query.layers import choose_layers


def bind_job(
    spec: InspectSpec,
    model: InspectableModel,
    dataset: DatasetRow,
    known: Mapping[str, Registered],
    *,
    connection: duckdb.DuckDBPyConnection,
    workspace: duckdb.DuckDBPyConnection,
) -> Job:
    """Bind a request.

    Args:
        spec: the request.
        model: its model.
        dataset: its dataset.
        known: the hypotheses that may be named, those that are named with their functions.
        connection: a connection to the catalog.
        workspace: a connection of the job's own, on which labels are evaluated while it runs.

    Raises:
        DeepBaseError: whatever the request names that is not there.
    """
    chosen = measures(spec.measures)
    layers = choose_layers(spec.layers, model.layers, model.refused)
    schema = symbols_schema(dataset.columns, spec.at)
    columns = [c for c in dataset.columns if c.name in schema.names]
    taken = {c.name for c in columns}
    known = {n: h for n, h in known.items() if not (n in taken and h.source.startswith(LIBRARY))}
    labels = bind(spec.hypotheses, known, columns, partial(_type_of, connection, dataset, spec.at))
    used = [c for c in dataset.columns if any(_mentions(x.expression, c.name) for x in labels)]
    return Job(
        spec=spec,
        model=model.to(spec.device),
        tokenize=partial(encode, model.tokenize),
        layers=layers,
        labels=Labels(workspace, labels),
        measures=chosen,
        records=records(
            connection,
            dataset.table,
            columns=[c.name for c in used],
            where=spec.where,
            limit=spec.records,
            seed=spec.seed,
            hypotheses=len(labels),
        ),
        columns=used,
    )


def _type_of(connection: duckdb.DuckDBPyConnection, dataset: DatasetRow, level: Level, expression: str) -> str:
    return expression_type(connection, expression, symbols_schema(dataset.columns, level))


def _mentions(expression: str, column: str) -> bool:
    """Whether an SQL expression may read a column: its name occurs in it, as it is or within quotes."""
    return any(name.lower() in expression.lower() for name in (column, column.replace('"', '""')))
