# install: .venv with everything; demo: render a data set, train MDPR on it, evaluate; test: the whole suite;
# fuzz, chaos: an hour of generated input; a hundred trainings that are killed or otherwise harmed;
# test-oldest: the suite's core on the oldest versions that setup.cfg allows, in .venv-oldest.
# None of them needs an activated environment. PYTHON names the interpreter to build .venv with (3.10 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FASTREID := fastreid==1.4.0
DEMO := configs/MDPR/synthreid_r18.yml
# One worker a core and one more (conftest.py), each of about 2 GB and with neighbouring tests, which share fixtures;
# `make test PYTEST_ARGS=tests/modeling` runs a part in one process
PYTEST_ARGS ?= --numprocesses auto --maxprocesses 8 --dist worksteal

# Without Python 3.10, the oldest that setup.cfg allows, test-oldest takes the interpreter that .venv is built with
OLDEST_PYTHON ?= $(shell python3.10 --version >/dev/null 2>&1 && echo python3.10 || echo $(PYTHON))
OLDEST := .venv-oldest
# All but measurements and comparisons of whole trainings
CORE ?= tests projects --ignore=tests/bench --ignore=tests/compare

.PHONY: install demo test test-oldest fuzz chaos docs lint clean

install: $(VENV)/.installed

$(VENV)/.installed: setup.cfg Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "mdpr-fastreid needs Python 3.10 or newer: make PYTHON=python3.11 install"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "cannot make $(VENV): install Python's venv module (Debian: apt-get install python3-venv)"; exit 1; }
	@echo "Installing into $(VENV): PyTorch alone is some gigabytes, so this takes minutes."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(FASTREID)
	@touch $@

demo: install
	@OMP_WAIT_POLICY=passive $(BIN)/python train_net.py --config-file $(DEMO)

test: install
	$(BIN)/python -m pytest $(PYTEST_ARGS)

# uv installs the lower bound of each requirement in setup.cfg, which pip cannot
$(OLDEST)/.installed: setup.cfg Makefile
	@rm -rf $(OLDEST)
	$(OLDEST_PYTHON) -m venv $(OLDEST)
	@echo "Installing into $(OLDEST): PyTorch alone is some gigabytes, so this takes minutes."
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(OLDEST)/bin/uv pip install --quiet --python $(OLDEST)/bin/python --resolution lowest-direct --editable '.[dev]'
	$(OLDEST)/bin/uv pip install --quiet --python $(OLDEST)/bin/python --no-deps $(FASTREID)
	@touch $@

test-oldest: $(OLDEST)/.installed
	$(OLDEST)/bin/python -m pytest $(CORE)

# Generated configs, manifests, images and weight files for FUZZ_SECONDS: any error that is no single line fails
FUZZ_SECONDS ?= 3600
fuzz: install
	MDPR_FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python -m pytest tests/robustness/test_generated.py -q

# Trainings that are killed, whose disk is full, whose folder goes, whose clock jumps: prints how many survived
ROUNDS ?= 100
chaos: install
	$(BIN)/python tests/robustness/chaos.py --rounds $(ROUNDS)

# The documentation as a site in site/; fails at a link that leads nowhere
docs: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	$(BIN)/mkdocs build --strict
	@echo "The site is in site/: open site/index.html"

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) $(OLDEST) build dist site *.egg-info
