#!/usr/bin/env bash
# Bytes of the database for each counted response.
#
# usage: benches/size.sh [SIZE]
source "$(dirname "$0")/lib.sh"
build
machine
bars size --tree "$(tree_of "${1:-1G}")"
