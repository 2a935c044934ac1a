# `make test` on a fresh machine (python3-venv, make, git) sets everything up and runs the tests.
PY ?= python3
comma := ,
VENV := .venv
BIN := $(VENV)/bin
EXTRAS ?= dev
STAMP := $(VENV)/.installed-$(subst $(comma),-,$(EXTRAS))

.PHONY: setup demo test lint type bench bench-peers sweep-cuts lock

setup: $(STAMP)

$(BIN)/python:
	$(PY) -m venv $(VENV)

# Byte code is compiled on purpose: where PYTHONDONTWRITEBYTECODE is set, every import would else be 2 to 3 times slower.
$(STAMP): $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv || true
	if [ -x $(BIN)/uv ]; then \
	  $(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode -c constraints.txt -e '.$(if $(EXTRAS),[$(EXTRAS)])'; \
	else \
	  $(BIN)/python -m pip install --quiet -c constraints.txt -e '.$(if $(EXTRAS),[$(EXTRAS)])'; \
	fi
	touch $@

# Needs the core dependencies only; an environment that is there already will do.
demo:
	$(if $(wildcard $(VENV)/.installed-*),,$(MAKE) setup EXTRAS=)
	$(BIN)/frostline demo

# Four processes on two cores, since tests wait for disks and for what they start; each takes over what others have left.
test: setup
	$(BIN)/python -m pytest -n 4 --dist worksteal

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive src tools

type: setup
	$(BIN)/mypy

bench: setup
	$(BIN)/python benchmarks/compare.py $(BENCH)

# Cuts of about 130 networks, one process; SWEEP="--only hf,resnet" takes some of them.
sweep-cuts: setup
	nice $(BIN)/python benchmarks/sweep_cuts.py --log benchmarks/.sweep-cuts.jsonl --out docs/cuts.md $(SWEEP)

# The tools that `make bench` compares with, in environments of their own (about 8 GB); without them it skips these.
# After a change of a *.in file: uv pip compile, as in `lock`, once for each.
PEERS := benchmarks/.venv-peers

bench-peers: $(PEERS)/torch/.installed $(PEERS)/keras/.installed

$(PEERS)/%/.installed: benchmarks/peers/%.txt | setup
	$(BIN)/python -m venv --clear $(@D)
	if [ -x $(BIN)/uv ]; then \
	  $(BIN)/uv pip install --quiet --python $(@D)/bin/python --compile-bytecode -r $<; \
	else \
	  $(@D)/bin/python -m pip install --quiet -r $<; \
	fi
	touch $@

lock: $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip compile --quiet --all-extras --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	  --python-version 3.11 -o constraints.txt pyproject.toml
