"""The datasets of a database: each is read once, into a table of its own."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from deepbase import catalog
from deepbase.catalog import DatasetRow
from deepbase.errors import DatasetError, QueryError, nearest
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
        users = self.store.connection  # a query sees the user's temporary tables and data frames
        with self.store.transaction() as cursor:
            known = catalog.fingerprint(cursor, "dataset", name)
            catalog.make_way_for_dataset(cursor, name, replace=replace or known is not None)
            info = ingest(cursor, catalog.records_table(name), source, text=text, query_con=users)
            row = DatasetRow(name, info.source, info.fingerprint, info.records, info.columns)
            catalog.add_dataset(cursor, row)
            if known not in (None, row.fingerprint) and not replace:
                raise catalog.taken("dataset", name, "with other records")
        return row

    def find(self, source: Any, *, text: str | None = None) -> tuple[str, bool]:
        """The name of a dataset that a user named or handed over; registers it if need be.

        The same records keep their name. A file that has changed becomes another dataset, since scores rest on the old.

        Returns:
            Its name, and whether it is new in the database.

        Raises:
            QueryError: if the column of texts is given for a dataset that is registered.
            DatasetError: if it cannot be read.
        """
        with self.store.session() as cursor:
            names = catalog.names(cursor, "dataset")
            if isinstance(source, str) and source in names:
                if text is not None:
                    raise QueryError(
                        f"dataset '{source}' is registered, so that it has its column of texts already",
                        "Leave text out, or register the dataset again with it.",
                    )
                return source, False
            base = _name_of(source)
            known = [catalog.dataset(cursor, n) for n in names if n == base or n.startswith(f"{base}-")]
        digest = _digest(Path(source).expanduser(), text) if _is_file(source) else None
        for row in known:
            if row.fingerprint == digest:
                return row.dataset, False
        taken = {n.lower() for n in names}
        name, number = base, 2
        while name.lower() in taken:
            name, number = f"{base}-{number}", number + 1
        try:
            new = self.register(name, source, text=text)
        except DatasetError as error:
            close = nearest(source, names) if isinstance(source, str) and names else ""
            if digest is None and "Did you mean" in close:
                raise DatasetError(f"there is neither a dataset nor a file '{source}'", close) from error
            raise
        for row in known:
            if row.fingerprint == new.fingerprint:  # the same records again, which had to be read to know
                with self.store.transaction() as cursor:
                    catalog.remove(cursor, "dataset", name)
                return row.dataset, False
        return name, True


def _is_file(source: Any) -> bool:
    try:
        return isinstance(source, str | Path) and Path(source).expanduser().is_file()
    except (OSError, ValueError):  # a query is too long for a path
        return False


def _name_of(source: Any) -> str:
    """A name for a dataset that was not given one."""
    name = Path(source).name.partition(".")[0] if _is_file(source) else ""
    return name if catalog.NAME.fullmatch(name) else "dataset"


def _digest(path: Path, text: str | None) -> str:
    """What `ingest` would call the content of a file; empty where it cannot be read, which is for `ingest` to say."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
    return digest if text is None else hashlib.sha256(f"{digest} {text}".encode()).hexdigest()
