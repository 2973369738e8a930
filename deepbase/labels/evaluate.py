"""Labels over the symbols of a block, by one DuckDB query for all that is per symbol and one per record function.

A function that runs per record is called on lists, grouped by record, and its list is laid back on the symbols. What a
function does wrong is found again afterwards, symbol by symbol, so that the error can name the record: the good path
pays nothing for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from duckdb.func import FunctionNullHandling, PythonUDFType

from deepbase import faults
from deepbase.blocks import Bools, Floats, Ints, LabelBehavior
from deepbase.errors import DeepBaseError, HypothesisError
from deepbase.labels.base import Given, Label, quoted
from deepbase.labels.hypothesis import Hypothesis

RELATION = "symbols"
"""What a block's symbols are called in SQL hypotheses."""
ROW = "deepbase_row"
"""Numbers the symbols, since a window function in one hypothesis changes the order of a query's rows."""


class Labels:
    """Evaluates labels block by block.

    Args:
        connection: a cursor of its own, on which nothing else runs; the functions are registered there as UDFs.
        labels: the labels, which become the columns of every block's `LabelBehavior`, in this order.
        words: whether the words of symbols are needed beside them.
        given: what measures are given besides.
        places: whether the places of symbols are.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        labels: Sequence[Label],
        *,
        words: bool = False,
        places: bool = False,
        given: Given | None = None,
    ) -> None:
        self.connection = connection
        self.labels = tuple(labels)
        self.words, self.places = words, places
        self.given = given
        self.every = self.labels + (given.labels if given else ())
        self.families: dict[str, list[int]] = {}
        for i, label in enumerate(self.every):
            self.families.setdefault(label.expression, []).append(i)

    def only(self, columns: Sequence[int]) -> Labels:
        """Some of the labels."""
        some = [self.labels[i] for i in columns]
        return Labels(self.connection, some, words=self.words, places=self.places, given=self.given)

    def evaluate(self, symbols: pa.Table, unlabelled: Bools | None = None) -> LabelBehavior:
        """The labels of some symbols.

        Args:
            symbols: one row a symbol, ordered by record.
            unlabelled: bool[symbol], symbols to leave out of every hypothesis.

        Raises:
            HypothesisError: names the hypothesis and, where it is a function's fault, the record.
        """
        values = np.zeros((len(symbols), len(self.every)))
        valid = np.zeros(values.shape, dtype=bool)
        numbered = symbols.append_column(ROW, pa.array(np.arange(len(symbols))))
        self.connection.register(RELATION, numbered)
        try:
            for expression, column in self._columns(symbols):
                self._fill(column, self.families[expression], values, valid)
        finally:
            self.connection.unregister(RELATION)
        if unlabelled is not None:
            valid[unlabelled] = False
        values[~valid] = 0
        own = len(self.labels)
        classes, null_class = _null_classes(valid[:, :own])
        confounds = self.given.behavior(values[:, own:], valid[:, own:]) if self.given else None
        record = symbols["record"].to_numpy()
        kinds = tuple(x.kind for x in self.labels)
        words = _words(symbols) if self.words else None
        place = np.stack([symbols[n].to_numpy() for n in ("position", "start", "end")], 1) if self.places else None
        values = values if confounds is None else np.ascontiguousarray(values[:, :own])
        return LabelBehavior(values, classes, null_class, record.copy(), kinds, words, confounds, place)

    def _columns(self, symbols: pa.Table) -> list[tuple[str, pa.ChunkedArray]]:
        """Each distinct expression with its value at every symbol."""
        per_record = [e for e, at in self.families.items() if _is_per_record(self.every[at[0]])]
        scalar = [e for e in self.families if e not in per_record]
        columns = []
        if scalar:
            query = ", ".join(f"({e}\n) AS e{i}" for i, e in enumerate(scalar))
            table = self._run(f"SELECT {query}, {ROW} FROM {RELATION}", scalar, symbols)
            columns += list(zip(scalar, self._in_order(table, scalar, len(symbols)).columns, strict=True))
        for expression in per_record:
            columns.append((expression, self._per_record(expression, symbols)))
        return columns

    def _in_order(self, table: pa.Table, expressions: Sequence[str], symbols: int) -> pa.Table:
        """The rows of a query in the order of the symbols, without their numbers."""
        rows = table[ROW].to_numpy()
        if len(rows) != symbols:
            raise HypothesisError(
                f"{self._names(expressions)} gives {len(rows)} values for {symbols} symbols",
                "A hypothesis has one value per symbol: do not unnest lists in it.",
            )
        table = table.drop_columns([ROW])
        return table if (rows[1:] > rows[:-1]).all() else table.take(np.argsort(rows))

    def _names(self, expressions: Sequence[str]) -> str:
        return ", ".join(f"'{self.every[self.families[e][0]].name}'" for e in expressions[:5])

    def _per_record(self, expression: str, symbols: pa.Table) -> pa.ChunkedArray:
        function = self.every[self.families[expression][0]].function
        assert function is not None
        arguments = ", ".join(
            f"list({quoted(p.column)} ORDER BY position)" if p.is_list else f"any_value({quoted(p.column)})"
            for p in function.parameters
        )
        query = (
            f"SELECT record, {quoted(function.name)}({arguments}) AS l, count(*) AS n, any_value(text) AS text, "
            f"list(start ORDER BY position) AS start FROM {RELATION} GROUP BY record"
        )
        table = self._run(query, [expression], symbols)
        found = {row[0]: row[1:] for row in zip(*(c.to_pylist() for c in table.columns), strict=True)}
        by_character = not any(p.is_list for p in function.parameters)
        items: list[Any] = []
        for record in dict.fromkeys(symbols["record"].to_pylist()):
            values, n, text, start = found[record]
            if values is None:
                values = [None] * n
            elif by_character and len(values) == len(text):
                values = [values[s] for s in start]
            if len(values) != n:
                raise HypothesisError(
                    f"hypothesis '{function.name}' returned {len(values)} values for {n} symbols at record {record}",
                    "Return one value per symbol, or one per character of the text.",
                )
            items += values
        return pa.chunked_array([pa.array(items, table.schema.field("l").type.value_type)])

    def _run(self, query: str, expressions: Sequence[str], symbols: pa.Table) -> pa.Table:
        try:
            return self.connection.sql(query).to_arrow_table()
        except (duckdb.Error, RuntimeError) as error:
            if _is_interrupt(error) or isinstance(faults.original(error), KeyboardInterrupt):
                raise KeyboardInterrupt from error
            functions = [self.every[self.families[e][0]].function for e in expressions]
            for function in functions:
                if function is not None:
                    _find_fault(function, symbols)
            raise HypothesisError(f"cannot evaluate {self._names(expressions)}: {_first_line(error)}") from error

    def _fill(self, column: pa.ChunkedArray, at: list[int], values: Floats, valid: Bools) -> None:
        """Write the column of an expression to the labels that are made of it."""
        first = self.every[at[0]]
        if first.value is None:
            numbers = pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False)
            numbers = np.asarray(numbers, dtype=np.float64)
            finite = np.isfinite(numbers)
            for i in at:
                values[:, i], valid[:, i] = np.where(finite, numbers, 0), finite
            return
        present = pc.is_valid(column).to_numpy()
        valid[:, at] = np.asarray(present, dtype=bool)[:, None]
        places = {self.every[i].value: i for i in at}
        if first.multiple:
            parts = pc.split_pattern(pc.cast(column, pa.string()).combine_chunks(), "|")
            rows, column = pc.list_parent_indices(parts).to_numpy(), pc.list_flatten(parts)
        else:
            rows = np.arange(len(column))
        codes = pa.chunked_array([column]) if isinstance(column, pa.Array) else column
        codes = pc.dictionary_encode(pc.cast(codes, pa.string()), null_encoding="encode").combine_chunks()
        place = np.array([places.get(v, -1) for v in codes.dictionary.to_pylist()], dtype=np.int64)
        where = place[codes.indices.to_numpy()] if len(place) else np.empty(0, dtype=np.int64)
        known = where >= 0
        values[rows[known], where[known]] = 1
        for i in at:  # what is a hypothesis may be given as well
            if (same := places[self.every[i].value]) != i:
                values[:, i] = values[:, same]


def expression_type(connection: duckdb.DuckDBPyConnection, expression: str, schema: pa.Schema) -> str:
    """The SQL type of an expression over the columns of the symbols.

    Raises:
        HypothesisError: if it does not bind.
    """
    cursor = connection.cursor()
    cursor.register(RELATION, schema.empty_table())
    try:
        # The position beside it makes DuckDB refuse an aggregate, which has no value per symbol.
        return str(cursor.execute(f"DESCRIBE SELECT position, ({expression}\n) FROM {RELATION}").fetchall()[1][1])
    except duckdb.Error as error:
        raise HypothesisError(
            f"cannot understand the hypothesis {expression!r}: {_first_line(error)}",
            f"The columns of the symbols are: {', '.join(schema.names)}.",
        ) from error
    finally:
        cursor.close()


def register_functions(connection: duckdb.DuckDBPyConnection, functions: Sequence[Hypothesis]) -> None:
    """Make functions callable in SQL, in every cursor of the connection's database; an older one of a name goes.

    Raises:
        HypothesisError: if a name is taken by a function of DuckDB, or by another hypothesis but for its case.
    """
    if functions:
        _check_names(connection, [f.name for f in functions])
    for function in functions:
        with contextlib.suppress(duckdb.Error):  # it was not there
            connection.remove_function(function.name)
        try:
            connection.create_function(
                function.name,
                _with_arity(function),
                [connection.type(t) for t in function.sql_parameters],
                connection.type(function.sql_result),
                type=PythonUDFType.ARROW,
                null_handling=FunctionNullHandling.SPECIAL,
            )
        except duckdb.Error as error:
            raise HypothesisError(
                f"hypothesis '{function.name}' cannot be registered: {_first_line(error)}",
                "Call it something that DuckDB has no function for.",
            ) from error


def _with_arity(function: Hypothesis) -> Callable[..., pa.Array]:
    """What DuckDB calls: it counts the parameters of a signature, and takes `*columns` for one."""

    def call(*columns: pa.ChunkedArray) -> pa.Array:
        try:
            return function.arrow(*columns)
        except (DeepBaseError, KeyboardInterrupt) as error:
            raise faults.carrier(error) from None
        except BaseException as error:
            told = HypothesisError(
                f"hypothesis '{function.name}' raised {type(error).__name__}: {error}",
                f"It is defined at {function.where}.",
            )
            told.__cause__ = error
            raise faults.carrier(told) from None

    places = [inspect.Parameter(f"c{i}", inspect.Parameter.POSITIONAL_ONLY) for i in range(len(function.parameters))]
    call.__signature__ = inspect.Signature(places)  # type: ignore[attr-defined]
    return call


def _check_names(connection: duckdb.DuckDBPyConnection, names: Sequence[str]) -> None:
    """Refuse names to which DuckDB would add an overload, or whose function it would replace."""
    taken = {n.lower(): n for n in [*names, *_function_names(connection)]}
    for name in names:
        if name.lower() in _own_functions():
            raise HypothesisError(
                f"hypothesis '{name}' cannot be registered: DuckDB has a function of that name",
                "Call it something else.",
            )
        if taken[name.lower()] != name:
            raise HypothesisError(
                f"hypothesis '{name}' cannot be registered: there is already '{taken[name.lower()]}', and SQL does not "
                "tell them apart",
                "Call it something else.",
            )


@cache
def _own_functions() -> frozenset[str]:
    """The functions of DuckDB itself, in lower case."""
    with duckdb.connect() as fresh:
        return frozenset(n.lower() for n in _function_names(fresh))


def _function_names(connection: duckdb.DuckDBPyConnection) -> list[str]:
    rows = connection.execute("SELECT DISTINCT function_name FROM duckdb_functions()").fetchall()
    return [row[0] for row in rows]


def _is_interrupt(error: Exception) -> bool:
    """Whether a query ended by Ctrl-C: in DuckDB's own code, or inside a function."""
    if isinstance(error, RuntimeError):
        return "interrupted" in str(error)
    return isinstance(error, duckdb.InterruptException) or "executing the UDF: KeyboardInterrupt" in str(error)


def _is_per_record(label: Label) -> bool:
    return label.function is not None and label.function.per_record


def _find_fault(function: Hypothesis, symbols: pa.Table) -> None:
    """Call the function again, one symbol or record at a time, and raise what it does wrong with its record."""
    columns = [symbols[p.column].to_pylist() for p in function.parameters]
    records = symbols["record"].to_pylist()
    rows: dict[Any, list[int]] = {}
    for i, record in enumerate(records):
        rows.setdefault(record if function.per_record else i, []).append(i)
    for at in rows.values():
        args = [
            [c[i] for i in at] if p.is_list else c[at[0]] for c, p in zip(columns, function.parameters, strict=True)
        ]
        try:
            (function.record_values if function.per_record else function.value)(*args)
        except DeepBaseError as error:
            raise HypothesisError(f"{error.message} at record {records[at[0]]}", error.hint) from error
        except (Exception, SystemExit) as error:
            shown = ", ".join(f"{p.column}={_short(a)}" for p, a in zip(function.parameters, args, strict=True))
            raised = f"hypothesis '{function.name}' raised {type(error).__name__}: {error}"
            raise HypothesisError(
                f"{raised} at record {records[at[0]]} ({shown})",
                f"It is defined at {function.where}.",
            ) from error


def _words(symbols: pa.Table) -> Ints:
    """int64[symbol], a hash of the word of each symbol, or of the symbol itself where it is in none."""
    codes = pc.coalesce(symbols["word"], symbols["symbol"]).combine_chunks().dictionary_encode()
    digests = [hashlib.blake2b(w.encode(), digest_size=8).digest() for w in codes.dictionary.to_pylist()]
    hashes = np.frombuffer(b"".join(digests), dtype=np.int64)
    return np.asarray(hashes[codes.indices.to_numpy()])


def _null_classes(valid: Bools) -> tuple[Bools, Ints]:
    """The distinct columns of `valid`, and which of them each hypothesis has."""
    packed = np.packbits(valid, axis=0).T
    distinct: dict[bytes, int] = {}
    null_class = np.array([distinct.setdefault(c.tobytes(), len(distinct)) for c in packed], dtype=np.int64)
    firsts = [int(np.argmax(null_class == c)) for c in range(len(distinct))]
    return valid[:, firsts], null_class


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
