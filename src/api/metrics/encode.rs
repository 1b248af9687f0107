//! Families of samples as text: Prometheus 0.0.4 and OpenMetrics 1.0. Pure.
//!
//! The two differ in the names of their headers, in units, and in the last line. Samples are written alike.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Write};

/// Longest value of a label, in bytes; what is longer is cut and ends with [`CUT`].
const LABEL_BYTES_MAX: usize = 128;
/// Stands for what was cut from a label.
const CUT: char = '…';
/// The units a name may end with.
const UNITS: [&str; 4] = ["bytes", "ratio", "seconds", "tokens"];

/// How to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The text format of Prometheus, 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The `Content-Type` of what is written.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What the samples of a family are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MetricKind {
    Counter,
    Gauge,
    Info,
}

impl MetricKind {
    /// What the name of a sample has after the name of its family.
    const fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Gauge => "",
            Self::Info => "_info",
        }
    }

    /// The word of a format. The older one has no info: it is a gauge that is always 1.
    const fn word(self, format: Format) -> &'static str {
        match (self, format) {
            (Self::Counter, _) => "counter",
            (Self::Info, Format::OpenMetrics) => "info",
            (Self::Gauge | Self::Info, _) => "gauge",
        }
    }
}

/// The value of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    Whole(u64),
    Real(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Whole(value.into())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Whole(value) => value.fmt(f),
            Self::Real(value) if value.is_infinite() => {
                f.write_str(if value > 0.0 { "+Inf" } else { "-Inf" })
            }
            Self::Real(value) => value.fmt(f),
        }
    }
}

type MetricLabels = Vec<(&'static str, String)>;

/// A metric: its name, what it is, and its samples.
#[derive(Clone, Debug)]
pub struct Family {
    name: &'static str,
    kind: MetricKind,
    help: &'static str,
    samples: BTreeMap<MetricLabels, Value>,
}

impl Family {
    /// What only grows. The name goes without `_total`.
    #[must_use]
    pub fn counter(name: &'static str, help: &'static str) -> Self {
        Self::new(name, MetricKind::Counter, help)
    }

    /// What goes up and down.
    #[must_use]
    pub fn gauge(name: &'static str, help: &'static str) -> Self {
        Self::new(name, MetricKind::Gauge, help)
    }

    /// Texts that do not change. The name goes without `_info`.
    #[must_use]
    pub fn info(name: &'static str, help: &'static str) -> Self {
        Self::new(name, MetricKind::Info, help)
    }

    fn new(name: &'static str, kind: MetricKind, help: &'static str) -> Self {
        Self {
            name,
            kind,
            help,
            samples: BTreeMap::new(),
        }
    }

    /// A family of one sample without labels.
    #[must_use]
    pub fn of(mut self, value: impl Into<Value>) -> Self {
        self.add(&[], value);
        self
    }

    /// Adds a sample. Of a family with labels that are alike, whole numbers are summed and else the last one stays: names
    /// come from elsewhere, may look alike once they are cut, and a series must not be told twice.
    pub fn add(&mut self, labels: &[(&'static str, &str)], value: impl Into<Value>) {
        let labels = labels
            .iter()
            .map(|(name, value)| (*name, bounded(value)))
            .collect();
        let value = value.into();
        self.samples
            .entry(labels)
            .and_modify(|known| {
                *known = match (*known, value) {
                    (Value::Whole(known), Value::Whole(more)) => Value::Whole(known.saturating_add(more)),
                    _ => value,
                }
            })
            .or_insert(value);
    }

    /// Adds one sample for each word: 1 for the one that holds, 0 for the others.
    pub fn add_one_of(
        &mut self,
        labels: &[(&'static str, &str)],
        name: &'static str,
        words: &[&str],
        holds: &str,
    ) {
        for word in words {
            let labels = [labels, &[(name, *word)]].concat();
            self.add(&labels, *word == holds);
        }
    }
}

/// The highest value that each series of a counter was ever written with.
///
/// What was counted can grow less: a better copy of a response has fewer tokens, or is another model's. A counter that
/// falls reads as a restart, and everything it ever counted as new. So the difference is held back until it is made up.
#[derive(Debug, Default)]
pub struct Peaks {
    series: BTreeMap<(&'static str, MetricLabels), u64>,
}

impl Peaks {
    /// Lifts each counter to where it was.
    pub fn hold(&mut self, families: &mut [Family]) {
        for family in families
            .iter_mut()
            .filter(|family| family.kind == MetricKind::Counter)
        {
            for (labels, value) in &mut family.samples {
                if let Value::Whole(value) = value {
                    let peak = self.series.entry((family.name, labels.clone())).or_default();
                    *peak = (*peak).max(*value);
                    *value = *peak;
                }
            }
            // One that vanishes and comes back would have fallen to nothing meanwhile.
            let known = self.series.range((family.name, MetricLabels::new())..);
            let known = known.take_while(|((name, _), _)| *name == family.name);
            for ((_, labels), peak) in known {
                let sample = family.samples.entry(labels.clone());
                sample.or_insert(Value::Whole(*peak));
            }
        }
    }
}

/// Writes the families that have samples.
#[must_use]
pub fn encode(families: &[Family], format: Format) -> String {
    let mut out = String::new();
    for family in families.iter().filter(|family| !family.samples.is_empty()) {
        // A String takes everything.
        let _ = write_family(&mut out, family, format);
    }
    if format == Format::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

fn write_family(out: &mut String, family: &Family, format: Format) -> fmt::Result {
    let Family { name, kind, help, .. } = *family;
    let suffix = kind.suffix();
    let headed = match format {
        Format::Text => format!("{name}{suffix}"),
        Format::OpenMetrics => name.to_owned(),
    };
    let help = match format {
        Format::Text => escaped(help, &['\\', '\n']),
        Format::OpenMetrics => escaped(help, &['\\', '\n', '"']),
    };
    writeln!(out, "# HELP {headed} {help}")?;
    writeln!(out, "# TYPE {headed} {}", kind.word(format))?;
    let unit = UNITS
        .into_iter()
        .find(|unit| name.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_')));
    if let (Some(unit), Format::OpenMetrics) = (unit, format) {
        writeln!(out, "# UNIT {headed} {unit}")?;
    }
    for (labels, value) in &family.samples {
        write!(out, "{name}{suffix}")?;
        for (place, (label, text)) in labels.iter().enumerate() {
            let before = if place == 0 { '{' } else { ',' };
            write!(out, "{before}{label}=\"{}\"", escaped(text, &['\\', '\n', '"']))?;
        }
        writeln!(out, "{} {value}", if labels.is_empty() { "" } else { "}" })?;
    }
    Ok(())
}

/// A label's value without what steers a terminal, and not longer than [`LABEL_BYTES_MAX`].
fn bounded(text: &str) -> String {
    let clean = text.chars().map(|c| {
        if c.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    });
    let mut bounded = String::new();
    for c in clean {
        if bounded.len() + c.len_utf8() > LABEL_BYTES_MAX {
            while bounded.len() + CUT.len_utf8() > LABEL_BYTES_MAX {
                bounded.pop();
            }
            bounded.push(CUT);
            break;
        }
        bounded.push(c);
    }
    bounded
}

fn escaped<'t>(text: &'t str, special: &[char]) -> Cow<'t, str> {
    if !text.contains(special) {
        return text.into();
    }
    let mut out = String::new();
    for c in text.chars() {
        if special.contains(&c) {
            out.push('\\');
        }
        out.push(if c == '\n' { 'n' } else { c });
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn families() -> Vec<Family> {
        let mut tokens = Family::counter("t_tokens", "Tokens, as \"counted\".");
        tokens.add(&[("model", "b"), ("kind", "input")], 7);
        tokens.add(&[("model", "a\"\\\n"), ("kind", "input")], u64::MAX);
        let mut share = Family::gauge("t_share_ratio", "How full.");
        share.add(&[("window", "five_hour")], 0.42);
        let mut build = Family::info("t_build", "What it is.");
        build.add(&[("version", "1")], 1);
        vec![
            tokens,
            share,
            Family::gauge("t_nothing", "Never seen."),
            Family::gauge("t_ready", "Whether it is.").of(true),
            build,
        ]
    }

    #[test]
    fn the_text_format_names_samples_in_its_headers() {
        let wanted = "\
# HELP t_tokens_total Tokens, as \"counted\".
# TYPE t_tokens_total counter
t_tokens_total{model=\"a\\\"\\\\\u{fffd}\",kind=\"input\"} 18446744073709551615
t_tokens_total{model=\"b\",kind=\"input\"} 7
# HELP t_share_ratio How full.
# TYPE t_share_ratio gauge
t_share_ratio{window=\"five_hour\"} 0.42
# HELP t_ready Whether it is.
# TYPE t_ready gauge
t_ready 1
# HELP t_build_info What it is.
# TYPE t_build_info gauge
t_build_info{version=\"1\"} 1
";
        assert_eq!(encode(&families(), Format::Text), wanted);
    }

    #[test]
    fn openmetrics_names_families_and_units_and_ends() {
        let wanted = "\
# HELP t_tokens Tokens, as \\\"counted\\\".
# TYPE t_tokens counter
# UNIT t_tokens tokens
t_tokens_total{model=\"a\\\"\\\\\u{fffd}\",kind=\"input\"} 18446744073709551615
t_tokens_total{model=\"b\",kind=\"input\"} 7
# HELP t_share_ratio How full.
# TYPE t_share_ratio gauge
# UNIT t_share_ratio ratio
t_share_ratio{window=\"five_hour\"} 0.42
# HELP t_ready Whether it is.
# TYPE t_ready gauge
t_ready 1
# HELP t_build What it is.
# TYPE t_build info
t_build_info{version=\"1\"} 1
# EOF
";
        assert_eq!(encode(&families(), Format::OpenMetrics), wanted);
        assert_eq!(encode(&[], Format::OpenMetrics), "# EOF\n");
        assert_eq!(encode(&[], Format::Text), "");
    }

    #[test]
    fn special_characters_are_escaped() {
        assert_eq!(escaped("a\\b\n\"c\"", &['\\', '\n', '"']), "a\\\\b\\n\\\"c\\\"");
        assert_eq!(escaped("a\\b\n\"c\"", &['\\', '\n']), "a\\\\b\\n\"c\"");
    }

    #[test]
    fn labels_are_bounded_and_stay_whole_characters() {
        assert_eq!(bounded("plain"), "plain");
        assert_eq!(
            bounded("a\r\n\u{1b}[31m\0"),
            "a\u{fffd}\u{fffd}\u{fffd}[31m\u{fffd}"
        );
        let fits = "x".repeat(LABEL_BYTES_MAX);
        assert_eq!(bounded(&fits), fits);
        for long in [
            fits.clone() + "y",
            "é".repeat(LABEL_BYTES_MAX),
            "漢".repeat(LABEL_BYTES_MAX),
        ] {
            let cut = bounded(&long);
            assert!(cut.len() <= LABEL_BYTES_MAX && cut.ends_with(CUT), "{cut}");
        }
    }

    #[test]
    fn series_that_look_alike_are_one() {
        let mut tokens = Family::counter("t_tokens", "Tokens.");
        tokens.add(&[("model", "a\r")], 1);
        tokens.add(&[("model", "a\n")], 2);
        let text = encode(&[tokens], Format::Text);
        assert!(
            text.ends_with("t_tokens_total{model=\"a\u{fffd}\"} 3\n"),
            "{text}"
        );
    }

    #[test]
    fn a_counter_never_falls_and_a_gauge_does() {
        let mut peaks = Peaks::default();
        let mut shown = |a: u64, b: Option<u64>| {
            let mut tokens = Family::counter("t_tokens", "Tokens.");
            tokens.add(&[("model", "a")], a);
            if let Some(b) = b {
                tokens.add(&[("model", "b")], b);
            }
            let mut other = Family::counter("t_other", "Others.");
            other.add(&[], 1);
            let mut families = [tokens, other, Family::gauge("t_now", "Now.").of(a)];
            peaks.hold(&mut families);
            let value = |family: &Family| -> Vec<String> {
                family.samples.values().map(ToString::to_string).collect()
            };
            (value(&families[0]), value(&families[1]), value(&families[2]))
        };
        let mut check = |a, b, tokens: &[&str]| {
            let (counter, other, gauge) = shown(a, b);
            assert_eq!(counter, tokens);
            assert_eq!((other.len(), gauge), (1, vec![a.to_string()]));
        };
        check(100, None, &["100"]);
        check(80, Some(20), &["100", "20"]);
        check(95, Some(25), &["100", "25"]);
        check(101, None, &["101", "25"]);
        check(101, Some(26), &["101", "26"]);
    }

    #[test]
    fn one_word_holds() {
        let mut state = Family::gauge("t_state", "The state.");
        state.add_one_of(&[("account", "a")], "state", &["up", "down"], "down");
        let text = encode(&[state], Format::Text);
        let samples = "t_state{account=\"a\",state=\"down\"} 1\nt_state{account=\"a\",state=\"up\"} 0\n";
        assert!(text.ends_with(samples), "{text}");
    }

    #[test]
    fn numbers_are_written_as_both_formats_read_them() {
        for (value, text) in [
            (Value::Real(f64::INFINITY), "+Inf"),
            (Value::Real(f64::NEG_INFINITY), "-Inf"),
            (Value::Real(f64::NAN), "NaN"),
            (Value::Real(1_791_190_800.25), "1791190800.25"),
            (Value::Whole(0), "0"),
        ] {
            assert_eq!(value.to_string(), text);
        }
    }
}
