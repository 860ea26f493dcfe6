# The commands of README.md and CONTRIBUTING.md.

target := $(or $(CARGO_TARGET_DIR),target)

.PHONY: demo test lint bench image

# From nothing to a rewritten pod, each step shown. DEMO=once ends by itself.
demo:
	@scripts/prepare demo
	@test -x $(target)/debug/demo || echo "compiling, a few minutes the first time"
	@cargo build --quiet --bins
	@$(target)/debug/demo

# Everything that is tested; what was skipped for want of a server is named last.
test:
	@scripts/prepare test
	cargo build --workspace --bins
	@skipped=$$(mktemp); \
	DRAYAGE_SKIPPED=$$skipped cargo test --workspace --no-fail-fast; status=$$?; \
	sort -u $$skipped; rm -f $$skipped; exit $$status

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

# The targets of docs/benchmarks.md, measured beside their floor and beside other copiers.
# BENCH=copying or BENCH=admission measures a part; KEEP=DIR keeps the database of admission.
bench:
	@cargo build --quiet --release --bin bench --bin bench-floor --bin drayage-api --bin drayage-syncer --bin drayage-webhook
	@$(target)/release/bench $(BENCH)

# The container image as an OCI layout in target/image: `skopeo copy oci:target/image:0.1.0 docker://...`.
image:
	@scripts/prepare image
	@scripts/image
