"""What a layer is to a reader of scores: the output of a block, of its attention, the neurons of its MLP, ...

The problem: a transformer block has twenty modules with a value per symbol, most of them steps of a computation that
nobody asks about. People mean few: the residual stream after each block, the MLP's neurons after their nonlinearity,
what attention adds, and the embedding that enters the first block.

The idea: decide by structure and by values, not by a table of families.

  * **block output**: the items of the outermost list of like modules (a `ModuleList`, or a `Sequential` of one class);
    and a recurrent layer outside of blocks.
  * **attention output**: in each block the outermost module with parts of its own whose name says attention. It is what
    the module returns: in BERT after its residual sum and norm, in GPT-2 and Llama before the sum.
  * **MLP neurons**: in each block the widest activation outside attention: a module without parameters or parts. Of
    modules that give the very same values the outermost is named (BERT's `intermediate`). With a gated MLP (Llama's
    `act_fn`) that is the gate after its nonlinearity, not its product with the other branch. Where the nonlinearity is
    a plain function, the dropout that follows it has its values, else the widest map is taken, before it.
  * **embedding**: what enters the first block: the last module before it that holds a table, or follows one without a
    matrix of its own (GPT-2's `drop`, the sum of two tables). Without blocks, every `nn.Embedding`.
  * **other**: the rest.

Limits: at most one module a kind and block, one embedding a model with blocks. Experts that see only some tokens, and
state space mixers, have no MLP neurons here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from deepbase.models.base import submodules

ATTENTION_NAMES = ("attn", "attention")
MLP_NAMES = ("mlp", "ffn", "feed_forward", "feedforward", "fc", "linear")
PASSIVE = (nn.Dropout, nn.Identity)


def kinds(module: nn.Module, order: Sequence[str], values: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """The kind of each layer.

    Args:
        module: the root module.
        order: the paths of all modules that were called, in the order in which they finished.
        values: float[token, unit] of each layer for one and the same input; its keys are the layers.
    """
    parts = {"": module, **submodules(module)}
    listed = [name for name in order if name in values]
    found = dict.fromkeys(listed, "other")
    blocks = _blocks(parts, values)
    entry = _embedding(parts, order, listed, values, blocks)
    found.update(dict.fromkeys(entry, "embedding"))
    for block in blocks:
        found[block] = "block output"
        inside = [name for name in listed if name.startswith(f"{block}.")]
        attention = _attention(parts, inside, block)
        neurons = _neurons(parts, inside, values, block)
        if attention:
            found[attention] = "attention output"
        if neurons:
            found[neurons] = "MLP neurons"
    return found


def _blocks(parts: Mapping[str, nn.Module], values: Mapping[str, torch.Tensor]) -> list[str]:
    """The layers that are blocks; none is inside another."""
    blocks: list[str] = []
    for path, part in parts.items():
        if any(path.startswith(f"{block}.") for block in blocks):
            continue
        if isinstance(part, nn.RNNBase) and path in values:
            blocks.append(path)
        elif isinstance(part, (nn.ModuleList, nn.Sequential)):
            items = {f"{path}.{name}".lstrip("."): item for name, item in part.named_children()}
            known = {name: item for name, item in items.items() if name in values and name not in blocks}
            if _alike(part, list(known.values()), {values[name].shape[1] for name in known}):
                blocks.extend(known)
    return blocks


def _alike(container: nn.Module, items: list[nn.Module], widths: set[int]) -> bool:
    if not items or any(isinstance(item, nn.Embedding) for item in items):
        return False
    leaves = [not any(item.children()) for item in items]
    one_class = len({type(item) for item in items}) == 1
    if isinstance(container, nn.Sequential):
        return one_class and len(items) > 1 and not any(leaves)
    return one_class if all(leaves) else not any(leaves) and len(widths) == 1


def _attention(parts: Mapping[str, nn.Module], inside: list[str], block: str) -> str | None:
    found = [name for name in inside if _says(name, ATTENTION_NAMES) and any(parts[name].children())]
    return min(found, key=_depth, default=None)


def _neurons(
    parts: Mapping[str, nn.Module], inside: list[str], values: Mapping[str, torch.Tensor], block: str
) -> str | None:
    attention = [name for name in inside if _says(name, ATTENTION_NAMES) and any(parts[name].children())]
    outside = [name for name in inside if not any(f"{name}.".startswith(f"{other}.") for other in attention)]
    leaves = [name for name in outside if not any(parts[name].children())]
    plain = [name for name in leaves if not any(True for _ in parts[name].parameters())]
    wider = [name for name in leaves if block in values and values[name].shape[1] > values[block].shape[1]]
    candidates = (
        [name for name in plain if not isinstance(parts[name], PASSIVE)]
        or [name for name in wider if name in plain]
        or [name for name in wider if any(_says(part, MLP_NAMES) for part in name[len(block) + 1 :].split("."))]
    )
    if not candidates:
        return None
    chosen = max(candidates, key=lambda name: values[name].shape[1])
    parent = chosen.rpartition(".")[0]
    while parent in inside and torch.equal(values[parent], values[chosen]):
        chosen, parent = parent, parent.rpartition(".")[0]
    return chosen


def _embedding(
    parts: Mapping[str, nn.Module],
    order: Sequence[str],
    listed: list[str],
    values: Mapping[str, torch.Tensor],
    blocks: list[str],
) -> list[str]:
    tables = [name for name in listed if isinstance(parts[name], nn.Embedding)]
    inside = [place for place, name in enumerate(order) if any(f"{name}.".startswith(f"{block}.") for block in blocks)]
    if not inside or not tables:
        return tables
    before = [name for name in order[: inside[0]] if name in values]
    if tables[0] not in before:
        return []
    candidates = [tables[0]] + [
        name
        for name in before[before.index(tables[0]) + 1 :]
        if not isinstance(parts[name], nn.Embedding) and (_holds_table(parts[name]) or not _has_matrix(parts[name]))
    ]
    last = values[candidates[-1]]
    return [min((name for name in candidates if torch.equal(values[name], last)), key=_depth)]


def _holds_table(part: nn.Module) -> bool:
    return any(isinstance(inner, nn.Embedding) for inner in part.modules())


def _has_matrix(part: nn.Module) -> bool:
    return any(parameter.ndim > 1 for parameter in part.parameters())


def _says(name: str, hints: tuple[str, ...]) -> bool:
    return any(hint in name.rpartition(".")[2].lower() for hint in hints)


def _depth(name: str) -> int:
    return name.count(".")
