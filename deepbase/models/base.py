"""What a model is before it is inspected, and what it is when it can be.

The problem: torch modules share no contract. They take other arguments, return tensors, tuples and records of tensors,
put the sequence axis first or second, and some change their values when a shorter sequence is padded.

The idea: a `Model` only holds a module and what its user knows about it. A probe (`deepbase.models.probe`) runs it on
tiny inputs and writes down, as one `Reader` a module, how its output turns into `float[symbol, unit]`. The result is an
`InspectableModel`: it forwards a batch with hooks on the asked layers only, hands each layer's values to a visitor at
once, keeps nothing, and ends the forward when the last asked layer has fired.

Limits: one forward at a time in a process, since hooks belong to the module and some of torch's switches to the
process; other threads wait for it. A module that a forward calls several times (ALBERT
shares one block) shows its last call. Memory is that of one forward plus the gathered values of the one layer that is
being visited.
"""

from __future__ import annotations

import copy
import functools
import inspect
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, ParamSpec, TypeAlias, TypeVar

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from deepbase.blocks import Batch, InputFormat, Layer, Padding, Visit
from deepbase.errors import ModelError, nearest

Call: TypeAlias = Callable[[nn.Module, torch.Tensor, torch.Tensor], object]
Symbols: TypeAlias = Callable[[str], "list[tuple[int, int, int]]"]

ROOT = "module"
"""The layer name of a module that has no submodules; all others show their submodules and not themselves."""

P = ParamSpec("P")
R = TypeVar("R")

_FORWARD = threading.RLock()

MSG_TOKENIZE = "Give a Hugging Face fast tokenizer, or a function tokenize(text) -> [(id, start, end), ...]"


def one_at_a_time(function: Callable[P, R]) -> Callable[P, R]:
    """Let the threads of a process take turns with forwards."""

    @functools.wraps(function)
    def alone(*args: P.args, **kwargs: P.kwargs) -> R:
        with _FORWARD:
            return function(*args, **kwargs)

    return alone


class Model:
    """A torch module, and what is needed to run it on text.

    Args:
        module: any `torch.nn.Module`.
        tokenize: a Hugging Face fast tokenizer, or `tokenize(text) -> [(id, start, end), ...]`, one item a symbol, with
            spans in characters.
        call: `call(module, ids, mask)` runs the module; `ids` is int64[sequence, position] and `mask` is
            bool[sequence, position], False on padding. What it returns is ignored. By default
            `module(input_ids=ids, attention_mask=mask)` (an int64 mask) where the forward takes those names, else
            `module(ids)`.
        context: the most tokens that one sequence may have, 2 or more; None takes the limit that a Hugging Face
            module states, and no limit for others.
        padding: `right`, `left` or `none` (only equal lengths run together); None finds out.
        pad_id: the token id that fills shorter sequences; None takes that of the module or tokenizer, else 0.

    Raises:
        ModelError: an argument is of the wrong kind.
    """

    def __init__(
        self,
        module: nn.Module,
        tokenize: PreTrainedTokenizerBase | Symbols | None = None,
        call: Call | None = None,
        *,
        context: int | None = None,
        padding: Padding | None = None,
        pad_id: int | None = None,
    ) -> None:
        if not isinstance(module, nn.Module):
            raise ModelError(
                f"module has to be a torch.nn.Module, not {_kind(module)}", "Load a path or a hub id by its name"
            )
        if isinstance(tokenize, PreTrainedTokenizerBase):
            if not tokenize.is_fast:
                raise ModelError(
                    f"The tokenizer {type(tokenize).__name__} is a slow one: it does not tell which characters a token "
                    "stands for",
                    MSG_TOKENIZE,
                )
        elif tokenize is not None and not callable(tokenize):
            raise ModelError(f"tokenize cannot be {_kind(tokenize)}", MSG_TOKENIZE)
        if call is not None and not callable(call):
            raise ModelError(f"call cannot be {_kind(call)}", "Give a function call(module, ids, mask)")
        if context is not None and (not _is_int(context) or context < 2):
            raise ModelError(f"context has to be a whole number of at least 2, not {context!r}")
        if padding not in (None, "right", "left", "none"):
            raise ModelError(f"padding cannot be {padding!r}", "It is 'right', 'left', 'none', or None to find out")
        if pad_id is not None and (not _is_int(pad_id) or pad_id < 0):
            raise ModelError(f"pad_id has to be a token id, not {pad_id!r}")
        self.module = module
        self.tokenize = tokenize
        self.call = call
        self.context = context
        self.padding = padding
        self.pad_id = pad_id


@dataclass(frozen=True)
class Reader:
    """How the output of a module turns into float[symbol, unit].

    Attributes:
        keys: the path to the tensor inside the output: indices of tuples, keys of dicts, attributes of dataclasses.
        sequence: its axis of sequences.
        position: its axis of positions; the same as `sequence` where both are flattened into one.
        width: the product of all other axes: its units.
        major: which of the two runs slower in a flattened axis.
        calls: how often a forward calls the module; the last call counts.
    """

    keys: tuple[int | str, ...]
    sequence: int
    position: int
    width: int
    major: Literal["sequence", "position"] = "sequence"
    calls: int = 1

    def pick(self, output: Any) -> torch.Tensor:
        """The tensor inside the output of the module."""
        for key in self.keys:
            output = output[key] if isinstance(key, int) or isinstance(output, Mapping) else getattr(output, key)
        if not isinstance(output, torch.Tensor):
            raise ModelError(f"the output held {_kind(output)} where the first forwards found a tensor")
        return output

    def flatten(self, tensor: torch.Tensor, sequences: int, positions: int) -> torch.Tensor:
        """The tensor as float[sequence * position, unit], sequence by sequence; a view where that is possible.

        Raises:
            ModelError: the shape is not what the probe found, for this number of sequences and positions.
        """
        symbols = sequences * positions
        sizes = {self.sequence: sequences, self.position: positions}
        if self.sequence == self.position:
            sizes = {self.sequence: symbols}
        if (
            any(axis >= tensor.ndim or tensor.shape[axis] != size for axis, size in sizes.items())
            or tensor.numel() != symbols * self.width
        ):
            raise ModelError(
                f"the output has the shape {tuple(tensor.shape)} for {sequences} sequences of {positions} positions, "
                f"which is not {self.width} units a symbol"
            )
        values = tensor.movedim(tuple(sizes), tuple(range(len(sizes))))
        if self.sequence == self.position and self.major == "position":
            values = values.reshape(positions, sequences, self.width).transpose(0, 1)
        return values.reshape(symbols, self.width)


class InspectableModel:
    """A model whose layers are known: what the loop runs.

    Attributes:
        architecture: the class name of the module.
        parameters: how many numbers it has learned.
        fingerprint: hex digest of its weights and tokenizer.
        layers: the modules with a value per symbol, in the order in which they finish.
        refused: the module paths without one, and why.
        input_format: how it wants to be fed.
        tokenize: the tokenizer or function, as given.
    """

    def __init__(
        self,
        model: Model,
        *,
        layers: tuple[Layer, ...],
        readers: Mapping[str, Reader],
        refused: Mapping[str, str],
        input_format: InputFormat,
        fingerprint: str,
    ) -> None:
        self.architecture = type(model.module).__name__
        self.parameters = sum(parameter.numel() for parameter in model.module.parameters())
        self.fingerprint = fingerprint
        self.layers = layers
        self.refused = refused
        self.input_format = input_format
        self.tokenize = model.tokenize
        self._model = model
        self._readers = readers
        self._modules = submodules(model.module)

    @property
    def device(self) -> torch.device:
        """Where the module is."""
        return device_of(self.module)

    @property
    def module(self) -> nn.Module:
        """The module."""
        return self._model.module

    def with_module(self, module: nn.Module) -> InspectableModel:
        """The same model with another module of the same structure."""
        other = copy.copy(self)
        other._model = copy.copy(self._model)
        other._model.module = module
        other._modules = submodules(module)
        return other

    def to(self, device: str | torch.device) -> InspectableModel:
        """Move the module itself, as torch does, and give this model back; `auto` takes an accelerator if there is one.

        Raises:
            ModelError: there is no such device.
        """
        place(self._model.module, device)
        return self

    @one_at_a_time
    def run(self, batch: Batch, layers: Collection[str], visit: Visit) -> None:
        """Forward a batch and show the asked layers to `visit`, in the order in which they finish.

        Each call is `visit(layer, values)` with float32[token, unit] on the model's device, one row for each item of
        `batch.take`; the values are a copy in inference mode, the visitor's to keep. The forward ends when all asked
        layers have been visited. Training mode and hooks of the module are afterwards as they were. What `visit`
        raises comes out as it is.

        Raises:
            ModelError: a layer is unknown, the forward fails, or an asked layer did not take part in it.
        """
        for layer in layers:
            self._require(layer)
        if not layers:
            return
        taps = _Taps(self._readers, layers, batch, visit, self.device)
        hooks = []
        try:
            for layer in taps.waiting:
                hooks.append(self._modules[layer].register_forward_hook(taps.hook(layer)))
            # A copy, because torch warns about arrays that may not be written to.
            ids, mask = (torch.tensor(array, device=self.device) for array in (batch.ids, batch.mask))
            forward(self._model, ids, mask, self.input_format.padding)
        except _Stop:
            return
        except Exception as error:
            if error is taps.failure or isinstance(error, ModelError):
                raise
            sequences, positions = batch.ids.shape
            raise ModelError(
                f"{self.architecture} failed on a batch of {sequences} sequences of {positions} positions: "
                f"{first_line(error)}"
            ) from error
        finally:
            for hook in hooks:
                hook.remove()
        raise ModelError(
            f"The forward of {self.architecture} did not reach {', '.join(map(repr, sorted(taps.waiting)))}",
            "Leave out layers that depend on the input",
        )

    def _require(self, layer: str) -> None:
        if layer in self._readers:
            return
        if layer in self.refused:
            raise ModelError(f"The layer {layer!r} of {self.architecture} has no value per symbol", self.refused[layer])
        raise ModelError(f"{self.architecture} has no layer {layer!r}", nearest(layer, self._readers))


class _Stop(BaseException):
    """All asked layers have fired. No `Exception`, so that no module that catches those can swallow it."""


class _Taps:
    """The hooks of one forward, and which layers they still wait for."""

    def __init__(
        self, readers: Mapping[str, Reader], layers: Collection[str], batch: Batch, visit: Visit, device: torch.device
    ) -> None:
        self.waiting = {layer: readers[layer].calls for layer in layers}
        self.failure: Exception | None = None
        self._readers = readers
        self._shape = batch.ids.shape
        self._take = torch.tensor(batch.take, device=device)
        self._visit = visit

    def hook(self, layer: str) -> Callable[[nn.Module, Any, Any], None]:
        reader = self._readers[layer]

        def fire(_: nn.Module, __: Any, output: Any) -> None:
            if layer not in self.waiting:
                return
            self.waiting[layer] -= 1
            if self.waiting[layer]:
                return
            try:
                values = reader.flatten(reader.pick(output), *self._shape)
            except ModelError as error:
                raise ModelError(f"The layer {layer!r} cannot be read: {error.message}") from error
            values = values.index_select(0, self._take.to(values.device)).float()
            try:
                self._visit(layer, values)
            except Exception as error:
                self.failure = error
                raise
            del self.waiting[layer]
            if not self.waiting:
                raise _Stop

        return fire


def forward(model: Model, ids: torch.Tensor, mask: torch.Tensor, padding: Padding) -> None:
    """Run the module once, in evaluation mode and without gradients.

    Args:
        model: the model; its `call` runs it, or the default that `Model` documents.
        ids: int64[sequence, position].
        mask: bool[sequence, position], False on padding.
        padding: the side of the padding. On the left, a forward that takes `position_ids` gets those that count real
            tokens only; a module that itself counts them (RoBERTa) is left to do so.
    """
    with _evaluating(model.module):
        if model.call is not None:
            model.call(model.module, ids, mask)
            return
        names = _parameters(getattr(model.module.forward, "__func__", model.module.forward))
        if not {"input_ids", "attention_mask"} <= names:
            model.module(ids)
            return
        options: dict[str, Any] = {"input_ids": ids, "attention_mask": mask.long()}
        if "use_cache" in names:
            options["use_cache"] = False
        if padding == "left" and "position_ids" in names and padded_positions(model.module) is None:
            options["position_ids"] = (mask.long().cumsum(1) - 1).clamp(min=0)
        model.module(**options)


@functools.lru_cache(maxsize=64)
def _parameters(function: Callable[..., object]) -> frozenset[str]:
    """The names of a function's parameters; a forward is asked for them each time."""
    return frozenset(inspect.signature(function).parameters)


def _training(module: nn.Module) -> list[nn.Module]:
    """The parts of a module that are in training mode; `modules()` would name them all, which takes longer."""
    found, rest = [], [module]
    while rest:
        part = rest.pop()
        if part.training:
            found.append(part)
        rest += [child for child in part._modules.values() if child is not None]
    return found


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    training = _training(module)
    fused = torch.backends.mha.get_fastpath_enabled()
    for part in training:
        part.training = False
    # torch's fused transformer layer runs only where no hook is, and then packs away padding: the values of a layer
    # would depend on which other layers are asked for.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for part in training:
            part.training = True


def submodules(module: nn.Module) -> dict[str, nn.Module]:
    """The modules that can be layers, by path: all inside `module`, or `module` itself where there is nothing inside.

    >>> list(submodules(nn.Sequential(nn.Linear(2, 2), nn.ReLU())))
    ['0', '1']
    >>> list(submodules(nn.Linear(2, 2)))
    ['module']
    """
    named = dict(module.named_modules())
    del named[""]
    return named or {ROOT: module}


def padded_positions(module: nn.Module) -> nn.Embedding | None:
    """The table of positions of a module that counts them from its padding id on, as RoBERTa does, else None."""
    for name, part in module.named_modules():
        if isinstance(part, nn.Embedding) and part.padding_idx is not None and "position" in name.rpartition(".")[2]:
            return part
    return None


def device_of(module: nn.Module) -> torch.device:
    """Where the first parameter of a module is; the CPU for one without."""
    first = next(module.parameters(), None)
    return torch.device("cpu") if first is None else first.device


def place(module: nn.Module, device: str | torch.device) -> None:
    """Move a module to a device; `auto` takes CUDA or MPS where there is one, else the CPU.

    Raises:
        ModelError: there is no such device.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        module.to(device)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(
            f"The model cannot be moved to the device {str(device)!r}: {first_line(error)}", "Use 'cpu' or 'auto'"
        ) from error


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its class where it has none; without a full stop."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")


def _kind(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
