"""What a user sees when a dataset is registered: the table, its columns, and every way in which a source can be bad."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pytest

from deepbase.blocks import Column
from deepbase.errors import DatasetError
from deepbase.inputs.readers import ingest

Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return to


def rows(con: duckdb.DuckDBPyConnection, columns: str = "*") -> list[tuple[Any, ...]]:
    return con.execute(f"SELECT {columns} FROM t ORDER BY record").fetchall()


def failure(con: duckdb.DuckDBPyConnection, source: Any, **options: Any) -> str:
    """The message; the same without and within a transaction, and nothing is left of either."""
    messages = []
    for inside in (False, True):
        if inside:
            con.execute("BEGIN")
        with pytest.raises(DatasetError) as caught:
            ingest(con, "t", source() if callable(source) else source, **options)
        if inside:
            con.execute("ROLLBACK")
        messages.append(str(caught.value))
        left = con.execute("SELECT table_name FROM information_schema.tables WHERE table_name <> 'mine'").fetchall()
        assert left == []
    assert messages[0] == messages[1]
    return messages[0]


# ---------------------------------------------------------------------------------------------------- files


def test_text_file_is_a_record_a_line_without_blank_lines(con: duckdb.DuckDBPyConnection, write: Write) -> None:
    path = write("a.txt", "\ufeffone \r\n\r\n   \ntwo\twords\n\u3000\nlast")
    info = ingest(con, "t", path)
    assert rows(con) == [(0, "one "), (1, "two\twords"), (2, "last")]
    assert info.records == 3
    assert info.columns == ()
    assert info.source == str(path)


def test_csv_keeps_its_own_columns(con: duckdb.DuckDBPyConnection, write: Write) -> None:
    path = write("a.csv", 'label,Sentence,genre\n1,"He said ""no"", twice",news\n0,# not a comment,web\n1,x,web\n')
    info = ingest(con, "t", str(path))
    assert rows(con) == [(0, 'He said "no", twice', 1, "news"), (1, "# not a comment", 0, "web"), (2, "x", 1, "web")]
    assert info.columns == (
        Column("label", "record", "number", integer=True),
        Column("genre", "record", "category", ("web", "news")),
    )


def test_csv_with_other_delimiters_and_line_breaks_in_quotes(con: duckdb.DuckDBPyConnection, write: Write) -> None:
    ingest(con, "t", write("a.csv", 'label;text\n1;"a, b\nc"\n2;d, e\n'))
    assert rows(con, "text") == [("a, b\nc",), ("d, e",)]


def test_csv_cannot_tell_an_empty_text_from_none(con: duckdb.DuckDBPyConnection, write: Write) -> None:
    ingest(con, "t", write("a.csv", 'label,text\n1,\n2,""\n'))
    assert rows(con, "text") == [("",), ("",)]


def test_csv_text_that_looks_like_dates_stays_as_written(con: duckdb.DuckDBPyConnection, write: Write) -> None:
    ingest(con, "t", write("a.csv", "text,n\n2020-1-01,1\n007,2\n"))
    assert rows(con, "text") == [("2020-1-01",), ("007",)]


def test_csv_types_come_from_the_whole_file(con: duckdb.DuckDBPyConnection, write: Write) -> None:
    path = write("a.csv", "label,text\n" + "1,a\n" * 30_000 + "maybe,b\n")
    assert ingest(con, "t", path).columns == (Column("label", "record", "category", ("1", "maybe")),)


def test_csv_with_an_index_column_without_a_name(con: duckdb.DuckDBPyConnection, write: Write) -> None:
    ingest(con, "t", write("a.csv", ",text\n0,a\n1,b\n"))
    assert rows(con, "text") == [("a",), ("b",)]


def test_tsv_takes_quotes_for_text_where_they_are_not_csv(con: duckdb.DuckDBPyConnection, write: Write) -> None:
    ingest(con, "t", write("a.tsv", 'sentence\tlabel\n"no end\t1\nhe said "x"\t0\n'))
    assert rows(con, "text, label") == [('"no end', 1), ('he said "x"', 0)]


def test_file_names_with_wildcards_are_names(con: duckdb.DuckDBPyConnection, write: Write) -> None:
    write("ab.csv", "text\nwrong\n")
    ingest(con, "t", write("a[b]*?.csv", "text\nright\n"))
    assert rows(con) == [(0, "right")]


def test_json_lines_with_annotations_of_words(con: duckdb.DuckDBPyConnection, write: Write) -> None:
    path = write("a.jsonl", '{"text": "a  b", "pos": ["X", "Y"]}\n{"text": "c", "pos": null}\n')
    info = ingest(con, "t", path)
    assert rows(con) == [(0, "a  b", ["X", "Y"]), (1, "c", None)]
    assert info.columns == (Column("pos", "word", "category", ("X", "Y")),)


def test_json_array(con: duckdb.DuckDBPyConnection, write: Write) -> None:
    ingest(con, "t", write("a.json", '[{"text": "a"},\n {"text": "b"}]'))
    assert rows(con) == [(0, "a"), (1, "b")]


def test_parquet_of_many_row_groups_keeps_its_order(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    con.execute(f"COPY (SELECT 's' || range AS text FROM range(50000)) TO '{path}' (ROW_GROUP_SIZE 2048)")
    con.execute("SET preserve_insertion_order = false")
    assert ingest(con, "t", path).records == 50_000
    assert con.execute("SELECT count(*) FROM t WHERE text = 's' || record").fetchall() == [(50_000,)]
    assert con.execute("SELECT current_setting('preserve_insertion_order')").fetchall() == [(False,)]


def test_fingerprint_of_a_file_is_its_content(con: duckdb.DuckDBPyConnection, write: Write) -> None:
    content = "text,other\na,b\n"
    info = ingest(con, "t", write("a.csv", content))
    assert info.fingerprint == hashlib.sha256(content.encode()).hexdigest()
    con.execute("DROP TABLE t")
    other = write("b.csv", "text_,other\na,b\n")
    first = ingest(con, "t", other, text="text_")
    con.execute("DROP TABLE t")
    second = ingest(con, "t", other, text="other")
    assert first.fingerprint != second.fingerprint


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "latin.txt",
            b"ok\ncaf\xe9\n",
            "'{path}' is not UTF-8: line 2 has the byte 0xE9. Convert it: iconv -f WINDOWS-1252 -t UTF-8 'latin.txt' > "
            "'utf8-latin.txt'. Or name the encoding that it really has.",
        ),
        (
            "wide.csv",
            "text\na\n".encode("utf-16"),
            "'{path}' is UTF-16, not UTF-8. Convert it: iconv -f UTF-16 -t UTF-8 'wide.csv' > 'utf8-wide.csv'.",
        ),
        (
            "cut.txt",
            b"ok\ncaf\xc3",
            "'{path}' is not UTF-8: line 2 has the byte 0xC3. Convert it: iconv -f WINDOWS-1252 -t UTF-8 'cut.txt' > "
            "'utf8-cut.txt'. Or name the encoding that it really has.",
        ),
        (
            "nul.txt",
            b"ok\nno\0\n",
            "'{path}' has a NUL byte in line 2. Is it a text file? Remove the NUL bytes.",
        ),
        ("none.csv", "", "'{path}' is empty"),
        ("blank.txt", "\n \n", "'blank.txt' has no records"),
        ("header.csv", "text,label\n", "'header.csv' has no records"),
        (
            "ragged.csv",
            "text,label\na,1\nb\nc,2\n",
            "'{path}' is malformed: line 3 has 1 columns, the header has 2. Quote values that contain the delimiter, "
            "a quote or a line break, and double the quotes inside.",
        ),
        (
            "open.csv",
            'text,label\na,1\n"b,1\nc,2\n',
            "'{path}' is malformed: line 3 has a quote that is not closed, or text after the closing one. Quote values "
            "that contain the delimiter, a quote or a line break, and double the quotes inside.",
        ),
        (
            "headless.csv",
            "some words,1\nother words,2\n",
            "'headless.csv' seems to have no header: its first line is no line of names. Write a first line that names "
            "the columns.",
        ),
        (
            "bad.jsonl",
            '{"text": "a"}\n{"text": \n',
            "'bad.jsonl' cannot be read: Malformed JSON in file \"{path}\", at byte 11 in line 3: unexpected end of "
            "data",
        ),
        (
            "nul.json",
            '[{"text": "a"}, {"text": "a\\u0000"}]',
            "'nul.json', record 1: its text has a NUL character. Remove it.",
        ),
        (
            "bad.parquet",
            "PAR1" * 9,
            "'bad.parquet' cannot be read: ",
        ),
        (
            "x.docx",
            "text",
            "'{path}' is of no kind that can be read. Give it the extension that fits its content: .txt .csv .tsv "
            ".jsonl .ndjson .json .parquet .conllu.",
        ),
    ],
)
def test_bad_file(con: duckdb.DuckDBPyConnection, write: Write, name: str, content: str, message: str) -> None:
    path = write(name, content)
    found = failure(con, path)
    expected = message.replace("{path}", str(path))
    assert found.startswith(expected) if message.endswith(": ") else found == expected


def test_truncated_parquet(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    con.execute(f"COPY (SELECT 'a' AS text) TO '{path}'")
    path.write_bytes(path.read_bytes()[:-20])
    assert failure(con, path) == f"'a.parquet' cannot be read: No magic bytes found at end of file '{path}'"


def test_missing_file_names_the_nearest(con: duckdb.DuckDBPyConnection, write: Write) -> None:
    folder = write("reviews.csv", "text\n").parent
    missing = folder / "review.csv"
    assert failure(con, str(missing)) == f"There is no file '{missing}'. Did you mean 'reviews.csv'?"
    other = folder / "zzzzzzzzzzzz"
    assert failure(con, other) == f"There is no file '{other}'. In '{folder}' there are: reviews.csv."
    nowhere = folder / "no" / "x.csv"
    assert failure(con, nowhere) == f"There is no file '{nowhere}'. There is no directory '{folder / 'no'}' either."


def test_directory(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    kinds = ".txt .csv .tsv .jsonl .ndjson .json .parquet .conllu"
    assert failure(con, tmp_path) == f"'{tmp_path}' is a directory. Name one file in it: {kinds}."


# ---------------------------------------------------------------------------------------------------- other sources


def test_query_sees_the_tables_of_its_connection(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("CREATE TEMP TABLE mine AS SELECT 'a' || range AS body, range % 2 = 0 AS even FROM range(3)")
    query = "SELECT * FROM mine ORDER BY body DESC; -- backwards"
    info = ingest(con, "t", query)
    assert rows(con) == [(0, "a2", True), (1, "a1", False), (2, "a0", True)]
    assert info.source == query
    assert info.columns == (Column("even", "record", "boolean"),)


def test_query_on_another_connection(con: duckdb.DuckDBPyConnection) -> None:
    with duckdb.connect() as other:
        other.execute("CREATE TABLE theirs AS SELECT 'a' AS text")
        ingest(con, "t", "FROM theirs", query_con=other)
        assert rows(con) == [(0, "a")]
        con.execute("DROP TABLE t")
        assert failure(con, "FROM nothing", query_con=other) == (
            "the query cannot be read: Table with name nothing does not exist!"
        )
        assert failure(con, "SELECT error('bad luck')::VARCHAR AS text", query_con=other) == (
            "the query cannot be read: bad luck"
        )


FRAME = {"text": ["a", "b"], "score": [0.5, None]}


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (lambda: pa.table(FRAME), "arrow table"),
        (lambda: pa.table(FRAME).to_reader(), "arrow reader"),
        (lambda: pa.dataset.dataset(pa.table(FRAME)), "pyarrow InMemoryDataset"),
        (lambda: pd.DataFrame(FRAME), "pandas DataFrame"),
        (lambda: [{"text": "a", "score": 0.5}, {"text": "b"}], "list"),
    ],
)
def test_data_in_memory(con: duckdb.DuckDBPyConnection, source: Callable[[], Any], name: str) -> None:
    info = ingest(con, "t", source())
    assert [row[:2] for row in rows(con)] == [(0, "a"), (1, "b")]
    assert rows(con, "score")[0] == (0.5,)
    assert info.source == name
    assert info.columns == (Column("score", "record", "number"),)


def test_list_of_texts(con: duckdb.DuckDBPyConnection) -> None:
    assert ingest(con, "t", ["a", "", "b"]).records == 3
    assert rows(con) == [(0, "a"), (1, ""), (2, "b")]


def test_fingerprint_of_rows_knows_their_order_and_names(con: duckdb.DuckDBPyConnection) -> None:
    def fingerprint(source: Any) -> str:
        info = ingest(con, "t", source)
        con.execute("DROP TABLE t")
        return info.fingerprint

    same = fingerprint([{"text": "a", "n": 1}, {"text": "b", "n": 2}])
    assert same == fingerprint("SELECT * FROM (VALUES ('a', 1::BIGINT), ('b', 2)) v(text, n)")
    assert same != fingerprint([{"text": "b", "n": 2}, {"text": "a", "n": 1}])
    assert same != fingerprint([{"text": "a", "m": 1}, {"text": "b", "m": 2}])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("SELECT 1 AS", 'the query cannot be read: syntax error at or near "AS"'),
        ("SELECT 'a' AS text; SELECT 2", "A dataset is one query, not several statements. Pass one SELECT."),
        ("SELECT 'a' AS text WHERE false", "the query has no records"),
        (
            "SELECT 1 AS a, 'x' AS b, 'y' AS c",
            "the query does not say which of its columns is the text: a (INTEGER), b (VARCHAR), c (VARCHAR). Say it: "
            "text='...' in Python, --text ... on the command line.",
        ),
        (
            "SELECT 1 AS text, 'x' AS b",
            "the column 'text' of the query is INTEGER, not text. Say which column is the text: text='...' in Python, "
            "--text ... on the command line.",
        ),
        (
            "SELECT NULL::VARCHAR AS text UNION ALL SELECT 'a'",
            "the query, record 0: its text is NULL. Leave such records out: SELECT ... WHERE text IS NOT NULL.",
        ),
        (
            "SELECT 'a' AS text, 2 AS \"End\"",
            "the query has a column 'End', a name that DeepBase needs for its own tables. Rename it or leave it out, "
            'for example with a query: SELECT * RENAME ("End" AS end_) FROM ...',
        ),
        ([], "the list has no records"),
        (
            ["\ud800"],
            "the values of the list do not make columns: 'utf-8' codec can't encode character '\\ud800' in position 0: "
            "surrogates not allowed",
        ),
        (
            [{"text": "a", "n": 1}, {"text": "b", "n": "x"}],
            "the values of the list do not make columns: Could not convert 'x' with type str: tried to convert to "
            "int64",
        ),
        ([1], "the list is neither of texts nor of dictionaries: item 0 is of type int"),
        (["a", 1], "the list is neither of texts nor of dictionaries: item 1 is of type int"),
        (
            object(),
            "an object of type object is no dataset. Pass a path, a query, an Arrow table or reader, a data frame, "
            "a list of texts or a list of dictionaries.",
        ),
        (
            "SELECT 'a b' AS text, ['b', 'a'] AS words",
            "the query, record 0: word 1 of column 'words' 'a' is not in the text after the words in front of it. "
            "Words are found in the text one after another; correct them, or leave the column out.",
        ),
        (
            "SELECT 'a b' AS text, ['b', NULL] AS words",
            "the query, record 0: word 1 of column 'words' is NULL or empty. Words are found in the text one after "
            "another; correct them, or leave the column out.",
        ),
        (
            "SELECT 'a b c d e' AS text, CASE range WHEN 3 THEN [1, 2, 3, 4] ELSE [1, 2, 3, 4, 5] END AS pos "
            "FROM range(5)",
            "the query, record 3: column 'pos' has 4 values for 5 words. Most records have one value per word; correct "
            "this one, or leave the column out.",
        ),
        (
            "SELECT 'é b' AS text, CASE range WHEN 0 THEN [true] ELSE [true, false, true] END AS vowel FROM range(5)",
            "the query, record 0: column 'vowel' has 1 values for 3 characters. Most records have one value per "
            "character; correct this one, or leave the column out.",
        ),
    ],
)
def test_bad_source(con: duckdb.DuckDBPyConnection, source: Any, message: str) -> None:
    assert failure(con, source) == message


def test_reader_that_fails(con: duckdb.DuckDBPyConnection) -> None:
    def reader() -> pa.RecordBatchReader:
        def batches() -> Iterator[pa.RecordBatch]:
            yield pa.record_batch({"text": ["a"]})
            raise ValueError("the disk is on fire")

        return pa.RecordBatchReader.from_batches(pa.schema({"text": pa.string()}), batches())

    assert failure(con, reader) == "the arrow reader cannot be read: the disk is on fire"


def test_chosen_text_column(con: duckdb.DuckDBPyConnection, write: Write) -> None:
    path = write("a.csv", "premise,claim\na,b\n")
    ingest(con, "t", path, text="Claim")
    assert rows(con) == [(0, "b", "a")]
    con.execute("DROP TABLE t")
    assert failure(con, path, text="claims") == "'a.csv' has no column 'claims'. Did you mean 'claim'?"
    query = "SELECT 'a' AS text, 1 AS n"
    assert failure(con, query, text="n") == "the column 'n' of the query is INTEGER, not text. Name a column of text."


# ---------------------------------------------------------------------------------------------------- annotations


def test_given_words_are_found_in_the_text(con: duckdb.DuckDBPyConnection) -> None:
    info = ingest(con, "t", [{"text": "«no» no🙂!", "tokens": ["no", "no", "🙂"], "pos": ["A", "B", "C"]}])
    assert rows(con, "text, word, word_start, word_end, pos") == [
        ("«no» no🙂!", ["no", "no", "🙂"], [1, 5, 7], [3, 7, 8], ["A", "B", "C"])
    ]
    assert info.columns == (Column("pos", "word", "category", ("A", "B", "C")),)


def test_words_without_text_are_joined(con: duckdb.DuckDBPyConnection) -> None:
    ingest(con, "t", [{"genre": "x", "words": ["New York", "is"]}, {"genre": "y", "words": []}])
    assert rows(con, "text, word_start, word_end") == [("New York is", [0, 9], [8, 11]), ("", [], [])]


def test_levels_of_lists(con: duckdb.DuckDBPyConnection) -> None:
    query = "SELECT 'ab\u00a0c' AS text, ['X', 'Y'] AS w, [1, 2, 3, 4] AS c, [1.5] AS s, NULL::BOOLEAN[] AS n"
    assert ingest(con, "t", query).columns == (
        Column("w", "word", "category", ("X", "Y")),
        Column("c", "character", "number", integer=True),
        Column("s", "symbol", "number"),
        Column("n", "word", "boolean"),
    )


def test_arrays_are_lists_and_times_their_text(con: duckdb.DuckDBPyConnection) -> None:
    query = "SELECT 'a b' AS text, [1, 2]::UTINYINT[2] AS a, TIMESTAMPTZ '2020-01-02 00:00:00+00' AS at, {'x': 1} AS o"
    con.execute("SET TimeZone = 'UTC'")
    info = ingest(con, "t", query)
    assert rows(con) == [(0, "a b", [1, 2], "2020-01-02 00:00:00+00", {"x": 1})]
    assert info.columns == (
        Column("a", "word", "number", integer=True),
        Column("at", "record", "category", ("2020-01-02 00:00:00+00",)),
    )


def test_values_are_sorted_by_frequency_then_name_and_no_more_than_a_thousand(con: duckdb.DuckDBPyConnection) -> None:
    query = """
        SELECT 'a' AS text, CASE WHEN range < 3 THEN 'z' WHEN range < 6 THEN 'b' END AS few,
            'v' || range % 1000 AS thousand, 'v' || range % 1001 AS more, 'v' || range AS many
        FROM range(6000)"""
    found = {column.name: column.values for column in ingest(con, "t", query).columns}
    assert found["few"] == ("b", "z")
    assert len(found["thousand"] or ()) == 1000
    assert found["more"] is None
    assert found["many"] is None
