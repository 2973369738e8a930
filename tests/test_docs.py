"""The documentation says what happens: its commands and its Python are run, and their output is compared.

A fenced `console` block holds commands after `$ ` and what they print; the commands of one page run in one shell, in an
empty folder with a copy of `docs/examples`. A fenced `python` block is a doctest. Numbers may differ in the fourth
place, and `...` stands for anything.
"""

from __future__ import annotations

import doctest
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NUMBER = re.compile(r"-?\d+\.\d+(?:e[+-]?\d+)?")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
NOT_RUN = ("make ", "git ", "cd ")


def blocks(page: Path, language: str) -> list[str]:
    return [body for kind, body in FENCE.findall(page.read_text("utf-8")) if kind == language]


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


def same(expected: str, printed: str) -> bool:
    """Whether a text matches: blanks do not count, numbers may differ a little, `...` is anything."""
    pattern, numbers = "", []
    for token in re.split(r"(\s+|\.\.\.)", expected.strip()):
        if token == "...":
            pattern += r"(?:.|\n)*?"
        elif token.isspace():
            pattern += r"\s+"
        else:
            numbers += [float(n) for n in NUMBER.findall(token)]
            pattern += NUMBER.sub("\0", re.escape(token).replace("\\.", ".").replace("\\-", "-"))
    pattern = pattern.replace(".", r"\.").replace(r"(?:\.|\n)*?", r"(?:.|\n)*?")
    match = re.fullmatch(pattern.replace("\0", f"({NUMBER.pattern})"), printed.strip())
    return match is not None and all(
        abs(a - float(b)) <= 1e-3 * max(1, abs(a)) for a, b in zip(numbers, match.groups(), strict=True)
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for example in (ROOT / "docs" / "examples").iterdir():
        (tmp_path / example.name).write_bytes(example.read_bytes())
    return tmp_path


@pytest.mark.parametrize("page", [p for p in PAGES if commands(p)], ids=lambda p: p.name)
def test_commands_print_what_the_page_says(page: Path, folder: Path) -> None:
    script = "\n".join(f"{c}\necho; echo '---- end of {i}'" for i, (c, _) in enumerate(commands(page)))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1"}
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
