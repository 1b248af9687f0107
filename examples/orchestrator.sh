#!/usr/bin/env bash
# An orchestrator in a few lines: asks whether a run may start, starts it, runs a command that writes its transcript,
# stops the run and prints its exact totals. Needs tokentail, curl and a collector. It starts nothing unless the answer is
# `allow`, and ends with the code of may-start then: 1 wait or deny, 2 unknown, 69 no collector.
# usage: examples/orchestrator.sh SOCKET RUN COMMAND [ARG]...
set -euo pipefail
socket=$1 run=$2
shift 2
ask() { # METHOD PATH [BODY]: the answer, or the problem on stderr and a failure
    local answer
    answer=$(curl --silent --show-error --unix-socket "$socket" --request "$1" --write-out '\n%{http_code}' \
        ${3:+--data "$3"} "http://localhost$2")
    if [ "${answer##*$'\n'}" -ge 400 ]; then
        printf '%s\n' "${answer%$'\n'*}" >&2
        return 1
    fi
    printf '%s\n' "${answer%$'\n'*}"
}
tokentail may-start --socket "$socket" >&2 || exit $?
ask PUT "/v1/runs/$run" '{"labels":{"project":"example"}}' >/dev/null
code=0
"$@" || code=$?
# Refused if not everything can be read; the problem says what to do.
ask POST "/v1/runs/$run/stop?wait=true" | grep -o '"total_tokens":[0-9]*' | head -n 1 || [ "$code" -ne 0 ] || code=75
exit "$code"
