#!/usr/bin/env bash
# Mutates the pure parts of the cluster that must not be wrong (ring, versions, quorums, hash trees) and
# runs their tests against each mutant. In a crate of their own, where that takes seconds and not a
# minute: all of it is an hour on one core. Needs cargo-mutants (`cargo install cargo-mutants`).
# Arguments go to it: `scripts/mutants.sh -f 'src/quorum/**'`. Survivors end with exit code 2; those that
# do no harm are listed in .cargo/mutants.toml with the reason.
set -euo pipefail
root="$(cd "$(dirname "$0")/.." && pwd)"
crate="$(mktemp -d)"
trap 'rm -rf "$crate"' EXIT

mkdir "$crate/src"
modules=(config ring version quorum merkle)
{
    for module in "${modules[@]}"; do
        cp -r "$root/cluster/src/$module" "$crate/src/"
        echo "pub mod $module;"
    done
    cp "$root/cluster/src/testing.rs" "$crate/src/"
    printf '#[cfg(test)]\nmod testing;\n'
} >"$crate/src/lib.rs"

dependency() { grep -m 1 "^$1 = " "$root/Cargo.toml"; }
{
    printf '[package]\nname = "pure"\nversion = "0.0.0"\nedition = "2024"\n[workspace]\n'
    printf '[profile.dev]\ndebug = false\n[profile.dev.package."*"]\nopt-level = 2\n'
    printf '[dependencies]\nquorate-env = { path = "%s/env" }\n' "$root"
    for name in base64 bytes hmac md-5 postcard rand serde serde_json sha2 thiserror toml twox-hash; do
        dependency "$name"
    done
    echo '[dev-dependencies]'
    for name in proptest expect-test; do dependency "$name"; done
} >"$crate/Cargo.toml"
cp "$root/Cargo.lock" "$crate/"

[ $# -gt 0 ] || set -- -f 'src/ring/**' -f 'src/version/**' -f 'src/quorum/**' -f 'src/merkle/**'

# That the tests hold without a mutant; cargo-mutants need not look again.
(cd "$crate" && cargo test --quiet --lib)
PROPTEST_CASES=64 cargo mutants --dir "$crate" --in-place --baseline skip --timeout 40 --no-shuffle \
    --config "$root/.cargo/mutants.toml" --output "$root/target" \
    "$@" -- --lib
