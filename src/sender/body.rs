//! The bodies of events in each format. Pure.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use strum::VariantArray as _;
use xxhash_rust::xxh3::xxh3_64;

use crate::model::Millis;
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

/// What a request carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestParts {
    pub content_type: &'static str,
    pub body: String,
    pub headers: Vec<(&'static str, String)>,
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

/// The request for an event in a format.
#[must_use]
pub fn parts(format: NoticeFormat, outgoing: &OutgoingNotice<'_>) -> RequestParts {
    let json = |body| RequestParts {
        content_type: "application/json",
        body,
        headers: Vec::new(),
    };
    match format {
        NoticeFormat::Standard => json(standard(outgoing)),
        NoticeFormat::Alertmanager => json(alertmanager(outgoing).to_string()),
        NoticeFormat::Slack => json(json!({ "text": slack_text(outgoing) }).to_string()),
        NoticeFormat::Ntfy => {
            let notice = &outgoing.numbered.notice;
            let (priority, tag) = match (notice.kind.ends(), is_urgent(notice.kind, notice.threshold)) {
                (Some(_), _) => ("3", "white_check_mark"),
                (None, true) => ("4", "rotating_light"),
                (None, false) => ("3", "warning"),
            };
            RequestParts {
                content_type: "text/plain; charset=utf-8",
                body: sentence(outgoing),
                headers: vec![
                    ("Title", ascii(&title(outgoing))),
                    ("Priority", priority.to_owned()),
                    ("Tags", tag.to_owned()),
                ],
            }
        }
    }
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
    format!(
        "{} on {}",
        outgoing.numbered.notice.kind.into_str(),
        outgoing.host
    )
}

/// A header has visible ASCII characters.
fn ascii(text: &str) -> String {
    let plain = |letter: char| {
        if letter == ' ' || letter.is_ascii_graphic() {
            letter
        } else {
            '?'
        }
    };
    text.chars().map(plain).collect()
}

fn slack_text(outgoing: &OutgoingNotice<'_>) -> String {
    let text = format!("*{}*: {}", title(outgoing), sentence(outgoing));
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
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
            let parts = parts(NoticeFormat::Alertmanager, &outgoing(&event));
            serde_json::from_str::<Value>(&parts.body).unwrap()
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
            let parts = parts(NoticeFormat::Alertmanager, &outgoing(&event));
            serde_json::from_str::<Value>(&parts.body).unwrap()["alerts"][0].clone()
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
    fn ntfy_gets_headers_of_ascii_and_slack_gets_escapes() {
        let mut event = numbered(NoticeKind::WindowThreshold);
        event.notice.threshold = Some(90);
        let named = OutgoingNotice {
            host: "b\u{fc}ro\n3",
            ..outgoing(&event)
        };
        let ntfy = parts(NoticeFormat::Ntfy, &named);
        assert_eq!(ntfy.body, "claude/max-1: five_hour is 77 % used & <more>");
        assert_eq!(
            ntfy.headers,
            [
                ("Title", "window.threshold on b?ro?3".to_owned()),
                ("Priority", "4".to_owned()),
                ("Tags", "rotating_light".to_owned()),
            ]
        );
        let slack = parts(NoticeFormat::Slack, &outgoing(&event));
        let body: Value = serde_json::from_str(&slack.body).unwrap();
        assert_eq!(
            body["text"],
            "*window.threshold on build-3*: claude/max-1: five_hour is 77 % used &amp; &lt;more&gt;"
        );
    }
}
