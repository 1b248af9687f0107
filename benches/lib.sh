# What the benchmarks share; to be sourced. Sets `target`, builds what is measured.
# shellcheck shell=bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=${CARGO_TARGET_DIR:-target}
export CARGO_TARGET_DIR=$target

build() { cargo build --quiet --release --bin tokentail --example corpus --example bars; }

# The tree of this size; generated once, below the target directory.
tree_of() { # SIZE
    local tree=$target/bench-replay-$1
    if [ ! -f "$tree/oracle.json" ]; then
        rm -rf "$tree"
        "$target/release/examples/corpus" --bytes "$1" --seed 7 "$tree" >/dev/null
    fi
    echo "$tree"
}

machine() { echo "$(nproc) processors, $(uname -sr), load $(cut -d' ' -f1 /proc/loadavg)"; }

bars() { "$target/release/examples/bars" "$@" --program "$target/release/tokentail"; }
