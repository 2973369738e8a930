"""The values of a DuckDB relation as Python's, and as text.

They come through Arrow, a batch at a time: that is fast, keeps nothing, and needs no further package for times with a
zone. What Arrow has no own type for (JSON, maps, integers of 128 bits) is turned back into what it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa

from deepbase.errors import QueryError


def rows_of(relation: Any) -> Iterator[tuple[Any, ...]]:
    """The rows of a relation, a batch at a time.

    Raises:
        QueryError: if the query fails on the way.
    """
    readers = [_reader(str(t)) for t in relation.types]
    batches = relation.to_arrow_reader(10_000)
    try:
        for batch in batches:
            yield from zip(*(read(c) for read, c in zip(readers, batch.columns, strict=True)), strict=True)
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise QueryError(str(error)) from error
    finally:
        batches.close()


def _reader(sql_type: str) -> Callable[[Any], list[Any]]:
    """How the Arrow values of an SQL type become Python's."""
    if sql_type == "JSON":
        return lambda column: [None if v is None else json.loads(v) for v in column.to_pylist()]
    if sql_type.startswith("MAP("):
        return lambda column: [None if v is None else dict(v) for v in column.to_pylist()]
    if sql_type.endswith("HUGEINT"):  # these arrive as decimals without places
        return lambda column: [None if v is None else int(v) for v in column.to_pylist()]
    return lambda column: column.to_pylist()


def text(value: Any) -> str:
    """A value as people write it, NULL as nothing."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple | dict) and not isinstance(value, pa.MonthDayNano):
        return json.dumps(plain(value), ensure_ascii=False)
    return str(value) if isinstance(value, Decimal) else str(plain(value))


def csv_field(value: Any) -> str:
    """A value as a field of CSV; NULL is nothing, and the empty text two quotes."""
    field = text(value)
    if value is not None and (not field or any(c in field for c in ',"\n\r') or field != field.strip()):
        return '"' + field.replace('"', '""') + '"'
    return field


def plain(value: Any) -> Any:
    """A value as what JSON can hold; NaN and infinities are null there."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, pa.MonthDayNano):
        return _interval(value)
    if isinstance(value, float):
        return value
    if isinstance(value, Decimal):
        return float(value) if Decimal(repr(float(value))) == value else str(value)
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, bytes):
        return "".join(chr(b) if 32 <= b < 127 and b != 92 else f"\\x{b:02X}" for b in value)
    return str(value)


def _interval(value: Any) -> str:
    """An interval in words and hours, as DuckDB prints it."""
    years, months = divmod(abs(value.months), 12)
    sign = "-" if value.months < 0 else ""
    parts = [(f"{sign}{years}", "year"), (f"{sign}{months}", "month"), (str(value.days), "day")]
    words = [f"{n} {unit}{'' if n in ('1', '-1') else 's'}" for n, unit in parts if n not in ("0", "-0")]
    if value.nanoseconds or not words:
        seconds, rest = divmod(abs(value.nanoseconds), 10**9)
        clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        fraction = f".{rest // 1000:06}".rstrip("0") if rest else ""
        words.append(f"{'-' if value.nanoseconds < 0 else ''}{clock}{fraction}")
    return " ".join(words)
