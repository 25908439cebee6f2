# Everything runs in .venv, or in .venv-python3.10 with PYTHON=python3.10, which is rebuilt only when pyproject.toml
# changes.
PYTHON  ?= python3
PYTHONS := python3.10 python3.11 python3.12 python3.13
VENV    := $(if $(filter python3,$(PYTHON)),.venv,.venv-$(notdir $(PYTHON)))
BIN     := $(VENV)/bin
BENCH   ?= bench_overhead.py --batch 0.02
# Most tests wait for processes for a part of their time, so four at once keep two cores busy. Tests that share a server
# are a group, which runs in one worker.
WORKERS ?= 4
PYTEST  = $(BIN)/pytest -n $(WORKERS)
# Tests start thousands of processes: each would compile the whole package where the environment forbids to keep that.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help demo test unit test-long coverage lint typecheck soak bench pictures docs changelog clean

help:  ## show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $(VENV)/.installed $@

$(VENV)/.installed-docs: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[docs]'
	@touch $(VENV)/.installed $@

demo: $(VENV)/.installed  ## count the words of a small text server, every second
	@$(BIN)/headwater demo

test: lint  ## lint, check types, run the tests: what must pass before a change is merged
	@$(MAKE) --no-print-directory -j2 typecheck unit

unit: $(VENV)/.installed-dev  ## the tests alone
	$(PYTEST)

test-long: soak  ## the soak, then the tests of each Python that is found, with five times as many random cases: hours
	@for python in $(PYTHONS); do \
	  $$python -c '' 2>/dev/null || { echo "$$python isn't there: left out"; continue; }; \
	  HEADWATER_EFFORT=5 $(MAKE) test PYTHON=$$python || exit 1; \
	done

coverage: $(VENV)/.installed-dev  ## the tests with branch coverage, which takes half as long again
	$(PYTEST) --cov --cov-report=term

lint: $(VENV)/.installed-dev  ## ruff: what is wrong, and what is not formatted
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .

typecheck: $(VENV)/.installed-dev  ## mypy --strict
	$(BIN)/mypy

soak: $(VENV)/.installed-dev  ## ten minutes of killed drivers under load: prints what was sent, counted, lost
	$(BIN)/python -m tests.soak.recovery

bench: $(VENV)/.installed-dev  ## one benchmark: make bench BENCH='bench_text.py --seconds 20'
	cd bench && ../$(BIN)/python $(BENCH) --package headwater

docs: $(VENV)/.installed-docs  ## the site of the documentation, in build/docs; warnings are errors
	$(BIN)/sphinx-build -W --keep-going -q -c docs -b html . build/docs
	@echo "build/docs/index.html"

changelog: $(VENV)/.installed-docs  ## draft of the changelog's next section, from changes/
	$(BIN)/towncrier build --draft --version Unreleased

pictures: $(VENV)/.installed-dev  ## draw the documentation's pictures of lives anew from the code's tables
	$(BIN)/python -m tests.drawing

clean:  ## remove the venv, caches, build output
	rm -rf .venv .venv-* build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
