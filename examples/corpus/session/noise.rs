//! The lines of a session that are not ordinary responses: metadata, limits, and faults.

use super::{Note, Session};
use crate::books::{Call, Usage};
use crate::calendar::{self, HOUR_MS, SECOND_MS};
use crate::line::{self, push};
use crate::text;

impl Session<'_> {
    pub(super) fn opening(&mut self) {
        let id = self.id.clone();
        self.meta_line(&[
            "{\"type\":\"mode\",\"mode\":\"normal\",\"sessionId\":\"",
            &id,
            "\"}",
        ]);
        let time = calendar::time(self.now_ms);
        self.world.books.saw(self.now_ms);
        self.meta_line(&[
            "{\"type\":\"queue-operation\",\"operation\":\"enqueue\",\"timestamp\":\"",
            &time,
            "\",\"sessionId\":\"",
            &id,
            "\"}",
        ]);
        self.meta_line(&["{\"type\":\"file-history-snapshot\",\"messageId\":\"m\",\"snapshot\":{\"timestamp\":\"2031-01-01T00:00:00.000Z\"}}"]);
    }

    pub(super) fn metadata(&mut self) {
        let id = self.id.clone();
        let title = text::words(&mut self.world.rng, 4);
        self.meta_line(&[
            "{\"type\":\"ai-title\",\"aiTitle\":\"",
            &title,
            "\",\"sessionId\":\"",
            &id,
            "\"}",
        ]);
        self.meta_line(&[
            "{\"type\":\"last-prompt\",\"lastPrompt\":\"",
            &title,
            "\",\"sessionId\":\"",
            &id,
            "\"}",
        ]);
        let (model, tokens) = (self.model, self.out.len().to_string());
        self.meta_line(&[
            "{\"type\":\"cost-state\",\"sessionId\":\"",
            &id,
            "\",\"totalCostUSD\":0.37,\"modelUsage\":{\"",
            model,
            "[1m]\":{\"inputTokens\":",
            &tokens,
            ",\"outputTokens\":",
            &tokens,
            ",\"cacheReadInputTokens\":5,\"costUSD\":0.2}}}",
        ]);
        let start = self.begin_message();
        push(
            &mut self.out,
            &[
                "\"attachment\":{\"type\":\"model\",\"identity\":{\"modelId\":\"",
                model,
                "\"}},\"type\":\"attachment\"",
            ],
        );
        self.end_message(start, Note::Ignored);
    }

    /// Every session ends on a sound line with the latest time of its file.
    pub(super) fn closing(&mut self) {
        self.now_ms += SECOND_MS;
        self.metadata();
    }

    pub(super) fn resume(&mut self) {
        self.now_ms += self.world.rng.u64(1..9) * HOUR_MS;
        self.opening();
        self.prompt();
    }

    pub(super) fn compaction(&mut self) {
        self.now_ms += 100 * SECOND_MS;
        let start = self.begin_message();
        push(
            &mut self.out,
            &[
                "\"type\":\"system\",\"subtype\":\"compact_boundary\",\"content\":\"Conversation compacted\",\"compactMetadata\":",
            ],
        );
        push(
            &mut self.out,
            &[
                "{\"trigger\":\"auto\",\"preTokens\":168220,\"postTokens\":9120,\"usage\":{\"input_tokens\":168220}}",
            ],
        );
        self.end_message(start, Note::Ignored);
        let start = self.begin_message();
        push(
            &mut self.out,
            &["\"type\":\"user\",\"isCompactSummary\":true,\"message\":{\"role\":\"user\",\"content\":\""],
        );
        let bytes = self.text_bytes();
        self.push_text(bytes);
        push(&mut self.out, &["\"}"]);
        self.end_message(start, Note::Ignored);
    }

    pub(super) fn limit_lines(&mut self) {
        let start = self.begin_message();
        push(
            &mut self.out,
            &[
                "\"type\":\"system\",\"subtype\":\"api_error\",\"level\":\"error\",\"error\":{\"status\":529,\"rateLimits\":null},\"retryAttempt\":1",
            ],
        );
        self.end_message(start, Note::Ignored);
        let resets_at = (self.now_ms / HOUR_MS + 2) * 3_600;
        let limit = format!(
            "\"error\":\"rate_limit\",\"isApiErrorMessage\":true,\"apiErrorStatus\":429,\"quotaLimits\":{{\"status\":\"rejected\",\"resetsAt\":{resets_at},\"rateLimitType\":\"five_hour\"}}"
        );
        let id = line::uuid(&mut self.world.rng);
        let start = self.begin_message();
        push(
            &mut self.out,
            &[
                "\"type\":\"assistant\",\"message\":{\"model\":\"<synthetic>\",\"id\":\"",
                &id,
                "\",\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"You've hit your session limit\"}],",
            ],
        );
        push(
            &mut self.out,
            &[
                "\"usage\":{\"input_tokens\":0,\"output_tokens\":0,\"iterations\":null,\"speed\":null}},",
                &limit,
            ],
        );
        self.end_message(start, Note::Ignored);
    }

    /// Remains of crashes, disks and other versions.
    pub(super) fn odd_line(&mut self) {
        let malformed: &[&[u8]] = &[
            br#"{"type":"assistant","message":{"id":"msg_torn","usage":{"input_tokens":5"#,
            b"\0\0\0\0\0\0\0\0\0\0\0\0",
            b"\xff\xff\xff\xff",
            b"[1,2,3]",
            br#"{"type":"assistant","message":{"id":"msg_null","model":"claude-opus-5","usage":null}}"#,
        ];
        let ignored: &[&[u8]] = &[
            b"",
            b"  \t\r",
            br#"{"type":"some-future-type","usage":{"input_tokens":999999}}"#,
            br#"{"type":"user","message":{"role":"user","content":"lone \ud83d here"}}"#,
            b"{\"type\":\"user\",\"message\":{\"role\":\"user\",\"content\":\"cut \xe2\x82 here\"}}",
            br#"{"type":"assistant","content":"working on it","timestamp":"epoch:1791190801"}"#,
        ];
        let start = self.out.len();
        let number = self.world.rng.usize(..malformed.len() + ignored.len());
        if number < malformed.len() {
            self.out.extend_from_slice(malformed[number]);
            self.world.books.malformed_line(self.run);
        } else {
            self.out.extend_from_slice(ignored[number - malformed.len()]);
            self.world.books.ignored_line();
        }
        self.end_line(start, None, Note::Uncopyable);
    }

    /// Lines without a message id, or without a time.
    pub(super) fn unkeyed_lines(&mut self) {
        let usage = Usage {
            input: self.world.rng.u64(1..900),
            output: self.world.rng.u64(1..90),
            ..Usage::default()
        };
        let call = Call {
            model: self.model.to_owned(),
            usage,
        };
        let message = format!(
            "\"message\":{{\"role\":\"assistant\",\"model\":\"{}\",\"usage\":{{\"input_tokens\":{},\"output_tokens\":{}}}",
            self.model, usage.input, usage.output
        );
        let side = self.agent.is_some();
        let id = self
            .world
            .books
            .response(self.run, self.now_ms, call.clone(), Vec::new());
        let start = self.begin_message();
        push(&mut self.out, &[&message, "},\"type\":\"assistant\""]);
        self.end_message(start, Note::Usage { id, is_first: true });

        let id = self
            .world
            .books
            .response(self.run, self.now_ms, call.clone(), Vec::new());
        let start = self.out.len();
        let time = calendar::time(self.now_ms);
        let rate = "\"rateLimits\":{\"anthropic-ratelimit-unified-5h-requests-remaining\":\"87\",\"anthropic-ratelimit-unified-5h-requests-limit\":\"200\"}";
        push(
            &mut self.out,
            &[
                "{\"type\":\"assistant\",\"timestamp\":\"",
                &time,
                "\",",
                &message,
                "},",
                rate,
                "}",
            ],
        );
        self.world.books.usage_line(id);
        self.end_line(start, None, Note::Uncopyable);

        if !side && self.one_in(4) {
            let id = (self.world.books).response(self.run, self.now_ms, call, Vec::new());
            let start = self.out.len();
            let message_id = line::api_id(&mut self.world.rng, "msg");
            push(
                &mut self.out,
                &[
                    "{\"type\":\"assistant\",\"timestamp\":\"epoch:1791190801\",",
                    &message,
                    ",\"id\":\"",
                    &message_id,
                    "\"}}",
                ],
            );
            self.world.books.usage_line(id);
            self.world.books.clock_suspect_line();
            self.end_line(start, None, Note::Uncopyable);
        }
    }
}
