#!/usr/bin/env bash
# What questions about usage cost with 5 million responses of 5,000 series.
#
# usage: benches/questions.sh [RESPONSES] [SERIES] [DAYS] [RUNS]
# A year of 1,000 runs a day: benches/questions.sh 3650000 730000 365 365000
source "$(dirname "$0")/lib.sh"
build
cargo build --quiet --release --example questions
machine
"$target/release/examples/questions" "$target/release/tokentail" "$@"
