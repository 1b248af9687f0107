//! One transcript file, turn by turn. Every line is entered in the books as it is written.

mod agents;
mod fork;
mod noise;
mod responses;

use fastrand::Rng;

use self::fork::HEAD_BYTES_MAX;
pub use self::fork::Head;
use crate::books::{Books, ResponseId};
use crate::calendar;
use crate::line::{self, Envelope, Response, push};
use crate::text::{self, Text};

const TEXT_BYTES_MAX: usize = 400 << 10;
const MODELS: &[&str] = &[
    "claude-opus-5",
    "claude-opus-5",
    "claude-opus-5",
    "claude-sonnet-5",
    "claude-sonnet-5",
    "claude-haiku-4-5-20251001",
    "claude-fable-5-1",
];

/// Data shared by all sessions.
pub struct World {
    pub rng: Rng,
    pub text: Text,
    pub books: Books,
}

/// The data that a fork needs of a line it copies.
#[derive(Clone, Copy)]
enum Note {
    Ignored,
    Usage {
        id: ResponseId,
        is_first: bool,
    },
    /// It would count again, or is broken: it is not copied.
    Uncopyable,
}

#[derive(Clone, Copy)]
struct Line {
    start: usize,
    end: usize,
    session_at: Option<usize>,
    note: Note,
}

/// A file below the session's own folder.
pub struct SideFile {
    pub name: String,
    pub content: Vec<u8>,
    /// A journal is not a transcript: no collector reads it.
    pub is_read: bool,
}

pub struct Finished {
    pub id: String,
    pub head: Head,
    pub content: Vec<u8>,
    pub side_files: Vec<SideFile>,
}

pub struct Session<'a> {
    world: &'a mut World,
    run: usize,
    id: String,
    agent: Option<String>,
    model: &'static str,
    version: &'static str,
    now_ms: u64,
    parent: String,
    text_bytes_max: usize,
    out: Vec<u8>,
    lines: Vec<Line>,
    last: Option<Response>,
    open: Option<Response>,
    side_files: Vec<SideFile>,
    side_bytes: usize,
}

impl<'a> Session<'a> {
    pub fn new(world: &'a mut World, run: usize, start_ms: u64, bytes: usize) -> Self {
        let id = line::uuid(&mut world.rng);
        let model = MODELS[world.rng.usize(..MODELS.len())];
        let version = if world.rng.u8(..8) == 0 {
            "2.0.14"
        } else {
            "2.1.280"
        };
        Self {
            world,
            run,
            id,
            agent: None,
            model,
            version,
            now_ms: start_ms,
            parent: String::new(),
            text_bytes_max: (bytes / 8).clamp(512, TEXT_BYTES_MAX),
            out: Vec::with_capacity(bytes + bytes / 8),
            lines: Vec::new(),
            last: None,
            open: None,
            side_files: Vec::new(),
            side_bytes: 0,
        }
    }

    /// A session from its first prompt until about `bytes` are written, sub-agents included.
    pub fn work(&mut self, bytes: usize) {
        if self.one_in(24) {
            self.out.extend_from_slice(b"\xef\xbb\xbf");
        }
        self.opening();
        self.prompt();
        while self.out.len() + self.side_bytes < bytes {
            self.turn(bytes);
        }
        if self.one_in(3) && self.out.len() < HEAD_BYTES_MAX {
            self.unfinished();
        }
        self.closing();
    }

    fn turn(&mut self, bytes: usize) {
        self.respond();
        self.tool_result();
        match self.world.rng.u8(..48) {
            0..4 => self.next_prompt(),
            4 => self.odd_line(),
            5 => self.compaction(),
            6 => self.limit_lines(),
            7 => self.resume(),
            8 => self.unkeyed_lines(),
            9..11 => self.sub_agent(bytes / 10),
            11 => self.workflow(bytes / 10),
            _ => {}
        }
    }

    // Prompts and results of tools

    fn prompt(&mut self) {
        self.now_ms += self.world.rng.u64(1_000..90_000);
        let words = self.world.rng.usize(4..30);
        let words = text::words(&mut self.world.rng, words);
        let start = self.begin_message();
        push(
            &mut self.out,
            &[
                "\"promptId\":\"p-1\",\"type\":\"user\",\"message\":{\"role\":\"user\",\"content\":\"",
                &words,
                "\"}",
            ],
        );
        self.end_message(start, Note::Ignored);
    }

    /// Most bytes: the output of a tool, twice, as the CLI writes it.
    fn tool_result(&mut self) {
        self.now_ms += self.world.rng.u64(300..20_000);
        let bytes = self.text_bytes();
        let start = self.begin_message();
        let tool = self.world.rng.u32(..);
        let head = format!(
            "\"type\":\"user\",\"message\":{{\"role\":\"user\",\"content\":[{{\"type\":\"tool_result\",\"tool_use_id\":\"toolu_{tool}\",\"content\":\""
        );
        push(&mut self.out, &[&head]);
        self.push_text(bytes);
        push(&mut self.out, &["\"}]},\"toolUseResult\":{\"stdout\":\""]);
        self.push_text(bytes / 2);
        push(&mut self.out, &["\",\"stderr\":\"\",\"interrupted\":false}"]);
        let eol_is_crlf = self.one_in(400);
        self.end_message(start, Note::Ignored);
        if eol_is_crlf {
            self.out.insert(self.out.len() - 1, b'\r');
            self.lines.last_mut().expect("a line was just written").end += 1;
        }
    }

    fn next_prompt(&mut self) {
        let start = self.begin_message();
        push(
            &mut self.out,
            &[
                "\"type\":\"system\",\"subtype\":\"turn_duration\",\"durationMs\":8000,\"messageCount\":6,\"isMeta\":false",
            ],
        );
        self.end_message(start, Note::Ignored);
        self.metadata();
        self.prompt();
    }

    // Lines

    fn begin_message(&mut self) -> usize {
        let start = self.out.len();
        let side = if self.agent.is_some() { "true" } else { "false" };
        push(
            &mut self.out,
            &[
                "{\"parentUuid\":\"",
                &self.parent,
                "\",\"isSidechain\":",
                side,
                ",",
            ],
        );
        start
    }

    fn end_message(&mut self, start: usize, note: Note) {
        let uuid = line::uuid(&mut self.world.rng);
        let time = calendar::time(self.now_ms);
        let envelope = Envelope {
            uuid: &uuid,
            time: Some(&time),
            session: &self.id,
            agent: self.agent.as_deref(),
            version: self.version,
        };
        let session_at = line::close(&mut self.out, &envelope);
        self.parent = uuid;
        self.world.books.saw(self.now_ms);
        match note {
            Note::Usage { id, .. } => self.world.books.usage_line(id),
            Note::Ignored | Note::Uncopyable => self.world.books.ignored_line(),
        }
        self.end_line(start, Some(session_at), note);
    }

    /// A line without the envelope; it belongs to this session only.
    fn meta_line(&mut self, parts: &[&str]) {
        let start = self.out.len();
        push(&mut self.out, parts);
        self.world.books.ignored_line();
        self.end_line(start, None, Note::Uncopyable);
    }

    fn end_line(&mut self, start: usize, session_at: Option<usize>, note: Note) {
        self.out.push(b'\n');
        self.lines.push(Line {
            start,
            end: self.out.len(),
            session_at,
            note,
        });
    }

    fn push_text(&mut self, bytes: usize) {
        self.out
            .extend_from_slice(self.world.text.slice(&mut self.world.rng, bytes));
    }

    /// Mostly 0.5 to 32 KB around 4 KB, one in eight up to 400 KB: shifts instead of floats, so that
    /// every machine makes the same corpus.
    fn text_bytes(&mut self) -> usize {
        let rng = &mut self.world.rng;
        let spread = if rng.u8(..8) == 0 { 820 } else { 512 };
        let octaves = 9 * 256 + (0..3).map(|_| rng.usize(..spread)).sum::<usize>();
        let bytes = ((1 << (octaves >> 8)) * (256 + (octaves & 255))) >> 8;
        bytes.min(self.text_bytes_max)
    }

    fn one_in(&mut self, count: u32) -> bool {
        self.world.rng.u32(..count) == 0
    }
}
