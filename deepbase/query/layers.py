"""Which layers, and which units of them, a request means."""

from __future__ import annotations

import fnmatch
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from deepbase.blocks import Layer
from deepbase.errors import QueryError, nearest
from deepbase.query.base import Ranges

DEFAULT_KINDS = ("block output", "MLP neurons")


def choose_layers(
    requests: Sequence[str], layers: Sequence[Layer], refused: Mapping[str, str], model: str
) -> tuple[Layer, ...]:
    """The layers that some globs name, in the order in which the model runs them.

    A glob's `*` matches dots too: `encoder.layer.*` is every module below. Without a request, the choice is the block
    outputs and the MLP neurons, or every layer of a model that has neither.

    Args:
        requests: globs over module paths.
        layers: the layers of the model.
        refused: modules whose output has no value per symbol, and why.
        model: its name.

    Raises:
        QueryError: if a glob matches nothing.
    """
    if not requests:
        return tuple(x for x in layers if x.kind in DEFAULT_KINDS) or tuple(layers)
    chosen = set()
    for request in requests:
        found = {x.layer for x in layers if x.layer == request or fnmatch.fnmatchcase(x.layer, request)}
        if not found and request in refused:
            raise QueryError(
                f"layer '{request}' of model '{model}' cannot be inspected: {refused[request]}", "Choose another layer."
            )
        if not found:
            raise QueryError(
                f"no layer of model '{model}' matches '{request}'", nearest(request, [x.layer for x in layers])
            )
        chosen |= found
    return tuple(x for x in layers if x.layer in chosen)


def choose_units(
    requests: Sequence[str], units: Any, layers: Sequence[Layer], refused: Mapping[str, str], model: str
) -> dict[str, Ranges]:
    """The units that are asked for, by layer.

    Args:
        requests: globs over module paths.
        units: numbers of units, of every layer that the globs name; or a mapping of globs to numbers, without requests.
        layers, refused, model: as in `choose_layers`.

    Raises:
        QueryError: if a layer or a unit is not there, or something is no number.
    """
    if not isinstance(units, Mapping):
        several = [units] if isinstance(units, int | str) else list(units)
        units = {x.layer: several for x in choose_layers(requests, layers, refused, model)}
    elif requests:
        raise QueryError("the units that are asked for have their layers already", "Leave layers out.")
    numbers: dict[str, set[int]] = {}
    for request, asked in units.items():
        for layer in choose_layers((request,), layers, refused, model):
            numbers.setdefault(layer.layer, set()).update(_numbers(asked))
    found = {x.layer: _ranges(numbers[x.layer]) for x in layers if x.layer in numbers}
    check_units(found, layers, refused, model)
    return found


def check_units(
    units: Mapping[str, Ranges], layers: Sequence[Layer], refused: Mapping[str, str], model: str
) -> tuple[tuple[Layer, Ranges], ...]:
    """The layers of some units with the ranges of each, in the order in which the model runs them.

    Raises:
        QueryError: if a layer or a unit is not there.
    """
    known = {x.layer: x for x in layers}
    for layer, ranges in units.items():
        if layer in refused:
            raise QueryError(
                f"layer '{layer}' of model '{model}' cannot be inspected: {refused[layer]}", "Choose another layer."
            )
        if layer not in known:
            raise QueryError(f"model '{model}' has no layer '{layer}'", nearest(layer, known))
        width = known[layer].width
        if not ranges:
            raise QueryError(f"no unit of layer '{layer}' of model '{model}' is asked for", "Name at least one.")
        if ranges[-1][1] > width:
            raise QueryError(
                f"layer '{layer}' of model '{model}' has no unit {max(ranges[-1][0], width)}",
                f"Its units are 0 to {width - 1}.",
            )
    return tuple((x, units[x.layer]) for x in layers if x.layer in units)


def _numbers(units: Iterable[Any]) -> list[int]:
    found = []
    several: Iterable[Any] = [units] if isinstance(units, int | str) else units
    for unit in several:
        try:
            number = operator.index(unit)
        except TypeError:
            number = -1
        if number < 0 or isinstance(unit, bool):
            raise QueryError(f"{unit!r} is no unit", "Units are whole numbers from 0 up.")
        found.append(number)
    return found


def _ranges(numbers: Iterable[int]) -> Ranges:
    """Numbers as ascending half-open ranges.

    >>> _ranges([4, 2, 3, 7])
    ((2, 5), (7, 8))
    """
    found: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if found and found[-1][1] == number:
            found[-1] = (found[-1][0], number + 1)
        else:
            found.append((number, number + 1))
    return tuple(found)
