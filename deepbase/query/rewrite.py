"""The user's SELECT around the scores: the clause is gone, and the scores are one more relation of FROM.

    SELECT S.layer, H.description INSPECT U.unit AND H.hypothesis USING pearson OVER D.record AS S
    FROM units U, hypotheses H, inputs D WHERE ... HAVING S.unit_score > 0.5

becomes

    SELECT S.layer, H.description FROM (scores of the run) AS S JOIN units U USING (model, layer, unit)
    JOIN (hypotheses of the run) AS H USING (run, hypothesis) JOIN (groups of the run) AS D USING (run)
    WHERE ... AND (S.unit_score > 0.5)

The keys are joined with USING, so that their columns need not be qualified. What the predicates say about records has
done its work and is gone, together with the relations that only it mentions; the rest stays as the user wrote it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from deepbase.query.relations import RECORDS, SCORES, Predicate, Relation, Role, Scope, quoted
from deepbase.query.source import Source

ROLES: tuple[Role, ...] = ("units", "models", "layers", "hypotheses", "inputs", "datasets")
OF_UNITS = {"models": ("model",), "layers": ("model", "layer")}
"""How relations belong to the units where there are no scores yet."""
Keys = Mapping[Role, tuple[str, ...]]


def joined(
    scope: Scope, relations: Sequence[Relation], texts: Mapping[int, Source], scores: Source | None, keys: Keys
) -> tuple[Source, list[Source]]:
    """A FROM clause, and the predicates that it needs.

    Args:
        scope: what the clause sees.
        relations: those to join.
        texts: what stands in for some of them, by number.
        scores: the scores, which come first; None without.
        keys: by which columns a role is joined: with the scores; without, with the units or the inputs.
    """
    at = scope.select.items[0].text.origin[0]
    pieces = [scores] if scores else []
    conditions: list[Source] = []
    ordered = {r.number: r for role in ROLES for r in relations if role in r.roles}
    for relation in ordered.values():
        names: tuple[str, ...] = ()
        for role, leaf in relation.roles.items():
            left = scope.clause.alias.name if scores else _partner(relations, role)
            if role not in keys or left is None or left == leaf.alias:
                continue
            if relation.is_single and (scores or _is_alone(relations, left)):
                names = keys[role]
                continue
            conditions += [
                Source.made(f"{quoted(left)}.{quoted(k)} = {quoted(leaf.alias)}.{quoted(k)}", at) for k in keys[role]
            ]
        _add(pieces, _whole(relation, texts, at), names)
    for chain in _chains(relations):
        if any(r.roles for r in chain):
            for relation in chain:
                if not relation.roles:
                    _add(pieces, _whole(relation, texts, at), relation.item.using)
            continue
        inside: list[Source] = []
        for relation in chain:
            _add(inside, _whole(relation, texts, at), relation.item.using)
        text = Source.join(" ", inside)
        _add(pieces, text if len(chain) == 1 else Source.made("(", at) + text + Source.made(")", at), ())
    return Source.join(" ", pieces), conditions


def _whole(relation: Relation, texts: Mapping[int, Source], at: int) -> Source:
    text = texts.get(relation.number, relation.item.text)
    return text if relation.is_single else Source.made("(", at) + text + Source.made(")", at)


def _add(pieces: list[Source], text: Source, using: Sequence[str]) -> None:
    """Join one more relation."""
    at = text.origin[0]
    lead = "" if not pieces else "JOIN " if using else "CROSS JOIN "
    tail = f" USING ({', '.join(map(quoted, using))})" if using and pieces else ""
    pieces.append(Source.made(lead, at) + text + Source.made(tail, at))


def _chains(relations: Sequence[Relation]) -> Iterator[list[Relation]]:
    """The relations as the user joined them, between the commas."""
    chain: list[Relation] = []
    for relation in relations:
        if chain and not relation.item.joined:
            yield chain
            chain = []
        chain.append(relation)
    if chain:
        yield chain


def _partner(relations: Sequence[Relation], role: Role) -> str | None:
    """Whom a relation belongs to where there are no scores."""
    base: Role | None = "units" if role in OF_UNITS else "inputs" if role == "datasets" else None
    return next((r.roles[base].alias for r in relations if base in r.roles), None) if base else None


def _is_alone(relations: Sequence[Relation], alias: str) -> bool:
    return any(r.is_single and r.leaves[0].alias == alias for r in relations)


def where(predicates: Sequence[Source], at: int) -> Source:
    """A WHERE clause of some predicates; nothing for none."""
    if not predicates:
        return Source.made("", at)
    return Source.made("WHERE (", at) + Source.join("\n) AND (", predicates) + Source.made("\n)", at)


def before_scores(scope: Scope, predicate: Predicate) -> Predicate | None:
    """A predicate as it can be used before there are scores; None if it cannot.

    One on the keys of the scores is one on the units and hypotheses.
    """
    if SCORES not in predicate.relations:
        return predicate
    text = predicate.text
    owners: dict[str, Role] = {**dict.fromkeys(("model", "layer", "unit"), "units"), "hypothesis": "hypotheses"}
    for column in sorted(predicate.scores, key=lambda c: -c.start):
        role = owners.get(column.names[-1].lower())
        relation = scope.of(role) if role else None
        if role is None or relation is None or len(column.names) != 2 or column.nested:
            return None
        alias = quoted(relation.roles[role].alias)
        text = text.replace(column.start, column.end, f"{alias}.{quoted(column.names[-1])}")
    return scope.predicate(text)


def around_scores(
    scope: Scope,
    predicates: Sequence[Predicate],
    *,
    scores: Source,
    texts: Mapping[int, Source],
    keys: Keys,
    only_records: frozenset[int],
    aggregated: bool,
) -> Source:
    """The whole SELECT with its scores.

    Args:
        scope: what the clause sees.
        predicates: those of WHERE, of the joins and of HAVING.
        scores: the relation of the scores, with its alias.
        texts: what stands in for relations of the catalog, by number.
        keys: by which columns a role is joined to the scores.
        only_records: the relations that only served to choose records.
        aggregated: whether GROUP BY is an aggregation as well.
    """
    select = scope.select
    kept = [r for r in scope.relations if r.number not in only_records]
    text, conditions = joined(scope, kept, texts, scores, keys)
    gone = {RECORDS, *only_records}
    having: list[Source] = []
    for predicate in predicates:
        if predicate.implied or (SCORES not in predicate.relations and predicate.relations & gone):
            continue
        aggregates = predicate.expression.functions & scope.aggregates
        (having if aggregates else conditions).append(predicate.text)
    at = select.items[0].text.origin[0]
    pieces = [Source.made("SELECT", at), select.columns, Source.made("FROM", at), text, where(conditions, at)]
    if aggregated and select.group_by is not None:
        pieces += [Source.made("GROUP BY", at), select.group_by]
    if having:
        pieces += [Source.made("HAVING (", at) + Source.join("\n) AND (", having) + Source.made("\n)", at)]
    return Source.join(" ", [*(p for p in pieces if p.text), select.tail])


def refuse_single_records(scope: Scope, columns_of_records: frozenset[str]) -> None:
    """Say so if the select list asks for what a score over many records does not have.

    Raises:
        QueryError: with the column.
    """
    inputs = scope.required("inputs").number
    for column in scope.listed.columns:
        owner = scope.owner(column)
        if owner is not None and owner[0] == inputs and owner[1] not in columns_of_records:
            raise scope.error_at(
                f"'{'.'.join(column.names)}' is of single records, and a score is over many",
                "GROUP BY it, if it is a column of the records.",
                scope.select.columns,
                column.start,
                column.end,
            )
