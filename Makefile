.DEFAULT_GOAL := help
.PHONY: help setup requirements check test browser npm run schemas bench chaos validate
SHELL := /bin/sh

READY := .venv/.ready
BIN := .venv/bin
UV := .cache/uv/bin/uv
SERVICES := orchestrator transport persistence metrics
MEMBERS := contracts services/chassis $(SERVICES:%=services/%) infra
MANIFESTS := $(MEMBERS:%=%/pyproject.toml)
COMPILE := $(UV) pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --no-header $(if $(UPGRADE),--upgrade)
TESTS ?=
CHAOS ?=

help: ## show this list
	@grep -hE '^[a-z]+:.*## ' Makefile | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

setup: $(READY) ## make .venv with everything that development needs

$(READY): requirements/dev.txt infra/setup.sh
	@PYTHON='$(PYTHON)' sh infra/setup.sh
	@touch $@

run: $(READY) ## start the whole product on this machine and print its address
	@$(BIN)/python -m infra

test: check browser npm ## check, then every test (TESTS="tests/infra -k plan" narrows)
	@$(BIN)/python -m pytest -n auto --dist loadgroup $(TESTS)

check: $(READY) ## lint, format, types, architecture, dependencies, schemas
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@for member in $(MEMBERS); do \
		(cd $$member && echo "deptry $$member" && $(CURDIR)/$(BIN)/deptry . \
			--known-first-party contracts --known-first-party services \
			--known-first-party workflows --known-first-party infra) || exit 1; \
	done
	@$(BIN)/python -m contracts.schema --check
	@$(BIN)/python -m contracts.compatibility
	@$(BIN)/python -m services.orchestrator.workflows schemas --check

browser: $(READY)
	@$(BIN)/python -m infra.browser

npm: $(READY)
	@$(BIN)/python -m infra.npm

schemas: $(READY) ## write JSON Schemas and the AsyncAPI document from contracts/
	@$(BIN)/python -m contracts.schema
	@$(BIN)/python -m services.orchestrator.workflows schemas

validate: $(READY) ## check the workflows: every problem, with its place and what is accepted
	@$(BIN)/python -m services.orchestrator.workflows validate

bench: $(READY) ## measure the runtime beside its floors
	@$(BIN)/python -m benchmarks

chaos: $(READY) ## kill, pause and fill everything, then audit (CHAOS="--seed 1 --faults 100" narrows)
	@$(BIN)/python -m tests.chaos $(CHAOS)

requirements: $(UV) ## pin every dependency with hashes (UPGRADE=1 takes the newest)
	@$(COMPILE) $(MANIFESTS) requirements/dev.in -o requirements/dev.txt
	@for service in $(SERVICES); do \
		$(COMPILE) contracts/pyproject.toml services/chassis/pyproject.toml \
			services/$$service/pyproject.toml -c requirements/dev.txt \
			-o requirements/$$service.txt || exit 1; \
	done
	@! grep -nE '^-|://|file:' requirements/*.txt

$(UV):
	@python3 -m venv .cache/uv
	@.cache/uv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
