#!/usr/bin/env bash
# What questions about usage cost with 5 million responses of 5,000 series.
#
# usage: benches/questions.sh [RESPONSES] [SERIES]
source "$(dirname "$0")/lib.sh"
build
cargo build --quiet --release --example questions
machine
"$target/release/examples/questions" "$target/release/tokentail" "$@"
