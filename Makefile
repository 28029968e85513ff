PYTHON ?= python3
BIN := .venv/bin
PORT ?= 8000

.PHONY: train test lint check results bench web page page-if-node clean

train: .venv/ready ## train on drawn faces: no download, a few minutes
	$(BIN)/python main_fer.py --config configs/sample_config.json $(SETTINGS)

test: .venv/ready-dev page-if-node lint ## lint, types and all tests
	$(BIN)/python -m pytest -n 2

lint: .venv/ready-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	if [ -f web/node_modules/done ]; then npm run --silent check --prefix web; fi

results: .venv/ready ## every number in README.md, docs/ and the cards, from the committed dumps
	$(BIN)/python make_results.py

bench: .venv/ready-bench ## speed beside other programs, a quarter of an hour
	$(BIN)/python -m benchmarks $(SETTINGS)

web: page ## the page that judges faces in a browser: builds it and serves it on this machine only
	@$(BIN)/python -c 'import socket; socket.create_server(("127.0.0.1", $(PORT)))' 2>/dev/null || \
	{ echo "port $(PORT) is taken; make web PORT=$$(($(PORT) + 1))" >&2; exit 4; }
	@echo "http://127.0.0.1:$(PORT)/ (Ctrl-C ends it)"
	@$(BIN)/python -m http.server --bind 127.0.0.1 --directory web/dist $(PORT) 2>/dev/null

page: web/made/done ## the same without serving it: web/dist, for any static host
	cd web && npm run --silent build

page-if-node: # tests in a browser are skipped where npm or its packages cannot be had
	@if command -v npm >/dev/null && $(MAKE) web/node_modules/done tests/browser/node_modules/done; \
	then $(MAKE) web/made/done; else echo "no npm, or no packages for it: nothing is tested in a browser"; fi

web/made/done: $(wildcard web/*.py models/pretrained/*.safetensors utils/export/*.py) export.py utils/shipped.py utils/datasets/drawn_faces.py web/node_modules/done .venv/ready-page
	$(BIN)/python web/prepare.py
	touch $@

%/node_modules/done: %/package-lock.json
	npm ci --silent --prefix $*
	touch $@

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

.venv/ready-page: requirements-export.txt .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-export.txt
	touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache web/node_modules web/made web/dist tests/browser/node_modules
