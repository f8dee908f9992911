# p4-cache. `make demo` runs the main job, `make test` runs the tests; both install what
# they need (Debian packages with apt-get where run as root, the rest from npm) by themselves.

SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := build

FEATURES ?= all
VERSION := $(shell cat VERSION)
COMMIT := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
ROOT := $(CURDIR)
BUILD := $(ROOT)/build
DENO := $(BUILD)/toolchain/deno
export DENO_DIR := $(BUILD)/deno_dir
export DENO_NO_UPDATE_CHECK := 1
export DENO_NO_PROMPT := 1

NATIVE := libp4shim.so libp4posix.so p4-cache-gate p4-cache-fanotify
SOURCES := main.ts $(shell find src -name '*.ts' -not -name '*_test.ts')

.PHONY: build native toolchain packages check check-ts check-c check-layers test test-unit \
	test-shim test-root test-e2e demo clean

build: $(BUILD)/p4-cache

packages:
	@scripts/toolchain/packages.sh

toolchain:
	@scripts/toolchain/install.sh
	@scripts/toolchain/dependencies.sh

native: packages
	@mkdir -p $(BUILD)
	@$(MAKE) --no-print-directory -C shim BUILD=$(BUILD)
	@$(MAKE) --no-print-directory -C helpers BUILD=$(BUILD)

# Another set of stores is another bundle: this file changes with FEATURES, and only then.
$(shell mkdir -p $(BUILD); echo "$(FEATURES)" | cmp -s - $(BUILD)/features || echo "$(FEATURES)" > $(BUILD)/features)

$(BUILD)/bundle/main.js: $(SOURCES) package-lock.json scripts/build/bundle.ts VERSION $(BUILD)/features | toolchain native
	@$(DENO) run --allow-all scripts/build/bundle.ts --features $(FEATURES) \
		--version $(VERSION) --commit $(COMMIT) --base $$(cat $(BUILD)/toolchain/denort.origin)

$(BUILD)/p4-cache: $(BUILD)/bundle/main.js scripts/build/compile.sh $(wildcard $(addprefix $(BUILD)/,$(NATIVE)))
	@cp -u $(addprefix $(BUILD)/,$(NATIVE)) $(BUILD)/bundle/
	@scripts/build/compile.sh

# ---- checks -------------------------------------------------------------------------

check: check-ts check-layers check-c

check-ts: toolchain
	@$(DENO) fmt --quiet --check
	@$(DENO) lint --quiet
	@$(DENO) check --quiet main.ts src tests scripts

check-layers: toolchain
	@$(DENO) run --allow-read --allow-run scripts/check_layers.ts

check-c: packages
	@$(MAKE) --no-print-directory -C shim lint
	@$(MAKE) --no-print-directory -C helpers lint

# ---- tests --------------------------------------------------------------------------

test: check build
	@scripts/test/run_all.sh

demo: build
	@scripts/demo/demo.sh

clean:
	rm -rf $(BUILD) node_modules

# ---- longer tests and benchmarks: make help ------------------------------------------

RUNS ?= 200
N ?= 10000
OPS ?= 200000
SECS ?= 60
PROCS ?= 4
SEED ?=

.PHONY: help aarch64 conformance conformance-large differential fuzz real-programs crash power-cut faults model mutations burst \
	bench-scan bench-shim bench-manifest bench-start bench-fairness bench-storage bench-verify

help:
	@echo "make [build] | demo | check | test | clean       (FEATURES=all|nfs|s3|azure|gcs)"
	@echo "make conformance | conformance-large              every store against real servers or emulators; one object over 5 GiB"
	@echo "make differential OPS=n SEED=s PROCS=p [FAULTS=1] random operations, evicted tree against plain directory"
	@echo "make fuzz SECS=n                                  parsers of the shim and the helpers, sanitized"
	@echo "make aarch64                                      shim and helpers for it; the shim's tests emulated"
	@echo "make real-programs                                RCS, git, tar, rsync, sqlite, ... on evicted trees"
	@echo "make crash|power-cut|faults RUNS=n, burst N=n, model OPS=n"
	@echo "make mutations                                    each rule of engine and manifest broken: its test must fail"
	@echo "make bench-scan | bench-shim | bench-manifest | bench-start | bench-fairness | bench-storage | bench-verify"

conformance: build
	@scripts/emulators/run_conformance.sh

conformance-large: build
	@LARGE=1 scripts/emulators/run_conformance.sh

bench-scan: build
	@$(DENO) run --allow-all scripts/bench_scan.ts

# With the heap of the daemon, whose collections are what holds its event loop longest.
bench-manifest: build
	@DENO_V8_FLAGS=$$(sed -n 's/^v8_flags=//p' scripts/build/compile.sh) \
		$(DENO) run --allow-all scripts/bench_manifest.ts

bench-start: build
	@$(DENO) run --allow-all scripts/bench_start.ts

bench-fairness: build
	@$(DENO) run --allow-all scripts/bench_fairness.ts

bench-storage: build
	@$(DENO) run --allow-all scripts/bench_storage.ts

bench-verify: build
	@$(DENO) run --allow-all scripts/bench_verify.ts

bench-shim: build
	@tests/shim/bench.sh $(BUILD)

crash: build
	@$(DENO) run --allow-all tests/crash/crash.ts --runs $(RUNS) $(if $(SEED),--seed $(SEED))

mutations: build
	@$(DENO) run --allow-all scripts/mutations.ts

model: toolchain
	@$(DENO) run --allow-all tests/model/model.ts --ops $(OPS) $(if $(SEED),--seed $(SEED))

power-cut: build
	@$(DENO) run --allow-all tests/crash/power_cut.ts --runs $(RUNS)

burst: build
	@$(DENO) run --allow-all tests/crash/burst.ts --files $(N)
	@$(DENO) run --allow-all tests/crash/burst.ts --files $(N) --small-queue

faults: build
	@$(DENO) run --allow-all tests/faults/faults.ts

differential: build
	@$(DENO) run --allow-all tests/differential/differential.ts --ops $(OPS) --procs $(PROCS) \
		$(if $(SEED),--seed $(SEED)) $(if $(FAULTS),--faults)

# Compiled by Debian's cross compiler; the shim's tests run on an emulated processor.
aarch64:
	@scripts/toolchain/packages.sh aarch64
	@mkdir -p $(BUILD)/aarch64
	@$(MAKE) --no-print-directory -C shim BUILD=$(BUILD)/aarch64 CC=aarch64-linux-gnu-gcc
	@$(MAKE) --no-print-directory -C helpers BUILD=$(BUILD)/aarch64 CC=aarch64-linux-gnu-gcc
	@CC=aarch64-linux-gnu-gcc P4SHIM_EMULATOR="qemu-aarch64-static -L /usr/aarch64-linux-gnu" \
	  tests/shim/run.sh $(BUILD)/aarch64

real-programs: build
	@scripts/toolchain/packages.sh programs
	@$(DENO) run --allow-all tests/programs/real_programs.ts

fuzz:
	@scripts/toolchain/packages.sh fuzz
	@mkdir -p $(BUILD)
	@scripts/test/fuzz.sh $(BUILD) $(SECS)
