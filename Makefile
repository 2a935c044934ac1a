# `make test` on a fresh machine (python3-venv, make, git) sets everything up and runs the tests.
PY ?= python3
comma := ,
VENV := .venv
BIN := $(VENV)/bin
EXTRAS ?= dev
STAMP := $(VENV)/.installed-$(subst $(comma),-,$(EXTRAS))

.PHONY: setup test lint type bench lock

setup: $(STAMP)

$(BIN)/python:
	$(PY) -m venv $(VENV)

# Byte code is compiled on purpose: where PYTHONDONTWRITEBYTECODE is set, every import would else be 2 to 3 times slower.
$(STAMP): $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv || true
	if [ -x $(BIN)/uv ]; then \
	  $(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode -c constraints.txt -e '.[$(EXTRAS)]'; \
	else \
	  $(BIN)/python -m pip install --quiet -c constraints.txt -e '.[$(EXTRAS)]'; \
	fi
	touch $@

test: setup
	$(BIN)/python -m pytest -n 2

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

type: setup
	$(BIN)/mypy

bench: setup
	$(BIN)/python benchmarks/compare.py

lock: $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip compile --quiet --all-extras --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	  --python-version 3.11 -o constraints.txt pyproject.toml
