# All commands of the project. `make help` lists them.
STACK ?= homelab
# Arguments for the Pulumi CLI, e.g. ARGS=--yes
ARGS ?=
PYTHON ?= python3
# DOCTOR=no: `make up` skips the doctor
DOCTOR ?= yes
SKIP_DOCTOR := $(if $(filter no,$(DOCTOR)),--skip-doctor)
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: $(shell awk -F: '/^[a-z0-9 -]+:.*\#\# / { print $$1 }' $(MAKEFILE_LIST))

help: ## List all commands
	@awk -F ':.*## ' '/^[a-z0-9 -]+:.*## / { printf "  make %-22s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  STACK=name     use Pulumi.name.yaml (default: homelab)"
	@echo "  ARGS=...       arguments for the Pulumi CLI, e.g. ARGS=--yes"
	@echo "  FROM=file      \`make rehearse\` compares the stack file with this older one"
	@echo "  DOCTOR=no      \`make up\` skips the doctor"

venv: .venv/ready ## Create the Python environment of the program

# Every command needs .venv/python, so every command checks this first.
.PHONY: check-environment
check-environment:
	@[ ! -e .venv/python ] || $(BIN)/python -c '$(HAS_PACKAGES)' 2>/dev/null || { \
		echo "The Python environment .venv does not work: its Python was upgraded or removed." \
			"Run \`rm -r .venv\`, then repeat the command."; exit 1; }
HAS_PACKAGES := import importlib.util, os, sys; \
	sys.exit(os.path.exists(".venv/ready") and not importlib.util.find_spec("pulumi"))

.venv/python: | check-environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is required. Select one, e.g. PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/ready: .venv/python requirements.txt
	@echo "Installing Python packages ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

.venv/ready-dev: .venv/ready requirements-dev.txt
	@echo "Installing Python packages for tests ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

rehearse: .venv/ready ## Run the program against mock providers, without hardware
	@$(BIN)/python -m rehearsal --stack $(STACK) $(if $(FROM),--from "$(FROM)")

report: .venv/ready ## Write an HTML page: network, hosts, storage, timeline, versions, certificates
	@$(BIN)/python -m report --stack $(STACK)

doctor: .venv/ready ## Check Proxmox, network and storage (read-only)
	@$(BIN)/python -m doctor --stack $(STACK)

token: .venv/ready ## Ask for the Proxmox API token and store it encrypted in the stack file
	@$(BIN)/python -m commands token --stack $(STACK) -- $(ARGS)

age-key: .venv/ready ## Create the key that encrypts snapshots, certificates and Git secrets
	@$(BIN)/python -m commands age-key --stack $(STACK)

preview: .venv/ready ## Show what `make up` would change
	@$(BIN)/python -m commands preview --stack $(STACK) -- $(ARGS)

up: .venv/ready ## Build the cluster, or apply changes of the stack file
	@$(BIN)/python -m commands up --stack $(STACK) $(SKIP_DOCTOR) -- $(ARGS)

refresh: .venv/ready ## Update the Pulumi state from Proxmox and the cluster
	@$(BIN)/python -m commands refresh --stack $(STACK) -- $(ARGS)

recover: .venv/ready ## Repair the state after a killed or failed run
	@$(BIN)/python -m commands recover --stack $(STACK) -- $(ARGS)

backup: .venv/ready ## Save Traefik's certificates, encrypted, outside the cluster
	@$(BIN)/python -m commands backup --stack $(STACK)

down: .venv/ready ## Save the certificates if there is an age key, then remove everything
	@$(BIN)/python -m commands down --stack $(STACK) -- $(ARGS)

snapshot: .venv/ready ## Save a snapshot of etcd, encrypted if there is an age key
	@$(BIN)/python -m commands snapshot --stack $(STACK)

replicas: .venv/ready ## Set the copies of all Longhorn volumes to the stack file's value
	@$(BIN)/python -m commands replicas --stack $(STACK) -- $(ARGS)

kubeconfig talosconfig: .venv/ready ## Write the file for kubectl or talosctl
	@$(BIN)/python -m commands $@ --stack $(STACK)

cancel: .venv/ready ## Remove the lock of a killed run
	@$(BIN)/python -m commands cancel --stack $(STACK) -- --yes

e2e: .venv/ready-dev ## Run the end-to-end tests: real Pulumi engine, simulated hardware
	@CASTLE_E2E=all $(BIN)/python -m pytest -n 2 -rs tests/e2e

e2e-tools: .venv/ready ## Build the Kubernetes control plane for the end-to-end tests (minutes)
	@$(BIN)/python -m tests.e2e.tools.build

e2e-full: .venv/ready-dev ## Run the end-to-end tests with every fault and kill (hours)
	@CASTLE_E2E=full $(BIN)/python -m pytest -n 2 -rs tests/e2e

rack: .venv/ready-dev ## Start the simulated hardware and print how to deploy to it
	@$(BIN)/python -m tests.e2e.try_rack

test: lint ## Run all checks and tests that CI runs
	@$(BIN)/python -m pytest -n 2 --dist loadgroup

mutants: .venv/ready-dev ## Change the program in 240 ways and count which the tests detect (an hour)
	@$(BIN)/python -m tests.mutation

lint: .venv/ready-dev ## Check format, style and types
	@$(BIN)/ruff format --check --quiet . || { echo "To correct the format, run: make format"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy

format: .venv/ready-dev ## Format the code and apply automatic fixes
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: .venv/ready-dev ## Measure the duration of the rehearsal for 3, 30 and 100 workers
	@$(BIN)/python -m tests.rehearsal.bench

e2e-bench: .venv/ready-dev ## Measure up, preview, refresh and down on simulated hardware
	@$(BIN)/python -m tests.e2e.bench

schema: .venv/ready ## Generate settings/schema.json for editors from the settings models
	@$(BIN)/python -m settings.schema

# The files must not contain pip settings of this computer. Renovate reads the pip-compile command from
# their header and accepts only these options.
COMPILE := env -u PIP_FIND_LINKS -u PIP_TRUSTED_HOST $(abspath $(BIN))/pip-compile --quiet \
	--generate-hashes --strip-extras --no-emit-index-url

requirements: .venv/ready-dev ## Generate requirements*.txt with hashes from requirements*.in
	@$(COMPILE) requirements.in
	@$(COMPILE) --allow-unsafe requirements-dev.in

clean: ## Delete the Python environment and caches; the Pulumi state is not deleted
	@rm -rf .venv .pulumi-cli .e2e-tools .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
