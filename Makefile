# `make` lists the targets. Everything happens in .venv and in the user's cache directory.
HOST = 127.0.0.1
PORT ?= 8000

.DEFAULT_GOAL := help
.PHONY: help run test test-docker test-cluster check format images image-cuda bench soak lock clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST)

run: ## Set up and serve on HOST:PORT, MODEL_NAME or the embedded default model
	@scripts/setup run && exec .venv/bin/gguf-server serve --host "$(HOST)" --port "$(PORT)"

test: ## Set up, check and run all tests
	@scripts/setup dev && exec scripts/test

test-docker: ## Build the image and run the tests that need a Docker Engine
	@scripts/setup dev && scripts/images && exec .venv/bin/python -m pytest -m docker

test-cluster: ## Run the tests that need a Kubernetes: one of our own, which wants root on Linux
	@scripts/setup dev && scripts/images && scripts/go-tools >/dev/null && exec .venv/bin/python -m pytest -m cluster

check: ## Format, lint, types and import rules
	@scripts/setup dev && exec scripts/check

format: ## Format, and mend what the linter can mend
	@scripts/setup dev && .venv/bin/ruff format && .venv/bin/ruff check --fix

images: ## Build the image gguf-server:cpu
	@scripts/images

image-cuda: ## Build the image gguf-server:cuda; CUDA_ARCHS=90 for one GPU architecture, else hours
	@scripts/images cuda

bench: ## Run the benchmarks; PEERS=1: beside other servers; ARGS goes to them
	@scripts/setup dev && exec scripts/bench $(if $(PEERS),--peers) $(ARGS)

soak: ## Twenty minutes of load and chaos; fails if anything is left. ARGS="--seconds 60" is shorter
	@scripts/setup dev && exec scripts/soak $(ARGS)

lock: ## Regenerate locks/ from pyproject.toml; ARGS=--upgrade takes newer versions
	@scripts/lock $(ARGS)

clean: ## Remove .venv and all caches in the tree, not the user's cache of wheels and models
	rm -rf .venv .*_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
