"""The filter of a query, as a scan uses it: to skip work before it is done, and to choose rows afterwards.

DuckDB does not check again what it has handed to a scan, so `rows` is applied to everything that leaves one. `possible`
is asked earlier, when only some columns are known: the others are NULL, and by Kleene's logic the filter is then False
for a row only if nothing that the others may hold could make it pass. There is one exception, since `x IS NULL` is
never unknown: a filter that tests an unknown column for NULL tells nothing, and every row is possible.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepbase.blocks import Ints

ROW = "deepbase_row"


class Filter:
    """A filter over the columns of a table.

    Args:
        expression: what DuckDB handed over; None lets everything pass.
        schema: of the table.
        constant: a column that has one value in all that is ever filtered.

    Attributes:
        columns: the columns that it may read.
    """

    def __init__(self, expression: pc.Expression | None, schema: pa.Schema, constant: str = "") -> None:
        self._expression = expression
        self._schema = schema
        self._constant = constant
        self._text = "" if expression is None else str(expression).replace("if_else(is_valid(", "if_else((")
        self.columns = frozenset(name for name in schema.names if name in self._text)

    def possible(self, known: pa.Table) -> Ints:
        """int64[row], the rows of which some may pass, whatever the other columns hold."""
        unknown = self.columns - set(known.column_names)
        tested = any(f"is_valid({n}" in self._text or f"is_null({n}" in self._text for n in unknown)
        if self._expression is None or tested:
            return np.arange(len(known))
        table = known.select([n for n in known.column_names if n in self.columns])
        for name in sorted(unknown):
            table = table.append_column(name, pa.nulls(len(known), self._schema.field(name).type))
        return self._passing(table, self._expression.is_null() | self._expression)

    def rows(self, table: pa.Table) -> pa.Table:
        """The rows that pass, in their order, of a table that has all of `columns`."""
        if self._expression is None:
            return table
        passing = self._passing(table.select([n for n in table.column_names if n in self.columns]), self._expression)
        return table if len(passing) == len(table) else table.take(pa.array(passing))

    def _passing(self, table: pa.Table, expression: pc.Expression) -> Ints:
        """int64[row], the rows for which an expression is true, ascending."""
        if self.columns <= {self._constant}:  # the first row tells
            return np.arange(len(table) if table.slice(0, 1).filter(expression).num_rows else 0)
        numbered = table.append_column(ROW, pa.array(np.arange(len(table))))
        return np.sort(np.asarray(numbered.filter(expression)[ROW].to_numpy(), dtype=np.int64))
