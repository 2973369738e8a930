"""The tokens of DuckDB's SQL, with their places.

It knows just enough to never mistake what stands inside a string, a quoted name or a comment for SQL: strings with
their prefixes and dollar quotes, names in double quotes and backticks, comments that nest, numbers, parameters.
Everything else is a word or a mark. As for DuckDB, any character beyond ASCII that is no blank can be in a name.

What it is used for is to find where statements end and where an INSPECT clause stands; all other SQL is left to
DuckDB's own parser.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Kind = Literal["word", "quoted", "string", "number", "parameter", "mark"]

BLANK_CHARACTERS = r" \t\n\v\f\r\u00a0\u2000-\u200b\u202f\u205f\u2060\u3000\ufeff"
"""What DuckDB takes for a blank, as a class of a regular expression."""
_FIRST = rf"(?:[A-Za-z_]|[^\x00-\x7f{BLANK_CHARACTERS}])"
_NAME = rf"{_FIRST}(?:[\w$]|{_FIRST})*"
_SKIP = re.compile(rf"(?:[{BLANK_CHARACTERS}]+|--[^\n\r]*)+")
_COMMENT = re.compile(r"/\*|\*/")
_TOKEN = re.compile(
    rf"""
    (?P<string>[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z)|[xXbB]?'(?:[^']|'')*(?:'|\Z)
        |\$(?P<tag>(?:{_FIRST}(?:\w|{_FIRST})*)?)\$.*?(?:\$(?P=tag)\$|\Z))
    |(?P<quoted>"(?:[^"]|"")*(?:"|\Z)|`(?:[^`]|``)*(?:`|\Z))
    |(?P<word>{_NAME})
    |(?P<number>(?:[0-9]+(?:_[0-9]+)*\.?(?:[0-9]+(?:_[0-9]+)*)?|\.[0-9]+(?:_[0-9]+)*)(?:[eE][+-]?[0-9]+)?)
    |(?P<parameter>\?[0-9]*|\$(?:[0-9]+|{_FIRST}(?:\w|{_FIRST})*))
    |(?P<mark>:=|::|.)
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)


@dataclass(frozen=True)
class Token:
    """A token.

    Attributes:
        kind: what it is; a `mark` is an operator or punctuation.
        text: as it is written.
        start: where it begins.
        depth: how many brackets are open before it.
    """

    kind: Kind
    text: str
    start: int
    depth: int

    @property
    def end(self) -> int:
        """Where it ends."""
        return self.start + len(self.text)

    @cached_property
    def upper(self) -> str:
        """A word in capitals; nothing for any other token, so that a quoted name is never a keyword."""
        return self.text.upper() if self.kind == "word" else ""

    @property
    def is_name(self) -> bool:
        """Whether it can be a name."""
        return self.kind in ("word", "quoted")

    @property
    def name(self) -> str:
        """The name that it stands for, without its quotes."""
        return self.text[1:-1].replace(self.text[0] * 2, self.text[0]) if self.kind == "quoted" else self.text


def tokens(text: str) -> list[Token]:
    """The tokens of some SQL, without blanks and comments.

    >>> [t.text for t in tokens("SELECT 'it''s', $$a;b$$ /* ; /* ; */ */ FROM \\"t;\\" -- ;")]
    ['SELECT', "'it''s'", ',', '$$a;b$$', 'FROM', '"t;"']
    """
    found = []
    depth = at = 0
    while at < len(text):
        if skipped := _SKIP.match(text, at):
            at = skipped.end()
        elif text.startswith("/*", at):
            at = _after_comment(text, at)
        else:
            match = _TOKEN.match(text, at)
            assert match is not None  # a mark is anything
            kind: Kind = match.lastgroup if match.lastgroup != "tag" else "string"  # type: ignore[assignment]
            closes = match[0] in ")]}"
            depth -= closes and depth > 0
            found.append(Token(kind, match[0], at, depth))
            depth += match[0] in "([{"
            at = match.end()
    return found


def statements(text: str) -> Iterator[tuple[int, int]]:
    """Where each statement begins, at its first token, and ends, without its semicolon.

    >>> [text[a:b] for text in ["SELECT ';'; /* ; */; FROM t -- ;"] for a, b in statements(text)]
    ["SELECT ';'", 'FROM t -- ;']
    """
    begin = None
    for token in tokens(text):
        if token.kind == "mark" and token.text == ";" and not token.depth:
            if begin is not None:
                yield begin, token.start
            begin = None
        elif begin is None:
            begin = token.start
    if begin is not None:
        yield begin, len(text)


def _after_comment(text: str, at: int) -> int:
    """The end of a comment, which may hold others."""
    open_comments = 0
    for mark in _COMMENT.finditer(text, at):
        open_comments += 1 if mark[0] == "/*" else -1
        if not open_comments:
            return mark.end()
    return len(text)
