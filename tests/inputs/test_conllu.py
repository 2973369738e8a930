"""What a user sees of a CoNLL-U file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from deepbase.blocks import Column
from deepbase.errors import DatasetError
from deepbase.inputs.base import DatasetInfo
from deepbase.inputs.readers import ingest

HINT = "CoNLL-U has ten columns between tabs, and an empty line after each sentence."


def line(number: str, form: str, **fields: str) -> str:
    names = ("lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
    return "\t".join([number, form, *(fields.get(name, "_") for name in names)])


def sentence(*lines: str) -> str:
    return "\n".join(lines) + "\n\n"


def read(tmp_path: Path, text: str, columns: str = "*") -> tuple[DatasetInfo, list[tuple[Any, ...]]]:
    path = tmp_path / "a.conllu"
    path.write_text(text, encoding="utf-8")
    with duckdb.connect() as con:
        info = ingest(con, "t", path)
        return info, con.execute(f"SELECT {columns} FROM t ORDER BY record").fetchall()


SPANS = "text, word, word_start, word_end"


def test_sentence_with_all_its_columns(tmp_path: Path) -> None:
    noun = {"lemma": "cat", "upos": "NOUN", "xpos": "NNS", "feats": "Animacy=Anim|Number=Plur", "head": "2"}
    verb = {"lemma": "sleep", "upos": "VERB", "head": "0", "deprel": "root"}
    text = sentence(
        "# newdoc id = d1",
        "# sent_id = s1",
        "# text = Cats sleep",
        line("1", "Cats", **noun, deprel="nsubj"),
        line("2", "sleep", **verb),
    )
    info, rows = read(tmp_path, text + sentence("# text = Yes", line("1", "Yes", feats="Number=Plur")))
    lists = (["cat", "sleep"], ["NOUN", "VERB"], ["NNS", None], ["Animacy=Anim|Number=Plur", ""], [2, 0])
    assert rows[0] == (0, "Cats sleep", "s1", "d1", ["Cats", "sleep"], [0, 5], [4, 10], *lists, ["nsubj", "root"])
    assert rows[1][1:5] == ("Yes", None, "d1", ["Yes"])
    assert info.records == 2
    assert {column.name: column for column in info.columns}["feats"] == Column(
        "feats", "word", "category", ("Number=Plur", "Animacy=Anim"), multiple=True
    )
    assert [(c.name, c.level, c.kind) for c in info.columns] == [
        ("sent_id", "record", "category"),
        ("doc_id", "record", "category"),
        ("lemma", "word", "category"),
        ("upos", "word", "category"),
        ("xpos", "word", "category"),
        ("feats", "word", "category"),
        ("head", "word", "number"),
        ("deprel", "word", "category"),
    ]


def test_words_of_a_multiword_token_share_out_its_characters(tmp_path: Path) -> None:
    text = sentence(
        "# text = Vengo del mar, don't",
        line("1", "Vengo"),
        line("2-3", "del"),
        line("2", "de"),
        line("3", "el"),
        line("4", "mar", misc="SpaceAfter=No"),
        line("5", ","),
        line("6-7", "don't"),
        line("6", "do"),
        line("7", "n't"),
    )
    words = ["Vengo", "de", "el", "mar", ",", "do", "n't"]
    assert read(tmp_path, text, SPANS)[1] == [
        ("Vengo del mar, don't", words, [0, 6, 8, 10, 13, 15, 17], [5, 8, 9, 13, 14, 17, 20])
    ]


def test_empty_nodes_are_no_words(tmp_path: Path) -> None:
    text = sentence("# text = a b", line("1", "a"), line("1.1", "ghost"), line("2", "b"))
    assert read(tmp_path, text, SPANS)[1] == [("a b", ["a", "b"], [0, 2], [1, 3])]


def test_text_is_spelled_from_the_forms_where_it_is_missing(tmp_path: Path) -> None:
    glued = "Gloss=x|SpaceAfter=No"
    text = sentence(
        line("1", "«", misc=glued),
        line("2-3", "don't", misc="SpaceAfter=No"),
        line("2", "do"),
        line("3", "n't"),
        line("4", "»"),
        line("5", "🙂"),
    )
    assert read(tmp_path, text, SPANS)[1] == [
        ("«don't» 🙂", ["«", "do", "n't", "»", "🙂"], [0, 1, 3, 6, 8], [1, 3, 6, 7, 9])
    ]


def test_forms_with_spaces_and_literal_underscores(tmp_path: Path) -> None:
    text = sentence("# text = 1 000 _", line("1", "1 000"), line("2", "_", lemma="_"))
    assert read(tmp_path, text, f"{SPANS}, lemma")[1] == [("1 000 _", ["1 000", "_"], [0, 6], [5, 7], [None, "_"])]


def test_comments_alone_are_no_sentence_and_line_breaks_may_be_those_of_windows(tmp_path: Path) -> None:
    text = sentence("# a licence") + sentence("# text = a", line("1", "a")).replace("\n", "\r\n")
    assert read(tmp_path, text, SPANS)[1] == [("a", ["a"], [0], [1])]


def test_many_sentences_keep_their_order(tmp_path: Path) -> None:
    text = "".join(sentence(f"# sent_id = {i}", line("1", f"w{i}")) for i in range(1200))
    _, rows = read(tmp_path, text, "record, sent_id, text")
    assert rows == [(i, str(i), f"w{i}") for i in range(1200)]


GOOD = sentence("# text = a", line("1", "a"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            GOOD + sentence("# sent_id = s2", "# text = a b", line("1", "a"), line("2", "c")),
            "'a.conllu', sentence 's2' (line 4): the form 'c' is not in the text where it should be. Correct the form "
            "or the '# text' comment.",
        ),
        (
            GOOD + sentence("# text = a", line("x", "a")),
            f"'a.conllu', line 5 is malformed: Failed parsing field 'id': 'x' is not a valid ID. {HINT}",
        ),
        (
            GOOD + sentence("hello"),
            "'a.conllu', line 4 is malformed: Invalid line format, line must contain either tabs or two spaces. "
            + HINT,
        ),
        (
            GOOD + sentence(line("1", "a", head="up")),
            "'a.conllu', line 4 is malformed: Failed parsing field 'head': 'up' is not a valid value for "
            f"parse_int_value. {HINT}",
        ),
        (
            sentence(line("1", "a"), "2\tb\tb"),
            f"'a.conllu', sentence at line 1: the line of 'b' has 3 columns, not ten. {HINT}",
        ),
        (
            sentence(line("1", "a"), line("3", "b")),
            f"'a.conllu', sentence at line 1: the id 3 stands where 2 should. {HINT}",
        ),
        (
            sentence(line("1-2", "ab"), line("1", "a")),
            f"'a.conllu', sentence at line 1: the words up to 2 of a multiword token are missing. {HINT}",
        ),
        ("# nothing\n", "'a.conllu' has no records"),
    ],
)
def test_bad_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DatasetError) as caught:
        read(tmp_path, text)
    assert str(caught.value) == message


def test_a_failure_leaves_the_transaction_usable(tmp_path: Path) -> None:
    path = tmp_path / "a.conllu"
    path.write_text(GOOD + "nonsense\n")
    with duckdb.connect() as con:
        con.execute("BEGIN")
        with pytest.raises(DatasetError):
            ingest(con, "t", path)
        con.execute("CREATE TABLE t AS SELECT 1")
        con.execute("COMMIT")


def test_choosing_a_text_column_makes_no_sense(tmp_path: Path) -> None:
    path = tmp_path / "a.conllu"
    path.write_text(GOOD)
    with duckdb.connect() as con, pytest.raises(DatasetError) as caught:
        ingest(con, "t", path, text="lemma")
    assert str(caught.value) == "'a.conllu' is CoNLL-U, whose text needs no column. Leave text='lemma' out."
