#!/usr/bin/env bash
# What 5,000 idle files in 500 runs cost in two minutes, beside `tail -F` on the same files.
#
# usage: benches/idle.sh
source "$(dirname "$0")/lib.sh"
build
machine
bars idle
