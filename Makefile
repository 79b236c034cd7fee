# make demo   an environment with what `cutline run` needs, then the built-in kiosk clip cut out into demo/
# make test   an environment with everything for development, then style, types, import rules and the whole suite
PYTHON ?= python3
EXTRAS ?= dev
BIN := .venv/bin
KERNELS := $(wildcard runtime/kernels/*.cpp runtime/kernels/*.h)
WANTS := pyproject.toml setup.py constraints.txt $(KERNELS)
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check install --constraint constraints.txt

.PHONY: demo test lint clean

demo: .venv/.base
	$(BIN)/python -m cutline.tools.demo --out demo

test: lint
	$(BIN)/python -m pytest

lint: .venv/.$(EXTRAS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| echo "types are checked on Python 3.11 and newer: NumPy's for 3.10 are too old"
	! $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || $(BIN)/mypy
	PYTHONPATH=tools/typing $(BIN)/lint-imports

.venv/.base: $(BIN)/python $(WANTS)
	$(PIP) --editable .
	@touch $@

.venv/.$(EXTRAS): $(BIN)/python $(WANTS)
	$(PIP) --editable '.[$(EXTRAS)]'
	@touch $@ .venv/.base

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Cutline needs Python 3.10 or newer: set PYTHON, as in make PYTHON=python3.11 test" >&2; exit 69; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "Python cannot make environments: apt-get install python3-venv" >&2; exit 69; }
	@command -v g++ >/dev/null || command -v clang++ >/dev/null || { echo "no C++ compiler: apt-get install g++" >&2; exit 69; }
	@$(PYTHON) -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' || { echo "no Python headers: apt-get install python3-dev" >&2; exit 69; }
	$(PYTHON) -m venv .venv

clean:
	rm -rf .venv build demo *.egg-info runtime/kernels/*.so
