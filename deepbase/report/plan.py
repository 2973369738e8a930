"""The plan of an inspection as a tree that a person can read: what EXPLAIN prints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

if TYPE_CHECKING:
    from deepbase.catalog import HypothesisRow
    from deepbase.engine.base import ChosenLayer, Job, Part
    from deepbase.engine.estimate import Estimate
    from deepbase.labels.base import Label

FEW = 12
"""How many layers or hypotheses are listed."""
WIDTH = 160


@dataclass(frozen=True)
class Happened:
    """What became of a plan: the row of its run, and how many scores it left, by note."""

    run: Mapping[str, Any]
    scores: Sequence[tuple[str | None, int]]


def plan_text(job: Job, hypotheses: Sequence[HypothesisRow], cost: Estimate, happened: Happened | None = None) -> str:
    """The plan of a job.

    Args:
        job: what is to be done.
        hypotheses: the rows of its hypotheses, in the order of its labels.
        cost: what it is expected to take.
        happened: what it took, if it was run.
    """
    units = sum(layer.width for part in job.parts for layer in part.layers)
    measures = ", ".join(m.call for m in job.measures)
    what = _count(units, "unit")
    if hypotheses:
        what += f" x {_count(len(hypotheses), 'hypothesis', 'hypotheses')}"
    tree = Tree(Text(f"INSPECT {what}, by {measures}"))
    _records(tree, job, cost)
    for part in job.parts:
        _model(tree, part)
    if hypotheses:
        branch = tree.add(_line("hypotheses", f"{len(hypotheses):,}"))
        _list(branch, map(_hypothesis, hypotheses, job.labels.labels), len(hypotheses))
    for kind in job.state_types:
        sharing = [m.call for m in job.measures if m.reads is kind]
        shared = f", shared by {', '.join(sharing)}" if len(sharing) > 1 else f" of {sharing[0]}"
        tree.add(_line("states", f"{kind.__name__}{shared}: {_size(cost.state_bytes[kind])} in two copies"))
    if job.spec.group_by:
        of_records = f"; {job.records.slices:,} of records, each with states of its own" if job.records.groups else ""
        tree.add(_line("groups", f"{', '.join(job.spec.group_by)}{of_records}"))
    tree.add(
        _line(
            "cost",
            f"about {_count(cost.forwards, 'forward')} of up to {job.spec.batch_size} sequences on "
            f"{job.parts[0].model.device}, {_time(cost.seconds)} (measured on {_count(cost.sample, 'record')})",
        )
    )
    _stops(tree, job)
    if happened is not None:
        _happened(tree, happened)
    out = StringIO()
    Console(file=out, width=WIDTH, color_system=None, force_terminal=False, highlight=False).print(tree)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def _records(tree: Tree, job: Job, cost: Estimate) -> None:
    spec, records = job.spec, job.records
    seen = f"{records.expected:,} of the {records.total:,} of {spec.dataset}"
    branch = tree.add(_line("records", f"{seen}, in random order (seed {spec.seed}); about {cost.symbols:,} symbols"))
    branch.add(Text(f"read by {records.reading}"))
    if spec.where:
        branch.add(Text(f"where {spec.where}"))
    if spec.selection:
        branch.add(Text("chosen by the query"))
    if spec.at != "token" or spec.behavior != "value":
        branch.add(Text(f"at {spec.at}, {spec.behavior} of the units"))


def _stops(tree: Tree, job: Job) -> None:
    """When the run ends, and what says so."""
    from deepbase.engine.course import settled_text
    from deepbase.engine.looks import FIRST_LOOK

    spec = job.spec
    limit = f" up to {spec.records:,}" if spec.records and spec.records < job.records.matching else ""
    time = f", or after {spec.seconds:g} s" if spec.seconds else ""
    if spec.exact or job.records.expected <= FIRST_LOOK:
        tree.add(_line("stops", f"when every record{limit} was read{time}"))
        return
    settled = settled_text(spec)
    branch = tree.add(_line("stops", f"when {settled}; at the latest when every record{limit} was read{time}"))
    if spec.thresholds or spec.top:
        branch.add(Text(f"scores that are closer to the bound than {spec.tied:g} may stay on either side"))
    unable = [m.call for m in job.measures if not m.has_interval]
    if unable:
        branch.add(Text(f"every record is read for {', '.join(unable)}, without intervals"))
    branch.add(
        Text(f"looks at {FIRST_LOOK} records, and at half as many more each time; they share the chance of a mistake")
    )


def _model(tree: Tree, part: Part) -> None:
    model, count = part.model, len(part.layers)
    deepest = max(part.layers, key=lambda x: x.of.layer_index)
    last = max(x.layer_index for x in model.layers)
    ends = "" if deepest.of.layer_index == last else ", where the forward ends"
    of = f"{count} of {len(model.layers)} layers"
    branch = tree.add(_line("model", f"{part.key} ({model.architecture}): {of}, the deepest {deepest.layer}{ends}"))
    _list(branch, (_layer(x) for x in part.layers), count)


def _layer(layer: ChosenLayer) -> str:
    if layer.units is None:
        return f"{layer.layer}: {layer.width:,} units"
    few = ", ".join(map(str, layer.units[:8].tolist())) + (", ..." if layer.width > 8 else "")
    return f"{layer.layer}: {layer.width:,} of {layer.of.width:,} units: {few}"


def _hypothesis(row: HypothesisRow, label: Label) -> str:
    value = "" if label.value is None else f" {'has' if label.multiple else '='} '{label.value}'"
    where = "" if row.source in ("column", "sql") else f" ({row.source})"
    return f"{row.hypothesis}: {label.kind}, {label.expression}{value}{where}"


def _happened(tree: Tree, happened: Happened) -> None:
    run = happened.run
    branch = tree.add(
        _line(
            f"run {run['run']}",
            f"{_count(run['records_seen'], 'record')}, {_count(run['symbols_seen'], 'symbol')}, "
            f"{_time(run['seconds'])}; "
            f"{run['stopped_because']}",
        )
    )
    for note, count in happened.scores:
        branch.add(Text(_count(count, "score") + (f" missing: {note}" if note else "")))
    for name, count in run["counts"].items():
        if count:
            branch.add(Text(f"{name.replace('_', ' ')}: {count:,}"))


def _list(branch: Tree, lines: Iterable[str], count: int) -> None:
    for line in _some(lines, count):
        branch.add(Text(line))


def _some(lines: Iterable[str], count: int) -> Iterator[str]:
    for i, line in enumerate(lines):
        if i == FEW and count > FEW + 1:
            yield f"and {count - FEW:,} more"
            return
        yield line


def _line(name: str, text: str) -> Text:
    return Text(f"{name}: {text}")


def _count(number: int, noun: str, nouns: str = "") -> str:
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def _size(size: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} bytes"


def _time(seconds: float) -> str:
    if seconds < 0.1:
        return "less than 0.1 s"
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
