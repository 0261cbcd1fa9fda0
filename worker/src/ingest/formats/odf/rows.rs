//! The table rows that are open: a table may stand in a cell of another one.

use quick_xml::events::BytesStart;

use super::{MAX_REPEATED, count_of};

/// More empty cells in a row than this are told as so many.
const MAX_GAP: usize = 50;

/// A row that is open.
#[derive(Default)]
struct Row {
    cells: Vec<String>,
    /// How often the cell that is open is to stand there.
    repeated: usize,
    /// How often the row is to.
    times: usize,
}

#[derive(Default)]
pub(super) struct Rows(Vec<Row>);

impl Rows {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn begin(&mut self, tag: &BytesStart<'_>) {
        let times = count_of(tag, b"number-rows-repeated");
        self.0.push(Row { times, ..Row::default() });
    }

    pub fn begin_cell(&mut self, tag: &BytesStart<'_>) {
        if let Some(row) = self.0.last_mut() {
            row.repeated = count_of(tag, b"number-columns-repeated");
            row.cells.push(String::new());
        }
    }

    pub fn end_cell(&mut self) {
        let Some(row) = self.0.last_mut() else { return };
        let most = if row.cells.last().is_some_and(String::is_empty) { MAX_GAP } else { MAX_REPEATED };
        if let Some(cell) = row.cells.last().cloned() {
            row.cells.extend(std::iter::repeat_n(cell, row.repeated.min(most).saturating_sub(1)));
        }
        row.repeated = 1;
    }

    /// Adds text to the cell that is open; `false` where none is.
    pub fn add(&mut self, text: &str) -> bool {
        let Some(cell) = self.0.last_mut().and_then(|row| row.cells.last_mut()) else { return false };
        if !cell.is_empty() {
            cell.push(' ');
        }
        // A row is a line, so a cell cannot have several.
        cell.extend(text.chars().map(|c| if matches!(c, '\n' | '\t') { ' ' } else { c }));
        true
    }

    /// Ends a row: its line and how often that is to stand there. A row within a cell becomes a part of that cell.
    pub fn end(&mut self) -> Option<(String, usize)> {
        let mut row = self.0.pop()?;
        while row.cells.last().is_some_and(String::is_empty) {
            row.cells.pop();
        }
        if row.cells.is_empty() {
            return None;
        }
        let line = row.cells.join("\t");
        if self.add(&line) { None } else { Some((line, row.times.min(MAX_REPEATED))) }
    }
}
