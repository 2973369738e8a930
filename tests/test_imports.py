"""Who may import whom, read from the source; and what the first command has to wait for."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import deepbase

ROOT = Path(deepbase.__file__).parent
STAGES = {"query", "inputs", "models", "labels", "measures"}
LIGHT = {"__init__", "cli", "cli_options", "errors", "faults", "relation", "blocks", "catalog", "runs", "store"}
LIGHT |= {"instance", "inspection", "selections"}
MODULES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for file in sorted(ROOT.rglob("*.py"))
}


def _imports(name, *, everywhere=True):
    """The modules that a module imports; those at its top level only, or those in its functions too."""
    tree = ast.parse(MODULES[name].read_text())
    found = set()
    todo = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            todo += node.orelse
            if everywhere:
                todo += node.body
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            found.add(node.module)
            found |= {f"{node.module}.{a.name}" for a in node.names if f"{node.module}.{a.name}" in _OURS}
        elif everywhere or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            todo += ast.iter_child_nodes(node)
    return found


_OURS = {f"deepbase.{name}" for name in MODULES}


def _ours(name, **options):
    """The modules of ours that a module imports, without the prefix."""
    return {
        i.removeprefix("deepbase.")
        for i in _imports(name, **options)
        if i.startswith("deepbase.") and not i.startswith(("deepbase.hypotheses", "deepbase.sql"))
    }


def _stage(name):
    return name.split(".")[0]


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_one_way(name):
    stage, imported = _stage(name), _ours(name)
    stages = {_stage(i) for i in imported}
    assert "cli" not in imported, "nobody imports the command line"
    if stage in STAGES:
        nouns = {"errors", "faults", "blocks"} | ({"python_files"} if stage == "labels" else set())
        assert stages - {stage} <= nouns, "a stage knows its own modules, and the nouns"
    if stage in ("catalog", "runs", "selections", "store", "instance"):
        assert stages <= {"errors", "blocks", "catalog", "selections", "store", "instance"}, (
            "the tables know nothing of what fills them"
        )
    if stage == "engine":
        assert stages <= STAGES | {"engine", "errors", "blocks", "catalog", "runs", "store"}
    if stage == "tables":
        assert stages <= {
            "tables",
            "inputs",
            "models",
            "labels",
            "engine",
            "errors",
            "faults",
            "blocks",
            "catalog",
            "store",
        }
        assert {i for i in imported if _stage(i) == "engine"} <= {"engine.behaviors"}
    if stage in STAGES | {"engine", "catalog", "runs", "store", "instance"}:
        assert "tables" not in stages, "the tables are one more face of what is there"
    if stage in ("faults", "relation"):
        assert stages <= {"faults"}
    if stage == "report":
        assert stages <= {"report", "errors", "blocks", "catalog", "inspection", "engine", "labels"}
    if stage in ("cli", "cli_options"):
        heavy = stages & (STAGES | {"engine"})
        assert heavy <= {"labels"}, "the command line calls the database, and lists the library"
    assert stages <= {"testing", "measures", "blocks", "errors"} or stage != "testing", "it knows measures alone"
    assert "testing" not in stages or stage in ("testing", "__init__"), "what tries measures is no part of them"
    assert not stages & {"demo", "selftest"} or stage in ("cli", "demo"), "what shows the product is no part of it"


def test_errors_import_nothing_of_ours_and_blocks_only_errors():
    assert _ours("errors") == set()
    assert _ours("blocks") <= {"errors"}


def test_the_stages_meet_in_the_engine_alone():
    """The registries above it make names of what stages give; they never hand the values of one stage to another."""
    meeting = {n for n in MODULES if len({_stage(i) for i in _ours(n)} & {"models", "labels", "measures"}) > 1}
    meeting -= {"tables.base"}  # it only says where a scan gets both from
    assert {_stage(n) for n in meeting} <= {"engine", "__init__", "deepbase"}


@pytest.mark.parametrize(
    "name", [n for n in MODULES if _stage(n) in {*LIGHT, "query", "inputs", "labels", "report", "tables"}]
)
def test_no_torch_where_nothing_is_computed(name):
    heavy = {i.split(".")[0] for i in _imports(name, everywhere=False)} & {"torch", "transformers"}
    assert not heavy


@pytest.mark.parametrize(
    ("package", "homes"),
    [
        ("click", {"cli", "cli_options"}),
        ("transformers", {"models", "inputs"}),
        ("rich", {"report"}),
        ("safetensors", {"models", "engine", "demo"}),
    ],
)
def test_a_package_has_one_home(package, homes):
    found = {_stage(name) for name in MODULES if any(i.split(".")[0] == package for i in _imports(name))}
    assert found <= homes


def _loaded_after(code):
    script = (
        f"import sys\n{code}\nprint(*[m for m in ('torch', 'duckdb', 'transformers', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return done.stdout.splitlines()[-1].split()


def test_importing_deepbase_loads_nothing_heavy():
    assert _loaded_after("import deepbase; dir(deepbase); deepbase.__version__") == []


def test_help_loads_nothing_heavy():
    code = (
        "from deepbase.cli import main\n"
        "for command in ['--help'], ['inspect', '--help'], ['models', 'add', '--help'], ['--version']:\n"
        "    main(command, standalone_mode=False)"
    )
    assert _loaded_after(code) == []


def test_a_database_loads_no_torch():
    code = "import deepbase\nwith deepbase.connect() as db: db.sql('FROM scores').fetchall()"
    assert "torch" not in _loaded_after(code)


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="module 'deepbase' has no attribute 'conect'"):
        _ = deepbase.conect
    assert all(getattr(deepbase, name) for name in deepbase.__all__)
