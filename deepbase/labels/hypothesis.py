"""Python functions as hypotheses.

A hypothesis function is an ordinary function whose parameters name the columns of `symbols` that it reads:

>>> @hypothesis
... def is_capitalized(word: str) -> bool:
...     "The word begins with a capital letter."
...     return word[:1].isupper()
>>> is_capitalized("Paris")
True
>>> is_capitalized.kind, is_capitalized.description
('boolean', 'The word begins with a capital letter.')

The return annotation says what it gives: `bool` a boolean, `int` or `float` a number, `Literal["a", "b"]` a category
with these values. A function without one is tried on a few strings. NULL never reaches a parameter, and the result is
NULL there, unless the parameter says that it takes it (`word: str | None`).

A parameter that is annotated as a list makes the function run *per record*: it gets the values of all symbols of a
record and returns a list of as many. A function of the `text` that returns a list does so too.

>>> @hypothesis
... def is_last(token: list[str]) -> list[bool]:
...     "The last symbol of the record."
...     return [i == len(token) - 1 for i in range(len(token))]
>>> is_last.per_record
True

DuckDB calls the function through Arrow. It is assumed to be pure: a function of one column is called once for each
distinct value of a chunk. Calls of one function never overlap, so it need not be thread-safe.
"""

from __future__ import annotations

import hashlib
import inspect
import threading
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, overload

import numpy as np
import pyarrow as pa

from deepbase.blocks import Kind
from deepbase.errors import HypothesisError, nearest
from deepbase.python_files import code_text, where

SQL_TYPES: dict[type, str] = {str: "VARCHAR", int: "BIGINT", float: "DOUBLE", bool: "BOOLEAN"}
KNOWN_NUMBERS = ("record", "position", "start", "end", "word_index", "head")
ARROW_TYPES: dict[Kind, pa.DataType] = {"boolean": pa.bool_(), "number": pa.float64(), "category": pa.string()}
RESULT_TYPES: dict[Kind, str] = {"boolean": "BOOLEAN", "number": "DOUBLE", "category": "VARCHAR"}
EXPECTED: dict[Kind, str] = {"boolean": "True, False or None", "number": "a number or None", "category": "text or None"}
TRIAL_VALUES: dict[str, tuple[object, ...]] = {
    "VARCHAR": ("the", "Paris", "7", ","),
    "BIGINT": (0, 1, 2, 3),
    "DOUBLE": (0.0, 1.0, 0.5, 2.0),
    "BOOLEAN": (True, False, True, False),
}


@dataclass(frozen=True)
class Parameter:
    """A parameter of a hypothesis function: the column it reads, its SQL type, and what it can take."""

    column: str
    sql_type: str
    is_list: bool
    takes_null: bool


class Hypothesis:
    """A function that annotates symbols, with what DeepBase has to know about it. It can still be called.

    Attributes:
        name: what it is called in queries and in `scores`.
        description: one line for people.
        kind: `boolean`, `number` or `category`.
        values: what a category can be; empty for the other kinds.
        parameters: the columns that it reads.
        per_record: whether it takes the whole record and returns a list.
        source: `file.py:name` or `module:name` where it can be loaded again, else `python`.
        where: the file and the line of its code, for messages.
        fingerprint: a digest of its code.

    Raises:
        HypothesisError: if the signature cannot be understood.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        kind: Kind | None = None,
        values: Sequence[str] | None = None,
    ) -> None:
        self.function = function
        self.name: str = name or str(getattr(function, "__name__", ""))
        if not self.name or self.name == "<lambda>":
            raise HypothesisError("a hypothesis needs a name", "Give one: hypothesis(function, name='...').")
        self.__doc__ = getattr(function, "__doc__", None)
        self.__name__ = self.name
        self.description = description or next(iter((self.__doc__ or "").strip().splitlines()), "")
        hints = _type_hints(function, self.name)
        self.parameters = _parameters(function, hints, self.name)
        result, returns_list = _unwrap_list(hints.get("return"))
        self.per_record = returns_list or any(p.is_list for p in self.parameters)
        self.values: tuple[str, ...] = tuple(values or ())
        choices = typing.get_args(result) if typing.get_origin(result) is Literal else ()
        if choices and all(v is None or isinstance(v, str) for v in choices):
            self.values = self.values or tuple(v for v in choices if v is not None)
            result = str
        if kind not in (None, *typing.get_args(Kind)):
            raise HypothesisError(
                f"hypothesis '{self.name}' cannot be of the kind {kind!r}", nearest(str(kind), typing.get_args(Kind))
            )
        tried = self._kind_of(result) if result is None or not (kind or self.values) else "category"
        self.kind: Kind = kind or ("category" if self.values else tried)
        if self.kind == "category" and not self.values:
            raise HypothesisError(
                f"hypothesis '{self.name}' returns text but does not say which values it may return",
                "Annotate it as -> Literal['a', 'b'], or pass values=['a', 'b'].",
            )
        self.source = "python"
        self.where, self.fingerprint = where(function), hashlib.sha256(code_text(function).encode()).hexdigest()
        self._lock = threading.Lock()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        columns = ", ".join(p.column for p in self.parameters)
        return f"<hypothesis {self.name}({columns}): {self.kind}>"

    @property
    def sql_parameters(self) -> list[str]:
        """The SQL types of the parameters."""
        return [p.sql_type + ("[]" if p.is_list else "") for p in self.parameters]

    @property
    def sql_result(self) -> str:
        """The SQL type of the result."""
        return RESULT_TYPES[self.kind] + ("[]" if self.per_record else "")

    def arrow(self, *columns: pa.ChunkedArray) -> pa.Array:
        """Apply the function to columns of equal length: what DuckDB calls."""
        item = ARROW_TYPES[self.kind]
        with self._lock:
            if self.per_record:
                rows = zip(*(c.to_pylist() for c in columns), strict=True)
                return pa.array([self.record_values(*row) for row in rows], pa.list_(item))
            if len(columns) == 1:
                distinct = pa.chunked_array(columns[0]).combine_chunks().dictionary_encode(null_encoding="encode")
                results = [self.value(v) for v in distinct.dictionary.to_pylist()]
                return pa.array(results, item).take(distinct.indices)
            rows = zip(*(c.to_pylist() for c in columns), strict=True)
            return pa.array([self.value(*row) for row in rows], item)

    def value(self, *args: Any) -> Any:
        """The result for one symbol, checked: a Python bool, float, str or None.

        Raises:
            HypothesisError: if the result is of another type.
        """
        if any(a is None and not p.takes_null for a, p in zip(args, self.parameters, strict=True)):
            return None
        return self._checked(self.function(*args))

    def record_values(self, *args: Any) -> list[Any] | None:
        """The results for one record, checked; None where a parameter that takes no NULL got one.

        Raises:
            HypothesisError: if it is not a list, has another length than the lists it got, or a wrong item.
        """
        if any(a is None and not p.takes_null for a, p in zip(args, self.parameters, strict=True)):
            return None
        result = self.function(*args)
        if isinstance(result, np.ndarray | pa.Array | tuple):
            result = result.tolist() if isinstance(result, np.ndarray | pa.Array) else list(result)
        if not isinstance(result, list):
            raise HypothesisError(
                f"hypothesis '{self.name}' returned {_shown(result)} instead of a list",
                "A hypothesis that takes a whole record returns a list with one value per symbol.",
            )
        lengths = {len(a) for a, p in zip(args, self.parameters, strict=True) if p.is_list and a is not None}
        if lengths and lengths != {len(result)}:
            raise HypothesisError(
                f"hypothesis '{self.name}' returned {len(result)} values for {lengths.pop()} symbols",
                "Return exactly one value per symbol.",
            )
        return [self._checked(v) for v in result]

    def _checked(self, value: Any) -> Any:
        if isinstance(value, np.generic):
            value = value.item()
        if value is None:
            return None
        if self.kind == "boolean" and isinstance(value, bool):
            return value
        if self.kind == "number" and isinstance(value, int | float):
            return float(value)
        if self.kind == "category" and isinstance(value, str):
            if value in self.values:
                return value
            raise HypothesisError(
                f"hypothesis '{self.name}' returned {value!r}, which is not among its values {', '.join(self.values)}",
                "Add it to the values that the hypothesis declares.",
            )
        raise HypothesisError(
            f"hypothesis '{self.name}' returned {_shown(value)}, expected {EXPECTED[self.kind]}",
            "Make the function return what its annotation says.",
        )

    def _kind_of(self, result: Any) -> Kind:
        result = _without_none(result)[0]
        kinds: dict[Any, Kind] = {bool: "boolean", int: "number", float: "number", str: "category"}
        if result in kinds:
            return kinds[result]
        if result is not None:
            raise HypothesisError(
                f"hypothesis '{self.name}' is annotated to return {result!r}",
                "It may return bool, int, float, Literal['a', 'b'], or a list of one of these.",
            )
        return self._kind_by_trial()

    def _kind_by_trial(self) -> Kind:
        """What an unannotated function seems to give; boolean where nothing can be learned."""
        for i in range(4):
            args = [TRIAL_VALUES[p.sql_type][i] for p in self.parameters]
            try:
                result = self.function(*([a] if p.is_list else a for a, p in zip(args, self.parameters, strict=True)))
            except Exception:  # a trial value may be nothing that the function is made for
                continue
            if isinstance(result, list | tuple | np.ndarray) and len(result):
                self.per_record = True
                result = result[0]
            for python_type, kind in ((bool, "boolean"), (np.bool_, "boolean"), (str, "category")):
                if isinstance(result, python_type):
                    return typing.cast(Kind, kind)
            if isinstance(result, int | float | np.number):
                return "number"
        return "boolean"


@overload
def hypothesis(function: Callable[..., Any], /) -> Hypothesis: ...


@overload
def hypothesis(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    kind: Kind | None = None,
    values: Sequence[str] | None = None,
) -> Any: ...


def hypothesis(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    kind: Kind | None = None,
    values: Sequence[str] | None = None,
) -> Any:
    """Make a hypothesis of a function; used bare (`@hypothesis`) or with arguments.

    Args:
        function: the function; its parameters name columns of `symbols`.
        name: what to call it; by default the function's name.
        description: one line; by default the first line of its docstring.
        kind: `boolean`, `number` or `category`; by default read off the return annotation.
        values: what a category may be.

    Returns:
        A `Hypothesis`, or a decorator that makes one.

    Raises:
        HypothesisError: if the signature cannot be understood.
    """

    def make(f: Callable[..., Any]) -> Hypothesis:
        return Hypothesis(f, name=name, description=description, kind=kind, values=values)

    return make if function is None else make(function)


def _type_hints(function: Callable[..., Any], name: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError, SyntaxError) as error:
        raise HypothesisError(
            f"the annotations of hypothesis '{name}' cannot be read: {error}", "Import the names that they use."
        ) from error


def _parameters(function: Callable[..., Any], hints: dict[str, Any], name: str) -> tuple[Parameter, ...]:
    found = []
    try:
        signature = inspect.signature(function)
    except ValueError as error:
        raise HypothesisError(
            f"hypothesis '{name}' does not tell its parameters: {error}",
            "Write a function around it, whose parameters name the columns that it reads.",
        ) from error
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise HypothesisError(
                f"hypothesis '{name}' takes *{parameter.name}", "Name the columns that it reads as its parameters."
            )
        if parameter.default is not parameter.empty:
            continue  # an option of the function, not a column
        hint, takes_null = _without_none(hints.get(parameter.name))
        hint, is_list = _unwrap_list(hint)
        hint = _without_none(hint)[0]
        if hint is None:
            hint = int if parameter.name in KNOWN_NUMBERS else str
        if hint not in SQL_TYPES:
            raise HypothesisError(
                f"parameter '{parameter.name}' of hypothesis '{name}' is annotated as {hint!r}",
                "It may be str, int, float, bool, or a list of one of these.",
            )
        found.append(Parameter(parameter.name, SQL_TYPES[hint], is_list, takes_null))
    if not found:
        raise HypothesisError(
            f"hypothesis '{name}' has no parameters",
            "Its parameters name the columns that it reads: token, word, text, position, ...",
        )
    return tuple(found)


def _without_none(hint: Any) -> tuple[Any, bool]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        rest = [a for a in typing.get_args(hint) if a is not type(None)]
        if len(rest) == 1:
            return rest[0], True
        if set(rest) == {int, float}:
            return float, len(rest) < len(typing.get_args(hint))
    return hint, False


def _unwrap_list(hint: Any) -> tuple[Any, bool]:
    hint = _without_none(hint)[0] if typing.get_origin(hint) in (typing.Union, types.UnionType) else hint
    if hint is list:
        return None, True
    if typing.get_origin(hint) in (list, Sequence, tuple):
        return _without_none(typing.get_args(hint)[0])[0], True
    return hint, False


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= 40 else text[:37] + '...'} ({type(value).__name__})"
