# What people run, and what CI runs: the same scripts.

# list the recipes
default:
    @just --list

# build the binary
build:
    cargo build --release

# format everything
fmt:
    cargo fmt --all

# lints, as CI has them
lint:
    cargo clippy --release --workspace --all-targets -- -D warnings

# every test against real servers, or those whose name contains FILTER
test *FILTER:
    scripts/test {{FILTER}}

# unit tests only, no servers
unit:
    cargo test --release --workspace --lib --bins

# the simulation: SEEDS=1000000 just sim; SEED=7 just sim seeds repeats one, TRACE=1 tells it
sim *FILTER:
    cargo test --release --workspace --test sim -- --nocapture {{FILTER}}

# every real fault, and the failover times: hours; `just crash points` only those
crash *NAME:
    scripts/crash {{NAME}}

# takes one safeguard away at a time; a test must notice each
mutate *NAME:
    scripts/mutate {{NAME}}

# the demo: a cluster, two kills, a proof
demo:
    cargo run --release -- demo

# what must pass before a change is taken
ci:
    .ci/run

# licences and advisories (needs cargo-deny)
deny:
    cargo deny check

# what the core costs alone: `just bench digest` only benchmarks of that name
bench *FILTER:
    cargo bench --bench core --bench codec -- {{FILTER}}

# figures of the control plane without databases: partitions, workers, voters
bench-control-plane *ARGS:
    cargo bench --bench control_plane -- {{ARGS}}

# where adding workers stops to help, with modelled databases: GiB and MB/s of source, target, ...
bench-scaling *ARGS:
    cargo bench --bench scaling -- {{ARGS}}

# beside the tools people use instead, on private servers: benches/peers/README.md
bench-peers *ARGS:
    benches/peers/run {{ARGS}}
