//! The rules. Each checks the whole tree and returns the faults and their remedies.

use std::collections::BTreeMap;
use std::fmt;

use super::cycles::Imports;
use super::paths::{Form, Path};
use super::source;
use super::source_tree::{File, SourceTree};

/// A file longer than this, in lines, may hold two concepts.
const FILE_LINES: usize = 400;
/// A function longer than this, in lines, may do two things.
const FUNCTION_LINES: usize = 70;
/// Documents are named after the items that they show: those names belong to the contract.
const DOCUMENTS: &str = "src/api/wire/";
/// Layers up to this one are pure.
const PURE_LAYER_MAX: usize = 2;

/// Forbidden in the pure layers: the outside world is passed in as an argument.
const IMPURE: [&[&str]; 12] = [
    &["std", "env"],
    &["std", "fs"],
    &["std", "net"],
    &["std", "os", "fd"],
    &["std", "os", "unix", "fs"],
    &["std", "os", "unix", "net"],
    &["std", "process"],
    &["std", "thread"],
    &["std", "time", "Instant"],
    &["std", "time", "SystemTime"],
    &["rustix"],
    &["tokio"],
];

/// Text that is true on one machine only, or that refers to something temporary.
const ELSEWHERE: [(&str, &str); 3] = [
    (
        concat!("..", "/shared"),
        "write down what is meant, the reader has no such directory",
    ),
    (
        concat!("/wo", "rk/"),
        "use a path that exists everywhere, or a placeholder",
    ),
    (concat!("crates", ".io"), "name the package, not the registry"),
];

/// The beginning of an `include!` of what `build.rs` makes, which uses no module.
const MADE: [&str; 8] = ["include", "!", "(", "concat", "!", "(", "env", "!"];

/// An outside crate and the modules that may name it, each with what is below it.
pub type CrateOwner<'a> = (&'a str, &'a [&'a str]);

/// One rule broken in one place.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    pub path: String,
    pub line: usize,
    pub rule: &'static str,
    pub what: String,
    pub todo: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: {}: {}; {}",
            self.path, self.line, self.rule, self.what, self.todo
        )
    }
}

fn finding(path: &str, line: usize, rule: &'static str, what: String, todo: impl Into<String>) -> Finding {
    Finding {
        path: path.to_owned(),
        line,
        rule,
        what,
        todo: todo.into(),
    }
}

/// All findings, sorted by place.
pub fn check(tree: &SourceTree, owners: &[CrateOwner]) -> Vec<Finding> {
    let mut found = Vec::new();
    layer_table(tree, &mut found);
    layers(tree, &mut found);
    cycles(tree, &mut found);
    back_doors(tree, &mut found);
    heads(tree, &mut found);
    faults(tree, &mut found);
    type_names(tree, &mut found);
    outside_crates(tree, owners, &mut found);
    words(tree, &mut found);
    purity(tree, &mut found);
    elsewhere(tree, &mut found);
    found.sort_by(|a, b| (&a.path, a.line, &a.what).cmp(&(&b.path, b.line, &b.what)));
    found
}

/// Hints, which break no rule.
pub fn hints(tree: &SourceTree) -> Vec<String> {
    let mut found = Vec::new();
    for file in &tree.files {
        let lines = file.text.lines().count();
        if lines > FILE_LINES {
            found.push(format!(
                "{}: {lines} lines, does it hold two concepts?",
                file.path
            ));
        }
        for function in source::functions(&file.tokens) {
            if function.lines > FUNCTION_LINES {
                let (path, line) = (file.path, function.line);
                found.push(format!(
                    "{path}:{line}: fn {} has {} lines",
                    function.name, function.lines
                ));
            }
        }
    }
    found
}

/// A type name is defined once in the crate, so that it is unambiguous.
fn type_names(tree: &SourceTree, found: &mut Vec<Finding>) {
    let mut known: BTreeMap<&str, &str> = BTreeMap::new();
    let is_counted = |path: &str| !path.starts_with(DOCUMENTS) && !path.contains("/tests");
    for file in tree.sources().filter(|file| is_counted(file.path)) {
        for (name, line) in source::types(&file.tokens) {
            match known.get(name) {
                Some(path) if *path != file.path => {
                    let what = format!("`{name}` is a type of {path} too");
                    found.push(finding(
                        file.path,
                        line,
                        "names",
                        what,
                        "give one of them another name",
                    ));
                }
                _ => drop(known.insert(name, file.path)),
            }
        }
    }
}

/// Every module below the root is on one layer, and every name in the table is a module.
fn layer_table(tree: &SourceTree, found: &mut Vec<Finding>) {
    const TABLE: &str = "src/lib.rs";
    let tops = tree.tops();
    for (index, place) in tree.places.iter().enumerate() {
        if !tops.contains(place.name) {
            let what = format!(
                "layer {} has `{}`, which is no file in src",
                place.layer, place.name
            );
            found.push(finding(
                TABLE,
                place.line,
                "table",
                what,
                "take it out of the table or write it",
            ));
        }
        if tree.places[..index].iter().any(|other| other.name == place.name) {
            let what = format!("`{}` stands on two layers", place.name);
            found.push(finding(
                TABLE,
                place.line,
                "table",
                what,
                "leave it on the one it belongs to",
            ));
        }
    }
    for file in tree.sources() {
        if file.top().is_some_and(|top| tree.layer(top).is_none()) {
            let what = "its module is on no layer".to_owned();
            found.push(finding(
                file.path,
                1,
                "table",
                what,
                format!("give it a place in the table of {TABLE}"),
            ));
        }
    }
}

/// A file names modules of its own top-level module and of lower layers only.
fn layers(tree: &SourceTree, found: &mut Vec<Finding>) {
    for file in tree.sources() {
        let Some(own) = file.top() else { continue };
        let Some(layer) = tree.layer(own) else { continue };
        for path in file.paths.iter().filter(|path| path.inside && !path.test) {
            let problem = match path.segments.first() {
                // `self` in the binary's root, or an alias for the whole crate.
                None if path.form == Form::Inline => continue,
                None => Some((
                    "hides which module is meant".to_owned(),
                    "import from the module by its name",
                )),
                Some(&top) if top == own => None,
                Some(&top) => match tree.layer(top) {
                    None => Some((
                        "begins at no module of the layer table".to_owned(),
                        "name things through the module they live in",
                    )),
                    Some(theirs) if theirs >= layer => Some((
                        format!("is on layer {theirs}, `{own}` is on layer {layer}"),
                        "move what is shared to a lower layer, or pass it in from above",
                    )),
                    Some(_) => None,
                },
            };
            if let Some((why, todo)) = problem {
                let what = format!("`{}` {why}", path.display());
                found.push(finding(file.path, path.line, "layers", what, todo));
            }
        }
    }
}

/// No file names another that leads back to it, inside a folder too.
fn cycles(tree: &SourceTree, found: &mut Vec<Finding>) {
    for (from, line, to) in Imports::of(tree).on_cycles() {
        let what = format!("{to} is named, which leads back to this file");
        let todo = "move what both need into a file of its own";
        found.push(finding(from, line, "cycles", what, todo));
    }
}

/// Included text would be reported in the wrong place.
fn back_doors(tree: &SourceTree, found: &mut Vec<Finding>) {
    for file in tree.sources() {
        for (at, three) in file.tokens.windows(3).enumerate() {
            let [first, second, third] = [three[0].text, three[1].text, three[2].text];
            if (first, second, third) == ("#", "[", "path") {
                let what = "`#[path]` puts a file where its name does not say".to_owned();
                found.push(finding(
                    file.path,
                    three[0].line,
                    "layers",
                    what,
                    "let the file lie where its module is",
                ));
            }
            let follows = file.tokens[at..].iter().map(|token| token.text);
            let is_made = follows.take(MADE.len()).eq(MADE);
            if (first, second) == ("include", "!") && !is_made {
                let what = "`include!` brings in code from outside the layers".to_owned();
                found.push(finding(
                    file.path,
                    three[0].line,
                    "layers",
                    what,
                    "make it a module",
                ));
            }
        }
    }
}

/// A file begins with a description of its subject.
fn heads(tree: &SourceTree, found: &mut Vec<Finding>) {
    for file in &tree.files {
        let head = file.text.lines().next().and_then(|line| line.strip_prefix("//!"));
        if head.is_none_or(|head| head.trim().is_empty()) {
            let what = "the file does not open with a `//!` line".to_owned();
            found.push(finding(
                file.path,
                1,
                "head",
                what,
                "say in one sentence what the file is",
            ));
        }
    }
}

/// A file is Rust, otherwise no other rule is checked for it.
fn faults(tree: &SourceTree, found: &mut Vec<Finding>) {
    for file in &tree.files {
        if let Some(fault) = &file.fault {
            let what = format!("the file is no Rust: {fault}");
            found.push(finding(file.path, 1, "syntax", what, "mend it"));
        }
    }
}

/// Each outside crate of the table is named by one module, and every entry of the table is used.
fn outside_crates(tree: &SourceTree, owners: &[CrateOwner], found: &mut Vec<Finding>) {
    for file in tree.sources() {
        let module = file.module.as_deref().unwrap_or_default();
        for path in file.paths.iter().filter(|path| !path.inside && !path.test) {
            let Some((name, rooms)) = owners
                .iter()
                .find(|(name, _)| path.segments.first() == Some(name))
            else {
                continue;
            };
            if !rooms.iter().any(|room| is_in(module, room)) {
                let what = format!("`{}` names the crate {name}", path.display());
                let todo = format!("only {} may; call that instead", rooms.join(", "));
                found.push(finding(file.path, path.line, "owner", what, todo));
            }
        }
    }
    let Some(manifest) = tree.texts.get("Cargo.toml") else {
        return;
    };
    for (name, rooms) in owners {
        let is_key = |line: &str| {
            line.split_once('=')
                .is_some_and(|(key, _)| key.trim().replace('-', "_") == *name)
        };
        if !manifest.lines().any(is_key) {
            let what = format!("the table of crate owners has {name}, which is no dependency");
            found.push(finding(
                "Cargo.toml",
                1,
                "owner",
                what,
                "take it out of the table in tests/tidy.rs",
            ));
        }
        for room in *rooms {
            if !tree
                .sources()
                .any(|file| is_in(file.module.as_deref().unwrap_or_default(), room))
            {
                let what = format!("the owner `{room}` of {name} is no module");
                found.push(finding(
                    "Cargo.toml",
                    1,
                    "owner",
                    what,
                    "mend the table in tests/tidy.rs",
                ));
            }
        }
    }
}

/// True if a module is `room`, written `api` or `cli/client`, or lies below it.
fn is_in(module: &[&str], room: &str) -> bool {
    let mut module = module.iter();
    room.split('/').all(|segment| module.next() == Some(&segment))
}

/// Forbidden words, and those that are forbidden in tests only.
fn words(tree: &SourceTree, found: &mut Vec<Finding>) {
    for file in &tree.files {
        for (index, token) in file.tokens.iter().enumerate() {
            let next = |ahead: usize| file.tokens.get(index + ahead).map_or("", |token| token.text);
            let (what, todo) = match token.text {
                "unsafe" => ("`unsafe`", "use a safe interface, such as rustix"),
                "todo" | "unimplemented" if next(1) == "!" => {
                    ("unfinished code", "finish it or leave it out")
                }
                "dbg" if next(1) == "!" => ("`dbg!`", "take it out"),
                "#" if next(1) == "[" && next(2) == "ignore" => {
                    ("a test that is switched off", "mend it or delete it")
                }
                "#" if next(1) == "[" && next(2) == "cfg_attr" && attribute_has(file, index, "ignore") => {
                    ("a test that is switched off", "mend it or delete it")
                }
                _ => continue,
            };
            found.push(finding(file.path, token.line, "word", what.to_owned(), todo));
        }
        let sleeps = |path: &&Path| path.test && path.segments.len() > 1 && is_sleep(path);
        for path in file.paths.iter().filter(sleeps) {
            let what = format!("`{}` in a test", path.display());
            found.push(finding(
                file.path,
                path.line,
                "word",
                what,
                "wait for the event, not for the clock",
            ));
        }
    }
}

fn is_sleep(path: &Path) -> bool {
    path.segments
        .last()
        .is_some_and(|last| ["sleep", "sleep_until", "sleep_ms"].contains(last))
}

fn attribute_has(file: &File, at: usize, word: &str) -> bool {
    file.tokens[at..]
        .iter()
        .take_while(|token| token.text != "]")
        .any(|token| token.text == word)
}

/// The pure layers name no item that does I/O, waits, or reads a clock.
fn purity(tree: &SourceTree, found: &mut Vec<Finding>) {
    for file in tree.sources() {
        let layer = file.top().and_then(|top| tree.layer(top));
        if layer.is_none_or(|layer| layer > PURE_LAYER_MAX) {
            continue;
        }
        for path in file.paths.iter().filter(|path| !path.inside && !path.test) {
            let reads_a_clock = path.segments.len() > 1 && path.segments.last() == Some(&"now");
            // `use std::time;` or `use std::*;` would hide the remaining names.
            let hides = |impure: &[&str]| path.form != Form::Inline && impure.starts_with(&path.segments);
            if reads_a_clock
                || IMPURE
                    .iter()
                    .any(|impure| path.segments.starts_with(impure) || hides(impure))
            {
                let what = format!("`{}` on a pure layer", path.display());
                found.push(finding(
                    file.path,
                    path.line,
                    "pure",
                    what,
                    "take it in as an argument",
                ));
            }
        }
    }
}

/// The project's text is true on every machine.
fn elsewhere(tree: &SourceTree, found: &mut Vec<Finding>) {
    for (path, text) in tree.texts {
        let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
        for (line, text) in std::iter::once((1, path.as_str())).chain(lines) {
            for (pattern, todo) in ELSEWHERE {
                if contains_path(text, pattern) {
                    let what = format!("mentions `{pattern}`");
                    found.push(finding(path, line, "elsewhere", what, todo));
                }
            }
        }
    }
}

/// `pattern` in `text`, not as the end of a longer name.
fn contains_path(text: &str, pattern: &str) -> bool {
    text.match_indices(pattern).any(|(at, _)| {
        let absolute = pattern.starts_with('/');
        let before = text[..at].chars().next_back();
        !absolute || before.is_none_or(|c| !(c.is_alphanumeric() || "_-.}".contains(c)))
    })
}
