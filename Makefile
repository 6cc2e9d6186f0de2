# make            what there is
# make demo       the whole way on scanned digits: train, export, run on an emulated Cortex-M7, check
# make test       the tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help install demo test test-slow lint format typecheck wheel clean

help:
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(VENV)/.installed ## create .venv with ndtool in it

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(not (3, 11) <= v <= (3, 13) and \
	  f"ndtool needs Python 3.11 to 3.13, this is {v[0]}.{v[1]}: name one, e.g. make PYTHON=python3.12 install")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
	@echo "ndtool is installed: $(BIN)/ndtool --help"

demo: install ## the whole pipeline on the embedded digits data
	$(BIN)/ndtool demo

test: install ## the tests (a few minutes)
	$(BIN)/python -m pytest -q -n auto

test-slow: install ## the slow tests: training, large models
	$(BIN)/python -m pytest -q -m slow

lint: install ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install ## let ruff rewrite
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# mypy wants the package under its own name: the checkout is the package, so a wheel's tree is checked.
typecheck: install ## mypy
	@rm -rf build
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target build/typed .
	cd build/typed && ../../$(BIN)/mypy --config-file ../../pyproject.toml -p ndtool

wheel: install ## dist/*.whl
	$(BIN)/python -m pip wheel --quiet --no-deps -w dist .

clean: ## remove what was built, but not .venv
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
