# `make run` and `make test` need nothing but make and Python 3.11 or later.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Holds the folder that it was installed for, and is written last: a venv without it is half-made.
STAMP := $(VENV)/installed
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq

MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:
.PHONY: help run test lint bench schema clean moved

help: ## show this
	@echo "make run     run Tenfold on this machine; Ctrl-C stops it, the data stays"
	@echo "             PORT=8000 and TENFOLD_HOME=.tenfold choose where; .env and .env.example have the rest"
	@echo "make test    run all tests; ARGS='-k name' chooses, ARGS='-m \"not faults\"' leaves out the long ones"
	@echo "make lint    check style, types and imports"
	@echo "make bench   measure, beside what the machine can do at most"
	@echo "make schema  write migrations/schema.sql anew, after a migration was added"
	@echo "make clean   remove what was installed and built; .tenfold, which holds data, stays"

run: $(STAMP)
	@exec $(BIN)/tenfold dev

test: $(STAMP)
	@exec $(BIN)/python -m pytest $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)
	@exec $(BIN)/python -m ops.bench $(ARGS)

schema: $(STAMP)
	@exec $(BIN)/python -m ops.dev.schema

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find api core migrations ops tests worker -name __pycache__ -type d -prune -exec rm -rf {} +

# A venv knows its folder by its absolute path: moved or copied, it must be made anew.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
$(STAMP): moved
endif

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Tenfold needs Python 3.11 or later; '$(PYTHON)' is $$($(PYTHON) --version 2>/dev/null || echo not there)."; \
		echo "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; } >&2
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "'$(PYTHON)' cannot make virtual environments: its venv module is not complete."; \
		echo "On Debian and Ubuntu: apt install python3-venv"; exit 1; } >&2
	@if [ "$$(cat $@ 2>/dev/null)" != "$(CURDIR)" ] || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		echo "making $(VENV)"; rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); fi
	@rm -f $@
	@echo "installing into $(VENV); the first time this takes a minute"
	@$(PIP) install -c constraints.txt setuptools
	@$(PIP) install -c constraints.txt --no-build-isolation -e '.[dev]'
	@echo "$(CURDIR)" > $@
