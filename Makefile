.DEFAULT_GOAL := help
.PHONY: help setup requirements check types other-checks test browser console npm prometheus run schemas docs reference diagrams bench bench-peers bench-scale bench-fairness flamegraphs chaos interruptions validate images platforms compose-files upgrade rotate
SHELL := /bin/sh

READY := .venv/.ready
BIN := .venv/bin
UV := .cache/uv/bin/uv
SERVICES := orchestrator transport persistence metrics
MEMBERS := contracts mozaiks_client services/chassis $(SERVICES:%=services/%) infra
MANIFESTS := $(MEMBERS:%=%/pyproject.toml)
COMPILE := $(UV) pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --no-header $(if $(UPGRADE),--upgrade)
# Compiled files are kept: hundreds of processes of the tests import the same modules.
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest
TESTS ?=
THOROUGH ?=
CHAOS ?=
IMAGES ?=
RELEASE ?=
UPGRADE_OPTIONS ?=
BENCH ?=
PEERS ?=

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

setup: console ## make .venv with everything that development needs, and build the console

$(READY): requirements/dev.txt infra/setup.sh
	@PYTHON='$(PYTHON)' sh infra/setup.sh
	@touch $@

run: $(READY) ## start the whole product on this machine and print its address
	@$(BIN)/python -m infra

test: check browser console npm prometheus ## check, then every test (TESTS="tests/infra -k plan" narrows, THOROUGH=1 tries more)
	@$(PYTEST) -n auto --dist loadscope --no-loadscope-reorder $(TESTS)

check: $(READY) ## lint, format, types, architecture, dependencies, schemas, documentation
	@$(MAKE) --no-print-directory --jobs=2 types other-checks

# Of everything that is checked it takes the longest, and one processor.
types: $(READY)
	@$(BIN)/mypy

other-checks: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports
	@for member in $(MEMBERS); do \
		(cd $$member && echo "deptry $$member" && $(CURDIR)/$(BIN)/deptry . \
			--known-first-party contracts --known-first-party mozaiks_client --known-first-party services \
			--known-first-party workflows --known-first-party infra) || exit 1; \
	done
	@$(BIN)/python -m contracts.schema --check
	@$(BIN)/python -m contracts.compatibility
	@$(BIN)/python -m services.orchestrator.workflows --check
	@$(BIN)/python -m docs.generators --check
	@$(BIN)/python -m docs.generators.diagrams --check
	@$(BIN)/python -m docs.generators.site

console: $(READY) ## build the console page where its sources have changed
	@$(BIN)/python -m infra.console

browser: $(READY)
	@$(BIN)/python -m infra.browser

prometheus: $(READY)
	@$(BIN)/python -m infra.prometheus

npm: $(READY)
	@$(BIN)/python -m infra.npm agui crds

schemas: $(READY) ## write JSON Schemas and the AsyncAPI documents from contracts/
	@$(BIN)/python -m contracts.schema
	@$(BIN)/python -m services.orchestrator.workflows

docs: $(READY) ## build the documentation site into .cache/site, with every link checked
	@$(BIN)/python -m docs.generators.site

reference: $(READY) ## write the pages of docs/ that are generated from the code
	@$(BIN)/python -m docs.generators

diagrams: $(READY) browser ## render docs/diagrams/*.mmd to SVG where they have changed
	@$(BIN)/python -m infra.npm mermaid
	@$(BIN)/python -m docs.generators.diagrams

validate: $(READY) ## check the workflows: every problem, with its place and what is accepted
	@$(BIN)/python -m services.orchestrator.cli validate

bench: $(READY) ## measure the runtime beside its floors (BENCH="append --sync-interval always" narrows)
	@$(BIN)/python -m benchmarks $(BENCH)

bench-peers: $(READY) ## measure the product beside LangGraph, DBOS, Agno and bare AG2 (PEERS="turns --json FILE" narrows)
	@$(BIN)/python -m benchmarks.peers $(PEERS)

bench-scale: $(READY) ## turns per second of one and two orchestrators and transports, each pinned to cores
	@$(BIN)/python -m benchmarks.scale

bench-fairness: $(READY) ## measure what a noisy tenant costs the others, and first in first out (FAIRNESS="--seconds 30")
	@$(BIN)/python -m benchmarks.noisy_neighbour $(FAIRNESS)

flamegraphs: $(READY) ## record where the services spend the time of a turn, into .cache/flamegraphs
	@$(BIN)/python -m benchmarks.flamegraphs

chaos: $(READY) ## kill, pause and fill everything, then audit (CHAOS="--seed 1 --faults 100" narrows)
	@$(BIN)/python -m tests.chaos $(CHAOS)

interruptions: $(READY) ## stop, cancel and kill answers at random words, and compare live and fresh clients (INTERRUPTIONS="--count 1000")
	@$(BIN)/python -m tests.system.interruptions $(INTERRUPTIONS)

upgrade: $(READY) ## upgrade from an earlier release under load, and back, then audit (RELEASE=tag or commit)
	@$(BIN)/python -m tests.upgrade $(if $(RELEASE),--from $(RELEASE)) $(UPGRADE_OPTIONS)

rotate: $(READY) ## give the embedded servers new keys, passwords and a certificate, while they run
	@$(BIN)/python -m infra.rotate

images: $(READY) $(UV) ## build a container image of each service and run them (BASE=image; IMAGES=transport builds one)
	@$(BIN)/python -m infra.images $(IMAGES)

compose-files: $(READY) ## write the credentials that compose.yaml mounts, into .data/compose
	@$(BIN)/python -m infra.compose

platforms: $(READY) $(UV) ## print for which platforms every package is a wheel
	@$(BIN)/python -m infra.platforms

requirements: $(UV) ## pin every dependency with hashes (UPGRADE=1 takes the newest)
	@$(COMPILE) $(MANIFESTS) requirements/dev.in -o requirements/dev.txt
	@for service in $(SERVICES); do \
		$(COMPILE) contracts/pyproject.toml services/chassis/pyproject.toml \
			services/$$service/pyproject.toml -c requirements/dev.txt \
			-o requirements/$$service.txt || exit 1; \
	done
	@$(COMPILE) benchmarks/peers/requirements.in -c requirements/dev.txt -o benchmarks/peers/requirements.txt
	@! grep -nE '^-|://|file:' requirements/*.txt benchmarks/peers/requirements.txt

$(UV):
	@python3 -m venv .cache/uv
	@.cache/uv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
