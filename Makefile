# One word for everything one does here. Each target that needs the environment makes it first.
.DEFAULT_GOAL := help
.NOTPARALLEL:
SHELL := bash

# More words for the program or for pytest:  make test ARGS='-k replay'
ARGS ?=
# Test processes. Each loads torch by itself, so that more than a few do not pay.
WORKERS ?= 2

python := .venv/bin/python
# Compiled tests and modules are kept, whatever the environment asks for: many processes read them.
pytest := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(python) -m pytest

# Tests that build no network and take no data from elsewhere.
fast := not engine and not slow and not bench and not acceptance and not processes

.PHONY: help setup demo test test-fast test-second test-processes lint format type check bench acceptance golden \
	docs release clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup: ## make .venv and install everything (PYTHON=python3.12 chooses the interpreter)
	@.ci/setup

demo: setup ## learn a small drawn set from end to end; 4 to 9 minutes on 2 cores
	@.venv/bin/lst demo $(ARGS)

test: setup ## all tests
	@$(pytest) -n $(WORKERS) $(ARGS)

test-fast: setup ## the tests that build no detectron2 model
	@$(pytest) -n $(WORKERS) -m "$(fast)" $(ARGS)

test-second: setup ## those that need no torch, with another Python if there is one
	@OMP_NUM_THREADS=1 $(python) .ci/second_python.py -n $(WORKERS) -m "$(fast)" $(ARGS)

test-processes: setup ## those that run lst as several processes; two minutes
	@$(pytest) -m processes $(ARGS)

lint: setup ## look at format, style and spelling, change nothing
	@$(python) -m ruff format --check .
	@$(python) -m ruff check .
	@$(python) -m codespell_lib .ci docs lst_cli tests Makefile pyproject.toml *.md

format: setup ## format, and fix what can be fixed automatically
	@$(python) -m ruff check --fix --quiet . || true
	@$(python) -m ruff format .

type: setup ## check the types
	@$(python) -m mypy

check: lint type test ## format, style, spelling, types, tests: what a change has to pass

bench: setup ## measure speed and memory; prints a table
	@OMP_NUM_THREADS=1 $(python) -m pytest -m bench -s $(ARGS)

acceptance: setup ## the long runs, on real data where it is at hand
	@$(python) -m pytest -m acceptance -s $(ARGS)

golden: setup ## write the expected manifest and report again; review reads the diff
	@LST_UPDATE_GOLDEN=1 $(pytest) tests/golden $(ARGS)

docs: setup ## write docs/reference/cli.md, check links, run the commands of README and tutorial
	@$(python) -m lst_cli.cli.reference docs/reference/cli.md
	@OMP_NUM_THREADS=1 $(python) .ci/check_docs.py run

release: setup ## check everything, build sdist and wheel, try them; publishes nothing
	@$(python) .ci/release.py ready
	@$(MAKE) --no-print-directory check docs
	@$(python) .ci/release.py

clean: ## remove what tools left behind; keeps .venv and every workspace
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	@find lst_cli tests .ci -name __pycache__ -type d -prune -exec rm -rf {} +
