//! The JSON of single transcript lines, in Claude Code's format. Text is already escaped.

use fastrand::Rng;

use crate::books::{Call, ResponseId, Usage};

/// The format in which a version of the CLI writes the usage of a response.
#[derive(Clone, Copy, PartialEq)]
pub enum UsageForm {
    /// The flat cache figure and its split.
    Full,
    /// Only the split: the flat figure is its sum.
    SplitOnly,
    /// 2025: only the flat figure.
    FlatOnly,
    /// Counts as integral floats and strings.
    Loose,
}

/// The properties shared by the lines of one response.
#[derive(Clone)]
pub struct Response {
    pub id: ResponseId,
    pub message_id: String,
    pub request_id: Option<String>,
    pub model: &'static str,
    pub fast: bool,
    /// The final figures; early lines carry `early_output` instead of the true output.
    pub usage: Usage,
    pub early_output: u64,
    pub advisors: Vec<Call>,
    pub form: UsageForm,
}

impl Response {
    pub fn early_usage(&self) -> Usage {
        Usage {
            output: self.early_output,
            web_searches: 0,
            thinking: 0,
            ..self.usage
        }
    }

    pub fn early_call(&self) -> Call {
        Call {
            model: self.model.to_owned(),
            usage: self.early_usage(),
        }
    }

    pub fn final_call(&self) -> Call {
        let model = if self.fast {
            format!("{}-fast", self.model)
        } else {
            self.model.to_owned()
        };
        Call {
            model,
            usage: self.usage,
        }
    }
}

/// The end of every conversation line.
pub struct Envelope<'a> {
    pub uuid: &'a str,
    pub time: Option<&'a str>,
    pub session: &'a str,
    pub agent: Option<&'a str>,
    pub version: &'a str,
}

/// Writes the envelope and closes the line's object; returns the offset of the session id.
pub fn close(out: &mut Vec<u8>, envelope: &Envelope) -> usize {
    push(out, &[",\"uuid\":\"", envelope.uuid, "\""]);
    if let Some(time) = envelope.time {
        push(out, &[",\"timestamp\":\"", time, "\""]);
    }
    push(
        out,
        &[",\"userType\":\"external\",\"entrypoint\":\"cli\",\"cwd\":\"/workspace\",\"sessionId\":\""],
    );
    let session_at = out.len();
    push(
        out,
        &[
            envelope.session,
            "\",\"version\":\"",
            envelope.version,
            "\",\"gitBranch\":\"main\"",
        ],
    );
    if let Some(agent) = envelope.agent {
        push(out, &[",\"agentId\":\"", agent, "\""]);
    }
    push(out, &["}"]);
    session_at
}

pub fn push(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

/// `"usage":{...}`; a final line has more fields than an early one.
pub fn push_usage(out: &mut Vec<u8>, response: &Response, is_final: bool) {
    let usage = if is_final {
        response.usage
    } else {
        response.early_usage()
    };
    push(out, &["\"usage\":{"]);
    push_counts(out, usage, response.form);
    if response.form == UsageForm::FlatOnly {
        push(out, &["}"]);
        return;
    }
    push(
        out,
        &[",\"service_tier\":\"standard\",\"inference_geo\":\"not_available\""],
    );
    if is_final {
        let thinking = usage.thinking;
        let searches = usage.web_searches;
        let details = format!(
            ",\"output_tokens_details\":{{\"thinking_tokens\":{thinking}}},\
             \"server_tool_use\":{{\"web_search_requests\":{searches},\"web_fetch_requests\":0}}"
        );
        push(out, &[&details, ",\"iterations\":[{\"type\":\"message\","]);
        push_counts(out, usage, UsageForm::Full);
        for advisor in &response.advisors {
            push(
                out,
                &[
                    "},{\"type\":\"advisor_message\",\"model\":\"",
                    &advisor.model,
                    "\",",
                ],
            );
            push_counts(out, advisor.usage, UsageForm::Full);
        }
        push(
            out,
            &[
                "}],\"speed\":\"",
                if response.fast { "fast" } else { "standard" },
                "\"",
            ],
        );
    }
    push(out, &["}"]);
}

fn push_counts(out: &mut Vec<u8>, usage: Usage, form: UsageForm) {
    let Usage {
        input,
        output,
        cache_read,
        cache_creation,
        ..
    } = usage;
    let counts = match form {
        UsageForm::Full | UsageForm::FlatOnly => format!(
            "\"input_tokens\":{input},\"cache_creation_input_tokens\":{cache_creation},\
             \"cache_read_input_tokens\":{cache_read},\"output_tokens\":{output}"
        ),
        UsageForm::SplitOnly => {
            format!(
                "\"input_tokens\":{input},\"cache_read_input_tokens\":{cache_read},\"output_tokens\":{output}"
            )
        }
        UsageForm::Loose => format!(
            "\"input_tokens\":\"{input}\",\"cache_creation_input_tokens\":{cache_creation}.0,\
             \"cache_read_input_tokens\":{cache_read},\"output_tokens\":{output}.0"
        ),
    };
    push(out, &[&counts]);
    if form != UsageForm::FlatOnly {
        let (short, long) = (usage.cache_creation_5m, usage.cache_creation_1h);
        let split = format!(
            ",\"cache_creation\":{{\"ephemeral_1h_input_tokens\":{long},\"ephemeral_5m_input_tokens\":{short}}}"
        );
        push(out, &[&split]);
    }
}

/// A version 4 UUID.
pub fn uuid(rng: &mut Rng) -> String {
    let bits = rng.u128(..);
    let hex = format!("{bits:032x}");
    format!(
        "{}-{}-4{}-a{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[13..16],
        &hex[17..20],
        &hex[20..]
    )
}

/// `msg_01...`, `req_01...`: as long as the real ones.
pub fn api_id(rng: &mut Rng, prefix: &str) -> String {
    let mut id = format!("{prefix}_01");
    id.extend((0..22).map(|_| rng.alphanumeric()));
    id
}
