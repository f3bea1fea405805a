# Every command of the project; `make` alone explains them. Each target makes the environment first if it is not there.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --warn-undefined-variables

## how much to run: auto (paper with CUDA, else smoke), paper, rehearsal, smoke
SCALE ?= auto
## seeds, separated by commas: SEEDS=0,1,2
SEEDS ?= 0
## pruners, separated by commas: PRUNERS=relevance,l2; auto is relevance and its controls
PRUNERS ?= auto
## Weights & Biases: auto (online only where logged in), offline, online, none
TRACKING ?= auto
## where to compute: auto, cpu, cuda
MACHINE ?= auto
## 1: verify every committed network, not those of the headline runs alone
ALL ?= 0
## the Python (3.11 or newer) that makes the environment .venv
PYTHON ?= python3

ENV := .venv
STAMP := $(ENV)/.installed
ENV_PYTHON := $(ENV)/bin/python
REPRODUCE_OPTIONS = --scale "$(SCALE)" --seeds "$(SEEDS)" --pruners "$(PRUNERS)" \
	--tracking "$(TRACKING)" --machine "$(MACHINE)"

.PHONY: help env data test test-slow test-portable lint reproduce-all plan report verify sync bench check-gpu status clean-runs

help: ## explain the targets and variables
	@echo "usage: make TARGET [VARIABLE=value ...]"
	@echo "targets:"
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { sub("%", "EXPERIMENT", $$1); printf "  %-22s %s\n", $$1, $$2 }' Makefile
	@echo "variables, with their defaults:"
	@awk '/^## / { doc = substr($$0, 4) } /^[A-Z]+ \?= / { printf "  %-22s %s\n", $$1 "=" $$3, doc }' Makefile

env: $(STAMP) ## make the environment .venv with the tested versions (5.6 GB on Linux, minutes)

data: $(STAMP) ## fetch and verify MNIST, Fashion-MNIST and CIFAR-10
	$(ENV_PYTHON) scripts/download.py all

test: $(STAMP) ## run the CPU suite
	$(ENV_PYTHON) -m pytest -m "not slow and not gpu" -n 2

test-slow: $(STAMP) ## run the tests that `test` has no time for
	$(ENV_PYTHON) -m pytest -m "slow and not gpu" -n 2

# what torch and oneDNN may use of this processor: all, as without AVX-512, as without AVX
PROCESSORS := "" "ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2" "ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41"

test-portable: $(STAMP) ## run the CPU suite as on other processors, with 1 and 2 threads, without the data mirror
	@failed=0; for processor in $(PROCESSORS); do for threads in 1 2; do \
		echo "== OMP_NUM_THREADS=$$threads $$processor"; \
		env -u SPARSITY_DATA_MIRROR OMP_NUM_THREADS=$$threads $$processor \
			$(ENV_PYTHON) -m pytest -q -m "not slow and not gpu" -n $$((2 / threads)) || failed=1; \
	done; done; exit $$failed

lint: $(STAMP) ## check style, types and the import contract
	$(ENV)/bin/ruff check
	$(ENV)/bin/ruff format --check
	$(ENV)/bin/mypy
	$(ENV)/bin/lint-imports --no-logo

reproduce-all: $(STAMP) ## run every experiment; the same command again resumes, or says it is done
	$(ENV_PYTHON) scripts/reproduce.py run $(REPRODUCE_OPTIONS)

reproduce-%: $(STAMP) ## run one experiment, such as reproduce-lenet5_mnist
	$(ENV_PYTHON) scripts/reproduce.py run $(REPRODUCE_OPTIONS) --experiments $*

plan: $(STAMP) ## print steps, evaluations and prunes of each experiment before anything runs
	$(ENV_PYTHON) scripts/reproduce.py plan $(REPRODUCE_OPTIONS)

status: $(STAMP) ## say which runs are done, under way or missing
	$(ENV_PYTHON) scripts/reproduce.py status $(REPRODUCE_OPTIONS)

report: $(STAMP) ## write results/README.md and index.html: ours against the paper
	$(ENV_PYTHON) scripts/report.py

verify: $(STAMP) ## score the committed networks again and hold every record against them
	$(ENV_PYTHON) scripts/verify.py $(if $(filter 1,$(ALL)),--all)

sync: $(STAMP) ## send what W&B does not hold of our runs (after wandb login)
	$(ENV_PYTHON) scripts/sync.py

bench: $(STAMP) ## time a training step against plain and straightforward ones
	$(ENV_PYTHON) scripts/bench.py step --experiment lenet5_mnist

check-gpu: $(STAMP) ## check that the GPU computes what the runs need, with CUDA graphs and without
	$(ENV_PYTHON) -m sparsity.selfcheck

clean-runs: ## remove results/runs, after showing what is there and asking
	@test -d results/runs || { echo "Nothing to remove: there is no results/runs."; exit 0; }; \
	du -h -d 3 results/runs; \
	read -r -p "Remove all of results/runs? Type yes: " answer || answer=no; \
	if [ "$$answer" = yes ]; then rm -r results/runs; echo "Removed."; else echo "Kept."; fi

$(STAMP): pyproject.toml constraints.txt
	@command -v "$(PYTHON)" >/dev/null || { echo "There is no command $(PYTHON):" \
		"install Python 3.11 or newer, or name one with PYTHON=/its/path." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is $$("$(PYTHON)" --version 2>&1), but 3.11 or newer is needed: name one with PYTHON=/its/path." >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) lacks the module venv:" \
		"install it (Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; }
	"$(PYTHON)" -m venv $(ENV)
	$(ENV_PYTHON) -m pip install -c constraints.txt -e ".[dev,onnx]"
	@touch $@
