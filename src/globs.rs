//! Path patterns: logs to read below the runs directory, the run of a path, and patterns of run ids.
//!
//! Paths are relative to the runs directory; their first component is the run's id. A path is read if an
//! include matches it, no exclude does, and it is no journal, which repeats lines counted elsewhere. `*` and
//! `?` stay within one component, `**` crosses components, and matching is case-sensitive.

pub mod layout;
mod names;

use std::ffi::OsStr;
use std::path::Path;

use globset::{Glob, GlobBuilder, GlobMatcher, GlobSet, GlobSetBuilder};

use crate::model::{RunId, RunIdError};
pub use names::NamePattern;

/// Default includes.
pub const INCLUDE_DEFAULT: &[&str] = &["*/mount/**/*.jsonl", "*/mount/**/*.jsonl.superseded-*"];
/// Includes for a tree that is no runs directory.
pub const INCLUDE_ANYWHERE: [&str; 2] = ["**/*.jsonl", "**/*.jsonl.superseded-*"];

/// Most patterns of one list, and most bytes of them together: all are compiled at every start.
pub const PATTERNS_MAX: usize = 1000;
pub const PATTERNS_BYTES_MAX: usize = 64 << 10;

/// A workflow's journal repeats the lines of the sub-agents beside it.
const JOURNAL_NAME: &str = "journal.jsonl";
const JOURNAL_PARENT: &str = "subagents";

/// Errors of a list of patterns.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    #[error("{list} has the pattern `{pattern}`, which is not a glob: {reason}")]
    Syntax {
        list: &'static str,
        pattern: String,
        reason: String,
    },
    #[error(
        "{list} has the pattern `{pattern}`, which can match nothing: \
         write it relative to the runs directory, as in `{}`", INCLUDE_DEFAULT[0]
    )]
    Absolute { list: &'static str, pattern: String },
    #[error(
        "{list} has {count} patterns of {bytes} bytes; at most {PATTERNS_MAX} of {PATTERNS_BYTES_MAX} bytes together are \
         allowed: one with `*` stands for many names, one with {{a,b}} for several"
    )]
    TooMany {
        list: &'static str,
        count: usize,
        bytes: usize,
    },
    #[error("{list} is empty, so nothing would be read: give at least one pattern, as in `{}`", INCLUDE_DEFAULT[0])]
    Empty { list: &'static str },
    #[error("{list} has the pattern `{pattern}`, which matches no run: {reason}")]
    NoRun {
        list: &'static str,
        pattern: String,
        reason: RunIdError,
    },
}

impl GlobError {
    /// The invalid list: `include`, `exclude` or `runs`.
    #[must_use]
    pub fn list(&self) -> &'static str {
        match self {
            Self::Syntax { list, .. }
            | Self::Absolute { list, .. }
            | Self::TooMany { list, .. }
            | Self::Empty { list }
            | Self::NoRun { list, .. } => list,
        }
    }
}

/// The compiled lists; the default reads nothing.
#[derive(Debug, Clone, Default)]
pub struct Globs {
    /// The patterns of `include`, as given.
    pub patterns: Vec<String>,
    /// The patterns of `exclude`, as given.
    excluded: Vec<String>,
    include: GlobSet,
    exclude: GlobSet,
    /// The shape of directories above a match, one per include.
    ways: Vec<Way>,
    /// Directories below which every file is excluded.
    covered: GlobSet,
}

/// The leading components of an include, as far as each matches exactly one path component.
#[derive(Debug, Clone)]
struct Way {
    components: Vec<GlobMatcher>,
    /// True if anything may follow; else a match has exactly these components.
    open: bool,
}

impl Globs {
    /// Compiles both lists.
    ///
    /// # Errors
    /// The invalid pattern and its list.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, GlobError> {
        if include.iter().all(String::is_empty) {
            return Err(GlobError::Empty { list: "include" });
        }
        check_amount("include", include)?;
        check_amount("exclude", exclude)?;
        let mut covered = GlobSetBuilder::new();
        for directory in exclude.iter().filter_map(|pattern| covered_directory(pattern)) {
            for pattern in [directory.to_owned(), format!("{directory}/**")] {
                covered.add(glob("exclude", &pattern)?);
            }
        }
        Ok(Self {
            patterns: include.to_vec(),
            excluded: exclude.to_vec(),
            include: compile("include", include)?,
            exclude: compile("exclude", exclude)?,
            ways: include.iter().map(|pattern| Way::of(pattern)).collect(),
            covered: build("exclude", &covered)?,
        })
    }

    /// The same excludes with other includes.
    ///
    /// # Errors
    /// As [`Globs::new`].
    pub fn with_include(&self, include: &[String]) -> Result<Self, GlobError> {
        Self::new(include, &self.excluded)
    }

    /// True if the file at this path is read.
    #[must_use]
    pub fn reads(&self, relative: &Path) -> bool {
        !is_skipped_name(relative) && self.include.is_match(relative) && !self.exclude.is_match(relative)
    }

    /// True if a file below this directory could be read.
    ///
    /// **Invariant**: never false for a directory above a path that `reads` accepts.
    #[must_use]
    pub fn may_contain(&self, directory: &Path) -> bool {
        let components: Vec<&OsStr> = directory.iter().collect();
        !self.covered.is_match(directory) && self.ways.iter().any(|way| way.leads_below(&components))
    }

    /// True if a file is not read because no include matches it; an excluded file is not reported.
    #[must_use]
    pub fn misses(&self, relative: &Path) -> bool {
        !self.include.is_match(relative) && !self.exclude.is_match(relative) && !is_skipped_name(relative)
    }
}

/// Patterns of run ids.
#[derive(Debug, Clone, Default)]
pub struct Names {
    patterns: Vec<String>,
    set: GlobSet,
}

impl Names {
    /// Compiles the list; an empty one matches no run.
    ///
    /// # Errors
    /// The pattern that is not a glob, or that matches no run id.
    pub fn new(patterns: &[String]) -> Result<Self, GlobError> {
        const LIST: &str = "runs";
        check_amount(LIST, patterns)?;
        for pattern in patterns {
            if let Some(reason) = never_a_run(pattern) {
                return Err(GlobError::NoRun {
                    list: LIST,
                    pattern: pattern.clone(),
                    reason,
                });
            }
        }
        Ok(Self {
            set: compile(LIST, patterns)?,
            patterns: patterns.to_vec(),
        })
    }

    #[must_use]
    pub fn matches(&self, run: &RunId) -> bool {
        self.set.is_match(run.as_str())
    }

    /// The patterns as given.
    #[must_use]
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }
}

/// The rule of run ids that every match of a pattern would break. Patterns with classes or escapes are not
/// analysed.
fn never_a_run(pattern: &str) -> Option<RunIdError> {
    let literal: String = pattern.chars().filter(|c| !"*?{},".contains(*c)).collect();
    if literal.contains(['[', '\\']) {
        return None;
    }
    match RunId::new(&literal) {
        Err(reason @ RunIdError::Character(_)) => Some(reason),
        Err(reason) if literal == pattern => Some(reason),
        _ => None,
    }
}

impl Way {
    fn of(pattern: &str) -> Self {
        let mut way = Self {
            components: Vec::new(),
            open: false,
        };
        for component in single_components(pattern) {
            let Some(glob) = component.and_then(|text| glob("include", text).ok()) else {
                way.open = true;
                break;
            };
            way.components.push(glob.compile_matcher());
        }
        way
    }

    fn leads_below(&self, directory: &[&OsStr]) -> bool {
        (self.open || directory.len() < self.components.len())
            && self
                .components
                .iter()
                .zip(directory)
                .all(|(glob, name)| glob.is_match(name))
    }
}

/// Checks the number of patterns of a list.
///
/// # Errors
/// There are too many.
pub fn check_amount(list: &'static str, patterns: &[String]) -> Result<(), GlobError> {
    let (count, bytes) = (patterns.len(), patterns.iter().map(String::len).sum());
    if count <= PATTERNS_MAX && bytes <= PATTERNS_BYTES_MAX {
        return Ok(());
    }
    Err(GlobError::TooMany { list, count, bytes })
}

/// The components of a pattern. `None` stands for one that may span several path components, or is not
/// analysed: classes, escapes, `**`, and braces around a separator.
fn single_components(pattern: &str) -> impl Iterator<Item = Option<&str>> {
    let mut brace_depth = 0_usize;
    pattern
        .split(move |c| {
            match c {
                '{' => brace_depth += 1,
                '}' => brace_depth = brace_depth.saturating_sub(1),
                _ => {}
            }
            c == '/' && brace_depth == 0
        })
        .map(|text| {
            let nested = text.contains('{') && (text.contains('/') || text.contains("**"));
            let sure = text != "**" && !nested && !text.contains(['[', '\\']);
            sure.then_some(text)
        })
}

/// For `X/**`: X, below which everything is excluded.
fn covered_directory(pattern: &str) -> Option<&str> {
    pattern
        .strip_suffix("/**")
        .filter(|directory| !directory.is_empty() && !directory.ends_with('\\'))
}

fn is_skipped_name(relative: &Path) -> bool {
    let Some(name) = relative.file_name() else {
        return true;
    };
    name == JOURNAL_NAME
        && relative
            .parent()
            .is_some_and(|above| above.iter().any(|name| name == JOURNAL_PARENT))
}

fn compile(list: &'static str, patterns: &[String]) -> Result<GlobSet, GlobError> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        if pattern.starts_with('/') {
            return Err(GlobError::Absolute {
                list,
                pattern: pattern.clone(),
            });
        }
        set.add(glob(list, pattern)?);
    }
    build(list, &set)
}

fn glob(list: &'static str, pattern: &str) -> Result<Glob, GlobError> {
    GlobBuilder::new(pattern)
        .literal_separator(true)
        .build()
        .map_err(|error| GlobError::Syntax {
            list,
            pattern: pattern.to_owned(),
            reason: error.kind().to_string(),
        })
}

/// Fails only if the patterns together exceed the matcher's limits; the error names one.
fn build(list: &'static str, set: &GlobSetBuilder) -> Result<GlobSet, GlobError> {
    set.build().map_err(|error| GlobError::Syntax {
        list,
        pattern: error.glob().unwrap_or("(all together)").to_owned(),
        reason: error.kind().to_string(),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    fn globs(include: &[&str], exclude: &[&str]) -> Globs {
        let owned = |list: &[&str]| list.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
        Globs::new(&owned(include), &owned(exclude)).unwrap()
    }

    #[test]
    fn reads_what_is_included_and_not_excluded() {
        let globs = globs(INCLUDE_DEFAULT, &["*/mount/tmp/**", "*/mount/**/scratch-?.jsonl"]);
        let check = |path: &str, expect| assert_eq!(globs.reads(Path::new(path)), expect, "{path}");
        check("a/mount/x.jsonl", true);
        check("a/mount/.claude/projects/p/s.jsonl", true);
        check("a/mount/one/two/three/four.jsonl", true);
        check("a/mount/line\nbreak/s.jsonl", true);
        check("a/mount/.jsonl", true);
        check("a/mount/x.json", false);
        check("a/mount/x.JSONL", false);
        check("a/Mount/x.jsonl", false);
        check("a/x.jsonl", false);
        check("a/b/mount/x.jsonl", false);
        check("mount/x.jsonl", false);
        check("a/mount/tmp/x.jsonl", false);
        check("a/mount/tmp/deep/x.jsonl", false);
        check("a/mount/tmpx/x.jsonl", true);
        check("a/mount/p/scratch-1.jsonl", false);
        check("a/mount/p/scratch-12.jsonl", true);
        check("", false);
    }

    #[test]
    fn skips_journals_that_repeat_other_files() {
        let globs = globs(&["**/*.jsonl", "**/*.jsonl.*"], &[]);
        let check = |path: &str, expect| assert_eq!(globs.reads(Path::new(path)), expect, "{path}");
        check("a/mount/s/subagents/journal.jsonl", false);
        check("a/mount/s/subagents/workflows/w1/journal.jsonl", false);
        check("a/mount/s/journal.jsonl", true);
        check("a/mount/s/subagents/agent-1.jsonl", true);
        check("a/mount/s/subagents.old/journal.jsonl", true);
        check("a/mount/journal.jsonl/subagents/x.jsonl", true);
        check("a/mount/s.orphaned-17-ab.jsonl", true);
    }

    #[test]
    fn reads_transcripts_that_were_set_aside() {
        for (globs, path) in [
            (globs(INCLUDE_DEFAULT, &[]), "a/mount/-w/"),
            (globs(&INCLUDE_ANYWHERE, &[]), ""),
        ] {
            for (name, expect) in [
                ("s.orphaned-17-ab.jsonl", true),
                ("s.jsonl.superseded-17", true),
                ("s.jsonl.bak", false),
                ("s.jsonl.gz", false),
            ] {
                let path = path.to_owned() + name;
                assert_eq!(globs.reads(Path::new(&path)), expect, "{path}");
            }
        }
    }

    #[test]
    fn works_on_bytes_that_are_no_utf8() {
        let globs = globs(INCLUDE_DEFAULT, &[]);
        let path = Path::new(OsStr::from_bytes(b"a/mount/\xff\xfe/\xc3.jsonl"));
        assert!(globs.reads(path));
        assert!(globs.may_contain(path.parent().unwrap()));
    }

    #[test]
    fn prunes_only_where_nothing_can_match() {
        let check = |include: &[&str], exclude: &[&str], directory: &str, expect| {
            let got = globs(include, exclude).may_contain(Path::new(directory));
            assert_eq!(got, expect, "{include:?} without {exclude:?}: {directory:?}");
        };
        for (directory, expect) in [
            ("", true),
            ("a", true),
            ("a/mount", true),
            ("a/mount/x/y/z", true),
            ("a/other", false),
            ("a/other/mount", false),
        ] {
            check(INCLUDE_DEFAULT, &[], directory, expect);
        }
        let cover: &[&str] = &["*/mount/tmp/**"];
        check(INCLUDE_DEFAULT, cover, "a/mount/tmp", false);
        check(INCLUDE_DEFAULT, cover, "a/mount/tmp/deep", false);
        check(INCLUDE_DEFAULT, cover, "a/mount/tmp2", true);
        check(INCLUDE_DEFAULT, cover, "a/mount", true);
        check(INCLUDE_DEFAULT, &["*/mount/tmp/*"], "a/mount/tmp", true);
        check(INCLUDE_DEFAULT, &["**/tmp/**"], "a/mount/x/tmp/y", false);
        check(INCLUDE_DEFAULT, &["**"], "a", true);

        check(&["*/log.jsonl"], &[], "", true);
        check(&["*/log.jsonl"], &[], "a", true);
        check(&["*/log.jsonl"], &[], "a/b", false);
        check(&["log.jsonl"], &[], "a", false);
        check(&["**/x.jsonl"], &[], "a/b/c", true);
        check(&["*/{one,two}/*.jsonl"], &[], "a/two", true);
        check(&["*/{one,two}/*.jsonl"], &[], "a/three", false);
        check(&["*/{one,two/three}/*.jsonl"], &[], "a/two/three", true);
        check(&["*/[mn]ount/*.jsonl"], &[], "a/mount", true);
        check(&["*/x[!a]y/*.jsonl"], &[], "a/x", true);
        check(&["a?/b*c/*.jsonl"], &[], "ab/bxxc", true);
        check(&["a?/b*c/*.jsonl"], &[], "ab/bxx", false);
        check(&["*/other/*", "*/mount/**"], &[], "a/mount/deep", true);
    }

    #[test]
    fn never_prunes_above_a_match() {
        let patterns = [
            "*/mount/**/*.jsonl",
            "**",
            "**/m/*",
            "r/**",
            "r*/m/x",
            "{r,s/m}/**/*",
            "{r/m,s}/*",
            "r/{m,**}/x",
            "[a-z]/m/x",
            "r[!x]m/x",
            "?/*/?",
            "r/**m/x",
            "r/m**/x",
        ];
        let paths = [
            "r/m/x",
            "s/m/x",
            "s/m/m/x",
            "r/x/m/x",
            "r/mount/a/b.jsonl",
            "x",
            "r/x",
            "r/am/x",
        ];
        for pattern in patterns {
            for exclude in ["none", "r/m/**", "**/x/**", "s/**", "*/*"] {
                let globs = globs(&[pattern], &[exclude]);
                for path in paths.map(Path::new) {
                    let pruned = path.ancestors().skip(1).find(|above| !globs.may_contain(above));
                    assert!(
                        !globs.reads(path) || pruned.is_none(),
                        "{pattern} without {exclude}: {path:?} below {pruned:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn names_the_pattern_and_its_list() {
        let error = |include: &[&str], exclude: &[&str]| {
            let owned = |list: &[&str]| list.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
            Globs::new(&owned(include), &owned(exclude))
                .unwrap_err()
                .to_string()
        };
        let text = error(&["*/ok", "a{b"], &[]);
        assert!(text.contains("include") && text.contains("`a{b`"), "{text}");
        let text = error(&["*/ok"], &["[z-a]/**"]);
        assert!(text.contains("exclude") && text.contains("[z-a]"), "{text}");
        assert!(error(&["/var/lib/runs/*"], &[]).contains("relative to the runs directory"));
        assert!(error(&[], &[]).contains("nothing would be read"));
    }

    #[test]
    fn names_are_patterns_of_run_ids() {
        let names =
            |patterns: &[&str]| Names::new(&patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>());
        let check = |patterns: &[&str], run: &str, expect| {
            let got = names(patterns).unwrap().matches(&RunId::new(run).unwrap());
            assert_eq!(got, expect, "{patterns:?}: {run}");
        };
        check(&["*"], "a", true);
        check(&["*"], ".a-b_c.d", true);
        check(&["**"], "a", true);
        check(&[], "a", false);
        check(&["team-a-*"], "team-a-7", true);
        check(&["team-a-*"], "team-a", false);
        check(&["team-a-*"], "my-team-a-7", false);
        check(&["team-a-*"], "Team-a-7", false);
        check(&["x", "run-?"], "run-1", true);
        check(&["x", "run-?"], "run-10", false);
        check(&["{a,b}-*"], "b-1", true);
        check(&["[a-c]?"], "b1", true);
        check(&["[!a]"], "a", false);
        check(&["a.b"], "axb", false);
        for (pattern, said) in [
            ("a{b", "which is not a glob"),
            ("[z-a]", "which is not a glob"),
            ("", "a run id is 1 to 128 bytes long"),
            ("team a", "this one has ' '"),
            ("a/*", "this one has '/'"),
            ("/a", "this one has '/'"),
            ("..", "are no run ids"),
        ] {
            let error = names(&["ok", pattern]).unwrap_err();
            let text = error.to_string();
            assert!(
                text.starts_with(&format!("runs has the pattern `{pattern}`, ")),
                "{text}"
            );
            assert!(text.contains(said), "{text}");
            assert_eq!(error.list(), "runs");
        }
    }
}
