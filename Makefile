# The one entry: `make help` lists the targets.

.DEFAULT_GOAL := help
SHELL := /bin/sh

TARGET := wasm32-wasip1
BUILT := target/$(TARGET)/release/session_token_filter.wasm
MODULE := target/session_token_filter.wasm

# Tells the log which commit runs; a source archive has none.
export GIT_COMMIT := $(shell git rev-parse --short HEAD 2>/dev/null)

.PHONY: help build run test lint fmt clean toolchain

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: toolchain ## Build the filter: target/session_token_filter.wasm
	@cargo rustc --quiet --release --lib --crate-type cdylib --target $(TARGET)
	@cargo run --quiet --package xtask -- finish $(BUILT) $(MODULE)

run: build ## Start the demo: a login page, an issuer, backends and Envoy
	@cargo run --quiet --package session-token-harness --bin demo

test: build lint ## Run everything: lint, native tests, and the module in real Envoys
	@cargo test --workspace

lint: toolchain ## Check format and clippy, warnings as errors
	@cargo fmt --all --check
	@cargo clippy --quiet --workspace --all-targets -- --deny warnings
	@cargo clippy --quiet --release --lib --target $(TARGET) -- --deny warnings

fmt: toolchain ## Format the code
	@cargo fmt --all

clean: ## Remove everything that was built or downloaded
	@rm -rf target

# rust-toolchain.toml names the compiler, its components and the wasm target; where rustup does not
# install them by itself, this does.
toolchain:
	@command -v rustup >/dev/null || { echo "rustup is missing: see https://rustup.rs" >&2; exit 1; }
	@rustup target list --installed 2>/dev/null | grep -qx $(TARGET) || rustup toolchain install
