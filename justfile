# Every recipe is one command that also works without just; arguments are passed through.

# List the recipes.
default:
    @just --list

# Measure: a three-node cluster on this machine under load (`just bench --profile quorum --duration 60s`).
bench *args:
    cargo run --release --bin quorate -- bench {{args}}

# Measure what the death of one of three nodes costs the other two, and then the loss of its disk:
# p99 and failures before, during and after, as ratios within one run.
bench-kill *args:
    cargo run --release --bin quorate -- bench --profile dynamo --keys 50000 --rate 1000 --fault kill:n3@10s+10s --duration 40s {{args}}
bench-refill *args:
    cargo run --release --bin quorate -- bench --profile dynamo --keys 100000 --rate 1000 --fault wipe:n3@10s+1s --duration 60s {{args}}

# Run all tests (`just test -p quorate-cluster ring`).
test *args:
    cargo test --workspace {{args}}

# Shake: simulated clusters under faults (`just chaos minority-partition --seeds 1..100`).
chaos *args:
    cargo run --release --bin quorate -- chaos run {{args}}

# Shake real processes: kill, restart, wipe, join, leave, replace (`just chaos-process join --profile quorum`).
chaos-process *args:
    cargo run --release --bin quorate -- chaos run --world process {{args}}

# The deep chaos suite: every scenario, 200 seeds a profile.
chaos-deep *args:
    cargo run --release --bin quorate -- chaos run $(cargo run --release --bin quorate -- chaos list | cut -d' ' -f1) --seeds 1..200 --keep-going {{args}}

# Microbenchmarks (`just criterion version/join`).
criterion *args:
    cargo bench -p quorate-benches {{args}}

# Every engine side by side in one run: synced puts, gets, restart with a million keys, space
# (`just bench-engines log fjall`; `QUORATE_KEYS=100000` for a shorter one; TMPDIR says on which disk).
bench-engines *args:
    cargo bench -p quorate-benches --bench engines -- {{args}}

# How soon a node with a million keys serves again after kill -9 (`just bench-restart log fjall`).
bench-restart *args:
    cargo build --release --bin quorate
    cargo bench -p quorate-benches --bench engines -- --node {{args}}

# Kill a real node of each engine in the middle of writes, over and over, and read every write back
# (`just kill-loops 200 fjall`).
kill-loops rounds="200" *args:
    QUORATE_KILL_ROUNDS={{rounds}} cargo test --release --test cli {{args}} -- kills:: --nocapture --test-threads 1

# What the generator draws against the exact law: zipfian keys, 10 million draws for each exponent.
bench-workload *args:
    QUORATE_BARS=1 cargo bench -p quorate-benches --bench workload -- {{args}}

# The checkers against their bars, in time and memory (`just bench-check set`).
bench-check *args:
    QUORATE_BARS=1 cargo bench -p quorate-benches --bench checkers -- {{args}}

# What hash trees cost: of a replica's put alone, and of the processor time of a whole put.
bench-merkle *args:
    cargo build --release --bin quorate
    cargo bench -p quorate-benches --bench merkle -- {{args}}
    QUORATE_BARS=1 cargo bench -p quorate-benches --bench put_cpu

# The load generator against its bars: beside wrk, a bare loop, and theory (`just bench-load lateness`).
# wrk is from the distribution's packages; taskset and chrt, if there, give each process a core of its own.
bench-load *args:
    QUORATE_BARS=1 cargo bench --profile measure -p quorate-benches --bench load -- {{args}}

# What an operation costs the cluster, beside what a request costs a bare server of hyper and rustls.
bench-limits *args:
    cargo build --release --bin quorate
    QUORATE_BARS=1 cargo bench -p quorate-benches --bench limits -- {{args}}

# The cluster beside etcd and Redis, from the distribution's packages (etcd-server, redis-server).
bench-peers *args:
    cargo build --release --bin quorate
    QUORATE_BARS=1 cargo bench -p quorate-benches --bench peers -- {{args}}

# Millions of random histories against brute force, and mutations; CI runs the short form with the tests.
fuzz-check *args:
    QUORATE_FUZZ=1 cargo test --release -p quorate-check --lib {{args}} -- --nocapture --test-threads 2

# Read the latency logs of runs with a reader that is not ours, and compare it with run.json
# (`just hlog-check results/latest`). Needs python3 with venv, and PyPI.
hlog-check +runs:
    #!/usr/bin/env bash
    set -euo pipefail
    venv="$(mktemp -d)"
    trap 'rm -rf "$venv"' EXIT
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check hdrhistogram==0.10.8
    "$venv/bin/python" scripts/hlog-check.py {{runs}}

# Plant bugs in the nodes and count the seeds that each takes to be found (`just planted 200`).
planted seeds="200" *args:
    QUORATE_PLANTED_SEEDS={{seeds}} cargo test -p quorate-chaos --test simulation {{args}} -- bugs:: --nocapture

# Mutate the pure parts of the cluster and see which mutants no test notices (`just mutants -f 'src/quorum/**'`).
mutants *args:
    scripts/mutants.sh {{args}}

# Judge histories recorded from real systems, which are no part of this repository (`just histories DIRECTORY`).
histories directory *args:
    QUORATE_HISTORIES="$(realpath {{directory}})" cargo test -p quorate-check --test recorded {{args}} -- --ignored --nocapture

# Check everything that must hold before a push. Writes nothing but the target directory.
verify *args:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo test --workspace {{args}}
    if cargo deny --version >/dev/null 2>&1; then cargo deny check bans licenses sources; else echo "cargo deny is not installed: skipped"; fi

# Put right what can be put right by itself.
fix *args:
    cargo fmt --all
    cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged {{args}}

# What a continuous integration server runs: verify, simulation, determinism, a short bench.
ci:
    .ci/run
