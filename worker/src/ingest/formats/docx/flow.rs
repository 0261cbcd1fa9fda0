//! From runs to lines: paragraphs, rows, text boxes and pages, as the walker over the XML meets them.
//!
//! The part itself is a flow of paragraphs; a text box or a note within it is another one, kept until the paragraph or row
//! it is anchored in has ended. Only the outermost flow of the body writes to the sink as it goes.

use super::numbering::{ListPlace, Numbering};
use crate::ingest::sink::TextSink;
use crate::ingest::wire::Failure;

/// Text boxes within text boxes; deeper ones flow into the one around them.
const MAX_CONTEXTS: usize = 32;

pub(super) enum Target<'a> {
    Sink(&'a mut TextSink),
    Lines(Vec<String>),
}

/// A flow of paragraphs: the part itself, a text box, or a note.
#[derive(Default)]
pub(super) struct Flow {
    pub paragraph: Paragraph,
    pub table_depth: usize,
    pub row: Vec<String>,
    pub row_deleted: bool,
    /// Finished lines of inner flows, which follow the paragraph or row they are anchored in.
    pending: Vec<String>,
    page_break_due: bool,
    last_was_item: bool,
    note: Option<String>,
}

#[derive(Default)]
pub(super) struct Paragraph {
    pub text: String,
    pub style: Option<String>,
    pub place: ListPlace,
    /// Its level in the outline, from 0, where it does not leave that to its style; 9 is none (17.3.1.20).
    pub outline: Option<usize>,
    /// Its mark is deleted by a tracked change: the next paragraph continues it.
    pub mark_deleted: bool,
}

pub(super) struct Flows<'a, 'n> {
    target: Target<'a>,
    numbering: Option<&'n mut Numbering>,
    flows: Vec<Flow>,
    /// Open flows beyond [`MAX_CONTEXTS`].
    flattened: usize,
    pub finished_notes: Vec<(String, Vec<String>)>,
}

impl<'a, 'n> Flows<'a, 'n> {
    pub fn new(target: Target<'a>, numbering: Option<&'n mut Numbering>) -> Self {
        Self { target, numbering, flows: vec![Flow::default()], flattened: 0, finished_notes: Vec::new() }
    }

    pub fn into_lines(self) -> Vec<String> {
        match self.target {
            Target::Lines(lines) => lines,
            Target::Sink(_) => Vec::new(),
        }
    }

    pub fn current(&mut self) -> &mut Flow {
        if self.flows.is_empty() {
            self.flows.push(Flow::default());
        }
        let last = self.flows.len() - 1;
        &mut self.flows[last]
    }

    pub fn push_flow(&mut self, note: Option<String>) {
        if self.flows.len() >= MAX_CONTEXTS {
            self.flattened += 1;
            return;
        }
        self.flows.push(Flow { note, ..Flow::default() });
    }

    pub fn pop_flow(&mut self) -> Result<(), Failure> {
        if self.flattened > 0 {
            self.flattened -= 1;
            return Ok(());
        }
        self.end_flow()?;
        if self.flows.len() < 2 {
            return Ok(());
        }
        if let Some(finished) = self.flows.pop() {
            match finished.note {
                Some(id) => self.finished_notes.push((id, finished.pending)),
                None => self.current().pending.extend(finished.pending),
            }
        }
        Ok(())
    }

    pub fn start_table(&mut self) -> Result<(), Failure> {
        if self.current().table_depth == 0 {
            self.part_paragraphs();
        }
        self.current().table_depth += 1;
        Ok(())
    }

    /// Ends what is open in the current flow, whether or not the file says so.
    pub fn end_flow(&mut self) -> Result<(), Failure> {
        self.current().paragraph.mark_deleted = false;
        self.end_paragraph()?;
        self.end_row()
    }

    pub fn end_paragraph(&mut self) -> Result<(), Failure> {
        if self.current().paragraph.mark_deleted {
            self.current().paragraph.mark_deleted = false;
            return Ok(());
        }
        let paragraph = std::mem::take(&mut self.current().paragraph);
        self.write_paragraph(&paragraph)?;
        self.write_pending()
    }

    /// Writes a paragraph, or what of it stands on the page that ends, with its mark, and counts it.
    fn write_paragraph(&mut self, paragraph: &Paragraph) -> Result<(), Failure> {
        let has_text = !paragraph.text.trim().is_empty();
        // One without text counts as well.
        let style = paragraph.style.as_deref();
        let mark = self.numbering.as_mut().and_then(|numbering| numbering.mark(&paragraph.place, style));
        let level = self.numbering.as_ref().and_then(|numbering| {
            let outline = paragraph.outline.or_else(|| numbering.outline_level(paragraph.style.as_deref()));
            outline.filter(|level| *level < 9).map(|level| level as u8 + 1)
        });
        let is_item = mark.is_some()
            && level.is_none()
            && paragraph.style.as_deref().is_none_or(|style| !style.starts_with("Heading"));
        let mark = mark.unwrap_or_default();
        let line = format!("{}{}", if is_item { &mark } else { mark.trim_start() }, paragraph.text);
        if self.current().table_depth > 0 {
            // Numbers alone in a column are the numbers of its rows; a dash alone says nothing.
            if has_text || mark.trim() != "-" {
                self.add_to_cell(line.trim());
            }
            return Ok(());
        }
        if has_text {
            let follows_item = std::mem::replace(&mut self.current().last_was_item, is_item);
            if !(is_item && follows_item) {
                self.part_paragraphs();
            }
            self.begin_heading(level);
            self.write_line(&line)?;
            self.end_heading();
            if !is_item {
                self.part_paragraphs();
            }
        }
        Ok(())
    }

    fn add_to_cell(&mut self, line: &str) {
        let flow = self.current();
        if line.is_empty() {
            return;
        }
        if flow.row.is_empty() {
            flow.row.push(String::new());
        }
        if let Some(cell) = flow.row.last_mut() {
            if !cell.is_empty() {
                cell.push(' ');
            }
            // A row is a line, so a cell cannot have several.
            cell.extend(line.chars().map(|c| if matches!(c, '\n' | '\t') { ' ' } else { c }));
        }
    }

    pub fn end_row(&mut self) -> Result<(), Failure> {
        let row = std::mem::take(&mut self.current().row);
        let deleted = std::mem::take(&mut self.current().row_deleted);
        if !deleted && row.iter().any(|cell| !cell.is_empty()) {
            self.write_line(&row.join("\t"))?;
        }
        self.write_pending()?;
        if std::mem::take(&mut self.current().page_break_due) {
            self.page_break_now()?;
        }
        Ok(())
    }

    /// Breaks the page here: within a paragraph what came before ends on the old page, within a table the row does.
    pub fn page_break(&mut self) -> Result<(), Failure> {
        if self.flows.len() > 1 {
            return Ok(());
        }
        if self.current().table_depth > 0 {
            self.current().page_break_due = true;
            return Ok(());
        }
        if !self.current().paragraph.text.trim().is_empty() {
            let begun = std::mem::take(&mut self.current().paragraph);
            // What follows is no further item of a list and no further heading.
            self.current().paragraph.mark_deleted = begun.mark_deleted;
            self.write_paragraph(&begun)?;
        }
        self.page_break_now()
    }

    /// A page that nothing was written to is not ended: a break that is both told and rendered stands twice.
    fn page_break_now(&mut self) -> Result<(), Failure> {
        match &mut self.target {
            Target::Sink(sink) if !sink.page_is_empty() => sink.page_break(),
            _ => Ok(()),
        }
    }

    fn write_pending(&mut self) -> Result<(), Failure> {
        // Within a table the row comes first.
        if self.current().table_depth > 0 && !self.current().row.is_empty() || self.current().pending.is_empty() {
            return Ok(());
        }
        if self.flows.len() > 1 {
            return Ok(());
        }
        self.part_paragraphs();
        for line in std::mem::take(&mut self.current().pending) {
            self.write_line(&line)?;
        }
        self.part_paragraphs();
        Ok(())
    }

    fn begin_heading(&mut self, level: Option<u8>) {
        if let (Target::Sink(sink), 1, Some(level)) = (&mut self.target, self.flows.len(), level) {
            sink.begin_heading(level);
        }
    }

    fn end_heading(&mut self) {
        if let (Target::Sink(sink), 1) = (&mut self.target, self.flows.len()) {
            sink.end_heading();
        }
    }

    fn write_line(&mut self, line: &str) -> Result<(), Failure> {
        if self.flows.len() > 1 {
            self.current().pending.push(line.to_owned());
            return Ok(());
        }
        match &mut self.target {
            Target::Sink(sink) => {
                sink.text(line)?;
                sink.line_break();
            }
            Target::Lines(lines) => lines.push(line.trim().to_owned()),
        }
        Ok(())
    }

    pub fn part_paragraphs(&mut self) {
        if let (Target::Sink(sink), 1) = (&mut self.target, self.flows.len()) {
            sink.paragraph_break();
        }
    }
}
