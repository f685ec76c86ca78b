# The commands of this project. `make help` lists them.

CARGO ?= cargo
# A test run that hangs fails after so many seconds.
TEST_TIMEOUT ?= 1800
export CARGO TEST_TIMEOUT
BUILT = $(or $(CARGO_TARGET_DIR),target)

.DEFAULT_GOAL := help
.PHONY: help run build symbols test soak lint bench docs clean

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Build and run broker, edge and a demo agent; the address to open is printed.
	$(CARGO) run --release --locked -- --demo

build: ## Build the release binary.
	$(CARGO) build --release --locked

symbols: ## Build the same program with its line tables in a file beside it, for profilers and core dumps.
	$(CARGO) build --profile release-debug --locked --bin agent-bridge
	objcopy --only-keep-debug $(BUILT)/release-debug/agent-bridge $(BUILT)/release-debug/agent-bridge.debug
	objcopy --strip-debug --add-gnu-debuglink=$(BUILT)/release-debug/agent-bridge.debug \
		$(BUILT)/release-debug/agent-bridge $(BUILT)/release-debug/agent-bridge.small
	mv $(BUILT)/release-debug/agent-bridge.small $(BUILT)/release-debug/agent-bridge.stripped

test: ## All tests: Rust, end to end, clients of other languages, a browser.
	tests/install.sh
	tests/run-rust.sh
	AGENT_BRIDGE_BIN=$(abspath $(BUILT)/debug/agent-bridge) timeout $(TEST_TIMEOUT) tests/run-clients.sh

soak: ## The long tests: crowds, stuck readers, kills, properties, fuzzing, the long benchmark; an hour or more.
	tests/soak.sh

lint: ## Formatting, lints, doc comments, dependencies; and what the image is built from is complete.
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --lib --locked
	tests/dependencies.sh
	tests/image-context.sh

bench: ## Measure the broker beside nats-server and a raw relay.
	$(CARGO) build --release --locked --package agent-bridge --package bench
	$(BUILT)/release/bench --compare

docs: ## Write the generated references.
	$(CARGO) build --locked --bin agent-bridge
	$(BUILT)/debug/agent-bridge check-config --print-reference markdown > docs/configuration.md
	$(BUILT)/debug/agent-bridge check-config --print-reference env > .env.example
	$(BUILT)/debug/agent-bridge check-config --print-reference errors > docs/errors.md
	$(BUILT)/debug/agent-bridge check-config --print-reference metrics > docs/metrics.md

clean: ## Remove what was built.
	$(CARGO) clean
