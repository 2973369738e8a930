"""The models of a database: rows of the catalog on one side, loaded modules on the other.

A model is registered by loading it once and running one tiny forward. Afterwards it is loaded when it is first used,
and only if what is loaded is what was registered: the fingerprints must agree.
"""

from __future__ import annotations

import fnmatch
import re
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from deepbase import catalog
from deepbase.catalog import ModelRow
from deepbase.errors import CatalogError, DeepBaseError, ModelError, QueryError, nearest
from deepbase.store import Store

if TYPE_CHECKING:
    from deepbase.models.base import InspectableModel

PLAIN_NAME = re.compile(r"[\w.-]+(?<!\.py)")
OBJECT = "python"
"""The source of what was handed over as an object, and cannot be loaded again."""

_LOADING = threading.RLock()
"""Held while a model is loaded: what makes one may draw from the random numbers of the process."""


class Models:
    """The models of one database; loads each at most once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.loaded: dict[str, InspectableModel] = {}

    def register(
        self,
        name: str,
        source: Any,
        options: Mapping[str, Any],
        *,
        tags: Mapping[str, Any],
        replace: bool,
    ) -> ModelRow:
        """Load a model and write it; the same model again under its name keeps its tags.

        Raises:
            ModelError: if it cannot be loaded or inspected.
            CatalogError: if the name is taken by another model.
        """
        catalog.check_name("model", name)
        model = self._load(source, options)
        row = _row(name, source, options, model)
        with self.store.transaction() as cursor:
            catalog.add_model(cursor, row, tags, replace=replace)
        self.loaded[name] = model
        return row

    def get(self, name: str) -> tuple[ModelRow, InspectableModel]:
        """A registered model, loaded.

        Raises:
            CatalogError: if there is no such model, or its source is gone or has changed.
        """
        with self.store.session() as cursor:
            row = catalog.model(cursor, name)
        with _LOADING:
            model = self.loaded.get(name)
            if model is None or model.fingerprint != row.fingerprint:
                model = self.loaded[name] = self._load_again(row)
        return row, model

    def _load_again(self, row: ModelRow) -> InspectableModel:
        if row.source == OBJECT:
            raise CatalogError(
                f"model '{row.model}' was handed over as a Python object, which is gone",
                "Register it again under its name.",
            )
        try:
            model = self._load(row.source, row.options)
        except ModelError as error:
            raise ModelError(
                f"model '{row.model}' (fingerprint {row.fingerprint[:12]}) cannot be loaded again: {error.message}",
                "If it was moved, register it again from where it is.",
            ) from error
        if model.fingerprint != row.fingerprint:
            raise CatalogError(
                f"model '{row.model}' at {row.source} has changed: its fingerprint was {row.fingerprint[:12]} and is "
                f"now {model.fingerprint[:12]}",
                "Register it again with --replace (replace=True), or put the old one back.",
            )
        return model

    def find_all(self, source: Any, options: Mapping[str, Any]) -> list[tuple[str, bool]]:
        """The models that a user means: those that a glob matches, or one; see `find`.

        Raises:
            ModelError: if a glob matches nothing.
        """
        if not isinstance(source, str) or not any(c in source for c in "*?[") or Path(source).expanduser().exists():
            return [self.find(source, options)]
        with self.store.session() as cursor:
            names = catalog.names(cursor, "model")
        found = fnmatch.filter(names, source)
        if not found:
            raise ModelError(f"no registered model matches '{source}'", nearest(source, names))
        return [self.find(name, options) for name in found]

    def find(self, source: Any, options: Mapping[str, Any]) -> tuple[str, bool]:
        """The name of a model that a user named or handed over; registers it if need be.

        Returns:
            Its name, and whether it is new in the database.

        Raises:
            QueryError: if options are given for a model that is registered.
            ModelError: if it cannot be loaded or inspected.
        """
        with self.store.session() as cursor:
            names = catalog.names(cursor, "model")
        if isinstance(source, str | Path) and str(source) in names:
            if given := [k for k, v in options.items() if v]:
                raise QueryError(
                    f"model '{source}' is registered, so that it has its {given[0]} already",
                    "Leave that out, or register the model again with it.",
                )
            return str(source), False
        try:
            model = self._load(source, options)
        except DeepBaseError as error:
            if isinstance(source, str) and names and PLAIN_NAME.fullmatch(source) and not Path(source).exists():
                raise ModelError(f"there is no model '{source}': {error.message}", nearest(source, names)) from error
            raise
        name = base = _name_of(source, model)
        row = _row(base, source, options, model)
        with self.store.transaction() as cursor:
            known, number = _known(cursor, name), 2
            while known is not None and (known.fingerprint, known.options) != (row.fingerprint, row.options):
                name, number = f"{base}-{number}", number + 1
                known = _known(cursor, name)
            if known is None:
                catalog.add_model(cursor, replace(row, model=name), {})
        self.loaded[name] = model
        return name, known is None

    def _load(self, source: Any, options: Mapping[str, Any]) -> InspectableModel:
        """Load a model and probe it, while others may use the file."""
        with _LOADING, self.store.released():
            return _load(source, options)


def _known(cursor: duckdb.DuckDBPyConnection, name: str) -> ModelRow | None:
    return catalog.model(cursor, name) if name in catalog.names(cursor, "model") else None


def _load(source: Any, options: Mapping[str, Any]) -> InspectableModel:
    """Load a model and probe it."""
    from torch import nn

    from deepbase.inputs.tokenization import sample_ids
    from deepbase.models.base import Model, device_of
    from deepbase.models.loading import inspectable, load

    options = {k: v for k, v in options.items() if v}
    if isinstance(source, nn.Module):
        source = Model(source, options.pop("tokenizer", None), padding=options.get("padding"))
    if isinstance(source, Model):
        if source.tokenize is None and "tokenizer" not in options:
            raise ModelError(
                f"the model {type(source.module).__name__} has no tokenizer", "Give one: tokenize=..., in Python."
            )
        options["device"] = device_of(source.module)
    elif not isinstance(source, str | Path):
        raise ModelError(
            f"a {type(source).__name__} is no model", "Give a directory, a hub id, file.py:name, or a deepbase.Model."
        )
    model = load(source, **options)
    return inspectable(model, sample_ids(model.tokenize))


def _row(name: str, source: Any, options: Mapping[str, Any], model: InspectableModel) -> ModelRow:
    where = OBJECT
    kept = {k: _absolute(v) if isinstance(v, str | Path) else v for k, v in options.items() if v}
    if isinstance(source, str | Path) and all(isinstance(v, str | bool) for v in kept.values()):
        where = str(source)
        path, colon, function = where.rpartition(":")
        where = f"{_absolute(path)}:{function}" if colon and path.endswith(".py") else _absolute(where)
    return ModelRow(
        model=name,
        source=where,
        fingerprint=model.fingerprint,
        architecture=model.architecture,
        parameters=model.parameters,
        context=model.input_format.context,
        padding=model.input_format.padding,
        options={k: v for k, v in kept.items() if isinstance(v, str | bool)},
        layers=model.layers,
    )


def _absolute(path: str | Path) -> str:
    """The whole path of what is there, so that it is found from another directory; a hub id stays as it is."""
    place = Path(path).expanduser()
    return str(place.absolute()) if place.exists() else str(path)


def _name_of(source: Any, model: InspectableModel) -> str:
    """A name for a model that was not given one."""
    if not isinstance(source, str | Path):
        return model.architecture
    text = str(source).rstrip("/")
    path, colon, function = text.rpartition(":")
    return function if colon and path.endswith(".py") else Path(text).expanduser().absolute().name
