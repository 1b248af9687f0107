#!/usr/bin/env bash
# From the start to ready with a large tree: after `kill -9`, after a clean stop, and with nothing, in turns.
#
# usage: benches/restart.sh [SIZE]
source "$(dirname "$0")/lib.sh"
build
machine
bars restart --tree "$(tree_of "${1:-1G}")"
