#!/usr/bin/env bash
# From an append to the frame that tells of it, beside `tail -F` on the same files; and of a new directory.
#
# usage: benches/live.sh
source "$(dirname "$0")/lib.sh"
build
machine
bars live
