"""The files that a dataset may be read from, and how DuckDB should read each kind.

Before anything is read, a file is read once through for its fingerprint, and a text file is checked on the way for
what the readers would report badly or not at all: bytes that are no UTF-8, and NUL bytes. Memory: one piece of 1 MiB.

DuckDB guesses a lot about CSV files. What could silently lose or merge records is not left to it: the delimiter is
taken from the header, the first line is the header, nothing is a comment, no line is skipped. Types are guessed from
the whole file, not from its beginning.
"""

from __future__ import annotations

import codecs
import csv
import difflib
import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

import duckdb

from deepbase.errors import DatasetError

FORMATS = {
    ".txt": "txt",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".conllu": "conllu",
}
_PIECE = 1 << 20


def check(path: Path) -> str:
    """The format of an existing file.

    Raises:
        DatasetError: there is no such file, it is a directory, or its extension says nothing.
    """
    kinds = " ".join(FORMATS)
    if os.path.isdir(path):
        raise DatasetError(f"{str(path)!r} is a directory", f"Name one file in it: {kinds}.")
    if not os.path.exists(path):  # False where the name is too long, too
        raise DatasetError(f"There is no file {str(path)!r}", _nearest(path))
    if path.suffix.lower() not in FORMATS:
        raise DatasetError(
            f"{str(path)!r} is of no kind that can be read", f"Give it the extension that fits its content: {kinds}."
        )
    return FORMATS[path.suffix.lower()]


def _nearest(path: Path) -> str:
    if not path.parent.is_dir():
        return f"There is no directory {str(path.parent)!r} either."
    names = [p.name for p in path.parent.iterdir() if p.is_file()]
    close = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5)
    if close:
        return f"Did you mean {' or '.join(repr(name) for name in close)}?"
    known = sorted(name for name in names if Path(name).suffix.lower() in FORMATS)
    if not known:
        return f"No file in {str(path.parent.absolute())!r} looks like a dataset."
    more = f" and {len(known) - 8} more" if len(known) > 8 else ""
    return f"In {str(path.parent.absolute())!r} there are: {', '.join(known[:8])}{more}."


def fingerprint(path: Path, kind: str) -> str:
    """SHA-256 of the bytes of a file, hexadecimal.

    Raises:
        DatasetError: a text file is not UTF-8, has a NUL byte, or cannot be read.
    """
    digest = hashlib.sha256()
    decoder = None if kind == "parquet" else codecs.getincrementaldecoder("utf-8")()
    lines = 0
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
                if decoder:
                    _check_text(decoder, piece, path, lines)
                    lines += piece.count(b"\n")
        if decoder:
            _check_text(decoder, b"", path, lines)
    except OSError as error:
        raise DatasetError(f"{str(path)!r} cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def _check_text(decoder: codecs.IncrementalDecoder, piece: bytes, path: Path, lines: int) -> None:
    if not lines and piece.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DatasetError(f"{str(path)!r} is UTF-16, not UTF-8", _convert(path, "UTF-16"))
    try:
        decoder.decode(piece, final=not piece)
    except UnicodeDecodeError as error:
        line = lines + error.object[: error.start].count(b"\n") + 1
        raise DatasetError(
            f"{str(path)!r} is not UTF-8: line {line} has the byte 0x{error.object[error.start]:02X}",
            _convert(path, "WINDOWS-1252") + " Or name the encoding that it really has.",
        ) from None
    if b"\0" in piece:
        line = lines + piece[: piece.index(b"\0")].count(b"\n") + 1
        raise DatasetError(f"{str(path)!r} has a NUL byte in line {line}", "Is it a text file? Remove the NUL bytes.")


def _convert(path: Path, encoding: str) -> str:
    return f"Convert it: iconv -f {encoding} -t UTF-8 {path.name!r} > 'utf8-{path.name}'."


def quoted(text: str) -> str:
    """An SQL string."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """An SQL name."""
    return '"' + name.replace('"', '""') + '"'


def relation(path: Path, kind: str) -> str:
    """What to select from for a file of JSON or Parquet."""
    name = quoted(re.sub(r"([*?\[])", r"[\1]", str(path.absolute())))  # else DuckDB takes it for a pattern
    if kind == "parquet":
        return f"read_parquet({name}, hive_partitioning = false)"
    form = "newline_delimited" if kind == "jsonl" else "auto"
    return f"read_json({name}, format = '{form}', sample_size = -1, hive_partitioning = false)"


class DelimitedFile:
    """A CSV or TSV file: how it is written, found once.

    Raises:
        DatasetError: no way of reading it fits all of its lines.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection, path: Path, kind: str) -> None:
        self._con, self._path = con, path
        with path.open(encoding="utf-8-sig", newline="") as file:
            self._header = file.readline()
        self._delimiter = "\t" if kind == "tsv" else _delimiter(self._header)
        self._quote = '"'
        error = self._failure(self.relation())
        if error and kind == "tsv":  # as a rule nothing is quoted there, and a quote is a character like others
            self._quote = ""
            error = self._failure(self.relation())
        if error:
            raise DatasetError(f"{str(path)!r} is malformed: {self._where() or first_line(error)}", _CSV_HINT)

    def relation(self, text: str | None = None, *, columns: Sequence[str] | None = None) -> str:
        """What to select from, reading the column `text` as it is written, and others as what they look like."""
        options = {
            "delim": quoted(self._delimiter),
            "quote": quoted(self._quote),
            "escape": quoted(self._quote),
            "comment": "''",
            "skip": "0",
            "header": "true",
            "hive_partitioning": "false",
        }
        if columns is not None:
            options["columns"] = "{" + ", ".join(f"{quoted(name)}: 'VARCHAR'" for name in columns) + "}"
            options["auto_detect"] = "false"
        else:
            options["sample_size"] = "-1"
        if text is not None:
            options["types"] = "{" + f"{quoted(text)}: 'VARCHAR'" + "}"
        name = quoted(re.sub(r"([*?\[])", r"[\1]", str(self._path.absolute())))
        return f"read_csv({name}, {', '.join(f'{key} = {value}' for key, value in options.items())})"

    def has_header(self) -> bool:
        """Whether the first line looks like names rather than like a record."""
        relation = self.relation().replace("read_csv(", "sniff_csv(", 1).replace("header = true, ", "", 1)
        return bool(self._con.execute(f"SELECT HasHeader FROM {relation}").fetchall()[0][0])

    def _failure(self, relation: str) -> duckdb.Error | None:
        try:
            self._con.execute(f"DESCRIBE FROM {relation}").fetchall()
        except duckdb.InvalidInputException as error:
            return error
        return None

    def _where(self) -> str:
        """The line at fault: DuckDB names it only where nothing is left to guess."""
        names = next(csv.reader([self._header], delimiter=self._delimiter), [])
        relation = self.relation(columns=[f"c{i}" for i in range(len(names))])
        try:
            self._con.execute(f"SELECT count(COLUMNS(*)) FROM {relation}").fetchall()
        except duckdb.InvalidInputException as error:
            found = re.search(r"on Line: (\d+)", str(error))
            columns = re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", str(error))
            if found and columns:
                return f"line {found[1]} has {columns[2]} columns, the header has {columns[1]}"
            if found and "quote" in str(error):
                return f"line {found[1]} has a quote that is not closed, or text after the closing one"
            if found:
                return f"line {found[1]}"
        return ""


_CSV_HINT = "Quote values that contain the delimiter, a quote or a line break, and double the quotes inside."


def _delimiter(header: str) -> str:
    bare = re.sub(r'"[^"]*"', "", header)
    return max(",;\t|", key=bare.count)


def first_line(error: Exception) -> str:
    """What a DuckDB error says, without its class and without the query."""
    text = str(error).split("\n\nLINE ")[0].split("\n")[0]
    return re.sub(r"^[A-Z][A-Za-z ]*Error: ", "", text).strip().rstrip(".")
