//! The session and the project of a transcript, as its path names them.
//!
//! Pure: the same path always gives the same place, whatever the file contains.

use std::ffi::OsStr;
use std::path::{Component, Path};

use super::dialect::Dialect;
use super::letters::{is_unsafe, safe};

/// Maximum length of the name of a session or a project, in bytes; the rest is cut.
pub const PLACE_NAME_BYTES_MAX: usize = 256;
/// Letters of a UUID.
const UUID_LETTERS: usize = 36;

/// The session of a transcript, and the project of that session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionPlace {
    pub session: Box<str>,
    /// `None` if the path names none.
    pub project: Option<Box<str>>,
}

impl SessionPlace {
    /// The place of a transcript of this dialect at a path below its run's directory.
    #[must_use]
    pub fn of(dialect: Dialect, path: &Path) -> Self {
        let parts: Vec<&OsStr> = (path.components())
            .filter_map(|part| match part {
                Component::Normal(part) => Some(part),
                _ => None,
            })
            .collect();
        let Some((_, folders)) = parts.split_last() else {
            return Self::default();
        };
        let stem = path.file_stem().unwrap_or_default();
        match dialect {
            Dialect::Claude => claude(folders, stem),
            Dialect::Codex => Self::new(after_time(stem), None),
            Dialect::Pi => Self::new(after_underscore(stem), below(folders, "sessions")),
            Dialect::Gemini => gemini(folders, stem),
            Dialect::Qwen => Self::new(text(stem), below(folders, "projects")),
        }
    }

    fn new(session: Box<str>, project: Option<&OsStr>) -> Self {
        Self {
            session,
            project: project.map(text),
        }
    }
}

/// `…/projects/<project>/<session>.jsonl`; sub-agents `…/<session>/subagents/agent-*.jsonl`. If the directory
/// of projects itself is mounted, a project is recognised by its name: a path with dashes.
fn claude(folders: &[&OsStr], stem: &OsStr) -> SessionPlace {
    let subagents = folders.iter().rposition(|folder| *folder == "subagents");
    let above = subagents.and_then(|at| at.checked_sub(1));
    let session = above.map_or(stem, |at| folders[at]);
    let folders = &folders[..above.unwrap_or(folders.len())];
    let with_dashes = |folder: &&OsStr| folder.as_encoded_bytes().starts_with(b"-");
    let project = below(folders, "projects").or_else(|| folders.last().copied().filter(with_dashes));
    SessionPlace::new(text(session), project)
}

/// `tmp/<project>/chats/session-<time>-<start of id>.jsonl`; sub-agents `chats/<session>/<own id>.jsonl`.
fn gemini(folders: &[&OsStr], stem: &OsStr) -> SessionPlace {
    let chats = folders.iter().rposition(|folder| *folder == "chats");
    let parent = chats.and_then(|at| folders.get(at + 1).copied());
    let project = chats.and_then(|at| folders.get(at.checked_sub(1)?).copied());
    SessionPlace::new(text(parent.unwrap_or(stem)), project)
}

/// The folder below the last folder of this name that has one.
fn below<'p>(folders: &[&'p OsStr], name: &str) -> Option<&'p OsStr> {
    let at = folders.iter().rposition(|folder| *folder == name)?;
    folders.get(at + 1).copied()
}

/// `rollout-<time>-<uuid>`: the id at its end.
fn after_time(stem: &OsStr) -> Box<str> {
    let stem = text(stem);
    let at = stem.len().saturating_sub(UUID_LETTERS);
    match stem.get(at..) {
        Some(uuid) if is_uuid(uuid) => uuid.into(),
        _ => stem,
    }
}

/// `<time>_<uuid>`: the part after the line.
fn after_underscore(stem: &OsStr) -> Box<str> {
    let stem = text(stem);
    match stem.split_once('_') {
        Some((_, id)) if !id.is_empty() => id.into(),
        _ => stem,
    }
}

fn is_uuid(text: &str) -> bool {
    let is_dash = |at: usize| matches!(at, 8 | 13 | 18 | 23);
    text.len() == UUID_LETTERS
        && (text.bytes().enumerate()).all(|(at, byte)| {
            if is_dash(at) {
                byte == b'-'
            } else {
                byte.is_ascii_hexdigit()
            }
        })
}

/// A name as text of bounded length: invalid UTF-8 and unsafe characters are replaced.
fn text(name: &OsStr) -> Box<str> {
    let text = name.to_string_lossy();
    let is_plain = text.len() <= PLACE_NAME_BYTES_MAX && !text.chars().any(is_unsafe);
    if is_plain {
        return text.into();
    }
    let end = text.floor_char_boundary(PLACE_NAME_BYTES_MAX);
    let text: String = text[..end].chars().map(safe).collect();
    // A replacement is longer than the character that it replaces.
    text[..text.floor_char_boundary(PLACE_NAME_BYTES_MAX)].into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    const UUID: &str = "019a3b5c-7d8e-7f00-8123-456789abcdef";

    fn place(dialect: Dialect, path: &str) -> (String, Option<String>) {
        let SessionPlace { session, project } = SessionPlace::of(dialect, Path::new(path));
        (session.into(), project.map(Into::into))
    }

    fn expect(dialect: Dialect, path: &str, session: &str, project: Option<&str>) {
        let wanted = (session.to_owned(), project.map(str::to_owned));
        assert_eq!(place(dialect, path), wanted, "{dialect:?} {path}");
    }

    #[test]
    fn paths_of_each_agent_name_the_session_and_the_project() {
        use Dialect::{Claude, Codex, Gemini, Pi, Qwen};
        let codex = format!("mount/sessions/2026/10/05/rollout-2026-10-05T09-00-00-{UUID}.jsonl");
        let archived = format!("archived_sessions/rollout-2026-10-05T09-00-00-{UUID}.jsonl");
        let pi = format!("agent/sessions/--home-u-x--/2026-10-05T09-00-00_{UUID}.jsonl");
        for (dialect, path, session, project) in [
            (
                Claude,
                "mount/projects/-home-u-x/s1.jsonl",
                "s1",
                Some("-home-u-x"),
            ),
            (Claude, "m/projects/p/s1/subagents/agent-7.jsonl", "s1", Some("p")),
            (
                Claude,
                "m/projects/p/s1/subagents/x/agent-7.jsonl",
                "s1",
                Some("p"),
            ),
            (Claude, "m/projects/s1.jsonl", "s1", None),
            (Claude, "projects/p/projects/s1.jsonl", "s1", None),
            (Claude, "mount/-home-u/s1.jsonl", "s1", Some("-home-u")),
            (
                Claude,
                "mount/-home-u/s1/subagents/x/agent-7.jsonl",
                "s1",
                Some("-home-u"),
            ),
            (Claude, "subagents/agent-7.jsonl", "agent-7", None),
            (Claude, "mount/a.jsonl", "a", None),
            (Codex, codex.as_str(), UUID, None),
            (Codex, archived.as_str(), UUID, None),
            (Codex, "sessions/rollout-x.jsonl", "rollout-x", None),
            (Pi, pi.as_str(), UUID, Some("--home-u-x--")),
            (Pi, "sessions/s.jsonl", "s", None),
            (
                Gemini,
                "tmp/x/chats/session-1-ab.jsonl",
                "session-1-ab",
                Some("x"),
            ),
            (Gemini, "tmp/x/chats/parent/own.jsonl", "parent", Some("x")),
            (Gemini, "a.jsonl", "a", None),
            (Qwen, "projects/-home-u-x/chats/s.jsonl", "s", Some("-home-u-x")),
        ] {
            expect(dialect, path, session, project);
        }
    }

    #[test]
    fn hostile_names_are_text_of_bounded_length() {
        let long = "\u{1}".repeat(PLACE_NAME_BYTES_MAX);
        let (session, _) = place(Dialect::Claude, &format!("projects/p/{long}.jsonl"));
        assert!(session.len() <= PLACE_NAME_BYTES_MAX && session.starts_with('\u{fffd}'));
        let long = "ä".repeat(PLACE_NAME_BYTES_MAX);
        let (_, project) = place(Dialect::Claude, &format!("projects/{long}/s.jsonl"));
        assert_eq!(project.unwrap().len(), PLACE_NAME_BYTES_MAX);
        let path = Path::new(OsStr::from_bytes(b"projects/\xff\xfe/a\nb.jsonl"));
        let of = SessionPlace::of(Dialect::Claude, path);
        assert_eq!(
            (&*of.session, of.project.as_deref()),
            ("a\u{fffd}b", Some("\u{fffd}\u{fffd}"))
        );
        for path in [
            "",
            "/",
            ".",
            "..",
            "../..",
            "subagents",
            "chats",
            "sessions/",
            "projects/",
        ] {
            for dialect in [
                Dialect::Claude,
                Dialect::Codex,
                Dialect::Pi,
                Dialect::Gemini,
                Dialect::Qwen,
            ] {
                assert_eq!(place(dialect, path).1, None, "{path}");
            }
        }
    }
}
