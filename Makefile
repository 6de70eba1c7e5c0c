# Two commands do everything from a fresh clone: `make demo` and `make test`. Each makes .venv when there is none.
# Needs Python 3.11 or newer with venv and headers, a C++ compiler, make. Debian: python3-venv python3-dev g++ make.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
TRSP_HOME ?= $(HOME)/.trsp
export TRSP_HOME
# Ninja, ray and mlflow are found by name: by DeepSpeed, by the job, by the tests.
export PATH := $(CURDIR)/.venv/bin:$(PATH)

# Tests share the cores, a file of tests to a process; the slow ones start clusters and servers: at most two at a time.
PARALLEL := --numprocesses auto --maxprocesses 4
PARALLEL_SLOW := --numprocesses auto --maxprocesses 2

.PHONY: help demo test check ui docs clean distclean

help: ## say what there is
	@grep -hE '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):.*## /make \1\t/'

demo: .venv/installed ## the main job on a small real model, through `ray job submit` (DEMO_ARGS=--keep-ray: leave Ray up)
	@.venv/bin/python jobs/demo.py $(DEMO_ARGS)

test: .venv/installed ## every test (PYTEST_ARGS="-k name" for some)
	@run() { local status=0; .venv/bin/python -m pytest "$$@" $(PYTEST_ARGS) || status=$$?; [[ $$status == 5 ]] || return $$status; }; \
	fast=0; run $(PARALLEL) -m "not slow" || fast=$$?; \
	run $(PARALLEL_SLOW) -m slow; exit $$fast

check: .venv/installed ## what CI checks on every change: lint, format, types, the fast tests
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/python -m pytest $(PARALLEL) -m "not slow" $(PYTEST_ARGS)

ui: .venv/installed ## MLflow's pages on the demo's results, in the browser (UI_PORT=5000)
	@.venv/bin/trsp ui jobs/demo.yaml $(if $(UI_PORT),--port $(UI_PORT))

docs: .venv/installed-docs ## the documentation as a site, build/site/index.html; warnings and broken links are errors
	@NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --strict --config-file docs/site/mkdocs.yml
	@echo "$(CURDIR)/build/site/index.html"

clean: ## remove caches (results stay in TRSP_HOME)
	@rm -rf .pytest_cache .mypy_cache .ruff_cache build
	@find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean ## clean, and remove .venv
	@rm -rf .venv *.egg-info

# Again only when the wanted versions change. The stamp is written last: an install that was cut off is taken up again.
.venv/installed: pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; '$(PYTHON)' is $$("$(PYTHON)" --version 2>&1). Cure: make PYTHON=/path/to/python3.11"; exit 1; }
	@command -v c++ >/dev/null \
	  || { echo "a C++ compiler is needed (DeepSpeed compiles some of its operators when they are first used). Debian: apt-get install g++"; exit 1; }
	@"$(PYTHON)" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' \
	  || { echo "Python's headers are needed (DeepSpeed compiles some of its operators when they are first used). Debian: apt-get install python3-dev"; exit 1; }
	@test -x .venv/bin/pip || "$(PYTHON)" -m venv .venv \
	  || { rm -rf .venv; echo "'$(PYTHON) -m venv' failed. Debian: apt-get install python3-venv"; exit 1; }
	@echo "Installing into .venv (about 3 minutes, 2.5 GB)"
	@.venv/bin/python -m pip install --quiet -c constraints.txt -e '.[dev,demo]'
	@touch $@

.venv/installed-docs: .venv/installed
	@.venv/bin/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	@touch $@
