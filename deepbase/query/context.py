"""`context(record, position, 5)`: the symbols around one, with the symbol itself supplied.

A macro of DuckDB sees nothing but its arguments, and the window of symbols needs the column `symbol` too. DuckDB has no
function of this name, and the macro takes four arguments; so a call with three, whose first is a `record`, is given the
`symbol` of the same relation.
"""

from __future__ import annotations

import re

from deepbase.query.lexer import tokens
from deepbase.query.source import Source

CALLED = re.compile(r"\bcontext\s*\(", re.IGNORECASE)


def with_symbol(source: Source) -> Source:
    """The text with the symbol put into such calls.

    >>> with_symbol(Source.of("SELECT context(u.record, position, 5), context(a, record, b, 3) FROM u")).text
    'SELECT context(u.symbol, u.record, position, 5), context(a, record, b, 3) FROM u'
    """
    if not CALLED.search(source.text):
        return source
    found = tokens(source.text)
    for i in range(len(found) - 1, 0, -1):
        if found[i].text != "(" or found[i - 1].upper != "CONTEXT":
            continue
        inside = next((j for j in range(i + 1, len(found)) if found[j].depth <= found[i].depth), len(found))
        commas = [j for j in range(i + 1, inside) if found[j].text == "," and found[j].depth == found[i].depth + 1]
        first = found[i + 1 : commas[0]] if len(commas) == 2 else []
        if first and first[-1].name.lower() == "record" and all(t.is_name or t.text == "." for t in first):
            relation = source.text[first[0].start : first[-1].start]
            source = source.replace(found[i].end, found[i].end, f"{relation}symbol, ")
    return source
