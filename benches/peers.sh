#!/usr/bin/env bash
# Runs `replay` and the usage tools of the package registries, ccusage and tokscale, on the same generated tree in turn:
# time, memory, totals beside the generator's books, and where they differ.
#
# usage: benches/peers.sh [--install DIRECTORY] [SIZE]
#
# Needs node. With --install the tools are installed with npm into DIRECTORY first, together with bun, which tokscale
# runs in; without, they are taken from PATH. A tool that is not there, or does not run, is left out with the reason;
# tokscale does not run without the network, from which it takes prices.
source "$(dirname "$0")/lib.sh"
if [ "${1:-}" = --install ]; then
    directory=$2
    shift 2
    npm install --prefix "$directory" --no-audit --no-fund --loglevel error ccusage tokscale bun >/dev/null
    # npm leaves out a program for this platform when it is newer than its index.
    [ -d "$directory/node_modules/@ccusage" ] ||
        npm install --prefix "$directory" --no-audit --no-fund --loglevel error "@ccusage/ccusage-linux-$(uname -m | sed 's/x86_64/x64/; s/aarch64/arm64/')" >/dev/null ||
        echo "ccusage: its program for this platform cannot be installed"
    PATH=$directory/node_modules/.bin:$PATH
fi
build
machine
tree=$(tree_of "${1:-1G}")
work=$(mktemp -d -p "$target")
trap 'rm -rf "$work"' EXIT

# They look below ~/.claude/projects: the same files, by another name.
mkdir -p "$work/home/.claude/projects"
for run in "$tree"/runs/*/; do
    cp -rl "$run/mount" "$work/home/.claude/projects/$(basename "$run")"
done
export HOME=$work/home CLAUDE_CONFIG_DIR=$work/home/.claude TZ=UTC

# Wall seconds and peak memory in MiB of a command, whose output goes to a file.
measure() { # NAME OUTPUT COMMAND...
    local name=$1 output=$2 start end peak=0 now pid child
    shift 2
    start=$(date +%s%N)
    "$@" >"$output" 2>"$output.err" &
    pid=$!
    # The largest of the command and what it starts.
    while kill -0 "$pid" 2>/dev/null; do
        for child in $pid $(pgrep -P "$pid" || true); do
            now=$(awk '/VmHWM/ { print $2 }' "/proc/$child/status" 2>/dev/null || true)
            [ "${now:-0}" -le "$peak" ] || peak=$now
        done
        sleep 0.02
    done
    end=$(date +%s%N)
    if ! wait "$pid" || [ ! -s "$output" ]; then
        echo "$name: left out, it printed nothing: $(grep -m 1 -i error: "$output.err" || tail -n 1 "$output.err")" | cut -c1-200
        return 1
    fi
    awk -v name="$name" -v ns=$((end - start)) -v peak="$peak" \
        'BEGIN { printf "%s: %.2f s, %d MiB at most\n", name, ns / 1e9, peak / 1024 }'
}

# The totals of a document, by the names of tokentail's, and where they differ from the books.
compare() { # NAME OUTPUT TOOL
    node - "$1" "$2" "$3" "$tree/oracle.json" <<'SCRIPT'
const fs = require("fs");
const [name, output, tool, books] = process.argv.slice(2);
const read = (path) => JSON.parse(fs.readFileSync(path, "utf8"));
const document = read(output);
const wanted = read(books).totals;
const totals = {
  replay: () => document.totals,
  ccusage: () => ({
    input_tokens: document.totals.inputTokens,
    output_tokens: document.totals.outputTokens,
    cache_creation_input_tokens: document.totals.cacheCreationTokens,
    cache_read_input_tokens: document.totals.cacheReadTokens,
  }),
  tokscale: () => ({
    input_tokens: document.totalInput,
    output_tokens: document.totalOutput,
    cache_creation_input_tokens: document.totalCacheWrite,
    cache_read_input_tokens: document.totalCacheRead,
  }),
}[tool]();
for (const field of ["input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"]) {
  const off = totals[field] - wanted[field];
  const share = ((100 * off) / wanted[field]).toFixed(2);
  console.log(`  ${name} ${field} ${totals[field]}${off === 0 ? "" : `: ${off > 0 ? "+" : ""}${off} (${share} %)`}`);
}
SCRIPT
}

one() { # NAME TOOL COMMAND...
    local name=$1 tool=$2
    shift 2
    if ! command -v "$1" >/dev/null; then
        echo "$name: left out, there is no $1; benches/peers.sh --install DIRECTORY installs it"
        return
    fi
    # Once for the page cache and its own.
    "$@" >/dev/null 2>&1 || true
    if measure "$name" "$work/$tool" "$@"; then
        compare "$name" "$work/$tool" "$tool"
    fi
}

replay_durably() {
    rm -f "$work/t.redb"
    "$target/release/tokentail" replay "$tree/runs" --db "$work/t.redb" --json
}

echo "books:"
node -e 'const t = JSON.parse(require("fs").readFileSync(process.argv[1])).totals;
for (const f of ["input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"]) console.log(`  ${f} ${t[f]}`)' "$tree/oracle.json"
one "tokentail replay, with a durable commit" replay replay_durably
one ccusage ccusage ccusage daily --json --offline
one tokscale tokscale tokscale models --json --no-spinner --claude
