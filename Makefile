# One command each, on a machine that has Python 3.11 or newer and the network; .venv sets itself up.

# The system's own Python first: distributions build it with all optimisations (a fifth faster here), version managers often do not.
PYTHON ?= $(shell for python in /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
READY := .venv/.ready

.PHONY: help run test check bench bench-compare clean

help:  ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

run: $(READY)  ## a small mesh to look at
	.venv/bin/sidecar demo

test: $(READY)  ## all tests
	.venv/bin/python -m pytest

check: $(READY)  ## format, lint, types, import rules
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/mypy
	.venv/bin/python -m pytest -q tests/test_house.py

bench: $(READY)  ## speed and memory beside Envoy; writes bench-results.json
	.venv/bin/python -m bench --json bench-results.json

bench-compare: $(READY)  ## what has changed: make bench-compare A=old.json B=new.json
	@.venv/bin/python -m bench.compare $(or $(A),$(error A=old.json is missing)) $(or $(B),bench-results.json)

clean:  ## remove all that the commands above have made
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -prune -exec rm -rf {} +

$(READY): pyproject.toml
	@test -x .venv/bin/python || test -n "$(PYTHON)" || \
		{ echo "Python 3.11 or newer with venv is needed (Debian: apt install python3-venv)" >&2; exit 1; }
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@
