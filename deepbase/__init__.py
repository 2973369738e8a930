"""DeepBase: a database for neural network inspection.

Which units of which models behave like which human hypotheses? Register models, datasets and hypotheses, inspect, and
query the scores with SQL:

    db = deepbase.connect("study.duckdb")
    db.register_model("minilm", "path/to/hf-model")
    db.register_dataset("ewt", "en_ewt-ud-dev.conllu")
    found = db.inspect("minilm", "ewt", hypotheses=["upos=NOUN"], measures=["pearson"])
    found.scores.df()

Nothing heavy is imported before it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os

    from deepbase import testing
    from deepbase.database import Database
    from deepbase.errors import DeepBaseError
    from deepbase.inspection import Inspection
    from deepbase.labels.hypothesis import hypothesis
    from deepbase.measures.base import AbstractMeasure as Measure
    from deepbase.measures.base import AbstractState as MeasureState
    from deepbase.measures.base import Target, Values
    from deepbase.measures.batch import BatchLabels
    from deepbase.measures.moments import PairMoments
    from deepbase.measures.pairs import pair_values
    from deepbase.measures.spread import Spread
    from deepbase.models.base import Model

__version__ = "0.1.0"

_HOMES = {
    "BatchLabels": "deepbase.measures.batch:BatchLabels",
    "Database": "deepbase.database:Database",
    "DeepBaseError": "deepbase.errors:DeepBaseError",
    "Inspection": "deepbase.inspection:Inspection",
    "Measure": "deepbase.measures.base:AbstractMeasure",
    "MeasureState": "deepbase.measures.base:AbstractState",
    "Model": "deepbase.models.base:Model",
    "PairMoments": "deepbase.measures.moments:PairMoments",
    "Spread": "deepbase.measures.spread:Spread",
    "Target": "deepbase.measures.base:Target",
    "Values": "deepbase.measures.base:Values",
    "hypothesis": "deepbase.labels.hypothesis:hypothesis",
    "pair_values": "deepbase.measures.pairs:pair_values",
    "testing": "deepbase.testing",
}

__all__ = [
    "BatchLabels",
    "Database",
    "DeepBaseError",
    "Inspection",
    "Measure",
    "MeasureState",
    "Model",
    "PairMoments",
    "Spread",
    "Target",
    "Values",
    "connect",
    "hypothesis",
    "inspect",
    "pair_values",
    "testing",
]


def connect(path: str | os.PathLike[str] | None = None, *, read_only: bool = False, create: bool = True) -> Database:
    """Open a database, making it if need be.

    Args:
        path: the file; None keeps everything in memory.
        read_only: open it for reading only.
        create: make the file, or DeepBase's tables in it, where they are missing; otherwise that is an error.

    Raises:
        CatalogError: if the file is locked, is no DuckDB database, or belongs to something else.
    """
    from deepbase.database import Database

    return Database(path, read_only=read_only, create=create)


def inspect(model: Any, dataset: Any, hypotheses: Any, measures: Any = ("pearson",), **options: Any) -> Inspection:
    """Inspect a model in one call, with nothing registered; see `Database.inspect` for the options.

    Args:
        model: a `deepbase.Model`, an `nn.Module` with `tokenize=...`, a directory, or a hub id.
        dataset: texts, a file, an Arrow table, a DataFrame or a query.
        hypotheses: functions, files, columns of the dataset, or SQL expressions.
        measures: names of measures; of one's own, `file.py:Name`, classes or instances.
        options: those of `Database.inspect`.

    Returns:
        What was found, in a database in memory that lives as long as it.
    """
    return connect().inspect(model, dataset, hypotheses, measures, **options)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        module, _, attribute = _HOMES[name].partition(":")
        home = importlib.import_module(module)
        return getattr(home, attribute) if attribute else home
    raise AttributeError(f"module 'deepbase' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
