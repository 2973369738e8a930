"""What DuckDB scans: a `pyarrow.dataset.Dataset` whose scanner is ours.

The scanner gives nothing but a reader over a generator. (`Scanner.from_batches` would read ahead in a thread that a
LIMIT does not end, and which aborts the process at its exit.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset

from deepbase import faults
from deepbase.errors import InspectionError

Scan = Callable[[list[str], "pc.Expression | None"], Iterator[pa.RecordBatch]]
"""The columns and the filter of a query in, its rows out."""


class VirtualDataset(pyarrow.dataset.Dataset):  # type: ignore[misc]
    """A table that is computed while it is read.

    Args:
        schema: its columns.
        scan: computes its rows.
    """

    def __init__(self, schema: pa.Schema, scan: Scan) -> None:  # not the constructor of Dataset, which wants files
        self._columns = schema
        self._scan = scan

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        return self._columns

    def scanner(self, columns: list[str] | None = None, filter: pc.Expression | None = None, **_: Any) -> Any:
        """What DuckDB calls for each scan."""
        names = self._columns.names if columns is None else list(columns)
        schema = pa.schema([self._columns.field(name) for name in names])
        return _Scanner(schema, checked(self._scan(names, filter), schema))


class _Scanner:
    def __init__(self, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
        self._schema = schema
        self._batches = batches

    def to_reader(self) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(self._schema, self._batches)


def checked(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The same batches, whose types are certain, and whose exceptions can be had back from `deepbase.faults`."""
    try:
        for batch in batches:
            if not batch.schema.equals(schema):  # Arrow would read the memory of one type as another
                raise InspectionError(f"a virtual table gave {batch.schema} instead of {schema}", "Report this.")
            yield batch
    except GeneratorExit:
        raise
    except BaseException as error:
        raise faults.carrier(error) from None
    finally:
        close = getattr(batches, "close", None)
        if close is not None:
            close()
