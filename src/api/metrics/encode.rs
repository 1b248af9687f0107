//! Families of samples as text: Prometheus 0.0.4 and OpenMetrics 1.0, both written by `prometheus-client`. Pure.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    CounterValueEncoder, DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric as _,
    GaugeValueEncoder, prometheus_text, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::model::Millis;
use crate::model::letters::safe;

/// Maximum length of a label's value, in bytes; a longer one is cut and ends with [`CUT`].
const LABEL_BYTES_MAX: usize = 128;
/// Replaces the rest of a label that was cut.
const CUT: char = '…';
/// The units a name may end with.
const UNITS: [&str; 4] = ["_bytes", "_ratio", "_seconds", "_tokens"];
/// Whole numbers below this are written without a fraction.
const WHOLE_MAX: f64 = 1e15;

/// The format to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The text format of Prometheus, 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The `Content-Type` of the format.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
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

impl EncodeCounterValue for Value {
    fn encode(&self, encoder: &mut CounterValueEncoder<'_>) -> fmt::Result {
        match self {
            Self::Whole(value) => EncodeCounterValue::encode(value, encoder),
            Self::Real(value) => EncodeCounterValue::encode(value, encoder),
        }
    }
}

impl EncodeGaugeValue for Value {
    fn encode(&self, encoder: &mut GaugeValueEncoder<'_>) -> fmt::Result {
        match self {
            Self::Whole(value) => EncodeGaugeValue::encode(value, encoder),
            #[expect(clippy::cast_possible_truncation, reason = "it is whole and below WHOLE_MAX")]
            Self::Real(value) if value.fract() == 0.0 && value.abs() < WHOLE_MAX => {
                EncodeGaugeValue::encode(&(*value as i64), encoder)
            }
            Self::Real(value) => EncodeGaugeValue::encode(value, encoder),
        }
    }
}

type MetricLabels = Vec<(&'static str, String)>;

/// A metric: its name, its type, and its samples.
#[derive(Clone, Debug)]
pub struct Family {
    name: &'static str,
    kind: MetricType,
    help: &'static str,
    samples: BTreeMap<MetricLabels, Value>,
}

impl Family {
    /// Counter. The name is given without `_total`.
    #[must_use]
    pub fn counter(name: &'static str, help: &'static str) -> Self {
        Self::new(name, MetricType::Counter, help)
    }

    /// Gauge.
    #[must_use]
    pub fn gauge(name: &'static str, help: &'static str) -> Self {
        Self::new(name, MetricType::Gauge, help)
    }

    /// Info: texts that do not change. The name is given without `_info`.
    #[must_use]
    pub fn info(name: &'static str, help: &'static str) -> Self {
        Self::new(name, MetricType::Info, help)
    }

    fn new(name: &'static str, kind: MetricType, help: &'static str) -> Self {
        debug_assert!(
            !help.contains(['\\', '\n', '"']),
            "OpenMetrics has it as it stands: {help}"
        );
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

    /// Adds a sample. In a family with equal labels, whole numbers are summed, and of other values the last
    /// one is kept: names come from outside, may become equal when they are cut, and a scrape must not
    /// contain a series twice.
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

    /// Adds one sample for each word: 1 for the current one, 0 for the others.
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

/// The highest value ever written for each series of a counter.
///
/// A count can decrease: a better copy of a response has fewer tokens, or belongs to another model.
/// Prometheus treats a counter that decreases as restarted, and adds all of its value again. So the highest
/// value is written until the count exceeds it.
#[derive(Debug, Default)]
pub struct Peaks {
    series: BTreeMap<(&'static str, MetricLabels), u64>,
}

impl Peaks {
    /// Raises each counter to its highest value.
    pub fn hold(&mut self, families: &mut [Family]) {
        for family in families
            .iter_mut()
            .filter(|family| family.kind == MetricType::Counter)
        {
            for (labels, value) in &mut family.samples {
                if let Value::Whole(value) = value {
                    let peak = self.series.entry((family.name, labels.clone())).or_default();
                    *peak = (*peak).max(*value);
                    *value = *peak;
                }
            }
            // One that disappears and returns would have decreased to zero meanwhile.
            let known = self.series.range((family.name, MetricLabels::new())..);
            let known = known.take_while(|((name, _), _)| *name == family.name);
            for ((_, labels), peak) in known {
                let sample = family.samples.entry(labels.clone());
                sample.or_insert(Value::Whole(*peak));
            }
        }
    }
}

/// A time in seconds since 1970, the unit of times in samples.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds since 1970 have 41 bits, and a sample has 53"
)]
pub fn seconds(at: Millis) -> f64 {
    at as f64 / 1e3
}

/// Writes the families that have samples.
#[must_use]
pub fn encode(families: Vec<Family>, format: Format) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(families)));
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = match format {
        Format::Text => prometheus_text::encode(&mut out, &registry),
        Format::OpenMetrics => text::encode(&mut out, &registry),
    };
    out
}

/// The families of one scrape.
#[derive(Debug)]
struct Scrape(Vec<Family>);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in self.0.iter().filter(|family| !family.samples.is_empty()) {
            let (name, unit) = with_unit(family.name);
            let mut metric = encoder.encode_descriptor(name, family.help, unit.as_ref(), family.kind)?;
            for (labels, value) in &family.samples {
                match family.kind {
                    MetricType::Info => metric.encode_info(labels)?,
                    MetricType::Counter => ConstCounter::new(*value).encode(metric.encode_family(labels)?)?,
                    _ => ConstGauge::new(*value).encode(metric.encode_family(labels)?)?,
                }
            }
        }
        Ok(())
    }
}

/// A name without its unit, and the unit.
fn with_unit(name: &str) -> (&str, Option<Unit>) {
    let parts = UNITS
        .iter()
        .find_map(|unit| Some((name.strip_suffix(unit)?, &unit[1..])));
    match parts {
        Some((name, unit)) => (name, Some(Unit::Other(unit.to_owned()))),
        None => (name, None),
    }
}

/// A label's value without characters that are unsafe in terminals, and not longer than [`LABEL_BYTES_MAX`].
fn bounded(text: &str) -> String {
    let mut bounded = String::new();
    for c in text.chars().map(safe) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn families() -> Vec<Family> {
        let mut tokens = Family::counter("t_tokens", "Tokens, as counted.");
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
# HELP t_tokens_total Tokens, as counted.
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
        assert_eq!(encode(families(), Format::Text), wanted);
    }

    #[test]
    fn openmetrics_names_families_and_units_and_ends() {
        let wanted = "\
# HELP t_tokens Tokens, as counted.
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
        assert_eq!(encode(families(), Format::OpenMetrics), wanted);
        assert_eq!(encode(Vec::new(), Format::OpenMetrics), "# EOF\n");
        assert_eq!(encode(Vec::new(), Format::Text), "");
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
        let text = encode(vec![tokens], Format::Text);
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
                let lines = encode(vec![family.clone()], Format::Text);
                let samples = lines.lines().filter(|line| !line.starts_with('#'));
                samples
                    .filter_map(|line| Some(line.rsplit_once(' ')?.1.to_owned()))
                    .collect()
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
        let text = encode(vec![state], Format::Text);
        let samples = "t_state{account=\"a\",state=\"down\"} 1\nt_state{account=\"a\",state=\"up\"} 0\n";
        assert!(text.ends_with(samples), "{text}");
    }

    #[test]
    fn numbers_are_written_as_both_formats_read_them() {
        for (value, text) in [
            (Value::Real(1_791_190_800.25), "1791190800.25"),
            (Value::Real(1_791_190_800.0), "1791190800"),
            (Value::Real(1.0), "1"),
            (Value::Real(0.0), "0"),
            (Value::Whole(u64::MAX), "18446744073709551615"),
        ] {
            for format in [Format::Text, Format::OpenMetrics] {
                let lines = encode(vec![Family::gauge("t_now", "Now.").of(value)], format);
                assert!(lines.contains(&format!("\nt_now {text}\n")), "{lines}");
            }
        }
    }
}
