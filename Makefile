# `make demo` and `make test` need python3 (3.11 or newer) and make; everything else is set up here.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup demo report test test-slow test-faults lint bench bench-quick bench-coverage clean

help: ## what there is to type
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

setup: $(VENV)/.installed ## the virtual environment in .venv

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "scalelaw needs Python 3.11 or newer; say make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) --editable '.[test,lint]'
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed
	$(PIP) --editable '.[bench]'
	@touch $@

demo: setup ## train three architectures on real text, fit their laws, write a report (about 10 minutes)
	@$(RUN) -m experiments.train -m study=demo; trained=$$?; \
	$(RUN) -m experiments.report runs=outputs/demo && exit $$trained

test: $(VENV)/.installed-test ## the test suite
	$(RUN) -m pytest -n auto --dist loadfile --no-loadscope-reorder

test-slow: $(VENV)/.installed-test ## the long tests
	$(RUN) -m pytest -m slow

test-faults: $(VENV)/.installed-test ## a sweep that a hundred random faults hit; some minutes
	$(RUN) -m pytest -m faults -s

lint: $(VENV)/.installed-test ## style, types, import rules
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright
	$(VENV)/bin/lint-imports

bench: $(VENV)/.installed-bench ## training speed beside its peers, sweeps, memory; half an hour, into bench/results
	$(RUN) -m bench

bench-quick: $(VENV)/.installed-bench ## the same, smaller, in five minutes, into outputs/bench
	$(RUN) -m bench --quick

bench-coverage: $(VENV)/.installed-test ## how often intervals hold the truth; about 20 minutes on two cores
	$(RUN) -m bench.coverage --tables 1000

clean: ## remove the virtual environment; outputs/ stays
	rm -rf $(VENV)
