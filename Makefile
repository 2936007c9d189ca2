# What one types. `make` alone lists it. Needs Rust, root and Debian's packages; what is missing of the latter is installed.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory

PREFIX ?= /usr/local
DESTDIR ?=
UNITS ?= /etc/systemd/system
# The versions of Cargo.lock and no others; `make LOCKED= …` while dependencies are being changed.
LOCKED ?= --locked

TRIPLE := $(shell uname -m)-unknown-linux-gnu
TARGET_DIR := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
RELEASE := $(TARGET_DIR)/$(TRIPLE)/release/roost
DEBUG := $(TARGET_DIR)/debug/roost
# Coverage for libFuzzer, by the compiler's own pass, which stable Rust takes too. `--target` keeps it out of build scripts and macros.
COVERAGE := -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
	-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares
# Runs a step of `test` under a heading, and says how long it took.
STEP := .ci/step

.DEFAULT_GOAL := help
.PHONY: help packages vm build test fuzz demo bench install uninstall fmt clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

packages: ## Install what packages.txt lists and is missing
	@.ci/packages packages.txt

vm: packages ## Fetch the parts of the virtual machine that some tests run in
	@.ci/vm $(TARGET_DIR)/vm

# The binary runs on any server of the same architecture, whatever is installed there: everything is linked into it. It has a fixed
# place in memory: every command and every container starts this program, and would first spend over a millisecond on moving it.
build: packages ## Build the static release binary
	RUSTFLAGS="-C target-feature=+crt-static" cargo rustc --release $(LOCKED) --package roost --bin roost --target $(TRIPLE) -- \
		-C relocation-model=static
	@if ldd $(RELEASE) 2>&1 | grep -F '=>'; then echo "$(RELEASE) needs the libraries above: it should be static" >&2 && exit 1; fi
	@echo "$(RELEASE): static, $$(du -h $(RELEASE) | cut -f1)"

# Cheapest first. Clippy shares nothing with the build, for it stops at metadata. The build makes the binary that black-box tests
# run, and in the same go the tests, so that nothing is compiled twice with other features.
test: packages vm ## Check everything: formatting, tidy, clippy, unit tests, black-box tests
	@$(STEP) "formatting" cargo fmt --all --check
	@$(STEP) "tidy" cargo xtask tidy
	@$(STEP) "clippy" cargo clippy $(LOCKED) --workspace --all-targets -- -D warnings
	@$(STEP) "binaries and tests" cargo build $(LOCKED) --workspace --bins --tests
	@if cargo nextest --version >/dev/null 2>&1; then \
		$(STEP) "tests" cargo nextest run $(LOCKED) --workspace; \
	else \
		$(STEP) "tests, one program at a time, for cargo-nextest is not installed" cargo test $(LOCKED) --workspace; \
	fi

fuzz: packages ## Try the laws of every parser on made-up input (FUZZ_SECONDS each, FUZZ_JOBS at once, FUZZ_TARGETS)
	@.ci/packages crates/fuzz/packages.txt
	RUSTFLAGS="$(COVERAGE)" cargo build $(LOCKED) --profile fuzz --package fuzz --features libfuzzer --bins --target $(TRIPLE)
	@.ci/fuzz $(TARGET_DIR)/$(TRIPLE)/fuzz $(TARGET_DIR)/fuzzing

# With the binary that the tests run: it is built in half the time, and whoever has run `make test` has it already.
demo: packages ## Show the main job on a sandbox of three servers, and remove everything
	cargo build $(LOCKED) --workspace --bins
	@ROOST=$(DEBUG) demo/run.sh

bench: build ## Measure the planner, and Roost beside its peers
	@.ci/packages bench/packages.txt
	cargo bench $(LOCKED) --package plan
	@ROOST=$(RELEASE) bench/peers.sh

install: build ## Install binary, systemd unit, completions and man pages (PREFIX, DESTDIR)
	install -D -m 755 $(RELEASE) $(DESTDIR)$(PREFIX)/bin/roost
	install -d $(DESTDIR)$(UNITS)
	sed 's|/usr/local/bin/roost|$(PREFIX)/bin/roost|' dist/roost.service >$(DESTDIR)$(UNITS)/roost.service
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions \
		$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d $(DESTDIR)$(PREFIX)/share/man/man1
	$(RELEASE) completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/roost
	$(RELEASE) completion zsh >$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_roost
	$(RELEASE) completion fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/roost.fish
	$(RELEASE) man $(DESTDIR)$(PREFIX)/share/man/man1
	@if [[ -z "$(DESTDIR)" && -d /run/systemd/system ]]; then systemctl daemon-reload; fi

uninstall: ## Remove what install put in place; state and containers stay (for those: roost down)
	rm -f $(DESTDIR)$(PREFIX)/bin/roost $(DESTDIR)$(UNITS)/roost.service
	rm -f $(DESTDIR)$(PREFIX)/share/bash-completion/completions/roost $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_roost
	rm -f $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/roost.fish
	rm -f $(DESTDIR)$(PREFIX)/share/man/man1/roost.1 $(DESTDIR)$(PREFIX)/share/man/man1/roost-*.1
	@if [[ -z "$(DESTDIR)" && -d /run/systemd/system ]]; then systemctl daemon-reload; fi

fmt: ## Format everything
	cargo fmt --all

clean: ## Remove everything that was built
	cargo clean
