"""Hypotheses of characters: which units of a character model tell letters, digits, quotes and brackets?

They read `token`, the symbol's own text. A longer token has a property when each of its characters has it; an empty
one has none. Kinds of characters are Unicode's (its general categories), for any script, except where a list is given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal
from unicodedata import category

from deepbase.labels.hypothesis import hypothesis

QUOTES = frozenset("\"'`“”‘’„‚«»‹›")
VOWELS = frozenset("aeiouAEIOU")
OPERATORS = frozenset("+-*/%=<>!&|^~")

CharacterClass = Literal["letter", "digit", "space", "quote", "bracket", "punctuation", "symbol", "other"]


@hypothesis
def is_letter(token: str) -> bool:
    """The token is a letter, or several (Unicode categories L)."""
    return _each(token, str.isalpha)


@hypothesis
def is_uppercase_character(token: str) -> bool:
    """The token is a capital letter, or several (Unicode category Lu)."""
    return _each(token, lambda c: category(c) == "Lu")


@hypothesis
def is_lowercase_character(token: str) -> bool:
    """The token is a small letter, or several (Unicode category Ll)."""
    return _each(token, lambda c: category(c) == "Ll")


@hypothesis
def is_vowel(token: str) -> bool:
    """The token is one of the letters a, e, i, o and u, or several, whatever their case."""
    return _each(token, VOWELS.__contains__)


@hypothesis
def is_digit(token: str) -> bool:
    """The token is a decimal digit, or several (Unicode category Nd).

    >>> is_digit("7"), is_digit("٣"), is_digit("²"), is_digit("")
    (True, True, False, False)
    """
    return _each(token, str.isdecimal)


@hypothesis
def is_space(token: str) -> bool:
    """The token is white space: spaces, tabs, line breaks."""
    return _each(token, str.isspace)


@hypothesis
def is_quote(token: str) -> bool:
    """The token is a quotation mark, straight or not, single or double; an apostrophe is one too."""
    return _each(token, QUOTES.__contains__)


@hypothesis
def is_bracket(token: str) -> bool:
    """The token is an opening or closing bracket of any shape (Unicode categories Ps and Pe).

    The low quotation marks „ and ‚, which Unicode puts there, are not brackets.

    >>> is_bracket("("), is_bracket("]"), is_bracket("<"), is_bracket("„")
    (True, True, False, False)
    """
    return _each(token, lambda c: category(c) in ("Ps", "Pe") and c not in QUOTES)


@hypothesis
def is_operator(token: str) -> bool:
    """The token is an operator of programming languages: one or more of + - * / % = < > ! & | ^ ~."""
    return _each(token, OPERATORS.__contains__)


@hypothesis
def character_class(token: str) -> CharacterClass:
    """What kind of character the token begins with.

    >>> [character_class(c) for c in ["a", "7", " ", "'", "(", ";", "=", "_", ""]]
    ['letter', 'digit', 'space', 'quote', 'bracket', 'punctuation', 'symbol', 'punctuation', 'other']
    """
    tests: tuple[tuple[CharacterClass, Callable[[str], bool]], ...] = (
        ("letter", str.isalpha),
        ("digit", str.isdecimal),
        ("space", str.isspace),
        ("quote", QUOTES.__contains__),
        ("bracket", lambda c: category(c) in ("Ps", "Pe")),
        ("punctuation", lambda c: category(c)[0] == "P"),
        ("symbol", lambda c: category(c)[0] == "S"),
    )
    return next((name for name, holds in tests if token and holds(token[0])), "other")


@hypothesis
def token_length(token: str) -> int:
    """How many characters the token has."""
    return len(token)


def _each(token: str, holds: Callable[[str], bool]) -> bool:
    """Whether there is a character and all of them have the property."""
    return bool(token) and all(map(holds, token))
