//! Cycles of imports between the files of the crate, inside folders too.
//!
//! A file may use the items that the modules around it define, as `super::X`: that is no cycle, though they
//! use the file as well.

use std::collections::{BTreeMap, BTreeSet};

use super::paths::{Form, Path};
use super::source_tree::{File, SourceTree};

/// Imports that are followed from one file to the next to find where a name is defined.
const REEXPORTS_MAX: usize = 8;

/// Graph of names between files: without tests, and a name counts for the file that defines it.
pub struct Imports<'a> {
    /// By the path of a file, the files it names with a line each.
    edges: BTreeMap<&'a str, BTreeMap<&'a str, usize>>,
}

impl<'a> Imports<'a> {
    pub fn of(tree: &'a SourceTree<'a>) -> Self {
        let is_test = |file: &File| file.tokens.first().is_some_and(|token| token.test);
        let files = tree.sources().filter(|file| !is_test(file));
        let by_module: Modules<'a> = files
            .filter_map(|file| Some((file.module.as_deref()?, file)))
            .collect();
        let mut edges = BTreeMap::new();
        for (module, file) in &by_module {
            let mut named = BTreeMap::new();
            let is_around = |other: &&File| module.starts_with(other.module.as_deref().unwrap_or_default());
            for path in file.paths.iter().filter(|path| !path.test) {
                let target = segments(module, path, &by_module)
                    .and_then(|segments| defined_in(&segments, path.form, &by_module));
                if let Some(target) = target.filter(|target| !is_around(target)) {
                    named.entry(target.path).or_insert(path.line);
                }
            }
            edges.insert(file.path, named);
        }
        Self { edges }
    }

    /// The imports that lie on a cycle, as `from`, line and `to`.
    pub fn on_cycles(&self) -> Vec<(&'a str, usize, &'a str)> {
        let reached: BTreeMap<&str, BTreeSet<&str>> = self
            .edges
            .keys()
            .map(|file| (*file, self.reached_from(file)))
            .collect();
        let all = self.edges.iter();
        all.flat_map(|(from, named)| named.iter().map(move |(to, line)| (*from, *line, *to)))
            .filter(|(from, _, to)| reached.get(to).is_some_and(|reached| reached.contains(from)))
            .collect()
    }

    fn reached_from(&self, file: &str) -> BTreeSet<&'a str> {
        let mut reached = BTreeSet::new();
        let mut open = vec![file];
        while let Some(file) = open.pop() {
            for to in self.edges.get(file).into_iter().flat_map(BTreeMap::keys) {
                if reached.insert(*to) {
                    open.push(to);
                }
            }
        }
        reached
    }
}

type Modules<'a> = BTreeMap<&'a [&'a str], &'a File<'a>>;

/// A path from the crate's root; `None` if it leads out of the crate.
fn segments<'a>(module: &[&'a str], path: &Path<'a>, files: &Modules<'a>) -> Option<Vec<&'a str>> {
    if path.inside {
        return Some(path.segments.clone());
    }
    // A path can begin with a module below this one.
    let below = [module, &[*path.segments.first()?]].concat();
    files
        .contains_key(below.as_slice())
        .then(|| [module, &path.segments].concat())
}

/// The file in which a name is defined: that of the longest module in its path, or the one from which that
/// imports it.
fn defined_in<'a>(path: &[&'a str], form: Form, files: &Modules<'a>) -> Option<&'a File<'a>> {
    let mut segments = path.to_vec();
    for _ in 0..REEXPORTS_MAX {
        let depth = (0..=segments.len())
            .rev()
            .find(|depth| files.contains_key(&segments[..*depth]))?;
        let file = files[&segments[..depth]];
        let Some(name) = segments.get(depth).filter(|_| form != Form::Glob) else {
            return Some(file);
        };
        let module = file.module.as_deref().unwrap_or_default();
        let import = file.paths.iter().find(|import| {
            import.form == Form::Import && !import.test && import.segments.last() == Some(name)
        });
        let Some(next) = import.and_then(|import| self::segments(module, import, files)) else {
            return Some(file);
        };
        if next == segments {
            return Some(file);
        }
        segments = next;
    }
    None
}
