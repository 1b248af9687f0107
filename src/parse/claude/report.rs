//! The agents' own reports of their use: sums by model, which are compared with the counts and never added to
//! them.
//!
//! Pure. A session's `cost-state` line, and `result` of a captured stream, have `modelUsage`; both grow over
//! the session.

use crate::json::scanner::{NotJson, Scanner};
use crate::json::{self, Members, RawBytes, members};
use crate::model::Reported;

/// The sums of a `modelUsage` over its models; `None` if it is no object.
#[must_use]
pub fn reported(model_usage: RawBytes<'_>) -> Option<Reported> {
    let mut models = Models::default();
    json::object(model_usage.0?, &mut models)
        .ok()?
        .then_some(models.0)
}

#[derive(Debug, Default)]
struct Models(Reported);

impl<'de> Members<'de> for Models {
    fn member(&mut self, _: &[u8], value: &mut Scanner<'de>) -> Result<(), NotJson> {
        let mut model = ReportedModel::default();
        if value.object(&mut model)? {
            let count = |raw: RawBytes<'_>| raw.count().unwrap_or(0);
            let sum = &mut self.0;
            sum.input = sum.input.saturating_add(count(model.input));
            sum.output = sum.output.saturating_add(count(model.output));
            sum.cache_read = sum.cache_read.saturating_add(count(model.cache_read));
            sum.cache_creation = sum.cache_creation.saturating_add(count(model.cache_creation));
        }
        Ok(())
    }
}

members! {
    struct ReportedModel<'de> {
        input = b"inputTokens",
        output = b"outputTokens",
        cache_read = b"cacheReadInputTokens",
        cache_creation = b"cacheCreationInputTokens",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Report;
    use crate::parse::{LineContext, LineKind, line};

    fn report(text: &str) -> Option<Report> {
        let (mut records, mut observations) = (Vec::new(), Vec::new());
        let parsed = line(
            text.as_bytes(),
            LineContext::default(),
            &mut records,
            &mut observations,
        );
        assert_eq!((parsed.class, records.len()), (LineKind::Ignored, 0), "{text}");
        parsed.report
    }

    const MODELS: &str = r#"{"a":{"inputTokens":1,"outputTokens":2,"cacheReadInputTokens":3,"cacheCreationInputTokens":4},
        "b":{"inputTokens":10,"outputTokens":"20","cacheReadInputTokens":-1,"thinkingTokens":9},"c":7}"#;

    #[test]
    fn the_sums_of_all_models_are_reported() {
        let state = format!(r#"{{"type":"cost-state","sessionId":"s","modelUsage":{MODELS}}}"#);
        let sums = report(&state).unwrap();
        let reported = Reported {
            input: 11,
            output: 22,
            cache_read: 3,
            cache_creation: 4,
        };
        assert_eq!(sums.reported, reported);
        // The same session in a captured stream.
        let result = format!(r#"{{"type":"result","session_id":"s","usage":{{}},"modelUsage":{MODELS}}}"#);
        assert_eq!(report(&result), Some(sums));
        let long = format!(
            r#"{{"type":"cost-state","sessionId":"s","pad":"{}","modelUsage":{MODELS}}}"#,
            "x".repeat(9000)
        );
        assert_eq!(report(&long), Some(sums));
    }

    #[test]
    fn other_lines_and_other_values_report_nothing() {
        for text in [
            format!(r#"{{"type":"user","sessionId":"s","modelUsage":{MODELS}}}"#),
            format!(r#"{{"type":"cost-state","modelUsage":{MODELS}}}"#),
            r#"{"type":"cost-state","sessionId":"s","modelUsage":[]}"#.to_owned(),
            r#"{"type":"result","session_id":"s"}"#.to_owned(),
        ] {
            assert_eq!(report(&text), None, "{text}");
        }
    }
}
