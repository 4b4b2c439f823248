# One verb per task. Set-up is part of each verb and repeats itself only when its inputs changed.

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# As many as the smallest machine that we promise to test on has.
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup run test check lint types contracts format bench bench-compare live-check kill services interop prove fuzz schema requirements python clean

help: ## Say what each verb does (this)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/run.stamp .venv/dev.stamp ## Make .venv with all that running and developing need

run: .venv/run.stamp ## Run Tapekeeper: live venues where one answers, else our simulated ones
	@$(BIN)/tape run

test: .venv/services.stamp ## Run all tests; at least 90 % of lines must be covered
	@$(BIN)/python -m tests.services.jars
	@$(BIN)/python -m pytest -q -n $(WORKERS) -m "not long" --cov --cov-report=term

check: lint types contracts test ## All that must hold before a commit; what .ci/run runs

lint: .venv/dev.stamp ## Check style
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: .venv/dev.stamp ## Check types
	@$(BIN)/mypy

contracts: .venv/dev.stamp ## Check that imports point down
	@$(BIN)/lint-imports --no-logo

format: .venv/dev.stamp ## Put the code into its one format
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

bench: .venv/bench.stamp ## Measure, beside others where they can be installed; writes build/figures
	@$(BIN)/python -m benchmarks

bench-compare: .venv/dev.stamp ## Put two runs side by side (OLD=folder NEW=build/figures)
	@$(BIN)/python -m benchmarks.compare $(OLD) $(or $(NEW),build/figures)

live-check: .venv/run.stamp ## Capture each venue for five minutes and compare with its REST answers (needs a network)
	@$(BIN)/tape live-check

kill: .venv/services.stamp ## Kill the flow again and again and compare what it published (KILLS=1000 SEED=1 CATALOG=rest)
	@$(BIN)/python -m tests.campaigns.kill --kills $(or $(KILLS),100) $(if $(SEED),--seed $(SEED)) \
		$(if $(CATALOG),--sink lake --catalog $(CATALOG))

services: .venv/services.stamp ## Say which real servers tests can start here, and how to get the others
	@$(BIN)/python -m tests.services.jars
	@$(BIN)/python -m tests.services.programs

interop: .venv/interop.stamp ## Let Spark, avro-tools and a Java consumer read what we write (needs a JDK; fetches 130 MB with Maven)
	@$(BIN)/python -m tests.interop

prove: .venv/services.stamp ## Run the tests that take minutes each, which `make test` leaves out
	@$(BIN)/python -m tests.services.jars
	@$(BIN)/python -m pytest -q -m long --timeout 600

fuzz: .venv/dev.stamp ## Give every decoder a million hostile frames
	@$(BIN)/python -m pytest -q -n $(WORKERS) -m fuzz --fuzz-inputs 1000000 --timeout 3600

schema: .venv/dev.stamp ## Freeze the present schemas into schemas/history
	@$(BIN)/python -m schemas.freeze

requirements: build/uv/bin/uv ## Pin what pyproject.toml asks for (UPGRADE=--upgrade: the newest of it)
	@$(COMPILE) --output-file requirements.txt
	@$(COMPILE) --extra dev --constraint requirements.txt --output-file requirements-dev.txt
	@$(COMPILE) --extra dev --extra bench --constraint requirements.txt --output-file requirements-bench.txt
	@$(COMPILE) --extra dev --extra services --constraint requirements-dev.txt --output-file requirements-services.txt
	@$(COMPILE) --extra interop --constraint requirements.txt --output-file requirements-interop.txt

COMPILE = build/uv/bin/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
	--generate-hashes --no-header $(UPGRADE)

build/uv/bin/uv:
	@$(FIND_PYTHON); "$$python" -m venv build/uv
	@build/uv/bin/python -m pip --disable-pip-version-check install --quiet uv

clean: ## Remove what can be made again; never data/
	rm -rf .venv build dist .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

python: ## Say which Python set-up would take
	@$(FIND_PYTHON); echo "$$python"

# A Python that runs the engine and can make virtual environments: on the PATH, else where version managers put it.
define FIND_PYTHON
python=; for candidate in python3.12 python3.11 python3 \
	"$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.12*/bin/python "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.11*/bin/python \
	"$$HOME"/.local/share/uv/python/cpython-3.12*/bin/python3 "$$HOME"/.local/share/uv/python/cpython-3.11*/bin/python3; do \
	if "$$candidate" -c 'import ensurepip, sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' >/dev/null 2>&1; \
	then python=$$candidate; break; fi; done; \
if [ -z "$$python" ]; then \
	echo "Python 3.11 or 3.12 is needed and was not found (apt-get install python3.11-venv, brew install python@3.12, or: uv python install 3.12)" >&2; \
	exit 2; fi
endef

# The project itself is not installed: one line puts the checkout on the path, and `tape` runs from anywhere.
.venv/bin/tape:
	@$(FIND_PYTHON); echo "set-up: .venv with $$python (once)" >&2; "$$python" -m venv .venv
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' | while read -r site; \
		do printf '%s\n' "$(CURDIR)" > "$$site/tapekeeper.pth"; done
	@printf '#!/bin/sh\nexec "%s/$(BIN)/python" -P -m operate "$$@"\n' "$(CURDIR)" > $@
	@chmod +x $@

# A stamp newer than its requirements means that there is nothing to do.
.venv/%.stamp: | .venv/bin/tape
	@echo "set-up: $< (again when it changes)" >&2
	@$(PIP) install --quiet --require-hashes --no-deps -r $<
	@touch $@

.venv/run.stamp: requirements.txt
.venv/dev.stamp: requirements-dev.txt

.venv/interop.stamp: requirements-interop.txt | .venv/services.stamp

# Servers and readers for tests may not install everywhere; then their tests are skipped by name.
.venv/services.stamp: requirements-services.txt | .venv/dev.stamp
	@echo "set-up: $< (again when it changes)" >&2
	@$(PIP) install --quiet --require-hashes --no-deps -r $< && touch $@ || \
		echo "some servers cannot be installed here: what needs them is not tested" >&2

# Others' programs may not install everywhere; then we are measured alone.
.venv/bench.stamp: requirements-bench.txt | .venv/run.stamp
	@echo "set-up: $< (again when it changes)" >&2
	@$(PIP) install --quiet --require-hashes --no-deps -r $< && touch $@ || \
		echo "the programs to compare with cannot be installed here: measuring without them" >&2
