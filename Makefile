# One word for everything one does here. Each target that needs the environment makes it first.
.DEFAULT_GOAL := help
.NOTPARALLEL:
SHELL := bash

# More words for the program or for pytest:  make test ARGS='-k replay'
ARGS ?=
# Test processes. Each loads torch by itself, so that more than a few do not pay.
WORKERS ?= 2

python := .venv/bin/python
pytest := OMP_NUM_THREADS=1 $(python) -m pytest

.PHONY: help setup demo test test-fast lint format type check bench acceptance golden docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup: ## make .venv and install everything (PYTHON=python3.12 chooses the interpreter)
	@.ci/setup

demo: setup ## learn a small drawn set from end to end; 4 to 9 minutes on 2 cores
	@.venv/bin/lst demo $(ARGS)

test: setup ## all tests
	@$(pytest) -n $(WORKERS) $(ARGS)

test-fast: setup ## the tests that build no detectron2 model
	@$(pytest) -n $(WORKERS) -m "not engine and not slow" $(ARGS)

lint: setup ## look at format and style, change nothing
	@$(python) -m ruff format --check .
	@$(python) -m ruff check .

format: setup ## format, and mend what can be mended by itself
	@$(python) -m ruff check --fix --quiet . || true
	@$(python) -m ruff format .

type: setup ## check the types
	@$(python) -m mypy

check: lint type test ## format, style, types, tests: what a change has to pass

bench: setup ## measure speed and memory; prints a table
	@OMP_NUM_THREADS=1 $(python) -m pytest -m bench -s $(ARGS)

acceptance: setup ## the long runs, on real data where it is at hand
	@$(python) -m pytest -m acceptance -s $(ARGS)

golden: setup ## write the expected manifest and report anew; review reads the diff
	@LST_UPDATE_GOLDEN=1 $(pytest) tests/golden $(ARGS)

docs: setup ## write docs/reference/cli.md from the commands' help
	@$(python) -m lst_cli.cli.reference docs/reference/cli.md

clean: ## remove what tools left behind; keeps .venv and every workspace
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	@find lst_cli tests .ci -name __pycache__ -type d -prune -exec rm -rf {} +
