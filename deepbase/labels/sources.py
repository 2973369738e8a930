"""Where Python hypotheses come from: a file of the user's, or the library that DeepBase ships.

A file is executed only when the user names it, or names a hypothesis that was registered from it. Its digest covers the
whole file, since a function may call its neighbours.
"""

from __future__ import annotations

import copy
import importlib
import pkgutil
from functools import cache

from deepbase.errors import HypothesisError, nearest
from deepbase.labels.hypothesis import Hypothesis
from deepbase.python_files import digest, execute, split_source

LIBRARY = "deepbase.hypotheses"


def load_file(source: str) -> list[Hypothesis]:
    """The hypotheses of a Python file: the decorated functions that it defines, or the one that is named.

    Args:
        source: `file.py`, or `file.py:name`, where the function need not be decorated.

    Raises:
        HypothesisError: if the file is missing, fails, defines none, or gives two of them one name.
    """
    path, name = split_source(source)
    module = execute(path, HypothesisError)
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
        hypothesis.fingerprint = digest(path, hypothesis.name)
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
