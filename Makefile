# Each target sets up .venv by itself, and does nothing twice.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test lint check peers clean help

help:
	@echo "make demo    install, then train LeNet-5 on real digits, evaluate it, predict held-out images"
	@echo "make test    install, then run the tests"
	@echo "make lint    ruff and mypy"
	@echo "make check   lint, then test: what CI runs"
	@echo "make peers   install torchvision, timm, captum and others too, and compare our networks, counts and pictures with theirs"
	@echo "make clean   remove .venv and caches"

# constraints.txt holds the versions that were tested together; the ranges in pyproject.toml stay open.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(READY)
	$(BIN)/fovea train
	$(BIN)/fovea evaluate runs/latest
	$(BIN)/fovea predict runs/latest runs/latest/held_out

# One process per core, one thread each; a file's tests stay together, so that what they share is made once.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist loadfile --no-loadscope-reorder

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test

peers: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,peers]'
	$(BIN)/python -m pytest -q -m "slow or not slow" tests/transfer tests/cost/test_against_peers.py tests/data/augmentation tests/explain

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
