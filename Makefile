# The door for people; cargo xtask is the developer's. `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# rustup puts cargo here and a non-login shell does not know it.
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)
# A build must not change the user's toolchains: rustup is kept from downloading.
export RUSTUP_DIST_SERVER := http://127.0.0.1:9
export RUSTUP_AUTO_INSTALL := 0
# Readers run from the source tree; no __pycache__ is left in it.
export PYTHONDONTWRITEBYTECODE := 1

# The steps of a target depend on each other's results and share target/.
.NOTPARALLEL:

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r name text; do printf '  make %-10s %s\n' "$$name" "$$text"; done

.PHONY: demo
demo: ## install what is missing, build, run the access log demo
	xtask/setup.sh demo
	cargo build --release -p tallyport-ffi -p tallyport-cli -p tallyport-builtin-exporters-loadable
	examples/run-demo.sh

.PHONY: test
test: setup-test lint ## install what is missing, run every check and test
	cargo test --workspace
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
	.venv/bin/python -m unittest discover -s tests/readers
	tests/tsan.sh

.PHONY: setup-test
setup-test:
	xtask/setup.sh test

.PHONY: campaign
campaign: ## the long runs that are no part of make test
	xtask/setup.sh campaign
	tests/campaign.sh

.PHONY: build
build: ## build the library, the command and the loadable exporters (release)
	cargo build --release --workspace

# Where `make install` puts things; DESTDIR stages them elsewhere, as packagers do.
PREFIX ?= /usr/local
LIBDIR ?= lib
DESTDIR ?=

.PHONY: install
install: ## build and install: PREFIX=/usr/local LIBDIR=lib DESTDIR=
	cargo xtask install --prefix "$(PREFIX)" --libdir "$(LIBDIR)" --destdir "$(DESTDIR)"

.PHONY: uninstall
uninstall: ## take away what make install put there
	cargo xtask install --uninstall --prefix "$(PREFIX)" --libdir "$(LIBDIR)" --destdir "$(DESTDIR)"

.PHONY: deb
deb: ## pack for Debian: build/deb/*.deb
	cargo xtask deb

.PHONY: headers
headers: ## generate include/ anew from the Rust types
	cargo xtask headers

.PHONY: lint
lint: ## formatting and clippy
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

.PHONY: clean
clean: ## remove everything that was built or installed in this folder
	cargo clean
	rm -rf build .venv
