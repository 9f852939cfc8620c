# The first line of the README in full: `make` explains the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup repro test test-fast check experiments ui serve app bench campaign chaos lock clean

PYTHON ?= python3
TESTERS ?= 2
BIN := .venv/bin
# dvc runs `landmarks` from the path; nothing that is started phones home
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := true
export GX_ANALYTICS_ENABLED := false
export MLFLOW_DISABLE_TELEMETRY := true
export BENTOML_DO_NOT_TRACK := true
export DO_NOT_TRACK := true
export STREAMLIT_BROWSER_GATHER_USAGE_STATS := false
export TF_CPP_MIN_LOG_LEVEL := 3
export TF_ENABLE_ONEDNN_OPTS := 1

help: ## Explain the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/ready ## Make .venv with the exact versions of requirements.lock, and this package in it

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "Python 3.11, 3.12 or 3.13 is needed, $$($(PYTHON) --version) was found. Name another: make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "Python's venv module is missing. Install it: apt-get install -y python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

repro: setup ## Run the pipeline (dvc repro), bring the tracking store up to date, and say what came out
	dvc repro
	landmarks sync
	@landmarks summary

test: setup ## Run the tests, in two processes; in four: make test TESTERS=4
	$(BIN)/python -m pytest --numprocesses $(TESTERS) --no-loadscope-reorder

test-fast: setup ## Run the tests that take seconds, all but those marked slow
	$(BIN)/python -m pytest -m "not slow"

check: setup ## Lint, formatting and types: ruff and mypy, strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

experiments: setup ## Compare the experiments of `dvc exp run` by the ten columns that matter
	@landmarks experiments

ui: setup ## Open the MLflow UI on http://127.0.0.1:5000, or say where a team's server is; elsewhere: make ui PORT=5001
	landmarks sync
	@landmarks ui $(if $(PORT),--port $(PORT))

serve: setup ## Serve the packaged model on http://127.0.0.1:3000; another model or place: make serve BENTO=TAG PORT=3001
	bentoml serve --host 127.0.0.1 --port $(or $(PORT),3000) $(BENTO)

app: setup ## Open the page on http://127.0.0.1:8501; it asks what `make serve` serves, or LANDMARKS_SERVICE_URL
	$(BIN)/python -m streamlit run app/page.py $(if $(PORT),--server.port $(PORT))

bench: setup ## Measure preparation, training and memory side by side
	$(BIN)/python -m benchmarks

campaign: setup ## The long runs of docs/results.md (hours)
	$(BIN)/python -m benchmarks.campaign

chaos: setup ## Try to break the promises of docs/reliability.md (up to an hour); one: make chaos NAMES=flips
	$(BIN)/python -m chaos $(NAMES)

LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate

lock: ## Resolve requirements.lock anew, and what the images of deploy/ take from it (needs uv)
	$(LOCK) --extra app --extra postgres --extra s3 --group dev pyproject.toml -o requirements.lock
	$(LOCK) -c requirements.lock deploy/page.in -o deploy/page.lock
	$(LOCK) -c requirements.lock deploy/mlflow.in -o deploy/mlflow.lock

clean: ## Remove the environment and work in progress, keep data, models and reports
	rm -rf .venv .work
