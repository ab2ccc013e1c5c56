# The two commands of this project are `make demo` and `make test`; `make help` lists the rest.

PYTHON ?= python3
BIN := .venv/bin
DEMO := demo
# Side by side; tests that share something costly in one process (tests/conftest.py).
PYTEST := $(BIN)/python -m pytest -n auto --dist loadgroup

.PHONY: help demo test quick services sumo browser lint bench pictures clean

help:
	@echo "make demo    train 4 warehouse robots and write runs/$(DEMO)/report.html (first time: about two minutes, then under one)"
	@echo "make services  install RabbitMQ, Redis and Prometheus where they are missing (Debian, Ubuntu), for 'honcho start'"
	@echo "make sumo    install SUMO, for the traffic presets"
	@echo "make test    ruff, mypy and the whole test suite (a quarter of an hour on two cores, with all it installs)"
	@echo "make quick   the tests without a server, a browser or a run (a minute on two cores)"
	@echo "make lint    ruff and mypy --strict"
	@echo "make bench   throughput of this machine"
	@echo "make pictures  take README's pictures of pages again (docs/images/)"
	@echo "make clean   remove .venv and caches (not runs/)"

# Reinstalled only when the list of dependencies changed.
.venv/.installed: pyproject.toml constraints.txt
	@echo "Installing into .venv (once; about half a minute) ..."
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

.venv/.installed-dev: .venv/.installed
	@echo "Installing the tools for tests (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: .venv/.installed
	@echo "Training 4 warehouse robots with DIALS, 1,000,000 steps each: under a minute on two cores"
	@echo "(the first time on a machine about another minute, to compile the kernels)."
	@rm -rf runs/$(DEMO)
	@$(BIN)/dials train warehouse-4 --run $(DEMO)
	@echo "Open runs/$(DEMO)/report.html in a browser: learning curve, influence, and an episode to watch."

services: .venv/.installed
	@sh scripts/services.sh

sumo: .venv/.installed
	@sh scripts/sumo.sh

browser:
	@sh scripts/browser.sh

test: .venv/.installed-dev services sumo browser
	@echo "Running ruff, mypy and the whole test suite: about a quarter of an hour on two cores."
	@$(MAKE) --no-print-directory lint
	@$(BIN)/dials warmup warehouse-4 traffic-4
	@$(PYTEST)

quick: .venv/.installed-dev
	@$(PYTEST) -q -m "not (server or browser or run or compiles)"

lint: .venv/.installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: .venv/.installed
	@for part in rollout learn aip gs; do $(BIN)/dials bench $$part || exit 1; done

pictures: .venv/.installed-dev demo browser
	@$(BIN)/python scripts/pictures.py

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
