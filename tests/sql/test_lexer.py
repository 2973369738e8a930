"""Texts of every kind are taken apart as DuckDB takes them apart, and none is refused."""

from __future__ import annotations

import duckdb
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from deepbase.query.lexer import statements, tokens

SPACES = [" ", "\n", "\t", "\r\n", "\r", "\u00a0", "\u3000", "-- it's; \"x\n", "/* ; ' */", "/* /* ; */ $$ */", "--\n"]
INSIDE = st.text(st.sampled_from("ab;'\"`$\\-/*\n\r é日😀\u00a0\u0301_1"), max_size=8)
STRINGS = st.one_of(
    INSIDE.map(lambda s: "'" + s.replace("'", "''") + "'"),
    INSIDE.map(lambda s: "E'" + s.replace("\\", "\\\\").replace("'", "\\'") + "'"),
    INSIDE.map(lambda s: "e'" + s.replace("\\", "\\\\").replace("'", "''") + "'"),
    INSIDE.filter(lambda s: "$" not in s).map(lambda s: f"$${s}$$"),
    INSIDE.filter(lambda s: "$" not in s).map(lambda s: f"$é_1${s};$$;$é_1$"),
    st.sampled_from(["x'AB'", "b'01'", "n'a;'", "X''"]),
)
NUMBERS = st.sampled_from(["1", "1_000", ".5", "5.", "1e-3", "1E5", "5.e1", "0x1F", "1a", "00", "9.9.9", "1..2"])
NAMES = st.one_of(
    INSIDE.map(lambda s: '"' + s.replace('"', '""') + 'z"'),
    INSIDE.map(lambda s: "`" + s.replace("`", "``") + "z`"),
    st.sampled_from(
        ["a", "é", "e\u0301", "😀e", "a$b", "a$$b", "模型", "_", "x1", "E", "inspect", "select_", "\u0301x"]
    ),
)
VALUES = st.one_of(STRINGS, NUMBERS, st.sampled_from(["NULL", "(1)", "[1, 2][1]", "{'a;': 1}", "$1", "?", "$é", "-1"]))
BLANKS = st.lists(st.sampled_from(SPACES), min_size=1, max_size=3).map("".join)


@st.composite
def selects(draw):
    """A SELECT that DuckDB parses, however odd it looks."""
    columns = draw(st.lists(st.tuples(VALUES, BLANKS, BLANKS, NAMES, BLANKS), min_size=1, max_size=3))
    listed = ",".join(f"{value}{a}AS{b}{name}{c}" for value, a, b, name, c in columns)
    return f"{draw(st.sampled_from(['SELECT', 'select', 'FROM t SELECT']))}{draw(BLANKS)}{listed}"


SCRIPTS = st.tuples(
    st.sampled_from(["", *SPACES, ";", " ; ;"]),
    st.lists(st.tuples(selects(), st.sampled_from([";", ";;", " ; ", ";\n-- x;\n", ";/* ; */;"])), max_size=3),
    selects(),
).map(lambda s: s[0] + "".join(a + b for a, b in s[1]) + s[2])
PIECES = st.one_of(
    STRINGS,
    NUMBERS,
    NAMES,
    VALUES,
    BLANKS,
    INSIDE,
    st.sampled_from([*"()[]{}.,:+-*/<>=!@#%^&|~\\?;;;", "::", ":=", "--", "/*", "*/", "$$", "SELECT", "FROM", "AND"]),
)
MIXTURES = st.lists(PIECES, max_size=12).map("".join)


@pytest.fixture(scope="module")
def connection():
    with duckdb.connect() as found:
        yield found


def split(connection, text):
    """The statements of a text as DuckDB finds them; None for a text that it cannot parse."""
    try:
        return [s.query for s in connection.extract_statements(text)]
    except duckdb.Error:
        return None


def bare(text):
    """A statement without the semicolons, blanks and comments behind it, and with plain blanks.

    DuckDB turns the blanks of other alphabets into plain ones, and now and then those in a string too.
    """
    found = [t for t in tokens(text) if t.text != ";" or t.depth]
    return [t.text.translate({0xA0: " ", 0x3000: " "}) for t in found]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(SCRIPTS)
@example("SELECT `a;b`; SELECT 1")
@example("SELECT 1 AS 😀e'a'")
@example("SELECT 1 AS a\x85; SELECT 2")
@example("SELECT 0x'AB'; SELECT 1")
def test_scripts_are_split_where_duckdb_splits_them(connection, text):
    expected = split(connection, text)
    if expected is not None:
        assert [bare(text[a:b]) for a, b in statements(text)] == [bare(s) for s in expected]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(MIXTURES)
def test_mixtures_that_duckdb_parses_are_split_where_duckdb_splits_them(connection, text):
    # DuckDB takes `$$` in a name for a quote when it looks for unusual blanks, and leaves such a blank in the name.
    assume("$" not in text or text.isascii())
    for whole in (text, f"SELECT 1; SELECT {text}; SELECT 2"):
        expected = split(connection, whole)
        if expected is not None:
            assert [bare(whole[a:b]) for a, b in statements(whole)] == [bare(s) for s in expected]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(selects())
def test_most_of_these_scripts_are_ones_that_duckdb_parses(connection, text):
    odd = ("9.9.9", "1..2", "1a", "0x1F", "\u00a0", "\u3000")  # blanks of other alphabets, at the end or after a quote
    if not any(o in text for o in odd):
        assert split(connection, text) is not None


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.one_of(MIXTURES, st.text(), st.text("'\"`$;/*-\\eE()x1 \n", max_size=30)))
def test_no_text_is_refused_and_nothing_is_lost(text):
    at, found = 0, tokens(text)
    for token in found:
        assert token.text
        assert token.depth >= 0
        assert token.start >= at
        assert tokens(text[at : token.start]) == []
        assert text[token.start : token.end] == token.text
        at = token.end
    assert tokens(text[at:]) == []
    places = [p for place in statements(text) for p in place]
    assert places == sorted(places)
    assert all(tokens(text[a:b]) for a, b in statements(text))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.text("aé😀e\u0301日_$1", min_size=1, max_size=6))
def test_names_are_what_they_are_for_duckdb(connection, name):
    try:
        columns = connection.sql(f"SELECT 1 AS {name}, 2").columns
    except duckdb.Error:
        return
    if columns[0] == name:
        assert [t.text for t in tokens(name)] == [name]
        assert tokens(name)[0].is_name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1_000 .5 5. 1e-3 5.e1", ["1_000", ".5", "5.", "1e-3", "5.e1"]),
        ("7b-model", ["7", "b", "-", "model"]),
        ("$1a $é ?2 ?a $a::INT", ["$1", "a", "$é", "?2", "?", "a", "$a", "::", "INT"]),
        ("a:=1 b::INT", ["a", ":=", "1", "b", "::", "INT"]),
        ("x'AB' xy'AB' E'\\'' nE'\\'", ["x'AB'", "xy", "'AB'", "E'\\''", "nE", "'\\'"]),
        ("$a$;$b$;$a$ a$b$c", ["$a$;$b$;$a$", "a$b$c"]),
        ("- --x\n-", ["-", "-"]),
        ("'open", ["'open"]),
        ('"open', ['"open']),
        ("`open", ["`open"]),
        ("$$open", ["$$open"]),
        ("a /* open /* */", ["a"]),
        (")(]", [")", "(", "]"]),
    ],
)
def test_tokens(text, expected):
    assert [t.text for t in tokens(text)] == expected


def test_a_quoted_name_stands_for_what_is_in_it():
    found = [(t.name, t.upper) for t in tokens('"a""b" `a``b` `a"b` SeLect "select"')]
    assert found == [('a"b', ""), ("a`b", ""), ('a"b', ""), ("SeLect", "SELECT"), ("select", "")]
