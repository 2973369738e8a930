import re

import pytest

from deepbase.hypotheses import structure


def by_character(function, text):
    return function(text, list(range(len(text))), list(range(1, len(text) + 1)))


def marked(function, text):
    return "".join("^" if value else "." for value in by_character(function, text))


@pytest.mark.parametrize(
    ("text", "depths"),
    [
        ("", ""),
        ("abc", "000"),
        ("a(b)c", "01110"),
        ("f(a[0])", "0112221"),
        (")a(", "001"),
        ("(]a", "110"),
        ("((", "12"),
    ],
)
def test_brackets_are_counted(text, depths):
    assert by_character(structure.bracket_depth, text) == [int(d) for d in depths]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a(b[c])d", ".^^^^^^."), ("a[b]", "...."), ("(a", "^^"), (")a(b", "..^^")],
)
def test_parentheses_are_round_and_count_as_inside(text, expected):
    assert marked(structure.inside_parentheses, text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ('a "b" c "d"', "..^^^...^^^"),
        ("don't 'stop' it", "......^^^^^^..."),
        ("'don't stop' it", "^^^^^^^^^^^^..."),
        ("a “b ‘c’” d", "..^^^^^^^.."),
        ("„ja“ «oui»", "^^^^.^^^^^"),
        ('never "closed', "............."),
        ("x = 'a' AND", "....^^^...."),
    ],
)
def test_quotes_come_in_pairs_and_apostrophes_are_none(text, expected):
    assert marked(structure.inside_quotes, text) == expected


def test_the_distance_to_a_bracket_starts_at_the_first_bracket():
    assert by_character(structure.distance_to_bracket, "ab(c]d") == [None, None, 0, 1, 0, 1]


def test_lines_are_counted_and_a_line_break_ends_its_line():
    assert by_character(structure.line_index, "ab\n\nc") == [0, 0, 0, 1, 2]
    assert by_character(structure.position_in_line, "ab\n\nc") == [0, 1, 2, 0, 0]


@pytest.mark.parametrize("name", ["bracket_depth", "line_index", "position_in_line"])
def test_a_longer_symbol_has_the_value_of_its_first_character_that_is_no_space(name):
    text = "if (x[0]\n  > 'a b')  "
    function = getattr(structure, name)
    values = by_character(function, text)
    spans = [found.span() for found in re.finditer(r"\s*\S+|\s+$", text)]
    expected = [
        values[a + len(text[a:b]) - len(text[a:b].lstrip())] if text[a:b].strip() else values[a] for a, b in spans
    ]
    assert function(text, [a for a, _ in spans], [b for _, b in spans]) == expected


@pytest.mark.parametrize(
    "name", ["bracket_depth", "inside_parentheses", "inside_quotes", "distance_to_bracket", "line_index"]
)
def test_a_symbol_without_a_span_has_no_value(name):
    function = getattr(structure, name)
    assert function("((", [None, 0, 2, 5], [1, None, 2, 6]) == [None] * 4
    assert function("", [0], [0]) == [None]


def test_positions_count_symbols():
    assert structure.position_in_record(["a", None, "b"]) == [0, 1, 2]
    assert structure.symbols_left(["a", None, "b"]) == [2, 1, 0]
    assert structure.relative_position(["a", None, "b"]) == [0, 0.5, 1]
    assert structure.relative_position(["a"]) == [0]
    assert structure.position_in_record([]) == structure.symbols_left([]) == structure.relative_position([]) == []


@pytest.mark.parametrize(
    ("token", "repeated", "follows"),
    [
        ([], [], []),
        (["a"], [False], [False]),
        (["a", "b", "a", "b"], [False, False, True, True], [False, False, False, True]),
        (["a", None, "a"], [False, None, True], [False, False, None]),
        (["a", "A"], [False, False], [False, False]),
    ],
)
def test_repetitions_of_tokens(token, repeated, follows):
    assert structure.is_repeated_token(token) == repeated
    assert structure.follows_repeated_token(token) == follows
