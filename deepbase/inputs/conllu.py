"""CoNLL-U: sentences, their words and where each of them stands in the text.

The `conllu` package parses; this module turns a sentence into a record. Its text is `# text`, or where there is none
the forms with a space after each that does not say `SpaceAfter=No`. Words are the syntactic words, found in the text
one after another. The words of a multiword token (`1-2  del`) share out its characters: exactly where their forms
spell it, else in proportion to their lengths (`de` + `el`). Empty nodes (`8.1`) are no words. A block of comments
without a word is no sentence.

An underscore means that there is no value; `feats` is then the empty text, since having no feature is a value. A form
is never missing: `_` is the form of an underscore, and its lemma.

The columns are fixed, so that a file is read in one pass: `sent_id`, `doc_id` (of the last `# newdoc`), and for each
word its form, span, lemma, upos, xpos, feats, head and deprel. Other comments, `deps` and `misc` are left out.
Memory: `BATCH` sentences.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import conllu
import pyarrow as pa

from deepbase.errors import DatasetError
from deepbase.inputs import words

BATCH = 512
MULTIPLE = frozenset({"feats"})

LISTS = {
    "lemma": pa.string(),
    "upos": pa.string(),
    "xpos": pa.string(),
    "feats": pa.string(),
    "head": pa.int32(),
    "deprel": pa.string(),
}
SCHEMA = pa.schema(
    {
        "text": pa.string(),
        "sent_id": pa.string(),
        "doc_id": pa.string(),
        "word": pa.list_(pa.string()),
        "word_start": pa.list_(pa.int32()),
        "word_end": pa.list_(pa.int32()),
        **{name: pa.list_(kind) for name, kind in LISTS.items()},
    }
)
_HINT = "CoNLL-U has ten columns between tabs, and an empty line after each sentence."


def batches(path: Path) -> Iterator[pa.RecordBatch]:
    """The sentences of a file, in its order, as batches of `SCHEMA`.

    Raises:
        DatasetError: a line is malformed, or a word is not in the text.
    """
    rows: list[dict[str, Any]] = []
    document = None
    for line, sentence in _sentences(path):
        document = sentence.metadata.get("newdoc id", None if "newdoc" in sentence.metadata else document)
        row = _record(sentence, f"{path.name!r}, sentence {_name(sentence, line)}")
        if row is not None:
            rows.append({**row, "doc_id": document})
        if len(rows) == BATCH:
            yield pa.RecordBatch.from_pylist(rows, schema=SCHEMA)
            rows = []
    if rows:
        yield pa.RecordBatch.from_pylist(rows, schema=SCHEMA)


def _name(sentence: Any, line: int) -> str:
    known = sentence.metadata.get("sent_id")
    return f"{known!r} (line {line})" if known else f"at line {line}"


def _sentences(path: Path) -> Iterator[tuple[int, Any]]:
    """The parsed sentences with the number of the line at which each begins."""
    begins = [0]  # where the sentence began that the parser is collecting

    def lines() -> Iterator[str]:
        inside = False
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip() and not inside:
                    begins[0] = number
                inside = bool(line.strip())
                # The parser takes two spaces for a tab, but inside a column they are text.
                yield line if line.startswith("#") or "\t" not in line else _one_space(line)

    for text in conllu.parse_sentences(lines()):
        try:
            yield begins[0], _parse(text)
        except conllu.exceptions.ParseException as error:
            line, why = _fault(text, begins[0], error)
            raise DatasetError(f"{path.name!r}, line {line} is malformed: {why}", _HINT) from None


def _one_space(line: str) -> str:
    while "  " in line:
        line = line.replace("  ", " ")
    return line


def _parse(text: str) -> Any:
    return conllu.parse_token_and_metadata(text, field_parsers=_PARSERS)


def _verbatim(line: list[str], column: int) -> str:
    return line[column]


_PARSERS = dict.fromkeys(("xpos", "feats", "deps", "misc"), _verbatim)


def _fault(text: str, begins: int, error: Exception) -> tuple[int, str]:
    """The line of a sentence that does not parse, and why."""
    for number, line in enumerate(text.split("\n"), begins):
        try:
            _parse(line)
        except conllu.exceptions.ParseException as fault:
            return number, str(fault).rstrip(".")
    return begins, str(error).rstrip(".")


def _record(sentence: Any, where: str) -> dict[str, Any] | None:
    """A row of `SCHEMA` without its document; None where there is no word."""
    tokens = [_checked(token, where) for token in sentence if not _is_empty(token)]
    if not tokens:
        return None
    surfaces = _surfaces(tokens, where)
    text = sentence.metadata.get("text") or _spell(surfaces)
    places = words.locate(text, [surface["form"] for surface, _ in surfaces])
    if len(places) < len(surfaces):
        raise DatasetError(
            f"{where}: the form {surfaces[len(places)][0]['form']!r} is not in the text where it should be",
            "Correct the form or the '# text' comment.",
        )
    parts = [token for _, inside in surfaces for token in inside]
    spans: list[tuple[int, int]] = []
    for (surface, inside), (start, _) in zip(surfaces, places, strict=True):
        shares = words.share(surface["form"], [token["form"] for token in inside])
        spans.extend((start + first, start + last) for first, last in shares)
    return {
        "text": text,
        "sent_id": sentence.metadata.get("sent_id"),
        "word": [token["form"] for token in parts],
        "word_start": [first for first, _ in spans],
        "word_end": [last for _, last in spans],
        "lemma": [_value(t["lemma"]) if t["form"] != "_" else t["lemma"] for t in parts],
        "upos": [_value(token["upos"]) for token in parts],
        "xpos": [_value(token["xpos"]) for token in parts],
        "feats": [_value(token["feats"]) or "" for token in parts],
        "head": [token["head"] for token in parts],
        "deprel": [_value(token["deprel"]) for token in parts],
    }


def _is_empty(token: Any) -> bool:
    return isinstance(token["id"], tuple) and token["id"][1] == "."


def _checked(token: Any, where: str) -> Any:
    if len(token) < 8:
        raise DatasetError(f"{where}: the line of {token.get('form')!r} has {len(token)} columns, not ten", _HINT)
    if token["id"] is None or not token["form"]:
        raise DatasetError(f"{where}: a line has no {'id' if token['id'] is None else 'form'}", _HINT)
    return token


def _surfaces(tokens: list[Any], where: str) -> list[tuple[Any, list[Any]]]:
    """The tokens as they are written, each with its words: itself, or those of a multiword token."""
    surfaces: list[tuple[Any, list[Any]]] = []
    last = inside = 0
    for token in tokens:
        if isinstance(token["id"], tuple):
            first, _, inside = token["id"]
            surfaces.append((token, []))
            expected, found = last + 1, first
        else:
            if token["id"] > inside:
                surfaces.append((token, []))
            surfaces[-1][1].append(token)
            expected, found = last + 1, token["id"]
            last = found
        if found != expected:
            raise DatasetError(f"{where}: the id {found} stands where {expected} should", _HINT)
    if last < inside:
        raise DatasetError(f"{where}: the words up to {inside} of a multiword token are missing", _HINT)
    return surfaces


def _spell(surfaces: list[tuple[Any, list[Any]]]) -> str:
    pieces = []
    for surface, _ in surfaces:
        glued = "SpaceAfter=No" in surface.get("misc", "").split("|")
        pieces.append(surface["form"] + ("" if glued else " "))
    return "".join(pieces).rstrip(" ")


def _value(text: str) -> str | None:
    return None if text == "_" else text
