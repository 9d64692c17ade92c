# The commands everyone guesses. `make` alone lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DATA   ?= data
PORT   ?= 8080
MODEL  ?=
FAULTS ?= 200
SEED   ?= 1
RELAYS ?= 4

.DEFAULT_GOAL := help
.PHONY: help setup setup-browser serve test crash test-long mutants check bench agents agents-long clients setup-npm first-light docs lock clean

help: ## list these commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

define install
$(BIN)/python -m pip install --progress-bar on --disable-pip-version-check --require-hashes --only-binary :all: -q -r $(1) || \
  { echo "The packages could not be installed. Check the network or your index (pip config list), then run the same command again."; exit 1; }
endef

# A stamp per requirement set: an unchanged lock costs nothing the second time.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "openmaas needs Python 3.11 or newer; name one with: make PYTHON=/usr/bin/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "· creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.serve: requirements/serve.txt pyproject.toml | $(BIN)/python
	@echo "· installing the locked packages (24, no compiler needed)"
	@$(call install,$<)
	@echo "$(CURDIR)/src" > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/openmaas.pth"
	@printf '#!/bin/sh\nexec "%s" -m openmaas.cli "$$@"\n' "$(CURDIR)/$(BIN)/python" > $(BIN)/openmaas && chmod +x $(BIN)/openmaas
	@$(BIN)/python -m compileall -q src
	@touch $@

$(VENV)/.%: requirements/%.txt $(VENV)/.serve
	@echo "· installing the locked packages of [$*]"
	@$(call install,$<)
	@touch $@
.PRECIOUS: $(VENV)/.%

# torch is pinned by version alone: which build fits (CPU, CUDA) is the machine's affair, and so are its digest and what it needs.
$(VENV)/.torch: pyproject.toml $(VENV)/.serve
	@echo "· installing torch"
	@$(BIN)/python -m pip install --progress-bar on --disable-pip-version-check -q torch==2.13.0 && touch $@ || \
	  { echo "torch could not be installed. Check the network or your index (pip config list), then run the same command again."; exit 1; }
$(VENV)/.glm $(VENV)/.oracle: $(VENV)/.torch

setup: $(VENV)/.dev ## create the environment with everything the tests need

# The extra of this name, when it has a lock: `make setup-glm` installs requirements/glm.txt.
setup-%: $(VENV)/.%
	@:

# What the agent's tests drive and pip does not have: a browser, a display without a screen, Android's adb, Chinese letters.
DEVICES = chromium xvfb adb xclip fonts-wqy-microhei
setup-browser: ## install Chromium, Xvfb and adb from Debian for the tests of agents (asks for root)
	@command -v chromium >/dev/null && command -v Xvfb >/dev/null && command -v adb >/dev/null || { \
	  echo "· installing $(DEVICES)"; \
	  as=$$(test "$$(id -u)" = 0 || echo sudo); \
	  $$as apt-get -qq update && DEBIAN_FRONTEND=noninteractive $$as apt-get -qq -y install --no-install-recommends $(DEVICES) >/dev/null || \
	  echo "They could not be installed; the tests that drive them will be skipped."; }

serve: $(VENV)/.serve ## serve a metered chat API on a real model (PORT, DATA, MODEL)
	@exec $(BIN)/openmaas serve --port $(PORT) --data $(DATA) $(if $(MODEL),--model $(MODEL))

test: $(VENV)/.dev ## run the tests: two files at a time, then those that want the machine for themselves
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not alone"
	@$(BIN)/python -m pytest -q -m alone

crash: $(VENV)/.dev ## break the house two hundred times and see that no money is lost (FAULTS, SEED, RELAYS)
	@PYTHONPATH=tests $(BIN)/python tests/crash.py --faults $(FAULTS) --seed $(SEED) --relays $(RELAYS)

test-long: $(VENV)/.dev ## run the tests with a thousand seeds where there are fifty
	@OPENMAAS_TEST_LONG=1 $(BIN)/python -m pytest -q

clients: $(VENV)/.dev setup-npm $(CLIENT_ENVS:%=setup-%) ## run the real SDKs and coding tools against houses of their own
	@$(BIN)/python -m pytest -q -rs tests/clients

# Clients that each want an environment of their own, for what they need disagrees; nothing else here needs them.
CLIENT_zai     := zai-sdk==0.2.3
CLIENT_zhipuai := zhipuai==2.1.5.20250825 sniffio
CLIENT_quota   := check-llm-quota==0.1.0
CLIENT_aider   := aider-chat==0.86.2
# What lm_eval's models behind an API need: two packages that it also names have no wheels (sqlitedict, word2number).
# It ranks answers with a tokenizer of transformers, which the test makes of a GGUF file.
CLIENT_lm-eval := aiohttp==3.13.3 datasets==5.2.0 jinja2 more_itertools pytablewriter requests sacrebleu==2.6.0 tenacity \
                  transformers==5.24.0 gguf==0.19.0
ALONE_lm-eval  := lm_eval==0.4.13
CLIENT_ENVS    := zai zhipuai quota aider lm-eval
wheels = $(VENV)-$(1)/bin/pip install --disable-pip-version-check -q --only-binary :all:
$(CLIENT_ENVS:%=setup-%): setup-%: $(VENV)-%/.done
$(CLIENT_ENVS:%=$(VENV)-%/.done): $(VENV)-%/.done:
	@echo "· installing the client $*"
	@$(PYTHON) -m venv $(VENV)-$* && \
	  $(call wheels,$*) $(CLIENT_$*) && $(if $(ALONE_$*),$(call wheels,$*) --no-deps $(ALONE_$*) &&) touch $@ || \
	  { echo "It could not be installed; its tests will be skipped."; rm -rf $(VENV)-$*; }

# Tools that come from npm: npm/package-lock.json says which, with their hashes. Without npm their tests are skipped.
$(VENV)-npm/.done: npm/package-lock.json
	@echo "· installing the coding tools from npm (1 GB)"
	@mkdir -p $(VENV)-npm && cp npm/package.json npm/package-lock.json $(VENV)-npm/
	@cd $(VENV)-npm && npm ci --no-audit --no-fund --silent && touch .done || \
	  echo "They could not be installed; their tests will be skipped."
setup-npm: $(VENV)-npm/.done
	@:

mutants: $(VENV)/.dev ## make a hundred and twenty mistakes in the ledger, one at a time; the tests must notice each
	@PYTHONPATH=tests $(BIN)/python tests/mutants.py

check: $(VENV)/.dev ## lint, types, import contracts
	@$(BIN)/ruff check src tests bench recipes
	@$(BIN)/ruff format --check src tests bench recipes
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

# The peers that need an environment of their own; without them their ratios are left out.
$(VENV)-litellm/bin/litellm:
	@echo "· installing LiteLLM to measure beside it (about 120 packages)"
	@$(PYTHON) -m venv $(VENV)-litellm && $(VENV)-litellm/bin/pip install --disable-pip-version-check -q 'litellm[proxy]==1.106.2' || \
	  { echo "LiteLLM could not be installed; measuring without it."; rm -rf $(VENV)-litellm; }

$(VENV)-gateways/bin/smg:
	@echo "· installing smg and TensorZero to measure beside them"
	@$(PYTHON) -m venv $(VENV)-gateways && \
	  $(VENV)-gateways/bin/pip install --disable-pip-version-check -q smg==1.13.0 tensorzero==2026.6.0 || \
	  { echo "They could not be installed; measuring without them."; rm -rf $(VENV)-gateways; }

bench: $(VENV)/.dev | $(VENV)-litellm/bin/litellm $(VENV)-gateways/bin/smg ## measure relay and ledger beside their peers in one run; writes bench/latest.json
	@$(BIN)/python -m bench.run

first-light: $(VENV)/.dev $(VENV)/.glm ## train a toy GLM, serve it, ask it and show the bill: ten minutes
	@$(BIN)/python recipes/first_light.py --into $(DATA)/first-light

agents: $(VENV)/.dev ## how often policies and models do tasks in a browser and on a simulated phone, by a judge
	@$(BIN)/python -m bench.agents.run --into bench/agents.json $(AGENTS)

agents-long: $(VENV)/.dev ## the same on all tasks, three seeds each; AGENTS="--model NAME --url URL" adds a model
	@$(BIN)/python -m bench.agents.run --into bench/agents.json --miniwob all --phone 60 --seeds 3 $(AGENTS)

docs: $(VENV)/.dev ## regenerate the pages that are made from the code
	@$(BIN)/python -m openmaas.house.pages docs

COMPILE = $(VENV)-lock/bin/pip-compile -q --strip-extras --generate-hashes --no-emit-index-url --no-emit-find-links \
  --no-emit-trusted-host --no-header --no-annotate --unsafe-package torch
EXTRAS  = postgres valkey documents parquet knowledge glm openvino apps oracle
# A lock of an extra begins with serve.txt and holds what it adds. `dev` has every extra, so it is resolved first and
# the others take its versions: whichever are installed together agree.
ADDED = awk 'NR == FNR { seen[$$1]; next } /^[^ ]/ { added = !/^\#/ && !($$1 in seen) } added' requirements/serve.txt
lock: ## renew the locks from pyproject.toml
	@$(PYTHON) -m venv $(VENV)-lock && $(VENV)-lock/bin/pip -q install pip-tools
	@$(COMPILE) -o requirements/serve.txt pyproject.toml
	@$(COMPILE) --extra dev -c requirements/serve.txt -o requirements/dev.txt pyproject.toml
	@for extra in $(EXTRAS); do \
	  $(COMPILE) --extra $$extra -c requirements/dev.txt -o requirements/$$extra.txt pyproject.toml || exit 1; done
	@for extra in dev $(EXTRAS); do \
	  { echo "-r serve.txt"; $(ADDED) requirements/$$extra.txt; } > $(VENV)-lock/added && \
	  mv $(VENV)-lock/added requirements/$$extra.txt || exit 1; done
	@rm -rf $(VENV)-lock

clean: ## remove the environment and the caches; your data stays
	@rm -rf $(VENV) $(CLIENT_ENVS:%=$(VENV)-%) $(VENV)-litellm $(VENV)-npm .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
