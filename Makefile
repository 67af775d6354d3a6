# The two commands are `make up` and `make test`; the rest is for those who work on Howdah.
# Every path is relative and quoted, so that a clone may live anywhere, spaces included.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
CARGO ?= cargo
HOWDAH := target/release/howdah

.PHONY: help up down test adopt-libraries fuzz sequences languages quick lint build extension install prerequisites bench bench-index deny deny-install clean

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' Makefile

up: prerequisites build install ## Build Howdah, start it on the example and print where it listens.
	@./$(HOWDAH) up

down: ## Stop what `make up` started.
	@./$(HOWDAH) down

build: ## Build the release binary with PostgreSQL inside, and the extension where it was built.
	@scripts/build.sh

extension: prerequisites ## Build Howdah's own index for PostgreSQL 18; `make build` then embeds it, tests use it.
	@scripts/extension.sh 18

install: ## Put `howdah` on the PATH: a link beside cargo, or in ~/.local/bin.
	@scripts/install.sh

prerequisites: ## Install what a bare Debian lacks (as root), or say what to install.
	@scripts/prerequisites.sh

test: prerequisites ## Every test, with real PostgreSQL servers, from a clean clone.
	@scripts/test.sh

adopt-libraries: prerequisites ## Tables as real libraries make them, all that are known; `make test` has the short form.
	$(CARGO) build -p howdah
	@tests/adopt.sh all

fuzz: prerequisites ## A hundred thousand requests that nobody means; HOWDAH_FUZZ_SEED for others.
	HOWDAH_FUZZ=100000 $(CARGO) test -p howdah --test fuzz -- --nocapture

sequences: prerequisites ## A thousand random sequences of changed files and interrupted ingests; HOWDAH_SEQUENCES_SEED for others.
	HOWDAH_SEQUENCES=1000 $(CARGO) test -p howdah --lib ingest::tests::sequences -- --nocapture

languages: prerequisites build ## Text in ten languages out of Debian's packages: cut, embedded, found by words.
	@HOWDAH=$(HOWDAH) tests/languages.sh

quick: ## The everyday loop: what needs no server, in seconds.
	$(CARGO) test -p howdah-plan -p howdah-index

bench: prerequisites build ## Search and ingest against PostgreSQL itself, on the machine's package descriptions.
	@HOWDAH_BENCH=benchmarks/runs HOWDAH=$(HOWDAH) tests/corpus.sh 0 1000

bench-index: prerequisites extension build ## Indexes side by side; real vectors where HOWDAH_DATA names their folder.
	@scripts/bench_index.sh

lint: ## Formatting and clippy on every crate, the extension included, warnings denied.
	@scripts/lint.sh

deny: ## Licences, advisories and sources of the dependencies (deny.toml), where cargo-deny is installed.
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny check; \
	else echo "skipped: cargo-deny is not installed, so dependencies are not checked; \`make deny-install\` installs it" >&2; fi

deny-install: ## Install cargo-deny, a few minutes of compiling.
	$(CARGO) install --locked cargo-deny
