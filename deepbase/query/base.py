"""A request for an inspection, as a value.

The three faces say the same thing in three ways: `db.inspect(...)`, `deepbase inspect ...`, and SQL. Each makes an
`InspectSpec`, which is checked when it is made and is written to `runs.spec`, so that a run can be read, compared and
resumed. Nothing in it is an object: models, datasets and hypotheses are named.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self

from deepbase.blocks import Level
from deepbase.errors import QueryError, nearest

Behavior = Literal["value", "abs", "derivative"]


@dataclass(frozen=True)
class InspectSpec:
    """What is to be inspected, and how.

    Attributes:
        model: the name of a model.
        dataset: the name of a dataset.
        hypotheses: names, globs, columns, `column=value`, or SQL expressions over the symbols.
        measures: names of measures.
        layers: globs over module paths; none for block outputs and MLP neurons.
        at: what a symbol is: `token`, `word` or `record`. A unit's value at a word or a record is the mean over its
            tokens.
        behavior: what of a unit is compared: its `value`, its magnitude (`abs`), or its difference from the symbol
            before it in the record (`derivative`).
        where: an SQL predicate over the columns of the dataset; empty for all records.
        records: how many records to read at most; None for all.
        window: read records that are longer than the model's context in overlapping windows instead of cutting them.
        seed: of the order of the records.
        batch_size: how many sequences go through the model together, at most.
        device: `auto`, or a torch device.

    Raises:
        QueryError: if a value is out of its range.
    """

    model: str
    dataset: str
    hypotheses: tuple[str, ...]
    measures: tuple[str, ...] = ("pearson",)
    layers: tuple[str, ...] = ()
    at: Level = "token"
    behavior: Behavior = "value"
    where: str = ""
    records: int | None = None
    window: bool = False
    seed: int = 0
    batch_size: int = 32
    device: str = "auto"

    def __post_init__(self) -> None:
        for name, choices in (("at", Level), ("behavior", Behavior)):
            value, known = getattr(self, name), typing.get_args(choices)
            if value not in known:
                raise QueryError(f"{name} cannot be {value!r}", nearest(str(value), known))
        for name, least in (("records", 1), ("batch_size", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise QueryError(f"{name} cannot be {value!r}", f"Give a whole number from {least} up.")
        if self.behavior == "derivative" and self.at == "record":
            raise QueryError(
                "a record has no derivative: it is one symbol, and nothing comes before it",
                "Inspect at tokens or words, or take another behavior.",
            )

    def as_json(self) -> dict[str, Any]:
        """The spec as what JSON can hold."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, spec: Mapping[str, Any]) -> Self:
        """The spec that `as_json` wrote; further keys are ignored."""
        own = {f.name for f in fields(cls)}
        known: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in spec.items() if k in own}
        return cls(**known)
