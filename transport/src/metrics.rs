//! Metrics for Prometheus: how a metric is described, and how a scrape is written.
//!
//! Values are read when somebody scrapes, so a metric costs nothing before that. A server describes
//! its metrics in one table of [`Metric`]s. The table is also the source of docs/metrics.md.
//!
//! The label values of a metric are a closed set (states, error codes, tables), never something
//! that a client chooses. So the number of series does not depend on who connects.

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};

pub use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// The media type of a scrape: OpenMetrics text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a metric measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number of events. It only rises, and begins at 0 when the process starts.
    Counter,
    /// A value that rises and falls.
    Gauge,
    /// A distribution of durations, in seconds.
    Histogram,
}

/// A metric of a server.
#[derive(Debug)]
pub struct Metric {
    /// Its name. In a scrape, counters end with `_total`.
    pub name: &'static str,
    /// What it measures.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it says, as one sentence without its full stop.
    pub help: &'static str,
}

impl Metric {
    /// A counter.
    pub const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind: Kind::Counter, labels, help }
    }

    /// A gauge.
    pub const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind: Kind::Gauge, labels, help }
    }

    /// A histogram.
    pub const fn histogram(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind: Kind::Histogram, labels, help }
    }

    /// The name as it stands in a scrape.
    pub fn full_name(&self) -> String {
        match self.kind {
            Kind::Counter => format!("{}_total", self.name),
            Kind::Gauge | Kind::Histogram => self.name.to_owned(),
        }
    }
}

/// Declares the metrics of a server: a `static` for each, and one for all of them in this order.
#[macro_export]
macro_rules! metrics {
    (
        $(#[$doc:meta])* pub static $all:ident;
        $($constant:ident = $kind:ident($name:literal, [$($label:literal),*], $help:literal);)*
    ) => {
        $(static $constant: $crate::metrics::Metric = $crate::metrics::Metric::$kind($name, &[$($label),*], $help);)*

        $(#[$doc])*
        pub static $all: &[&$crate::metrics::Metric] = &[$(&$constant),*];
    };
}

/// The table of some metrics in Markdown.
pub fn markdown(metrics: &[&Metric]) -> String {
    let row = |metric: &&Metric| {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        format!("| `{}` | {kind} | {} | {} |\n", metric.full_name(), labels.join(", "), metric.help)
    };
    let rows: String = metrics.iter().map(row).collect();
    format!("| metric | kind | labels | meaning |\n|---|---|---|---|\n{rows}")
}

/// A value of a metric.
#[derive(Clone, Debug)]
pub enum Value {
    /// Of a counter.
    Count(u64),
    /// Of a gauge.
    Level(f64),
    /// Of a histogram.
    Distribution(Histogram),
}

impl From<u64> for Value {
    /// The value of a gauge.
    fn from(level: u64) -> Self {
        Self::Level(level.to_f64())
    }
}

/// One scrape that is being written.
#[derive(Debug, Default)]
pub struct Scrape(Vec<(&'static Metric, Vec<Sample>)>);

#[derive(Debug)]
struct Sample {
    labels: Vec<(&'static str, String)>,
    value: Value,
}

impl Scrape {
    /// The value of a metric without labels.
    pub fn set(&mut self, metric: &'static Metric, value: Value) {
        self.set_each(metric, [([""; 0], value)]);
    }

    /// The values of a metric, each with the values of its labels in the order of
    /// [`Metric::labels`].
    pub fn set_each<const N: usize, L: Into<String>>(
        &mut self,
        metric: &'static Metric,
        samples: impl IntoIterator<Item = ([L; N], Value)>,
    ) {
        let sample = |(values, value): ([L; N], Value)| Sample {
            labels: metric.labels.iter().copied().zip(values.map(|value| escaped(value.into()))).collect(),
            value,
        };
        self.0.push((metric, samples.into_iter().map(sample).collect()));
    }

    /// A number of events.
    pub fn count(&mut self, metric: &'static Metric, count: u64) {
        self.set(metric, Value::Count(count));
    }

    /// Numbers of events by the value of one label.
    pub fn count_each<L: Into<String>>(&mut self, metric: &'static Metric, counts: impl IntoIterator<Item = (L, u64)>) {
        self.set_each(metric, counts.into_iter().map(|(label, count)| ([label], Value::Count(count))));
    }

    /// A value that rises and falls.
    pub fn level(&mut self, metric: &'static Metric, level: impl Level) {
        self.set(metric, Value::Level(level.to_f64()));
    }

    /// Values that rise and fall by the value of one label.
    pub fn level_each<L: Into<String>>(&mut self, metric: &'static Metric, levels: impl IntoIterator<Item = (L, impl Level)>) {
        self.set_each(metric, levels.into_iter().map(|(label, level)| ([label], Value::Level(level.to_f64()))));
    }

    /// A distribution.
    pub fn distribution(&mut self, metric: &'static Metric, distribution: &Histogram) {
        self.set(metric, Value::Distribution(distribution.clone()));
    }

    /// The text of the scrape.
    pub fn into_text(self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        if text::encode(&mut text, &registry).is_err() {
            tracing::error!("a scrape could not be written");
        }
        text
    }
}

/// A label's value as OpenMetrics wants it. The library writes values as they are.
fn escaped(value: String) -> String {
    if value.contains(['\\', '"', '\n']) { value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n") } else { value }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for (metric, samples) in &self.0 {
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let help = format!("{}.", metric.help);
            let mut family = encoder.encode_descriptor(metric.name, &help, None, kind)?;
            if metric.labels.is_empty() {
                // As a family it would get empty braces.
                samples.first().map_or(Ok(()), |sample| sample.value.encode(family))?;
                continue;
            }
            for Sample { labels, value } in samples {
                value.encode(family.encode_family(labels)?)?;
            }
        }
        Ok(())
    }
}

impl Value {
    fn encode(&self, mut row: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        match self {
            Self::Count(count) => row.encode_counter::<NoLabelSet, _, u64>(count, None),
            Self::Level(level) => row.encode_gauge(level),
            Self::Distribution(distribution) => distribution.encode(row),
        }
    }
}

/// A number that a gauge can show.
pub trait Level {
    /// As it is written. Above 2^53 it is rounded.
    fn to_f64(self) -> f64;
}

impl Level for f64 {
    fn to_f64(self) -> f64 {
        self
    }
}

impl Level for u32 {
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Level for u64 {
    fn to_f64(self) -> f64 {
        self as f64
    }
}

impl Level for usize {
    fn to_f64(self) -> f64 {
        self as f64
    }
}

impl Level for bool {
    fn to_f64(self) -> f64 {
        f64::from(u8::from(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static SENT: Metric = Metric::counter("test_sent", &["route"], "Messages sent");
    static OPEN: Metric = Metric::gauge("test_open", &[], "Connections");
    static WAIT: Metric = Metric::histogram("test_wait_seconds", &[], "How long it waits");

    #[test]
    fn a_scrape_is_openmetrics_text() {
        let wait = Histogram::new([0.001, 0.01]);
        wait.observe(0.002);
        let mut scrape = Scrape::default();
        scrape.count_each(&SENT, [("topic", 3), ("a \"b\"\n\\", 1)]);
        scrape.level(&OPEN, 7_usize);
        scrape.distribution(&WAIT, &wait);
        let text = scrape.into_text();
        let wanted = [
            "# HELP test_sent Messages sent.",
            "# TYPE test_sent counter",
            "test_sent_total{route=\"topic\"} 3",
            r#"test_sent_total{route="a \"b\"\n\\"} 1"#,
            "test_open 7.0",
            "test_wait_seconds_bucket{le=\"0.01\"} 1",
            "test_wait_seconds_bucket{le=\"+Inf\"} 1",
            "test_wait_seconds_count 1",
        ];
        for line in wanted {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn the_reference_shows_names_as_a_scrape_does() {
        let table = markdown(&[&SENT, &WAIT]);
        assert!(table.contains("| `test_sent_total` | counter | `route` | Messages sent |"), "{table}");
        assert!(table.contains("| `test_wait_seconds` | histogram |  | How long it waits |"), "{table}");
    }
}
