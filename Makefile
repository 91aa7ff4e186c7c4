# Every target first brings .venv in line with the lock; nothing is needed but make and Python 3.11 or newer.

VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.up-to-date
LOCKS := requirements/build.lock requirements/relay.lock requirements/dev.lock

# The first interpreter on PATH that is new enough; `make PYTHON=… test` names another.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$python; break; fi; done)

# The tests start programs by the hundred, and each would compile Relay anew.
unexport PYTHONDONTWRITEBYTECODE

# Most of the time tests wait, for processes and for time to pass: one more of them than two cores are.
PYTEST := $(BIN)/pytest --numprocesses 3 --dist worksteal

.PHONY: demo test check faults run bench lock clean

demo: $(STAMP) ## Signed events through the real service to a receiver that fails at first
	@$(BIN)/relay demo --once

run: $(STAMP) ## Serve config/relay.yaml
	@RELAY_CONFIG=$${RELAY_CONFIG:-config/relay.yaml} $(BIN)/relay serve

test: $(STAMP) ## The tests
	$(PYTEST)

check: $(STAMP) ## All that a change must pass; CI runs the same
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec compose.yaml
	$(PYTEST) --cov --cov-report=term

faults: $(STAMP) ## The experiments in full length, with a table of what became of each event
	$(BIN)/pytest --numprocesses 2 --dist worksteal --full-length --timeout 900 tests/faults tests/acceptance/test_workers.py \
		tests/acceptance/test_topology.py tests/journal/test_lanes_model.py tests/journal/test_ledger.py

bench: $(STAMP) ## Relay against the limit and a plain BackgroundTasks service; BENCH=--quick for one round
	$(BIN)/python -m tests.benchmarks $(BENCH)

lock: ## Take the newest versions that pyproject.toml allows (needs uv)
	@command -v uv >/dev/null || { echo "make lock needs uv on PATH" >&2; exit 2; }
	@mkdir -p requirements
	@set -e; lock() { uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--no-annotate --no-emit-index-url --no-emit-find-links \
		--custom-compile-command "make lock" "$$@"; }; \
	lock --group pyproject.toml:build -o requirements/build.lock; \
	lock pyproject.toml --extra celery --extra postgres -o requirements/relay.lock; \
	lock pyproject.toml --extra celery --extra postgres --group pyproject.toml:build --group pyproject.toml:dev \
		-c requirements/build.lock -c requirements/relay.lock -o requirements/dev.lock
	@! grep -n '://' $(LOCKS)

clean: ## Remove what these targets made
	rm -rf $(VENV) dist htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache \
		.import_linter_cache .hypothesis
	find relay tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The lock holds the whole closure with hashes, the build backend included, so nothing is resolved here
# and nothing is installed that the lock does not name.
$(STAMP): pyproject.toml requirements/dev.lock
	@test -n "$(PYTHON)" || { echo "Relay needs Python 3.11 or newer on PATH" >&2; exit 2; }
	@set -e; if command -v uv >/dev/null; then \
		echo "Installing into $(VENV) with uv …"; \
		test -x $(BIN)/python || uv venv --quiet --clear --python "$(PYTHON)" $(VENV); \
		uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes --no-deps -r requirements/dev.lock; \
		uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .; \
	else \
		echo "Installing into $(VENV) with pip …"; \
		$(BIN)/python -c '' 2>/dev/null || "$(PYTHON)" -m venv --clear $(VENV); \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
			-r requirements/dev.lock; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .; \
	fi
	@touch $@
