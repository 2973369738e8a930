import pytest

from deepbase.hypotheses import characters

CHARACTERS = {
    "is_letter": ("aZé日", "1 _'("),
    "is_uppercase_character": ("AZÉ", "aé1 日ǅ"),
    "is_lowercase_character": ("azé", "AÉ1 日"),
    "is_vowel": ("aeiouAEIOU", "yYéb1 "),
    "is_digit": ("09٣", "²½a "),
    "is_space": (" \t\n\u00a0", "a_"),
    "is_quote": ("\"'`“”‘’«»„", "a,("),
    "is_bracket": ("()[]{}⟨⟩「」", "<>„'a"),
    "is_operator": ("+-*/%=<>!&|^~", ".,:;_a("),
}


@pytest.mark.parametrize("name", CHARACTERS)
def test_characters_are_told_apart(name):
    holds = getattr(characters, name)
    positive, negative = CHARACTERS[name]
    assert [c for c in positive if holds(c) is not True] == []
    assert [c for c in negative if holds(c) is not False] == []


@pytest.mark.parametrize("name", CHARACTERS)
def test_a_longer_token_has_a_property_when_each_character_has_it(name):
    holds = getattr(characters, name)
    positive, negative = CHARACTERS[name]
    assert holds(positive) is True
    assert holds(positive + negative[0]) is False
    assert holds("") is False


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("a", "letter"),
        ("日", "letter"),
        ("7", "digit"),
        ("\n", "space"),
        ("„", "quote"),
        ("}", "bracket"),
        ("%", "punctuation"),
        ("=", "symbol"),
        ("\u0000", "other"),
        ("", "other"),
        ("(a", "bracket"),
    ],
)
def test_the_class_of_a_character_is_that_of_the_first(token, expected):
    assert characters.character_class(token) == expected
    assert expected in characters.character_class.values


def test_the_length_of_a_token_counts_characters():
    assert [characters.token_length(t) for t in ["", "a", "日本"]] == [0, 1, 2]
