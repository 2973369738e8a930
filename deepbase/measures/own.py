"""A user's own measures: what is asked of a class before it is used, and who is named where its code fails.

A measure of one's own is a class like those that DeepBase ships: a frozen dataclass under `AbstractMeasure`, which
reads a state under `AbstractState`, one of those that there are or its own. What can be seen of the class without data
is looked at first (`checked`), and then it is tried on a few symbols in two batches (`tried`), so that a mistake is
found before a run, as the mistakes of a model are found by tiny forwards.

Two conventions are kept for a measure of one's own, whatever its code does: what it gives for a kind of hypothesis that
it does not take is not looked at, and what is no finite number and has no note gets one.
"""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields, replace
from types import CodeType
from typing import Any

import numpy as np
import torch

from deepbase.blocks import Floats, Kind, LabelBehavior
from deepbase.errors import DeepBaseError, MeasureError
from deepbase.measures.base import AbstractMeasure, AbstractState, Target, Values
from deepbase.measures.batch import BatchLabels
from deepbase.measures.notes import NOTES, wrong_kind

FACTS: dict[str, tuple[str, str]] = {
    "name": ("a text", "name = 'my_measure'"),
    "description": ("a text", "description = 'what a score says, in one line'"),
    "formula": ("a text", "formula = 'cov(x, y)'"),
    "source": ("a text", "source = 'paper, section'"),
    "state_type": ("a state", "state_type = deepbase.PairMoments"),
    "range": ("the least and the greatest score", "range = (-1.0, 1.0)"),
    "signed": ("True or False", "signed = True"),
    "higher_is_better": ("True or False", "higher_is_better = True"),
    "kinds": ("a tuple of kinds of hypotheses", "kinds = ('boolean', 'number')"),
    "grouped": ("True or False", "grouped = False"),
    "exact": ("True or False", "exact = True"),
}
"""The class attributes of a measure: what each has to be, and an example."""
OPTIONS: tuple[Any, ...] = (bool, int, float, str, tuple[str, ...])
UNKNOWN = "measure gives no score"
"""The note of a pair for which a user's own measure gives neither a number nor a note."""
DOING = {
    "first": "taking its first batch",
    "update": "folding a batch in",
    "merge": "merging two states",
    "empty_like": "making an empty state",
    "memory": "saying what its state takes",
    "arrays": "writing its state",
    "from_arrays": "reading its state",
    "compute": "computing scores",
}
"""What a method does, for messages."""


def is_own(kind: type) -> bool:
    """Whether a class is none of DeepBase's."""
    return not kind.__module__.startswith("deepbase.")


def checked(kind: object, shown: str) -> type[AbstractMeasure]:
    """A class that keeps the contract of a measure, as far as that can be seen without calling it.

    Args:
        kind: what was given for a measure.
        shown: what to call it in messages, such as `'mine.py:Covariance'`.

    Raises:
        MeasureError: if it does not.
    """
    if not isinstance(kind, type) or not issubclass(kind, AbstractMeasure):
        what = f"class {kind.__name__}" if isinstance(kind, type) else f"{type(kind).__name__}"
        raise MeasureError(f"{shown} is no measure, but a {what}", "A measure is a class under deepbase.Measure.")
    if "__dataclass_params__" not in vars(kind):
        raise MeasureError(f"{shown} is no frozen dataclass", "Write @dataclass(frozen=True) above the class.")
    if missing := sorted(kind.__abstractmethods__):
        raise MeasureError(f"{shown} does not define {' and '.join(missing)}", "See docs/own-measures.md.")
    options = {f.name for f in fields(kind)}
    for fact, (what, example) in FACTS.items():
        if fact in options:
            raise MeasureError(
                f"{shown} annotates {fact}, which makes it an option of the measure",
                f"Write it without its type, as in {example}, or as a ClassVar.",
            )
        if not hasattr(kind, fact):
            raise MeasureError(f"{shown} does not say its {fact}", f"Give the class {what}: {example}.")
        if not _fits(fact, getattr(kind, fact)):
            raise MeasureError(f"{shown} cannot have {getattr(kind, fact)!r} as its {fact}", f"Give {what}: {example}.")
    if missing := sorted(kind.state_type.__abstractmethods__):
        raise MeasureError(
            f"the state {kind.state_type.__name__} of {shown} does not define {' and '.join(missing)}",
            "See docs/own-measures.md.",
        )
    _check_options(kind, shown)
    return kind


def _fits(fact: str, value: Any) -> bool:
    """Whether a class attribute is what it has to be."""
    if fact == "name":
        return isinstance(value, str) and value.isascii() and value.isidentifier()
    if fact in ("description", "formula", "source"):
        return isinstance(value, str) and (fact != "description" or bool(value.strip()))
    if fact == "state_type":
        return isinstance(value, type) and issubclass(value, AbstractState)
    if fact == "range":
        numbers = isinstance(value, tuple) and len(value) == 2 and all(isinstance(v, int | float) for v in value)
        return numbers and value[0] < value[1]
    if fact == "kinds":
        return isinstance(value, tuple) and set(value) <= set(typing.get_args(Kind))
    return isinstance(value, bool)


def _check_options(kind: type[AbstractMeasure], shown: str) -> None:
    try:
        types = typing.get_type_hints(kind)
    except (NameError, TypeError, AttributeError, SyntaxError) as error:
        raise MeasureError(
            f"the annotations of {shown} cannot be read: {error}", "Import the names that they use."
        ) from error
    for option in fields(kind):
        named = f"option '{option.name}' of {shown}"
        if option.name != option.name.lower():
            raise MeasureError(f"{named} has capital letters", "SQL does not tell them from small ones: use those.")
        if types[option.name] not in OPTIONS:
            raise MeasureError(
                f"{named} cannot be {types[option.name]!r}", "It may be bool, int, float, str or tuple[str, ...]."
            )
        if option.default is MISSING:
            raise MeasureError(f"{named} has no default", "Give it one.")
        if type(option.default) is not (typing.get_origin(types[option.name]) or types[option.name]):
            raise MeasureError(
                f"the default of {named} is {option.default!r}, and not {types[option.name].__name__}",
                "Let them agree.",
            )


SYMBOLS, UNITS = 12, 3
"""On how many of them a measure is tried."""


def tried(measure: AbstractMeasure) -> None:
    """Try a measure on a few symbols: a boolean, a number, which has no value somewhere, and a category.

    Raises:
        MeasureError: if something raises, or gives what it should not.
    """
    symbol = np.arange(SYMBOLS)
    values = np.stack([symbol % 2, symbol % 5, symbol % 3 == 0, symbol % 3 == 1, symbol % 3 == 2], axis=1).astype(float)
    valid = np.ones((SYMBOLS, 2), dtype=bool)
    valid[4, 1] = False
    kinds: tuple[Kind, ...] = ("boolean", "number", "boolean", "boolean", "boolean")
    labels = LabelBehavior(values, valid, np.array([0, 1, 0, 0, 0]), symbol // 3, kinds)
    targets = [Target("boolean", (0,)), Target("number", (1,))]
    targets += [Target("category", (2, 3, 4))] if "category" in measure.kinds else []
    targets = targets if measure.kinds else [Target(None)]
    units = torch.from_numpy(np.sin(np.outer(symbol + 1, np.arange(1, UNITS + 1))).astype(np.float32))
    kind = measure.state_type
    shift: Floats = np.array([0.0, 2.0, 0.0, 0.0, 0.0])
    with naming([measure]):
        half = SYMBOLS // 2
        one, two = (BatchLabels.of(labels, i, half, shift, torch.device("cpu")) for i in (0, half))
        size = kind.memory(UNITS, len(kinds), SYMBOLS, 2**20)
        if isinstance(size, bool) or not isinstance(size, int):
            raise MeasureError(f"{_place(kind)}: memory gave {size!r}", "Give the bytes, a whole number.")
        first = a_state(kind, kind.first(units[:half], one, 2**20), "first")
        empty = a_state(kind, first.empty_like(two), "empty_like")
        second = a_state(kind, empty.update(units[half:], two), "update")
        state = a_state(kind, first.merge(second), "merge")
        if kind.saved:
            arrays = named_arrays(state)
            state = a_state(kind, kind.from_arrays(arrays, torch.device("cpu")), "from_arrays")
        conventional(measure, measure.compute(state, targets), targets, UNITS)


def a_state(kind: type[AbstractState], found: object, method: str) -> AbstractState:
    """What a method of a state gave, which has to be a state.

    Raises:
        MeasureError: if it is none.
    """
    if isinstance(found, kind):
        return found
    raise MeasureError(
        f"{_place(kind)}: {method} gave {'nothing' if found is None else f'a {type(found).__name__}'}",
        f"Return a {kind.__name__}.",
    )


def named_arrays(state: AbstractState) -> dict[str, torch.Tensor]:
    """The arrays of a state, as a checkpoint can hold them.

    Raises:
        MeasureError: if they are none.
    """
    arrays = state.arrays()
    if not is_own(type(state)):
        return arrays
    for name, value in arrays.items():
        if not isinstance(value, torch.Tensor) or not isinstance(name, str) or "/" in name:
            raise MeasureError(
                f"{_place(type(state))}: arrays gave {name!r}: {type(value).__name__}",
                "Give tensors under names without a slash, or let the state have `saved = False`.",
            )
    return {name: value.detach().cpu().contiguous().clone() for name, value in arrays.items()}


def conventional(measure: AbstractMeasure, found: object, targets: Sequence[Target], units: int) -> Values:
    """The scores of a measure; those of a user's own checked, and with the conventions that hold for all.

    Args:
        measure: whose they are.
        found: what `compute` gave.
        targets: what it was asked for.
        units: how many units there are.

    Raises:
        MeasureError: if they are not what they should be.
    """
    if not is_own(type(measure)):
        assert isinstance(found, Values)
        return found
    if not isinstance(found, Values):
        raise MeasureError(
            f"{_place(type(measure))}: compute gave {'nothing' if found is None else f'a {type(found).__name__}'}",
            "Return deepbase.Values, such as deepbase.Values.of(score, 'why there is none').",
        )
    score, note = (np.asarray(a) for a in (found.unit_score, found.note))
    shape = (len(targets), units)
    if score.shape != shape or note.shape != shape:
        raise MeasureError(
            f"measure '{measure.name}' gave scores of the shape {score.shape} and notes of {note.shape} for "
            f"{len(targets)} targets and {units} units",
            "Give one for each target and unit.",
        )
    if note.dtype.kind not in "iu" or note.min(initial=0) < 0 or note.max(initial=0) >= len(found.notes):
        raise MeasureError(f"measure '{measure.name}' gave notes that are none of its own", "Give places in `notes`.")
    notes = [*found.notes, UNKNOWN, NOTES[wrong_kind(measure.kinds)]]
    score, note = score.astype(np.float64), note.astype(np.int64)
    note = np.where(~np.isfinite(score) & (note == 0), len(notes) - 2, note)
    foreign = np.array([bool(measure.kinds) and t.kind not in measure.kinds for t in targets], dtype=bool)
    note[foreign] = len(notes) - 1
    score[foreign] = np.nan
    return replace(found, unit_score=np.where(np.isfinite(score), score, np.nan), note=note, notes=notes)


def _place(kind: type) -> str:
    """A class, and where it is from."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return f"{kind.__name__} in {file}" if file else kind.__name__


@contextmanager
def naming(measures: Iterable[AbstractMeasure]) -> Iterator[None]:
    """Say whose code it was that raised something.

    Args:
        measures: whose it may be.

    Raises:
        MeasureError: in the place of what the code of a user's own measure raised.
    """
    try:
        yield
    except Exception as error:
        told = None if isinstance(error, DeepBaseError) else _named(error, measures)
        if told is None:
            raise
        raise told from error


def _named(error: Exception, measures: Iterable[AbstractMeasure]) -> MeasureError | None:
    """The error with the name of the measure in whose code it is from; None if it is from no such code."""
    codes: dict[CodeType, tuple[AbstractMeasure, str]] = {}
    for measure in measures:
        for kind in (*type(measure).__mro__, *measure.state_type.__mro__):
            if is_own(kind):
                codes.update({code: (measure, name) for name, code in _codes(kind)})
    frame, found, line = error.__traceback__, None, 0
    while frame is not None:
        code = frame.tb_frame.f_code
        if code in codes and (found is None or codes[code][1] in DOING):
            found = code
        line = frame.tb_lineno if found and code.co_filename == found.co_filename else line
        frame = frame.tb_next
    if found is None:
        return None
    measure, method = codes[found]
    doing = DOING.get(method, f"in {method}")
    return MeasureError(
        f"measure '{measure.name}' raised {type(error).__name__}: {error} while {doing}, in {found.co_filename}, "
        f"line {line}",
        "Mend its class.",
    )


def _codes(kind: type) -> Iterator[tuple[str, CodeType]]:
    """The code of each method of a class, by its name."""
    for name, value in vars(kind).items():
        held = getattr(value, "__func__", None) or getattr(value, "fget", None) or getattr(value, "func", value)
        code = getattr(inspect.unwrap(held) if callable(held) else held, "__code__", None)
        if isinstance(code, CodeType):
            yield name, code
