PYTHON ?= python3
BIN := .venv/bin

.PHONY: train test lint check results bench clean

train: .venv/ready ## train on drawn faces: no download, a few minutes
	$(BIN)/python main_fer.py --config configs/sample_config.json $(SETTINGS)

test: .venv/ready-dev lint ## lint, types and all tests
	$(BIN)/python -m pytest -n 2

lint: .venv/ready-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

results: .venv/ready ## every number in the README, from the committed dumps
	$(BIN)/python make_results.py

bench: .venv/ready-bench ## speed beside other programs, a quarter of an hour
	$(BIN)/python -m benchmarks $(SETTINGS)

.venv/ready: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/ready-dev: requirements-dev.txt requirements-export.txt .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

.venv/ready-bench: requirements-bench.txt .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-bench.txt
	touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
