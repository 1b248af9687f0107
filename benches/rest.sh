#!/usr/bin/env bash
# What 10,000 resting runs and 40,000 files of history cost, and how long lines of another run take while all of the runs
# end; with BEFORE=PROGRAM, beside that program. The caches are emptied for one start, if that is allowed.
#
# usage: [BEFORE=PROGRAM] benches/rest.sh [--long]
source "$(dirname "$0")/lib.sh"
build
machine
bars rest "$@"
bars files
bars ends
