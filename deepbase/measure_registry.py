"""A user's own measures in a database: rows of the catalog on one side, classes in Python files on the other.

The measures that DeepBase ships need no registering, and nobody else's measure may take one of their names: what a
score means has to be clear from `scores.measure`. A measure of one's own is registered by the inspection that first
uses it, and known by its name from then on. Its file is executed when a query or an inspection names it, and not
before; what is loaded must be what was registered.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from deepbase import catalog
from deepbase.catalog import MeasureRow
from deepbase.errors import CatalogError, MeasureError, nearest
from deepbase.python_files import code_text, digest, execute, split_source, told
from deepbase.query.clause import KEYWORDS
from deepbase.store import Store

if TYPE_CHECKING:
    from deepbase.measures.base import AbstractMeasure

OBJECT = "python"
"""The source of a class that was handed over, and cannot be loaded again."""
FILE = re.compile(r"(?P<source>.+\.py(?::\w+)?)\s*(?P<options>\(.*\))?\s*", re.DOTALL)
"""A call of a measure in a file: `file.py:Name(option := value)`."""
GENERATED = "<string>"
"""Where the methods are from that a dataclass writes itself."""

Found = tuple[MeasureRow, "type[AbstractMeasure]"]


class Known(Mapping[str, "type[AbstractMeasure]"]):
    """The measures that calls may name: those that DeepBase ships, and registered ones, loaded when they are asked for.

    Args:
        measures: the registry.
        rows: the registered ones.
    """

    def __init__(self, measures: Measures, rows: Mapping[str, MeasureRow]) -> None:
        self.measures, self.rows = measures, rows

    def __getitem__(self, name: str) -> type[AbstractMeasure]:
        if name in self.rows:
            return self.measures.load(self.rows[name])
        return shipped()[name]

    def __contains__(self, name: object) -> bool:
        return name in self.rows or name in shipped()

    def __iter__(self) -> Iterator[str]:
        return iter([*shipped(), *self.rows])

    def __len__(self) -> int:
        return len(shipped()) + len(self.rows)


class Measures:
    """The measures of one database; loads each class at most once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.classes: dict[str, type[AbstractMeasure]] = {}

    def register(self, source: Any, *, replace: bool = False) -> list[str]:
        """Register the measures of a file, a class, or several: all of them, or none.

        Returns:
            The names of what is registered now.

        Raises:
            MeasureError: if one does not keep the contract of a measure, or takes the name of one that there is.
            CatalogError: if a name is taken by another measure of the user's.
        """
        several = list(source) if isinstance(source, list | tuple) else [source]
        found = [one for request in several for one in self._classes_of(request)]
        self._write(found, replace=replace)
        return [row.measure for row, _ in found]

    def adopt(self, requests: Any) -> tuple[list[str], dict[str, MeasureRow | None]]:
        """Make calls of the measures of an inspection: files and classes among them are registered.

        A class that was handed over before may be handed over again with other code.

        Args:
            requests: names, calls, `file.py:Name` with or without options, classes or instances.

        Returns:
            All calls in order; and the names that were written, each with the row that it had before.

        Raises:
            MeasureError: if one does not keep the contract of a measure.
            CatalogError: if a name is taken by another measure of the user's.
        """
        several = list(requests) if isinstance(requests, list | tuple) else [requests]
        calls: list[str] = []
        found: list[Found] = []
        for request in several:
            file = FILE.fullmatch(str(request)) if isinstance(request, str | Path) else None
            if isinstance(request, str) and file is None:
                calls.append(request)
                continue
            own = self._classes_of(file["source"] if file else request)
            options = (file["options"] or "") if file else ""
            if options and len(own) > 1:
                raise MeasureError(
                    f"'{file and file['source']}' defines {len(own)} measures, which cannot share options",
                    "Name one of them: 'file.py:Name(option := value)'.",
                )
            found += own
            calls += [row.measure + options for row, _ in own] if file else [_call_of(request)]
        before = self._write(found, again=True) if found else {}
        return list(dict.fromkeys(calls)), {row.measure: before.get(row.measure) for row, _ in found}

    def restore(self, cursor: duckdb.DuckDBPyConnection, before: Mapping[str, MeasureRow | None]) -> None:
        """Undo what `adopt` wrote."""
        for name, row in before.items():
            if row is not None:
                catalog.add_measure(cursor, row, replace=True)
            elif name in catalog.names(cursor, "measure"):
                catalog.remove(cursor, "measure", name)

    def known(self) -> Known:
        """All measures that a call may name."""
        with self.store.session() as cursor:
            return Known(self, catalog.measures(cursor))

    def load(self, row: MeasureRow) -> type[AbstractMeasure]:
        """The class of a registered measure.

        Raises:
            MeasureError: if it cannot be loaded.
            CatalogError: if it was handed over in another process, or its code has changed.
        """
        if row.fingerprint in self.classes:
            return self.classes[row.fingerprint]
        if row.source == OBJECT:
            raise CatalogError(
                f"measure '{row.measure}' was handed over as a Python class, which is gone",
                "Hand it over again, or register a file.",
            )
        try:
            ((now, kind),) = self._of_file(row.source)
        except MeasureError as error:
            raise MeasureError(
                f"measure '{row.measure}' (fingerprint {row.fingerprint[:12]}) cannot be loaded again: {error.message}",
                "If it was moved, register it again from where it is.",
            ) from error
        if now.fingerprint != row.fingerprint:
            raise CatalogError(
                f"measure '{row.measure}' in {row.source} has changed: its fingerprint was {row.fingerprint[:12]} and "
                f"is now {now.fingerprint[:12]}",
                "Register it again, or put the old file back.",
            )
        return kind

    def listed(self) -> str:
        """The query that lists all measures."""
        own = "SELECT measure, description, source, 1 AS own FROM measures"
        rows = [
            f"({catalog.literal(name)}, {catalog.literal(kind.description)}, {catalog.literal(_home(kind))}, 0)"
            for name, kind in shipped().items()
        ]
        every = f"FROM (VALUES {', '.join(rows)}) AS shipped (measure, description, source, own)"
        return f"SELECT measure, description, source FROM ({every} UNION ALL {own}) ORDER BY own, measure"

    def facts(self, name: str) -> dict[str, Any]:
        """What is known of a measure, registered or shipped, by the columns of DESCRIBE MEASURE.

        Raises:
            CatalogError: if there is no such measure, or its code has changed.
            MeasureError: if it cannot be loaded.
        """
        from dataclasses import fields

        from deepbase.measures.base import option_text

        known = self.known()
        if name not in known:
            raise CatalogError(f"there is no measure '{name}'", nearest(name, known))
        kind, row = known[name], known.rows.get(name)
        return {
            "measure": name,
            "description": kind.description,
            "options": ", ".join(f"{f.name} := {option_text(getattr(kind, f.name))}" for f in fields(kind)),
            "formula": kind.formula,
            "reference": kind.source,
            "least": _finite(kind.range[0]),
            "greatest": _finite(kind.range[1]),
            "signed": kind.signed,
            "higher_is_better": kind.higher_is_better,
            "kinds": ", ".join(kind.kinds),
            "exact": kind.exact,
            "state": kind.state_type.__name__,
            "source": row.source if row else _home(kind),
            "fingerprint": row.fingerprint if row else None,
        }

    def _write(self, found: Sequence[Found], *, replace: bool = False, again: bool = False) -> dict[str, MeasureRow]:
        """Write rows; returns what was known before.

        What comes from the same file again takes its own place; what is handed over, only if it is handed over `again`.
        """
        catalog.refuse_namesakes((row for row, _ in found), "measures", MeasureError)
        with self.store.transaction() as cursor:
            known = catalog.measures(cursor)
            for row, _ in found:
                old = known.get(row.measure)
                same = old is not None and old.source == row.source
                catalog.add_measure(cursor, row, replace=replace or (same and (again or row.source != OBJECT)))
        return known

    def _classes_of(self, source: Any) -> list[Found]:
        """The measures of a file, or the one that was handed over; none where that is one of DeepBase's."""
        from deepbase.measures.base import AbstractMeasure
        from deepbase.measures.own import is_own

        if isinstance(source, str | Path):
            return self._of_file(str(source))
        kind = type(source) if isinstance(source, AbstractMeasure) else source
        if isinstance(kind, type) and not is_own(kind):
            return []
        if not isinstance(kind, type):
            raise MeasureError(
                f"a {type(source).__name__} is no measure",
                "Give a name, file.py:Name, or a class under deepbase.Measure.",
            )
        return [self._accepted(kind, f"'{kind.__name__}'", OBJECT, _digest_of(kind))]

    def _of_file(self, source: str) -> list[Found]:
        """The measures of `file.py`, or the one of `file.py:Name`."""
        path, name = split_source(source)
        if path.suffix != ".py":
            raise MeasureError(f"'{source}' is no Python file", "Give file.py, or file.py:Name.")
        module = execute(path, MeasureError)
        classes = _classes(module)
        if name is not None:
            if name not in vars(module):
                raise MeasureError(f"'{path}' defines no class '{name}'", nearest(name, classes))
            classes = {name: vars(module)[name]}
        if not classes:
            raise MeasureError(f"'{path}' defines no measure", "A measure is a class under deepbase.Measure.")
        found = []
        for attribute, kind in classes.items():
            key = digest(path, str(getattr(kind, "name", attribute)))
            found.append(self._accepted(kind, f"'{path}:{attribute}'", f"{path.absolute()}:{attribute}", key))
        return found

    def _accepted(self, kind: object, shown: str, source: str, fingerprint: str) -> Found:
        """A class that keeps the contract of a measure, with its row."""
        from deepbase.measures import own

        if self.classes.get(fingerprint) is not kind:
            measure = own.checked(kind, shown)
            if not own.is_own(measure):
                raise MeasureError(f"{shown} is DeepBase's own", f"Name it '{measure.name}', without a file.")
            if measure.name in shipped():
                raise MeasureError(
                    f"{shown} is called '{measure.name}', as is a measure that DeepBase brings along",
                    "Give it another name.",
                )
            if measure.name.upper() in KEYWORDS:
                raise MeasureError(f"{shown} is called '{measure.name}', which is a word of SQL", "Call it otherwise.")
            own.tried(_made(measure, shown))
            self.classes[fingerprint] = measure
        accepted = self.classes[fingerprint]
        return MeasureRow(accepted.name, source, fingerprint, accepted.description), accepted


def shipped() -> Mapping[str, type[AbstractMeasure]]:
    """The measures that DeepBase brings along, by name."""
    from deepbase.measures.registry import MEASURES

    return MEASURES


def _made(kind: type[AbstractMeasure], shown: str) -> AbstractMeasure:
    """A measure with the default values of its options."""
    try:
        return kind()
    except MeasureError:
        raise
    except Exception as error:
        raise MeasureError(
            f"{shown} cannot be made with the defaults of its options: {type(error).__name__}: {error}",
            "Let the defaults be values that it takes.",
        ) from error


def _classes(module: Any) -> dict[str, type[AbstractMeasure]]:
    """The measures that a module defines, by the names of their classes; not what they only have in common."""
    from deepbase.measures.base import AbstractMeasure

    own = {
        id(v): k
        for k, v in vars(module).items()
        if isinstance(v, type) and issubclass(v, AbstractMeasure) and v.__module__ == module.__name__
    }
    every = {k: vars(module)[k] for k in own.values()}
    return {k: v for k, v in every.items() if not v.__abstractmethods__ or "name" in vars(v)}


def _call_of(request: type[AbstractMeasure] | AbstractMeasure) -> str:
    """The call of a class or an instance that was handed over."""
    return request.name if isinstance(request, type) else request.call


def _finite(bound: float) -> float | None:
    return None if math.isinf(bound) else float(bound)


def _home(kind: type) -> str:
    return f"{kind.__module__}:{kind.__name__}"


def _digest_of(kind: type) -> str:
    """A digest of the code of a class that was handed over, of its state, and of what both are under."""
    from deepbase.measures.own import is_own

    text: list[str] = []
    for one in dict.fromkeys([*kind.__mro__, *getattr(getattr(kind, "state_type", object), "__mro__", ())]):
        if one is object or not is_own(one) or one.__module__ == "abc":
            continue
        text.append(one.__qualname__)
        for name, value in sorted(vars(one).items(), key=lambda item: item[0]):
            function = getattr(value, "__func__", None) or getattr(value, "fget", None) or value
            code = getattr(function, "__code__", None)
            if code is not None and code.co_filename != GENERATED:
                text.append(f"{name}: {code_text(function)}")
            elif code is None and not name.startswith("_"):
                text.append(f"{name} = {value.__qualname__ if isinstance(value, type) else told(value)}")
    return hashlib.sha256("\n".join(text).encode()).hexdigest()
