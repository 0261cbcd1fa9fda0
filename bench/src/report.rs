//! What was measured, as tables for people or as lines of JSON for programs.
//!
//! A metric is a name, the settings it was measured with, a value and a unit. Repeated measurements of the same are told by their
//! median; tables show the lowest and the highest beside it.

use std::{
    fmt::Write as _,
    io::{IsTerminal as _, stdout},
    time::Duration,
};

use comfy_table::{Cell, CellAlignment, Table, presets::NOTHING};
use serde_json::{Map, Value, json};

use crate::stats::{Samples, median};

/// Settings that a value was measured with, in the order in which they are shown.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Params(Vec<(&'static str, Value)>);

impl Params {
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.0.push((name, value.into()));
        self
    }
}

impl std::fmt::Display for Params {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let settings: Vec<String> = self.0.iter().map(|(name, value)| format!("{name} {}", plain(value))).collect();
        f.write_str(&settings.join(", "))
    }
}

struct Metric {
    name: &'static str,
    params: Params,
    values: Vec<f64>,
    unit: &'static str,
}

/// Where figures go.
pub(crate) struct Report {
    json: bool,
    bench: &'static str,
    metrics: Vec<Metric>,
}

impl Report {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, bench: "", metrics: Vec::new() }
    }

    /// Says on standard error what is going on, for people who wait.
    pub(crate) fn say(&self, what: &str) {
        if std::io::stderr().is_terminal() || !self.json {
            eprintln!("  {what} …");
        }
    }

    /// What is added from now on belongs to `bench`.
    pub(crate) fn begin(&mut self, bench: &'static str) {
        self.bench = bench;
        if !self.json {
            println!("\n{bench}");
        }
    }

    /// Adds a measurement.
    pub(crate) fn add(&mut self, name: &'static str, params: &Params, value: f64, unit: &'static str) {
        match self.metrics.iter_mut().find(|metric| metric.name == name && metric.params == *params) {
            Some(metric) => metric.values.push(value),
            None => self.metrics.push(Metric { name, params: params.clone(), values: vec![value], unit }),
        }
    }

    /// Adds the rate of `count` things in `elapsed`.
    pub(crate) fn rate(&mut self, name: &'static str, params: &Params, (count, elapsed): (usize, Duration)) {
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
        let rate = count as f64 / elapsed.as_secs_f64();
        self.add(
            name,
            params,
            rate,
            match name {
                "requests" => "requests/s",
                "store" => "chunks/s",
                "deliveries" => "deliveries/s",
                "backfill" | "resync" => "records/s",
                _ => "jobs/s",
            },
        );
    }

    /// Adds three percentiles of durations, in milliseconds.
    pub(crate) fn percentiles(&mut self, names: [&'static str; 3], params: &Params, samples: &mut Samples) {
        let values = samples.percentiles_ms([0.5, 0.95, 0.99]);
        for (name, value) in names.into_iter().zip(values) {
            self.add(name, params, value, "ms");
        }
    }

    /// The median of what was added under this name and these settings since the last [`flush`](Self::flush).
    pub(crate) fn value(&self, name: &str, params: &Params) -> Option<f64> {
        let metric = self.metrics.iter().find(|metric| metric.name == name && metric.params == *params)?;
        Some(median(&metric.values))
    }

    /// Prints what was added since the last time.
    pub(crate) fn flush(&mut self, title: &str) {
        let metrics = std::mem::take(&mut self.metrics);
        if metrics.is_empty() {
            return;
        }
        if self.json {
            for metric in &metrics {
                println!("{}", line(self.bench, metric));
            }
        } else {
            print!("\n  {title}\n\n{}", table(&metrics));
        }
        // A reader of a pipe sees each table when it is there. If nobody reads, nobody misses it.
        let _ = std::io::Write::flush(&mut stdout());
    }
}

fn line(bench: &str, metric: &Metric) -> Value {
    let params: Map<String, Value> =
        metric.params.0.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    json!({ "bench": bench, "metric": metric.name, "params": params, "value": median(&metric.values), "unit": metric.unit })
}

/// The setting that is too long for a column: it is told below the table.
const NOTE: &str = "settings";

/// A row for each combination of settings, a column for each setting and each metric.
fn table(metrics: &[Metric]) -> String {
    let (mut settings, mut names, mut rows) = (Vec::new(), Vec::new(), Vec::<&Params>::new());
    for metric in metrics {
        for (setting, _) in &metric.params.0 {
            if *setting != NOTE && !settings.contains(setting) {
                settings.push(*setting);
            }
        }
        if !names.iter().any(|(name, _)| *name == metric.name) {
            names.push((metric.name, metric.unit));
        }
        if !rows.contains(&&metric.params) {
            rows.push(&metric.params);
        }
    }
    let mut table = Table::new();
    table.load_style(NOTHING).force_no_tty();
    let headings = settings.iter().map(ToString::to_string);
    table.set_header(headings.chain(names.iter().map(|(name, unit)| format!("{name}\n{unit}"))));
    let setting =
        |params: &Params, name: &str| params.0.iter().find(|(own, _)| *own == name).map(|(_, value)| plain(value));
    for params in &rows {
        let measured = |(name, _): &(&str, &str)| {
            metrics.iter().find(|metric| metric.name == *name && metric.params == **params).map(cell)
        };
        let cells = settings.iter().map(|name| setting(params, name)).chain(names.iter().map(measured));
        table.add_row(cells.map(|text| Cell::new(text.unwrap_or_default()).set_alignment(CellAlignment::Right)));
    }
    let mut text = String::new();
    for line in table.trim_fmt().lines() {
        let _ = writeln!(text, "  {line}");
    }
    for params in rows {
        if let (Some((_, row)), Some(note)) = (params.0.first(), setting(params, NOTE)) {
            let _ = writeln!(text, "  {}: {note}", plain(row));
        }
    }
    text
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn cell(metric: &Metric) -> String {
    let (low, high) =
        metric.values.iter().fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(*value), high.max(*value)));
    let middle = number(median(&metric.values));
    if metric.values.len() > 1 { format!("{middle}\n({}–{})", number(low), number(high)) } else { middle }
}

/// Three digits that mean something, with the thousands apart.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1_000.0 => {
            let digits = format!("{value:.0}");
            let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |digits| ("-", digits));
            let mut text = sign.to_owned();
            for (index, digit) in digits.chars().enumerate() {
                if index > 0 && (digits.len() - index).is_multiple_of(3) {
                    text.push(',');
                }
                text.push(digit);
            }
            text
        }
        size if size >= 100.0 || size == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_matter() {
        let numbers = [1_234_567.4, -12_345.0, 999.5, 12.345, 0.456, 0.0].map(number);
        assert_eq!(numbers, ["1,234,567", "-12,345", "1000", "12.3", "0.46", "0"]);
    }

    #[test]
    fn a_line_has_the_five_fields_and_the_median() {
        let params = Params::default().with("orgs", 100).with("via", "api");
        let metric = Metric { name: "drain", params, values: vec![3.0, 1.0, 2.0], unit: "jobs/s" };
        let expected = json!({
            "bench": "queue", "metric": "drain", "params": { "orgs": 100, "via": "api" }, "value": 2.0, "unit": "jobs/s"
        });
        assert_eq!(line("queue", &metric), expected);
    }

    #[test]
    fn a_table_has_a_row_for_each_combination_of_settings() {
        let metric = |name, orgs: u32, value| Metric {
            name,
            params: Params::default().with("orgs", orgs),
            values: vec![value],
            unit: "jobs/s",
        };
        let text = table(&[metric("drain", 1, 120_000.0), metric("drain", 100, 90_000.0), metric("fill", 100, 5.0)]);
        let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[2..], [vec!["1", "120,000"], vec!["100", "90,000", "5.00"]], "{text}");
    }
}
