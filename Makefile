# Everything runs in .venv. The first target that needs it makes it, with PYTHON, which is used for nothing else.
# Each kind of set-up leaves a stamp in .venv; it runs again when pyproject.toml is newer.

PYTHON ?= python3
ARGS ?=
BIN = .venv/bin
PIP = $(BIN)/python -m pip install --disable-pip-version-check -q
LINTERS = $$(sed -n 's/.*"\(\(ruff\|mypy\|types-[a-z]*\)==[^"]*\)".*/\1/p' pyproject.toml)

.PHONY: help demo install test test-integrations lint bench campaign docs mamba
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' Makefile

# A folder of its own, and nothing is overwritten: shards/ is where people put theirs.
demo: .venv/core.stamp ## render the example bank into demo/ and make a page to look at and listen to
	$(BIN)/dx7data render --patches example --out demo/ --samples 64 --prefix fsk
	$(BIN)/dx7data inspect demo/
	$(BIN)/dx7data inspect demo/ --html demo/page.html

install: .venv/core.stamp ## set up .venv with dx7data and its few core dependencies

# A core each, up to 8 of them: a process of tests with torch takes 1.5 GB. worksteal: a file's tests stay together, and with
# them what they share, until a process has none left.
test: .venv/test.stamp ## run the tests, one on each core; options for pytest: make test ARGS="-k sysex -x"
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal $(ARGS)

test-integrations: .venv/test.stamp ## run the longer ones: the page in a browser, the package installed elsewhere, models that learn
	$(BIN)/python -m pytest -m integration $(ARGS)

lint: .venv/lint.stamp ## check style and formatting with ruff, and types with mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy dx7data models train

docs: .venv/docs.stamp ## build the documentation as a site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: .venv/test.stamp ## measure the engine, the rendering of shards and their plans on this machine
	$(BIN)/python benchmarks/bench_engine.py
	$(BIN)/python benchmarks/bench_render.py
	PYTHONPATH=. $(BIN)/python benchmarks/bench_plan.py

# A summary line each. Longer: .venv/bin/python -m benchmarks.campaign.kills --count 1000
campaign: .venv/test.stamp ## kill, cut the power, race, fill disks, read hostile data: the figures of docs/reliability.md (as root)
	$(BIN)/python -m benchmarks.campaign.kills
	$(BIN)/python -m benchmarks.campaign.power_cuts
	$(BIN)/python -m benchmarks.campaign.races
	$(BIN)/python -m benchmarks.campaign.full_disks
	$(BIN)/python -m benchmarks.campaign.hostile
	$(BIN)/python benchmarks/campaign/checkpoints.py

# Always runs: whether the kept wheels fit depends on today's torch and GPU. ARCHIVES=folder: no network, see train/wheels.py.
mamba: | $(BIN)/pip ## compile mamba-ssm and causal-conv1d for the GPU at hand; for another: make mamba ARCH=9.0
	@$(BIN)/python -m pip show -qq torch || $(MAKE) .venv/train.stamp
	@$(BIN)/python -m train.wheels $(if $(ARCH),--arch "$(ARCH)") $(if $(ARCHIVES),--archives "$(ARCHIVES)")

# Order-only (|): pip's own date must not cause a new set-up. pip is also what a half-made .venv lacks.
.venv/core.stamp: pyproject.toml | $(BIN)/pip
	@echo "Set-up: the core dependencies of dx7data, into .venv"
	@$(PIP) -e .
	@touch $@

.venv/test.stamp: pyproject.toml | $(BIN)/pip
	@echo "Set-up: dx7data and what its tests need, into .venv (torch among it: gigabytes, so minutes, the first time)"
	@$(PIP) -e '.[test]'
	@touch $@ .venv/core.stamp

.venv/train.stamp: pyproject.toml | $(BIN)/pip
	@echo "Set-up: dx7data and what training needs, into .venv (torch among it: gigabytes, so minutes, the first time)"
	@$(PIP) -e '.[train]'
	@touch $@ .venv/core.stamp

# mypy reads the types of what is imported, torch among it, so it needs the set-up of the tests.
.venv/lint.stamp: .venv/test.stamp
	@$(PIP) $(LINTERS)
	@touch $@

.venv/docs.stamp: pyproject.toml | $(BIN)/pip
	@echo "Set-up: dx7data and what builds its documentation, into .venv"
	@$(PIP) -e '.[docs]'
	@touch $@ .venv/core.stamp

$(BIN)/pip:
	@command -v $(PYTHON) >/dev/null || \
	  { echo "There is no $(PYTHON) here: install Python 3.11 or newer, or name one: make PYTHON=python3.13" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "dx7data needs Python 3.11 or newer, $(PYTHON) is older; name another: make PYTHON=python3.13" >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv .venv
