# Two commands for a fresh machine: `make run` opens the desk, `make test` checks everything. `make help` names the rest.

SHELL := /bin/bash
VERSIONS := 3.11 3.12 3.13 3.14
# The version that the machine may lack and Debian testing has.
NEXT ?= 3.14
# An interpreter of your choice for .venv: make run PYTHON=/usr/bin/python3.12
PYTHON ?= $(shell tools/find-python.sh)
# A version that the machine lacks is named at the end of `make test`. The other targets need not look for them.
ifneq ($(filter test,$(MAKECMDGOALS)),)
TESTED := $(foreach version,$(VERSIONS),$(if $(shell tools/find-python.sh $(version)),$(version)))
# .venv is the environment of its own version.
OWN := $(shell for python in .venv/bin/python "$(PYTHON)"; do \
	$$python -c 'import sys; print("{}.{}".format(*sys.version_info))' 2>/dev/null && break; done)
endif

RUN_LOCK := requirements/run.txt
BENCH_LOCK := requirements/bench.txt
FUZZ_LOCK := requirements/fuzz.txt
EDITORS_LOCK := requirements/editors.txt
BROWSER_LOCK := requirements/browser.txt
TEST_LOCKS := $(RUN_LOCK) requirements/test.txt requirements/libraries.txt
# A change of what is compiled has it compiled anew.
SETUP := pyproject.toml setup.py tools/make-venv.sh $(wildcard src/manyhands/*/*.pyx src/manyhands/*/*/*.pyx)

# The exit status for a mistake in the words of a command, and what to do with another address, say.
MISTAKE := 2
HINT := 'options of the desk go into ARGS: make run ARGS="--bind tcp://127.0.0.1:8009"'

.DEFAULT_GOAL := help
.PHONY: run test test-next system-packages bench soak fuzz lint format lock clean help
# Nothing is made beside anything else but environments, for `make test`.
ifndef SIDE_BY_SIDE
.NOTPARALLEL:
endif

run: .venv/.for-run ## open the desk on 127.0.0.1:8008 (ARGS="..." are its options)
	@.venv/bin/manyhands chat $(ARGS) || { status=$$?; [ $$status -ne $(MISTAKE) ] || echo $(HINT) >&2; exit $$status; }

test: system-packages ## run all checks and tests, on every Python that the machine has
	@$(MAKE) --no-print-directory -j"$$(nproc)" SIDE_BY_SIDE=yes .venv/.for-test $(patsubst %,.venv-%/.for-test,$(filter-out $(OWN),$(TESTED)))
	@.venv/bin/python tools/run_tests.py $(VERSIONS)

# The interpreter comes first, for the other lines and rules look for it.
test-next: ## bring a newer Python (NEXT=3.14) from Debian testing, and run the compatibility tests on it
	@tools/next-python.sh $(NEXT) >/dev/null
	@tools/system-packages.sh "$$(tools/find-python.sh $(NEXT))"
	@$(MAKE) --no-print-directory .venv/.for-test .venv-$(NEXT)/.for-test
	@.venv/bin/python tools/run_tests.py --only $(NEXT)

# First, since a compiler belongs to what the tests need, and the environments compile.
system-packages:
	@tools/system-packages.sh $(foreach version,$(TESTED),"$$(tools/find-python.sh $(version))")

bench: .venv/.for-bench ## what a request costs, on our servers and on others (ARGS="--quick" takes two minutes)
	@.venv/bin/python -m bench $(ARGS)

# Of all harnesses together, which get the same share of it.
SECONDS ?= 3600

soak: .venv/.for-test ## ten minutes of everything at once, on three engines and with workers (ARGS="--minutes 1")
	@.venv/bin/python -m soak $(ARGS)

fuzz: .venv/.for-fuzz ## look for inputs that break the parsers (SECONDS=3600 in all)
	@.venv/bin/python tools/fuzz.py $(SECONDS)

lint: .venv/.for-test ## ruff and mypy
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check
	@.venv/bin/mypy

format: .venv/.for-test ## let ruff format the code
	@.venv/bin/ruff format
	@.venv/bin/ruff check --fix

lock: ## resolve requirements/*.in anew (on 3.11, the oldest version that the locks are for)
	@tools/lock.sh "$$(tools/find-python.sh 3.11)"

clean: ## remove what the other targets made
	@rm -rf .venv .venv-* .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	@find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

help: ## say this
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

# The desk runs without gevent too, which has to be compiled where there is no wheel of it.
.venv/.for-run: $(RUN_LOCK) $(SETUP)
	@MAY_LACK_FIBERS=1 tools/make-venv.sh .venv "$(PYTHON)" $(RUN_LOCK)
	@touch $@

.venv/.for-bench: $(RUN_LOCK) $(BENCH_LOCK) $(SETUP)
	@tools/make-venv.sh .venv "$(PYTHON)" $(RUN_LOCK) $(BENCH_LOCK)
	@touch .venv/.for-run $@

.venv/.for-fuzz: $(RUN_LOCK) $(FUZZ_LOCK) $(SETUP)
	@tools/make-venv.sh .venv "$(PYTHON)" $(RUN_LOCK) $(FUZZ_LOCK)
	@touch .venv/.for-run $@

# On one version: what editors know of the options, the page in a browser, and the contestants, for a change of the
# bench must leave them answering.
.venv/.for-test: $(TEST_LOCKS) $(EDITORS_LOCK) $(BROWSER_LOCK) $(BENCH_LOCK) $(SETUP)
	@tools/make-venv.sh .venv "$(PYTHON)" $(TEST_LOCKS) $(EDITORS_LOCK) $(BROWSER_LOCK) $(BENCH_LOCK)
	@touch .venv/.for-run .venv/.for-bench $@

.venv-%/.for-test: $(TEST_LOCKS) $(SETUP)
	@tools/make-venv.sh .venv-$* "$$(tools/find-python.sh $*)" $(TEST_LOCKS)
	@touch $@
