#!/usr/bin/env bash
# From an append to its frame in the stream of events, beside `tail -F` on the same files; and of a new directory.
#
# usage: benches/live.sh
source "$(dirname "$0")/lib.sh"
build
machine
bars live
