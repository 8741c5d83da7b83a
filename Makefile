# The habits of this project; `make` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo lint check test interop faults bench doctor clean
MAKEFLAGS += --no-print-directory

CACHE := $(or $(ANLAN_CACHE),$(HOME)/.cache/anlan)
export PATH := $(CACHE)/bin:$(PATH)
RUN := uv run --no-sync
BENCH := $(RUN) python -m tests.bench
YAML := policies drills roles stacks
# Two at a time, each with an environment of its own; the tests of a file stay together.
BESIDE := -n 2 --dist loadfile

help: ## list these habits
	@sed -n 's/^\([a-z]*\):[^#]*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup: ## get what the machine must have, and the locked Python environment
	@python3 toolchain/install.py install
	@uv sync --locked --quiet

demo: setup ## provision two sites, drill a failover, verify the evidence
	$(RUN) anlan demo

lint: setup
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) lint-imports
	$(RUN) yamllint --strict $(YAML)
	ANSIBLE_LIBRARY=$(CURDIR)/roles/library ANSIBLE_MODULE_UTILS=$(CURDIR)/roles/module_utils \
		$(RUN) ansible-lint --offline -q roles

check: lint ## lint, types and unit tests: under a minute
	$(RUN) pytest -q tests/unit

test: lint ## everything: check, and the contract, e2e, fault and tamper tests
	$(RUN) pytest tests $(BESIDE) --durations=20

interop: setup ## our evidence against other verifiers: builds cosign the first time (minutes)
	@python3 toolchain/install.py install --only cosign
	ANLAN_INTEROP=all $(RUN) pytest -q tests/interop

faults: setup ## the fault tests alone, all of them: kill, partition, interrupt, resume
	ANLAN_FAULTS=all $(RUN) pytest tests/faults $(BESIDE)

bench: setup ## measure RTO, RPO and throughput on this machine
	$(BENCH)

doctor: ## say what the machine has and lacks
	@python3 toolchain/install.py check

clean: ## remove every environment and its processes, then all that was built here
	@if [ -x .venv/bin/anlan ]; then .venv/bin/anlan clean --yes; fi
	rm -rf .venv .anlan build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .ansible
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
