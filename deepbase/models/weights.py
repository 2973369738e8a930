"""Weights that must not be used: missing from the file, of another shape, NaN or infinite.

The problem: transformers gives every weight that it does not find a random value, with a warning at most. Scores of
such units look like any others.

The idea: of the weights that were not loaded, those may be absent that no layer depends on (BERT's pooler, which a
masked language model does not save). That is measured: they are set to NaN, and a layer that shows NaN depended on
them. The rest is an error. Those that may be absent are set to zero, so that they have one value.

Limits: a weight that only some inputs use (a row of a table of types) counts as used only if the sample uses it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from deepbase.blocks import Ints
from deepbase.errors import ModelError
from deepbase.models.base import Model
from deepbase.models.probe import observe, probe, values_of


def settle_absent(model: Model, absent: Mapping[str, str], sample: Ints, where: str) -> None:
    """Set weights that were not loaded to zero, if no layer depends on them.

    Args:
        model: the model as it was loaded.
        absent: the names of the weights that were not, each with what is wrong with it.
        sample: int64[token], some ids of its tokenizer.
        where: the directory or hub id, for the message.

    Raises:
        ModelError: a layer depends on some of them, or other weights are not finite.
    """
    if not absent:
        return
    state = model.module.state_dict()
    _fill([state[name] for name in absent], 0.0)
    refuse_non_finite(model.module)
    found = probe(model, sample)
    idle = [name for name in absent if name.rpartition(".")[0] not in found.readers]
    _fill([state[name] for name in idle], float("nan"))
    values = values_of(found, observe(model, sample[None, :2]), 1, len(sample[:2]))
    harmless = idle if not any(bool(value.isnan().any()) for value in values.values()) else []
    _fill([state[name] for name in idle], 0.0)
    needed = sorted(name for name in absent if name not in harmless)
    if needed:
        more = f" and {len(needed) - 5} more" if len(needed) > 5 else ""
        listed = ", ".join(f"{name} ({absent[name]})" for name in needed[:5])
        raise ModelError(
            f"{where} does not hold all weights of {type(model.module).__name__}: {listed}{more}",
            "Its config.json and its weights do not belong together: take both from one place",
        )


def refuse_non_finite(module: nn.Module) -> None:
    """Check that every parameter is finite, and that no buffer holds NaN.

    Raises:
        ModelError: naming the first that does.
    """
    for name, tensor in module.named_parameters():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            _refuse(module, name, tensor)
    for name, buffer in module.named_buffers():
        if buffer.is_floating_point() and bool(buffer.isnan().any()):
            _refuse(module, name, buffer)


def _refuse(module: nn.Module, name: str, tensor: torch.Tensor) -> None:
    bad = int((~tensor.isfinite()).sum())
    raise ModelError(
        f"The weights {name!r} of {type(module).__name__} hold {bad} NaN or infinite "
        f"value{'s' if bad > 1 else ''} out of {tensor.numel()}",
        "Its training diverged or its file is damaged: take another checkpoint",
    )


def _fill(tensors: list[torch.Tensor], value: float) -> None:
    with torch.no_grad():
        for tensor in tensors:
            if tensor.is_floating_point():
                tensor.fill_(value)
