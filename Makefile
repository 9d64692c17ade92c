# The commands everyone guesses. `make` alone lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DATA   ?= data
PORT   ?= 8080
MODEL  ?= smollm2-135m

.DEFAULT_GOAL := help
.PHONY: help setup serve test test-long check bench clients docs lock clean

help: ## list these commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# A stamp per requirement set: an unchanged lock costs nothing the second time.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "openmaas needs Python 3.11 or newer; name one with: make PYTHON=/usr/bin/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "· creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.serve: requirements/serve.txt pyproject.toml | $(BIN)/python
	@echo "· installing the locked packages (about 30, no compiler needed)"
	@$(BIN)/python -m pip install --progress-bar on --disable-pip-version-check --require-hashes --only-binary :all: -q -r requirements/serve.txt || \
	  { echo "The packages could not be installed. Check the network or your index (pip config list), then run the same command again."; exit 1; }
	@echo "$(CURDIR)/src" > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/openmaas.pth"
	@printf '#!/bin/sh\nexec "%s" -m openmaas.cli "$$@"\n' "$(CURDIR)/$(BIN)/python" > $(BIN)/openmaas && chmod +x $(BIN)/openmaas
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.serve
	@echo "· installing what the tests need"
	@$(BIN)/python -m pip install --progress-bar on --disable-pip-version-check --require-hashes --only-binary :all: -q -r requirements/dev.txt || \
	  { echo "The test packages could not be installed. Check the network or your index (pip config list), then run the same command again."; exit 1; }
	@touch $@

setup: $(VENV)/.dev ## create the environment with everything the tests need

serve: $(VENV)/.serve ## serve a metered chat API on a real model (PORT, DATA, MODEL)
	@exec $(BIN)/openmaas serve --port $(PORT) --data $(DATA) --model $(MODEL)

test: $(VENV)/.dev ## run the tests
	@$(BIN)/python -m pytest -q

test-long: $(VENV)/.dev ## run the tests with a thousand seeds where there are fifty
	@OPENMAAS_TEST_LONG=1 $(BIN)/python -m pytest -q

clients: $(VENV)/.dev ## run the real SDKs against the real embedded model
	@$(BIN)/python -m pytest -q tests/clients

check: $(VENV)/.dev ## lint, types, import contracts
	@$(BIN)/ruff check src tests bench
	@$(BIN)/ruff format --check src tests bench
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

bench: $(VENV)/.dev ## measure the relay beside nginx in one run; writes bench/latest.json
	@$(BIN)/python -m bench.run

docs: $(VENV)/.dev ## regenerate the pages that are made from the code
	@$(BIN)/python -m openmaas.house.pages docs

lock: ## renew the locks from pyproject.toml
	@$(PYTHON) -m venv $(VENV)-lock && $(VENV)-lock/bin/pip -q install pip-tools
	@$(VENV)-lock/bin/pip-compile -q --strip-extras --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-header --no-annotate -o requirements/serve.txt pyproject.toml
	@$(VENV)-lock/bin/pip-compile -q --strip-extras --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-header --no-annotate --extra dev -c requirements/serve.txt -o requirements/dev.txt pyproject.toml
	@rm -rf $(VENV)-lock

clean: ## remove the environment and the caches; your data stays
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
