"""The identity of a model by its content: equal digests mean equal behaviours, wherever the files lie.

The problem: scores are kept and compared, caches are keyed, and a path or a name says nothing about what was in it.

The idea: one BLAKE2b digest over the weights (names, dtypes, shapes, bytes, in sorted order), the class of the module,
what computes with the weights (the config of a Hugging Face module; the source of all other classes that are not
torch's own, and of `call`), and the tokenizer (its JSON without truncation and padding, which inputs do not use; the
source of a function, else its bytecode). Weights are hashed as they are loaded, so sharding, file formats and
directories do not matter, and no copy on the CPU is made of weights that are there. The cost is one pass over the
weights, one to three seconds for a gigabyte.

Limits: what a function closes over or reads from elsewhere is not seen, nor what a module computes with settings that
are neither weights nor config nor code.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
from collections.abc import Iterator
from types import CodeType
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from deepbase.models.base import Model

NOT_CONTENT = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "auto_map")
"""Entries of a config that change with where and how a model was saved, and not with what it computes."""


def fingerprint(model: Model) -> str:
    """The digest of a model: 32 hex digits."""
    digest = hashlib.blake2b(digest_size=16)
    for text in (*_computation(model), _tokenizer(model.tokenize)):
        digest.update(text.encode())
        digest.update(b"\0")
    for name, tensor in sorted(model.module.state_dict().items()):
        if isinstance(tensor, torch.Tensor):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _computation(model: Model) -> Iterator[str]:
    module = model.module
    yield type(module).__name__
    if isinstance(module, PreTrainedModel):
        config = module.config.to_dict()
        yield json.dumps({key: config[key] for key in config if key not in NOT_CONTENT}, sort_keys=True, default=str)
    classes = {type(part) for part in module.modules() if not _is_known(type(part))}
    for cls in sorted(classes, key=lambda cls: cls.__qualname__):
        yield f"{cls.__qualname__} {_code(cls.forward)}"
    if model.call is not None:
        yield _code(model.call)


def _is_known(cls: type[nn.Module]) -> bool:
    return cls.__module__.split(".")[0] in ("torch", "transformers")


def _tokenizer(tokenize: Any) -> str:
    if tokenize is None:
        return "no tokenizer"
    if not isinstance(tokenize, PreTrainedTokenizerBase):
        return _code(tokenize)
    content = json.loads(tokenize.backend_tokenizer.to_str())
    content.pop("truncation", None)
    content.pop("padding", None)
    return json.dumps(content, sort_keys=True)


def _code(function: Any) -> str:
    """The source of a function, method or callable object; its bytecode where the source is not at hand."""
    if isinstance(function, functools.partial):
        return f"{_code(function.func)} {function.args!r} {sorted(function.keywords.items())!r}"
    if not inspect.isroutine(function):
        function = type(function).__call__
    function = inspect.unwrap(getattr(function, "__func__", function))
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        code = getattr(function, "__code__", None)
        return _bytecode(code) if isinstance(code, CodeType) else function.__qualname__


def _bytecode(code: CodeType) -> str:
    constants = [_bytecode(item) if isinstance(item, CodeType) else repr(item) for item in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {constants}"
