# Each recipe is what you could type yourself after `source .venv/bin/activate`.
PYTHON ?= python3
BASE ?= HEAD
READY := .venv/ready
PAGE := .dvc/page.html
# Named, as macOS's make would else start programs by its own PATH.
SHELL := /bin/bash
export PATH := $(CURDIR)/.venv/bin:$(PATH)
unexport PYTHONSAFEPATH  # with it Python finds no module of this folder
# With 1, pip would refuse to install into an environment.
export PIP_USER := 0
# DVC asks for it, and in a container there may be none.
export USER ?= $(shell id -un 2>/dev/null || id -u)
# As they were typed, with each $.
override IMAGE := $(value IMAGE)
override A := $(value A)
override B := $(value B)
export IMAGE A B

# The environment holds its own path and needs its Python: if one of them has changed, it is made anew.
ifneq ($(shell exec 2>/dev/null; .venv/bin/python -c 'import dvc; print(open("$(READY)").read().strip())'),$(CURDIR))
.PHONY: $(READY)
CLEAR := --clear
endif

.PHONY: run repro repair test verify report predict plots experiments compare sweep s3 bench

run: $(READY) $(PAGE)  # the pipeline on MNIST; on the embedded digits if no mirror can be reached
	python -m tools.repair
	python -m tools.run

repro: $(READY) $(PAGE)  # the pipeline on MNIST, or an error; bad settings are refused even if no stage has to run
	python -m stages.lib.params
	python -m tools.repair
	dvc repro

repair: $(READY)  # put damaged files of the cache aside, and mend what a kill leaves of dvc.lock
	python -m tools.repair

test: $(READY)  # all tests; those of the real MNIST need MNIST_MIRROR or a finished data/raw
	ruff check
	ruff format --check
	mypy
	pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

verify: $(READY)  # run everything again and compare each result with the recorded one
	python -m tools.repair
	python -m tools.verify

report: $(READY)  # what changed since BASE, in Markdown: metrics and settings
	@git rev-parse --verify HEAD > /dev/null
	@python -m tools.repository
	@if git cat-file -e "$(BASE)^{commit}" 2> /dev/null; then \
	  dvc metrics diff --md "$(BASE)" && dvc params diff --md "$(BASE)"; \
	else echo "There is no commit $(BASE) here (a first or a forced push, a short history): nothing to compare with"; fi

predict: $(READY)  # what the trained network says of your own picture: make predict IMAGE=photo.png
	python -m tools.predict "$$IMAGE"

plots: $(READY) $(PAGE)  # all charts and pictures on one page
	dvc plots show

experiments: $(READY)  # the experiments' results and the settings in which they differ
	@python -m tools.repository
	@[ -n "$$(dvc exp list --name-only)" ] || \
	  echo "No experiment started from this commit; those of earlier ones: dvc exp show --all-commits"
	dvc exp show --only-changed --drop '.*/|accuracy_|correct|error_rate|State|Executor' --keep 'accuracy$$|loss$$'

sweep: $(READY)  # a grid of settings with several seeds, and which is best: sweep/answer.md
	OMP_NUM_THREADS=1 dvc repro sweep/dvc.yaml

s3: $(READY)  # what results in an S3 bucket need, and the server of their test
	python -m pip install --quiet --requirement requirements-s3.txt

compare: $(READY)  # McNemar's test of two commits or experiments: make compare A=main B=exp-name
	python -m tools.compare "$$A" "$$B"

bench: bench/.venv/ready  # about ten minutes: the project against six others, and exact against native networks
	bench/.venv/bin/python -m bench.run
	bench/.venv/bin/python -m bench.networks

bench/.venv/ready: bench/requirements.txt
	rm -rf bench/.venv
	$(PYTHON) -m venv bench/.venv
	bench/.venv/bin/python -m pip install --quiet --requirement bench/requirements.txt
	touch $@

$(READY): requirements.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; \
	  sys.exit(not (3, 11) <= v <= (3, 13) and "expected Python 3.11 to 3.13, found %d.%d; name another: make PYTHON=python3.12" % v)'
	@echo "Setting up .venv with all that requirements.txt names: gigabytes, and minutes" >&2
	$(PYTHON) -m venv .venv $(CLEAR)
	python -m pip install --quiet --requirement requirements.txt
	python -m tools.page
	@echo "$(CURDIR)" > $@

# Of `dvc plots show`; it names the last commit, each of which adds a line to this file of Git's.
$(PAGE): tools/page.html tools/page.py $(wildcard $(shell git rev-parse --git-path logs/HEAD 2>/dev/null)) | $(READY)
	python -m tools.page
