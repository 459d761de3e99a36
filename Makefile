# The menu. Each target makes what it needs; `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
PYTHON ?= python3.11
BIN := .venv/bin
PROTO := $(wildcard proto/concordat/wire/v1/*.proto)
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo model test test-all test-seeds simulate leak-test images compose-init compose-up compose-down lint types proto proto-check bench bench-large bench-psi bench-pictures fmt lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

.venv/ready: requirements.lock pyproject.toml scripts/make-venv
	@PYTHON=$(PYTHON) scripts/make-venv
	@touch $@

demo: .venv/ready ## run a whole federation on this machine and check its report (ARGS="--help" for more)
	@$(BIN)/concordat demo $(ARGS)

test: .venv/ready ## lint, types and the tests that this machine can run, in less than ten minutes
	@scripts/run-tests

test-all: .venv/ready ## every test with containers, PostgreSQL and a browser; a skipped test is a failure
	@scripts/test-all

images: .venv/ready ## build the container image of every role, without network
	@scripts/images

compose-init: ## make the folders of the federation in deploy/compose.yaml, once
	@scripts/compose-init

compose-up: compose-init ## start the federation in deploy/compose.yaml and wait until it is healthy (after make images)
	@docker compose -f deploy/compose.yaml up -d --wait

compose-down: ## stop it; keys, records and the ledger stay
	@docker compose -f deploy/compose.yaml down

leak-test: .venv/ready ## whether an asker can tell a silent holder by time, in about four minutes on a quiet machine
	@scripts/leak-test $(ARGS)

test-seeds: .venv/ready ## the demo with seeds 1 to 20
	@scripts/demo-seeds 1 20

simulate: .venv/ready ## random histories of a whole federation: SEEDS=1000 for many, SEED=n for one with its trace
	@$(BIN)/python -m tests.simulation.cli $(ARGS)

lint: .venv/ready ## ruff and the import contracts
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports

types: .venv/ready ## mypy, strict, on sources and tests
	@$(BIN)/mypy

model: .venv/ready ## explore the protocol's model with progress (ARGS="--wide NAME", ARGS=--help)
	@PYTHONHASHSEED=0 $(BIN)/python -m tests.model.run $(ARGS)

proto: .venv/ready ## generate concordat/wire from proto/
	@scripts/generate-wire

proto-check: .venv/ready ## fail if the checked-in generated code differs from proto/
	@scripts/generate-wire --check

bench: .venv/ready ## measure everything beside its peers, in about six minutes on two quiet cores (ARGS="sweep --json")
	@scripts/make-bench-venv .venv-bench bench/requirements.lock
	@$(BIN)/python -m bench $(ARGS)

bench-large: .venv/ready ## sweeps up to 26 x 10 M, an index and filters of that size: 35 GB of disk, 18 GB of memory
	@$(BIN)/python -m bench --large $(ARGS)

bench-psi: .venv/ready ## two parties by private set intersection, beside tokens
	@scripts/make-bench-venv .venv-bench-openmined bench/requirements-openmined.lock
	@scripts/make-bench-venv .venv-bench-spu bench/requirements-spu.lock
	@$(BIN)/python -m bench psi $(ARGS)

bench-pictures: .venv/ready ## draw docs/performance/*.svg from bench/out
	@$(BIN)/python -m bench.pictures

fmt: .venv/ready ## format and fix what can be fixed
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

lock: .venv/ready ## renew the hashed lock
	@command -v uv >/dev/null || $(BIN)/python -m pip install -q --disable-pip-version-check uv
	@PATH="$(BIN):$$PATH" uv pip compile --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 \
		--all-extras --group dev pyproject.toml -o requirements.lock --upgrade

clean: ## remove what the targets made
	@rm -rf .venv .venv-bench* .coverage* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache dist build
