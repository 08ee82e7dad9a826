# `make` or `make help` lists the targets. The work is done by the scripts in tools/.

MAKEFLAGS += --no-print-directory
SHELL := /bin/bash

.DEFAULT_GOAL := help
.PHONY: help demo test test-deps deep fuzz check-fresh bench lint format clean

help: ## List the targets
	@sed -nE 's/^([a-z-]+):.* ## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | awk -F '\t' '{ printf "make %-12s %s\n", $$1, $$2 }'

demo: ## Start three hosts in a lab, join them into one Ethernet and check it (root)
	@[ "$$(id -u)" = 0 ] || { echo 'make demo needs root (network namespaces and TAP); run: sudo make demo' >&2; exit 1; }
	@tools/bootstrap.sh demo
	@.venv/bin/meshnet lab run --hosts 3 --check

test: ## Run the checks and every tier of tests that this machine can
	@tools/bootstrap.sh test
	@tools/run-tests.sh

test-deps: ## Install the packages that the tiers in the tree need (root; starts no daemon)
	@tools/deps.sh tiers

deep: ## Run random faults against seeds: make deep SEEDS=1..3000; goes on where it was broken off
	@[ -n "$(SEEDS)" ] || { echo 'which seeds? for example: make deep SEEDS=1..3000' >&2; exit 2; }
	@tools/bootstrap.sh test
	@.venv/bin/python -m meshnet.testing.deep $(SEEDS) --results $(or $(RESULTS),deep-results.txt)

fuzz: ## Look for inputs that break a parser: make fuzz MINUTES=5 PARSER=link (without it: each)
	@tools/bootstrap.sh fuzz
	@cd tests && ../.venv/bin/python -m fuzz $(PARSER) --minutes $(or $(MINUTES),1)

check-fresh: ## Run make demo and make test of the committed tree in a bare Debian (root)
	@tools/check-fresh.sh

bench: ## Run the benchmarks
	@tools/bootstrap.sh test
	@if [ -d benchmarks ]; then .venv/bin/pytest benchmarks/; else echo 'no benchmarks yet'; fi

lint: ## Run only the checks: ruff, mypy, import contracts
	@tools/bootstrap.sh test
	@tools/run-tests.sh checks

format: ## Format the code and fix what ruff can
	@tools/bootstrap.sh test
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

clean: ## Remove the virtualenv, build products and caches
	@rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
