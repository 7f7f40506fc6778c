# Two commands: `make demo` and `make test`. Both first bring .venv in line with requirements.lock.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/requirements.installed
# The line `masks` with all that comes of it: its report, its masks for other tools, its DeepLab.
DEMO := report@masks masks_export@masks deeplab_report

.PHONY: demo test ablation lint venv install

demo: venv
	@./seedmask run --local $(DEMO)

test: lint
	@OMP_NUM_THREADS=1 PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n 3 -q

# Hours: 3 seeds of all rows; goes on where it was stopped. See benchmarks/ablation.py.
ablation: venv
	@./python -m benchmarks.ablation

lint: venv
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy models stages pipelines
	@PYTHONPATH=. $(BIN)/lint-imports

venv:
	@cmp -s requirements.lock $(INSTALLED) || $(MAKE) --no-print-directory install

install:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "seedmask needs Python 3.11 or newer as $(PYTHON); say which: make demo PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing requirements.lock into .venv: some minutes and 7 GB the first time."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input -r requirements.lock
	@cp requirements.lock $(INSTALLED)
