"""The datasets of a database: each is read once, into a table of its own."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import duckdb

from deepbase import catalog
from deepbase.catalog import DatasetRow
from deepbase.errors import CatalogError
from deepbase.inputs.readers import ingest
from deepbase.store import Store


class Datasets:
    """The datasets of one database."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def register(self, name: str, source: Any, *, text: str | None = None, replace: bool = False) -> DatasetRow:
        """Read a dataset; the same content again under its name is no change.

        Raises:
            DatasetError: if it cannot be read.
            CatalogError: if the name is taken by another dataset.
        """
        with self.store.transaction() as cursor:
            known = catalog.fingerprint(cursor, "dataset", name)
            row = _read(cursor, name, source, text)
            if known not in (None, row.fingerprint) and not replace:
                raise CatalogError(
                    f"there is already a dataset '{name}', with other records",
                    "Choose another name, remove it, or replace it (--replace).",
                )
        return row

    def find(self, source: Any, *, text: str | None = None) -> tuple[str, bool]:
        """The name of a dataset that a user named or handed over; registers it if need be.

        Returns:
            Its name, and whether it is new in the database.
        """
        with self.store.session() as cursor:
            names = catalog.names(cursor, "dataset")
            if isinstance(source, str) and source in names:
                return source, False
            base = _name_of(source)
            known = {n: catalog.dataset(cursor, n) for n in names if n == base or n.startswith(f"{base}-")}
        path = Path(source).expanduser().absolute() if isinstance(source, str | Path) else None
        for name, row in known.items():
            if path is not None and path.is_file() and row.source == str(path):
                if row.fingerprint != _digest(path):  # the file has changed: so does the dataset that stands for it
                    self.register(name, source, text=text, replace=True)
                return name, False
        name, number = base, 2
        while name in names:
            name, number = f"{base}-{number}", number + 1
        self.register(name, source, text=text)
        return name, True


def _read(cursor: duckdb.DuckDBPyConnection, name: str, source: Any, text: str | None) -> DatasetRow:
    catalog.make_way_for_dataset(cursor, name, replace=True)
    info = ingest(cursor, catalog.records_table(name), source, text=text)
    row = DatasetRow(name, info.source, info.fingerprint, info.records, info.columns)
    catalog.add_dataset(cursor, row)
    return row


def _name_of(source: Any) -> str:
    """A name for a dataset that was not given one."""
    if isinstance(source, Path) or (isinstance(source, str) and Path(source).suffix and "\n" not in source):
        return Path(source).name.partition(".")[0] or "dataset"
    return "dataset"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
