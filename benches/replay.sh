#!/usr/bin/env bash
# Times `replay` with a durable commit against `wc -l` on the same files, in turns, and prints the ratio.
#
# usage: benches/replay.sh [SIZE] [RUNS]        SIZE of the generated tree, default 1G; RUNS of each, default 7
#
# The tree is generated once per size, below the target directory, and stays there. Both read from the page cache.
set -euo pipefail
cd "$(dirname "$0")/.."
size=${1:-1G}
runs=${2:-7}
target=${CARGO_TARGET_DIR:-target}
tree=$target/bench-replay-$size
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cargo build --quiet --release --bin tokentail --example corpus
if [ ! -f "$tree/oracle.json" ]; then
    rm -rf "$tree"
    "$target/release/examples/corpus" --bytes "$size" --seed 7 "$tree" >/dev/null
fi
find "$tree/runs" -name '*.jsonl' -print0 >"$work/files"
bytes=$(xargs -0 cat <"$work/files" | wc -c)
echo "$(tr -dc '\0' <"$work/files" | wc -c) files, $bytes bytes, $(nproc) processors, $(uname -sr)"

# Wall seconds of a command, whose output goes to a file.
wall() { # FILE COMMAND [ARGUMENT...]
    local file=$1 start end
    shift
    start=$(date +%s%N)
    "$@" >"$file"
    end=$(date +%s%N)
    awk -v ns=$((end - start)) 'BEGIN { printf "%.3f\n", ns / 1e9 }'
}
count_lines() { wc -l --files0-from="$work/files"; }
replay() { "$target/release/tokentail" replay "$tree/runs" --db "$work/t.redb" --json "$@"; }
middle() { sort -n "$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

count_lines >/dev/null
replay >"$work/first"
rm "$work/t.redb"
replay --expect "$tree/oracle.json" >/dev/null
for run in $(seq "$runs"); do
    wall /dev/null count_lines >>"$work/wc"
    rm "$work/t.redb"
    wall "$work/this" replay >>"$work/replay"
    cmp "$work/first" "$work/this"
    echo "run $run: wc -l $(tail -n 1 "$work/wc") s, replay $(tail -n 1 "$work/replay") s"
done
paste "$work/wc" "$work/replay" | awk '{ print $2 / $1 }' >"$work/ratios"
awk -v wc="$(middle "$work/wc")" -v replay="$(middle "$work/replay")" -v bytes="$bytes" \
    -v ratio="$(middle "$work/ratios")" 'BEGIN {
    printf "medians: wc -l %.3f s, replay %.3f s (%.2f GB/s); ratio pair by pair %.2f\n", wc, replay, bytes / replay / 1e9, ratio }'

# The peak of the resident set, read while it runs, as the kernel keeps it.
rm -f "$work/t.redb"
"$target/release/tokentail" replay "$tree/runs" --db "$work/t.redb" --json >/dev/null &
pid=$!
peak=0
while now=$(awk '/VmHWM/ { print $2 }' "/proc/$pid/status" 2>/dev/null) && [ -n "$now" ]; do peak=$now; done
wait "$pid"
echo "peak memory of replay: $((peak / 1024)) MiB"
