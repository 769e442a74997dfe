# Each recipe is what you could type yourself after `source .venv/bin/activate`.
PYTHON ?= python3
BASE ?= HEAD
READY := .venv/ready
PAGE := .dvc/page.html
# Named, as macOS's make would else start programs by its own PATH.
SHELL := /bin/bash
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: run repro test verify verify-cpus report predict experiments compare sweep s3 bench

run: $(READY) $(PAGE)  # the pipeline on MNIST; on the embedded digits if no mirror can be reached
	python -m tools.run

repro: $(READY) $(PAGE)  # the pipeline on MNIST, or an error; bad settings are refused even if no stage has to run
	python -m stages.lib.params
	dvc repro

test: $(READY)  # all tests; those of the real MNIST need MNIST_MIRROR or a finished data/raw
	ruff check
	ruff format --check
	mypy
	pytest

verify: $(READY)  # run everything again and compare each result with the recorded one
	python -m tools.verify

verify-cpus: $(READY)  # the same on emulated processors, on the digits; CPUS="Haswell EPYC-Rome" names others
	python -m tools.verify_cpus $(CPUS)

report: $(READY)  # what changed since BASE, in Markdown: metrics and settings
	dvc metrics diff --md $(BASE)
	dvc params diff --md $(BASE)

predict: $(READY)  # what the trained network says of your own picture: make predict IMAGE=photo.png
	python -m tools.predict "$$IMAGE"

experiments: $(READY)  # the experiments' results and the settings in which they differ
	dvc exp show --only-changed --drop '.*/|accuracy_|correct|error_rate|State|Executor' --keep 'accuracy$$|loss$$'

sweep: $(READY)  # a grid of settings with several seeds, and which is best: sweep/answer.md
	dvc repro sweep/dvc.yaml

s3: $(READY)  # what results in an S3 bucket need, and the server of their test
	python -m pip install --quiet --requirement requirements-s3.txt

compare: $(READY)  # McNemar's test of two commits or experiments: make compare A=main B=exp-name
	python -m tools.compare "$$A" "$$B"

bench: bench/.venv/ready  # the project against seven others, about ten minutes: bench/results.md
	bench/.venv/bin/python -m bench.run

bench/.venv/ready: bench/requirements.txt
	rm -rf bench/.venv
	$(PYTHON) -m venv bench/.venv
	bench/.venv/bin/python -m pip install --quiet --requirement bench/requirements.txt
	touch $@

$(READY): requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or newer is needed, this is {sys.version}")'
	$(PYTHON) -m venv .venv
	python -m pip install --quiet --requirement requirements.txt
	install -m 755 tools/dvc .venv/bin/dvc
	python -m tools.page
	touch $@

$(PAGE): tools/page.html tools/page.py params.yaml | $(READY)  # of `dvc plots show`
	python -m tools.page
