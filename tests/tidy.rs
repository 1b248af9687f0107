//! Checks dependency rules: layers, cycles of imports, one module per outside crate, and forbidden code.
//!
//! The layers are the table at the head of `src/lib.rs`; the modules of outside crates are the table below.
//! `tidy/rules.rs` has the rules, one function each.

#[path = "tidy/cases.rs"]
mod cases;
#[path = "tidy/cycles.rs"]
mod cycles;
#[path = "tidy/paths.rs"]
mod paths;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/source_tree.rs"]
mod source_tree;

use std::io::Write as _;
use std::path::Path;

use rules::CrateOwner;
use source_tree::SourceTree;

/// Outside crates and the only modules that may name them. A crate that is not here is one of the basic
/// crates (serde, tracing, memchr) and may be named anywhere its layer allows.
const CRATE_OWNERS: [CrateOwner; 31] = [
    ("annotate_snippets", &["cli/mistakes"]),
    ("anstream", &["cli"]),
    ("anyhow", &["cli", "main"]),
    ("axum", &["api"]),
    ("base64", &["sender/signature"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("csv", &["api", "cli"]),
    ("flate2", &["api"]),
    ("globset", &["globs"]),
    ("futures_util", &["api"]),
    ("hmac", &["sender/signature"]),
    ("hyper", &["api/server", "cli/client"]),
    ("hyper_util", &["api/server", "cli/client"]),
    ("indicatif", &["cli"]),
    ("notify", &["watch"]),
    ("prometheus_client", &["api/metrics"]),
    ("ratatui", &["cli/top"]),
    ("redb", &["store"]),
    ("sha2", &["sender/signature"]),
    ("signal_hook", &["signals"]),
    ("strsim", &["config"]),
    ("subtle", &["api"]),
    ("tokio_io_timeout", &["api/server"]),
    ("toml", &["config"]),
    ("utoipa", &["api"]),
    ("utoipa_axum", &["api"]),
    ("unicode_width", &["cli"]),
    ("ureq", &["outbound"]),
    ("zeroize", &["config/notifications", "sender", "sources"]),
];

/// Set to any value, the test also prints hints, which break no rule.
const HINTS: &str = "TOKENTAIL_TIDY_HINTS";

#[test]
fn the_sources_keep_the_rules() {
    let texts = source_tree::read(Path::new(env!("CARGO_MANIFEST_DIR")));
    let tree = SourceTree::new(&texts);
    assert!(!tree.places.is_empty(), "src/lib.rs has no layer table");
    #[expect(clippy::disallowed_methods, reason = "a switch of this test alone")]
    if std::env::var_os(HINTS).is_some() {
        for hint in rules::hints(&tree) {
            // Not through the test harness, which hides the output of tests that pass.
            writeln!(std::io::stderr(), "hint: {hint}").expect("standard error takes a line");
        }
    }
    let findings: Vec<String> = rules::check(&tree, &CRATE_OWNERS)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(
        findings.is_empty(),
        "{} rules are broken:\n{}\nset {HINTS}=1 to see what deserves a look too, such as long functions",
        findings.len(),
        findings.join("\n")
    );
}
