# Every target installs what it needs first; on a fresh machine any of them may be the first command. `check` needs Rust alone.
# `make` alone lists them.

SHELL := /bin/bash
# A shell opened before rustup was installed does not have cargo on its PATH yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

# What `--version` names.
export ANOFPDM_COMMIT := $(shell git describe --always --dirty --abbrev=12 2>/dev/null)

CARGO_FLAGS := --release --locked --workspace

.DEFAULT_GOAL := help
.PHONY: help check setup setup-gpu build build-nccl build-tests wheel demo test test-gpu-set test-wheel slow-tests bench chaos hostile queue-cost scale lint clean test-deploy fleet-demo alert-drill

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

check: ## format, lints and unit tests of common/ and coordinator/: no set-up, no libtorch, under a minute after an edit
	cargo fmt --all --check
	cargo clippy --locked --all-targets --all-features -- -D warnings
	cargo test --locked --all-features --lib --quiet

setup: ## install libtorch for the CPU (544 MB download, once)
	@scripts/setup.sh cpu

setup-gpu: ## install libtorch with CUDA (2.7 GB download, once); replaces the CPU set
	@scripts/setup.sh gpu

build: setup ## build target/release/anofpdm and target/release/anofpdm-worker
	cargo build $(CARGO_FLAGS)

build-nccl: setup-gpu ## build target/release/lib/libanofpdm_nccl.so, with which GPUs train together
	@scripts/build-nccl.sh

demo: build ## benchmark a synthetic data set from end to end on this machine
	$${CARGO_TARGET_DIR:-target}/release/anofpdm demo

# In one go, so that no processor waits for the other.
build-tests: setup
	-@scripts/need.sh redis-server chromium & # tests that need them say so themselves
	-@scripts/python-tools.sh nifti $${CARGO_TARGET_DIR:-target}/nifti
	scripts/tests.sh --no-run
	cargo build $(CARGO_FLAGS)
	-@scripts/need.sh redis-server chromium # not before they are there

# Half of the time a test waits for timers and processes: two at once for each processor.
test: build-tests ## run all tests (installs redis-server and chromium where they are missing)
	scripts/check-linkage.sh
	ANOFPDM_BUILT=$$(realpath $${CARGO_TARGET_DIR:-target}/release) RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$$((2 * $$(nproc)))} \
		scripts/tests.sh

test-deploy: build ## try what lies in deploy/ on a real Slurm, systemd and Docker (root): make test-deploy [PARTS=slurm,systemd]
	@python3 -B deploy/tests/run.py $(PARTS)

test-gpu-set: ## test the GPU build without a GPU: own copy of the GPU set in target/gpu-set (2.7 GB download, once)
	@scripts/test-gpu-set.sh

# What names the times is not stable: the test executables take it with that variable, the compiler must not see it.
wheel: build ## make the Python package of both programs, target/wheel/dist/*.whl (needs Python 3.11)
	@scripts/wheel.sh

test-wheel: wheel ## install it in fresh environments, with and without PyTorch, and run the demo there (544 MB download)
	@scripts/test-wheel.sh

slow-tests: build ## run all tests and name the ten slowest
	@scripts/tests.sh --config 'target."cfg(all())".runner = ["env", "RUSTC_BOOTSTRAP=1"]' -- \
		-Z unstable-options --report-time | sed -n 's/^test \(.*\) \.\.\. ok <\(.*\)s>$$/\2 s\t\1/p' | sort -rn | head

bench: setup ## measure post-processing, average precision, a report's numbers, verification, noise and each saving of the engine (docs/benchmarks.md)
	cargo bench --locked --workspace --bench segmentation --bench average_precision --bench report_numbers --bench store_verification --bench simplex --bench engine

chaos: build ## N runs through Redis while everything fails: make chaos N=200 [SEED=1] [KINDS=stall,mixed]
	@scripts/need.sh redis-server
	$${CARGO_TARGET_DIR:-target}/release/anofpdm-chaos $(if $(N),--number $(N)) $(if $(SEED),--seed $(SEED)) $(if $(KINDS),--kinds $(KINDS))

hostile: build ## N mutated messages and journals are read: make hostile N=10000000 [SEED=1]
	$${CARGO_TARGET_DIR:-target}/release/anofpdm-hostile $(if $(N),--number $(N)) $(if $(SEED),--seed $(SEED))

queue-cost: build ## 100,000 shards without work through Redis and the local queue: what the queue takes; METRICS=1 watched
	@scripts/need.sh redis-server
	$${CARGO_TARGET_DIR:-target}/release/anofpdm-queue-cost $(if $(N),--shards $(N)) $(if $(WORKERS),--workers $(WORKERS)) $(if $(METRICS),--metrics)

scale: build ## 10,000 slices x 12 rows x 3 seeds on 8 fake workers: SLICES=, WORKERS=; or SIMULATE=1000 workers in one process
	@scripts/need.sh redis-server
	$${CARGO_TARGET_DIR:-target}/release/anofpdm-scale $(if $(SLICES),--slices $(SLICES)) $(if $(WORKERS),--workers $(WORKERS)) $(if $(SIMULATE),--simulate $(SIMULATE)) $(if $(SHARD_SECONDS),--shard-seconds $(SHARD_SECONDS))

fleet-demo: build ## a small fleet under Prometheus: every query of every board, boards drawn into runs/fleet-demo
	@scripts/need.sh redis-server prometheus prometheus-alertmanager prometheus-redis-exporter openssl
	@scripts/python-tools.sh monitoring $${CARGO_TARGET_DIR:-target}/monitoring
	@$${CARGO_TARGET_DIR:-target}/monitoring/bin/python deploy/monitoring/demo/fleet_demo.py

alert-drill: build ## workers, coordinator and Redis fail until their alerts fire and resolve (five minutes)
	@scripts/need.sh redis-server prometheus prometheus-alertmanager prometheus-redis-exporter openssl
	@scripts/python-tools.sh monitoring $${CARGO_TARGET_DIR:-target}/monitoring
	@$${CARGO_TARGET_DIR:-target}/monitoring/bin/python deploy/monitoring/demo/alert_drill.py

# The fuzz targets are only checked: a path to libFuzzer, so that it is not built.
lint: setup ## check format, lints, documentation, dependencies
	@! git grep -nE '^(<{7}|>{7}) ' # what a merge left behind
	cargo fmt --all --check
	scripts/check-dependencies.sh
	CUSTOM_LIBFUZZER_PATH=./libnone.a cargo clippy $(CARGO_FLAGS) --all-targets --features anofpdm-fuzz/fuzz -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc $(CARGO_FLAGS) --no-deps
	-@scripts/need.sh prometheus # without it rules are not tested, and that is said
	python3 deploy/monitoring/check_files.py

clean: ## remove what the other targets made (never runs/ or stores/)
	rm -rf target .venv libtorch .tools
