#!/usr/bin/env bash
# What 10,000 resting runs and 40,000 files of history cost, and how long it takes when all runs end; with BEFORE=PROGRAM, beside that program.
#
# usage: [BEFORE=PROGRAM] benches/rest.sh [--long]
source "$(dirname "$0")/lib.sh"
build
machine
bars rest "$@"
