//! WordprocessingML as lines of text: the one walker behind body, notes, headers and footers.
//!
//! The walker follows elements by their local names (the strict and the transitional namespaces use the same ones) and
//! keeps a stack only of what it must come back to: a text box inside a paragraph, a note, a table row. Content that
//! stands twice in a file (`mc:AlternateContent` with its fallback) is taken once.

use std::collections::HashMap;

use quick_xml::events::{BytesStart, Event};

use super::super::package::{XmlPart, attribute, push_characters};
use super::flow::{Flows, Target};
use super::numbering::{Numbering, level_of};
use crate::ingest::sink::TextSink;
use crate::ingest::wire::Failure;

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
    Ok(walker.flows.into_lines())
}

/// Reads foot- or endnotes as lines by id, without the separators that stand among them; or comments, by author.
pub(super) fn read_notes(part: XmlPart<'_>) -> Result<Vec<(String, Vec<String>)>, Failure> {
    let mut walker = Walker::new(Target::Lines(Vec::new()), None);
    walker.walk(part)?;
    Ok(walker.flows.finished_notes)
}

struct Walker<'a, 'n> {
    flows: Flows<'a, 'n>,
    /// Open elements within one that is left out, that one included.
    skipped: usize,
    in_text: bool,
    in_paragraph_properties: bool,
    in_row_properties: bool,
    notes: Notes,
}

impl<'a, 'n> Walker<'a, 'n> {
    fn new(target: Target<'a>, numbering: Option<&'n mut Numbering>) -> Self {
        Self {
            flows: Flows::new(target, numbering),
            skipped: 0,
            in_text: false,
            in_paragraph_properties: false,
            in_row_properties: false,
            notes: Notes::default(),
        }
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
                event if self.in_text => {
                    push_characters(&event, &mut self.flows.current().paragraph.text);
                }
                _ => {}
            }
        }
        self.flows.end_flow()
    }

    fn start(&mut self, tag: &BytesStart<'_>) -> Result<(), Failure> {
        match tag.local_name().as_ref() {
            // `pPrChange` holds the properties of before a tracked change.
            b"del" | b"moveFrom" | b"Fallback" | b"rt" | b"delText" | b"delInstrText" | b"pPrChange" => {
                self.mark_deletion(tag);
                self.skipped = 1;
            }
            b"t" => self.in_text = true,
            b"pPr" => self.in_paragraph_properties = true,
            b"trPr" => self.in_row_properties = true,
            b"tbl" => self.flows.start_table()?,
            b"tr" if self.flows.current().table_depth == 1 => {
                let flow = self.flows.current();
                flow.row.clear();
                flow.row_deleted = false;
            }
            b"tc" if self.flows.current().table_depth == 1 => {
                self.flows.current().row.push(String::new());
            }
            b"txbxContent" => self.flows.push_flow(None),
            b"footnote" | b"endnote" => self.start_note(tag),
            // Nothing refers to a comment by a number; who wrote it tells it apart.
            b"comment" => self.flows.push_flow(Some(attribute(tag, b"author").unwrap_or_default())),
            _ => self.empty(tag)?,
        }
        Ok(())
    }

    /// Elements that say something by themselves, whether they are written empty or not.
    fn empty(&mut self, tag: &BytesStart<'_>) -> Result<(), Failure> {
        match tag.local_name().as_ref() {
            b"p" => {}
            b"tab" if !self.in_paragraph_properties => {
                self.flows.current().paragraph.text.push('\t');
            }
            b"ptab" => self.flows.current().paragraph.text.push('\t'),
            b"cr" => self.flows.current().paragraph.text.push('\n'),
            b"br" if attribute(tag, b"type").as_deref() == Some("page") => {
                self.flows.page_break()?;
            }
            b"br" => self.flows.current().paragraph.text.push('\n'),
            b"lastRenderedPageBreak" => self.flows.page_break()?,
            b"pageBreakBefore" if self.in_paragraph_properties && is_on(tag) => {
                self.flows.page_break()?;
            }
            b"noBreakHyphen" => self.flows.current().paragraph.text.push('\u{2011}'),
            b"sym" => self.symbol(tag),
            b"pStyle" => self.flows.current().paragraph.style = attribute(tag, b"val"),
            b"numId" if self.in_paragraph_properties => {
                self.flows.current().paragraph.place.list = attribute(tag, b"val");
            }
            b"ilvl" if self.in_paragraph_properties => {
                self.flows.current().paragraph.place.level = level_of(tag, b"val");
            }
            b"outlineLvl" if self.in_paragraph_properties => {
                self.flows.current().paragraph.outline = level_of(tag, b"val");
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
            b"p" => self.flows.end_paragraph()?,
            b"tr" if self.flows.current().table_depth == 1 => self.flows.end_row()?,
            b"tbl" => {
                let flow = self.flows.current();
                flow.table_depth = flow.table_depth.saturating_sub(1);
                if flow.table_depth == 0 {
                    self.flows.part_paragraphs();
                }
            }
            b"txbxContent" | b"footnote" | b"endnote" | b"comment" => self.flows.pop_flow()?,
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
            self.flows.current().row_deleted = true;
        } else if self.in_paragraph_properties {
            self.flows.current().paragraph.mark_deleted = true;
        }
    }

    /// A character of a symbol font. Those in the private use area have no meaning outside their font.
    fn symbol(&mut self, tag: &BytesStart<'_>) {
        let code = attribute(tag, b"char").and_then(|hex| u32::from_str_radix(&hex, 16).ok());
        let c = code.and_then(char::from_u32).filter(|c| !('\u{e000}'..='\u{f8ff}').contains(c));
        self.flows.current().paragraph.text.extend(c);
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
        self.flows.current().paragraph.text.push_str(&format!("[{number}]"));
    }

    fn start_note(&mut self, tag: &BytesStart<'_>) {
        // `separator`, `continuationSeparator` and `continuationNotice` draw lines; a note has no type or `normal`.
        if attribute(tag, b"type").is_some_and(|kind| kind != "normal") {
            self.skipped = 1;
            return;
        }
        self.flows.push_flow(attribute(tag, b"id"));
    }
}

/// Whether an on/off property is on (17.17.4: absent value is on).
fn is_on(tag: &BytesStart<'_>) -> bool {
    !matches!(attribute(tag, b"val").as_deref(), Some("0" | "false" | "off"))
}
