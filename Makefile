# `make help` lists the targets. Everything runs in .venv; the first target makes it.
PYTHON ?= python3
BIN    := .venv/bin
SHELL  := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Is there Envoy and Triton for this machine? Asked before anything is downloaded.
.venv/stamp: pyproject.toml
	@$(PYTHON) operator/pointsman/lab/host.py
	@echo "setting up .venv: once, a few minutes"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

# Built here, where nobody's patience ends, and not within a test.
.PHONY: binaries
binaries: .venv/stamp
	@$(BIN)/pointsman lab binaries

.PHONY: demo
demo: .venv/stamp ## five rollouts under real traffic: good ones promoted, bad ones stopped (12 minutes)
	$(BIN)/pointsman demo --report demo-report.html

.PHONY: test
test: .venv/stamp binaries ## everything, on real servers
	$(BIN)/pytest

.PHONY: test-unit
test-unit: .venv/stamp ## what needs no server: under a minute
	$(BIN)/pytest --numprocesses auto tests/unit

.PHONY: lint
lint: .venv/stamp ## style, types, layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check --quiet
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: bench
bench: .venv/stamp binaries ## measure, side by side in one run (docs/benchmarks.md)
	PYTHONPATH=tests $(BIN)/python -m bench

.PHONY: generate
generate: .venv/stamp ## write the CRDs and the API reference anew
	$(BIN)/pointsman crd generate
	$(BIN)/pointsman crd docs

.PHONY: verify
verify: lint ## what CI holds you to: lint, generated files fresh and committed
	$(BIN)/pointsman crd generate --check
	$(BIN)/pointsman crd docs --check
	git diff --exit-code HEAD -- crds docs/reference
