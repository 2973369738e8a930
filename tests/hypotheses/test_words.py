import pytest

from deepbase.hypotheses import words

WORDS = {
    "is_capitalized": (["Paris", "NASA", "I", "Élan", "ǅ"], ["paris", "iPhone", "3D", "", "'Tis", "日本"]),
    "is_upper": (["NASA", "U.S.", "COVID-19", "ÉÜ"], ["I", "A", "B2", "Nasa", "", "42", "日本"]),
    "is_lower": (["dog", "b2b", "é"], ["Dog", "DOG", "42", "", "."]),
    "is_punctuation": ([".", "...", "--", "¿", "“", "(", "%"], ["$", "+", "Mr.", "", " ", "a"]),
    "is_symbol": (["$", "€", "+", "=", "😀", "^"], ["%", "a$", "", "."]),
    "is_number": (
        ["7", "1,000.00", "3.14", "-5", "+5", "−5", ".5", "٣"],
        ["5th", "1/2", "seven", ".", "", "5%", "½", "1.", "-"],
    ),
    "has_digit": (["5th", "COVID-19", "٣"], ["five", "", "½", "²"]),
    "has_hyphen": (["well-known", "COVID-19", "a‑b"], ["-5", "-", "--", "ab-", "a--b", "a_-_b", ""]),
    "is_stopword": (["the", "The", "I", "n't", "'s", "’s", "AND", "(the", "and,"], ["dog", "", "."]),
    "is_pronoun": (["he", "He", "themselves", "“It"], ["the", "who", "", "hers'"]),
    "is_negation": (["not", "NOT", "n't", "don't", "don’t", "never!"], ["nota", "ant", "", "know"]),
}


@pytest.mark.parametrize(
    ("name", "word", "expected"),
    [
        (name, word, expected)
        for name, (positive, negative) in WORDS.items()
        for word, expected in [*((w, True) for w in positive), *((w, False) for w in negative)]
    ],
)
def test_words_are_told_apart(name, word, expected):
    assert getattr(words, name)(word) is expected


@pytest.mark.parametrize(
    ("word", "shape"),
    [
        ("dog", "lower"),
        ("b2b", "lower"),
        ("Dog", "capitalized"),
        ("I", "capitalized"),
        ("DOG", "upper"),
        ("U.S.", "upper"),
        ("iPhone", "mixed"),
        ("McDonald", "mixed"),
        ("3.5", "number"),
        ("--", "punctuation"),
        ("$", "other"),
        ("日本", "other"),
        ("", "other"),
    ],
)
def test_the_shape_of_a_word(word, shape):
    assert words.word_shape(word) == shape
    assert shape in words.word_shape.values


def test_the_length_of_a_word_counts_characters():
    assert [words.word_length(w) for w in ["", "a", "naïve", "日本"]] == [0, 1, 5, 2]


@pytest.mark.parametrize(
    ("word", "index", "expected"),
    [
        ([], [], []),
        ([None], [None], [None]),
        (["a", "b", "A"], [0, 1, 2], [False, False, True]),
        (["unable", "unable", "unable"], [0, 0, 1], [False, False, True]),
        (["x", None, "x"], [0, None, 1], [False, None, True]),
        (["x", "x"], [0, None], [False, None]),
        (["Cat", ",", "cat.", ".", ",", "cats"], [0, 1, 2, 3, 4, 5], [False, False, True, False, True, False]),
    ],
)
def test_a_word_is_repeated_when_an_earlier_word_was_the_same(word, index, expected):
    assert words.is_repeated_word(word, index) == expected


@pytest.mark.parametrize(
    ("sentence", "first", "last"),
    [
        ("", [], []),
        ("Hello", [0], [0]),
        ("He left .", [0], [1]),
        ("He left . Why ?", [0, 3], [1, 3]),
        ('Stop ! " Why ? "', [0, 3], [0, 3]),
        ("Do stop!” He did.", [0, 2], [1, 3]),
        ("What ? ! Yes ...", [0, 3], [0, 3]),
        ("( I paid 3.50 ) . Ok", [1, 6], [3, 6]),
        (". . .", [], []),
        ("你好 。 再见 ！", [0, 2], [0, 2]),
    ],
)
def test_sentences_start_and_end(sentence, first, last):
    word = sentence.split()
    index = list(range(len(word)))
    assert words.starts_sentence(word, index) == [i in first for i in index]
    assert words.ends_sentence(word, index) == [i in last for i in index]


def test_every_piece_of_the_first_word_starts_the_sentence_and_what_is_no_word_has_no_value():
    word, index = ["unable", "unable", None, "to", "."], [0, 0, None, 1, 2]
    assert words.starts_sentence(word, index) == [True, True, None, False, False]
    assert words.ends_sentence(word, index) == [False, False, None, True, False]
