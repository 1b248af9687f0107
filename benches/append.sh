#!/usr/bin/env bash
# CPU time of ten appended files in a large tree, beside reading the tree again.
#
# usage: benches/append.sh [SIZE]
source "$(dirname "$0")/lib.sh"
build
machine
bars append --tree "$(tree_of "${1:-1G}")"
