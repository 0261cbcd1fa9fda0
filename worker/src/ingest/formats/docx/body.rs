//! WordprocessingML as lines of text: the one walker behind body, notes, headers and footers.
//!
//! The walker follows elements by their local names (the strict and the transitional namespaces use the same ones) and
//! keeps a stack only of what it must come back to: a text box inside a paragraph, a note, a table row. Content that
//! stands twice in a file (`mc:AlternateContent` with its fallback) is taken once.

use std::collections::HashMap;

use quick_xml::events::{BytesStart, Event};

use super::numbering::{ListPlace, Numbering, level_of};
use super::package::{XmlPart, attribute};
use crate::ingest::sink::TextSink;
use crate::ingest::wire::Failure;

/// Text boxes within text boxes; deeper ones flow into the one around them.
const MAX_CONTEXTS: usize = 32;

/// Which notes the body refers to, and as which number.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub footnotes: HashMap<String, usize>,
    pub endnotes: HashMap<String, usize>,
}

/// Reads the body into the sink.
pub(super) fn read_body(part: XmlPart<'_>, numbering: &mut Numbering, sink: &mut TextSink) -> Result<Notes, Failure> {
    let mut walker = Walker::new(Target::Sink(sink), Some(numbering));
    walker.walk(part)?;
    Ok(walker.notes)
}

/// Reads a header or footer as lines.
pub(super) fn read_aside(part: XmlPart<'_>) -> Result<Vec<String>, Failure> {
    let mut walker = Walker::new(Target::Lines(Vec::new()), None);
    walker.walk(part)?;
    Ok(walker.into_lines())
}

/// Reads foot- or endnotes as lines by id, without the separators that stand among them.
pub(super) fn read_notes(part: XmlPart<'_>) -> Result<Vec<(String, Vec<String>)>, Failure> {
    let mut walker = Walker::new(Target::Lines(Vec::new()), None);
    walker.walk(part)?;
    Ok(walker.finished_notes)
}

/// Adds what an event holds of text: characters, character references and the five predefined entities.
pub(super) fn push_characters(event: &Event<'_>, text: &mut String) {
    match event {
        Event::Text(piece) => push_run(&String::from_utf8_lossy(piece), text),
        Event::CData(piece) => push_run(&String::from_utf8_lossy(piece), text),
        Event::GeneralRef(reference) => match reference.resolve_char_ref() {
            Ok(Some(c)) => text.push(c),
            _ => match &**reference {
                b"amp" => text.push('&'),
                b"lt" => text.push('<'),
                b"gt" => text.push('>'),
                b"quot" => text.push('"'),
                b"apos" => text.push('\''),
                // An entity of a document type, which is not read.
                _ => {}
            },
        },
        _ => {}
    }
}

/// Line ends within a run are blanks; the breaks are elements.
fn push_run(run: &str, text: &mut String) {
    text.extend(run.chars().map(|c| if matches!(c, '\n' | '\r' | '\t') { ' ' } else { c }));
}

enum Target<'a> {
    Sink(&'a mut TextSink),
    Lines(Vec<String>),
}

/// A flow of paragraphs: the part itself, a text box, or a note.
#[derive(Default)]
struct Flow {
    paragraph: Paragraph,
    table_depth: usize,
    row: Vec<String>,
    row_deleted: bool,
    /// Finished lines of inner flows, which follow the paragraph or row they are anchored in.
    pending: Vec<String>,
    page_break_due: bool,
    last_was_item: bool,
    note: Option<String>,
}

#[derive(Default)]
struct Paragraph {
    text: String,
    style: Option<String>,
    place: ListPlace,
    /// Its mark is deleted by a tracked change: the next paragraph continues it.
    mark_deleted: bool,
}

struct Walker<'a, 'n> {
    target: Target<'a>,
    numbering: Option<&'n mut Numbering>,
    flows: Vec<Flow>,
    /// Open flows beyond [`MAX_CONTEXTS`].
    flattened: usize,
    /// Open elements within one that is left out, that one included.
    skipped: usize,
    in_text: bool,
    in_paragraph_properties: bool,
    in_row_properties: bool,
    notes: Notes,
    finished_notes: Vec<(String, Vec<String>)>,
}

impl<'a, 'n> Walker<'a, 'n> {
    fn new(target: Target<'a>, numbering: Option<&'n mut Numbering>) -> Self {
        Self {
            target,
            numbering,
            flows: vec![Flow::default()],
            flattened: 0,
            skipped: 0,
            in_text: false,
            in_paragraph_properties: false,
            in_row_properties: false,
            notes: Notes::default(),
            finished_notes: Vec::new(),
        }
    }

    fn into_lines(self) -> Vec<String> {
        match self.target {
            Target::Lines(lines) => lines,
            Target::Sink(_) => Vec::new(),
        }
    }

    fn flow(&mut self) -> &mut Flow {
        if self.flows.is_empty() {
            self.flows.push(Flow::default());
        }
        let last = self.flows.len() - 1;
        &mut self.flows[last]
    }

    fn walk(&mut self, mut part: XmlPart<'_>) -> Result<(), Failure> {
        while let Some(event) = part.next()? {
            match event {
                Event::Start(_) if self.skipped > 0 => self.skipped += 1,
                Event::End(_) if self.skipped > 0 => self.skipped -= 1,
                _ if self.skipped > 0 => {}
                Event::Start(tag) => self.start(&tag)?,
                Event::Empty(tag) => self.empty(&tag)?,
                Event::End(tag) => self.end(tag.local_name().as_ref())?,
                event if self.in_text => push_characters(&event, &mut self.flow().paragraph.text),
                _ => {}
            }
        }
        self.end_flow()
    }

    fn start(&mut self, tag: &BytesStart<'_>) -> Result<(), Failure> {
        match tag.local_name().as_ref() {
            b"del" | b"moveFrom" | b"Fallback" | b"rt" | b"delText" | b"delInstrText" => {
                self.mark_deletion(tag);
                self.skipped = 1;
            }
            b"t" => self.in_text = true,
            b"pPr" => self.in_paragraph_properties = true,
            b"trPr" => self.in_row_properties = true,
            b"tbl" => self.start_table()?,
            b"tr" if self.flow().table_depth == 1 => {
                let flow = self.flow();
                flow.row.clear();
                flow.row_deleted = false;
            }
            b"tc" if self.flow().table_depth == 1 => self.flow().row.push(String::new()),
            b"txbxContent" => self.push_flow(None),
            b"footnote" | b"endnote" => self.start_note(tag),
            _ => self.empty(tag)?,
        }
        Ok(())
    }

    /// Elements that say something by themselves, whether they are written empty or not.
    fn empty(&mut self, tag: &BytesStart<'_>) -> Result<(), Failure> {
        match tag.local_name().as_ref() {
            b"p" => {}
            b"tab" if !self.in_paragraph_properties => self.flow().paragraph.text.push('\t'),
            b"ptab" => self.flow().paragraph.text.push('\t'),
            b"cr" => self.flow().paragraph.text.push('\n'),
            b"br" if attribute(tag, b"type").as_deref() == Some("page") => self.page_break()?,
            b"br" => self.flow().paragraph.text.push('\n'),
            b"lastRenderedPageBreak" => self.page_break()?,
            b"pageBreakBefore" if self.in_paragraph_properties && is_on(tag) => self.page_break()?,
            b"noBreakHyphen" => self.flow().paragraph.text.push('\u{2011}'),
            b"sym" => self.symbol(tag),
            b"pStyle" => self.flow().paragraph.style = attribute(tag, b"val"),
            b"numId" if self.in_paragraph_properties => self.flow().paragraph.place.list = attribute(tag, b"val"),
            b"ilvl" if self.in_paragraph_properties => {
                self.flow().paragraph.place.level = level_of(tag, b"val");
            }
            b"del" | b"moveFrom" => self.mark_deletion(tag),
            b"footnoteReference" | b"endnoteReference" => self.refer(tag),
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, name: &[u8]) -> Result<(), Failure> {
        match name {
            b"t" => self.in_text = false,
            b"pPr" => self.in_paragraph_properties = false,
            b"trPr" => self.in_row_properties = false,
            b"p" => self.end_paragraph()?,
            b"tr" if self.flow().table_depth == 1 => self.end_row()?,
            b"tbl" => {
                let flow = self.flow();
                flow.table_depth = flow.table_depth.saturating_sub(1);
                if flow.table_depth == 0 {
                    self.part_paragraphs();
                }
            }
            b"txbxContent" | b"footnote" | b"endnote" => self.pop_flow()?,
            _ => {}
        }
        Ok(())
    }

    /// `w:del` among properties marks the paragraph's end or the row itself as deleted.
    fn mark_deletion(&mut self, tag: &BytesStart<'_>) {
        if tag.local_name().as_ref() != b"del" {
            return;
        }
        if self.in_row_properties {
            self.flow().row_deleted = true;
        } else if self.in_paragraph_properties {
            self.flow().paragraph.mark_deleted = true;
        }
    }

    /// A character of a symbol font. Those in the private use area have no meaning outside their font.
    fn symbol(&mut self, tag: &BytesStart<'_>) {
        let code = attribute(tag, b"char").and_then(|hex| u32::from_str_radix(&hex, 16).ok());
        let c = code.and_then(char::from_u32).filter(|c| !('\u{e000}'..='\u{f8ff}').contains(c));
        self.flow().paragraph.text.extend(c);
    }

    fn refer(&mut self, tag: &BytesStart<'_>) {
        let Some(id) = attribute(tag, b"id") else {
            return;
        };
        // Foot- and endnotes share one count, so that a number in the text is never ambiguous.
        let next = self.notes.footnotes.len() + self.notes.endnotes.len() + 1;
        let is_footnote = tag.local_name().as_ref() == b"footnoteReference";
        let places = if is_footnote { &mut self.notes.footnotes } else { &mut self.notes.endnotes };
        let number = *places.entry(id).or_insert(next);
        self.flow().paragraph.text.push_str(&format!("[{number}]"));
    }

    fn start_note(&mut self, tag: &BytesStart<'_>) {
        // `separator`, `continuationSeparator` and `continuationNotice` draw lines; a note has no type or `normal`.
        if attribute(tag, b"type").is_some_and(|kind| kind != "normal") {
            self.skipped = 1;
            return;
        }
        self.push_flow(attribute(tag, b"id"));
    }

    fn push_flow(&mut self, note: Option<String>) {
        if self.flows.len() >= MAX_CONTEXTS {
            self.flattened += 1;
            return;
        }
        self.flows.push(Flow { note, ..Flow::default() });
    }

    fn pop_flow(&mut self) -> Result<(), Failure> {
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
                None => self.flow().pending.extend(finished.pending),
            }
        }
        Ok(())
    }

    fn start_table(&mut self) -> Result<(), Failure> {
        if self.flow().table_depth == 0 {
            self.part_paragraphs();
        }
        self.flow().table_depth += 1;
        Ok(())
    }

    /// Ends what is open in the current flow, whether or not the file says so.
    fn end_flow(&mut self) -> Result<(), Failure> {
        self.flow().paragraph.mark_deleted = false;
        self.end_paragraph()?;
        self.end_row()
    }

    fn end_paragraph(&mut self) -> Result<(), Failure> {
        if self.flow().paragraph.mark_deleted {
            self.flow().paragraph.mark_deleted = false;
            return Ok(());
        }
        let paragraph = std::mem::take(&mut self.flow().paragraph);
        let has_text = !paragraph.text.trim().is_empty();
        let mark = if has_text {
            let style = paragraph.style.as_deref();
            self.numbering.as_mut().and_then(|numbering| numbering.mark(&paragraph.place, style))
        } else {
            None
        };
        let is_item = mark.is_some() && paragraph.style.as_deref().is_none_or(|style| !style.starts_with("Heading"));
        let mark = mark.unwrap_or_default();
        let line = format!("{}{}", if is_item { &mark } else { mark.trim_start() }, paragraph.text);
        if self.flow().table_depth > 0 {
            self.add_to_cell(line.trim());
            return Ok(());
        }
        if has_text {
            let follows_item = std::mem::replace(&mut self.flow().last_was_item, is_item);
            if !(is_item && follows_item) {
                self.part_paragraphs();
            }
            self.write_line(&line)?;
            if !is_item {
                self.part_paragraphs();
            }
        }
        self.write_pending()
    }

    fn add_to_cell(&mut self, line: &str) {
        let flow = self.flow();
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

    fn end_row(&mut self) -> Result<(), Failure> {
        let row = std::mem::take(&mut self.flow().row);
        let deleted = std::mem::take(&mut self.flow().row_deleted);
        if !deleted && row.iter().any(|cell| !cell.is_empty()) {
            self.write_line(&row.join("\t"))?;
        }
        self.write_pending()?;
        if std::mem::take(&mut self.flow().page_break_due) {
            self.page_break_now()?;
        }
        Ok(())
    }

    /// Breaks the page here: within a paragraph what came before ends on the old page, within a table the row does.
    fn page_break(&mut self) -> Result<(), Failure> {
        if self.flows.len() > 1 {
            return Ok(());
        }
        if self.flow().table_depth > 0 {
            self.flow().page_break_due = true;
            return Ok(());
        }
        if !self.flow().paragraph.text.trim().is_empty() {
            let rest_of = Paragraph { style: None, ..std::mem::take(&mut self.flow().paragraph) };
            self.write_line(&rest_of.text)?;
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
        if self.flow().table_depth > 0 && !self.flow().row.is_empty() || self.flow().pending.is_empty() {
            return Ok(());
        }
        if self.flows.len() > 1 {
            return Ok(());
        }
        self.part_paragraphs();
        for line in std::mem::take(&mut self.flow().pending) {
            self.write_line(&line)?;
        }
        self.part_paragraphs();
        Ok(())
    }

    fn write_line(&mut self, line: &str) -> Result<(), Failure> {
        if self.flows.len() > 1 {
            self.flow().pending.push(line.to_owned());
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

    fn part_paragraphs(&mut self) {
        if let (Target::Sink(sink), 1) = (&mut self.target, self.flows.len()) {
            sink.paragraph_break();
        }
    }
}

/// Whether an on/off property is on (17.17.4: absent value is on).
fn is_on(tag: &BytesStart<'_>) -> bool {
    !matches!(attribute(tag, b"val").as_deref(), Some("0" | "false" | "off"))
}
