//! The bodies of events in each format. Pure.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use strum::VariantArray as _;
use xxhash_rust::xxh3::xxh3_64;

use crate::model::Millis;
use crate::model::letters::safe;
use crate::quota::notice::target::NoticeFormat;
use crate::quota::notice::{Notice, NoticeKind, NumberedNotice};

/// Percent from which a threshold is urgent.
const URGENT_FROM: u8 = 90;

/// An event on its way: with what is said of the sender.
#[derive(Clone, Copy, Debug)]
pub struct OutgoingNotice<'a> {
    pub numbered: &'a NumberedNotice,
    /// The commit of its cause; `None` for an event from memory.
    pub sequence: Option<u64>,
    /// The name of this machine.
    pub host: &'a str,
    /// An event without a cause.
    pub is_test: bool,
    /// Age at which the target gets an event no more, in milliseconds.
    pub max_age: Millis,
}

/// The document of Standard Webhooks, and of programs.
#[derive(Serialize)]
struct StandardBody<'a> {
    r#type: &'static str,
    timestamp: String,
    data: StandardData<'a>,
}

/// What an event does not have is left out.
#[derive(Serialize)]
struct StandardData<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bucket: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    utilization: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reset_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    observed_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    sentence: &'a str,
    host: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    test: bool,
}

/// A time in UTC, with milliseconds.
#[must_use]
pub fn time_text(at: Millis) -> String {
    Timestamp::from_millisecond(at).map_or_else(|_| String::new(), |at| format!("{at:.3}"))
}

/// The document of an event.
#[must_use]
pub fn standard(outgoing: &OutgoingNotice<'_>) -> String {
    let notice = &outgoing.numbered.notice;
    let account = notice.account.as_ref();
    let body = StandardBody {
        r#type: notice.kind.into_str(),
        timestamp: time_text(notice.at),
        data: StandardData {
            provider: account.map(|id| &*id.provider),
            account: account.map(|id| &*id.name),
            bucket: notice.bucket.as_deref(),
            run: notice.run.as_deref(),
            threshold: notice.threshold,
            utilization: notice.utilization,
            reset_at: notice.reset_at.map(time_text),
            source: notice.source.as_deref(),
            observed_at: notice.observed_at.map(time_text),
            reason: notice.reason.as_deref(),
            count: notice.count,
            sentence: &notice.sentence,
            host: outgoing.host,
            sequence: outgoing.sequence,
            test: outgoing.is_test,
        },
    };
    // Strings and numbers: serialization cannot fail.
    serde_json::to_string(&body).unwrap_or_default()
}

/// The body of an event in a format; `topic` is that of ntfy.
#[must_use]
pub fn body(format: NoticeFormat, topic: &str, outgoing: &OutgoingNotice<'_>) -> String {
    match format {
        NoticeFormat::Standard => standard(outgoing),
        NoticeFormat::Alertmanager => alertmanager(outgoing).to_string(),
        NoticeFormat::Slack => json!({ "text": slack_text(outgoing) }).to_string(),
        NoticeFormat::Ntfy => ntfy(topic, outgoing).to_string(),
    }
}

/// The message of ntfy as JSON, so that no name is in a header.
fn ntfy(topic: &str, outgoing: &OutgoingNotice<'_>) -> Value {
    let notice = &outgoing.numbered.notice;
    let (priority, tag) = match (notice.kind.ends(), is_urgent(notice.kind, notice.threshold)) {
        (Some(_), _) => (3, "white_check_mark"),
        (None, true) => (4, "rotating_light"),
        (None, false) => (3, "warning"),
    };
    json!({
        "topic": topic,
        "title": title(outgoing),
        "message": sentence(outgoing),
        "priority": priority,
        "tags": [tag],
    })
}

/// The sentence of an event; a test is named as one.
fn sentence(outgoing: &OutgoingNotice<'_>) -> String {
    let sentence = &outgoing.numbered.notice.sentence;
    if outgoing.is_test {
        format!("test: {sentence}")
    } else {
        sentence.to_string()
    }
}

fn title(outgoing: &OutgoingNotice<'_>) -> String {
    let host: String = outgoing.host.chars().map(safe).collect();
    format!("{} on {host}", outgoing.numbered.notice.kind.into_str())
}

/// The text for Slack. Its markup is escaped, and a name cannot call a whole channel, which Mattermost and Discord
/// read from plain text.
fn slack_text(outgoing: &OutgoingNotice<'_>) -> String {
    let text = format!("*{}*: {}", title(outgoing), sentence(outgoing));
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let mut parts = text.split('@');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let calls = |word: &&str| {
            part.get(..word.len())
                .is_some_and(|begin| begin.eq_ignore_ascii_case(word))
        };
        plain.push('@');
        if ["all", "channel", "everyone", "here"].iter().any(calls) {
            plain.push('\u{200b}');
        }
        plain.push_str(part);
    }
    plain
}

fn is_urgent(kind: NoticeKind, threshold: Option<u8>) -> bool {
    match kind {
        NoticeKind::WindowExhausted
        | NoticeKind::AccountExhausted
        | NoticeKind::HealthDegraded
        | NoticeKind::PollExpired => true,
        _ => threshold.is_some_and(|percent| percent >= URGENT_FROM),
    }
}

/// The time at which an alert is over without an event that says so: for a limit its reset, for the others when they
/// would be too old to be sent. `None` for one that another event ends.
fn ends_at(notice: &Notice, max_age: Millis) -> Option<Millis> {
    if NoticeKind::VARIANTS
        .iter()
        .any(|kind| kind.ends() == Some(notice.kind))
    {
        return None;
    }
    let reset = notice.reset_at.filter(|reset| *reset > notice.at);
    Some(reset.unwrap_or(notice.at.saturating_add(max_age)))
}

const fn severity(is_urgent: bool) -> &'static str {
    if is_urgent { "critical" } else { "warning" }
}

/// The webhook of Alertmanager, version 4. An event that ends another resolves its alert. Alerts are told apart by
/// their labels, so those of an alert stay the same from its beginning to its end and over its thresholds: how urgent
/// it is now is an annotation.
fn alertmanager(outgoing: &OutgoingNotice<'_>) -> Value {
    let notice = &outgoing.numbered.notice;
    let (status, of) = match notice.kind.ends() {
        Some(ended) => ("resolved", ended),
        None => ("firing", notice.kind),
    };
    let mut labels = serde_json::Map::new();
    let mut label = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            labels.insert(name.to_owned(), value.into());
        }
    };
    let account = notice.account.as_ref();
    label("alertname", Some(of.into_str()));
    label("provider", account.map(|id| &*id.provider));
    label("account", account.map(|id| &*id.name));
    label("bucket", notice.bucket.as_deref());
    label("run", notice.run.as_deref());
    label("host", Some(outgoing.host));
    label("severity", Some(severity(is_urgent(of, None))));
    if outgoing.is_test {
        label("test", Some("true"));
    }
    let fingerprint = xxh3_64(Value::Object(labels.clone()).to_string().as_bytes());
    let ends_at = match status {
        "firing" => ends_at(notice, outgoing.max_age),
        _ => Some(notice.at),
    };
    let ends_at = ends_at.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), time_text);
    let mut annotations = json!({
        "summary": sentence(outgoing),
        "event": notice.kind.into_str(),
        "severity": severity(is_urgent(of, notice.threshold)),
    });
    if let Some(percent) = notice.threshold {
        annotations["threshold"] = percent.to_string().into();
    }
    json!({
        "version": "4",
        "groupKey": format!("{{}}:{{alertname={:?}}}", of.into_str()),
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "tokentail",
        "groupLabels": { "alertname": of.into_str() },
        "commonLabels": labels.clone(),
        "commonAnnotations": annotations.clone(),
        "externalURL": "",
        "alerts": [{
            "status": status,
            "labels": labels,
            "annotations": annotations,
            "startsAt": time_text(notice.at),
            "endsAt": ends_at,
            "generatorURL": "",
            "fingerprint": format!("{:016x}", fingerprint),
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AccountId;
    use crate::quota::notice::SENTENCE_BYTES_MAX;

    /// 2026-11-29T10:42:05.120Z
    const AT: Millis = 1_795_948_925_120;

    fn numbered(kind: NoticeKind) -> NumberedNotice {
        let mut notice = Notice::new(kind, AT, "claude/max-1: five_hour is 77 % used & <more>");
        notice.account = Some(AccountId {
            provider: "claude".into(),
            name: "max-1".into(),
        });
        notice.bucket = Some("five_hour".into());
        NumberedNotice {
            id: "evt_7_0".into(),
            notice,
        }
    }

    fn outgoing(numbered: &NumberedNotice) -> OutgoingNotice<'_> {
        OutgoingNotice {
            numbered,
            sequence: Some(7),
            host: "build-3",
            is_test: false,
            max_age: 3_600_000,
        }
    }

    #[test]
    fn the_standard_body_has_what_is_known_and_nothing_else() {
        let mut event = numbered(NoticeKind::WindowThreshold);
        event.notice.threshold = Some(75);
        event.notice.utilization = Some(0.77);
        event.notice.reset_at = Some(AT + 1);
        let body: Value = serde_json::from_str(&standard(&outgoing(&event))).unwrap();
        assert_eq!(
            body,
            json!({"type": "window.threshold", "timestamp": "2026-11-29T10:42:05.120Z", "data": {
                "provider": "claude", "account": "max-1", "bucket": "five_hour", "threshold": 75,
                "utilization": 0.77, "reset_at": "2026-11-29T10:42:05.121Z",
                "sentence": "claude/max-1: five_hour is 77 % used & <more>", "host": "build-3", "sequence": 7}})
        );
        let test = OutgoingNotice {
            is_test: true,
            sequence: None,
            ..outgoing(&event)
        };
        let body: Value = serde_json::from_str(&standard(&test)).unwrap();
        assert_eq!(body["data"]["test"], true);
        assert!(body["data"].get("sequence").is_none());
    }

    #[test]
    fn an_end_resolves_the_alert_of_its_beginning() {
        let parsed = |kind| {
            let event = numbered(kind);
            let body = body(NoticeFormat::Alertmanager, "", &outgoing(&event));
            serde_json::from_str::<Value>(&body).unwrap()
        };
        for (begin, end) in [
            (NoticeKind::AccountExhausted, NoticeKind::AccountAvailable),
            (NoticeKind::WindowExhausted, NoticeKind::WindowReset),
            (NoticeKind::HealthDegraded, NoticeKind::HealthOk),
        ] {
            let (fires, ends) = (parsed(begin), parsed(end));
            assert_eq!(
                (&fires["status"], &ends["status"]),
                (&json!("firing"), &json!("resolved"))
            );
            let (one, other) = (&fires["alerts"][0], &ends["alerts"][0]);
            for same in ["labels", "fingerprint"] {
                assert_eq!(one[same], other[same], "{same}");
            }
            assert_eq!(one["endsAt"], "0001-01-01T00:00:00Z");
            assert_eq!(other["endsAt"], "2026-11-29T10:42:05.120Z");
            assert_eq!(fires["version"], "4");
        }
    }

    #[test]
    fn an_alert_that_no_event_ends_has_an_end() {
        let alert = |kind, threshold: Option<u8>, reset_at: Option<Millis>| {
            let mut event = numbered(kind);
            (event.notice.threshold, event.notice.reset_at) = (threshold, reset_at);
            let body = body(NoticeFormat::Alertmanager, "", &outgoing(&event));
            serde_json::from_str::<Value>(&body).unwrap()["alerts"][0].clone()
        };
        let (reset, aged) = ("2026-11-29T10:42:05.121Z", "2026-11-29T11:42:05.120Z");
        for kind in NoticeKind::VARIANTS.iter().copied() {
            let is_ended = NoticeKind::VARIANTS.iter().any(|end| end.ends() == Some(kind));
            if kind.ends().is_some() || is_ended {
                continue;
            }
            for (reset_at, expected) in [(Some(AT + 1), reset), (None, aged), (Some(AT - 1), aged)] {
                assert_eq!(alert(kind, None, reset_at)["endsAt"], expected, "{kind:?}");
            }
        }
        // A higher threshold is the same alert.
        let (one, other) = (
            alert(NoticeKind::WindowThreshold, Some(75), None),
            alert(NoticeKind::WindowThreshold, Some(90), None),
        );
        assert_eq!(
            (&one["labels"], &one["fingerprint"]),
            (&other["labels"], &other["fingerprint"])
        );
        assert_eq!(
            (&one["annotations"]["severity"], &other["annotations"]["severity"]),
            (&json!("warning"), &json!("critical"))
        );
        assert_eq!(other["annotations"]["threshold"], "90");
    }

    #[test]
    fn ntfy_gets_a_message_and_slack_gets_escapes() {
        let mut event = numbered(NoticeKind::WindowThreshold);
        event.notice.threshold = Some(90);
        let named = OutgoingNotice {
            host: "b\u{fc}ro\n3",
            ..outgoing(&event)
        };
        let parsed = |format, outgoing: &OutgoingNotice<'_>| {
            serde_json::from_str::<Value>(&body(format, "phone", outgoing)).unwrap()
        };
        assert_eq!(
            parsed(NoticeFormat::Ntfy, &named),
            json!({"topic": "phone", "title": "window.threshold on b\u{fc}ro\u{fffd}3", "priority": 4,
                "message": "claude/max-1: five_hour is 77 % used & <more>", "tags": ["rotating_light"]})
        );
        assert_eq!(
            parsed(NoticeFormat::Slack, &outgoing(&event))["text"],
            "*window.threshold on build-3*: claude/max-1: five_hour is 77 % used &amp; &lt;more&gt;"
        );
    }

    #[test]
    fn text_from_outside_is_one_line_calls_nobody_and_is_bounded() {
        let reason = "run <!channel> & <http://x|y> \"q\"\nTitle: z\u{202e} @Everyone @here me@example.org ";
        let hostile = reason.to_owned() + &"\u{1f980}".repeat(3000);
        let event = NumberedNotice {
            id: "evt_7_0".into(),
            notice: Notice::new(NoticeKind::HealthDegraded, AT, &hostile),
        };
        assert!(event.notice.sentence.len() <= SENTENCE_BYTES_MAX);
        assert!(event.notice.sentence.ends_with("\u{1f980}…"));
        for format in [
            NoticeFormat::Standard,
            NoticeFormat::Alertmanager,
            NoticeFormat::Ntfy,
            NoticeFormat::Slack,
        ] {
            let text = body(format, "t", &outgoing(&event));
            let parsed: Value = serde_json::from_str(&text).unwrap();
            assert!(
                !text.contains("\\n") && !text.contains('\u{202e}') && !text.contains('\n'),
                "{text}"
            );
            assert!(
                parsed.to_string().len() <= 3 * SENTENCE_BYTES_MAX,
                "{format:?} is bounded"
            );
        }
        let slack: Value = serde_json::from_str(&body(NoticeFormat::Slack, "", &outgoing(&event))).unwrap();
        let text = slack["text"].as_str().unwrap();
        assert!(
            text.starts_with(
                "*health.degraded on build-3*: run &lt;!channel&gt; &amp; &lt;http://x|y&gt; \"q\"\u{fffd}Title: z\u{fffd} \
                 @\u{200b}Everyone @\u{200b}here me@example.org \u{1f980}"
            ),
            "{text}"
        );
    }
}
