#!/usr/bin/env bash
# What 10,000 resting runs cost, and how long it takes when all of them end; with BEFORE=PROGRAM, beside that program.
#
# usage: [BEFORE=PROGRAM] benches/rest.sh
source "$(dirname "$0")/lib.sh"
build
machine
bars rest
