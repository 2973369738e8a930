"""Hypotheses of words: which units tell capitals, numbers, punctuation, function words, the edges of sentences?

A symbol has the hypotheses of the word that it is part of, so they also hold for word pieces. Where a dataset does not
say what its words are, they are what stands between spaces, with the punctuation that touches it: the word lists look
past that, the other hypotheses take the word as it is.

What is upper case, a digit or punctuation is Unicode's say (its general categories), for any script. The word lists are
English, closed classes written down for this library; the pieces into which Universal Dependencies and the Penn
Treebank cut contractions ("n't", "'s") are among them. Sentences are told by their final punctuation alone, so that an
abbreviation with a point ends one.
"""

from __future__ import annotations

import re
from typing import Literal
from unicodedata import category

from deepbase.labels.hypothesis import hypothesis

_PRONOUNS = """
    i me my mine myself you your yours yourself yourselves he him his himself she her hers herself it its itself
    we us our ours ourselves they them their theirs themselves
"""
_NEGATIONS = "no not n't never none nobody nothing nowhere neither nor cannot without"
_OTHER_STOPWORDS = """
    a an the this that these those each every some any all both few more most other such own same no not n't nor
    and or but if because as while although though than so
    of at by for with about against between into through during before after above below to from up down in out
    on off over under again further then once here there when where why how what which who whom whose
    am is are was were be been being have has had having do does did doing
    can could will would shall should may might must
    only too very just also 's 'm 're 've 'll 'd
"""
PRONOUNS = frozenset(_PRONOUNS.split())
NEGATIONS = frozenset(_NEGATIONS.split())
STOPWORDS = PRONOUNS | frozenset(_OTHER_STOPWORDS.split())

_NUMBER = re.compile(r"[+\-−]?\d+(?:[.,]\d+)*|[+\-−]?\.\d+")
_MARKS = '.,;:!?…()[]{}"“”„«»'
_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’»)\]]*$")


@hypothesis
def is_capitalized(word: str) -> bool:
    """The word begins with a capital letter.

    >>> is_capitalized("Paris"), is_capitalized("NASA"), is_capitalized("iPhone"), is_capitalized("")
    (True, True, False, False)
    """
    return category(word[0]) in ("Lu", "Lt") if word else False


@hypothesis
def is_upper(word: str) -> bool:
    """The word is in capitals throughout and has two letters or more.

    >>> is_upper("NASA"), is_upper("U.S."), is_upper("I"), is_upper("B2")
    (True, True, False, False)
    """
    return word.isupper() and sum(c.isalpha() for c in word) > 1


@hypothesis
def is_lower(word: str) -> bool:
    """The word has a letter, and no letter of it is a capital."""
    return word.islower()


@hypothesis
def is_punctuation(word: str) -> bool:
    """The word consists of punctuation marks (Unicode categories P).

    >>> is_punctuation("..."), is_punctuation("¿"), is_punctuation("$"), is_punctuation("Mr."), is_punctuation("")
    (True, True, False, False, False)
    """
    return bool(word) and all(category(c)[0] == "P" for c in word)


@hypothesis
def is_symbol(word: str) -> bool:
    """The word consists of symbols: currency, mathematics, emoji (Unicode categories S).

    >>> is_symbol("$"), is_symbol("+"), is_symbol("😀"), is_symbol("%")
    (True, True, True, False)
    """
    return bool(word) and all(category(c)[0] == "S" for c in word)


@hypothesis
def is_number(word: str) -> bool:
    """The word is a number in digits, with or without sign, points and commas.

    >>> [is_number(w) for w in ["7", "-3.5", "1,000.00", ".5", "٣", "5th", "1/2", "seven", "."]]
    [True, True, True, True, True, False, False, False, False]
    """
    return _NUMBER.fullmatch(word) is not None


@hypothesis
def has_digit(word: str) -> bool:
    """The word has a decimal digit in it."""
    return any(c.isdecimal() for c in word)


@hypothesis
def has_hyphen(word: str) -> bool:
    """The word has a hyphen between two letters or digits.

    >>> has_hyphen("well-known"), has_hyphen("-5"), has_hyphen("-")
    (True, False, False)
    """
    return re.search(r"[^\W_][-‐‑][^\W_]", word) is not None


@hypothesis
def is_stopword(word: str) -> bool:
    """The word is a common English function word, whatever its case."""
    return _plain(word) in STOPWORDS


@hypothesis
def is_pronoun(word: str) -> bool:
    """The word is an English personal, possessive or reflexive pronoun, whatever its case."""
    return _plain(word) in PRONOUNS


@hypothesis
def is_negation(word: str) -> bool:
    """The word is an English negation or ends with one, whatever its case.

    >>> is_negation("Not"), is_negation("n't"), is_negation("don’t"), is_negation("nota"), is_negation("ant")
    (True, True, True, False, False)
    """
    return _plain(word) in NEGATIONS or _plain(word).endswith("n't")


@hypothesis
def word_length(word: str) -> int:
    """How many characters the word has."""
    return len(word)


@hypothesis
def word_shape(word: str) -> Literal["lower", "capitalized", "upper", "mixed", "number", "punctuation", "other"]:
    """What the word looks like: its case, or that it is a number or punctuation.

    A single capital letter is capitalized. What has letters without case, or none, is other.

    >>> [word_shape(w) for w in ["dog", "Dog", "DOG", "I", "iPhone", "3.5", "--", "$", "日本"]]
    ['lower', 'capitalized', 'upper', 'capitalized', 'mixed', 'number', 'punctuation', 'other', 'other']
    """
    if is_number(word):
        return "number"
    if is_punctuation(word):
        return "punctuation"
    if word.islower():
        return "lower"
    if is_upper(word):
        return "upper"
    if is_capitalized(word) and not any(c.isupper() for c in word[1:]):
        return "capitalized"
    return "mixed" if any(c.isupper() or c.istitle() for c in word) else "other"


@hypothesis
def is_repeated_word(word: list[str | None], word_index: list[int | None]) -> list[bool | None]:
    """The word occurred earlier in the record, whatever its case and the punctuation around it.

    The pieces of one word do not repeat each other.

    >>> is_repeated_word(["The", "un", "the", None], [0, 1, 2, None])
    [False, False, True, None]
    """
    words = _words(word, word_index)
    seen: set[str] = set()
    repeated = set()
    for index, text in words.items():
        key = _plain(text) or text
        if key in seen:
            repeated.add(index)
        seen.add(key)
    return [index in repeated if index in words else None for index in word_index]


@hypothesis
def starts_sentence(word: list[str | None], word_index: list[int | None]) -> list[bool | None]:
    """The word is the first of a sentence: of the record, or after a full stop, an exclamation or a question mark.

    Only words with a letter or a digit start or end a sentence; quotes and brackets around them do not.

    >>> starts_sentence(["Stop", "!", '"', "Why", "?"], [0, 1, 2, 3, 4])
    [True, False, False, True, False]
    """
    words = _words(word, word_index)
    first = {sentence[0] for sentence in _sentences(words)}
    return [index in first if index in words else None for index in word_index]


@hypothesis
def ends_sentence(word: list[str | None], word_index: list[int | None]) -> list[bool | None]:
    """The word is the last of a sentence, before its final punctuation.

    >>> ends_sentence(["Do", "stop", "!", "He", "did."], [0, 1, 2, 3, 4])
    [False, True, False, False, True]
    """
    words = _words(word, word_index)
    last = {sentence[-1] for sentence in _sentences(words)}
    return [index in last if index in words else None for index in word_index]


def _plain(word: str) -> str:
    """A word as the lists spell it: in lower case, with a straight apostrophe, without the marks around it."""
    return word.lower().replace("’", "'").strip(_MARKS)


def _words(word: list[str | None], word_index: list[int | None]) -> dict[int, str]:
    """The words of a record by their index, in order: the symbols of one word share its index."""
    pairs = zip(word, word_index, strict=True)
    return {index: text for text, index in pairs if text is not None and index is not None}


def _sentences(words: dict[int, str]) -> list[list[int]]:
    """The sentences of a record, each as the indices of its words that have a letter or a digit."""
    sentences: list[list[int]] = [[]]
    for index, text in words.items():
        if any(c.isalnum() for c in text):
            sentences[-1].append(index)
        if _SENTENCE_END.search(text):
            sentences.append([])
    return [sentence for sentence in sentences if sentence]
