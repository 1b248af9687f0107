#!/usr/bin/env bash
# What history, runs and responses cost, from little to much; --long goes to 10 GiB and 5 million responses.
#
# usage: benches/growth.sh [--long]
source "$(dirname "$0")/lib.sh"
build
machine
bars growth "$@"
