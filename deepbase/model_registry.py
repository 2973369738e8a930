"""The models of a database: rows of the catalog on one side, loaded modules on the other.

A model is registered by loading it once and running one tiny forward. Afterwards it is loaded when it is first used,
and only if what is loaded is what was registered: the fingerprints must agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepbase import catalog
from deepbase.catalog import ModelRow
from deepbase.errors import CatalogError, DeepBaseError, ModelError, nearest
from deepbase.store import Store

if TYPE_CHECKING:
    from deepbase.models.base import InspectableModel

OBJECT = "python"
"""The source of what was handed over as an object, and cannot be loaded again."""


class Models:
    """The models of one database; loads each at most once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.loaded: dict[str, InspectableModel] = {}

    def register(
        self,
        name: str,
        source: Any,
        tokenize: Any,
        options: Mapping[str, Any],
        *,
        tags: Mapping[str, Any],
        replace: bool,
    ) -> ModelRow:
        """Load a model and write it; the same model again under its name is no change.

        Raises:
            ModelError: if it cannot be loaded or inspected.
            CatalogError: if the name is taken by another model.
        """
        catalog.check_name("model", name)
        options = {k: v for k, v in options.items() if v}
        if isinstance(source, str | Path) and tokenize is not None:
            options["tokenizer"] = str(tokenize)
        model = _load(source, tokenize, options)
        row = _row(name, source, options, model)
        with self.store.transaction() as cursor:
            known = catalog.fingerprint(cursor, "model", name)
            catalog.add_model(cursor, row, tags, replace=replace or known == row.fingerprint)
        self.loaded[name] = model
        return row

    def get(self, name: str) -> tuple[ModelRow, InspectableModel]:
        """A registered model, loaded.

        Raises:
            CatalogError: if there is no such model, or its source is gone or has changed.
        """
        with self.store.session() as cursor:
            row = catalog.model(cursor, name)
        model = self.loaded.get(name)
        if model is None or model.fingerprint != row.fingerprint:
            if row.source == OBJECT:
                raise CatalogError(
                    f"model '{name}' was handed over as a Python object, which is gone",
                    "Register it again under its name.",
                )
            model = _load(row.source, None, row.options)
            if model.fingerprint != row.fingerprint:
                raise CatalogError(
                    f"model '{name}' at {row.source} has changed: it was {row.fingerprint[:12]} and is now "
                    f"{model.fingerprint[:12]}",
                    "Register it again with replace, or put the old one back.",
                )
            self.loaded[name] = model
        return row, model

    def find(self, source: Any, options: Mapping[str, Any]) -> tuple[str, bool]:
        """The name of a model that a user named or handed over; registers it if need be.

        Returns:
            Its name, and whether it is new in the database.
        """
        with self.store.session() as cursor:
            names = catalog.names(cursor, "model")
        if isinstance(source, str | Path) and str(source) in names:
            return str(source), False
        options = {k: v for k, v in options.items() if v}
        try:
            model = _load(source, options.pop("tokenize", None), options)
        except DeepBaseError as error:
            if isinstance(source, str) and names and not Path(source).exists():
                raise ModelError(f"there is no model '{source}': {error.message}", nearest(source, names)) from error
            raise
        base = _name_of(source, model)
        with self.store.transaction() as cursor:
            name, number = base, 2
            while (known := catalog.fingerprint(cursor, "model", name)) not in (None, model.fingerprint):
                name, number = f"{base}-{number}", number + 1
            if known is None:
                catalog.add_model(cursor, _row(name, source, options, model), {})
        self.loaded[name] = model
        return name, known is None


def _load(source: Any, tokenize: Any, options: Mapping[str, Any]) -> InspectableModel:
    """Load a model and probe it."""
    from torch import nn

    from deepbase.inputs.tokenization import sample_ids
    from deepbase.models.base import Model
    from deepbase.models.loading import inspectable, load

    if isinstance(source, nn.Module):
        source = Model(source, tokenize, padding=options.get("padding"))
    elif not isinstance(source, str | Path | Model):
        raise ModelError(
            f"a {type(source).__name__} is no model", "Give a directory, a hub id, file.py:name, or a deepbase.Model."
        )
    model = source if isinstance(source, Model) else load(source, **options)
    if model.tokenize is None:
        raise ModelError(f"the model {type(model.module).__name__} has no tokenizer", "Give one: tokenize=...")
    return inspectable(model, sample_ids(model.tokenize))


def _row(name: str, source: Any, options: Mapping[str, Any], model: InspectableModel) -> ModelRow:
    where = OBJECT
    if isinstance(source, str | Path):
        where = str(source)
        path, colon, function = where.rpartition(":")
        if colon and path.endswith(".py"):
            where = f"{Path(path).expanduser().absolute()}:{function}"
        elif Path(where).expanduser().exists():
            where = str(Path(where).expanduser().absolute())
    return ModelRow(
        model=name,
        source=where,
        fingerprint=model.fingerprint,
        architecture=model.architecture,
        parameters=model.parameters,
        context=model.input_format.context,
        padding=model.input_format.padding,
        options={k: v for k, v in options.items() if isinstance(v, str | bool)},
        layers=model.layers,
    )


def _name_of(source: Any, model: InspectableModel) -> str:
    """A name for a model that was not given one."""
    if not isinstance(source, str | Path):
        return model.architecture
    text = str(source).rstrip("/")
    path, colon, function = text.rpartition(":")
    return function if colon and path.endswith(".py") else Path(text).expanduser().absolute().name
