"""Python files of the user's: what a text names in one, how it is executed, and how its code is recognized again.

A file is executed only when the user names it, or names something that was registered from it, and once for each
content that it has. Its digest covers the whole file, since what is in it may call its neighbours.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import inspect
import sys
import types
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from deepbase.errors import DeepBaseError, nearest


def split_source(source: str) -> tuple[Path, str | None]:
    """`file.py` or `file.py:name` as its parts."""
    path, colon, name = source.rpartition(":")
    if colon and path.endswith(".py"):
        return Path(path).expanduser(), name
    return Path(source).expanduser(), None


def is_file(source: str) -> bool:
    """Whether a text names a Python file."""
    return split_source(source)[0].suffix == ".py"


def execute(path: Path, kind: type[DeepBaseError]) -> ModuleType:
    """The module of a file, which is executed unless that was done before.

    Args:
        path: the file.
        kind: what to raise if it is missing, or fails.
    """
    if not path.is_file():
        beside = [p.name for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise kind(f"there is no file '{path}'", nearest(path.name, beside))
    name = f"deepbase_file_{digest(path)[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise kind(f"'{path}' cannot be read as Python", "Give it the ending .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, DeepBaseError | KeyboardInterrupt):
            raise
        line = getattr(error, "lineno", None) or line_of(error, str(path.absolute()))
        at = f"'{path}'" + (f", line {line}" if line else "")
        raise kind(f"{at} fails: {type(error).__name__}: {error}", "Mend the file.") from error
    return module


def line_of(error: BaseException, file: str) -> int | None:
    """The last line of a file in the traceback of an error."""
    line, frame = None, error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == file:
            line = frame.tb_lineno
        frame = frame.tb_next
    return line


def digest(path: Path, name: str = "") -> str:
    """A digest of a file's place and content; of its content and a name inside it, if one is given."""
    content = path.read_bytes()
    key = name or str(path.absolute())
    return hashlib.sha256(content + b"\0" + key.encode()).hexdigest()


def where(function: Callable[..., Any]) -> str:
    """The file and the line at which a function was written."""
    try:
        inspect.getsource(function)
        return f"{inspect.getsourcefile(function)}:{function.__code__.co_firstlineno}"
    except (OSError, TypeError, AttributeError):
        return "an unknown place"


def code_text(function: Callable[..., Any]) -> str:
    """The code of a function, its defaults and what it encloses, as text that tells it from others."""
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError, AttributeError):
        code = getattr(function, "__code__", None)
        source = _bytecode(code) if code else repr(function)
    held = [
        *(getattr(function, "__defaults__", None) or ()),
        *(getattr(function, "__kwdefaults__", None) or {}).values(),
    ]
    for cell in getattr(function, "__closure__", None) or ():
        with contextlib.suppress(ValueError):  # a name that is not bound yet
            held.append(cell.cell_contents)
    return "\n".join([source, *map(told, held)])


def _bytecode(code: types.CodeType) -> str:
    """What a function does where its source is gone; functions inside it are written out, as they have addresses."""
    held = [_bytecode(c) if isinstance(c, types.CodeType) else told(c) for c in code.co_consts]
    return f"{code.co_code!r}{held!r}{code.co_names!r}"


def told(value: object) -> str:
    """A value as text that is the same in every process, as far as that is easy."""
    if isinstance(value, set | frozenset):
        return str(sorted(map(repr, value)))
    return value.__code__.co_code.hex() if isinstance(value, types.FunctionType) else repr(value)
