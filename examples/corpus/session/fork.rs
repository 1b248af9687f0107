//! Forks: a new session file that begins with the lines of another one.

use super::{Finished, Line, Note, Session};
use crate::calendar::{HOUR_MS, SECOND_MS};
use crate::line::Response;

/// Maximum part of the original session that a fork copies.
pub(super) const HEAD_BYTES_MAX: usize = 256 << 10;

/// The beginning of a finished session, for forks.
#[derive(Clone)]
pub struct Head {
    bytes: Vec<u8>,
    lines: Vec<Line>,
    model: &'static str,
    end_ms: u64,
    /// The last response, when its final line was never written.
    open: Option<Response>,
}

impl Session<'_> {
    /// Copies the head of another session under this session's id, then continues with lines of its own.
    pub fn fork(&mut self, head: &Head, bytes: usize) {
        self.model = head.model;
        self.now_ms = head.end_ms + self.world.rng.u64(1..5) * HOUR_MS;
        self.opening();
        let whole = head.open.is_some() || self.one_in(2);
        let count = if whole {
            head.lines.len()
        } else {
            self.world.rng.usize(head.lines.len() / 2..=head.lines.len())
        };
        for copied in &head.lines[..count] {
            self.copy(head, *copied);
        }
        if let Some(open) = &head.open {
            self.now_ms += SECOND_MS;
            self.assistant_line(open, true, &[], false);
            self.world.books.finish(open.id, open.final_call());
        }
        self.prompt();
        let end = self.out.len() + bytes;
        while self.out.len() < end {
            self.respond();
            self.tool_result();
        }
        self.closing();
    }

    pub fn finish(mut self) -> Finished {
        let is_whole = self.out.len() <= HEAD_BYTES_MAX;
        self.lines.retain(|line| line.end <= HEAD_BYTES_MAX);
        let head_bytes = self.lines.last().map_or(0, |line| line.end);
        let head = Head {
            bytes: self.out[..head_bytes].to_vec(),
            lines: self.lines,
            model: self.model,
            end_ms: self.now_ms,
            open: self.open.filter(|_| is_whole),
        };
        Finished {
            id: self.id,
            head,
            content: self.out,
            side_files: self.side_files,
        }
    }

    fn copy(&mut self, head: &Head, line: Line) {
        let Some(session_at) = line.session_at else {
            return;
        };
        let start = self.out.len();
        self.out.extend_from_slice(&head.bytes[line.start..line.end]);
        let id_at = start + session_at - line.start;
        self.out[id_at..id_at + self.id.len()].copy_from_slice(self.id.as_bytes());
        match line.note {
            Note::Usage { id, is_first } => {
                self.world.books.usage_line(id);
                if is_first {
                    self.world.books.first_line_copied(id, self.run);
                }
            }
            Note::Ignored | Note::Uncopyable => self.world.books.ignored_line(),
        }
    }
}
