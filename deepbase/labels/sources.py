"""Where Python hypotheses come from: a file of the user's, or the library that DeepBase ships.

A file is executed only when the user names it, or names a hypothesis that was registered from it. Its digest covers the
whole file, since a function may call its neighbours.
"""

from __future__ import annotations

import copy
import hashlib
import importlib
import importlib.util
import pkgutil
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

from deepbase.errors import HypothesisError, nearest
from deepbase.labels.hypothesis import Hypothesis

LIBRARY = "deepbase.hypotheses"


def split_source(source: str) -> tuple[Path, str | None]:
    """`file.py` or `file.py:name` as its parts."""
    path, colon, name = source.rpartition(":")
    if colon and path.endswith(".py"):
        return Path(path).expanduser(), name
    return Path(source).expanduser(), None


def is_file(source: str) -> bool:
    """Whether a text names a Python file."""
    return split_source(source)[0].suffix == ".py"


def load_file(source: str) -> list[Hypothesis]:
    """The hypotheses of a Python file: the decorated functions that it defines, or the one that is named.

    Args:
        source: `file.py`, or `file.py:name`, where the function need not be decorated.

    Raises:
        HypothesisError: if the file is missing, fails, defines none, or gives two of them one name.
    """
    path, name = split_source(source)
    module = _execute(path)
    if name is not None:
        named = {k: v for k, v in vars(module).items() if callable(v) and not k.startswith("__")}
        if name not in named:
            raise HypothesisError(f"'{path}' defines no function '{name}'", nearest(name, named))
        found = {name: named[name] if isinstance(named[name], Hypothesis) else Hypothesis(named[name])}
    else:
        own = {id(v): k for k, v in vars(module).items() if isinstance(v, Hypothesis)}
        found = {k: vars(module)[k] for k in own.values()}
        found = {k: h for k, h in found.items() if getattr(h.function, "__module__", None) == module.__name__}
    if not found:
        raise HypothesisError(
            f"'{path}' defines no hypothesis",
            "Decorate its functions with @deepbase.hypothesis, or name one: file.py:name.",
        )
    loaded: dict[str, Hypothesis] = {}
    for attribute, defined in found.items():
        hypothesis = copy.copy(defined)  # the caller may rename it, and the module is loaded once
        if hypothesis.name in loaded:
            raise HypothesisError(f"'{path}' defines two hypotheses '{hypothesis.name}'", "Rename one of them.")
        hypothesis.source = f"{path.absolute()}:{attribute}"
        hypothesis.fingerprint = _digest(path, hypothesis.name)
        loaded[hypothesis.name] = hypothesis
    return list(loaded.values())


@cache
def library() -> dict[str, Hypothesis]:
    """The hypotheses that DeepBase ships, by name."""
    package = importlib.import_module(LIBRARY)
    found: dict[str, Hypothesis] = {}
    for info in pkgutil.iter_modules(package.__path__, f"{LIBRARY}."):
        for value in vars(importlib.import_module(info.name)).values():
            if isinstance(value, Hypothesis) and value.function.__module__ == info.name:
                value.source = f"{info.name}:{value.name}"
                found[value.name] = value
    return dict(sorted(found.items()))


def _execute(path: Path) -> ModuleType:
    if not path.is_file():
        beside = [p.name for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise HypothesisError(f"there is no file '{path}'", nearest(path.name, beside))
    name = f"deepbase_file_{_digest(path, '')[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise HypothesisError(f"'{path}' cannot be read as Python", "Give it the ending .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, HypothesisError | KeyboardInterrupt):
            raise
        line = getattr(error, "lineno", None) or _line_of(error, path)
        where = f"'{path}'" + (f", line {line}" if line else "")
        raise HypothesisError(f"{where} fails: {type(error).__name__}: {error}", "Mend the file.") from error
    return module


def _line_of(error: BaseException, path: Path) -> int | None:
    """The last line of the file in the traceback of an error."""
    line, frame = None, error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == str(path.absolute()):
            line = frame.tb_lineno
        frame = frame.tb_next
    return line


def _digest(path: Path, name: str) -> str:
    """A digest of a file's place and content; of its content and a name inside it, if one is given."""
    content = path.read_bytes()
    key = name or str(path.absolute())
    return hashlib.sha256(content + b"\0" + key.encode()).hexdigest()
