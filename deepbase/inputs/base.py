"""The stage that turns datasets into records, and records into symbols.

Units and hypotheses are compared symbol by symbol, so a score means something only if both sides agree on what a
symbol is and where it stands. This stage decides that, once, for all of them:

1. `readers.ingest` streams a source (a file, a query, an Arrow table, a data frame, a list) into one plain DuckDB
   table with a row a record. What the source says about the record stays a column; what it says about the words, the
   characters or the symbols of the record is a list column.
2. `tokenization.encode` asks the model's own tokenizer for ids and for the characters that each of them stands for.
3. `symbols.make_block` lays both side by side: a table with a row a symbol, and the batches that the model reads.

The conventions of alignment are those of the documentation: special tokens and padding are symbols of no record; a
symbol belongs to the word with which it shares most characters, the first of equals; a symbol that touches no word has
no word and no word annotations; a record is cut only at the model's own limit, and the cut is counted. All positions
in a text are counted in characters (Unicode code points), as Python and DuckDB count them, in spans `[start, end)`.

A worked example: the record "unhappy cat" with words given as `["unhappy", "cat"]`, annotated `pos = ["ADJ", "NOUN"]`,
and a tokenizer that says `[CLS] un ##happy cat [SEP]`, gives the symbols

    position  symbol  start  end  word     word_index  pos
    0         un      0      2    unhappy  0           ADJ
    1         happy   2      7    unhappy  0           ADJ
    2         cat     8      11   cat      1           NOUN

Memory: ingesting holds a few thousand rows at a time; a block holds its own records and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

from deepbase.blocks import Column


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a dataset once it was read.

    Attributes:
        records: how many records it has.
        fingerprint: hexadecimal digest of its content, never of its path or of its name: for a file the SHA-256 of its
            bytes, combined with the name of the text column where the user chose one; otherwise of its rows.
        source: where it came from, for people: an absolute path, the text of a query, or `arrow table` and the like.
        columns: its own columns, in their order, without the text and the words.
    """

    records: int
    fingerprint: str
    source: str
    columns: tuple[Column, ...]
