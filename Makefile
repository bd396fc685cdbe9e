# `make` alone lists what there is. Every target sets up what it needs; nothing but make and Python 3.11 has to be there.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
# Tasks of tests run with flytekit, which never shares an environment with the server. Tests take another environment
# where FLYTEADMIN_TEST_ENVIRONMENT names one.
CACHE := .cache/flytekit
TASKS := $(if $(FLYTEADMIN_TEST_ENVIRONMENT),,$(CACHE)/envs/default)
# Load comes from wrk, a Debian package, and from a small program that Go builds.
BENCH := .cache/bench
# Programs of Kubernetes for tests: Go builds them once, in 6 minutes of CPU, and etcd is a Debian package.
KUBERNETES := .cache/kubernetes
PIP_INSTALL := -m pip install --disable-pip-version-check

# Python writes bytecode also where this variable forbids it elsewhere: without it, each test process compiles all tests,
# and each server that a test starts compiles app/.
export PYTHONDONTWRITEBYTECODE :=

# Arguments for `make run` and the test targets, as in: make run ARGS="--port 8088"
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install run test test-all test-engine test-clients test-providers test-auth test-console test-fast fuzz check format generate diagrams migrate revision conformance bench bench-compare bench-load bench-scale clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

install: $(VENV)/.installed ## Make .venv with the server in it

run: $(VENV)/.installed ## Install, then serve on port 30080; further flags in ARGS
	@exec $(BIN)/flyteadmin serve $(ARGS)

# Each process runs neighbouring tests, which share servers; the one that ends first takes over tests of the others.
# Three processes keep two CPUs busy, as tests wait for a quarter of their time; long tests start processes of their own.
# `make check` runs the tests that read the sources.
RULES := tests/test_tidy.py tests/settings/test_reads.py
PYTEST := $(BIN)/python -m pytest --dist worksteal $(RULES:%=--ignore %)

test: $(VENV)/.dev $(TASKS) ## Run the fast tests on SQLite and PostgreSQL, and some with real servers: 3 minutes
	$(PYTEST) -n 3 -m "not long and not campaign" $(ARGS)

test-all: test ## Run `make test`, then the tests that start many servers and tasks: what CI runs
	$(PYTEST) -n 2 -m "long and not campaign" $(ARGS)

test-engine: $(VENV)/.dev $(TASKS) ## Run real workflows of every kind, kill servers under them, and measure a route
	$(BIN)/python -m pytest -m campaign tests/engine/graphs tests/benchmarks $(ARGS)

.PHONY: test-portable
test-portable: $(VENV)/.dev $(TASKS) ## Run the workflows of test-engine with the portable twin of app/system, as on macOS
	FLYTEADMIN_PORTABLE=1 $(BIN)/python -m pytest -m "campaign or slow" tests/engine/graphs $(ARGS)

.PHONY: test-background
test-background: $(VENV)/.dev ## Kill schedulers and outboxes 50 to 200 times, and use real brokers; some tests need java or go
	$(BIN)/python -m pytest -m campaign tests/background $(ARGS)

test-clients: $(VENV)/.dev ## Generate clients in TypeScript, Go and Java, compile them and call a server; needs npm, go, mvn
	$(BIN)/python -m pytest -m campaign tests/clients $(ARGS)

test-providers: $(VENV)/.dev ## Sign in at Dex and Keycloak with Chromium; needs chromium, go, java, mvn
	$(BIN)/python -m pytest -m campaign tests/providers $(ARGS)

.PHONY: test-kubernetes
test-kubernetes: $(VENV)/.dev $(KUBERNETES)/.programs ## Use a real API server of Kubernetes, and kill the placing process 1,000 times; needs go, etcd
	$(BIN)/python -m pytest -m campaign tests/engine/kubernetes tests/kubernetes $(ARGS)

test-auth: $(VENV)/.dev $(TASKS) ## Sign in with flytekit and grpcurl, over TLS, and let tasks call back; grpcurl needs go
	@if command -v go >/dev/null; then GOBIN=$(abspath .cache/clients) go install github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3; fi
	$(BIN)/python -m pytest -m campaign tests/auth/test_clients_sign_in.py $(ARGS)

test-console: $(VENV)/.dev $(TASKS) ## Build the console and use every page of it in Chromium; needs npm, chromium
	@$(MAKE) console
	$(BIN)/python -m pytest -m "campaign or not campaign" tests/console $(ARGS)

.PHONY: test-events
test-events: $(VENV)/.dev ## Kill processes that publish events, and publish at NATS and at Google's server for Pub/Sub; needs go
	$(BIN)/python -m pytest -m campaign tests/background/events_out $(ARGS)

test-fast: $(VENV)/.dev ## Run the tests that start no process and take no seconds, on SQLite
	$(PYTEST) -n 3 -m "not slow and not heavy and not campaign" $(ARGS)

.PHONY: test-examples
test-examples: $(VENV)/.dev ## Run the tests that make up their input, with many more examples
	$(BIN)/python -m pytest -m hypothesis --hypothesis-profile=thorough $(ARGS)
	$(BIN)/python -m pytest -m campaign tests/openapi/test_schemathesis.py $(ARGS)

fuzz: $(VENV)/.dev ## Send random input to a server: ARGS="--seconds 3600 --seed 1"
	@$(BIN)/python -m tests.fuzz.run $(ARGS)

check: $(VENV)/.dev ## Check format, lint, types, security and the project's own rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive app openapi
	$(BIN)/python -m pytest -q $(RULES)

format: $(VENV)/.dev ## Format the code and sort its imports
	$(BIN)/ruff check --fix-only --select I .
	$(BIN)/ruff format .

generate: $(VENV)/.dev ## Write routers, the OpenAPI document and docs/settings.md from their sources
	$(BIN)/python -m openapi.generate
	@mkdir -p .cache
	$(BIN)/flyteadmin config docs > .cache/settings.md && mv .cache/settings.md docs/settings.md
	$(BIN)/python docs/deviations.py

.PHONY: console console-check
console: console/node_modules/.installed ## Build the console from console/ into app/console/static; needs Node 20.19
	@cd console && npm run --silent build

console-check: console/node_modules/.installed ## Check types, lint, unit tests, build and sizes of the console; needs Node
	cd console && npm run --silent types && git diff --exit-code src/api
	cd console && npm run --silent check && npm run --silent lint && npm run --silent test
	cd console && npm run --silent build && npm run --silent sizes
	git diff --exit-code app/console/static && test -z "$$(git status --porcelain app/console/static)"

console/node_modules/.installed: console/package-lock.json
	@echo "installing what the console is built with"
	@cd console && npm ci --no-audit --no-fund
	@touch $@

diagrams: ## Draw docs/architecture.svg from docs/architecture.mmd; needs npm
	npx --yes @mermaid-js/mermaid-cli@11 --input docs/architecture.mmd --output docs/architecture.svg --backgroundColor white

migrate: $(VENV)/.installed ## Bring the database to this version's schema
	$(BIN)/flyteadmin migrate run $(ARGS)

revision: $(VENV)/.dev ## Make a migration with the next number: ARGS="-m 'add a column'"
	$(BIN)/alembic revision --rev-id $$(printf %04d $$(($$(ls alembic/versions/*_*.py | wc -l) + 1))) $(ARGS)

conformance: $(VENV)/.dev ## Replay the recorded conversations against a server of its own; case files in ARGS
	$(BIN)/python -m tests.conformance.run $(ARGS)

bench: $(VENV)/.dev $(TASKS) $(BENCH)/.tools ## Measure the server under load; choices: ARGS="--help"
	@$(BIN)/python -m benchmarks run $(ARGS)

bench-compare: $(VENV)/.dev ## Compare two results: A=benchmarks/results/….json B=…
	@$(BIN)/python -m benchmarks compare $(A) $(B)

bench-load: $(VENV)/.dev ## Fill an empty database for measurements: ARGS="URL --storage FOLDER --executions 100000"
	@$(BIN)/python -m benchmarks.load $(ARGS)

bench-scale: $(VENV)/.dev $(TASKS) ## Compare lists on a small and a large database; choices: ARGS="--help"
	@$(BIN)/python -m benchmarks scale $(ARGS)

clean: ## Remove what make made; keep FLYTEADMIN_HOME
	rm -rf $(VENV) .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
	find alembic app benchmarks openapi tests -name __pycache__ -prune -exec rm -rf {} +

# The first Python that is new enough and can make an environment. PYTHON=/path/to/python chooses another.
$(BIN)/python:
	@for python in $(PYTHON) python3.11 python3.12 python3.13 python3.14 python3 python; do \
		"$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
		python=; \
	done; \
	if [ -z "$$python" ]; then \
		echo "make: there is no Python 3.11 or newer with venv on the PATH. Install it (on Debian and Ubuntu:" \
			"apt install python3.11 python3.11-venv), or name one: make install PYTHON=/path/to/python3.11" >&2; \
		exit 1; \
	fi; \
	echo "making $(VENV) with $$("$$python" --version)"; \
	"$$python" -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	@echo "installing flyteadmin into $(VENV)"
	@$(BIN)/python $(PIP_INSTALL) -e .
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.installed
	@echo "installing what tests and checks need into $(VENV)"
	@$(BIN)/python $(PIP_INSTALL) -e '.[dev]'
	@touch $@

# The same function makes the environment of a user's tasks; it says what it does.
$(CACHE)/envs/default: | $(VENV)/.dev
	@$(BIN)/python -m tests.engine.environment

# Tests that lack a program are skipped, with its name.
$(KUBERNETES)/.programs: tests/kubernetes/apiserver/go.mod
	@mkdir -p $(KUBERNETES)
	@if ! command -v etcd >/dev/null && command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		echo "installing etcd"; \
		apt-get install -qq -y etcd-server >/dev/null || { apt-get update -qq && apt-get install -qq -y etcd-server; }; \
	fi
	@if command -v go >/dev/null; then \
		for program in kube-apiserver kube-controller-manager; do \
			echo "building $$program"; \
			go -C tests/kubernetes/apiserver build -trimpath -ldflags "-s -w" -o $(abspath $(KUBERNETES))/ \
				k8s.io/kubernetes/cmd/$$program || exit 1; \
		done; \
		touch $@; \
	fi

# Prefect, for `make bench ARGS="--part peers"`.
$(BENCH)/prefect:
	python3 -m venv $@
	$@/bin/python $(PIP_INSTALL) prefect psutil

# The benchmark itself names a missing program, if the chosen routes need it.
$(BENCH)/.tools: benchmarks/grpcload/main.go benchmarks/grpcload/go.mod
	@mkdir -p $(BENCH)
	@if ! command -v wrk >/dev/null && command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		echo "installing wrk"; apt-get install -qq -y wrk >/dev/null || { apt-get update -qq && apt-get install -qq -y wrk; }; \
	fi
	@if command -v go >/dev/null; then \
		echo "building the load for gRPC"; go -C benchmarks/grpcload build -o $(abspath $(BENCH))/grpcload .; \
	fi
	@if command -v wrk >/dev/null && [ -x $(BENCH)/grpcload ]; then touch $@; fi
