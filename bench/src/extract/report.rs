//! The figures, for people and for programs.

use std::{collections::BTreeMap, time::Duration};

use comfy_table::{Cell, CellAlignment, Table, presets::NOTHING};
use serde_json::{Value, json};

use super::{
    files::Reading,
    tools::{Compared, Comparison},
};

/// A reference with fewer words says little about a file.
const LEAST_WORDS: usize = 20;
/// What counts as the same text.
const SAME: f64 = 0.95;

pub(crate) fn print(readings: &[Reading], comparisons: &[Comparison], as_json: bool) {
    let sum = sum(readings, comparisons);
    if as_json {
        for reading in readings {
            println!("{}", line(reading, comparisons));
        }
        println!("{}", json!({ "bench": "extract", "sum": sum }));
        return;
    }
    println!("{}", table(readings, comparisons).trim_fmt());
    println!("\nIn sum");
    tell(&sum, 1);
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 100_000.0).round() / 100.0
}

fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

fn found<'a>(comparison: &'a Comparison, reading: &Reading) -> Option<&'a Compared> {
    comparison.files.iter().find(|file| file.name == reading.name)
}

fn line(reading: &Reading, comparisons: &[Comparison]) -> Value {
    let document = reading.result.as_ref().ok();
    let against: serde_json::Map<String, Value> = comparisons
        .iter()
        .filter_map(|comparison| {
            let file = found(comparison, reading)?;
            let value = json!({
                "outcome": file.outcome, "ms": millis(file.took), "words": file.words, "f1": file.f1.map(rounded),
            });
            Some((comparison.tool.name().to_owned(), value))
        })
        .collect();
    json!({
        "bench": "extract",
        "file": reading.name.to_string_lossy(),
        "outcome": reading.outcome(),
        "media_type": document.map(|document| document.media_type.as_str()),
        "pages": document.map(|document| document.pages.len()),
        "words": document.map(|document| document.words),
        "warnings": document.map(|document| document.warnings.iter().map(|warning| warning.code).collect::<Vec<_>>()),
        "ms": millis(reading.took),
        "cpu_ms": reading.usage.map(|usage| millis(Duration::from_micros(usage.cpu_micros))),
        "peak_memory_kib": reading.usage.map(|usage| usage.peak_memory_kib),
        "against": against,
    })
}

fn table(readings: &[Reading], comparisons: &[Comparison]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).force_no_tty();
    let mut headings = ["file", "outcome", "pages", "words", "ms", "peak MiB"].map(str::to_owned).to_vec();
    for comparison in comparisons {
        headings.extend([format!("{} ms", comparison.tool.name()), "F1".to_owned()]);
    }
    table.set_header(headings);
    for reading in readings {
        let document = reading.result.as_ref().ok();
        let mut cells = vec![
            reading.name.to_string_lossy().into_owned(),
            reading.outcome().to_owned(),
            document.map_or_else(String::new, |document| document.pages.len().to_string()),
            document.map_or_else(String::new, |document| document.words.to_string()),
            format!("{:.1}", millis(reading.took)),
            reading.usage.map_or_else(String::new, |usage| (usage.peak_memory_kib / 1024).to_string()),
        ];
        for comparison in comparisons {
            let file = found(comparison, reading);
            cells.push(file.map_or_else(String::new, |file| format!("{:.1}", millis(file.took))));
            cells.push(file.map_or_else(String::new, |file| match file.f1 {
                Some(f1) => format!("{f1:.3}"),
                None => file.outcome.clone(),
            }));
        }
        table.add_row(cells.into_iter().enumerate().map(|(column, text)| {
            let side = if column < 2 { CellAlignment::Left } else { CellAlignment::Right };
            Cell::new(text).set_alignment(side)
        }));
    }
    table
}

#[expect(clippy::cast_precision_loss, reason = "counts of files, pages and words are far below 2^53")]
fn sum(readings: &[Reading], comparisons: &[Comparison]) -> Value {
    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    for reading in readings {
        *outcomes.entry(reading.outcome()).or_default() += 1;
    }
    let took: Duration = readings.iter().map(|reading| reading.took).sum();
    let documents = || readings.iter().filter_map(|reading| reading.result.as_ref().ok());
    let peak = readings.iter().filter_map(|reading| Some(reading.usage?.peak_memory_kib)).max();
    json!({
        "files": readings.len(),
        "outcomes": outcomes,
        "pages": documents().map(|document| document.pages.len()).sum::<usize>(),
        "words": documents().map(|document| document.words).sum::<u64>(),
        "seconds": rounded(took.as_secs_f64()),
        "files_per_second": rounded(readings.len() as f64 / took.as_secs_f64()),
        "peak_memory_kib": peak,
        "against": comparisons
            .iter()
            .map(|comparison| (comparison.tool.name().to_owned(), beside(comparison, readings)))
            .collect::<serde_json::Map<String, Value>>(),
    })
}

/// Both on the files that the tool reads.
#[expect(clippy::cast_precision_loss, reason = "counts of files and pages are far below 2^53")]
fn beside(comparison: &Comparison, readings: &[Reading]) -> Value {
    let both: Vec<(&Reading, &Compared)> =
        readings.iter().filter_map(|reading| Some((reading, found(comparison, reading)?))).collect();
    let pages: usize =
        both.iter().filter_map(|(reading, _)| reading.result.as_ref().ok()).map(|document| document.pages.len()).sum();
    let told: Vec<f64> =
        both.iter().filter(|(_, file)| file.words >= LEAST_WORDS).filter_map(|(_, file)| file.f1).collect();
    let own_cpu: u64 = both.iter().filter_map(|(reading, _)| Some(reading.usage?.cpu_micros)).sum();
    let speed = |took: Duration, cpu: Duration| {
        json!({
            "seconds": rounded(took.as_secs_f64()),
            "files_per_second": rounded(both.len() as f64 / took.as_secs_f64()),
            "cpu_seconds": rounded(cpu.as_secs_f64()),
            "pages_per_cpu_second": rounded(pages as f64 / cpu.as_secs_f64()),
        })
    };
    let same = told.iter().filter(|f1| **f1 >= SAME).count();
    json!({
        "files": both.len(),
        "files_with_words": told.len(),
        "f1_mean": rounded(told.iter().sum::<f64>() / told.len() as f64),
        "f1_same_share": rounded(same as f64 / told.len() as f64),
        "without_result": comparison.files.iter().filter(|file| file.f1.is_none()).count(),
        "millrace_without_result": both.iter().filter(|(reading, _)| reading.result.is_err()).count(),
        "millrace": speed(both.iter().map(|(reading, _)| reading.took).sum(), Duration::from_micros(own_cpu)),
        comparison.tool.name(): speed(comparison.files.iter().map(|file| file.took).sum(), comparison.cpu),
    })
}

/// Prints an object as indented lines.
fn tell(value: &Value, depth: usize) {
    let Value::Object(fields) = value else { return };
    for (name, value) in fields {
        let indent = "  ".repeat(depth);
        if value.is_object() {
            println!("{indent}{name}");
            tell(value, depth + 1);
        } else {
            println!("{indent}{name}: {value}");
        }
    }
}
