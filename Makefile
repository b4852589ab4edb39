# `make demo` and `make test` set up everything they need on a machine with Python 3.11 and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# At most four processes, each of which loads and compiles with JAX; the tests of a file share one,
# and so what it compiled. Files come in the order of tests/conftest.py, the slow ones first.
PYTEST_FLAGS ?= -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help demo test quick oldest newest lint benchmark mutants proofs gates clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.installed ## simulate data, infer and evaluate a network: demo-output/
	$(BIN)/unigrn demo --out demo-output

test: $(VENV)/.installed ## run the tests, the doctests of every module and the snippets of README.md
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

# Two processes: every file of this list shares one, and none compiles for long.
QUICK := frame methods prior network plan house tables containers

quick: $(VENV)/.installed ## run the tests of the loop while coding, in under a minute
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m 'not slow' $(QUICK:%=tests/test_%.py)

# What depends on the releases of others comes to these two.
VERSIONS := QUICK='$(QUICK) plot evaluate originals_netrex'
# Of the Pythons that start here, the newest that pyproject.toml names.
PYENV = $${PYENV_ROOT:-$$HOME/.pyenv}/versions
NEWEST = $(shell for p in python3.13 $(PYENV)/3.13.*/bin/python python3.12 $(PYENV)/3.12.*/bin/python \
	$(PYTHON); do $$p -c '' 2>/dev/null && echo $$p && break; done)

oldest: ## run the quick tests on the oldest dependencies that pyproject.toml admits
	@$(MAKE) --no-print-directory quick $(VERSIONS) VENV=.venv-oldest PIN='tests/oldest.py'

newest: ## run the quick tests on the newest Python of this machine, with the newest dependencies
	@$(MAKE) --no-print-directory quick $(VERSIONS) VENV=.venv-newest PYTHON=$(NEWEST)

lint: $(VENV)/.installed ## check style with ruff and types with pyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

benchmark: $(VENV)/.installed-benchmark ## time unigrn beside scikit-learn and plain NumPy
	$(BIN)/python examples/benchmarks/run.py $(BENCHMARK_FLAGS)

mutants: $(VENV)/.installed ## change the code in small wrong ways, and count what claims and tests see
	$(BIN)/python tests/mutants.py $(MUTANTS_FLAGS)

# Coq and the libraries that the proofs stand on, as Debian names them.
COQ := coq libcoq-mathcomp-ssreflect libcoq-mathcomp-algebra libcoq-mathcomp-algebra-tactics \
	libcoq-mathcomp-analysis

proofs: $(VENV)/.installed ## compile the Coq proofs, and check the shipped objectives against them
	@{ cd "$$(coqc -where 2>/dev/null)/user-contrib/mathcomp" && test -d algebra_tactics -a -d analysis; } 2>/dev/null || \
		{ test "$$(id -u)" = 0 && apt-get install --yes --quiet=2 $(COQ) >/dev/null 2>&1; } || \
		{ test "$$(id -u)" = 0 && apt-get update --quiet=2 >/dev/null 2>&1 && apt-get install --yes --quiet=2 $(COQ) >/dev/null 2>&1; } || \
		{ echo "the proofs need Coq: install $(COQ) (Debian's names), then make proofs" >&2; exit 1; }
	@$(MAKE) --no-print-directory -C proofs INTERPRETER=$(CURDIR)/$(BIN)/python

gates: $(VENV)/.installed ## check the claims against what was written down before: proofs/gates.toml
	$(BIN)/python tests/gates.py

clean: ## remove the virtual environment, caches and generated output
	rm -rf $(VENV) .venv-oldest .venv-newest build dist demo-output benchmark-output .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# Stamps: the environment is made anew only when pyproject.toml changed.
$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "unigrn needs Python 3.11 or newer; name one with: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) cannot make virtual environments (no ensurepip): install its venv package, such as python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(if $(PIN),$(BIN)/python $(PIN) > $(VENV)/pins)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIN:%=-c $(VENV)/pins) \
		--editable '.[test,plot,generative]'
	@touch $@

$(VENV)/.installed-benchmark: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[benchmark]'
	@touch $@
