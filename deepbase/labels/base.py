"""What a hypothesis is once it is bound to a dataset: one column of labels.

The problem. Hypotheses come as Python functions, SQL expressions and annotation columns, and the engine wants one
thing: a value, or none, for every symbol of a block. The common language is SQL over the columns of `symbols`:

* a Python function is an Arrow UDF, and its hypothesis is the call `"is_capitalized"("word")`;
* an SQL hypothesis is its own expression;
* an annotation column is a *family*: one expression, `"upos"`, that is evaluated once for all of its hypotheses
  `upos=NOUN`, `upos=VERB`, ..., each of which is true where the expression has its value.

So DuckDB evaluates the distinct expressions of a block in one query, and what the user can select is what the engine
scores. NULL, NaN and infinities are no value: the symbol is left out of that hypothesis, and of no other.

Memory: a block's labels take `8 * symbols * hypotheses` bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from deepbase.blocks import Bools, ConfoundBehavior, Floats, Kind
from deepbase.labels.hypothesis import Hypothesis


@dataclass(frozen=True)
class Registered:
    """A hypothesis that the catalog knows by name: a function, or an SQL expression.

    Attributes:
        name: its name.
        kind: as far as it is known before a dataset is at hand.
        source: where it is from.
        fingerprint: a digest of its code.
        description: one line.
        function: the function, None for an SQL expression.
        expression: the SQL expression, empty for a function.
    """

    name: str
    kind: Kind | None
    source: str
    fingerprint: str
    description: str
    function: Hypothesis | None = None
    expression: str = ""


@dataclass(frozen=True)
class Label:
    """A hypothesis bound to the columns of a dataset.

    Attributes:
        name: its name in `scores`.
        kind: `boolean` or `number`; a category is one label per value.
        expression: SQL over the columns of the symbols.
        value: the value of the expression at which the hypothesis is true; None where the expression is the label.
        multiple: whether the expression gives several values joined by `|`, one of which must be `value`.
        function: the Python function behind it, where there is one.
        fingerprint: a digest of its definition.
        source: where it is from: what the catalog says, `column`, or `sql` for an expression that was asked for.
        description: one line.
        category: the name of the category that was asked for whole, of which this is one value; empty where only this
            value was.
    """

    name: str
    kind: Kind
    expression: str
    value: str | None
    multiple: bool
    function: Hypothesis | None
    fingerprint: str
    source: str
    description: str
    category: str = ""

    def facts(self) -> dict[str, str | None]:
        """What is said of it, by the columns of `hypotheses`; a function has no expression."""
        return {
            "hypothesis": self.name,
            "kind": self.kind,
            "source": self.source,
            "fingerprint": self.fingerprint,
            "description": self.description,
            "expression": None if self.function else self.expression,
        }


@dataclass(frozen=True)
class Given:
    """What the measures of a run are given besides its hypotheses: labels that are evaluated, and not scored.

    Attributes:
        labels: the confounds, each once.
        sets: their numbers by what a measure is given; ascending, each set once.
        summed: those of the sets for which sums are kept.
    """

    labels: tuple[Label, ...]
    sets: tuple[tuple[int, ...], ...]
    summed: tuple[tuple[int, ...], ...]

    def behavior(self, values: Floats, valid: Bools) -> ConfoundBehavior:
        """What they are at some symbols.

        Args:
            values: float64[symbol, confound].
            valid: bool[symbol, confound].
        """
        kinds = tuple(x.kind for x in self.labels)
        return ConfoundBehavior(np.where(valid, values, np.nan), kinds, self.sets, self.summed)


def categories(labels: Sequence[Label]) -> dict[str, list[Label]]:
    """The categories among some labels by name, each with its values."""
    found: dict[str, list[Label]] = {}
    for label in labels:
        if label.category:
            found.setdefault(label.category, []).append(label)
    return found


def whole(members: Sequence[Label]) -> Label:
    """A category as one hypothesis, for the catalog: it has no column of labels of its own."""
    first = members[0]
    return replace(
        first,
        name=first.category,
        kind="category",
        value=None,
        fingerprint=hashlib.sha256("\n".join(x.fingerprint for x in members).encode()).hexdigest(),
        description=first.description if first.function else f"the column {first.category}",
    )


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
