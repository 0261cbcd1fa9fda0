//! Tables without lines, as `kubectl` and `docker` print them: easy to read, to grep and to paste from.

use comfy_table::{
    Attribute, Cell as StyledCell, CellAlignment, Color, ContentArrangement, Table as Layout, presets::NOTHING,
};
use console::{Term, measure_text_width, truncate_str};

use super::{Tone, one_line};

/// Between two columns.
const GAP: u16 = 2;
/// What a column that gives way keeps at least.
const LEAST_WIDTH: usize = 8;

/// A column.
#[derive(Clone, Copy, Debug)]
pub enum Column {
    /// Text.
    Left(&'static str),
    /// Numbers.
    Right(&'static str),
    /// Text that is cut on a terminal where the line would be too long.
    Cut(&'static str),
}

impl Column {
    fn header(self) -> &'static str {
        match self {
            Self::Left(header) | Self::Right(header) | Self::Cut(header) => header,
        }
    }
}

/// A cell.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub fn new(text: impl AsRef<str>) -> Self {
        Self::toned(text, Tone::Plain)
    }

    pub fn toned(text: impl AsRef<str>, tone: Tone) -> Self {
        Self { text: one_line(text.as_ref()), tone }
    }

    /// A number; 0 is faint, so that what is there stands out.
    pub fn number(number: u64) -> Self {
        Self::toned(super::count(number), if number == 0 { Tone::Faint } else { Tone::Plain })
    }

    /// The text, or a dash where there is none.
    pub fn maybe(text: Option<impl AsRef<str>>) -> Self {
        text.map_or_else(Self::nothing, Self::new)
    }

    /// A dash.
    pub fn nothing() -> Self {
        Self::toned("–", Tone::Faint)
    }
}

/// A table.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub fn new(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The lines, for standard output.
    pub fn lines(&self) -> Vec<String> {
        let width = Term::stdout().size_checked().map(|(_, columns)| usize::from(columns));
        self.lines_for(width, console::colors_enabled())
    }

    fn lines_for(&self, width: Option<usize>, colours: bool) -> Vec<String> {
        let room = width.map(|width| self.room_of_cut_column(width));
        let mut layout = Layout::new();
        layout.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled).force_no_tty();
        if colours {
            layout.enforce_styling();
        }
        let headers = self.columns.iter().map(|column| StyledCell::new(column.header()).add_attribute(Attribute::Dim));
        layout.set_header(headers.collect::<Vec<_>>());
        for row in &self.rows {
            let cells = row.iter().zip(&self.columns).map(|(cell, column)| match (column, room) {
                (Column::Cut(_), Some(room)) => styled(&truncate_str(&cell.text, room, "…"), cell.tone),
                _ => styled(&cell.text, cell.tone),
            });
            layout.add_row(cells.collect::<Vec<_>>());
        }
        let last = self.columns.len().saturating_sub(1);
        for (index, column) in self.columns.iter().enumerate() {
            if let Some(shape) = layout.column_mut(index) {
                shape.set_padding((0, if index == last { 0 } else { GAP }));
                if matches!(column, Column::Right(_)) {
                    shape.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        layout.lines().map(|line| line.trim_end().to_owned()).collect()
    }

    /// What the other columns leave of a terminal's width.
    fn room_of_cut_column(&self, width: usize) -> usize {
        let widest = |index: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(index)).map(|cell| measure_text_width(&cell.text));
            cells.chain([self.columns[index].header().len()]).max().unwrap_or(0)
        };
        let others: usize = (0..self.columns.len())
            .filter(|index| !matches!(self.columns[*index], Column::Cut(_)))
            .map(|index| widest(index) + usize::from(GAP))
            .sum();
        width.saturating_sub(others).max(LEAST_WIDTH)
    }
}

fn styled(text: &str, tone: Tone) -> StyledCell {
    let cell = StyledCell::new(text);
    match tone {
        Tone::Plain => cell,
        Tone::Faint => cell.add_attribute(Attribute::Dim),
        Tone::Good => cell.fg(Color::DarkGreen),
        Tone::Busy => cell.fg(Color::DarkCyan),
        Tone::Doubtful => cell.fg(Color::DarkYellow),
        Tone::Bad => cell.fg(Color::DarkRed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&[Column::Left("ID"), Column::Right("READY"), Column::Cut("ERROR")]);
        table.row(vec![
            Cell::new("a-long-id"),
            Cell::number(7),
            Cell::new("an error that tells more than there is room for"),
        ]);
        table.row(vec![Cell::new("b"), Cell::number(12_345), Cell::maybe(None::<&str>)]);
        table
    }

    #[test]
    fn columns_are_aligned_and_numbers_end_together() {
        assert_eq!(
            table().lines_for(None, false),
            [
                "ID          READY  ERROR",
                "a-long-id       7  an error that tells more than there is room for",
                "b          12,345  –",
            ]
        );
    }

    #[test]
    fn a_terminal_cuts_only_the_column_that_gives_way() {
        let lines = table().lines_for(Some(40), false);
        assert_eq!(lines[1], "a-long-id       7  an error that tells …");
        assert!(lines.iter().all(|line| measure_text_width(line) <= 40));
    }

    #[test]
    fn without_colours_there_is_no_escape() {
        assert!(table().lines_for(None, false).iter().all(|line| !line.contains('\u{1b}')));
        assert!(table().lines_for(None, true).iter().any(|line| line.contains('\u{1b}')));
    }
}
