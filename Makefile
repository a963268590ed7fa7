# make demo | make test | make setup | make test-k2 | make docs | make dist | make clean | make help
#
# PYTHON     the Python (3.11 or newer: what the pins need) that makes the virtual environment
# VENV       where the virtual environment lives
# PIP_FLAGS  further options of pip install; on a machine with no GPU,
#            PIP_FLAGS='--extra-index-url https://download.pytorch.org/whl/cpu' takes the small CPU build of torch
# DEMO       further options of egs/voxceleb/run.sh
# PYTEST     further options of pytest; make test runs one process per core, 8 at most (PYTEST='-n 0': a single one)
# PYTHON39   the Python 3.9 of make test-k2, which PyPI's newest k2 was built for (with torch 1.13.1)
# K2_VENV    where the virtual environment of make test-k2 lives (3.4 GB)

SHELL := bash
VENV ?= .venv
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell \
    $(name) -c 'import sys; sys.version_info >= (3, 11) and print("$(name)")' 2>/dev/null)))
PIP_FLAGS ?=
DEMO ?=
PYTEST ?=
PYTHON39 ?= $(firstword $(foreach name,python3.9 $(wildcard $(HOME)/.pyenv/versions/3.9.*/bin/python),$(shell \
    $(name) -c 'import sys; sys.version_info[:2] == (3, 9) and print("$(name)")' 2>/dev/null)))
K2_VENV ?= .venv-k2

bin := $(VENV)/bin
pins := setup.py pyproject.toml constraints.txt
pip := $(bin)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt

.PHONY: help setup demo test test-k2 lint docs dist clean

help:
	@echo "make demo    install into $(VENV), then run the whole recipe on a small synthetic corpus; ends with a table"
	@echo "make test    install into $(VENV), then run ruff, import-linter, shellcheck, yamllint and all tests"
	@echo "make setup   install into $(VENV), and no more"
	@echo "make test-k2 install k2 with Python 3.9 into $(K2_VENV), then run the tests that k2 and torch decode alike"
	@echo "make lint    ruff, import-linter, shellcheck and yamllint only"
	@echo "make docs    build the documentation into site/; open site/index.html"
	@echo "make dist    build the source archive and the wheel into dist/"
	@echo "make clean   remove what the recipe and the tests made; the environment stays (remove $(VENV) by hand)"

setup: $(VENV)/.installed-demo

demo: $(VENV)/.installed-demo
	egs/voxceleb/run.sh --corpus demo --calibrate true $(DEMO)

# A file's tests stay in one process, in order: they share what they made; the longest files come first (tests/conftest.py).
test: lint
	$(bin)/python -m pytest -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder $(PYTEST)

# k2's tests import only what works with Python 3.9 and torch 1.13 (tests/k2 tells what).
test-k2: $(if $(PYTHON39),$(K2_VENV)/.installed)
	@$(if $(PYTHON39),$(K2_VENV)/bin/python -m pytest -p no:cacheprovider tests/k2 $(PYTEST), \
	  echo "make test-k2: skipped, no Python 3.9 found. To mend: name it: make test-k2 PYTHON39=/path/to/python3.9" >&2)

$(K2_VENV)/.installed: Makefile
	@test -n "$(PYTHON39)" || { echo "Error: no Python 3.9 found. To mend: name it: PYTHON39=/path/to/python3.9" >&2; exit 1; }
	@echo "Installing k2 and torch 1.13.1 into $(K2_VENV) (3.4 GB, a few minutes the first time) ..." >&2
	$(PYTHON39) -m venv $(K2_VENV)
	$(K2_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	  torch==1.13.1 numpy==1.26.4 graphviz==0.20.3 pytest==8.4.2 hypothesis==6.141.1
	$(K2_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps k2==1.23.4
	@touch $@

lint: $(VENV)/.installed-test
	$(bin)/ruff check .
	$(bin)/lint-imports --no-cache --no-logo
	$(bin)/shellcheck bin/* utils/*.sh egs/*/*.sh .ci/run
	$(bin)/yamllint --strict .

docs: $(VENV)/.installed-test
	$(bin)/mkdocs build --strict --quiet --site-dir site

dist: $(VENV)/.installed-test
	$(bin)/python -m build --no-isolation

clean:
	rm -rf egs/voxceleb/data/demo egs/voxceleb/exp/demo .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find svtk tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(bin)/python:
	@test -n "$(PYTHON)" || { echo "Error: no Python 3.11 or newer found. To mend: install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# torch first, alone: then nothing that follows can choose another build of it.
define install
@echo "Installing the pinned dependencies into $(VENV) (a few minutes the first time) ..." >&2
$(pip) torch
$(pip) -e '.[$(extras)]'
endef

$(VENV)/.installed-demo: extras := demo,report
$(VENV)/.installed-demo: $(pins) | $(bin)/python
	$(install)
	@touch $@

$(VENV)/.installed-test: extras := demo,report,test,docs
$(VENV)/.installed-test: $(pins) | $(bin)/python
	$(install)
	@touch $(VENV)/.installed-demo $@
