"""The rows of the catalog: models and their layers, datasets, hypotheses, measures.

Functions over a cursor of the store, inside the caller's transaction. A name that is taken is refused unless the caller
replaces it; removing something that runs refer to is allowed, since a run carries its own description in its `spec`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import duckdb

from deepbase.blocks import Column, Kind, Layer
from deepbase.errors import CatalogError, DeepBaseError, nearest

Noun = Literal["model", "dataset", "hypothesis", "measure", "run"]
TABLES: dict[Noun, str] = {
    "model": "models",
    "dataset": "datasets",
    "hypothesis": "hypotheses",
    "measure": "measures",
    "run": "runs",
}
MODEL_COLUMNS = ("model", "source", "fingerprint", "architecture", "parameters", "context", "padding", "options")
RECORD_COLUMNS = {
    "record": "The number of the record, from 0, in the order of the source.",
    "text": "The text.",
    "word": "The words, where the source gives them.",
    "word_start": "The character of the text at which each word begins.",
    "word_end": "The character of the text before which each word ends.",
}
INPUTS_COMMENT = "The records of all datasets, with the columns of their sources."
NUMBER = re.compile(r"(U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL\(.*\))$")
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


@dataclass(frozen=True)
class MeasureRow:
    """A row of `measures`: a user's own."""

    measure: str
    source: str
    fingerprint: str
    description: str


def records_table(dataset: str) -> str:
    """The table of a dataset's records, qualified and quoted."""
    return f"records.{quoted(dataset)}"


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def now() -> datetime:
    """The time, UTC, as the catalog writes it."""
    return datetime.now(UTC).replace(tzinfo=None)


def check_name(noun: Noun, name: str) -> None:
    """Refuse a name that could not be told from a glob, a call or a `column=value`.

    Raises:
        CatalogError: for such a name.
    """
    if not NAME.fullmatch(name):
        hint = " Name an SQL expression with --name (name=...)." if noun == "hypothesis" else ""
        raise CatalogError(
            f"{name!r} cannot be the name of a {noun}", f"Use letters, digits, '_', '-', '.' or ':'.{hint}"
        )


def taken(noun: Noun, name: str, but: str = "") -> CatalogError:
    """The error of a name that something else has."""
    return CatalogError(
        f"there is already a {noun} '{name}'{but and ', '}{but}",
        "Choose another name, remove it, or replace it (--replace, replace=True).",
    )


def refuse_namesakes(
    rows: Iterable[HypothesisRow] | Iterable[MeasureRow], several: str, error: type[DeepBaseError]
) -> None:
    """Refuse different rows of one name.

    Args:
        rows: to be written together.
        several: what they are.
        error: what to raise.

    Raises:
        DeepBaseError: if two have the same name.
    """
    seen: dict[str, HypothesisRow | MeasureRow] = {}
    for row in rows:
        name = row.hypothesis if isinstance(row, HypothesisRow) else row.measure
        if (other := seen.setdefault(name, row)) != row:
            raise error(
                f"two {several} are called '{name}': one from {other.source} and one from {row.source}",
                "Rename one of them.",
            )


def names(cursor: duckdb.DuckDBPyConnection, noun: Noun) -> list[str]:
    """The registered names."""
    return [str(r[0]) for r in cursor.execute(f"SELECT {noun} FROM {TABLES[noun]} ORDER BY ALL").fetchall()]


def remove(cursor: duckdb.DuckDBPyConnection, noun: Noun, name: str) -> None:
    """Forget something registered.

    Raises:
        CatalogError: if there is no such thing.
    """
    if name not in names(cursor, noun):
        raise CatalogError(f"there is no {noun} '{name}'", nearest(name, names(cursor, noun)))
    _delete(cursor, noun, name)
    if noun == "dataset":
        _refresh_inputs(cursor)


def _delete(cursor: duckdb.DuckDBPyConnection, noun: Noun, name: str) -> None:
    for table in [TABLES[noun], *(["layers"] if noun == "model" else [])]:
        cursor.execute(f"DELETE FROM {table} WHERE {noun} = ?", [name])
    if noun == "dataset":
        cursor.execute(f"DROP TABLE IF EXISTS {records_table(name)}")


def _make_way(cursor: duckdb.DuckDBPyConnection, noun: Noun, name: str, replace: bool) -> None:
    check_name(noun, name)
    known = {n.lower() if noun == "dataset" else n: n for n in names(cursor, noun)}
    found = known.get(name.lower() if noun == "dataset" else name)
    if found is None:
        return
    if found != name:
        raise taken(noun, found, f"which SQL does not tell from '{name}'")
    if not replace:
        raise taken(noun, name)
    _delete(cursor, noun, name)


def add_model(
    cursor: duckdb.DuckDBPyConnection, row: ModelRow, tags: Mapping[str, Any], *, replace: bool = False
) -> None:
    """Write a model, its layers and its tags, which become columns. The same model again keeps the tags that it has.

    Raises:
        CatalogError: if the name is taken by another model, or a tag cannot be a column.
    """
    facts = {name: getattr(row, name) for name in MODEL_COLUMNS} | {"options": json.dumps(dict(row.options))}
    if fingerprint(cursor, "model", row.model) == row.fingerprint:
        changes = ", ".join(f"{name} = ?" for name in facts)
        cursor.execute(f"UPDATE models SET {changes} WHERE model = ?", [*facts.values(), row.model])
        cursor.execute("DELETE FROM layers WHERE model = ?", [row.model])
    else:
        _make_way(cursor, "model", row.model, replace)
        facts["registered"] = now()
        marks = ", ".join("?" * len(facts))
        cursor.execute(f"INSERT INTO models ({', '.join(facts)}) VALUES ({marks})", list(facts.values()))
    if row.layers:
        cursor.executemany(
            "INSERT INTO layers VALUES (?, ?, ?, ?, ?)",
            [[row.model, x.layer, x.layer_index, x.width, x.kind] for x in row.layers],
        )
    for tag, value in tags.items():
        _set_tag(cursor, row.model, tag, value)


def _set_tag(cursor: duckdb.DuckDBPyConnection, name: str, tag: str, value: Any) -> None:
    """Write a tag of a model; its column is made for the first value, and widened where whole numbers get fractions."""
    if not tag.strip() or tag.lower() in (*MODEL_COLUMNS, "registered"):
        raise CatalogError(f"'{tag}' cannot be a tag: models have a column of that name", "Call it something else.")
    column = quoted(tag)
    types = {str(r[0]).lower(): str(r[1]) for r in cursor.execute("DESCRIBE models").fetchall()}
    kind = cursor.execute("SELECT typeof(?)", [value]).fetchall()[0][0]
    known = types.get(tag.lower())
    if known is None:
        cursor.execute(f"ALTER TABLE models ADD COLUMN {column} {'BIGINT' if kind == 'INTEGER' else kind}")
        cursor.execute(f"COMMENT ON COLUMN models.{column} IS 'A tag of the user.'")
    elif known == "BIGINT" and kind == "DOUBLE":
        cursor.execute(f"ALTER TABLE models ALTER COLUMN {column} TYPE DOUBLE")
    elif known == "BOOLEAN" and kind != "BOOLEAN":
        raise CatalogError(f"tag '{tag}' is {known} for other models, and {value!r} is not", "Use one type for a tag.")
    try:
        cursor.execute(f"UPDATE models SET {column} = ? WHERE model = ?", [value, name])
    except duckdb.ConversionException as error:
        raise CatalogError(
            f"tag '{tag}' is {known} for other models, and {value!r} is not", "Use one type for a tag."
        ) from error


def model(cursor: duckdb.DuckDBPyConnection, name: str) -> ModelRow:
    """A registered model.

    Raises:
        CatalogError: if there is no such model.
    """
    rows = cursor.execute(f"SELECT {', '.join(MODEL_COLUMNS)} FROM models WHERE model = ?", [name]).fetchall()
    if not rows:
        raise CatalogError(f"there is no model '{name}'", nearest(name, names(cursor, "model")))
    layers = cursor.execute(
        "SELECT layer, layer_index, width, kind FROM layers WHERE model = ? ORDER BY layer_index", [name]
    ).fetchall()
    found: dict[str, Any] = dict(zip(MODEL_COLUMNS, rows[0], strict=True))
    found["options"] = json.loads(found["options"])
    return ModelRow(**found, layers=tuple(Layer(*x) for x in layers))


def model_texts(cursor: duckdb.DuckDBPyConnection, name: str) -> dict[str, str | None]:
    """The row of a registered model as texts by column, tags included."""
    rows = cursor.execute("SELECT COLUMNS(*)::VARCHAR FROM models WHERE model = ?", [name])
    columns = [c[0] for c in rows.description or ()]
    return dict(zip(columns, rows.fetchall()[0], strict=True))


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
    _comment_records(cursor, row)
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


def add_measure(cursor: duckdb.DuckDBPyConnection, row: MeasureRow, *, replace: bool = False) -> None:
    """Write a measure. The same one again is no change.

    Raises:
        CatalogError: if another one has the name.
    """
    known = cursor.execute("SELECT fingerprint FROM measures WHERE measure = ?", [row.measure]).fetchall()
    _make_way(cursor, "measure", row.measure, replace or known == [(row.fingerprint,)])
    values = [row.measure, row.source, row.fingerprint, row.description, now()]
    cursor.execute("INSERT INTO measures VALUES (?, ?, ?, ?, ?)", values)


def measures(cursor: duckdb.DuckDBPyConnection) -> dict[str, MeasureRow]:
    """All registered measures by name."""
    rows: Sequence[tuple[Any, ...]] = cursor.execute(
        "SELECT measure, source, fingerprint, description FROM measures ORDER BY measure"
    ).fetchall()
    return {r[0]: MeasureRow(*r) for r in rows}


def _comment_records(cursor: duckdb.DuckDBPyConnection, row: DatasetRow) -> None:
    """Say in the database what the table of a dataset's records is."""
    cursor.execute(f"COMMENT ON TABLE {row.table} IS {literal(f'The records of the dataset {row.dataset}.')}")
    own = {c.name: f"Of the source: {c.kind}, one value per {c.level}." for c in row.columns}
    for name in [r[0] for r in cursor.execute(f"DESCRIBE {row.table}").fetchall()]:
        comment = own.get(name) or RECORD_COLUMNS.get(name, "Of the source.")
        cursor.execute(f"COMMENT ON COLUMN {row.table}.{quoted(name)} IS {literal(comment)}")


def _refresh_inputs(cursor: duckdb.DuckDBPyConnection) -> None:
    """Make the view `inputs` the union of all datasets' records; a column that has several types is text in it."""
    tables: dict[str, dict[str, str]] = {}
    for name in names(cursor, "dataset"):
        rows = cursor.execute(f"DESCRIBE {records_table(name)}").fetchall()
        tables[name] = {str(r[0]): str(r[1]) for r in rows}
    types: dict[str, set[str]] = {}
    for columns in tables.values():
        for column, kind in columns.items():
            types.setdefault(column.lower(), set()).add("number" if NUMBER.match(kind) else kind)
    parts = []
    for name, columns in tables.items():
        chosen = [f"{quoted(c)}::VARCHAR AS {quoted(c)}" if len(types[c.lower()]) > 1 else quoted(c) for c in columns]
        parts.append(f"SELECT {literal(name)} AS dataset, {', '.join(chosen)} FROM {records_table(name)}")
    empty = "SELECT NULL::VARCHAR AS dataset, NULL::BIGINT AS record, NULL::VARCHAR AS text WHERE false"
    cursor.execute(f"CREATE OR REPLACE VIEW inputs AS {' UNION ALL BY NAME '.join(parts) or empty}")
    cursor.execute(f"COMMENT ON VIEW inputs IS {literal(INPUTS_COMMENT)}")
    for column in ("dataset", *types):
        comment = "The dataset." if column == "dataset" else RECORD_COLUMNS.get(column, "Of the sources that have it.")
        cursor.execute(f"COMMENT ON COLUMN inputs.{quoted(column)} IS {literal(comment)}")


def fingerprint(cursor: duckdb.DuckDBPyConnection, noun: Noun, name: str) -> str | None:
    """The fingerprint of something registered; None if there is no such thing."""
    found = cursor.execute(f"SELECT fingerprint FROM {TABLES[noun]} WHERE {noun} = ?", [name]).fetchall()
    return str(found[0][0]) if found else None
