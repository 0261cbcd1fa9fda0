//! Spreadsheets of Excel, XLSX and the binary XLS: each sheet is a page with its name, each row a line, its cells parted by tabs.
//!
//! calamine reads them: values as they were last computed, dates as dates. An XLSX is streamed cell by cell; an XLS is held in memory whole, which
//! the child's limit bounds.

mod beside;

use std::io::{BufReader, Read, Seek};

use calamine::{Data, DataRef, ExcelDateTime, Reader as _, Xls, XlsError, Xlsx, XlsxError};

use self::beside::Beside;
use super::Input;
use super::package::Package;
use crate::ingest::document::WarningCode;
use crate::ingest::limits::IngestLimits;
use crate::ingest::sink::TextSink;
use crate::ingest::wire::Failure;

/// More empty cells in a row than this are told as so many.
const MAX_GAP: u32 = 50;

pub(super) fn extract_xlsx(input: &Input, limits: &IngestLimits, sink: &mut TextSink) -> Result<(), Failure> {
    let mut package = Package::open(input, limits.max_expanded_bytes)?;
    package.read_core_properties(&mut sink.metadata);
    let mut book = Xlsx::new(BufReader::new(input.reader())).map_err(|error| xlsx_failure(&error))?;
    // Where this cannot be read, the cells still can.
    let beside = Beside::of(&mut package).unwrap_or_default();
    for name in book.sheet_names() {
        let mut rows = Rows::new(sink, &name);
        let mut done = write_streamed(&mut book, &mut rows);
        if done.is_ok() {
            done =
                beside.lines(&mut package, &name).and_then(|lines| lines.iter().try_for_each(|line| rows.beside(line)));
        }
        match done {
            Err(Failure::Malformed { .. }) => damaged(&name, sink),
            done => done?,
        }
        sink.page_break()?;
    }
    Ok(())
}

/// Whether a compound file holds a workbook of Excel, whatever else.
pub(super) fn is_workbook(input: &Input) -> bool {
    let Ok(file) = cfb::CompoundFile::open(BufReader::new(input.reader())) else { return false };
    // The name that Excel 95 gave it is the shorter one.
    ["/Workbook", "/Book"].iter().any(|name| file.is_stream(name))
}

pub(super) fn extract_xls(input: &Input, _limits: &IngestLimits, sink: &mut TextSink) -> Result<(), Failure> {
    let mut book = Xls::new(BufReader::new(input.reader())).map_err(|error| xls_failure(&error))?;
    for name in book.sheet_names() {
        let Ok(range) = book.worksheet_range(&name) else {
            damaged(&name, sink);
            sink.page_break()?;
            continue;
        };
        let (first_row, first_column) = range.start().unwrap_or_default();
        let mut rows = Rows::new(sink, &name);
        for (row, column, value) in range.used_cells() {
            let place = (first_row + row as u32, first_column + column as u32);
            rows.cell(place, &owned_text(value))?;
        }
        sink.page_break()?;
    }
    Ok(())
}

fn damaged(name: &str, sink: &mut TextSink) {
    let page = sink.page_number();
    sink.warn(WarningCode::PartUnreadable, Some(page), format!("the sheet {name:?} could not be read to its end"));
}

fn write_streamed<R: Read + Seek>(book: &mut Xlsx<R>, rows: &mut Rows<'_>) -> Result<(), Failure> {
    let mut cells = match book.worksheet_cells_reader(rows.name) {
        // A sheet that is a chart.
        Err(XlsxError::NotAWorksheet(_)) => return Ok(()),
        cells => cells.map_err(|error| xlsx_failure(&error))?,
    };
    while let Some(cell) = cells.next_cell().map_err(|error| xlsx_failure(&error))? {
        rows.cell(cell.get_position(), &text(cell.get_value()))?;
    }
    Ok(())
}

/// Writes cells in the order of rows and columns; a sheet without any leaves nothing, not even its name.
struct Rows<'a> {
    sink: &'a mut TextSink,
    name: &'a str,
    /// The name is written.
    is_begun: bool,
    row: Option<u32>,
    column: u32,
}

impl<'a> Rows<'a> {
    fn new(sink: &'a mut TextSink, name: &'a str) -> Self {
        Self { sink, name, is_begun: false, row: None, column: 0 }
    }

    fn begin(&mut self) -> Result<(), Failure> {
        if !std::mem::replace(&mut self.is_begun, true) {
            self.sink.begin_heading(1);
            self.sink.text(self.name)?;
            self.sink.end_heading();
            self.sink.paragraph_break();
        }
        Ok(())
    }

    /// A line that stands in no cell.
    fn beside(&mut self, line: &str) -> Result<(), Failure> {
        self.begin()?;
        self.sink.paragraph_break();
        self.sink.text(line)
    }

    fn cell(&mut self, (row, column): (u32, u32), text: &str) -> Result<(), Failure> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(());
        }
        self.begin()?;
        if self.row != Some(row) {
            self.sink.line_break();
            (self.row, self.column) = (Some(row), 0);
        }
        for _ in 0..column.saturating_sub(self.column).min(MAX_GAP) {
            self.sink.text("\t")?;
        }
        self.column = column;
        // A row is a line, so a cell cannot have several.
        self.sink.text(&text.replace(['\n', '\r', '\t'], " "))
    }
}

fn text(value: &DataRef<'_>) -> String {
    match value {
        DataRef::SharedString(text) => (*text).to_owned(),
        other => owned_text(&other.clone().into()),
    }
}

fn owned_text(value: &Data) -> String {
    match value {
        Data::Int(number) => number.to_string(),
        Data::Float(number) => number_text(*number),
        Data::String(text) | Data::DateTimeIso(text) | Data::DurationIso(text) => text.clone(),
        Data::Bool(value) => if *value { "TRUE" } else { "FALSE" }.to_owned(),
        Data::DateTime(time) => time_text(time),
        Data::Error(error) => error.to_string(),
        _ => String::new(),
    }
}

/// Fifteen digits, which is what spreadsheets hold; a sum of 0.1 and 0.2 is 0.3.
fn number_text(number: f64) -> String {
    let rounded: f64 = format!("{number:.14e}").parse().unwrap_or(number);
    rounded.to_string()
}

fn time_text(time: &ExcelDateTime) -> String {
    /// The last day that a spreadsheet can tell, 9999-12-31.
    const LAST_DAY: f64 = 2_958_466.0;
    let value = time.as_f64();
    if !(0.0..LAST_DAY).contains(&value) {
        return number_text(value);
    }
    if time.is_duration() || value < 1.0 {
        let seconds = (value * 86_400.0).round();
        let (hours, rest) = ((seconds / 3_600.0).floor(), seconds % 3_600.0);
        return format!("{hours:02}:{:02}:{:02}", (rest / 60.0).floor(), rest % 60.0);
    }
    let Some(moment) = time.as_datetime() else { return number_text(value) };
    let form = if value.fract() < 0.5 / 86_400.0 { "%Y-%m-%d" } else { "%Y-%m-%d %H:%M:%S" };
    moment.format(form).to_string()
}

fn xlsx_failure(error: &XlsxError) -> Failure {
    match error {
        XlsxError::Password => Failure::Encrypted,
        _ => Failure::malformed("its workbook cannot be read"),
    }
}

fn xls_failure(error: &XlsError) -> Failure {
    match error {
        XlsError::Password => Failure::Encrypted,
        _ => Failure::malformed("its workbook cannot be read"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_as_people_entered_them() {
        let numbers = [12.0, 0.1 + 0.2, -3.5, 1e21, 123_456_789.25].map(number_text);
        assert_eq!(numbers, ["12", "0.3", "-3.5", "1000000000000000000000", "123456789.25"]);
    }

    #[test]
    fn cells_stand_in_their_columns_and_rows_on_lines_of_their_own() {
        let mut sink = TextSink::new(1_000, 10);
        let mut rows = Rows::new(&mut sink, "Levels");
        for (place, text) in [((0, 0), "day"), ((0, 2), "two\nlines"), ((3, 1), " "), ((4, 0), "1"), ((4, 9_000), "x")]
        {
            rows.cell(place, text).unwrap();
        }
        let text = sink.finish().unwrap().text;
        assert_eq!(text, format!("Levels\n\nday\t\ttwo lines\n1{}x", "\t".repeat(50)));
    }
}
