"""Text that remembers where it came from.

The INSPECT clause is cut out of a statement and something else is put there, and DuckDB runs the rest as the user wrote
it. So every character of what DuckDB sees keeps its place in what the user wrote, and an error can be shown there.

>>> query = Source.of("SELECT 1 FROM a")
>>> spliced = query[:9] + Source.made("FROM scores, ", 9) + query[14:]
>>> spliced.text
'SELECT 1 FROM scores, a'
>>> spliced.origin[spliced.text.index(", a") + 2]
14
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Source:
    """A piece of text.

    Attributes:
        text: the text.
        origin: for each of its characters, its place in the text of the user; what was put in has the place at which
            it was put.
    """

    text: str
    origin: tuple[int, ...]

    @classmethod
    def of(cls, text: str) -> Self:
        """A text of the user."""
        return cls(text, tuple(range(len(text))))

    @classmethod
    def made(cls, text: str, at: int) -> Self:
        """A text that stands in for what the user has at some place."""
        return cls(text, (at,) * len(text))

    @classmethod
    def join(cls, separator: str, pieces: Iterable[Source]) -> Self:
        """Several pieces, one after another."""
        text: list[str] = []
        origin: list[int] = []
        for piece in pieces:
            if text:
                text.append(separator)
                origin += [piece.origin[0] if piece.origin else origin[-1] if origin else 0] * len(separator)
            text.append(piece.text)
            origin += piece.origin
        return cls("".join(text), tuple(origin))

    def __getitem__(self, at: slice) -> Source:
        return Source(self.text[at], self.origin[at])

    def __add__(self, other: Source) -> Source:
        return Source(self.text + other.text, self.origin + other.origin)

    def __len__(self) -> int:
        return len(self.text)

    def replace(self, first: int, end: int, text: str) -> Source:
        """The same text with something else in place of a part of it."""
        at = self.origin[first] if first < len(self) else 0
        return self[:first] + Source.made(text, at) + self[end:]
