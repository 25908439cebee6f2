# Everything runs in .venv, which is rebuilt only when pyproject.toml changes.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
BENCH  ?= bench_overhead.py --batch 0.02

.DEFAULT_GOAL := help
.PHONY: help demo test lint typecheck soak bench pictures clean

help:  ## show the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $(VENV)/.installed $@

demo: $(VENV)/.installed  ## count the words of a small text server, every second
	@$(BIN)/headwater demo

test: lint typecheck  ## lint, check types, run the tests with coverage
	$(BIN)/pytest --cov --cov-report=term

lint: $(VENV)/.installed-dev  ## ruff
	$(BIN)/ruff check .

typecheck: $(VENV)/.installed-dev  ## mypy --strict
	$(BIN)/mypy

soak: $(VENV)/.installed-dev  ## ten minutes of killed drivers under load: prints what was sent, counted, lost
	$(BIN)/python -m tests.soak.recovery

bench: $(VENV)/.installed-dev  ## one benchmark: make bench BENCH='bench_text.py --seconds 20'
	cd bench && ../$(BIN)/python $(BENCH) --package headwater

pictures: $(VENV)/.installed-dev  ## draw the documentation's pictures of lives anew from the code's tables
	$(BIN)/python -m tests.drawing

clean:  ## remove the venv, caches, build output
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
