//! Small invented trees, valid and invalid: the rules must find each fault, and nothing else.

use std::collections::BTreeMap;

use super::rules::{self, CrateOwner};
use super::source_tree::SourceTree;

const LIB: &str = "//! A tree.\n//!\n//! | layer | files |\n//! |---|---|\n//! | 0 domain types | record |\n\
    //! | 2 pure | lines |\n//! | 3 I/O adapters | store watch |\n//! | 4 ends | api |\n//! | 5 CLI | main |\n\
    pub mod record;\n";

const CRATE_OWNERS: [CrateOwner; 2] = [("redb", &["store"]), ("hyper", &["api/client"])];

/// A valid tree with some files added or replaced.
fn tree_with(changes: &[(&str, &str)]) -> BTreeMap<String, String> {
    let sound = [
        ("src/lib.rs", LIB),
        ("src/main.rs", "//! M.\nfn main() { tokentail::api::go() }"),
        ("src/record.rs", "//! R."),
        (
            "src/lines.rs",
            "//! L.\nuse crate::record::RunId;\nuse std::time::Duration;",
        ),
        ("src/store/mod.rs", "//! S.\nmod commit;\nuse redb::Database;"),
        (
            "src/store/commit.rs",
            "//! C.\nuse super::super::record::Batch;\nuse super::Store;",
        ),
        ("src/watch.rs", "//! W.\nuse std::thread;"),
        ("src/api/mod.rs", "//! A."),
        ("src/api/client.rs", "//! C.\nuse hyper::Request;"),
    ];
    let mut tree = BTreeMap::new();
    for (path, text) in sound.iter().chain(changes) {
        tree.insert((*path).to_owned(), (*text).to_owned());
    }
    tree
}

/// Checks a valid tree with changes; each finding is expected as `path:line rule`.
fn check(changes: &[(&str, &str)], expect: &[&str]) {
    let texts = tree_with(changes);
    let found: Vec<String> = rules::check(&SourceTree::new(&texts), &CRATE_OWNERS)
        .iter()
        .map(|finding| format!("{}:{} {}", finding.path, finding.line, finding.rule))
        .collect();
    assert_eq!(found, expect, "{changes:?}");
}

/// One file of the valid tree, replaced.
fn check_file(path: &str, text: &str, expect: &[&str]) {
    check(&[(path, text)], expect);
}

#[test]
fn a_valid_tree_has_no_findings() {
    check(&[], &[]);
}

#[test]
fn a_message_says_where_what_and_what_to_do() {
    let texts = tree_with(&[("src/record.rs", "//! R.\nuse crate::api::Problem;")]);
    let found = rules::check(&SourceTree::new(&texts), &CRATE_OWNERS);
    assert_eq!(
        found[0].to_string(),
        "src/record.rs:2: layers: `crate::api::Problem` is on layer 4, `record` is on layer 0; \
         move what is shared to a lower layer, or pass it in from above"
    );
}

#[test]
fn nobody_looks_up_or_across() {
    let watch = "src/watch.rs";
    let first = ["src/watch.rs:2 layers"].as_slice();
    for source in [
        "use crate::api::X;",
        "use crate::store::Store;",
        "use crate::{record, api::{self}};",
        "use {std::fs, crate::{record::{A, B}, api}};",
        "use super::api;",
        "use tokentail::api;",
        "mod inner { use super::super::api; }",
        "fn f() { crate::api::go(); }",
        "fn f(x: super::store::Store) {}",
        "macro_rules! m { () => { $crate::api::go() } }",
        "pub use crate::api as other;",
    ] {
        check_file(watch, &format!("//! W.\n{source}"), first);
    }
    check_file(
        watch,
        "//! W.\nuse crate::{\n    record,\n    api,\n};",
        &["src/watch.rs:4 layers"],
    );
    check_file(
        "src/store/commit.rs",
        "//! C.\nuse super::super::watch::W;",
        &["src/store/commit.rs:2 layers"],
    );
    for source in [
        "use crate::record;",
        "use crate::watch::inner::X;",
        "use self::inner::X;",
        "// use crate::api;",
        "/* use crate::api; */",
        "const S: &str = \"use crate::api;\";",
        "/// See [`crate::api`].\npub(crate) fn f() {}",
        "#[cfg(test)]\nmod tests { use crate::api::X; }",
        "pub(in crate::watch) fn f() {}",
    ] {
        check_file(watch, &format!("//! W.\n{source}"), &[]);
    }
}

#[test]
fn no_files_name_each_other_in_a_circle() {
    let (one, other) = ("src/store/commit.rs", "src/store/read.rs");
    let root = "src/store/mod.rs";
    // Directly, through a third file, through re-exports of the folder's root, and from inside a function.
    check(
        &[
            (one, "//! C.\nuse super::read::R;"),
            (other, "//! R.\nfn f() { super::commit::g() }"),
        ],
        &["src/store/commit.rs:2 cycles", "src/store/read.rs:2 cycles"],
    );
    check(
        &[
            (one, "//! C.\nuse crate::store::read::R;"),
            (other, "//! R.\nuse super::{third::T};"),
            ("src/store/third.rs", "//! T.\n\nuse super::commit;"),
        ],
        &[
            "src/store/commit.rs:2 cycles",
            "src/store/read.rs:2 cycles",
            "src/store/third.rs:3 cycles",
        ],
    );
    check(
        &[
            (
                root,
                "//! S.\nmod commit;\nmod read;\npub use commit::C;\npub use self::read::R;",
            ),
            (one, "//! C.\nuse super::R;"),
            (other, "//! R.\nuse crate::store::C;"),
        ],
        &["src/store/commit.rs:2 cycles", "src/store/read.rs:2 cycles"],
    );
    // An item that an outer module defines makes no cycle, nor does one that only tests name.
    check(
        &[
            (root, "//! S.\nmod commit;\nuse commit::C;\nstruct S;"),
            (one, "//! C.\nuse super::S;"),
        ],
        &[],
    );
    check(
        &[
            (one, "//! C.\nuse super::read::R;"),
            (
                other,
                "//! R.\n#[cfg(test)]\nmod tests { use crate::store::commit::C; }",
            ),
        ],
        &[],
    );
}

#[test]
fn nobody_goes_around_the_layers() {
    for source in [
        "use crate::*;",
        "use super::*;",
        "use crate as all;",
        "extern crate self as all;",
        "use crate::RunId;",
        "use crate::{self};",
        "#[path = \"../elsewhere.rs\"]\nmod inner;",
        "include!(\"elsewhere.rs\");",
    ] {
        check_file(
            "src/watch.rs",
            &format!("//! W.\n{source}"),
            &["src/watch.rs:2 layers"],
        );
    }
    check_file("src/store/commit.rs", "//! C.\nuse super::*;", &[]);
    let made = "//! W.\ninclude!(concat!(env!(\"OUT_DIR\"), \"/made.rs\"));";
    check_file("src/watch.rs", made, &[]);
}

#[test]
fn tests_in_files_of_their_own_are_tests() {
    let test = ("src/watch/tests.rs", "//! T.\nuse crate::api::X;\nuse redb::Y;");
    check(&[("src/watch.rs", "//! W.\n#[cfg(test)]\nmod tests;"), test], &[]);
    check(
        &[("src/watch.rs", "//! W.\nmod tests;"), test],
        &["src/watch/tests.rs:2 layers", "src/watch/tests.rs:3 owner"],
    );
}

#[test]
fn the_table_and_the_files_agree() {
    check(&[("src/live.rs", "//! L.")], &["src/live.rs:1 table"]);
    check(&[("src/live/mod.rs", "//! L.")], &["src/live/mod.rs:1 table"]);
    let more = LIB.replace("lines |", "lines fold |");
    check(&[("src/lib.rs", &more)], &["src/lib.rs:6 table"]);
    let twice = LIB.replace("store watch", "store watch record");
    check(&[("src/lib.rs", &twice)], &["src/lib.rs:7 table"]);
}

#[test]
fn every_rust_file_has_a_head() {
    for path in [
        "src/record.rs",
        "tests/it.rs",
        "tests/it/more.rs",
        "examples/e.rs",
        "benches/b.rs",
    ] {
        let finding = format!("{path}:1 head");
        for text in ["use std::fmt;\n//! Late.", "//!", "", "// No head."] {
            check_file(path, text, &[&finding]);
        }
        check_file(path, "//! Head.", &[]);
    }
    check_file("fixtures/x.rs", "", &[]);
}

#[test]
fn a_file_that_is_no_rust_is_named() {
    check_file("src/watch.rs", "//! W.\nfn f() {", &["src/watch.rs:1 syntax"]);
}

#[test]
fn an_outside_crate_has_one_owner() {
    for source in [
        "use redb::Database;",
        "use redb as other;",
        "extern crate redb;",
        "use ::redb::{A, B};",
        "fn f(x: &redb::Database) {}",
        "fn f() { ::redb::g() }",
        "#[derive(redb::Value)]\nstruct S;",
        "use {std::fmt, redb::A};",
    ] {
        let expect = if source.contains('{') && source.contains("A, B") {
            2
        } else {
            1
        };
        check_file(
            "src/watch.rs",
            &format!("//! W.\n{source}"),
            &vec!["src/watch.rs:2 owner"; expect],
        );
    }
    check_file("src/store/commit.rs", "//! C.\nuse redb::Database;", &[]);
    check_file(
        "src/api/mod.rs",
        "//! A.\nuse hyper::Request;",
        &["src/api/mod.rs:2 owner"],
    );
    check_file(
        "src/watch.rs",
        "//! W.\nuse crate::watch::redb;\nfn f(x: X) { x.redb::<u8>() }",
        &[],
    );
    check_file("tests/it.rs", "//! T.\nuse redb::Database;", &[]);
}

#[test]
fn the_table_of_crate_owners_is_right() {
    check(
        &[(
            "Cargo.toml",
            "[dependencies]\nredb = \"4\"\nhyper = { version = \"1\" }",
        )],
        &[],
    );
    check(
        &[("Cargo.toml", "[dependencies]\nredb = \"4\"")],
        &["Cargo.toml:1 owner"],
    );
    let mut texts = tree_with(&[("Cargo.toml", "redb = \"4\"\nhyper = \"1\"")]);
    texts.remove("src/api/client.rs");
    let found = rules::check(&SourceTree::new(&texts), &CRATE_OWNERS);
    assert!(
        found[0]
            .what
            .contains("the owner `api/client` of hyper is no module"),
        "{found:?}"
    );
}

#[test]
fn some_words_are_nowhere() {
    for source in [
        "unsafe fn f() {}",
        "fn f() { unsafe { g() } }",
        "fn f() { todo!() }",
        "fn f() { unimplemented!(\"x\") }",
        "fn f() { dbg!(1); }",
        "#[ignore]\nfn t() {}",
        "#[ignore = \"slow\"]\nfn t() {}",
        "#[cfg_attr(unix, ignore)]\nfn t() {}",
    ] {
        for path in ["src/watch.rs", "tests/it.rs", "examples/e.rs", "benches/b.rs"] {
            check_file(path, &format!("//! H.\n{source}"), &[&format!("{path}:2 word")]);
        }
        let in_tests = format!("//! W.\n#[cfg(test)] mod tests {{ {source} }}");
        check_file("src/watch.rs", &in_tests, &["src/watch.rs:2 word"]);
    }
    check_file(
        "src/watch.rs",
        "//! W.\n// unsafe todo!()\nfn todo() { ignore(\"dbg!\") }",
        &[],
    );
}

#[test]
fn tests_do_not_sleep() {
    for source in [
        "fn t() { std::thread::sleep(D) }",
        "use std::thread::{self, sleep};",
        "fn t() { thread::sleep(D) }",
        "async fn t() { tokio::time::sleep(D).await }",
        "async fn t() { time::sleep_until(D).await }",
    ] {
        check_file(
            "tests/it.rs",
            &format!("//! T.\n{source}"),
            &["tests/it.rs:2 word"],
        );
        check_file(
            "src/watch.rs",
            &format!("//! W.\n#[cfg(test)] mod tests {{ {source} }}"),
            &["src/watch.rs:2 word"],
        );
        check_file("src/watch.rs", &format!("//! W.\n{source}"), &[]);
    }
    check_file(
        "tests/it.rs",
        "//! T.\nfn t() { receiver.recv_timeout(D); sleep() }",
        &[],
    );
}

#[test]
fn a_type_name_is_defined_once() {
    let watch = "//! W.\nmod inner { struct Inner; }\nfn f() { struct Local; }\nenum Found {}\nimpl Found { type Local = u8; }";
    let changes = [
        (
            "src/store/commit.rs",
            "//! C.\nstruct Found;\nstruct Local;\nstruct Inner;",
        ),
        ("src/watch.rs", watch),
    ];
    check(&changes, &["src/watch.rs:4 names"]);
    let document = [
        ("src/api/wire/mod.rs", "//! W.\nstruct Found;"),
        (
            "src/api/mod.rs",
            "//! A.\nstruct Found;\n#[cfg(test)]\nmod tests { struct Found; }",
        ),
    ];
    check(&document, &[]);
}

#[test]
fn the_pure_layers_are_pure() {
    for source in [
        "use std::fs;",
        "use std::net::TcpStream;",
        "use std::process::Command;",
        "use std::thread;",
        "use std::env;",
        "use std::os::unix::fs::MetadataExt;",
        "use std::time::Instant;",
        "use std::time::{Duration, SystemTime};",
        "use std::time;",
        "use std::time::*;",
        "use std::*;",
        "use std as s;",
        "use tokio::sync::mpsc;",
        "fn f() { ::std::fs::read(p); }",
        "fn f() { std::time::Instant::now(); }",
        "fn f() { jiff::Timestamp::now(); }",
        "fn f(x: tokio::time::Duration) {}",
    ] {
        for path in ["src/record.rs", "src/lines.rs"] {
            check_file(path, &format!("//! P.\n{source}"), &[&format!("{path}:2 pure")]);
        }
        check_file("src/watch.rs", &format!("//! W.\n{source}"), &[]);
    }
    check_file(
        "src/lines.rs",
        "//! L.\nuse std::time::Duration;\nuse std::os::unix::ffi::OsStrExt;\nfn f(now: u8) {}",
        &[],
    );
    check_file(
        "src/lines.rs",
        "//! L.\n#[cfg(test)]\nmod tests { use std::fs; }",
        &[],
    );
}

#[test]
fn texts_are_true_elsewhere_too() {
    let shared = concat!("see ..", "/shared/x");
    let machine = concat!("cd /wo", "rk/x");
    let registry = concat!("https://crates", ".io/crates/x");
    for path in [
        "README.md",
        "docs/a.md",
        "src/record.rs",
        "systemd/x.service",
        "Cargo.toml",
        "CHANGELOG.md",
    ] {
        for text in [shared, machine, registry] {
            let text = format!("//! H.\n# redb = \"4\"\nredb = \"4\"\nhyper = \"1\"\n// {text}");
            check_file(path, &text, &[&format!("{path}:5 elsewhere")]);
        }
    }
    let name = concat!("fixtures/runs/crates", ".io");
    check_file(name, "", &[&format!("{name}:1 elsewhere")]);
    check_file(
        "README.md",
        "/var/lib/tokentail/work/x and ./work/x and network/",
        &[],
    );
}

#[test]
fn long_files_and_functions_are_hinted_at() {
    let long = format!("//! L.\nfn long() {{{}}}", "\n".repeat(400));
    let texts = tree_with(&[("src/watch.rs", &long)]);
    let tree = SourceTree::new(&texts);
    assert_eq!(
        rules::hints(&tree),
        [
            "src/watch.rs: 402 lines, does it hold two concepts?",
            "src/watch.rs:2: fn long has 401 lines",
        ]
    );
    assert!(rules::check(&tree, &CRATE_OWNERS).is_empty());
}
