# Two commands: `make demo` and `make test`. Each sets up .venv from requirements.txt, which pins what was tried.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OUT ?= build/demo

export OMP_NUM_THREADS ?= 1
export HF_HUB_DISABLE_TELEMETRY = 1

.PHONY: demo test slow live explore chaos lint types docs install compiled lock clean

demo: install
	$(BIN)/noisezoo demo --out $(OUT)

# Two processes, a file of tests to each at a time; `make slow` runs the long simulations beside.
test: install
	$(MAKE) --jobs 4 lint types docs compiled
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --dist loadfile

slow: compiled
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --dist load -m slow

# `edit-live` and `explore --atlas`: an environment each, as their libraries clash with the others'; and Chromium or Chrome.
live: TESTS = tests/noisezoo/test_edit_live.py
explore: TESTS = tests/noisezoo/test_explore.py
live explore:
	$(PYTHON) -m venv build/$@
	build/$@/bin/python -m pip install --quiet uv
	build/$@/bin/uv pip install --quiet --python build/$@/bin/python --editable '.[dev,$@]'
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 build/$@/bin/python -m pytest -rs $(TESTS)

# Kill builds at every step, at random instants, with their hosts and with their links: a quarter of an hour.
chaos: compiled
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m tests.chaos --instants 100 --seed 0

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy -p noisezoo

# A page that cannot be made, or a link that leads nowhere, is an error.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

install: $(STAMP)

# uv leaves bytecode to the first import, and where none may be written, to every one: tests start hundreds of processes.
compiled: $(VENV)/.compiled

$(VENV)/.compiled: $(STAMP)
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib > $(VENV)/.compiling || true
	@touch $@

$(STAMP): pyproject.toml requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: NoiseZoo needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip uv
	$(BIN)/uv pip install --python $(BIN)/python -r requirements.txt
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --editable .
	@touch $@

# Pin what the resolver chooses today.
lock:
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --no-header --output-file requirements.txt

clean:
	rm -rf build $(VENV)
