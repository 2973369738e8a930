"""A request for an inspection, as a value.

The three faces say the same thing in three ways: `db.inspect(...)`, `deepbase inspect ...`, and SQL. Each makes an
`InspectSpec`, which is checked when it is made and is written to `runs.spec`, so that a run can be read, compared and
resumed. Nothing in it is an object: models, datasets and hypotheses are named.
"""

from __future__ import annotations

import itertools
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

from deepbase.blocks import Level
from deepbase.errors import QueryError, nearest

Behavior = Literal["value", "abs", "derivative"]
By = Literal["strength", "greatest", "least"]
Ranges = tuple[tuple[int, int], ...]
"""Half-open ranges of units, ascending."""
OF_QUESTION = (
    *("error", "thresholds", "top", "by", "within", "ties", "of", "population"),
    *("records", "seconds", "exact", "query"),
)
"""What is asked of the scores, and how far a run may go for it: another one may go on from the same states."""
RANGES = (
    ("error", 0.0, 1.0, "a number above 0 and below 1"),
    ("confidence", 0.5, 1.0, "a number from 0.5 up and below 1"),
    ("memory", 0.0, math.inf, "a number of gigabytes above 0"),
    ("seconds", 0.0, math.inf, "a number of seconds above 0"),
    ("ties", 0.0, math.inf, "a number from 0 up"),
)
"""What numbers may be: the least, what they must be below, and both in words."""
Units = Mapping[str, Mapping[str, Ranges]]
"""Some units of some layers of some models: model, layer, ranges."""


@dataclass(frozen=True)
class InspectSpec:
    """What is to be inspected, and how.

    Attributes:
        models: the names of the models.
        dataset: the name of a dataset.
        hypotheses: names, globs, columns, `column=value`, or SQL expressions over the symbols.
        measures: names of measures, or calls with options such as `cohens_d(unbiased := true)`.
        layers: globs over module paths; none for block outputs and MLP neurons.
        units: the units to score, for each model by layer; None for all units of the chosen layers. Where it is given,
            `layers` is empty, and only the layers in it run.
        group_by: qualified columns; each group of their values gets scores of its own (`deepbase.query.slices`).
        at: what a symbol is: `token`, `word` or `record`. A unit's value at a word or a record is the mean over its
            tokens.
        behavior: what of a unit is compared: its `value`, its magnitude (`abs`), or its difference from the symbol
            before it in the record (`derivative`).
        where: an SQL predicate over the columns of the dataset, which is called `inputs`; empty for all records.
        selection: the id of stored records (`deepbase.selections`), which alone are read; empty for all records.
        records: how many records to read at most; None for all.
        seconds: how long to go on reading at most; None for as long as it takes.
        exact: read every record that is asked for, whatever the scores are.
        window: read records that are longer than the model's context in overlapping windows instead of cutting them.
        seed: of the order of the records.
        batch_size: how many sequences go through the model together, at most.
        device: `auto`, or a torch device.
        memory: gigabytes (2**30 bytes) for what measures keep of the data: beyond it, activations go to disk, and
            measures of order count in bins.
        error: the half width that the interval of a score may have at most; where the scores are in the scale of the
            unit, in its standard deviations.
        confidence: of these intervals, and of what is settled.
        thresholds: bounds; scores need only be on the right side of each.
        top: how many of the best need be told from the others; None for no such question.
        by: what makes them the best: `strength` (magnitude, if the sign is a direction), `greatest` or `least`.
        within: the columns of scores that tell the sets whose best are wanted.
        ties: how close to a threshold, or to each other, scores may be that nobody has to tell apart; None is `error`.
        of: what thresholds and best are about: `unit_score` or `group_score`.
        population: intervals about the source that the records were drawn from, instead of this dataset.
        query: the SQL that asked for it; empty where none did.

    Raises:
        QueryError: if a value is out of its range.
    """

    models: tuple[str, ...]
    dataset: str
    hypotheses: tuple[str, ...]
    measures: tuple[str, ...] = ("pearson",)
    layers: tuple[str, ...] = ()
    units: Units | None = None
    group_by: tuple[str, ...] = ()
    at: Level = "token"
    behavior: Behavior = "value"
    where: str = ""
    selection: str = ""
    records: int | None = None
    window: bool = False
    seed: int = 0
    batch_size: int = 32
    device: str = "auto"
    memory: float = 2.0
    seconds: float | None = None
    exact: bool = False
    error: float = 0.01
    confidence: float = 0.95
    thresholds: tuple[float, ...] = ()
    top: int | None = None
    by: By = "strength"
    within: tuple[str, ...] = ("hypothesis", "measure", "slice")
    ties: float | None = None
    of: Literal["unit_score", "group_score"] = "unit_score"
    population: bool = False
    query: str = ""

    def __post_init__(self) -> None:
        self._check_values()
        if self.behavior == "derivative" and self.at == "record":
            raise QueryError(
                "a record has no derivative: it is one symbol, and nothing comes before it",
                "Inspect at tokens or words, or take another behavior.",
            )
        if not self.models:
            raise QueryError("an inspection needs a model", "Name at least one.")
        for name in ("models", "group_by"):
            values = getattr(self, name)
            if twice := [v for v in dict.fromkeys(values) if values.count(v) > 1]:
                raise QueryError(f"{name} has {twice[0]!r} twice", "Name it once.")
        if self.units is not None:
            self._check_units(self.units)

    def _check_values(self) -> None:
        """Refuse what is no choice, no number in its range, or no flag."""
        for name, choices in (("at", Level), ("behavior", Behavior), ("by", By)):
            value, known = getattr(self, name), typing.get_args(choices)
            if value not in known:
                raise QueryError(f"{name} cannot be {value!r}", nearest(str(value), known))
        for name, least in (("records", 1), ("top", 1), ("batch_size", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise QueryError(f"{name} cannot be {value!r}", f"Give a whole number from {least} up.")
        for name, low, high, hint in RANGES:
            value = getattr(self, name)
            if value is None and name in ("seconds", "ties"):
                continue
            if not is_number(value) or not low <= value < high or (value == 0 and name != "ties"):
                raise QueryError(f"{name} cannot be {value!r}", f"Give {hint}.")
        for name in ("exact", "population", "window"):
            if not isinstance(flag := getattr(self, name), bool):
                raise QueryError(f"{name} cannot be {flag!r}", "Give true or false.")

    def _check_units(self, units: Units) -> None:
        if self.layers:
            raise QueryError("the units that are asked for have their layers already", "Leave layers out.")
        if set(units) != set(self.models):
            raise QueryError("units are asked for of other models than are inspected", "Name units of each model.")
        for model, layers in units.items():
            if not layers:
                raise QueryError(f"no unit of model '{model}' is asked for", "Name one, or leave the model out.")
            for layer, ranges in layers.items():
                ends = [0, *(end for pair in ranges for end in pair)]
                steps = list(itertools.pairwise(ends))
                if not ranges or any(a > b for a, b in steps) or any(a >= b for a, b in ranges):
                    raise QueryError(
                        f"the units of layer '{layer}' of model '{model}' cannot be {ranges!r}",
                        "Give ascending half-open ranges, as in ((0, 3), (7, 8)).",
                    )

    @property
    def tied(self) -> float:
        """How close scores may be that nobody has to tell apart."""
        return self.error if self.ties is None else self.ties

    def as_json(self) -> dict[str, Any]:
        """The spec as what JSON can hold."""
        return {f.name: _lists(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_json(cls, spec: Mapping[str, Any]) -> Self:
        """The spec that `as_json` wrote; further keys are ignored."""
        return cls(**{f.name: _tuples(spec[f.name]) for f in fields(cls) if f.name in spec})


def _lists(value: Any) -> Any:
    """A value with lists for its tuples."""
    if isinstance(value, Mapping):
        return {k: _lists(v) for k, v in value.items()}
    return [_lists(v) for v in value] if isinstance(value, tuple) else value


def _tuples(value: Any) -> Any:
    """A value with tuples for its lists."""
    if isinstance(value, Mapping):
        return {k: _tuples(v) for k, v in value.items()}
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def bounds(threshold: float | None) -> tuple[float, ...]:
    """The bounds of scores whose strength is wanted on its side of a threshold.

    >>> bounds(0.5)
    (-0.5, 0.5)

    Raises:
        QueryError: if it is no number from 0 up.
    """
    if threshold is None:
        return ()
    if not is_number(threshold) or not 0 <= threshold < math.inf:
        raise QueryError(f"threshold cannot be {threshold!r}", "Give a number from 0 up.")
    return (-threshold, threshold) if threshold else (0.0,)


def is_number(value: object) -> bool:
    """Whether a value is a number, and no boolean."""
    return isinstance(value, int | float) and not isinstance(value, bool)
