# `make help` lists the targets. The first use of any makes .venv and installs into it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= auto

# make train-NAME DATA=... DATA_DIR=... SEED=... EPOCHS=... RESUME=... ARGS="--flag value"
DATA ?= auto
FLAGS = $(if $(filter-out auto,$(RESUME)),,$(if $(filter-out auto,$(DATA)),--data $(DATA))) \
        $(if $(RESUME),--resume $(RESUME)) \
        $(if $(DATA_DIR),--data-dir $(DATA_DIR)) \
        $(if $(SEED),--seed $(SEED)) $(if $(EPOCHS),--epochs $(EPOCHS)) $(ARGS)

.PHONY: help train-% ladder results look doctor repro replay test test-slow test-chaos bench bench-peers \
        bench-scaling profile docs docs-pictures lint format types clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z%-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  experiments:   $(patsubst %,train-%,$(notdir $(basename $(EXPERIMENTS))))"
	@echo "  variables:     DATA=auto|mnist|digits|fashion_mnist|kmnist|cifar10|idx DATA_DIR=folder"
	@echo "                 SEED=0 EPOCHS=12 RESUME=runs/lenet/...|auto ARGS=\"--flag value\" PYTHON=python3.11"

# Large pages for large arrays: steps on CPU are faster. See docs/doctor.md, "Large pages".
train-% ladder repro replay look profile doctor: export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1

EXPERIMENTS := $(shell grep -lE '^(EXPERIMENT|STUDY) = ' experiments/*.py)

train-%: $(VENV)/installed  ## train an experiment, for example `make train-lenet`
	@test -f experiments/$*.py || { echo "There is no experiment $*; 'make help' lists them."; exit 2; }
	@$(BIN)/python -m experiments.$* $(FLAGS)

ladder: $(VENV)/installed  ## run every experiment that a laptop carries, all seeds (hours)
	@$(BIN)/python -m experiments.ladder $(if $(DATA_DIR),--data-dir $(DATA_DIR)) $(ARGS)

results: $(VENV)/installed  ## make the tables of results from the ladder's records
	@$(BIN)/python -m experiments.tables

look: $(VENV)/installed  ## look inside a trained network: make look RUN=runs/lenet/...
	@test -n "$(RUN)" || { echo "Pass RUN=, a run folder such as runs/lenet/20261121-121441-0."; exit 2; }
	@$(BIN)/python -m experiments.look $(RUN) $(if $(DATA_DIR),--data-dir $(DATA_DIR)) $(ARGS)

doctor: $(VENV)/installed  ## check versions, devices, caches and data, and train for one step
	@$(BIN)/python -m jaxcnn doctor $(if $(DATA_DIR),--data-dir $(DATA_DIR)) $(ARGS)

repro: $(VENV)/installed  ## run a recorded run again and compare the bits: make repro RUN=runs/lenet/...
	@test -n "$(RUN)" || { echo "Pass RUN=, a run folder such as runs/lenet/20261121-121441-0."; exit 2; }
	@$(BIN)/python -m jaxcnn repro $(RUN) $(ARGS)

replay: $(VENV)/installed  ## repeat a step that was not finite: make replay BUNDLE=runs/lenet/.../faults/...
	@test -n "$(BUNDLE)" || { echo "Pass BUNDLE=, a folder such as runs/lenet/.../faults/step-00000123."; exit 2; }
	@$(BIN)/python -m jaxcnn replay $(BUNDLE) $(if $(DATA_DIR),--data-dir $(DATA_DIR)) $(ARGS)

test: $(VENV)/installed-dev  ## run the fast tests
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadgroup

test-slow: export JAXCNN_TEST_OPTIMIZED = 1
test-slow: $(VENV)/installed-dev  ## run the tests that take minutes
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadgroup -m slow --timeout 1200
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadgroup tests/test_laws.py

test-chaos: $(VENV)/installed-dev  ## kill, corrupt, fuzz: the whole counts, printed
	JAXCNN_CHAOS=full $(BIN)/python -m pytest -q -s tests/chaos --timeout 3600

bench: $(VENV)/installed  ## measure training steps and start-up, beside the libraries installed
	$(BIN)/python -m benchmarks.run $(ARGS)

bench-peers: $(VENV)/installed-bench bench  ## the same, with all peers installed first

bench-scaling: $(VENV)/installed  ## data parallelism on virtual devices, and what to expect
	$(BIN)/python -m benchmarks.scaling $(ARGS)
	$(BIN)/python -m benchmarks.predict

profile: $(VENV)/installed  ## trace a training step, by layer (NET=lenet|cifar|resnet20|alexnet)
	$(BIN)/python -m benchmarks.profile $(if $(NET),--net $(NET)) $(ARGS)

docs: $(VENV)/installed-docs  ## build the documentation site: open site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build
	@echo "Open site/index.html. The search needs a server: $(BIN)/python -m http.server -d site"

docs-pictures: $(VENV)/installed  ## draw the pictures of its pages anew, by running their code
	$(BIN)/python -m docs.pictures $(ARGS)

lint: $(VENV)/installed-dev  ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/installed-dev  ## repair style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/installed-dev  ## check types
	$(BIN)/mypy

clean:  ## delete .venv and everything that tools leave behind; keeps runs/
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) -V 2>&1). Pass PYTHON=..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/installed: $(VENV)/made pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

$(VENV)/installed-bench: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@touch $@

$(VENV)/installed-docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@
