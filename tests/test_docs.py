"""The documentation says what happens: its commands and its Python are run, and their output is compared.

A fenced `console` block holds commands after `$ ` and what they print; the commands of one page run in one shell, in a
copy of `docs/examples`, with `sql/examples` where it lies from there. A fenced `python` block is a doctest. Numbers may
differ in the fourth place, and `...` stands for anything.
"""

from __future__ import annotations

import doctest
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from forks import forks
from pages import PAGES, ROOT, blocks, copy_examples, same

NOT_RUN = ("make ", "git ", "cd ")


def commands(page: Path) -> list[tuple[str, str]]:
    """The commands of a page with their expected output."""
    found: list[tuple[str, str]] = []
    for block in blocks(page, "console"):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, _, output = part.partition("\n")
            while output.startswith("> "):
                more, _, output = output.partition("\n")
                command += "\n" + more.removeprefix("> ")
            found.append((command, output))
    return [(c, o) for c, o in found if not c.startswith(NOT_RUN)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return copy_examples(tmp_path)


@pytest.fixture(scope="module")
def programs() -> Iterator[str]:
    """Where the shell finds `deepbase` and `python`."""
    with tempfile.TemporaryDirectory() as short, forks(Path(short)) as folder:
        yield os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]])


@pytest.mark.parametrize("page", [p for p in PAGES if commands(p)], ids=lambda p: p.name)
def test_commands_print_what_the_page_says(page: Path, folder: Path, programs: str) -> None:
    script = "\n".join(f"{c}\necho; echo '---- end of {i}'" for i, (c, _) in enumerate(commands(page)))
    environment = {**os.environ, "PATH": programs, "PYTHONUNBUFFERED": "1"}
    environment.pop("DEEPBASE_DB", None)
    shell = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    printed = re.split(r"\n---- end of \d+\n", shell.stdout)
    for (command, expected), output in zip(commands(page), printed, strict=False):
        assert same(expected, output), f"$ {command}\nprinted:\n{output}\nthe page says:\n{expected}"


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.name)
def test_python_prints_what_the_page_says(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    test = doctest.DocTestParser().get_doctest("".join(blocks(page, "python")), {}, page.name, str(page), 0)

    class Checker(doctest.OutputChecker):
        def check_output(self, want: str, got: str, optionflags: int) -> bool:
            return same(want, got) or super().check_output(want, got, optionflags)

    failures: list[str] = []
    doctest.DocTestRunner(Checker(), optionflags=doctest.ELLIPSIS).run(test, out=failures.append)
    assert not failures, "".join(failures)


def test_generated_pages_are_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, text in module.pages().items():
        assert (ROOT / "docs" / name).read_text("utf-8") == text, f"run python docs/reference.py: {name} is old"


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_every_error_class_is_documented() -> None:
    from deepbase import errors

    page = (ROOT / "docs" / "errors.md").read_text("utf-8")
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, errors.DeepBaseError):
            assert f"`{name}`" in page, name
