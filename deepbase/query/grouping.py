"""What GROUP BY means beside a clause.

A column of the models, hypotheses or records makes one set of scores per group. Where the SELECT has aggregates, GROUP
BY aggregates the scores as well, and may then name anything; without them it only tells the sets of scores apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from deepbase.query.analysis import Expression
from deepbase.query.lexer import tokens
from deepbase.query.relations import SCORES, Relation, Role, Scope
from deepbase.query.select import split
from deepbase.query.source import Source

OF_CATALOG: tuple[Role, ...] = ("models", "layers", "units", "hypotheses")


@dataclass(frozen=True)
class Groups:
    """The groups of a query.

    Attributes:
        names: the columns that make them, as `InspectSpec.group_by` has them.
        records: those among them that are of the records: column and type.
        aggregated: whether the scores are aggregated.
    """

    names: tuple[str, ...]
    records: tuple[tuple[str, str], ...]
    aggregated: bool

    @property
    def columns_of_records(self) -> frozenset[str]:
        """The columns that are left of the records once there are scores."""
        return frozenset({"dataset", "run", "slice", *(name for name, _ in self.records)})


def groups(scope: Scope) -> Groups:
    """The groups of a query.

    Raises:
        QueryError: if something that makes no sets of scores is grouped by, and nothing is aggregated.
    """
    having = [Expression(text, scope.parse) for text in scope.select.having]
    aggregated = any(e.functions & scope.aggregates for e in (scope.listed, *having))
    names: dict[str, tuple[str, str] | None] = {}
    every = scope.select.group_by is not None and scope.select.group_by.text.strip().upper() == "ALL"
    for text in _columns(scope) if every else _items(scope):
        expression = Expression(text, scope.parse)
        found = _group(scope, expression)
        if found is not None:
            names[found[0]] = found[1]
        elif not aggregated and not every:
            raise scope.error_at(
                f"GROUP BY '{text.text}' makes no sets of scores: it is no column of the models, hypotheses or records",
                "Group by such a column, or by one that a subquery in FROM makes; or take an aggregate of the scores, "
                "as in max(S.unit_score).",
                text,
            )
    records = tuple(r for r in names.values() if r is not None and r[0] != "dataset")
    return Groups(tuple(names), records, aggregated)


def _columns(scope: Scope) -> Iterator[Source]:
    """The columns of the select list, which GROUP BY ALL means."""
    listed, nodes = _pieces(scope.select.columns), scope.listed.node["select_list"]
    for item, node in zip(listed, nodes, strict=False):
        if node.get("class") == "COLUMN_REF":
            yield _bare(item, node)


def _items(scope: Scope) -> Iterator[Source]:
    """What is grouped by; numbers and names of the select list are what they stand for."""
    text = scope.select.group_by
    if text is None:
        return
    listed = _pieces(scope.select.columns)
    nodes = scope.listed.node["select_list"]
    aliases = (
        {n["alias"].lower(): i for i, n in enumerate(nodes) if n.get("alias")} if len(nodes) == len(listed) else {}
    )
    for item in _pieces(text):
        word = item.text.strip()
        if word.isdecimal() and 0 < int(word) <= len(listed):
            yield _bare(listed[int(word) - 1], nodes[int(word) - 1])
        elif word.lower() in aliases and not any(word.lower() in r.types for r in scope.relations):
            yield _bare(listed[aliases[word.lower()]], nodes[aliases[word.lower()]])
        else:
            yield item


def _pieces(text: Source) -> list[Source]:
    found = tokens(text.text)
    if found and found[0].upper == "DISTINCT":
        text, found = text[found[1].start :], tokens(text.text[found[1].start :])
    return list(split(text, found, (0, len(found)), 0))


def _bare(item: Source, node: dict[str, object]) -> Source:
    """An item of a select list without its alias."""
    found = tokens(item.text)
    if not node.get("alias") or len(found) < 2:
        return item
    last = found[-3] if len(found) > 2 and found[-2].upper == "AS" else found[-2]
    return item[: last.end]


def _group(scope: Scope, expression: Expression) -> tuple[str, tuple[str, str] | None] | None:
    """The name of a group column, and its column and type if it is of the records; None for anything else."""
    if expression.only.get("class") != "COLUMN_REF":
        return None
    owner = scope.owner(expression.columns[0])
    if owner is None:
        return None
    number, name = owner
    if number == SCORES:
        role = {"model": "units", "layer": "units", "unit": "units", "hypothesis": "hypotheses"}.get(name)
        return (f"{role}.{name}", None) if role and name != "unit" else None
    relation = scope.relations[number]
    if "inputs" in relation.roles:
        return f"inputs.{name}", (name, relation.types.get(name, "VARCHAR"))
    if "datasets" in relation.roles and name == "dataset":
        return "inputs.dataset", None
    return _of_catalog(relation, name)


def _of_catalog(relation: Relation, name: str) -> tuple[str, None] | None:
    return next(((f"{role}.{name}", None) for role in OF_CATALOG if relation.is_plain(role) and name != "unit"), None)
