//! Recognises the agent that wrote a file by its first lines: one whose dialect is parsed, or another one, whose
//! files are named and not counted.
//!
//! Only names of members and types are inspected.

use super::codex::Codex;
use super::dialect::DialectParser;
use super::gemini::Gemini;
use super::pi::Pi;
use super::qwen::Qwen;
use crate::json::scanner::{NotJson, Scanner};
use crate::json::{Members, RawBytes, object};
use crate::model::Dialect;

/// Inspected start of a file, in bytes.
pub const HEAD_BYTES: usize = 8192;
/// Most inspected lines.
pub const LINES_MAX: u8 = 32;
/// Names of members kept of one line.
const NAMES_MAX: usize = 64;

/// A dialect beside that of Claude Code, the test of a line, and its parser with a kept state.
struct DialectEntry {
    dialect: Dialect,
    fits: fn(&LineShape) -> bool,
    parser: fn(&[u8]) -> Option<Box<dyn DialectParser>>,
}

/// The dialects beside that of Claude Code. The first match decides, before [`AGENTS`].
const DIALECTS: [DialectEntry; 4] = [
    entry::<Codex>(Dialect::Codex, LineShape::is_codex),
    entry::<Gemini>(Dialect::Gemini, LineShape::is_gemini),
    entry::<Qwen>(Dialect::Qwen, LineShape::is_qwen),
    entry::<Pi>(Dialect::Pi, LineShape::is_pi),
];

const fn entry<P: DialectParser + 'static>(dialect: Dialect, fits: fn(&LineShape) -> bool) -> DialectEntry {
    DialectEntry {
        dialect,
        fits,
        parser: |kept| {
            let parser: Box<dyn DialectParser> = Box::new(P::decode(kept)?);
            Some(parser)
        },
    }
}

/// The parser of a dialect with a kept state; `None` for Claude Code's, and for bytes that no version wrote.
#[must_use]
pub fn parser(dialect: Dialect, kept: &[u8]) -> Option<Box<dyn DialectParser>> {
    let entry = DIALECTS.iter().find(|entry| entry.dialect == dialect)?;
    (entry.parser)(kept)
}

/// An agent, the name of its files, and the test of a line.
type AgentFile = (Agent, &'static str, fn(&LineShape) -> bool);

/// An agent whose files are not read, or files of one that repeat what others have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Agent {
    CodexStream,
    QwenSums,
    Copilot,
    Kimi,
    Grok,
    OpenCode,
    Droid,
}

/// The first match decides.
const AGENTS: [AgentFile; 7] = [
    (Agent::CodexStream, "Codex event stream", |line| {
        line.begins(&[b"thread.", b"turn.", b"item."])
    }),
    (Agent::QwenSums, "Qwen Code record of sums", |line| {
        line.has("models") && line.has("startTime") && line.has("sessionId")
    }),
    (Agent::Copilot, "Copilot CLI event log", |line| {
        line.has("data") && line.begins(&[b"session.", b"assistant.", b"user.", b"tool."])
    }),
    (Agent::Kimi, "Kimi wire log", |line| {
        line.has("message.payload") || line.is(b"metadata") && line.has("protocol_version")
    }),
    (Agent::Grok, "Grok or ACP update log", |line| {
        line.has_any(&["sessionUpdate", "update.sessionUpdate", "params.update"])
    }),
    (Agent::OpenCode, "OpenCode event stream", |line| {
        line.has("sessionID") && line.has("part")
    }),
    (Agent::Droid, "Factory Droid session", |line| {
        line.is(b"session_start")
    }),
];

/// Members in lines of Claude Code and compatible writers, and of the lists kept beside its transcripts.
const OURS: [&str; 9] = [
    "sessionId",
    "session_id",
    "uuid",
    "parentUuid",
    "leafUuid",
    "isSidechain",
    "messageId",
    "rateLimits",
    "display",
];
/// Types of such lines that may lack all of these members.
const OUR_TYPES: [&[u8]; 10] = [
    b"assistant",
    b"user",
    b"system",
    b"summary",
    b"progress",
    b"result",
    b"stream_event",
    b"rate_limit_event",
    b"queue-operation",
    b"cost-state",
];

impl Agent {
    /// True for files with sums of responses that the agent's own transcripts have one by one.
    #[must_use]
    pub const fn is_sums(self) -> bool {
        matches!(self, Self::CodexStream | Self::QwenSums)
    }

    /// The name of its files.
    #[must_use]
    pub fn file(self) -> &'static str {
        let entry = AGENTS.iter().find(|(agent, ..)| *agent == self);
        entry.map_or("file of another agent", |(_, file, _)| file)
    }
}

/// The kind of content of a file, by its first lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContentKind {
    /// Too short to decide.
    #[default]
    TooShort,
    /// A transcript, or a file that belongs beside one.
    Ours,
    OtherAgent(Agent),
    /// Whole lines, without any member of a transcript.
    Strange,
}

/// Recognises the content of a file by its beginning, which may end in the middle of a line.
#[must_use]
pub fn content_kind(head: &[u8]) -> ContentKind {
    let mut has_line = false;
    for line in head.split_inclusive(|byte| *byte == b'\n').take(LINES_MAX.into()) {
        if text_of(line).trim_ascii().is_empty() {
            continue;
        }
        has_line |= line.ends_with(b"\n") || head.len() >= HEAD_BYTES;
        match line_origin(line) {
            LineOrigin::Of(_) | LineOrigin::Ours => return ContentKind::Ours,
            LineOrigin::OtherAgent(agent) => return ContentKind::OtherAgent(agent),
            LineOrigin::Unknown => {}
        }
    }
    if has_line {
        ContentKind::Strange
    } else {
        ContentKind::TooShort
    }
}

/// The agent that wrote a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineOrigin {
    Of(Dialect),
    OtherAgent(Agent),
    /// It is like one of Claude Code's, and may be a part of another's.
    Ours,
    /// Any agent may have written it.
    Unknown,
}

/// Recognises a line, which may be truncated: its first members are enough.
#[must_use]
pub fn line_origin(line: &[u8]) -> LineOrigin {
    let mut shape = LineShape::default();
    let _ = object(text_of(line), &mut shape);
    if let Some(entry) = DIALECTS.iter().find(|entry| (entry.fits)(&shape)) {
        return LineOrigin::Of(entry.dialect);
    }
    if let Some((agent, ..)) = AGENTS.iter().find(|(_, _, fits)| fits(&shape)) {
        return LineOrigin::OtherAgent(*agent);
    }
    if shape.is_claude() {
        return LineOrigin::Of(Dialect::Claude);
    }
    if shape.has_any(&OURS) || OUR_TYPES.contains(&shape.kind.as_slice()) {
        return LineOrigin::Ours;
    }
    LineOrigin::Unknown
}

/// A line without what may be before its first character. NUL bytes fill parts that were never written.
fn text_of(line: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0;
    let start = line.iter().position(|byte| !is_blank(byte)).unwrap_or(line.len());
    let text = &line[start..];
    text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text)
}

/// The shape of a line: its type, and the names of its members, nested ones with a dot between.
#[derive(Debug, Default)]
struct LineShape {
    kind: Vec<u8>,
    names: Vec<String>,
}

impl LineShape {
    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|one| one == name)
    }

    fn has_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.has(name))
    }

    fn is(&self, kind: &[u8]) -> bool {
        self.kind == kind
    }

    fn begins(&self, kinds: &[&[u8]]) -> bool {
        kinds.iter().any(|kind| self.kind.starts_with(kind))
    }

    fn is_codex(&self) -> bool {
        const TYPES: [&[u8]; 6] = [
            b"session_meta",
            b"turn_context",
            b"response_item",
            b"event_msg",
            b"compacted",
            b"token_usage_record",
        ];
        // Before September 2025: a head without a type, then items as in the API.
        let is_old = self.has("instructions") && self.has("id") || self.has("record_type");
        self.has("payload") && TYPES.contains(&self.kind.as_slice()) || self.kind.is_empty() && is_old
    }

    /// True for a message of Claude Code's: the other dialects have none with these members, cut ones too.
    fn is_claude(&self) -> bool {
        self.has("message.content") && self.has_any(&["uuid", "sessionId", "session_id", "requestId"])
    }

    fn is_gemini(&self) -> bool {
        self.is(b"gemini") || self.has("projectHash") || self.has("$set")
    }

    fn is_qwen(&self) -> bool {
        self.has("uuid") && self.has_any(&["message.parts", "usageMetadata", "systemPayload"])
    }

    fn is_pi(&self) -> bool {
        let is_head = self.is(b"session") && self.has("id") && self.has("timestamp");
        let is_entry = self.has("parentId") && self.has("id") && self.has("timestamp");
        is_head
            || is_entry
            || self.is(b"message") && self.has("message.usage") && self.has("message.provider")
    }

    fn add(&mut self, above: &str, name: &[u8]) {
        if self.names.len() < NAMES_MAX {
            let name = String::from_utf8_lossy(name);
            self.names.push(if above.is_empty() {
                name.into_owned()
            } else {
                format!("{above}.{name}")
            });
        }
    }
}

impl<'de> Members<'de> for LineShape {
    fn member(&mut self, key: &[u8], value: &mut Scanner<'de>) -> Result<(), NotJson> {
        self.add("", key);
        let above = match key {
            b"type" => {
                self.kind = RawBytes(Some(value.raw_bytes()?))
                    .text()
                    .unwrap_or_default()
                    .into_owned();
                return Ok(());
            }
            b"message" => "message",
            b"update" => "update",
            b"params" => "params",
            _ => return value.skip(),
        };
        value.object(&mut InnerMembers { above, shape: self }).map(|_| ())
    }
}

/// Nested members.
struct InnerMembers<'s> {
    above: &'static str,
    shape: &'s mut LineShape,
}

impl<'de> Members<'de> for InnerMembers<'_> {
    fn member(&mut self, key: &[u8], value: &mut Scanner<'de>) -> Result<(), NotJson> {
        self.shape.add(self.above, key);
        value.skip()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn files_are_recognised_by_a_line() {
        let cases: [(&str, ContentKind); 25] = [
            (
                r#"{"timestamp":"t","type":"session_meta","payload":{"id":"1"}}"#,
                ContentKind::Ours,
            ),
            (
                r#"{"timestamp":"t","ordinal":1,"type":"event_msg","payload":{}}"#,
                ContentKind::Ours,
            ),
            (
                r#"{"id":"1","timestamp":"t","instructions":null,"git":{}}"#,
                ContentKind::Ours,
            ),
            (
                r#"{"type":"thread.started","thread_id":"1"}"#,
                ContentKind::OtherAgent(Agent::CodexStream),
            ),
            (
                r#"{"sessionId":"1","projectHash":"a","startTime":"t"}"#,
                ContentKind::Ours,
            ),
            (
                r#"{"id":"g","timestamp":"t","type":"gemini","tokens":{"input":9}}"#,
                ContentKind::Ours,
            ),
            (
                r#"{"uuid":"1","parentUuid":null,"sessionId":"s","type":"user","message":{"role":"user","parts":[]}}"#,
                ContentKind::Ours,
            ),
            (
                r#"{"type":"session","version":3,"id":"1","timestamp":"t","cwd":"/w"}"#,
                ContentKind::Ours,
            ),
            (
                r#"{"type":"message","id":"m","message":{"role":"assistant","provider":"x","usage":{"input":1}}}"#,
                ContentKind::Ours,
            ),
            (
                r#"{"type":"assistant.message","id":"c","data":{"outputTokens":4}}"#,
                ContentKind::OtherAgent(Agent::Copilot),
            ),
            (
                r#"{"timestamp":1.5,"message":{"type":"StatusUpdate","payload":{"token_usage":{}}}}"#,
                ContentKind::OtherAgent(Agent::Kimi),
            ),
            (
                r#"{"type":"metadata","protocol_version":"1.1"}"#,
                ContentKind::OtherAgent(Agent::Kimi),
            ),
            (
                r#"{"sessionUpdate":"turn_completed","usage":{}}"#,
                ContentKind::OtherAgent(Agent::Grok),
            ),
            (
                r#"{"method":"session/update","params":{"update":{}}}"#,
                ContentKind::OtherAgent(Agent::Grok),
            ),
            (
                r#"{"type":"step_finish","sessionID":"s","part":{}}"#,
                ContentKind::OtherAgent(Agent::OpenCode),
            ),
            (
                r#"{"type":"session_start","id":"1"}"#,
                ContentKind::OtherAgent(Agent::Droid),
            ),
            (
                r#"{"type":"user","message":{"role":"user","content":"hi"}}"#,
                ContentKind::Ours,
            ),
            (r#"{"type":"ai-title","sessionId":"s"}"#, ContentKind::Ours),
            (
                r#"{"display":"hi","project":"/w","timestamp":1}"#,
                ContentKind::Ours,
            ),
            (r#"{"text":"a sentence","label":3}"#, ContentKind::Strange),
            ("not JSON at all", ContentKind::Strange),
            ("[1,2]", ContentKind::Strange),
            ("", ContentKind::TooShort),
            ("\0\0\0", ContentKind::TooShort),
            (" \r", ContentKind::TooShort),
        ];
        for (line, expect) in cases {
            assert_eq!(content_kind(format!("{line}\n").as_bytes()), expect, "{line}");
        }
    }

    #[test]
    fn a_long_first_line_is_enough_and_half_a_short_one_is_not() {
        let long = format!(
            r#"{{"timestamp":"t","type":"session_meta","payload":{{"text":"{}"#,
            "x".repeat(HEAD_BYTES)
        );
        assert_eq!(content_kind(&long.as_bytes()[..HEAD_BYTES]), ContentKind::Ours);
        let data = format!(r#"{{"text":"{}"#, "x".repeat(HEAD_BYTES));
        assert_eq!(content_kind(&data.as_bytes()[..HEAD_BYTES]), ContentKind::Strange);
        assert_eq!(content_kind(br#"{"text":"a sen"#), ContentKind::TooShort);
        assert_eq!(
            content_kind(b"\n{\"type\":\"note\"}\n{\"type\":\"user\"}\n"),
            ContentKind::Ours
        );
    }

    #[test]
    fn each_agent_has_a_name() {
        for (agent, file, _) in AGENTS {
            assert_eq!(agent.file(), file);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_get_an_answer(head in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = content_kind(&head);
        }
    }
}
