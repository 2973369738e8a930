"""The rows of the catalog: models and their layers, datasets, hypotheses.

Functions over a cursor of the store, inside the caller's transaction. A name that is taken is refused unless the caller
replaces it; removing something that runs refer to is allowed, since a run carries its own description in its `spec`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import duckdb

from deepbase.blocks import Column, Kind, Layer
from deepbase.errors import CatalogError, nearest

Noun = Literal["model", "dataset", "hypothesis", "run"]
TABLES: dict[Noun, str] = {"model": "models", "dataset": "datasets", "hypothesis": "hypotheses", "run": "runs"}
NAME = re.compile(r"[^\s'\"*?\[\]=()][^'\"*?\[\]\n]*")


@dataclass(frozen=True)
class ModelRow:
    """A row of `models`, with its layers."""

    model: str
    source: str
    fingerprint: str
    architecture: str
    parameters: int
    context: int | None
    padding: str
    options: Mapping[str, Any]
    layers: tuple[Layer, ...] = ()


@dataclass(frozen=True)
class DatasetRow:
    """A row of `datasets`."""

    dataset: str
    source: str
    fingerprint: str
    records: int
    columns: tuple[Column, ...]

    @property
    def table(self) -> str:
        """The qualified name of the table that holds its records."""
        return records_table(self.dataset)


@dataclass(frozen=True)
class HypothesisRow:
    """A row of `hypotheses`."""

    hypothesis: str
    kind: Kind | None
    source: str
    fingerprint: str
    description: str
    expression: str | None


def records_table(dataset: str) -> str:
    """The table of a dataset's records, qualified and quoted."""
    return 'records."' + dataset.replace('"', '""') + '"'


def now() -> datetime:
    """The time, UTC, as the catalog writes it."""
    return datetime.now(UTC).replace(tzinfo=None)


def check_name(noun: Noun, name: str) -> None:
    """Refuse a name that could not be told from a glob, a call or a `column=value`.

    Raises:
        CatalogError: for such a name.
    """
    if not NAME.fullmatch(name):
        raise CatalogError(f"{name!r} cannot be the name of a {noun}", "Use letters, digits, '_', '-', '.' or ':'.")


def names(cursor: duckdb.DuckDBPyConnection, noun: Noun) -> list[str]:
    """The registered names."""
    return [str(r[0]) for r in cursor.execute(f"SELECT {noun} FROM {TABLES[noun]} ORDER BY ALL").fetchall()]


def remove(cursor: duckdb.DuckDBPyConnection, noun: Noun, name: str) -> None:
    """Forget something registered, or a run with its scores.

    Raises:
        CatalogError: if there is no such thing.
    """
    if name not in names(cursor, noun):
        raise CatalogError(f"there is no {noun} '{name}'", nearest(name, names(cursor, noun)))
    _delete(cursor, noun, name)
    if noun == "dataset":
        _refresh_inputs(cursor)


def _delete(cursor: duckdb.DuckDBPyConnection, noun: Noun, name: str) -> None:
    extra = {"model": ["layers"], "run": ["scores", "checkpoints"]}.get(noun, [])
    for table in [TABLES[noun], *extra]:
        cursor.execute(f"DELETE FROM {table} WHERE {noun} = ?", [name])
    if noun == "dataset":
        cursor.execute(f"DROP TABLE IF EXISTS {records_table(name)}")


def _make_way(cursor: duckdb.DuckDBPyConnection, noun: Noun, name: str, replace: bool) -> None:
    check_name(noun, name)
    if name in names(cursor, noun):
        if not replace:
            raise CatalogError(
                f"there is already a {noun} '{name}'", "Choose another name, remove it, or replace it (--replace)."
            )
        _delete(cursor, noun, name)


def add_model(
    cursor: duckdb.DuckDBPyConnection, row: ModelRow, tags: Mapping[str, Any], *, replace: bool = False
) -> None:
    """Write a model, its layers and its tags, which become columns.

    Raises:
        CatalogError: if the name is taken or a tag cannot be a column.
    """
    _make_way(cursor, "model", row.model, replace)
    cursor.execute(
        "INSERT INTO models (model, source, fingerprint, architecture, parameters, context, padding, options,"
        " registered) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            row.model,
            row.source,
            row.fingerprint,
            row.architecture,
            row.parameters,
            row.context,
            row.padding,
            json.dumps(dict(row.options)),
            now(),
        ],
    )
    if row.layers:
        cursor.executemany(
            "INSERT INTO layers VALUES (?, ?, ?, ?, ?)",
            [[row.model, x.layer, x.layer_index, x.width, x.kind] for x in row.layers],
        )
    own = {r[0] for r in cursor.execute("DESCRIBE models").fetchall()}
    for tag, value in tags.items():
        if tag in {"model", "source", "fingerprint", "architecture", "parameters", "context", "padding", "options"}:
            raise CatalogError(f"'{tag}' cannot be a tag: models have a column of that name", "Call it something else.")
        column = '"' + tag.replace('"', '""') + '"'
        if tag not in own:
            kind = cursor.execute("SELECT typeof(?)", [value]).fetchall()[0][0]
            cursor.execute(f"ALTER TABLE models ADD COLUMN {column} {'BIGINT' if kind == 'INTEGER' else kind}")
        try:
            cursor.execute(f"UPDATE models SET {column} = ? WHERE model = ?", [value, row.model])
        except duckdb.ConversionException as error:
            raise CatalogError(
                f"tag '{tag}' of model '{row.model}' has another type than before: {value!r}", "Use one type for a tag."
            ) from error


def model(cursor: duckdb.DuckDBPyConnection, name: str) -> ModelRow:
    """A registered model.

    Raises:
        CatalogError: if there is no such model.
    """
    columns = ("model", "source", "fingerprint", "architecture", "parameters", "context", "padding", "options")
    rows = cursor.execute(f"SELECT {', '.join(columns)} FROM models WHERE model = ?", [name]).fetchall()
    if not rows:
        raise CatalogError(f"there is no model '{name}'", nearest(name, names(cursor, "model")))
    layers = cursor.execute(
        "SELECT layer, layer_index, width, kind FROM layers WHERE model = ? ORDER BY layer_index", [name]
    ).fetchall()
    found: dict[str, Any] = dict(zip(columns, rows[0], strict=True))
    found["options"] = json.loads(found["options"])
    return ModelRow(**found, layers=tuple(Layer(*x) for x in layers))


def add_dataset(cursor: duckdb.DuckDBPyConnection, row: DatasetRow) -> None:
    """Write a dataset, whose table of records is there already; see `make_way_for_dataset`."""
    cursor.execute(
        "INSERT INTO datasets VALUES (?, ?, ?, ?, ?, ?)",
        [
            row.dataset,
            row.source,
            row.fingerprint,
            row.records,
            json.dumps([asdict(c) for c in row.columns]),
            now(),
        ],
    )
    _refresh_inputs(cursor)


def make_way_for_dataset(cursor: duckdb.DuckDBPyConnection, name: str, *, replace: bool = False) -> None:
    """Check that a dataset may have this name, and drop the one that it replaces.

    Raises:
        CatalogError: if the name is taken.
    """
    _make_way(cursor, "dataset", name, replace)


def dataset(cursor: duckdb.DuckDBPyConnection, name: str) -> DatasetRow:
    """A registered dataset.

    Raises:
        CatalogError: if there is no such dataset.
    """
    rows = cursor.execute(
        "SELECT dataset, source, fingerprint, records, columns FROM datasets WHERE dataset = ?", [name]
    ).fetchall()
    if not rows:
        raise CatalogError(f"there is no dataset '{name}'", nearest(name, names(cursor, "dataset")))
    row = list(rows[0])
    row[-1] = tuple(_column(c) for c in json.loads(row[-1]))
    return DatasetRow(*row)


def _column(fields: dict[str, Any]) -> Column:
    values = fields.pop("values")
    return Column(**fields, values=None if values is None else tuple(values))


def add_hypothesis(cursor: duckdb.DuckDBPyConnection, row: HypothesisRow, *, replace: bool = False) -> None:
    """Write a hypothesis. The same one again is no change.

    Raises:
        CatalogError: if another one has the name.
    """
    known = cursor.execute("SELECT fingerprint FROM hypotheses WHERE hypothesis = ?", [row.hypothesis]).fetchall()
    _make_way(cursor, "hypothesis", row.hypothesis, replace or known == [(row.fingerprint,)])
    values = [row.hypothesis, row.kind, row.source, row.fingerprint, row.description, row.expression, now()]
    cursor.execute("INSERT INTO hypotheses VALUES (?, ?, ?, ?, ?, ?, ?)", values)


def hypotheses(cursor: duckdb.DuckDBPyConnection) -> dict[str, HypothesisRow]:
    """All registered hypotheses by name."""
    rows: Sequence[tuple[Any, ...]] = cursor.execute(
        "SELECT hypothesis, kind, source, fingerprint, description, expression FROM hypotheses ORDER BY hypothesis"
    ).fetchall()
    return {r[0]: HypothesisRow(*r) for r in rows}


def _refresh_inputs(cursor: duckdb.DuckDBPyConnection) -> None:
    """Make the view `inputs` the union of all datasets' records."""
    parts = [
        f"SELECT '{name.replace(chr(39), chr(39) * 2)}' AS dataset, * FROM {records_table(name)}"
        for name in names(cursor, "dataset")
    ]
    empty = "SELECT NULL::VARCHAR AS dataset, NULL::BIGINT AS record, NULL::VARCHAR AS text WHERE false"
    cursor.execute(f"CREATE OR REPLACE VIEW inputs AS {' UNION ALL BY NAME '.join(parts) or empty}")
    cursor.execute("COMMENT ON VIEW inputs IS 'The records of all datasets, with the columns of their sources.'")


def fingerprint(cursor: duckdb.DuckDBPyConnection, noun: Noun, name: str) -> str | None:
    """The fingerprint of something registered; None if there is no such thing."""
    found = cursor.execute(f"SELECT fingerprint FROM {TABLES[noun]} WHERE {noun} = ?", [name]).fetchall()
    return str(found[0][0]) if found else None
