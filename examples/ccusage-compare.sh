#!/usr/bin/env bash
# Compares `tokentail report --format ccusage` with ccusage itself on the same Claude transcripts: days, sessions,
# totals, and the reason of each difference.
#
# usage: examples/ccusage-compare.sh [--install DIRECTORY] [TREE]
#
# TREE is a directory like ~/.claude (with projects/ in it) or a directory of projects; without one, a small tree with
# known differences is made. Needs node. With --install ccusage is installed with npm into DIRECTORY first; without, it
# is taken from PATH. TOKENTAIL names the program [default: target/debug/tokentail]. Exits 1 on a difference of tokens
# that is not explained.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
tokentail=${TOKENTAIL:-$target/debug/tokentail}
if [ "${1:-}" = --install ]; then
    directory=$2
    shift 2
    npm install --prefix "$directory" --no-audit --no-fund --loglevel error ccusage >/dev/null
    # npm leaves out a program for this platform when it is newer than its index: then the newest one that is there.
    platform=@ccusage/ccusage-$(uname -s | tr '[:upper:]' '[:lower:]')-$(uname -m | sed 's/x86_64/x64/; s/aarch64/arm64/')
    if [ ! -d "$directory/node_modules/$platform" ]; then
        version=$(npm view "$platform" version)
        npm install --prefix "$directory" --no-audit --no-fund --loglevel error "ccusage@$version" "$platform@$version" >/dev/null
    fi
    PATH=$directory/node_modules/.bin:$PATH
fi
command -v ccusage >/dev/null || {
    echo "there is no ccusage; $0 --install DIRECTORY installs it" >&2
    exit 69
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TZ=UTC HOME=$work/home CLAUDE_CONFIG_DIR=$work/home/.claude
mkdir -p "$CLAUDE_CONFIG_DIR"
if [ -n "${1:-}" ]; then
    projects=$1
    [ ! -d "$1/projects" ] || projects=$1/projects
    ln -s "$(cd "$projects" && pwd)" "$CLAUDE_CONFIG_DIR/projects"
else
    node "$root/examples/ccusage-tree.js" "$CLAUDE_CONFIG_DIR/projects"
fi

echo "ccusage $(ccusage --version | awk '{ print $NF }'), $("$tokentail" --version)"
for report in daily weekly monthly session blocks; do
    ccusage claude "$report" --json --offline >"$work/$report.theirs" 2>"$work/err" || {
        cat "$work/err" >&2
        exit 70
    }
    "$tokentail" report "$report" --format ccusage --timezone UTC --logs "$CLAUDE_CONFIG_DIR/projects" \
        >"$work/$report.ours" 2>"$work/err" || {
        cat "$work/err" >&2
        exit 70
    }
done
node "$root/examples/ccusage-compare.js" "$work"
