"""What a query has to know of the scores: a threshold, the best few, or each score to within an error.

`HAVING S.unit_score > 0.5` needs no score to two digits, only on which side of 0.5 each one is; and for
`ORDER BY S.unit_score DESC LIMIT 20` the rest may be as vague as it likes, once it is surely not among the 20. So the
predicates on scores, ORDER BY with LIMIT, and QUALIFY with row_number() are read as what has to be settled.

Whatever is not understood for sure is taken for a query that uses the scores themselves, each of which is then wanted
to within `error`. That is always enough, and may be more than is needed: where scores are aggregated, compared with
each other or with other relations, or ordered by something else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepbase.query.analysis import Column, Node, Parse, parsed
from deepbase.query.base import By
from deepbase.query.relations import SCORES, Predicate, Scope

SIDES = ("COMPARE_GREATERTHAN", "COMPARE_GREATERTHANOREQUALTO", "COMPARE_LESSTHAN", "COMPARE_LESSTHANOREQUALTO")
OF = ("unit_score", "group_score")
KEYS = ("model", "layer", "hypothesis", "measure", "slice")
NUMBERING = ("WINDOW_ROW_NUMBER", "WINDOW_RANK", "WINDOW_RANK_DENSE")


@dataclass(frozen=True)
class Score:
    """A score in an expression: which column, and whether its magnitude."""

    of: str
    magnitude: bool


@dataclass(frozen=True)
class Best:
    """The best few of some sets."""

    top: int
    score: Score
    descending: bool
    within: tuple[str, ...]


class _UnclearError(Exception):
    """Something that cannot be read as a goal."""


def goal(
    scope: Scope, predicates: Sequence[Predicate], *, parse: Parse, values: Mapping[str, Any], signed: bool
) -> dict[str, Any]:
    """The fields of an `InspectSpec` that say what a query has to know; none where it is the scores themselves.

    Args:
        scope: what the clause sees.
        predicates: those of WHERE, of the joins and of HAVING.
        parse: DuckDB's parser.
        values: of the parameters.
        signed: whether a sign of the scores means a direction.
    """
    reader = _Reader(scope, values)
    node = parsed(parse, f"SELECT {scope.select.columns.text} FROM t {scope.select.tail.text}\n")
    distinct = any(m["type"] == "DISTINCT_MODIFIER" for m in node["modifiers"])
    if distinct or (scope.select.group_by is not None and scope.listed.functions & scope.aggregates):
        return {}
    reader.listed = node["select_list"]
    try:
        best = reader.best(node)
        bounds = [reader.bounds(p.expression.only) for p in predicates if p.scores]
    except _UnclearError:
        return {}
    known = [b for b in bounds if b]
    of = {score for b in known for score, _ in b} | ({best.score} if best else set())
    if not of or len({s.of for s in of}) > 1:
        return {}
    found: dict[str, Any] = {"of": next(iter(of)).of}
    thresholds = sorted({t for b in known for score, bound in b for t in _signs(score, bound, signed)})
    if best is None:
        return found | {"thresholds": tuple(thresholds)}
    if len(known) < len(bounds) or not _fits(best, known, predicates, reader):
        return {}
    by: By = "strength" if best.score.magnitude and signed else "greatest" if best.descending else "least"
    return found | {"thresholds": tuple(thresholds), "top": best.top, "by": by, "within": best.within}


def _signs(score: Score, bound: float, signed: bool) -> tuple[float, ...]:
    if not score.magnitude:
        return (bound,)
    return () if bound < 0 else (-bound, bound) if signed and bound else (bound,)


def _fits(
    best: Best, known: Sequence[Sequence[tuple[Score, float]]], predicates: Sequence[Predicate], reader: _Reader
) -> bool:
    """Whether a threshold cuts off the worst only, so that the best few are the best of those beyond it."""
    if not known:
        return True
    if len(known) > 1 or len(known[0]) > 1 or known[0][0][0] != best.score:
        return False
    return all(reader.keeps_greater(p.expression.only) == best.descending for p in predicates if p.scores)


class _Reader:
    """Reads the parts of a query that are about scores."""

    def __init__(self, scope: Scope, values: Mapping[str, Any]) -> None:
        self.scope, self.values = scope, values
        self.listed: Sequence[Node] = ()

    def score(self, node: Node) -> Score | None:
        """The score that an expression is; None for anything else."""
        if node.get("class") == "COLUMN_REF":
            column = self._score_column(node)
            return Score(column, magnitude=False) if column in OF else None
        if node.get("class") == "FUNCTION" and node["function_name"] in ("abs", "@", "round"):
            inner = self.score(node["arguments"][0]["expression"])
            if inner is not None and node["function_name"] != "round":
                return Score(inner.of, magnitude=True)
            return inner
        return None

    def number(self, node: Node) -> float | None:
        """The number that an expression is; None for anything else."""
        kind = node.get("class")
        if kind == "CONSTANT" and node["literal"]["kind"] in ("INTEGER", "NUMERIC"):
            return float(node["literal"]["text"])
        if kind == "CAST":
            return self.number(node["child"])
        if kind == "PARAMETER":
            value = self.values.get(str(node["identifier"]))
            return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
        if kind == "FUNCTION" and node["function_name"] == "-" and len(node["arguments"]) == 1:
            value = self.number(node["arguments"][0]["expression"])
            return None if value is None else -value
        return None

    def bounds(self, node: Node) -> list[tuple[Score, float]]:
        """The bounds that a predicate on scores has; none for one on other columns of theirs.

        Raises:
            _UnclearError: for one that is more than comparisons of one score with numbers.
        """
        if not any(self._score_column(n) in OF for n in _columns(node)):
            return []
        return list(self._bounds(node))

    def _bounds(self, node: Node) -> Iterator[tuple[Score, float]]:
        kind = node.get("type", "")
        if kind in ("CONJUNCTION_AND", "CONJUNCTION_OR", "OPERATOR_NOT"):
            for child in node["children"]:
                yield from self._bounds(child)
        elif kind == "COMPARE_BETWEEN":
            yield self._pair(node["input"], node["lower"])
            yield self._pair(node["input"], node["upper"])
        elif kind in SIDES:
            yield self._compared(node)[:2]
        elif kind != "OPERATOR_IS_NOT_NULL" or self.score(node["children"][0]) is None:
            raise _UnclearError

    def _pair(self, score: Node, number: Node) -> tuple[Score, float]:
        found, bound = self.score(score), self.number(number)
        if found is None or bound is None:
            raise _UnclearError
        return found, bound

    def _compared(self, node: Node) -> tuple[Score, float, bool]:
        """A comparison: the score, the number, and whether the greater ones pass."""
        greater = "GREATER" in node["type"]
        if self.score(node["left"]) is not None:
            return (*self._pair(node["left"], node["right"]), greater)
        return (*self._pair(node["right"], node["left"]), not greater)

    def keeps_greater(self, node: Node) -> bool | None:
        """Whether a predicate lets the greater scores pass; None for one that is no single comparison."""
        return self._compared(node)[2] if node.get("type") in SIDES else None

    def best(self, node: Node) -> Best | None:
        """The best few that ORDER BY and LIMIT, or QUALIFY, ask for; None without.

        Raises:
            _UnclearError: for others than the best by score.
        """
        qualify = node.get("qualify")
        limits = [m for m in node["modifiers"] if m["type"].startswith("LIMIT")]
        orders = [o for m in node["modifiers"] if m["type"] == "ORDER_MODIFIER" for o in m["orders"]]
        if qualify:
            return self._qualified(qualify)
        if not limits or not orders:
            return None
        numbers = [self.number(limits[0][name]) if limits[0].get(name) else 0.0 for name in ("limit", "offset")]
        if limits[0].get("limit_type", "ROW_COUNT") != "ROW_COUNT" or None in numbers:
            raise _UnclearError
        top = int(sum(n for n in numbers if n is not None))
        return self._ordered(top, orders[0], ())

    def _qualified(self, node: Node) -> Best:
        """`row_number() OVER (PARTITION BY ... ORDER BY ...) <= k`."""
        sizes = {"COMPARE_LESSTHANOREQUALTO": 0, "COMPARE_LESSTHAN": -1, "COMPARE_EQUAL": 0}
        kind, window = node.get("type", ""), node.get("left", {})
        number = self.number(node.get("right", {}))
        if kind not in sizes or window.get("type") not in NUMBERING or number is None or not window["orders"]:
            raise _UnclearError
        if kind == "COMPARE_EQUAL" and number != 1:
            raise _UnclearError
        within = tuple(dict.fromkeys(self._key(n) for n in window["partitions"]))
        return self._ordered(int(number) + sizes[kind], window["orders"][0], within)

    def _key(self, node: Node) -> str:
        """The column of scores by which sets are told apart."""
        if node.get("class") == "COLUMN_REF":
            owner = self.scope.owner(Column(tuple(node["column_names"]), False, 0, 0))
            if owner is not None and owner[1] in KEYS and (owner[0] == SCORES or self._is_key(*owner)):
                return owner[1]
        raise _UnclearError

    def _is_key(self, number: int, name: str) -> bool:
        roles = self.scope.relations[number].roles
        return (name == "hypothesis" and "hypotheses" in roles) or bool({"units", "models", "layers"} & set(roles))

    def _ordered(self, top: int, order: Node, within: tuple[str, ...]) -> Best:
        expression = self._meant(order["expression"])
        score = self.score(expression)
        descending = order["type"] == "DESCENDING"
        if score is None or top < 1 or (score.magnitude and not descending):
            raise _UnclearError
        return Best(top, score, descending, within)

    def _meant(self, node: Node) -> Node:
        """An expression for the name or number of one in the SELECT list."""
        if node.get("class") == "CONSTANT" and (number := self.number(node)) and number <= len(self.listed):
            return self.listed[int(number) - 1]
        names = node.get("column_names", ())
        if len(names) == 1:
            return next((n for n in self.listed if n.get("alias", "").lower() == names[0].lower()), node)
        return node

    def _score_column(self, node: Node) -> str:
        """The column of the scores that a mention is of; empty for any other."""
        owner = self.scope.owner(Column(tuple(node["column_names"]), False, 0, 0))
        return owner[1] if owner is not None and owner[0] == SCORES else ""


def _columns(node: Any) -> Iterator[Node]:
    if isinstance(node, list):
        for child in node:
            yield from _columns(child)
    elif isinstance(node, dict):
        if node.get("class") == "COLUMN_REF":
            yield node
        for child in node.values():
            yield from _columns(child)
