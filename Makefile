# The commands of the project. Each sets up what it needs first, says what it installs and why, and can be repeated.
SHELL := /bin/bash
.DEFAULT_GOAL := help

.PHONY: help run test demo bench lint models player

help: ## List the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: ## Start a node on its own local network, and print its addresses
	@tools/run.sh

demo: ## Five nodes relay a video, run models and are paid; ends in a table checked against the chain (VIDEO=PATH for your own video)
	@tools/demo.sh

test: ## Every test: crates, workers, models, and the demo as an integration test
	@tools/test.sh

lint: ## Format, clippy, dependency rules
	@tools/lint.sh

bench: ## Measure, with a peer beside each figure
	@tools/bench.sh

models: ## Fetch the two models from PyPI and check their hashes
	@tools/models.sh

player: ## Fetch hls.js for the player page
	@tools/player.sh
