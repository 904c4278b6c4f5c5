# `make help` lists the targets. Everything runs in .venv; the first target makes it.
PYTHON ?= python3
BIN    := .venv/bin
SHELL  := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

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

# Tests wait for servers more than they compute: two lanes side by side, also on one core (tests/conftest.py).
LANES ?= 2
.PHONY: test
test: .venv/stamp binaries ## everything, on real servers
	$(BIN)/pytest --numprocesses $(LANES) --dist loadscope --no-loadscope-reorder

.PHONY: images
images: .venv/stamp ## container images as archives in dist/images, without a container daemon
	$(BIN)/pointsman lab cluster images ours --out dist/images

.PHONY: e2e-cluster
e2e-cluster: .venv/stamp ## pods on a real node of this machine; needs root (docs/lab-cluster.md)
	@test "$$(id -u)" = 0 || { echo "SKIPPED: a real node needs root: sudo -E make e2e-cluster" >&2; exit 1; }
	@$(BIN)/pointsman lab binaries --for cluster
	@$(BIN)/pointsman lab cluster images all
	$(BIN)/pytest --capture=no --durations=30 tests/cluster

.PHONY: test-unit
test-unit: .venv/stamp ## what needs no server: under a minute
	$(BIN)/pytest --numprocesses auto tests/unit

.PHONY: lint
lint: .venv/stamp ## style, types, layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check --quiet
	$(BIN)/mypy
	$(BIN)/lint-imports

# In an environment of its own: what it needs is no part of ours. --strict: a package that the advisory database does
# not know is a failure, not a clean bill. Needs pypi.org's JSON API: a mirror of the index alone has no advisories.
.PHONY: audit
audit: .venv/stamp ## known vulnerabilities of what the image holds; needs pypi.org itself
	@test -x .venv/audit/bin/pip-audit || { $(PYTHON) -m venv .venv/audit && .venv/audit/bin/python -m pip install --quiet 'pip-audit==2.10.1'; }
	.venv/audit/bin/pip-audit --requirement images/pointsman/constraints.txt --no-deps --disable-pip --strict --progress-spinner off

.PHONY: bench
bench: .venv/stamp binaries ## measure, side by side in one run (docs/benchmarks.md)
	PYTHONPATH=tests $(BIN)/python -m bench

.PHONY: bench-peers
bench-peers: .venv/stamp ## Flagger and Argo Rollouts beside us, built from their modules (over an hour)
	@$(BIN)/pointsman lab binaries --for bench
	PYTHONPATH=tests $(BIN)/python -m bench peers revert

.PHONY: generate
generate: .venv/stamp ## write the CRDs, the API reference and what is generated in the charts anew
	$(BIN)/pointsman crd generate
	$(BIN)/pointsman crd docs
	$(BIN)/python charts/generate.py
	$(BIN)/python gitops/argo-cd/generate.py
	$(BIN)/python charts/pointsman/dashboards/build.py

.PHONY: verify
verify: lint ## what CI holds you to: lint, generated files fresh and committed
	$(BIN)/pointsman crd generate --check
	$(BIN)/pointsman crd docs --check
	$(BIN)/python charts/generate.py --check
	$(BIN)/python gitops/argo-cd/generate.py --check
	$(BIN)/python charts/pointsman/dashboards/build.py --check
	git diff --exit-code HEAD -- crds docs/reference charts gitops/argo-cd
