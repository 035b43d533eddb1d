# `make demo` and `make test` need only python3 (3.11 to 3.13), make and a network.

PYTHON ?= python3
BIN := .venv/bin
# What is installed beyond C4's base; docs/operations.md says which machine needs what. GPUs are TensorFlow's.
EXTRAS ?= demo $(if $(wildcard /proc/driver/nvidia/gpus/*),gpu)

# Beside tests that compute, a second Slurm cluster, with accounts, does not get its jobs through in time, and the steps
# of a backfill, which give way to everything else, would wait for ever. And where seconds are counted, nothing else works.
QUIET_TESTS := tests/slurm/test_client.py tests/slurm/test_backfill_on_slurm.py tests/test_backlog_trial.py \
	tests/doctor/test_hanging_hosts.py

.PHONY: demo install test ui lint format graph lock clean

demo: .venv/installed
	$(BIN)/c4 demo

install:
	PYTHON=$(PYTHON) deploy/install requirements.lock $(EXTRAS)
	touch .venv/installed

test: .venv/development
	deploy/system-packages
	$(BIN)/python -m pytest $(QUIET_TESTS)
	$(BIN)/python -m pytest --numprocesses 3 --no-loadscope-reorder $(QUIET_TESTS:%=--ignore=%)

ui: .venv/installed
	$(BIN)/c4 ui --demo

lint: .venv/development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

graph: .venv/installed
	$(BIN)/python -m testing.import_graph

format: .venv/development
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Locks without registry addresses: pip's configuration, or uv's, says where packages come from.
LOCK := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-header --quiet

lock: $(BIN)/uv
	$(LOCK) --extra all --extra gpu --extra checkout --output-file requirements.lock
	$(LOCK) --extra dev --constraints requirements.lock --output-file requirements-dev.lock

# Not all of .venv: a lock that lacks a new dependency could not be installed.
$(BIN)/uv:
	PYTHON=$(PYTHON) deploy/install requirements.lock

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis build dist

# Production, and what developing takes on top of it.
.venv/installed: requirements.lock pyproject.toml
	PYTHON=$(PYTHON) deploy/install requirements.lock $(EXTRAS)
	touch $@

.venv/development: requirements-dev.lock pyproject.toml
	PYTHON=$(PYTHON) deploy/install requirements-dev.lock dev
	touch .venv/installed $@
