# `make run` and `make test` need nothing but make and Python 3.11 or later.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Each holds the folder that it was installed for, and is written last: a venv without it is half-made.
# The first has what Tenfold needs to run; the second also what tests and linters need.
RUNS := $(VENV)/installed
DEVELOPS := $(VENV)/installed-dev

MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:
.PHONY: help run test test-quick lint bench schema clean moved

help: ## show this
	@echo "make run         run Tenfold on this machine; Ctrl-C stops it, the data stays"
	@echo "                 PORT=8000 and TENFOLD_HOME=.tenfold choose where; .env and .env.example have the rest"
	@echo "make test        run all tests, in parts beside each other; ARGS='-k name' chooses some"
	@echo "make test-quick  run some tests of every capability, in three minutes"
	@echo "make lint        check style, types and imports"
	@echo "make bench       measure, beside what the machine can do at most"
	@echo "make schema      write migrations/schema.sql anew, after a migration was added"
	@echo "make clean       remove what was installed and built; .tenfold, which holds data, stays"

run: $(RUNS)
	@exec $(BIN)/tenfold dev

test: $(DEVELOPS)
	@exec $(BIN)/python -m $(if $(ARGS),pytest $(ARGS),tests.parts)

test-quick: $(DEVELOPS)
	@exec $(BIN)/python -m tests.parts --quick

lint: $(DEVELOPS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(RUNS)
	@exec $(BIN)/python -m ops.bench $(ARGS)

schema: $(RUNS)
	@exec $(BIN)/python -m ops.dev.schema

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find api core migrations ops tests worker -name __pycache__ -type d -prune -exec rm -rf {} +

# A venv knows its folder by its absolute path: moved or copied, it must be made anew.
ifneq ($(shell cat $(RUNS) 2>/dev/null),$(CURDIR))
$(RUNS): moved
endif

$(RUNS): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Tenfold needs Python 3.11 or later; '$(PYTHON)' is $$($(PYTHON) --version 2>/dev/null || echo not there)."; \
		echo "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; } >&2
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "'$(PYTHON)' cannot make virtual environments: its venv module is not complete."; \
		echo "On Debian and Ubuntu: apt install python3-venv"; exit 1; } >&2
	@echo "installing what Tenfold needs into $(VENV)"
	@if [ "$$(cat $@ 2>/dev/null)" = "$(CURDIR)" ]; then anew=; else anew=--anew; fi; rm -f $@; \
		exec $(PYTHON) ops/dev/install.py $(VENV) embedded $$anew
	@echo "$(CURDIR)" > $@

$(DEVELOPS): $(RUNS)
	@echo "installing what tests and linters need, too"
	@rm -f $@; exec $(PYTHON) ops/dev/install.py $(VENV) dev
	@echo "$(CURDIR)" > $@
