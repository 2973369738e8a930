"""Which modules of a model have a value per symbol, how to read it, and whether padding is safe: all measured.

The problem: a module's output says nothing about its axes, and a wrong guess gives wrong scores without an error.

The idea: run the model on two tiny batches that differ in both the number of sequences and of positions. An axis whose
size follows the sequences is the sequence axis, one that follows the positions is the position axis, one that follows
their product is both flattened, one that stays is made of units. Exactly one sequence and one position axis make a
value per symbol; attention weights (two position axes), poolers (none) and tables of positions (no sequence axis) are
refused with their shapes. Then the same sequences run alone, and padded together: layers that change in company are
refused, and padding that changes any value on a real symbol is not used.

Limits: five forwards of at most 27 tokens. Modules that see sequences cut or filled to windows (Longformer's) are
refused, since nothing says which of their values belongs to which symbol. The root module is not listed (its output is
that of a submodule, or a head's), unless it has no submodules; then its name is `module`. Modules that are never called
are not listed. Of a tuple, dict or dataclass the first tensor that qualifies counts; of several calls in one forward
the last.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from deepbase.blocks import Bools, Ints, Layer, Padding
from deepbase.errors import ModelError
from deepbase.models.base import Model, Reader, device_of, first_line, forward, one_at_a_time, submodules
from deepbase.models.kinds import kinds

SEQUENCES = (5, 3)
TOLERANCE = 1e-4

Keys = tuple[int | str, ...]


@dataclass(frozen=True)
class Probe:
    """What the tiny forwards found.

    Attributes:
        layers: the modules with a value per symbol, in the order in which they finish.
        readers: how to read each of them.
        refused: the other modules that were called, and why they have none.
        padding: the side on which padding changes nothing, or `none`.
    """

    layers: tuple[Layer, ...]
    readers: Mapping[str, Reader]
    refused: Mapping[str, str]
    padding: Padding


@dataclass(frozen=True)
class Seen:
    """What one module gave in one forward: how often it was called, and the tensors of its last call."""

    calls: int
    tensors: Mapping[Keys, torch.Tensor]


def probe(model: Model, sample: Ints) -> Probe:
    """Find the layers of a model.

    Args:
        model: the model, with its `context` and `pad_id` where it has them.
        sample: int64[token], some ids that its tokenizer gives, one or more.

    Raises:
        ModelError: the tiny forwards fail, no module has a value per symbol, or the padding that the user asked for
            changes the values of a layer.
    """
    short, long = _lengths(model.context)
    small = observe(model, _rows(model, sample, SEQUENCES[0], short))
    large_ids = _rows(model, sample, SEQUENCES[1], long)
    large = observe(model, large_ids)
    alone = observe(model, large_ids[:1])
    brief = observe(model, large_ids[1:2, :short])

    readers: dict[str, Reader] = {}
    refused: dict[str, str] = {}
    for name, seen in large.items():
        reader = _reader(small.get(name), seen, (SEQUENCES[0], short), (SEQUENCES[1], long))
        reader = reader and _settle(reader, seen, alone.get(name), long)
        if isinstance(reader, Reader):
            readers[name] = reader
        else:
            refused[name] = reader
    if not readers:
        raise ModelError(
            f"No module of {type(model.module).__name__} has a value per symbol",
            "; ".join(f"{name}: {reason}" for name, reason in list(refused.items())[:3]),
        )
    values = {name: _values(reader, alone[name], 1, long) for name, reader in readers.items()}
    brief_values = {name: _values(reader, brief[name], 1, short) for name, reader in readers.items() if name in brief}
    kind = kinds(model.module, list(large), values)
    layers = tuple(Layer(name, index, readers[name].width, kind[name]) for index, name in enumerate(readers))
    padding = _padding(model, readers, large_ids[:2], (values, brief_values))
    return Probe(layers, readers, refused, padding)


@one_at_a_time
def observe(model: Model, ids: Ints, mask: Bools | None = None, padding: Padding = "right") -> dict[str, Seen]:
    """Run a small batch with a hook on every module: what each gave, in the order in which they finished last.

    Raises:
        ModelError: the forward fails.
    """
    seen: dict[str, Seen] = {}
    hooks = []
    device = device_of(model.module)
    try:
        for name, module in submodules(model.module).items():

            def record(_: Any, __: Any, output: Any, name: str = name) -> None:
                before = seen.pop(name, None)
                # A clone, because a module may overwrite its input: ReLU(inplace=True).
                tensors = {keys: tensor.clone() for keys, tensor in _tensors(output)}
                seen[name] = Seen(1 if before is None else before.calls + 1, tensors)

            hooks.append(module.register_forward_hook(record))
        filled = np.ones(ids.shape, dtype=np.bool_) if mask is None else mask
        forward(model, torch.tensor(ids, device=device), torch.tensor(filled, device=device), padding)
    except Exception as error:
        shape = f"{ids.shape[0]} sequences of {ids.shape[1]} positions"
        hint = "Check that its tokenizer belongs to it, and how `call` runs it"
        if mask is not None:
            shape += f", padded on the {padding} with the id {_pad(model)}"
            hint = "Give another pad_id, or padding='none'"
        raise ModelError(
            f"{type(model.module).__name__} cannot run on a batch of {shape}: {first_line(error)}", hint
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def values_of(found: Probe, seen: Mapping[str, Seen], sequences: int, positions: int) -> dict[str, torch.Tensor]:
    """The values of all layers in what was observed: float[sequence * position, unit] each."""
    return {name: _values(reader, seen[name], sequences, positions) for name, reader in found.readers.items()}


def _lengths(context: int | None) -> tuple[int, int]:
    """Two numbers of positions, within the context, whose products with SEQUENCES differ as well."""
    long = min(9, context or 9)
    return min(4, long - 1), long


def _rows(model: Model, sample: Ints, sequences: int, positions: int) -> Ints:
    """Sequences made of the sample, each beginning at another of its tokens: int64[sequence, position]."""
    if not len(sample):
        raise ModelError("There is no token to try the model with", "Give a text that its tokenizer does not drop")
    real = sample[sample != _pad(model)]
    tokens = real if len(real) else sample
    rows: Ints = tokens[(np.arange(positions) + 3 * np.arange(sequences)[:, None]) % len(tokens)].astype(np.int64)
    return rows


def _pad(model: Model) -> int:
    return model.pad_id or 0


def _tensors(output: Any, keys: Keys = ()) -> Iterator[tuple[Keys, torch.Tensor]]:
    """The tensors inside an output, each with its path, in order."""
    if isinstance(output, torch.Tensor):
        yield keys, output
    elif isinstance(output, Mapping):
        for key, item in output.items():
            yield from _tensors(item, (*keys, key))
    elif isinstance(output, (tuple, list)):
        for index, item in enumerate(output):
            yield from _tensors(item, (*keys, index))
    elif dataclasses.is_dataclass(output):
        for field in dataclasses.fields(output):
            yield from _tensors(getattr(output, field.name), (*keys, field.name))


def _reader(small: Seen | None, large: Seen, first: tuple[int, int], second: tuple[int, int]) -> Reader | str:
    """How to read a module that was seen with two shapes of a batch, or why it cannot be read."""
    if small is None:
        return "It is not called in every forward"
    if small.calls != large.calls:
        return f"It is called {small.calls} times in one forward and {large.calls} times in another"
    if not large.tensors:
        return "Its output holds no tensor"
    common = [(keys, small.tensors[keys], tensor) for keys, tensor in large.tensors.items() if keys in small.tensors]
    for keys, a, b in common:
        axes = _axes(tuple(a.shape), tuple(b.shape), first, second)
        if axes is not None and b.is_floating_point() and b.numel():
            symbols = second[0] * second[1]
            return Reader(keys, *axes, width=b.numel() // symbols, calls=large.calls)
    shapes = [
        f"{_shape(a)} for {first[0]} x {first[1]} symbols and {_shape(b)} for {second[0]} x {second[1]}"
        for _, a, b in common[:3]
    ]
    return f"Its output has the shape {', '.join(shapes)}" if shapes else "Its output holds other tensors every time"


def _shape(tensor: torch.Tensor) -> str:
    kind = "" if tensor.is_floating_point() else f" of {str(tensor.dtype).removeprefix('torch.')}"
    return f"{tuple(tensor.shape)}{kind}"


def _axes(
    small: tuple[int, ...], large: tuple[int, ...], first: tuple[int, int], second: tuple[int, int]
) -> tuple[int, int] | None:
    """The axes of sequences and of positions of a tensor, given its shape for two shapes of the batch.

    >>> _axes((5, 4, 16), (3, 9, 16), (5, 4), (3, 9))
    (0, 1)
    >>> _axes((4, 5, 16), (9, 3, 16), (5, 4), (3, 9))
    (1, 0)
    >>> _axes((20, 16), (27, 16), (5, 4), (3, 9))
    (0, 0)
    >>> _axes((5, 2, 4, 4), (3, 2, 9, 9), (5, 4), (3, 9))
    """
    if len(small) != len(large):
        return None
    moving = [axis for axis, sizes in enumerate(zip(small, large, strict=True)) if sizes[0] != sizes[1]]
    roles = [(small[axis], large[axis]) for axis in moving]
    sequence, position = zip(first, second, strict=True)
    if roles == [sequence, position]:
        return moving[0], moving[1]
    if roles == [position, sequence]:
        return moving[1], moving[0]
    if roles == [(first[0] * first[1], second[0] * second[1])]:
        return moving[0], moving[0]
    return None


def _settle(reader: Reader | str, together: Seen, alone: Seen | None, positions: int) -> Reader | str:
    """The reader under which the first sequence has the same values alone as among others, or why there is none."""
    if isinstance(reader, str):
        return reader
    majors: tuple[Literal["sequence", "position"], ...] = ("sequence",)
    if reader.sequence == reader.position:
        majors = ("sequence", "position")
    if alone is not None and alone.calls == reader.calls:
        for major in majors:
            tried = dataclasses.replace(reader, major=major)
            try:
                one = _values(tried, alone, 1, positions)
                many = _values(tried, together, SEQUENCES[1], positions)
            except ModelError:
                continue
            if _same(one, many[:positions]):
                return tried
    return "Its values for a sequence change from one forward to the next, or with the other sequences of the batch"


def _values(reader: Reader, seen: Seen, sequences: int, positions: int) -> torch.Tensor:
    if reader.keys not in seen.tensors:
        raise ModelError("the output holds other tensors than before")
    return reader.flatten(seen.tensors[reader.keys], sequences, positions)


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors differ by no more than rounding, which is judged by the largest magnitude in them."""
    magnitude = a.float().abs().nan_to_num(0.0, 0.0, 0.0).max().item()
    bound = magnitude * max(TOLERANCE, 8 * torch.finfo(a.dtype).eps)
    return torch.allclose(a.float(), b.float(), rtol=0.0, atol=bound, equal_nan=True)


def _padding(
    model: Model, readers: Mapping[str, Reader], ids: Ints, alone: tuple[Mapping[str, torch.Tensor], ...]
) -> Padding:
    """The side that may be padded: two sequences of different lengths have the values of each of them alone.

    Args:
        model: the model; the side that its user asked for is checked, else the right one is tried.
        readers: how to read its layers.
        ids: int64[2, position], the second of which is cut and padded.
        alone: the values of the layers for the whole first and the cut second sequence.
    """
    if model.padding == "none":
        return "none"
    side: Padding = model.padding or "right"
    long = ids.shape[1]
    short = _lengths(model.context)[0]
    begin = {"right": 0, "left": long - short}[side]
    padded = np.full_like(ids, _pad(model))
    padded[0] = ids[0]
    padded[1, begin : begin + short] = ids[1, :short]
    mask = np.ones(ids.shape, dtype=np.bool_)
    mask[1] = False
    mask[1, begin : begin + short] = True
    seen = observe(model, padded, mask, side)
    for name, reader in readers.items():
        try:
            rows = _values(reader, seen[name], 2, long)
        except (KeyError, ModelError):
            safe = False
        else:
            second = rows[long + begin : long + begin + short]
            safe = name in alone[1] and _same(alone[0][name], rows[:long]) and _same(alone[1][name], second)
        if safe:
            continue
        if model.padding is None:
            return "none"
        raise ModelError(
            f"{type(model.module).__name__} cannot be padded on the {side}: its layer {name!r} then has other values",
            "Leave padding out to find out what is safe",
        )
    return side
