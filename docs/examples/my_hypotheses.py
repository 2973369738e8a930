"""Hypotheses about words and sentences."""

import deepbase

NEGATIONS = {"not", "no", "never", "nobody", "nothing", "none", "nor"}


@deepbase.hypothesis
def is_negation(word: str) -> bool:
    """The word says no."""
    return word.lower().strip(".,;!") in NEGATIONS


@deepbase.hypothesis
def after_comma(token: list[str]) -> list[bool]:
    """A comma stands before the symbol, somewhere in the record."""
    seen = False
    result = []
    for text in token:
        result.append(seen)
        seen = seen or text == ","
    return result
