# Everything a new user needs. `make` alone explains itself.
VENV   := .venv
PYTHON ?= python3
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check -q install -c constraints.txt

.PHONY: help demo hour test bench lint format docs clean
.DEFAULT_GOAL := help
.SECONDEXPANSION:

help: ## Show this help
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

demo: $(VENV)/.installed data/demo/pages ## Real pages to a released model, in minutes on a CPU
	$(BIN)/tsumugu run recipes/demo.yaml

hour: $(VENV)/.installed data/demo/pages ## The same pages, about an hour of training
	$(BIN)/tsumugu run recipes/hour.yaml

test: $(VENV)/.installed-dev ## Run all tests
	$(BIN)/python -m pytest

bench: ## A benchmark beside its peers: make bench NAME=corpus_filters
	@test -f 'benchmarks/$(NAME).py' || { echo 'error: there is no benchmark "$(NAME)". Give one of these as NAME:'; \
		ls benchmarks/*_*.py | sed -E 's,benchmarks/(.*)\.py,  \1,'; exit 1; }
	@$(MAKE) --no-print-directory '.venv-bench/$(NAME)/.installed'
	.venv-bench/$(NAME)/bin/python benchmarks/$(NAME).py

lint: $(VENV)/.installed-dev ## Ruff (lint, format check) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev ## Let ruff fix and format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed-dev ## Build the documentation into site/
	$(PIP) -e '.[docs]'
	$(BIN)/mkdocs build --strict

clean: ## Remove the environments and the caches; data/ and runs/ stay
	rm -rf $(VENV) .venv-bench build dist site .mypy_cache .pytest_cache .ruff_cache

$(BIN)/python:
	bash scripts/make_venv.sh $(PYTHON) $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing Tsumugu and its pinned dependencies into $(VENV) (a few minutes) ..."
	$(PIP) -e '.[evaluate,tune]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) -e '.[dev]'
	@touch $@

# `wildcard`: a benchmark without peers has no file of requirements.
.venv-bench/%/.installed: pyproject.toml constraints.txt $$(wildcard benchmarks/requirements/$$*.txt)
	@echo "Installing Tsumugu and the benchmark's peers into .venv-bench/$* ..."
	bash scripts/make_bench_venv.sh $(PYTHON) $*

data/demo/pages:
	bash scripts/fetch_demo_pages.sh $@
