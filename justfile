# The commands of a working day; `just` lists them. `.ci/run` is what a change must pass.

target := env("CARGO_TARGET_DIR", "target")

_list:
    @just --list --unsorted

# The program, optimised: target/release/tokentail
build:
    cargo build --release

# All tests, or some: `just test --lib parse`, `just test --test collector growth`
test *arguments:
    cargo test {{ arguments }}

# Format, lints and links of the documentation, as CI judges them
lint:
    cargo fmt --all -- --check
    cargo clippy --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps

# The fixtures against their documents
replay: build
    {{ target }}/release/tokentail replay fixtures/runs --expect fixtures/runs.expected.json
    cargo test --test collector cases

# Parsing and committing, then a replay of a generated tree beside `wc -l`: `just bench 100M 5`
bench size="1G" runs="7":
    cargo bench --bench parse --bench commit
    benches/replay.sh {{ size }} {{ runs }}

# The two generated files in docs/
docs: build
    {{ target }}/release/tokentail openapi >docs/openapi.json
    {{ target }}/release/tokentail config schema >docs/tokentail.schema.json

# The pictures in docs/pictures, of today's page and terminal
pictures: build
    docs/pictures/make {{ target }}/release/tokentail

# Everything a change must pass
ci:
    .ci/run

# What the package for the registry holds, and whether it builds
package:
    cargo package --list
    cargo publish --dry-run --locked

# The Debian package: dist/tokentail_VERSION_ARCHITECTURE.deb
deb: build
    packaging/deb/build {{ target }}/release/tokentail

# A program without libraries, packed: dist/tokentail-VERSION-TARGET.tar.gz
static triple="x86_64-unknown-linux-musl":
    packaging/static/build {{ triple }}

# Checks, builds all artefacts into dist/, tags; pushes nothing: `just release 0.2.0`. RELEASE.md has the rest
release version:
    packaging/release {{ version }}
