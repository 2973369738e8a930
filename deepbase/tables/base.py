"""Virtual tables: what a query asks of one, and how it gets to the scan.

The problem. `FROM unit_activations('minilm', 'ewt', 'encoder.layer.1', 17) WHERE record < 100` should run the model on
a hundred records and up to one layer, although DuckDB knows nothing of models, and has no table functions in Python.

The idea. DuckDB can scan a registered `pyarrow.dataset.Dataset`, and hands its scanner the columns and the filter of
the query. So each virtual table is a macro over such an object, and writes its arguments into the filter, as one text
that is compared with the column `deepbase_request`: `deepbase:6D:64` are the names `m` and `d` in hexadecimal, which
needs no quotes and cannot be mistaken for anything that a user writes. The scan finds it there (`Request.of`), reads
the records that the rest of the filter leaves, block by block, and gives Arrow batches, to which it has applied the
whole filter. (Should a text be found that is not the request, the filter lets nothing pass.)

What does not reach a scan is the LIMIT, which closes it, and joins, which read it whole: say `record BETWEEN ...` too.

Memory: one block of records, and the activations of one batch of it.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import pyarrow as pa
import pyarrow.compute as pc

from deepbase.blocks import Level
from deepbase.errors import QueryError, nearest
from deepbase.store import Store
from deepbase.tables.encodings import Remembered

if TYPE_CHECKING:
    from deepbase.labels.base import Registered
    from deepbase.models.base import InspectableModel

REQUEST = "deepbase_request"
"""The column that is compared with the arguments of a call."""
PREFIX = "deepbase"

ARGUMENTS: dict[str, tuple[str, ...]] = {
    "symbols": ("dataset", "model"),
    "activations": ("model", "dataset"),
    "unit_activations": ("model", "dataset", "layer", "unit"),
    "hypothesis_values": ("dataset", "model", "hypothesis"),
}
"""The virtual tables and their arguments, to which `at` comes as the last."""

_KEY = re.compile(rf'"{PREFIX}((?::[0-9A-F]*)+)"')


@dataclass(frozen=True)
class Source:
    """Where the tables get what they show.

    Attributes:
        store: the database.
        model: loads a registered model.
        hypotheses: loads those that some requests name, and gives all that are known.
        encodings: of the texts that were scanned lately.
    """

    store: Store
    model: Callable[[str], InspectableModel]
    hypotheses: Callable[[Sequence[str]], Mapping[str, Registered]]
    encodings: Remembered = field(default_factory=Remembered)


@dataclass(frozen=True)
class Request:
    """The arguments of a call of a virtual table.

    Attributes:
        table: its name.
        key: the text that stands for the arguments in the filter.
        dataset, model, layer, unit, hypothesis: the arguments as text; empty where the table has no such argument.
        at: what a symbol is.
    """

    table: str
    key: str
    dataset: str
    model: str
    at: Level
    layer: str = ""
    unit: str = ""
    hypothesis: str = ""

    @classmethod
    def of(cls, table: str, expression: pc.Expression | None) -> Self:
        """Find the request in a filter that reached a scan.

        Raises:
            QueryError: if the arguments are not constants, or the level is none.
        """
        names = (*ARGUMENTS[table], "at")
        found = set(_KEY.findall(str(expression)))
        if len(found) != 1:
            raise QueryError(
                f"{table} needs constants as its arguments: {', '.join(names[:-1])}",
                "Write the names as texts, or as ? parameters; they cannot come from the columns of another table.",
            )
        key = found.pop()
        values = [bytes.fromhex(part).decode() for part in key.split(":")[1:]]
        arguments = dict(zip(names, values, strict=True))
        levels: tuple[Level, ...] = typing.get_args(Level)
        at = next((level for level in levels if level == arguments["at"]), None)
        if at is None:
            raise QueryError(f"at cannot be '{arguments['at']}'", nearest(arguments["at"], levels))
        return cls(**{**arguments, "at": at, "table": table, "key": PREFIX + key})


def request_sql(table: str) -> str:
    """The SQL text that makes the key of a call out of its arguments.

    >>> request_sql("symbols")
    "concat('deepbase', ':', hex(dataset::VARCHAR), ':', hex(model::VARCHAR), ':', hex(\\"at\\"::VARCHAR))"
    """
    parts = [f"':', hex({quoted}::VARCHAR)" for quoted in (*ARGUMENTS[table], '"at"')]
    return f"concat('{PREFIX}', {', '.join(parts)})"


PLACE = {"record": pa.int64(), "position": pa.int32(), "symbol": pa.string()}
SCHEMAS: dict[str, pa.Schema] = {
    "activations": pa.schema(
        {REQUEST: pa.string(), **PLACE, "layer": pa.string(), "activation": pa.list_(pa.float32())}
    ),
    "unit_activations": pa.schema({REQUEST: pa.string(), **PLACE, "value": pa.float32()}),
    "hypothesis_values": pa.schema({REQUEST: pa.string(), **PLACE, "value": pa.float64()}),
}
"""The columns of the tables that have the same for every dataset."""
