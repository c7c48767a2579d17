# Everything that is done with the castle, one word each. `make help` lists them.
STACK ?= homelab
# Arguments for the Pulumi CLI, e.g. ARGS=--yes
ARGS ?=
PYTHON ?= python3
# DOCTOR=no lets `make up` begin in spite of what the doctor finds
DOCTOR ?= yes
SKIP_DOCTOR := $(if $(filter no,$(DOCTOR)),--skip-doctor)
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: $(shell awk -F: '/^[a-z0-9 -]+:.*\#\# / { print $$1 }' $(MAKEFILE_LIST))

help: ## List what can be done
	@awk -F ':.*## ' '/^[a-z0-9 -]+:.*## / { printf "  make %-22s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  STACK=name     chooses Pulumi.name.yaml (homelab); ARGS=... goes to the Pulumi CLI"
	@echo "  FROM=file      lets \`make rehearse\` tell what changes, coming from an old stack file"
	@echo "  DOCTOR=no      lets \`make up\` begin in spite of what the doctor finds"

venv: .venv/ready ## Make the environment that the program runs in

.venv/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; name it with PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/ready: .venv/python requirements.txt
	@echo "Installing what the castle needs ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

.venv/ready-dev: .venv/ready requirements-dev.txt
	@echo "Installing what its tests need ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

rehearse: .venv/ready ## Run the whole program without hardware, and tell what would happen
	@$(BIN)/python -m rehearsal --stack $(STACK) $(if $(FROM),--from "$(FROM)")

report: .venv/ready ## Write the castle as one page: network, hosts, timeline, versions, certificates
	@$(BIN)/python -m report --stack $(STACK)

doctor: .venv/ready ## Look whether the castle will stand on this Proxmox, and change nothing
	@$(BIN)/python -m doctor --stack $(STACK)

token: .venv/ready ## Ask for the Proxmox API token, and put it into the stack file, encrypted
	@$(BIN)/python -m commands token --stack $(STACK) -- $(ARGS)

age-key: .venv/ready ## Make the key that secrets in git are encrypted for, and print its public half
	@$(BIN)/python -m commands age-key --stack $(STACK)

preview: .venv/ready ## Ask the real engine what it would change
	@$(BIN)/python -m commands preview --stack $(STACK) -- $(ARGS)

up: .venv/ready ## Build the castle, or bring it to what its stack file says
	@$(BIN)/python -m commands up --stack $(STACK) $(SKIP_DOCTOR) -- $(ARGS)

refresh: .venv/ready ## Compare the engine's state with what is really there
	@$(BIN)/python -m commands refresh --stack $(STACK) -- $(ARGS)

recover: .venv/ready ## Bring what a killed or failed run left to a clean state
	@$(BIN)/python -m commands recover --stack $(STACK) -- $(ARGS)

backup: .venv/ready ## Keep the certificates, encrypted, where they outlive the castle
	@$(BIN)/python -m commands backup --stack $(STACK)

down: .venv/ready ## Take the castle away, all of it
	@$(BIN)/python -m commands down --stack $(STACK) -- $(ARGS)

snapshot: .venv/ready ## Keep a snapshot of etcd, encrypted if there is an age key
	@$(BIN)/python -m commands snapshot --stack $(STACK)

replicas: .venv/ready ## Give every Longhorn volume as many copies as the stack file says
	@$(BIN)/python -m commands replicas --stack $(STACK) -- $(ARGS)

kubeconfig talosconfig: .venv/ready ## Write the file that kubectl or talosctl asks for
	@$(BIN)/python -m commands $@ --stack $(STACK)

cancel: .venv/ready ## Take away the lock that a killed run left
	@$(BIN)/python -m commands cancel --stack $(STACK) -- --yes

e2e: .venv/ready-dev ## Bring the castle up and down on a simulated rack, with the real engine
	@CASTLE_E2E=all $(BIN)/python -m pytest -n 2 -rs tests/e2e

e2e-tools: .venv/ready ## Build the control plane that the simulated rack runs; takes some minutes
	@$(BIN)/python -m tests.e2e.tools.build

e2e-full: .venv/ready-dev ## The same with every fault and every kill, one by one: some hours
	@CASTLE_E2E=full $(BIN)/python -m pytest -n 2 -rs tests/e2e

rack: .venv/ready-dev ## Start a simulated rack, and say how to run the castle on it
	@$(BIN)/python -m tests.e2e.try_rack

test: lint ## Run everything that CI runs
	@$(BIN)/python -m pytest -n 2

lint: .venv/ready-dev ## Check format, style and types
	@$(BIN)/ruff format --check --quiet . || { echo "run: make format"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy

format: .venv/ready-dev ## Put the code into its format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: .venv/ready ## Measure the rehearsal for 3, 30 and 100 workers
	@$(BIN)/python -m rehearsal.bench

e2e-bench: .venv/ready-dev ## Measure up, preview, refresh and down on a simulated rack
	@$(BIN)/python -m tests.e2e.bench

schema: .venv/ready ## Write settings/schema.json, which editors read, anew from the models
	@$(BIN)/python -m settings.schema

# Nothing of this machine's own pip may get into the files. The update bot reads the command in their
# first lines, and knows these options only.
COMPILE := env -u PIP_FIND_LINKS -u PIP_TRUSTED_HOST $(abspath $(BIN))/pip-compile --quiet \
	--generate-hashes --strip-extras --no-emit-index-url

requirements: .venv/ready-dev ## Write requirements*.txt anew, with hashes, from requirements*.in
	@$(COMPILE) requirements.in
	@$(COMPILE) --allow-unsafe requirements-dev.in

clean: ## Remove the environment and what tools left behind; the engine's state stays
	@rm -rf .venv .pulumi-cli .e2e-tools .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
