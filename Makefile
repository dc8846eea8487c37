# Two commands set everything up: `make demo` and `make test`. Each builds .venv from the lock if it is missing or stale.
PYTHON ?= python3
BIN := .venv/bin

# The fast tests, and the others that need neither a GPU nor hours. COVER=--cov counts the lines they reach.
PYTEST := $(BIN)/pytest -n auto --maxprocesses 4
COVER :=

.PHONY: demo test coverage soak lint types lock bench

demo: .venv/ready
	$(BIN)/mbdcnn demo

test: .venv/ready
	$(PYTEST) -m "not slow and not gpu and not soak" $(COVER)

# Those and the slow ones, and which lines of the package none reaches; fails below what pyproject.toml asks for.
coverage: COVER := --cov --cov-report= --cov-fail-under=0
coverage: test
	$(PYTEST) -m "slow and not gpu and not soak" --durations=25 --cov --cov-append --cov-report term-missing:skip-covered

# Long runs of load and injected faults: docs/reliability.md.
soak: .venv/ready
	$(BIN)/pytest -m soak

lint: .venv/ready
	$(BIN)/ruff check src tests experiments benchmarks examples
	$(BIN)/ruff format --check src tests experiments benchmarks examples

# One table each; more than a quarter of an hour on two cores.
bench: .venv/ready
	for table in losses maps training inference preparation memory startup serving; do $(BIN)/python benchmarks/$$table.py || exit 1; done

types: .venv/ready
	$(BIN)/mypy

# torch comes in builds for CPU and for each CUDA version under one version number, so its hash cannot be locked.
TORCH := torch==2.13.0

.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

# Pins every dependency anew, with hashes. torch is left out, see above.
lock:
	echo $(TORCH) > .venv/torch.txt
	$(BIN)/pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --generate-hashes --extra dev --strip-extras --allow-unsafe --unsafe-package torch \
		--constraint .venv/torch.txt --output-file requirements.lock pyproject.toml
