# Targets of the house; `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A demo keeps to a lake of its own: synthetic and real data never mix.
DEMO := lake/demo
LIVE := lake/demo-live

.DEFAULT_GOAL := help
.PHONY: help venv demo demo-live dbt test soak conformance check up bench lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 13

venv: $(VENV)/.made ## make the virtual environment from requirements.lock

$(VENV)/.made: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: venv ## the whole chain over a synthetic territory, in a lake of its own (lake/demo)
	@$(BIN)/python -m flows.demo $(DEMO)

demo-live: venv ## land the public bricks that need no key, from the Internet, in a lake of its own (lake/demo-live): a line a brick
	@$(BIN)/python -m flows.demo $(LIVE) --live

dbt: venv ## dbt by hand, over ORCHESTRA_LAKE or else the demo's: make dbt ARGS="build --select energy_by_building_month"
	@ORCHESTRA_LAKE=$${ORCHESTRA_LAKE:-$(DEMO)} $(BIN)/dbt $(or $(ARGS),--help)

test: venv ## the tests, by one more worker than there are cores: servers are waited for
	$(BIN)/python -m pytest -n $$(($$(getconf _NPROCESSORS_ONLN) + 1)) --dist loadfile --no-loadscope-reorder -m "not soak and not conformance" --durations=40 --durations-min=5 tests

soak: venv ## kills at seeded instants, hundred clean days, random models: long
	$(BIN)/python -m pytest -m soak -s tests

conformance: venv ## models on Spark (ORCHESTRA_PYSPARK=/path/to/python that has it), connectors against real servers, which it installs where it can
	$(BIN)/python -m pytest -m conformance -s tests

check: venv ## ruff, import-linter, types, sqlfluff, dbt-bouncer, bricks, size of the engine
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/sqlfluff lint dbt_project/models --disable-progress-bar
	$(BIN)/orchestra bricks check
	$(BIN)/python -m tests.check_dbt
	$(BIN)/python -m tests.check_deploy
	$(BIN)/python -m tests.engine_size

up: venv ## Prefect with its UI, the schedules of all bricks served, on 127.0.0.1 (Ctrl-C stops all of it)
	@$(BIN)/orchestra up

bench: venv ## ratios of speed and memory, against their limits
	$(BIN)/python -m benchmarks

lock: ## resolve requirements.lock anew (needs uv)
	uv pip compile --quiet --all-extras --python-version 3.11 --no-emit-index-url --no-header --no-annotate --upgrade -o requirements.lock pyproject.toml

clean: ## delete the environment and every lake of this folder
	rm -rf $(VENV) lake/demo lake/demo-live lake/up
