# Every target makes the environment it needs, so a fresh clone needs Python, make and nothing else.
#
#   make demo ARGS=--yes                 the demo without a question
#   make test ARGS='-k approval -x'      options for pytest
#   make test PYTHON=python3.13          another interpreter (after `make clean`)

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
# The stamp is made last: an interrupted installation is started again.
READY := $(VENV)/.ready
# Durable engines hold back packages that we share with them.
ENGINES := $(VENV)/engines

.DEFAULT_GOAL := help
.PHONY: help demo test test-postgres nightly conformance check bench docs dist test-packaging test-clients test-engines test-machine format clean

help: ## show this help
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null \
	  || sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1  \2/p' $(MAKEFILE_LIST)

demo: $(READY) ## see one task there and back on real Codex, without an account
	$(BIN)/codex-control-plane-mcp-admin demo $(ARGS)

test: $(READY) ## run the test suite, with coverage
	$(BIN)/python -m pytest -n logical --dist loadfile --cov --cov-report=term:skip-covered $(ARGS)

test-postgres: $(READY) ## run the suites of store, work, desk and the sweep over PostgreSQL
	$(BIN)/python -m pytest -n logical --book postgres tests/store tests/work tests/desk tests/selftest $(ARGS)

nightly: $(READY) ## the long proof: every mutant is caught
	$(BIN)/python -m pytest -m nightly $(ARGS)

conformance: $(READY) ## run the official MCP conformance suite and the Inspector
	$(BIN)/python -m pip install --quiet -e '.[conformance]'
	$(BIN)/python -m pytest -m conformance $(ARGS)

check: $(READY) ## format, lint, types, and the floors of the house
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32 src
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin src
	$(BIN)/lint-imports --no-logo

bench: $(READY) ## measure on this machine
	$(BIN)/python -m benchmarks $(ARGS)

dist: $(READY) ## build the wheel, the sdist and the bundle
	rm -rf dist
	$(BIN)/python -m scripts.build

test-packaging: dist ## install what was built with pipx and uv, and try it
	$(BIN)/python -m pytest -m packaging -o faulthandler_timeout=900 $(ARGS)

test-clients: $(READY) ## have real clients use the server (installs them from npm and PyPI)
	$(BIN)/python -m pip install --quiet -e '.[conformance]'
	$(BIN)/python -m pytest -m clients -o faulthandler_timeout=900 $(ARGS)

test-machine: $(READY) ## provoke a full disk, an old Codex and the like (Linux, root, faketime)
	$(BIN)/python -m pytest -m machine $(ARGS)

test-engines: $(READY) ## run the recipes on DBOS, Temporal and Prefect (installs them from PyPI)
	$(PYTHON) -m venv $(ENGINES)
	$(ENGINES)/bin/python -m pip install --quiet -r tests/engines/requirements.txt
	MYPYPATH=examples/recipes $(BIN)/mypy --python-executable $(ENGINES)/bin/python examples/recipes
	$(BIN)/python -m pytest -m engines -o faulthandler_timeout=900 $(ARGS)

docs: $(READY) ## write the documents that are drawn from the code
	$(BIN)/python -m scripts.make_docs
	$(BIN)/python -m scripts.make_surface

format: $(READY) ## format the code and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove the environment, caches and builds
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -rf .coverage .coverage.* htmlcov dist build
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@
