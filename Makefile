# Two commands for a new checkout: `make demo` and `make test`.
# Each makes its own .venv and installs pinned versions into it.

PYTHON ?= python3
# Tests wait for processes as long as they compute: three for each core of a small machine.
JOBS ?= 6
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo demo-fleet test coverage check style mypy pyright web-postgresql fmt compat soak simulate docs screenshots bench bench-peers budgets lock sbom clean

help: ## List these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: .venv/run.stamp ## Serve and bill the worked example, end to end
	@$(BIN)/meterline demo

demo-fleet: .venv/run.stamp ## Serve it on two edges, and bill it at one centre
	@PATH="$(CURDIR)/$(BIN):$$PATH" examples/fleet/walk.sh

test: .venv/dev.stamp ## Run the whole test suite
	@$(BIN)/python -m pytest --numprocesses $(JOBS)
	@$(MAKE) --no-print-directory coverage

# Without the laws: what only a random example reaches is no covered branch.
coverage: .venv/dev.stamp ## Show that the tests of prices reach every branch
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -q --numprocesses 2 tests/unit/pricing tests/cases --ignore tests/unit/pricing/test_laws.py
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage report --include='*/meterline_pricing/*' --skip-covered --show-missing --fail-under=100

# The two that take long, beside each other.
check: .venv/dev.stamp ## Format, lint, types, import rules
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target style pyright mypy

style: .venv/dev.stamp
	@$(BIN)/ruff format --check --quiet . || { echo "run: make fmt" >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/lint-imports

mypy pyright: .venv/dev.stamp
	@$(BIN)/$@

web-postgresql: .venv/dev.stamp ## Run the tests of API and pages with ledgers on PostgreSQL
	@METERLINE_TEST_LEDGER=postgresql $(BIN)/python -m pytest --numprocesses $(JOBS) tests/web

fmt: .venv/dev.stamp ## Format, and fix what the linter can fix
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format .

compat: .venv/dev.stamp ## Try old and new frameworks and servers; write docs/compatibility.md
	@$(BIN)/python -m tests.compat

soak: .venv/dev.stamp ## All at once for METERLINE_SOAK_S=7200, then each fault for two hours
	@$(BIN)/python -m tests.soak
	@SOAK=1 $(BIN)/python -m pytest tests/fault --ignore-glob '*/test_fuzz*'
	@SOAK=1 $(BIN)/python -m pytest --numprocesses 4 tests/fault/test_fuzz.py tests/fault/test_fuzz_files.py

simulate: .venv/dev.stamp ## Run SEEDS=1000 random schedules of faults, or SEED=n again
	@$(BIN)/python -m tests.fault.simulator --seeds $(or $(SEEDS),1000) $(if $(SEED),--seed $(SEED))

screenshots: .venv/dev.stamp ## Take pictures of every page (needs chromium)
	@$(BIN)/python -m tests.web.screenshots docs/pictures

bench: .venv/dev.stamp ## Measure the hot paths against their baselines
	@$(BIN)/python -m benchmarks

bench-peers: .venv/dev.stamp ## Measure others that measure requests; write docs/benchmarks.md
	@$(BIN)/python -m benchmarks.peers --write

budgets: .venv/dev.stamp ## Write what a request and an event may cost (needs valgrind, strace)
	@$(BIN)/python -m tests.guards

docs: .venv/dev.stamp ## Write the pages that are generated from the code
	@$(BIN)/meterline config reference > docs/configuration.md
	@$(BIN)/meterline config reference --pricing > docs/price-list.md
	@$(BIN)/python -m meterline_sidecar.cli.manual > docs/commands.md
	@$(BIN)/python -m meterline_sidecar.cli.doc_tables docs/stripe.md docs/backup.md
	@$(BIN)/python -m meterline_sidecar.cli.problems_page > docs/problems.md

lock: .venv/dev.stamp ## Renew requirements/*.txt from pyproject.toml
	@$(BIN)/python requirements/lock.py

sbom: ## Write the bill of materials of what runs, CycloneDX, from requirements/run.txt
	@$(PYTHON) requirements/sbom.py dist/meterline.cdx.json
	@echo "dist/meterline.cdx.json"

clean: ## Remove the virtual environment and the caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .compat .peers

.venv/python.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Meterline needs Python 3.11 or newer; try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Making .venv with $$($(PYTHON) --version) ..."
	@$(PYTHON) -m venv .venv
	@touch $@

# The hashes pin what is installed, wherever it is downloaded from.
.venv/run.stamp: requirements/run.txt pyproject.toml middleware/build_native.py $(wildcard middleware/native/*.c) | .venv/python.stamp
	@echo "Installing the pinned packages of requirements/run.txt ..."
	@$(PIP) install --require-hashes --progress-bar on -r requirements/run.txt
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.venv/dev.stamp: requirements/dev.txt .venv/run.stamp
	@echo "Installing the pinned packages of requirements/dev.txt ..."
	@$(PIP) install --require-hashes --progress-bar on -r requirements/dev.txt
	@touch $@
