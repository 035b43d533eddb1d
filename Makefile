# `make demo` and `make test` need only python3 (3.11 to 3.13), make and a network.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test ui lint format graph lock clean

demo: .venv/installed
	$(BIN)/c4 demo

test: .venv/installed
	deploy/system-packages
	$(BIN)/python -m pytest

ui: .venv/installed
	$(BIN)/c4 ui --demo

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

graph: .venv/installed
	$(BIN)/python -m testing.import_graph

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# A lock without registry addresses: pip's configuration, or uv's, says where packages come from.
lock: .venv/installed
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --quiet --output-file requirements.lock

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis build dist

.venv/installed: requirements.lock pyproject.toml
	PYTHON=$(PYTHON) deploy/install
	touch $@
