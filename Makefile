# The two commands that matter: `make dev` and `make test`. The rest is below.
# Every target installs what it needs and is missing (Debian packages, as root).

CARGO ?= cargo
RELEASE := target/release

.PHONY: help
help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

.PHONY: dev
dev: build ## Start a one-node cluster with a demo service, until Ctrl-C
	@if [ "$$(id -u)" = 0 ]; then exec $(RELEASE)/ctl dev --demo; else exec sudo $(RELEASE)/ctl dev --demo; fi

.PHONY: build
build: ## Build the three programs
	@tests/install build
	@$(CARGO) build --release --locked --package controller --package agent --package ctl

.PHONY: test
test: lint ## Run every test that finishes in CI's time; needs root
	@tests/install test
	@$(CARGO) build --locked --workspace --bins
	@$(CARGO) test --locked --workspace --no-fail-fast

.PHONY: crash
crash: ## Kill agent and keeper before each system call of each verb; needs root, takes an hour
	@tests/install test
	@$(CARGO) build --locked --workspace --bins
	@ROADSTEAD_CRASH=all $(CARGO) test --locked --package itest --test engine crash:: -- --nocapture

.PHONY: lint
lint: ## Check formatting and lints
	@tests/install build
	@$(CARGO) fmt --all --check
	@$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

.PHONY: soak
soak: ## Run races and 10,000 containers, and see that nothing grows; needs root, takes half an hour
	@tests/install test
	@$(CARGO) build --locked --workspace --bins
	@SOAK_CYCLES=10000 $(CARGO) test --locked --package itest --test engine soak:: -- --nocapture
	@RACE_STARTS=2000 $(CARGO) test --locked --package agent-runtime --test containers -- attacks::race --nocapture
	@RACE_COPIES=500 $(CARGO) test --locked --package itest --test engine -- files::race --nocapture

.PHONY: mutants
mutants: ## Take out one defence after the other and see its attack succeed; needs root
	@tests/install mutants
	@tests/engine/mutants/run

.PHONY: guest
guest: ## Run the containers' tests on Debian's kernel, with cgroups of version 2 only; emulated
	@tests/install guest
	@tests/guest/run

.PHONY: bench
bench: build ## Measure beside Docker and Swarm, as ratios; needs root
	@tests/install bench
	@$(CARGO) run --release --locked --package itest --bin bench

.PHONY: install
install: build ## Install the programs to /usr/local/bin
	@install -m 0755 $(RELEASE)/controller $(RELEASE)/agent $(RELEASE)/ctl /usr/local/bin/
