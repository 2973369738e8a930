"""The SELECT that a clause stands in, taken apart at its keywords.

Only tokens are looked at: where the select list begins, which relations FROM has, which predicates are joined by AND,
where GROUP BY, HAVING and the rest are, and which WITH lists are in sight. What the pieces mean is asked of DuckDB's
own parser (`deepbase.query.analysis`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deepbase.query.clause import Clause
from deepbase.query.lexer import Token
from deepbase.query.source import Source

Span = tuple[int, int]
"""Tokens `first .. end`, by their numbers."""

PARTS = ("WHERE", "GROUP", "HAVING", "WINDOW", "QUALIFY", "ORDER", "LIMIT", "OFFSET", "USING")
ENDS = ("UNION", "INTERSECT", "EXCEPT", "RETURNING")
ENDS_OF_TWO = (("ON", "CONFLICT"), ("WITH", "DATA"), ("WITH", "NO"))
"""What follows a SELECT without being part of it."""
JOIN_WORDS = frozenset(
    "JOIN INNER CROSS LEFT RIGHT FULL OUTER NATURAL ASOF POSITIONAL SEMI ANTI ON USING".split()  # noqa: SIM905
)


@dataclass(frozen=True)
class FromItem:
    """A relation of FROM, or a join tree that is left whole.

    Attributes:
        text: its text.
        using: the columns of USING that join it to what stands before it.
        joined: whether it is joined to what stands before it, rather than listed after a comma.
    """

    text: Source
    using: tuple[str, ...] = ()
    joined: bool = False


@dataclass(frozen=True)
class Select:
    """A SELECT with a clause in it.

    Attributes:
        source: the statement.
        begin: where the word SELECT stands.
        end: where the SELECT ends.
        columns: the select list, DISTINCT included.
        items: the relations of FROM.
        conditions: the predicates of WHERE, and of the inner joins.
        group_by: what stands after GROUP BY; None without.
        having: the predicates of HAVING.
        window: the WINDOW clause, which the select list may need to be understood.
        tail: what stands behind it all: WINDOW, QUALIFY, ORDER BY, LIMIT, ...
        tables: the definitions of the WITH lists that can be seen from here.
        recursive: whether one of them is recursive.
    """

    source: Source
    begin: int
    end: int
    columns: Source
    items: tuple[FromItem, ...]
    conditions: tuple[Source, ...]
    group_by: Source | None
    having: tuple[Source, ...]
    window: Source
    tail: Source
    tables: tuple[Source, ...]
    recursive: bool

    def with_tables(self, query: Source) -> Source:
        """A query with the WITH lists that this place can see."""
        if not self.tables:
            return query
        lead = "WITH RECURSIVE " if self.recursive else "WITH "
        return Source.made(lead, 0) + Source.join(", ", self.tables) + Source.made(" ", 0) + query


def select_around(source: Source, tokens: Sequence[Token], clause: Clause) -> Select:
    """The SELECT around a clause."""
    depth = tokens[clause.first].depth
    begin = next(i for i in range(clause.first, -1, -1) if _is(tokens[i], depth, "SELECT"))
    end = _end(tokens, clause.end, depth)
    marks = [clause.end, *_parts(tokens, clause.end + 1, end, depth), end]
    parts = {tokens[a].upper: (a, b) for a, b in itertools.pairwise(marks)}
    items, conditions = _from(source, tokens, (parts["FROM"][0] + 1, parts["FROM"][1]), depth)
    tail = [span[0] for word, span in parts.items() if word not in ("FROM", "WHERE", "GROUP", "HAVING")]
    group = parts.get("GROUP")
    tables, recursive = _tables(source, tokens, begin)
    return Select(
        source=source,
        begin=tokens[begin].start,
        end=tokens[end - 1].end,
        columns=_text(source, tokens, (begin + 1, clause.first)),
        items=items,
        conditions=(*conditions, *_conjuncts(source, tokens, parts.get("WHERE"), depth)),
        group_by=_text(source, tokens, (group[0] + 2, group[1])) if group else None,
        having=tuple(_conjuncts(source, tokens, parts.get("HAVING"), depth)),
        window=_text(source, tokens, parts.get("WINDOW", (0, 0))),
        tail=_text(source, tokens, (min(tail), end)) if tail else source[0:0],
        tables=tables,
        recursive=recursive,
    )


def split(source: Source, tokens: Sequence[Token], span: Span, depth: int) -> Iterator[Source]:
    """The pieces of a list, between its commas."""
    commas = [i for i in range(*span) if tokens[i].text == "," and tokens[i].depth == depth]
    for a, b in itertools.pairwise([span[0] - 1, *commas, span[1]]):
        if b > a + 1:
            yield _text(source, tokens, (a + 1, b))


def _is(token: Token, depth: int, *words: str) -> bool:
    return token.depth == depth and token.upper in words


def _text(source: Source, tokens: Sequence[Token], span: Span) -> Source:
    first, end = span
    return source[tokens[first].start : tokens[end - 1].end] if end > first else source[0:0]


def _end(tokens: Sequence[Token], at: int, depth: int) -> int:
    """The number of the token before which a SELECT ends."""
    for i in range(at, len(tokens)):
        token, after = tokens[i], tokens[i + 1].upper if i + 1 < len(tokens) else ""
        if token.depth < depth or (token.text == ";" and not depth) or _is(token, depth, *ENDS):
            return i
        if token.depth == depth and (token.upper, after) in ENDS_OF_TWO:
            return i
    return len(tokens)


def _parts(tokens: Sequence[Token], first: int, end: int, depth: int) -> Iterator[int]:
    """Where WHERE, GROUP BY, ... begin."""
    for i in range(first, end):
        if not _is(tokens[i], depth, *PARTS):
            continue
        after = tokens[i + 1].upper if i + 1 < end else ""
        if tokens[i].upper in ("GROUP", "ORDER") and after != "BY":
            continue
        if tokens[i].upper == "USING" and after != "SAMPLE":
            continue
        yield i


def _conjuncts(source: Source, tokens: Sequence[Token], part: Span | None, depth: int) -> Iterator[Source]:
    """The predicates that AND joins: those of WHERE, HAVING or ON, whose first token is that word."""
    if part is None:
        return
    first, end = part[0] + 1, part[1]
    cuts, between, cases = [first - 1], 0, 0
    for i in range(first, end):
        token = tokens[i]
        if token.depth != depth:
            continue
        cases += (token.upper == "CASE") - (token.upper == "END" and cases > 0)
        if cases:
            continue
        if token.upper == "OR":  # binds less than AND
            cuts = cuts[:1]
            break
        if token.upper == "BETWEEN":
            between += 1
        elif token.upper == "AND":
            if between:
                between -= 1
            else:
                cuts.append(i)
    for a, b in itertools.pairwise([*cuts, end]):
        if b > a + 1:
            yield _text(source, tokens, (a + 1, b))


def _from(
    source: Source, tokens: Sequence[Token], span: Span, depth: int
) -> tuple[tuple[FromItem, ...], tuple[Source, ...]]:
    """The relations of FROM and the conditions of their inner joins; other joins stay whole."""
    items: list[FromItem] = []
    conditions: list[Source] = []
    commas = [i for i in range(*span) if tokens[i].text == "," and tokens[i].depth == depth]
    for a, b in itertools.pairwise([span[0] - 1, *commas, span[1]]):
        part = (a + 1, b)
        words = [i for i in range(*part) if tokens[i].depth == depth and tokens[i].upper in JOIN_WORDS]
        kinds = {tokens[i].upper for i in words}
        if part[0] == part[1]:
            continue
        if not kinds <= {"JOIN", "INNER", "CROSS", "ON", "USING"} or _is(tokens[part[0]], depth, "LATERAL"):
            items.append(FromItem(_text(source, tokens, part)))
            continue
        factors, found = _factors(source, tokens, part, words)
        items += factors
        conditions += [c for on in found for c in _conjuncts(source, tokens, on, depth)]
    return tuple(items), tuple(conditions)


def _factors(
    source: Source, tokens: Sequence[Token], part: Span, words: Sequence[int]
) -> tuple[list[FromItem], list[Span]]:
    """The relations of a chain of inner joins, and the spans of its ON."""
    items: list[FromItem] = []
    conditions: list[Span] = []
    first = part[0]
    for i, word in enumerate(words):
        end = words[i + 1] if i + 1 < len(words) else part[1]
        if i == 0 and word > first:
            items.append(FromItem(_text(source, tokens, (first, word))))
        if tokens[word].upper == "JOIN":
            items.append(FromItem(_text(source, tokens, (word + 1, end)), joined=True))
        elif tokens[word].upper == "ON":
            conditions.append((word, end))
        elif tokens[word].upper == "USING":
            names = [t.name for t in tokens[word + 1 : end] if t.is_name]
            items[-1] = FromItem(items[-1].text, tuple(names), joined=True)
    if not words:
        items.append(FromItem(_text(source, tokens, part)))
    return items, conditions


def _tables(source: Source, tokens: Sequence[Token], at: int) -> tuple[tuple[Source, ...], bool]:
    """The definitions of WITH that can be seen from a token: those of its level and of all around it."""
    found: list[Source] = []
    recursive = False
    for i in range(at):
        if tokens[i].upper != "WITH" or not _encloses(tokens, i, at):
            continue
        first = i + 1
        if tokens[first].upper == "RECURSIVE":
            first, recursive = first + 1, True
        depth = tokens[i].depth
        while first < at and (definition := _definition(tokens, first, depth)) is not None:
            if definition > at:  # it is the one that we are in
                break
            found.append(_text(source, tokens, (first, definition)))
            if tokens[definition].text != ",":
                break
            first = definition + 1
    return tuple(found), recursive


def _encloses(tokens: Sequence[Token], i: int, at: int) -> bool:
    """Whether a token is of the level of another one, or of one around it."""
    return all(t.depth >= tokens[i].depth and not (t.text == ";" and not t.depth) for t in tokens[i : at + 1])


def _definition(tokens: Sequence[Token], first: int, depth: int) -> int | None:
    """The end of `name [(columns)] AS [NOT MATERIALIZED] (...)` that begins at a token; None if none does."""
    i = first + 1
    while i < len(tokens) and tokens[i].depth >= depth and tokens[i].upper != "AS":
        i += 1
    if not tokens[first].is_name or i >= len(tokens):
        return None
    while i < len(tokens) and tokens[i].text != "(":
        i += 1
    opened = i
    i += 1
    while i < len(tokens) and not (tokens[i].text == ")" and tokens[i].depth == tokens[opened].depth):
        i += 1
    i += 1
    if i < len(tokens) and _is(tokens[i], depth, "USING"):  # USING KEY (...) of a recursive one
        while i < len(tokens) and not (tokens[i].text == ")" and tokens[i].depth == depth):
            i += 1
        i += 1
    return min(i, len(tokens))
