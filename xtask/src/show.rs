//! How things look on the terminal: short headings, aligned tables, colours only where somebody sees them.

use std::{
    io::{IsTerminal, stdout},
    sync::LazyLock,
    time::Duration,
};

use comfy_table::{Attribute, Cell, CellAlignment, Color, Table, presets::NOTHING};

static COLOURS: LazyLock<bool> =
    LazyLock::new(|| stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()));

fn styled(code: &str, text: &str) -> String {
    if *COLOURS { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

pub(crate) fn bold(text: &str) -> String {
    styled("1", text)
}

pub(crate) fn dim(text: &str) -> String {
    styled("2", text)
}

pub(crate) fn red(text: &str) -> String {
    styled("31", text)
}

pub(crate) fn green(text: &str) -> String {
    styled("32", text)
}

pub(crate) fn heading(text: &str) {
    println!("\n{}", bold(text));
}

/// One thing that is done.
pub(crate) fn done(text: &str) {
    println!("  {} {text}", green("✓"));
}

/// Text of more than one line, moved to the right.
pub(crate) fn indented(text: &str) {
    for line in text.lines() {
        println!("  {line}");
    }
}

/// A table moved to the right, as the text around it is.
pub(crate) fn print_table(table: &mut Table) {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    indented(&table.trim_fmt());
}

/// How the cells of a column stand.
#[derive(Clone, Copy)]
pub(crate) enum Column {
    Text(&'static str),
    Number(&'static str),
}

/// A table without lines and headings.
pub(crate) fn grid() -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    if !*COLOURS {
        table.force_no_tty();
    }
    table
}

/// A cell that steps back.
pub(crate) fn dim_cell(text: &str) -> Cell {
    Cell::new(text).add_attribute(Attribute::Dim)
}

/// A table without lines, with a heading over each column.
pub(crate) fn table(columns: &[Column]) -> Table {
    let mut table = grid();
    table.set_header(columns.iter().map(|column| {
        let (Column::Text(name) | Column::Number(name)) = column;
        Cell::new(name).add_attribute(Attribute::Bold)
    }));
    for (index, column) in columns.iter().enumerate() {
        if let (Column::Number(_), Some(column)) = (column, table.column_mut(index)) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// A state, green where all is well.
pub(crate) fn state(state: &str) -> Cell {
    let colour = match state {
        "ready" | "succeeded" => Color::Green,
        "failed" | "dead" => Color::Red,
        _ => Color::Yellow,
    };
    Cell::new(state).fg(colour)
}

/// A whole number with its thousands apart, or a dash where there is none.
pub(crate) fn number(value: Option<i64>) -> String {
    let Some(value) = value else {
        return "–".into();
    };
    let digits = value.unsigned_abs().to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0 { format!("-{text}") } else { text }
}

/// A duration as a person would say it.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{:.1} s", duration.as_secs_f64()),
        _ => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

/// A media type by the name that people call it.
pub(crate) fn media_type(media_type: &str) -> &str {
    match media_type {
        "application/pdf" => "PDF",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => "DOCX",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation" => "PPTX",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "XLSX",
        "application/vnd.ms-excel" => "XLS",
        "application/vnd.oasis.opendocument.text" => "ODT",
        "application/vnd.oasis.opendocument.spreadsheet" => "ODS",
        "application/vnd.oasis.opendocument.presentation" => "ODP",
        "application/epub+zip" => "EPUB",
        "application/rtf" => "RTF",
        "text/csv" => "CSV",
        "message/rfc822" => "EML",
        "application/vnd.ms-outlook" => "MSG",
        "application/zip" => "ZIP",
        "text/html" => "HTML",
        "text/markdown" => "Markdown",
        "text/plain" => "text",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_durations_read_well() {
        assert_eq!(number(Some(0)), "0");
        assert_eq!(number(Some(999)), "999");
        assert_eq!(number(Some(1_234_567)), "1,234,567");
        assert_eq!(number(Some(-1_000)), "-1,000");
        assert_eq!(number(None), "–");
        assert_eq!(duration(Duration::from_millis(999)), "999 ms");
        assert_eq!(duration(Duration::from_millis(1_250)), "1.2 s");
        assert_eq!(duration(Duration::from_secs(125)), "2 min 5 s");
    }
}
