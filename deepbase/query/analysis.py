"""What a piece of SQL mentions: asked of DuckDB's own parser, through its JSON.

The pieces of a SELECT (`deepbase.query.select`) are handed to `json_serialize_sql`, and its tree is walked for columns,
relations, functions, aggregates, subqueries, parameters and compared texts. Nothing is ever written back from the tree:
what runs is the user's own text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from deepbase.query.source import Source

Node = dict[str, Any]
Parse = Callable[[str], Node]
"""A SELECT in, its tree out, as `json_serialize_sql` gives it."""


RELATIONS = ("BASE_TABLE", "SUBQUERY", "TABLE_FUNCTION", "EXPRESSION_LIST", "COLUMN_DATA", "PIVOT", "DELIM_GET")
"""The nodes that are relations of a FROM."""


@dataclass(frozen=True)
class Column:
    """A mention of a column.

    Attributes:
        names: `("U", "layer")` or `("layer",)`.
        nested: whether it stands in a subquery.
        start, end: where, in the text of the expression.
    """

    names: tuple[str, ...]
    nested: bool
    start: int
    end: int


@dataclass(frozen=True)
class Leaf:
    """A relation of FROM.

    Attributes:
        alias: what it is called.
        table: the name of the table or view; empty for anything else.
        schema: what qualifies it.
        columns: the names that its columns were given in FROM.
        plain: whether it is a table and nothing else: no sample, no time travel.
    """

    alias: str
    table: str
    schema: str
    columns: tuple[str, ...]
    plain: bool


@dataclass(frozen=True)
class Compared:
    """`column = 'text'`, one of `column IN ('text', ...)`, or the same with a parameter.

    Attributes:
        column: the column.
        text: the text; the name of the parameter if it is one.
        parameter: whether it is one.
        certain: whether nothing can be true without it: no OR, no NOT around it.
        start, end: where the text or parameter stands.
    """

    column: Column
    text: str
    parameter: bool
    certain: bool
    start: int
    end: int


class Expression:
    """An expression of a query, parsed.

    Args:
        source: its text.
        parse: DuckDB's parser.
        window: the WINDOW clause beside it, if there is one.
    """

    def __init__(self, source: Source, parse: Parse, window: str = "") -> None:
        self.source = source
        self.node = parsed(parse, f"SELECT {source.text}\n{window}\n")
        self._place = _places(f"SELECT {source.text}\n", len("SELECT "))

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The columns that it mentions, without the parameters of lambdas."""
        bound = {n["lhs"]["column_names"][0] for n, _ in _walk(self.node) if _is_lambda(n)}
        inner = _inner(self.node)
        found = [self._column(n, nested) for n, nested in _walk(self.node) if n.get("class") == "COLUMN_REF"]
        return tuple(
            c
            for c in found
            if not (len(c.names) == 1 and c.names[0] in bound) and not (c.nested and c.names[0].lower() in inner)
        )

    @cached_property
    def stars(self) -> bool:
        """Whether it is, or holds, `*` or COLUMNS(...)."""
        return any(n.get("class") == "STAR" for n, _ in _walk(self.node))

    @cached_property
    def functions(self) -> frozenset[str]:
        """The functions that it calls, subqueries and window functions left out."""
        found = (n for n, nested in _walk(self.node, windows=False) if n.get("class") == "FUNCTION" and not nested)
        return frozenset(str(n["function_name"]).lower() for n in found)

    @cached_property
    def has_subquery(self) -> bool:
        """Whether it holds a subquery."""
        return any(n.get("class") == "SUBQUERY" for n, _ in _walk(self.node))

    @cached_property
    def parameters(self) -> frozenset[str]:
        """The names of its parameters."""
        return frozenset(name for name, _, _ in self.marks())

    def marks(self) -> Iterator[tuple[str, int, int]]:
        """Its parameters: name and place."""
        for node, _ in _walk(self.node):
            if node.get("class") == "PARAMETER":
                yield (str(node["identifier"]), *self._span(node))

    @cached_property
    def only(self) -> Node:
        """The tree of the one expression that it is."""
        items = self.node["select_list"]
        return items[0] if len(items) == 1 else {}

    def compared(self) -> Iterator[Compared]:
        """The texts that columns are compared with."""
        yield from self._compared(self.only, certain=True)

    def _compared(self, node: Node, *, certain: bool) -> Iterator[Compared]:
        kind = node.get("type")
        if kind == "COMPARE_EQUAL":
            sides = [node["left"], node["right"]]
            for column, value in (sides, sides[::-1]):
                yield from self._pair(column, value, certain)
        elif kind == "COMPARE_IN":
            column, *values = node["children"]
            for value in values:
                yield from self._pair(column, value, certain)
        elif kind == "CONJUNCTION_AND":
            for child in node["children"]:
                yield from self._compared(child, certain=certain)
        elif kind in ("CONJUNCTION_OR", "OPERATOR_NOT"):
            for child in node["children"]:
                yield from self._compared(child, certain=False)

    def _pair(self, column: Node, value: Node, certain: bool) -> Iterator[Compared]:
        if column.get("class") != "COLUMN_REF":
            return
        start, end = self._span(value)
        if value.get("class") == "PARAMETER":
            yield Compared(self._column(column, False), str(value["identifier"]), True, certain, start, end)
        elif value.get("class") == "CONSTANT" and value["literal"]["kind"] == "STRING":
            yield Compared(self._column(column, False), value["literal"]["text"], False, certain, start, end)

    def _column(self, node: Node, nested: bool) -> Column:
        return Column(tuple(node["column_names"]), nested, *self._span(node))

    def _span(self, node: Node) -> tuple[int, int]:
        return self._place(node["query_location"]), self._place(node["query_location"] + node["query_location_length"])


def leaves(item: Source, parse: Parse) -> tuple[Leaf, ...]:
    """The relations of an item of FROM: one, or those of a join tree."""
    return tuple(_leaf(node) for node in _relations(parsed(parse, f"FROM {item.text}\n")["from_table"]))


def columns_of_item(item: Source, parse: Parse) -> Iterator[tuple[str, ...]]:
    """The columns of other relations that an item of FROM may mention, as a lateral subquery does."""
    tree = parsed(parse, f"FROM {item.text}\n")["from_table"]
    inner = _inner(tree)
    for node, _ in _walk(tree):
        if node.get("class") == "COLUMN_REF" and node["column_names"][0].lower() not in inner:
            yield tuple(node["column_names"])


def parsed(parse: Parse, text: str) -> Node:
    """The tree of a SELECT."""
    found: Node = parse(text)["statements"][0]["node"]
    return found


def _places(text: str, lead: int) -> Callable[[int], int]:
    """DuckDB counts bytes from the beginning of the text; this counts characters from behind its first word."""
    if text.isascii():
        return lambda place: max(place - lead, 0)
    data = text.encode()
    return lambda place: max(len(data[:place].decode(errors="ignore")) - lead, 0)


def _walk(node: Any, nested: bool = False, *, windows: bool = True) -> Iterator[tuple[Node, bool]]:
    if isinstance(node, list):
        for child in node:
            yield from _walk(child, nested, windows=windows)
    elif isinstance(node, dict):
        if not windows and node.get("class") == "WINDOW":
            return
        yield node, nested
        for key, child in node.items():
            if isinstance(child, list | dict):
                yield from _walk(child, nested or key == "subquery", windows=windows)


def _inner(tree: Node) -> frozenset[str]:
    """The names of the relations of all subqueries, in lower case."""
    found = (n for n, nested in _walk(tree) if nested and n.get("type") in RELATIONS)
    return frozenset(str(n.get("alias") or n.get("table_name") or "").lower() for n in found)


def _is_lambda(node: Mapping[str, Any]) -> bool:
    return node.get("class") == "LAMBDA" and "column_names" in (node.get("lhs") or {})


def _relations(node: Node) -> Iterator[Node]:
    if node["type"] == "JOIN":
        yield from _relations(node["left"])
        yield from _relations(node["right"])
    elif node["type"] != "EMPTY":
        yield node


def _leaf(node: Node) -> Leaf:
    table = node.get("table_name", "")
    function = (node.get("function") or {}).get("function_name", "")
    return Leaf(
        alias=node.get("alias") or table or function,
        table=table,
        schema=node.get("schema_name", ""),
        columns=tuple(node.get("column_name_alias") or ()),
        plain=bool(table) and not node.get("sample") and not node.get("at_clause"),
    )
