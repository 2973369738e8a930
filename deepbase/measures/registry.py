"""The measures by name, and calls of them with options: `cohens_d(unbiased := true)`.

The canonical text of a call is what `scores.measure` holds: the bare name where all options have their defaults, else
the options that differ from them, in the order in which the measure declares them.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from deepbase.errors import MeasureError, nearest
from deepbase.measures.base import AbstractMeasure, option_text
from deepbase.measures.facts import Density, Kurtosis, Maximum, Mean, Minimum, StandardDeviation
from deepbase.measures.order.correlations import Kendall, Spearman
from deepbase.measures.order.detectors import F1, Accuracy, Auroc, AveragePrecision, Jaccard
from deepbase.measures.order.information import MutualInformation
from deepbase.measures.pairs import ClassSelectivity, CohensD, CorrelationRatio, MeanDifference, Pearson
from deepbase.measures.probes.chance import Majority, Random
from deepbase.measures.probes.classifiers import Logistic, Mdl
from deepbase.measures.probes.comparisons import Cca, Cka
from deepbase.measures.probes.probes import Lda, Linear, MassMean, Mlp, Sparse

MEASURES: dict[str, type[AbstractMeasure]] = {
    m.name: m
    for m in (
        Pearson,
        MeanDifference,
        CohensD,
        ClassSelectivity,
        CorrelationRatio,
        Spearman,
        Kendall,
        Auroc,
        AveragePrecision,
        MutualInformation,
        Jaccard,
        F1,
        Accuracy,
        Density,
        Mean,
        StandardDeviation,
        Kurtosis,
        Minimum,
        Maximum,
        Logistic,
        Linear,
        Lda,
        MassMean,
        Sparse,
        Mlp,
        Mdl,
        Majority,
        Random,
        Cka,
        Cca,
    )
}

CALL = re.compile(r"\s*(\w+)\s*(?:\((.*)\))?\s*", re.DOTALL)
OPTION = re.compile(
    r"\s*(?P<name>\w+)\s*:=\s*(?:(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)|'(?P<text>(?:[^']|'')*)'"
    r"|(?P<truth>true|false)|\[\s*(?P<list>(?:'(?:[^']|'')*'\s*(?:,\s*'(?:[^']|'')*'\s*)*)?)\])\s*(?P<end>,|$)",
    re.IGNORECASE,
)
TEXT = re.compile(r"'((?:[^']|'')*)'")
TEXTS = tuple[str, ...]
KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text in single quotes",
    TEXTS: "a list of texts, such as ['length(word)', 'position']",
}


Known = Mapping[str, type[AbstractMeasure]]
"""The measures that a call may name: those above, and a user's own."""


def measures(calls: Sequence[str], known: Known = MEASURES) -> tuple[AbstractMeasure, ...]:
    """The measures of these calls, each once, in order.

    Args:
        calls: names, or calls with options.
        known: the measures that there are.

    Raises:
        MeasureError: for an unknown name or option, a value of the wrong type, or no measure at all.
    """
    if not calls:
        raise MeasureError("no measure is asked for", f"{nearest('', known)}")
    return tuple(dict.fromkeys(m for call in calls for m in made(*parse_call(call), known).each()))


def parse_call(text: str) -> tuple[str, dict[str, Any]]:
    """The name and the options of a call.

    >>> parse_call("cohens_d(unbiased := true)")
    ('cohens_d', {'unbiased': True})
    >>> parse_call("pearson(given := ['length(word)', 'position'])")
    ('pearson', {'given': ['length(word)', 'position']})

    Raises:
        MeasureError: if it is no call; whether there is such a measure is not looked at.
    """
    call = CALL.fullmatch(text)
    if call is None:
        raise MeasureError(f"cannot understand the measure {text!r}", "Write a name, or name(option := value, ...).")
    name, inside = call[1], call[2] or ""
    options: dict[str, Any] = {}
    at, more = 0, bool(inside.strip())
    while more:
        option = OPTION.match(inside, at)
        if option is None:
            raise MeasureError(
                f"cannot understand {inside[at:].strip()!r} in the measure {text!r}",
                "Write option := value; values are numbers, 'text', ['text', ...], true or false.",
            )
        if option["name"] in options:
            raise MeasureError(f"option '{option['name']}' is given twice in {text!r}", "Give it once.")
        options[option["name"]] = _value(option)
        at, more = option.end(), option["end"] == ","
    return name, options


def call_text(name: str, options: Mapping[str, Any], known: Known = MEASURES) -> str:
    """The canonical text of a call.

    >>> call_text("cohens_d", {"unbiased": True}), call_text("cohens_d", {"unbiased": False})
    ('cohens_d(unbiased := true)', 'cohens_d')

    Raises:
        MeasureError: for an unknown name or option, or a value of the wrong type.
    """
    return made(name, options, known).call


def made(name: str, options: Mapping[str, Any], known: Known = MEASURES) -> AbstractMeasure:
    """The measure of a name and options.

    Raises:
        MeasureError: for an unknown name or option, or a value of the wrong type.
    """
    if name not in known:
        raise MeasureError(f"unknown measure '{name}'", nearest(name, known))
    kind = known[name]
    types = typing.get_type_hints(kind)
    named = [f.name for f in fields(kind)]
    values = {}
    for option, value in options.items():
        if option not in named:
            hint = nearest(option, named) if named else "It has no options."
            raise MeasureError(f"measure '{name}' has no option '{option}'", hint)
        values[option] = _typed(name, option, value, types[option])
    return kind(**values)


def _typed(name: str, option: str, value: Any, kind: type) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind == TEXTS and isinstance(value, list | tuple) and all(isinstance(v, str) for v in value):
        return tuple(value)
    if type(value) is not kind:
        raise MeasureError(
            f"option '{option}' of measure '{name}' cannot be {option_text(value)}", f"Give {KINDS[kind]}."
        )
    return value


def _value(option: re.Match[str]) -> Any:
    if option["truth"]:
        return option["truth"].lower() == "true"
    if option["text"] is not None:
        return option["text"].replace("''", "'")
    if option["list"] is not None:
        return [text.replace("''", "'") for text in TEXT.findall(option["list"])]
    number = option["number"]
    return int(number) if re.fullmatch(r"[-+]?\d+", number) else float(number)
