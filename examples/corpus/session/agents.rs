//! Sub-agents of a session: files of their own, and their lines in the parent's file.

use super::{Note, Session, SideFile};
use crate::calendar::SECOND_MS;
use crate::line::{self, Response, push};

const AGENT_BYTES_MAX: usize = 256 << 10;

impl Session<'_> {
    pub(super) fn sub_agent(&mut self, bytes: usize) {
        let bytes = bytes.min(self.world.rng.usize(AGENT_BYTES_MAX / 10..AGENT_BYTES_MAX));
        let (name, content, response) = self.run_agent(bytes, "subagents");
        self.side_bytes += content.len();
        self.side_files.push(SideFile {
            name,
            content,
            is_read: true,
        });
        if let Some(response) = response {
            if self.one_in(3) {
                self.progress(&response);
            }
            self.agent_result(response.usage.output);
        }
    }

    pub(super) fn workflow(&mut self, bytes: usize) {
        let bytes = bytes.min(AGENT_BYTES_MAX);
        let folder = format!("subagents/workflows/wf_{:08x}", self.world.rng.u32(..));
        for _ in 0..self.world.rng.u8(1..4) {
            let (name, content, _) = self.run_agent(bytes / 3, &folder);
            self.side_bytes += content.len();
            self.side_files.push(SideFile {
                name,
                content,
                is_read: true,
            });
        }
        let journal = b"{\"type\":\"launched\"}\n{\"type\":\"result\",\"key\":\"v2:a\",\"result\":{\"usage\":{\"input_tokens\":123456,\"output_tokens\":7}}}\n";
        self.side_files.push(SideFile {
            name: format!("{folder}/journal.jsonl"),
            content: journal.to_vec(),
            is_read: false,
        });
    }

    /// A whole sub-agent: its file and its last finished response.
    pub(super) fn run_agent(&mut self, bytes: usize, folder: &str) -> (String, Vec<u8>, Option<Response>) {
        let agent = format!("{:017x}", self.world.rng.u64(..));
        let mut side = Session::new(&mut *self.world, self.run, self.now_ms + SECOND_MS, bytes);
        side.id.clone_from(&self.id);
        side.version = self.version;
        side.agent = Some(agent.clone());
        side.prompt();
        if let Some(parent) = self.last.as_ref().filter(|_| side.one_in(4)) {
            // A side question repeats the parent's lines, under another request.
            let replay = Response {
                request_id: Some(line::api_id(&mut side.world.rng, "req")),
                ..parent.clone()
            };
            side.assistant_line(&replay, true, b"", false);
        }
        while side.out.len() < bytes {
            side.respond();
            side.tool_result();
        }
        side.respond();
        self.now_ms = side.now_ms + SECOND_MS;
        let (content, last) = (side.out, side.last);
        (format!("{folder}/agent-{agent}.jsonl"), content, last)
    }

    /// The 2025 format of a sub-agent: a partial copy of its response in the parent's file.
    pub(super) fn progress(&mut self, response: &Response) {
        let start = self.begin_message();
        let request = response.request_id.as_deref().unwrap_or("");
        push(
            &mut self.out,
            &[
                "\"type\":\"progress\",\"data\":{\"type\":\"agent_progress\",\"message\":{\"type\":\"assistant\",\"requestId\":\"",
                request,
            ],
        );
        push(
            &mut self.out,
            &[
                "\",\"isSidechain\":true,\"message\":{\"id\":\"",
                &response.message_id,
                "\",\"model\":\"",
                response.model,
                "\",",
            ],
        );
        line::push_usage(&mut self.out, response, false);
        push(&mut self.out, &["}}}"]);
        self.end_message(
            start,
            Note::Usage {
                id: response.id,
                is_first: false,
            },
        );
    }

    pub(super) fn agent_result(&mut self, tokens: u64) {
        let start = self.begin_message();
        let result = format!(
            "\"type\":\"user\",\"message\":{{\"role\":\"user\",\"content\":\"done\"}},\"toolUseResult\":{{\"status\":\"completed\",\
             \"totalTokens\":{tokens},\"usage\":{{\"input_tokens\":9000,\"output_tokens\":{tokens}}}}}"
        );
        push(&mut self.out, &[&result]);
        self.end_message(start, Note::Ignored);
    }
}
