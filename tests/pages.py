"""The pages of the documentation: their fenced blocks, and whether what is printed is what they say."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NUMBER = re.compile(r"-?\d+\.\d+(?:e[+-]?\d+)?")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)


def blocks(page: Path, language: str) -> list[str]:
    """The blocks of a page in a language."""
    return [body for kind, body in FENCE.findall(page.read_text("utf-8")) if kind == language]


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


def copy_examples(folder: Path) -> Path:
    """The examples in a folder of a test, where they lie in the repository; gives that of the data."""
    for part in ("docs/examples", "sql/examples"):
        (folder / part).mkdir(parents=True)
        for example in (ROOT / part).glob("*.*"):
            (folder / part / example.name).write_bytes(example.read_bytes())
    return folder / "docs" / "examples"
