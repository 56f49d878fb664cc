# Everything runs inside .venv, built from requirements.lock (hashes; no index named).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest
# The library's bytecode is kept: without it each start takes a third of a second longer.
unexport PYTHONDONTWRITEBYTECODE
# One worker a core; each makes servers of its own.
WORKERS ?= 2

.PHONY: demo test lint faults versions killed nightly public browser nbval lab bench clean

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ". Name another one: make PYTHON=python3.12 …")'
	@echo "Setting up $(VENV) from requirements.lock …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY)  ## prove that the sandbox's backup can be restored, then a disaster-recovery drill
	@$(BIN)/runbook sandbox up
	@$(BIN)/runbook run backup-verification --target sandbox
	@$(BIN)/runbook drill --surprise

test: $(READY) lint  ## all tests that fit into minutes, on real PostgreSQL
	@$(PYTEST) -n $(WORKERS) -m "not faults and not browser and not killed and not nightly and not public" tests

lint: $(READY)  ## style, imports, types
	@$(BIN)/ruff check lib tests
	@$(BIN)/ruff format --check -q lib tests
	@$(BIN)/mypy

faults: $(READY)  ## the campaign: planted faults, deaths, gates and whole runbooks on real clusters
	@$(PYTEST) -n $(WORKERS) -m "faults and not versions" tests

versions: $(READY)  ## the campaign's tests that repeat on PostgreSQL 15 and 18 what they prove on 17
	@$(PYTEST) -n $(WORKERS) -m versions tests

killed: $(READY)  ## a recovery that is killed at every step, and ends well
	@$(PYTEST) -m killed tests

nightly: $(READY)  ## 300 generated schemas and damages, recovered and compared; RUNBOOK_SEED=N RUNBOOK_EXAMPLES=1 repeats one
	@seed=$${RUNBOOK_SEED:-$$(date +%s)}; echo "RUNBOOK_SEED=$$seed"; RUNBOOK_SEED=$$seed $(PYTEST) -n $(WORKERS) -rP -m nightly tests

public: $(READY)  ## incidents on public applications' schemas: RUNBOOK_PUBLIC_SCHEMAS=FOLDER, a folder of SQL files for each
	@$(PYTEST) -m public tests

browser: $(READY)  ## reports in real Chromium: offline, accessible, printable
	@$(PYTEST) -m browser tests

nbval: $(READY)  ## the notebooks' safe defaults, cell by cell, on the sandbox
	@$(BIN)/runbook sandbox up
	@$(PYTEST) --nbval-lax --nbval-cell-timeout=120 notebooks -p no:xdist

lab: $(READY)  ## JupyterLab on the sandbox, loopback only
	@$(BIN)/runbook sandbox up
	@$(BIN)/jupyter lab --ip=127.0.0.1 --notebook-dir=. $(if $(filter 0,$(shell id -u)),--allow-root) notebooks/04_backup_verification.ipynb

bench: $(READY)  ## ratios against the same work by hand, in one run
	@$(BIN)/python -m tests.bench.verification
	@$(BIN)/python -m tests.bench.recovery
	@$(BIN)/python -m tests.bench.walsearch
	@PYTHONPATH=tests $(BIN)/python -m tests.bench.archive
	@PYTHONPATH=tests:tests/server $(BIN)/python -m tests.bench.health
	@PYTHONPATH=tests:tests/server $(BIN)/python -m tests.bench.largeschema

clean:  ## the sandbox is removed, then everything that was built; reports stay, and the key that signs them
	@if [ -x $(BIN)/runbook ]; then $(BIN)/runbook sandbox down --remove; fi
	@if [ -x $(BIN)/python ]; then rm -rf "$$($(BIN)/python -c "from runbook import layout; print(layout.shared())")"; fi
	@if [ -d var ]; then find var -mindepth 1 -maxdepth 1 ! -name keys -exec rm -rf {} +; fi
	@rm -rf $(VENV) build lib/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
