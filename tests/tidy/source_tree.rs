//! The project's files in memory, and the layer table of `src/lib.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path as FilePath;

use super::paths::{self, Path};
use super::source::{self, Token};

/// The library's name, used by the binary, the tests and the examples.
pub const PACKAGE: &str = "tokentail";

/// Folders with the project's text; of `fixtures` only the file names are checked.
const TEXT: [&str; 21] = [
    ".ci",
    ".editorconfig",
    ".gitattributes",
    ".github",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.toml",
    "README.md",
    "RELEASE.md",
    "SECURITY.md",
    "benches",
    "clippy.toml",
    "deny.toml",
    "docs",
    "examples",
    "justfile",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "src",
    "systemd",
    "tests",
];
const NAMES: &str = "fixtures";

/// Folders where every Rust file has a head.
const RUST: [&str; 4] = ["benches/", "examples/", "src/", "tests/"];

/// One Rust file.
pub struct File<'a> {
    pub path: &'a str,
    pub text: &'a str,
    /// Empty for a file that is not valid Rust, as [`File::fault`] states.
    pub tokens: Vec<Token<'a>>,
    pub fault: Option<String>,
    /// For a file in `src`: its module, `main` for the binary's, empty for `lib.rs`.
    pub module: Option<Vec<&'a str>>,
    pub paths: Vec<Path<'a>>,
}

impl File<'_> {
    /// The module below the crate's root this file belongs to.
    pub fn top(&self) -> Option<&str> {
        self.module.as_ref()?.first().copied()
    }
}

/// One name in the layer table.
#[derive(Debug, PartialEq, Eq)]
pub struct Place<'a> {
    pub name: &'a str,
    pub layer: usize,
    pub line: usize,
}

/// All input of the rules.
pub struct SourceTree<'a> {
    /// Every text, by its path from the project's root; a file of which only the name is checked has an empty
    /// text.
    pub texts: &'a BTreeMap<String, String>,
    pub files: Vec<File<'a>>,
    pub places: Vec<Place<'a>>,
}

impl<'a> SourceTree<'a> {
    pub fn new(texts: &'a BTreeMap<String, String>) -> Self {
        let mut files: Vec<File> = texts
            .iter()
            .filter(|(path, _)| is_rust(path))
            .map(|(path, text)| File::new(path, text))
            .collect();
        mark_test_files(&mut files);
        let places = texts
            .get("src/lib.rs")
            .map(|text| layer_table(text))
            .unwrap_or_default();
        Self { texts, files, places }
    }

    pub fn layer(&self, name: &str) -> Option<usize> {
        self.places
            .iter()
            .find(|place| place.name == name)
            .map(|place| place.layer)
    }

    /// The files of the crate.
    pub fn sources(&self) -> impl Iterator<Item = &File<'a>> {
        self.files.iter().filter(|file| file.module.is_some())
    }

    /// The modules below the crate's root, from the files there are.
    pub fn tops(&self) -> BTreeSet<&str> {
        self.sources().filter_map(File::top).collect()
    }
}

impl<'a> File<'a> {
    fn new(path: &'a str, text: &'a str) -> Self {
        let module = module_of(path);
        let (mut tokens, fault) = match source::tokens(text) {
            Ok(tokens) => (tokens, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        if path.starts_with("tests/") {
            for token in &mut tokens {
                token.test = true;
            }
        }
        let paths = paths::paths(&tokens, module.as_deref().unwrap_or_default(), PACKAGE);
        Self {
            path,
            text,
            tokens,
            fault,
            module,
            paths,
        }
    }
}

fn is_rust(path: &str) -> bool {
    RUST.iter().any(|root| path.starts_with(root))
        && FilePath::new(path).extension().is_some_and(|end| end == "rs")
}

fn module_of(path: &str) -> Option<Vec<&str>> {
    let inner = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    let mut segments: Vec<&str> = inner.split('/').collect();
    match segments.as_slice() {
        ["lib"] => segments.clear(),
        [.., "mod"] => _ = segments.pop(),
        _ => {}
    }
    Some(segments)
}

/// A file included by `#[cfg(test)] mod name;` is a test from its first line to its last.
fn mark_test_files(files: &mut [File]) {
    let mut only_tests = Vec::new();
    for file in &*files {
        let Some(module) = &file.module else { continue };
        for three in file.tokens.windows(3) {
            if three[0].text == "mod" && three[0].test && three[2].text == ";" {
                let mut child: Vec<String> = module.iter().map(ToString::to_string).collect();
                child.push(three[1].text.to_owned());
                only_tests.push(child);
            }
        }
    }
    for file in files {
        let is_test = file.module.as_ref().is_some_and(|module| {
            only_tests
                .iter()
                .any(|test| test.len() <= module.len() && test.iter().eq(&module[..test.len()]))
        });
        if is_test {
            file.tokens.iter_mut().for_each(|token| token.test = true);
            file.paths.iter_mut().for_each(|path| path.test = true);
        }
    }
}

/// The rows `//! | 2 I/O adapters | config watch |`.
fn layer_table(text: &str) -> Vec<Place<'_>> {
    let mut places = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some(row) = line.strip_prefix("//! |") else {
            continue;
        };
        let mut cells = row.split('|');
        let (Some(layer), Some(names)) = (cells.next(), cells.next()) else {
            continue;
        };
        let Some(layer) = layer
            .split_whitespace()
            .next()
            .and_then(|number| number.parse().ok())
        else {
            continue;
        };
        places.extend(names.split_whitespace().map(|name| Place {
            name,
            layer,
            line: index + 1,
        }));
    }
    places
}

/// Reads the project below `root`.
pub fn read(root: &FilePath) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    for name in TEXT {
        visit(root, &root.join(name), true, &mut texts);
    }
    visit(root, &root.join(NAMES), false, &mut texts);
    texts
}

fn visit(root: &FilePath, path: &FilePath, content: bool, texts: &mut BTreeMap<String, String>) {
    let Ok(kind) = path.symlink_metadata() else { return };
    if kind.is_dir() {
        let entries = path
            .read_dir()
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for entry in entries {
            visit(
                root,
                &entry.expect("a directory that is read to its end").path(),
                content,
                texts,
            );
        }
        return;
    }
    let name = path
        .strip_prefix(root)
        .expect("the walk begins at the root")
        .to_string_lossy()
        .into_owned();
    // A file that is not UTF-8 is data, not text of the project.
    let text = if content && kind.is_file() {
        std::fs::read(path)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .unwrap_or_default()
    } else {
        String::new()
    };
    texts.insert(name, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_its_module() {
        for (path, module) in [
            ("src/lib.rs", Some(vec![])),
            ("src/main.rs", Some(vec!["main"])),
            ("src/store.rs", Some(vec!["store"])),
            ("src/store/mod.rs", Some(vec!["store"])),
            ("src/store/commit.rs", Some(vec!["store", "commit"])),
            ("tests/tidy.rs", None),
        ] {
            assert_eq!(module_of(path), module, "{path}");
        }
    }

    #[test]
    fn the_layer_table_is_read_row_by_row() {
        let text = "//! x\n//! | layer | files |\n//! |---|---|\n//! | 0 domain types | a b |\n//! | 12 I/O adapters | c |\n";
        let places: Vec<_> = layer_table(text)
            .iter()
            .map(|p| (p.name, p.layer, p.line))
            .collect();
        assert_eq!(places, [("a", 0, 4), ("b", 0, 4), ("c", 12, 5)]);
    }
}
