//! The responses of a session: invented whole, then written in the way a stream leaves them.

use fastrand::Rng;

use super::{Note, Session};
use crate::books::{Call, Usage};
use crate::calendar::SECOND_MS;
use crate::line::{self, Response, UsageForm, push};

const BROKEN_UTF8: &[u8] = b"\xff\xfe cut \xe2\x82";
const LONE_SURROGATE: &[u8] = br"\ud83d";

impl Session<'_> {
    /// One response on one to six lines.
    pub(super) fn respond(&mut self) {
        let response = self.invent();
        let lines = self.world.rng.u8(1..=6);
        let is_finished = self.agent.is_none() || !self.one_in(5);
        // An advisor is dated by its line: then all lines are final ones.
        let is_repeat = !response.advisors.is_empty() || self.one_in(6);
        let response = self.enter(response, is_finished);
        for number in 1..=lines {
            let is_final = is_finished
                && (number == lines || (is_repeat && (number + 1 == lines || !response.advisors.is_empty())));
            let dirt: &[u8] = match self.world.rng.u8(..) {
                0 => BROKEN_UTF8,
                1 => LONE_SURROGATE,
                _ => b"",
            };
            self.assistant_line(&response, is_final, dirt, number == 1);
            self.now_ms += self.world.rng.u64(200..3_000);
        }
        if is_finished {
            self.last = Some(response);
        }
    }

    /// A response that stops at its first lines; a fork may bring the rest.
    pub(super) fn unfinished(&mut self) {
        let mut response = self.invent();
        response.advisors.clear();
        let response = self.enter(response, false);
        self.assistant_line(&response, false, b"", true);
        self.now_ms += SECOND_MS;
        self.assistant_line(&response, false, b"", false);
        self.open = Some(response);
    }

    fn invent(&mut self) -> Response {
        let rng = &mut self.world.rng;
        let form = match rng.u16(..300) {
            0..12 => UsageForm::FlatOnly,
            12..18 => UsageForm::SplitOnly,
            18 => UsageForm::Loose,
            _ => UsageForm::Full,
        };
        let (short, long) = if rng.u8(..8) == 0 {
            (rng.u64(..4_000), rng.u64(..900))
        } else {
            (0, rng.u64(..9_000))
        };
        let split = if form == UsageForm::FlatOnly {
            (0, 0)
        } else {
            (short, long)
        };
        let is_modern = form == UsageForm::Full;
        let input = rng.u64(1..400);
        let output = rng.u64(10..3_000);
        let usage = Usage {
            input,
            output,
            thinking: if form == UsageForm::FlatOnly {
                0
            } else {
                output / 4
            },
            cache_read: rng.u64(..180_000),
            cache_creation: short + long,
            cache_creation_5m: split.0,
            cache_creation_1h: split.1,
            web_searches: if is_modern && rng.u8(..30) == 0 {
                rng.u64(1..5)
            } else {
                0
            },
        };
        let advisors = if is_modern && rng.u8(..40) == 0 {
            (0..rng.u8(1..3)).map(|_| advisor(rng)).collect()
        } else {
            Vec::new()
        };
        Response {
            id: 0,
            message_id: line::api_id(rng, "msg"),
            request_id: (rng.u8(..100) > 0).then(|| line::api_id(rng, "req")),
            model: self.model,
            fast: is_modern && self.model == "claude-opus-5" && rng.u8(..25) == 0,
            usage,
            early_output: rng.u64(1..9),
            advisors,
            form,
        }
    }

    /// Records the start of the response; its first line is written at this very time.
    fn enter(&mut self, mut response: Response, is_finished: bool) -> Response {
        let call = if is_finished {
            response.final_call()
        } else {
            response.early_call()
        };
        let advisors = if is_finished {
            response.advisors.clone()
        } else {
            Vec::new()
        };
        response.id = self.world.books.response(self.run, self.now_ms, call, advisors);
        response
    }

    pub(super) fn assistant_line(
        &mut self,
        response: &Response,
        is_final: bool,
        dirt: &[u8],
        is_first: bool,
    ) {
        let start = self.begin_message();
        push(
            &mut self.out,
            &[
                "\"message\":{\"model\":\"",
                response.model,
                "\",\"id\":\"",
                &response.message_id,
            ],
        );
        push(
            &mut self.out,
            &["\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\""],
        );
        let bytes = self.world.rng.usize(40..900);
        self.push_text(bytes);
        self.out.extend_from_slice(dirt);
        let stop = if is_final { "\"end_turn\"" } else { "null" };
        push(
            &mut self.out,
            &["\"}],\"stop_reason\":", stop, ",\"stop_sequence\":null,"],
        );
        line::push_usage(&mut self.out, response, is_final);
        push(&mut self.out, &["},\"type\":\"assistant\""]);
        if let Some(request) = &response.request_id {
            push(&mut self.out, &[",\"requestId\":\"", request, "\""]);
        }
        self.end_message(
            start,
            Note::Usage {
                id: response.id,
                is_first,
            },
        );
    }
}

fn advisor(rng: &mut Rng) -> Call {
    let usage = Usage {
        input: rng.u64(1_000..90_000),
        output: rng.u64(100..5_000),
        ..Usage::default()
    };
    Call {
        model: "claude-fable-5-1".to_owned(),
        usage,
    }
}
