"""Find a model where its user says it is, and load it so that what is inspected is what was saved.

The problem: the usual loaders fail silently. They give an empty tokenizer for a directory without one, random weights
for missing ones, the checkpoint's half precision, they execute pickles, ask on stdin whether to run a repository's
code, and retry for half a minute when there is no network.

The idea: look first, then load, strictly: the base model without its head, so that paths read `encoder.layer.0`; of an
encoder-decoder the encoder; float32; safetensors; no code but transformers' own; every weight accounted for; the
tokenizer as `tokenizer.json` states it. Whatever fails is one `ModelError` with the cause behind it.

Limits: text models. Of a hub repository the default branch.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging as std_logging
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import huggingface_hub
import numpy as np
import torch
import transformers
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, RepositoryNotFoundError
from torch import nn
from transformers.utils import logging

from deepbase.blocks import InputFormat, Ints, Padding
from deepbase.errors import ModelError
from deepbase.models.base import InspectableModel, Model, Symbols, first_line, padded_positions, place
from deepbase.models.fingerprint import fingerprint
from deepbase.models.probe import probe
from deepbase.models.weights import refuse_non_finite, settle_absent

SAFE = ("model.safetensors", "model.safetensors.index.json")
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
LIMITS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length")

MSG_SOURCE = "A model is a registered name, a Hugging Face directory or hub id, or file.py:name"
MSG_TOKENIZER = "Give tokenizer=: a directory, a hub id, a fast tokenizer, or a function of a text"

Tokenizer: TypeAlias = transformers.PreTrainedTokenizerBase | Symbols
Source: TypeAlias = str | Path | Model | nn.Module


def load(
    source: Source,
    *,
    tokenizer: str | Path | Tokenizer | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    padding: Padding | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Model:
    """Load a model.

    Args:
        source: a `Model` or a torch module; a Hugging Face directory or hub id; or `file.py:name`, where `name()`
            returns a `Model`. The file is executed.
        tokenizer: used in place of the model's own: a directory or hub id, a fast tokenizer, or a function.
        allow_pickle: read `pytorch_model.bin` where there is no safetensors file (with torch's `weights_only`).
        trust_remote_code: run the code that a Hugging Face directory brings along.
        padding: the side of padding, if it shall not be found out.
        device: where to put it; `auto` takes an accelerator if there is one.
        dtype: the precision of a Hugging Face model, whatever that of its checkpoint; a `Model` keeps its own.

    Raises:
        ModelError: there is no such model, or it cannot be used as it is; with the remedy.
    """
    given = _tokenizer(tokenizer, trust_remote_code) if isinstance(tokenizer, (str, Path)) else tokenizer
    file = re.fullmatch(r"(.+\.py):(\w+)", source) if isinstance(source, str) else None
    if isinstance(source, Model):
        model = source
    elif isinstance(source, nn.Module):
        model = Model(source)
    elif file:
        with without_bars():
            model = _from_file(Path(file[1]).expanduser(), file[2])
    else:
        with quiet():
            model = _pretrained(_find(source), given, allow_pickle, trust_remote_code, dtype)
    tokenize = model.tokenize if given is None else given
    if tokenize is None:
        raise ModelError(f"The model {type(model.module).__name__} has no tokenizer", MSG_TOKENIZER)
    refuse_non_finite(model.module)
    place(model.module, device)
    return Model(
        model.module,
        tokenize,
        model.call,
        context=model.context,
        padding=padding or model.padding,
        pad_id=model.pad_id,
    )


def inspectable(model: Model, sample: Ints) -> InspectableModel:
    """Find out how to read and feed a model, by tiny forwards.

    Args:
        model: the model.
        sample: int64[token], some ids that its tokenizer gives, one or more.

    Raises:
        ModelError: it cannot be run, has no layer with a value per symbol, or cannot be padded as its user asked.
    """
    refuse_non_finite(model.module)
    context = model.context or _context(model.module)
    pad_id = _pad_id(model)
    resolved = Model(model.module, model.tokenize, model.call, context=context, padding=model.padding, pad_id=pad_id)
    with quiet():
        found = probe(resolved, sample)
    form = InputFormat(context, found.padding, pad_id)
    return InspectableModel(
        resolved,
        layers=found.layers,
        readers=found.readers,
        refused=found.refused,
        input_format=form,
        fingerprint=fingerprint(resolved),
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers and the hub from printing bars, reports and warnings; afterwards all is as it was."""
    verbosity = logging.get_verbosity()
    hub = std_logging.getLogger("huggingface_hub")
    level = hub.level
    logging.set_verbosity(std_logging.CRITICAL)
    hub.setLevel(std_logging.CRITICAL)
    try:
        with without_bars(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        hub.setLevel(level)


@contextmanager
def without_bars() -> Iterator[None]:
    """Keep transformers from drawing bars; afterwards it may again."""
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if bars:
            logging.enable_progress_bar()


@dataclass(frozen=True)
class _Place:
    """A directory or hub repository: its name, whether a file is in it, and whether the network is to be left alone."""

    name: str
    has: Callable[[str], bool]
    offline: bool

    def read(self, loader: Callable[..., Any], trust_remote_code: bool, **options: Any) -> Any:
        return loader(self.name, local_files_only=self.offline, trust_remote_code=trust_remote_code, **options)


def _find(source: str | Path) -> _Place:
    path = Path(source).expanduser()
    if path.is_dir():
        return _Place(str(path), lambda name: (path / name).is_file(), True)
    if path.is_file():
        hint = f"Write {path}:name, where name() returns a deepbase.Model" if path.suffix == ".py" else ""
        raise ModelError(f"{path} is a file, not a model directory", hint or "Give the directory that it is in")
    name = str(source)
    if isinstance(source, Path) or not re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", name):
        raise ModelError(f"There is no directory {name!r}", MSG_SOURCE)
    try:
        info = huggingface_hub.HfApi().model_info(name, timeout=10)
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ModelError(
            f"There is neither a directory {name!r} nor a model of that name on the Hugging Face hub",
            f"{MSG_SOURCE}; a private model needs `hf auth login`",
        ) from error
    except Exception as error:
        # No network, or a hub that does not answer: what an earlier download left can still be used.
        def cached(file: str) -> bool:
            return isinstance(huggingface_hub.try_to_load_from_cache(name, file), str)

        if not cached("config.json"):
            offline = isinstance(error, OfflineModeIsEnabled)
            why = first_line(error) if isinstance(error, HfHubHTTPError) else "offline mode is on" if offline else ""
            raise ModelError(
                f"There is no directory {name!r}, and the Hugging Face hub cannot be reached"
                + (f" ({why})" if why else ""),
                f"{MSG_SOURCE}; download the model first where there is no network",
            ) from error
        return _Place(name, cached, True)
    files = {sibling.rfilename for sibling in info.siblings or ()}
    return _Place(name, files.__contains__, False)


def _pretrained(
    place: _Place, tokenizer: Tokenizer | None, allow_pickle: bool, trust_remote_code: bool, dtype: torch.dtype
) -> Model:
    if not place.has("config.json"):
        raise ModelError(f"{place.name} has no config.json", "Give the directory that a model was saved to")
    config = _config(place, trust_remote_code)
    safe = any(map(place.has, SAFE))
    if not safe and not any(map(place.has, PICKLED)):
        raise ModelError(f"{place.name} has no weights", f"It needs {SAFE[0]}, whole or in parts with {SAFE[1]}")
    if not safe and not allow_pickle:
        raise ModelError(
            f"The weights of {place.name} are a pickle, which can execute code when it is read",
            "Convert them to safetensors (save_pretrained does), or pass --allow-pickle (allow_pickle=True)",
        )
    tokenize = tokenizer or _read_tokenizer(place, trust_remote_code)
    module, absent = _weights(place, config, safe, trust_remote_code, dtype)
    model = Model(module.eval(), tokenize)
    checked = Model(module, tokenize, context=_context(module), padding="none", pad_id=_pad_id(model))
    settle_absent(checked, absent, _sample(tokenize), place.name)
    return model


def _config(place: _Place, trust_remote_code: bool) -> Any:
    try:
        raw, _ = transformers.PreTrainedConfig.get_config_dict(place.name, local_files_only=place.offline)
        if "auto_map" in raw and not trust_remote_code:
            raise ModelError(
                f"{place.name} brings its own code to run it",
                "Read that code, then pass --trust-remote-code (trust_remote_code=True); or remove `auto_map` from its "
                "config.json where transformers has the architecture itself",
            )
        return place.read(transformers.AutoConfig.from_pretrained, trust_remote_code)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"The config.json of {place.name} cannot be used: {first_line(error)}",
            "It has to be a config of a transformers model, with its model_type",
        ) from error


def _weights(
    place: _Place, config: Any, safe: bool, trust_remote_code: bool, dtype: torch.dtype
) -> tuple[nn.Module, dict[str, str]]:
    """The module without a head, and the weights that were not in the files, each with what is wrong."""
    auto = transformers.AutoModel
    text_encoder = config.is_encoder_decoder and type(config) in transformers.MODEL_FOR_TEXT_ENCODING_MAPPING
    if text_encoder:
        auto = transformers.AutoModelForTextEncoding
    try:
        module, info = place.read(
            auto.from_pretrained,
            trust_remote_code,
            config=config,
            dtype=dtype,
            use_safetensors=safe,
            weights_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except Exception as error:
        raise ModelError(
            f"The weights of {place.name} cannot be read: {first_line(error)}",
            "If a file is damaged or cut short, copy or download it again",
        ) from error
    absent = dict.fromkeys(info["missing_keys"], "missing")
    absent |= {name: f"{tuple(there)} instead of {tuple(here)}" for name, there, here in info["mismatched_keys"]}
    if not config.is_encoder_decoder or text_encoder:
        return module, absent
    encoder = module.get_encoder()
    prefix = next(name for name, part in module.named_modules() if part is encoder) + "."
    return encoder, {name.removeprefix(prefix): why for name, why in absent.items() if name.startswith(prefix)}


def _tokenizer(source: str | Path, trust_remote_code: bool) -> Tokenizer:
    with quiet():
        return _read_tokenizer(_find(source), trust_remote_code)


def _read_tokenizer(place: _Place, trust_remote_code: bool) -> Tokenizer:
    # AutoTokenizer rebuilds some tokenizers from their vocabulary, without the rules that tokenizer.json states.
    stated = place.has("tokenizer.json")
    auto = transformers.PreTrainedTokenizerFast if stated else transformers.AutoTokenizer
    try:
        tokenizer = place.read(auto.from_pretrained, trust_remote_code)
    except Exception as error:
        raise ModelError(
            f"{place.name} has no tokenizer that can be read: {first_line(error)}", MSG_TOKENIZER
        ) from error
    if not isinstance(tokenizer, transformers.PreTrainedTokenizerBase) or not tokenizer.is_fast:
        raise ModelError(
            f"The tokenizer of {place.name} is a slow one ({type(tokenizer).__name__}): it does not tell which "
            "characters a token stands for",
            MSG_TOKENIZER,
        )
    if len(tokenizer) <= len(tokenizer.get_added_vocab()):
        raise ModelError(f"{place.name} has no tokenizer, or an empty one", MSG_TOKENIZER)
    return tokenizer


def _sample(tokenize: Tokenizer) -> Ints:
    text = "The cat sat on the mat."
    if isinstance(tokenize, transformers.PreTrainedTokenizerBase):
        ids = tokenize(text)["input_ids"]
    else:
        ids = [symbol[0] for symbol in tokenize(text)]
    return np.array(ids or [0], dtype=np.int64)


def _from_file(path: Path, name: str) -> Model:
    if not path.is_file():
        raise ModelError(f"There is no file {str(path)!r}", MSG_SOURCE)
    unique = f"deepbase_model_{path.stem}_{hashlib.blake2b(str(path.resolve()).encode(), digest_size=4).hexdigest()}"
    spec = importlib.util.spec_from_file_location(unique, path)
    if spec is None or spec.loader is None:
        raise ModelError(f"{path} is no Python file", MSG_SOURCE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
        make = getattr(module, name, None)
        model = make() if callable(make) else None
    except Exception as error:
        raise ModelError(f"{path}:{name} failed: {type(error).__name__}: {first_line(error)}") from error
    finally:
        sys.path.remove(str(path.resolve().parent))
    if not isinstance(model, Model):
        found = "is not a function in it" if not callable(make) else f"returned a {type(model).__name__}"
        raise ModelError(f"{path}:{name} gives no model: {name} {found}", f"Define {name}() -> deepbase.Model")
    return model


def _context(module: nn.Module) -> int | None:
    """The most positions that a Hugging Face module can have; None for others, and for relative positions without end.

    What a tokenizer says of lengths is not asked: it is a habit of training, often shorter than the model's limit.
    """
    if not isinstance(module, transformers.PreTrainedModel):
        return None
    table = padded_positions(module)
    if table is not None and table.padding_idx is not None:
        return table.num_embeddings - table.padding_idx - 1
    config = module.config.get_text_config()
    if "relative_attention_num_buckets" in config.to_dict():
        return None
    sizes = (getattr(config, name, None) for name in LIMITS)
    return next((size for size in sizes if isinstance(size, int) and size > 1), None)


def _pad_id(model: Model) -> int:
    if model.pad_id is not None:
        return model.pad_id
    known: list[Any] = []
    if isinstance(model.module, transformers.PreTrainedModel):
        known.append(model.module.config.get_text_config().pad_token_id)
    if isinstance(model.tokenize, transformers.PreTrainedTokenizerBase):
        known.append(model.tokenize.pad_token_id)
    return next((pad for pad in known if isinstance(pad, int) and pad >= 0), 0)
