import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from deepbase.demo import grammar
from deepbase.errors import DatasetError

SQL = grammar.sql_grammar()

FIRST_QUERIES = [
    "SELECT * FROM suppliers WHERE name = 'blue' AND id < 29 GROUP BY title HAVING AVG(age) < 815",
    "SELECT COUNT(*) FROM orders JOIN products ON cities.id = orders.quantity WHERE first_name = 'Wei John' "
    "ORDER BY phone DESC LIMIT 1000",
    "SELECT DISTINCT users.address AS best FROM reviews JOIN customers ON users.country = movies.rating "
    "WHERE height < 8",
]


@pytest.fixture(scope="module")
def table():
    return grammar.sample(300, seed=3)


@pytest.mark.parametrize("name", SQL.rules)
def test_every_non_terminal_derives_something(name):
    rng = np.random.default_rng(0)
    texts = {grammar.derive(SQL, rng, start=name).text for _ in range(50)}
    assert texts - {""}
    assert set("".join(texts)) <= set(SQL.characters)


def test_every_annotated_non_terminal_is_described_and_occurs():
    table = grammar.sample(1500, seed=5)
    for name in SQL.annotated:
        assert SQL.rules[name].description, name
        assert pc.any(table[f"in_{name}"].combine_chunks().flatten()).as_py(), name


def test_a_derivation_knows_its_spans():
    rules = grammar.parse('list: items\n    1 item | 1 item "," list\nitem: one\n    1 "a" | 1 "bc"\n')
    rng = np.random.default_rng(0)
    for derivation in (grammar.derive(rules, rng) for _ in range(50)):
        items = [derivation.text[start:end] for name, start, end in derivation.spans if name == "item"]
        assert items == derivation.text.split(",")
        lists = [derivation.text[start:end] for name, start, end in derivation.spans if name == "list"]
        assert lists == [",".join(items[-n:]) for n in range(1, len(items) + 1)]


def test_the_probability_of_a_derivation_is_that_of_its_alternatives():
    rules = grammar.parse('s\n    3 "a" | 1 t\nt\n    1 "b" | 1 "c"\n')
    rng = np.random.default_rng(0)
    found = {d.text: np.exp(d.log_probability) for d in (grammar.derive(rules, rng) for _ in range(200))}
    assert found == pytest.approx({"a": 0.75, "b": 0.125, "c": 0.125})


def test_alternatives_are_taken_as_often_as_they_weigh():
    rules = grammar.parse('s\n    3 "a" | 1 "b"\n')
    rng = np.random.default_rng(1)
    texts = [grammar.derive(rules, rng).text for _ in range(4000)]
    assert texts.count("a") / 4000 == pytest.approx(0.75, abs=0.03)


def test_queries_are_distinct_and_of_bearable_length(table):
    texts = table["text"].to_pylist()
    assert len(set(texts)) == len(texts) == 300
    assert all(grammar.SHORTEST <= len(text) <= grammar.LONGEST for text in texts)


def test_one_seed_gives_one_sample_and_more_records_begin_with_the_same():
    assert grammar.sample(40, seed=1).equals(grammar.sample(40, seed=1))
    assert grammar.sample(40, seed=1).equals(grammar.sample(60, seed=1).slice(0, 40))
    assert grammar.sample(40, seed=1)["text"] != grammar.sample(40, seed=2)["text"]


def test_a_seed_gives_the_same_queries_everywhere():
    assert grammar.sample(3, seed=0)["text"].to_pylist() == FIRST_QUERIES


def test_batches_give_the_rows_of_the_sample():
    records = grammar.BATCH + 10
    batches = list(grammar.batches(records, seed=4))
    assert [batch.num_rows for batch in batches] == [grammar.BATCH, 10]
    assert pa.Table.from_batches(batches).equals(grammar.sample(records, seed=4))


def test_no_records_are_an_empty_table():
    assert grammar.sample(0).num_rows == 0
    assert grammar.sample(0).schema == grammar.sample(2).schema


def test_duckdb_parses_every_query(table):
    with duckdb.connect() as connection:
        for text in table["text"].to_pylist():
            (statement,) = connection.extract_statements(text)
            assert statement.type == duckdb.StatementType.SELECT


def test_every_annotation_has_one_value_per_character(table):
    lengths = pc.utf8_length(table["text"])
    assert table.column_names == ["text", *grammar.HYPOTHESES]
    for name in grammar.HYPOTHESES:
        assert pc.list_value_length(table[name]).equals(lengths.cast("int32")), name
        assert table[name].combine_chunks().flatten().null_count == 0, name


def test_annotations_of_a_query_can_be_read_off_it(table):
    for row in table.slice(0, 100).to_pylist():
        text = row["text"]
        assert row["in_where_clause"].count(True) == 0 or " WHERE " in text
        assert row["keyword"][:6] == [True] * 6
        assert row["in_select_clause"].index(True) == row["select_clause_start"].index(True) == 0
        for at, character in enumerate(text):
            assert not (row["keyword"][at] and not character.isupper())
            assert not (row["identifier"][at] and character.isupper())
            assert row["literal"][at] >= (character == "'")
            assert (row["depth"][at] > 0) == (text[:at].count("(") + (character == "(") > text[:at].count(")"))
            assert row["keyword"][at] + row["identifier"][at] + row["literal"][at] <= 1
            assert row["char_class"][at] in grammar.CHARACTER_CLASSES


def test_depth_counts_open_parentheses():
    (batch,) = grammar.batches(200, seed=3)
    row = next(r for r in batch.to_pylist() if max(r["depth"]) == 2)
    depth = 0
    for character, annotated in zip(row["text"], row["depth"], strict=True):
        depth += character == "("
        assert annotated == depth
        depth -= character == ")"
    assert depth == 0


@pytest.mark.parametrize("name", SQL.annotated)
def test_a_non_terminal_is_annotated_from_its_start_to_its_end(table, name):
    for row in table.slice(0, 100).select([f"in_{name}", f"{name}_start", f"{name}_end"]).to_pylist():
        inside, start, end = row.values()
        assert sum(start) == 0 or start.index(True) == inside.index(True)
        assert any(inside) == any(start) == any(end)
        assert not any((a or b) and not c for a, b, c in zip(start, end, inside, strict=True))
        rises = [i for i, value in enumerate(inside) if value and not (i and inside[i - 1])]
        assert all(start[i] for i in rises)


def test_hypotheses_are_described():
    assert list(grammar.HYPOTHESES)[:3] == ["keyword", "identifier", "literal"]
    assert grammar.HYPOTHESES["in_where_clause"] == "inside WHERE and its condition"
    assert grammar.HYPOTHESES["string_end"] == "the last character of a text in quotes"


def test_an_unknown_name_of_the_module_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'HYPOTHESIS'"):
        _ = grammar.HYPOTHESIS


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "g: there is no rule. Write a non-terminal and its alternatives."),
        ('    1 "a"', "g, line 1: an alternative of no non-terminal. Write its name above, unindented."),
        ("two words", "g, line 1: 'two words' is no non-terminal. Write a name, or 'name: what it is'."),
        ("a\n", "g: 'a' has no alternative. Write one below it, indented."),
        ('a\n    1 "x"\na\n    1 "y"', "g, line 3: 'a' is defined a second time. Put its alternatives together."),
        ("a\n    1 bb\nbc\n    1 a", "g: 'a' uses 'bb'. Did you mean 'bc'?"),
        ('a\n    1 "x"\nb\n    1 "y"', "g: nothing uses 'b'. Use it in an alternative, or delete it."),
        ("a\n    1 'x'", 'g, line 2: cannot read "\'x\'". Write weights, names, "characters" and |.'),
        *(
            (
                f"# why\na\n    {line}",
                'g, line 3: an alternative is a weight above 0 and what it expands to. Nothing is written "".',
            )
            for line in ('"x"', "1", '0 "x"', '1 "x" |', '1 "x" 2 "y"')
        ),
        (
            'a\n    1 a a | 1 "x"',
            "g: a query may never end (spectral radius 1.00, below 1 is needed). "
            "Give the alternatives that do not recur more weight.",
        ),
    ],
)
def test_a_bad_grammar_says_what_is_wrong_and_where(source, message):
    with pytest.raises(DatasetError) as error:
        grammar.parse(source, "g")
    assert str(error.value) == message


def test_a_grammar_of_few_queries_says_when_there_are_no_more():
    few = grammar.parse(f'a\n    1 "{"x" * 40}" | 1 "{"y" * 40}" | 1 "short"')
    with pytest.raises(DatasetError) as error:
        list(grammar.derivations(0, few))
    assert str(error.value) == ("The grammar seems to have only 2 queries of 30 to 150 characters. Ask for fewer.")
