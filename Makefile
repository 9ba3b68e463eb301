# The one entry: `make help` lists the targets.

.DEFAULT_GOAL := help
SHELL := /bin/sh

TARGET := wasm32-wasip1
BUILT := target/$(TARGET)/release/session_token_filter.wasm
MODULE := target/session_token_filter.wasm
FLOOR := target/bench/floor.wasm
LAYOUT := target/image

# What is built stays here, whatever the environment says: paths below count on it.
export CARGO_TARGET_DIR := $(CURDIR)/target

# Tells the log which commit runs; a source archive has none. As long in every clone, whose number
# of objects git would otherwise go by.
export GIT_COMMIT := $(shell git rev-parse --short=12 HEAD 2>/dev/null)

# Whose home it was built in is nobody's business, and would make each builder's module another.
REMAP := --remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)=/cargo

.PHONY: help build run image push check-deployed test test-gateway test-istio soak bench bench-baseline floor lint fmt fuzz fuzz-short clean toolchain

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: toolchain ## Build the filter: target/session_token_filter.wasm
	@cargo rustc --release --lib --crate-type cdylib --target $(TARGET) \
		--config 'target.$(TARGET).rustflags = ["$(REMAP)"]'
	@cargo build --package xtask
	@target/debug/xtask finish $(BUILT) $(MODULE)

run: build ## Start the demo: a login page, an issuer, backends and Envoy
	@cargo build --package session-token-harness --bin demo
	@exec target/debug/demo

image: build ## Write the filter as an OCI image: target/image
	@target/debug/xtask image $(MODULE) $(LAYOUT)

push: ## Push that image: IMAGE=registry.example.com/session-token-filter:0.1.0
	@test -n "$(IMAGE)" || { echo "say where to: make push IMAGE=registry/name:tag" >&2; exit 1; }
	@command -v crane >/dev/null || command -v oras >/dev/null || { echo "crane or oras is missing:" \
		"see https://github.com/google/go-containerregistry or https://oras.land" >&2; exit 1; }
	@$(MAKE) --no-print-directory image
	@if command -v crane >/dev/null; then crane push $(LAYOUT) "$(IMAGE)"; \
	else oras cp --from-oci-layout "$(LAYOUT)@$$(sed 's/.*"digest":"\([^"]*\)".*/\1/' $(LAYOUT)/index.json)" "$(IMAGE)"; fi

check-deployed: ## Ask a running gateway whether the filter guards it: URL=https://api.example.com/orders
	@test -n "$(URL)" || { echo "say which: make check-deployed URL=https://..." >&2; exit 1; }
	@envoy/check-deployed $(CHECK) "$(URL)"

test: lint build fuzz-short ## Run everything: lint, native tests, fuzz targets, and the module in real Envoys
	@cargo test --workspace
	@target/debug/bench --guard

test-gateway: image ## Run the real Envoy Gateway with envoy/gateway/ (needs Go and Linux)
	@cargo build --package session-token-control-planes
	@exec target/debug/control-planes gateway $(FILTER)

test-istio: image ## Run the real Istio with envoy/istio/ (needs Go and Linux)
	@cargo build --package session-token-control-planes
	@exec target/debug/control-planes istio $(FILTER)

soak: build ## Send a million requests and weigh Envoy; SOAK="--requests 200000" for fewer
	@cargo build --package session-token-harness --bin soak
	@exec target/debug/soak $(SOAK)

bench: floor ## Measure the cost beside others: target/bench; BENCH=--no-soak for less
	@cargo build --package session-token-harness --bin bench
	@exec target/debug/bench $(BENCH)

# What `make test` holds the cost against: tests/harness/bench-baseline.json.
bench-baseline: build
	@cargo build --package session-token-harness --bin bench
	@exec target/debug/bench --baseline

# The least that a filter with the module's exports can do, to compare with.
floor: build
	@mkdir -p $(dir $(FLOOR))
	@rustc --edition 2024 --target $(TARGET) --crate-type cdylib -C opt-level=3 -C panic=abort \
		-C strip=symbols -o target/bench/floor-built.wasm tests/harness/floor.rs
	@target/debug/xtask trim target/bench/floor-built.wasm $(MODULE) $(FLOOR)

lint: toolchain ## Check format and clippy, warnings as errors
	@cargo fmt --all --check
	@cargo fmt --manifest-path tests/fuzz/Cargo.toml --check
	@cargo clippy --workspace --all-targets -- --deny warnings
	@cargo clippy --release --lib --target $(TARGET) -- --deny warnings

fmt: toolchain ## Format the code
	@cargo fmt --all
	@cargo fmt --manifest-path tests/fuzz/Cargo.toml

fuzz: toolchain ## Run each fuzz target for a minute
	@tests/fuzz/run 60

# Long enough for what a change has broken plainly; all six take 30 s on two cores.
fuzz-short: toolchain
	@if command -v "$${CXX:-c++}" >/dev/null; then tests/fuzz/run 10; \
	else echo "skipped: the fuzz targets, as libFuzzer needs a C++ compiler"; fi

clean: ## Remove everything that was built or downloaded
	@rm -rf target

# rust-toolchain.toml names the compiler, its components and the wasm target; where rustup does not
# install them by itself, this does.
toolchain:
	@command -v rustup >/dev/null || { echo "rustup is missing: see https://rustup.rs" >&2; exit 1; }
	@rustup target list --installed 2>/dev/null | grep -qx $(TARGET) || rustup toolchain install --no-self-update
