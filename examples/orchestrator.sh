#!/usr/bin/env bash
# An orchestrator: runs each executable file of a directory once, as a run of its name, when an account has a place for it.
# Beside a file that was run are its exit code (.code), the exact document of its run (.totals) and its messages (.log).
#
# Any of it may be killed at any moment, and so may the collector: start it again, and it goes on. `tokentail run --admit`
# waits for a place, holds it while the command lives and gives it back. This script adds memory: a lock that the command
# inherits, so that it is held as long as anything of the job lives, and the files.
#
# Needs tokentail, flock and setsid. usage: examples/orchestrator.sh SOCKET JOBS
set -uo pipefail
socket=$1 jobs=$(realpath "$2") || exit 64

collector() { tokentail --socket "$socket" "$@"; }

job() { # NAME: to its end
    local name=$1 file=$jobs/$1 code
    exec 9>"$file.lock"
    # The command of an orchestrator that was killed may still run.
    flock 9
    until [ -e "$file.code" ]; do
        # A start that was killed may have left its run, and its place with it.
        collector stop "$name" >"$file.log" 2>&1
        # In a session of its own the command outlives what is killed around it.
        # shellcheck disable=SC2016 # the command's own shell expands it
        collector run --admit=1h --label job="$name" "$name" -- \
            setsid sh -c '"$0"; echo $? >"$0.new"; mv "$0.new" "$0.code"' "$file" >>"$file.log" 2>&1
        code=$?
        [ -e "$file.code" ] && break
        case $code in
            # Nothing that a repetition could change.
            64 | 66 | 77 | 78 | 126 | 127) echo "$name is not run: $(tail -n 1 "$file.log")" >&2 && return 1 ;;
            *) sleep 1 ;;
        esac
    done
    until [ -e "$file.totals" ]; do
        # Once more, as the first stop may have been missed. It is refused while not everything can be read.
        collector stop --json "$name" >"$file.new" 2>>"$file.log" && mv "$file.new" "$file.totals" || sleep 1
    done
}

for file in "$jobs"/*; do
    if [ -f "$file" ] && [ -x "$file" ]; then job "$(basename "$file")" & fi
done
failed=0
for worker in $(jobs -p); do wait "$worker" || failed=1; done
exit "$failed"
