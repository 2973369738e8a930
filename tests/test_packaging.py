"""The wheel is whole: built from this tree and installed where nothing else is, it runs the demo."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*command: str | Path, cwd: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "DEEPBASE", "VIRTUAL_ENV"))}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of what git knows, so that litter in the tree cannot complete it."""
    source = tmp_path_factory.mktemp("source")
    folder = tmp_path_factory.mktemp("dist")
    for name in run("git", "ls-files", "-co", "--exclude-standard", cwd=ROOT).splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source, cwd=folder)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_every_module_and_every_data_file(wheel: Path) -> None:
    packed = set(zipfile.ZipFile(wheel).namelist())
    for folder, inside in (("deepbase", "deepbase"), ("sql", "deepbase/sql"), ("hypotheses", "deepbase/hypotheses")):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert f"{inside}/{path.relative_to(ROOT / folder)}" in packed
    assert any(name.endswith("licenses/LICENSE") for name in packed)
    assert not any(name.startswith(("tests", "docs", "benchmarks", "sql", "hypotheses")) for name in packed)


def test_the_demo_runs_from_the_wheel_in_a_clean_environment(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "env", cwd=tmp_path)
    python = tmp_path / "env" / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check")
    run(*pip, "--no-compile", "-c", ROOT / "constraints.txt", wheel, cwd=tmp_path)  # most of it is never imported
    printed = run(tmp_path / "env" / "bin" / "deepbase", "demo", "--records", "128", cwd=tmp_path)
    assert "in_where_clause" in printed
    assert (tmp_path / "deepbase-demo.duckdb").exists()
    for line in printed.splitlines()[-3:]:
        assert line.startswith("  deepbase ")
        shown = run("bash", "-c", f"PATH={python.parent}:$PATH; {line}", cwd=tmp_path)
        assert "lstm" in shown
