#!/usr/bin/env bash
# The time of a request for a lease, and of may-start, while 50 runs write and 16 clients ask.
#
# usage: benches/leases.sh
source "$(dirname "$0")/lib.sh"
build
machine
bars leases
