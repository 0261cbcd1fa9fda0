//! OpenDocument (ISO/IEC 26300): texts, spreadsheets and presentations, streamed from `content.xml`.
//!
//! A sheet or a slide is a page, and so is what the producer rendered as one of a text. What was deleted by a tracked change is left out. A
//! note stands where its document ends, with the number that refers to it.

mod lists;
mod rows;

use std::collections::HashSet;

use quick_xml::events::{BytesStart, Event};

use self::lists::Lists;
use self::rows::Rows;
use super::Input;
use super::package::{Package, XmlPart, attribute, push_characters};
use crate::ingest::limits::IngestLimits;
use crate::ingest::sink::TextSink;
use crate::ingest::wire::Failure;

/// How often a cell or a row with text is repeated at most: repetition is meant for what is empty.
const MAX_REPEATED: usize = 1_000;

/// A text, with the headers and footers of its pages.
pub(super) fn extract_text(input: &Input, limits: &IngestLimits, sink: &mut TextSink) -> Result<(), Failure> {
    extract(input, limits, sink, true)
}

/// A spreadsheet or a presentation: what stands at the edges of its pages is what the producer put there.
pub(super) fn extract_pages(input: &Input, limits: &IngestLimits, sink: &mut TextSink) -> Result<(), Failure> {
    extract(input, limits, sink, false)
}

fn extract(input: &Input, limits: &IngestLimits, sink: &mut TextSink, has_asides: bool) -> Result<(), Failure> {
    let mut package = Package::open(input, limits.max_expanded_bytes)?;
    if is_encrypted(&mut package)? {
        return Err(Failure::Encrypted);
    }
    package.read_properties("meta.xml", &mut sink.metadata);
    let mut walker = Walker::default();
    if let Some(styles) = package.part("styles.xml")?.filter(|_| has_asides) {
        // Headers stand before the text, footers behind it. Without styles there is the text all the same.
        match walker.walk(styles, Place::Styles, sink) {
            Err(Failure::Malformed { .. }) => {}
            done => done?,
        }
    }
    let (headers, footers) = (std::mem::take(&mut walker.headers), std::mem::take(&mut walker.footers));
    for line in headers {
        sink.paragraph_break();
        sink.text(&line)?;
    }
    sink.paragraph_break();
    let content = package.part("content.xml")?.ok_or_else(|| Failure::malformed("its main part is missing"))?;
    walker.walk(content, Place::Content, sink)?;
    sink.end_sections();
    walker.write_notes(sink)?;
    for line in footers {
        sink.paragraph_break();
        sink.text(&line)?;
    }
    Ok(())
}

fn is_encrypted(package: &mut Package<'_>) -> Result<bool, Failure> {
    let Some(mut manifest) = package.part("META-INF/manifest.xml")? else { return Ok(false) };
    while let Some(event) = manifest.next()? {
        if let Event::Start(tag) | Event::Empty(tag) = event
            && tag.local_name().as_ref() == b"encryption-data"
        {
            return Ok(true);
        }
    }
    Ok(false)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Content,
    /// Only headers and footers of its pages are text.
    Styles,
}

#[derive(Default)]
struct Walker {
    /// Open elements within one that is left out, that one included.
    skipped: usize,
    /// Paragraphs that are open: a note or a frame stands within one.
    paragraphs: Vec<String>,
    /// The level of the heading that is the outermost of them.
    heading: Option<u8>,
    lists: Lists,
    /// The style that is open, and those whose paragraphs begin a page.
    style: String,
    breaking: HashSet<String>,
    rows: Rows,
    is_spreadsheet: bool,
    /// The name of the sheet that is open, until its first row is written.
    sheet: Option<String>,
    /// The notes, and the lines of the one that is open.
    notes: Vec<Vec<String>>,
    in_note: bool,
    aside: Option<Aside>,
    /// Each line once: the same words stand at the edges of even and of odd pages.
    headers: Vec<String>,
    footers: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Aside {
    Header,
    Footer,
}

impl Walker {
    fn walk(&mut self, mut part: XmlPart<'_>, place: Place, sink: &mut TextSink) -> Result<(), Failure> {
        while let Some(event) = part.next()? {
            match event {
                Event::Start(_) if self.skipped > 0 => self.skipped += 1,
                Event::End(_) if self.skipped > 0 => self.skipped -= 1,
                _ if self.skipped > 0 => {}
                Event::Start(tag) => self.start(&tag, place, sink)?,
                Event::Empty(tag) => self.empty(&tag, sink)?,
                Event::End(tag) => self.end(tag.local_name().as_ref(), place, sink)?,
                event => {
                    if let Some(paragraph) = self.paragraphs.last_mut() {
                        let mut text = String::new();
                        push_characters(&event, &mut text);
                        push_collapsed(&text, paragraph);
                    }
                }
            }
        }
        Ok(())
    }

    fn start(&mut self, tag: &BytesStart<'_>, place: Place, sink: &mut TextSink) -> Result<(), Failure> {
        match tag.local_name().as_ref() {
            b"tracked-changes"
            | b"annotation"
            | b"forms"
            | b"note-citation"
            | b"desc"
            | b"index-title-template"
            | b"sequence-decls"
            | b"title"
            | b"script"
            | b"binary-data"
            | b"ruby-text" => self.skipped = 1,
            b"p" | b"h" if place == Place::Content || self.aside.is_some() => {
                let style = attribute(tag, b"style-name").unwrap_or_default();
                if self.paragraphs.is_empty() && self.breaking.contains(&style) && !sink.page_is_empty() {
                    sink.page_break()?;
                }
                if self.paragraphs.is_empty() && tag.local_name().as_ref() == b"h" {
                    self.heading = Some(count_of(tag, b"outline-level").min(9) as u8);
                }
                self.paragraphs.push(String::new());
            }
            b"frame" if place == Place::Content && attribute(tag, b"class").as_deref() == Some("title") => {
                sink.paragraph_break();
                sink.begin_heading(1);
            }
            b"style" => self.style = attribute(tag, b"name").unwrap_or_default(),
            // Of all pages, or of even ones, or of the first.
            b"header" | b"header-left" | b"header-first" => self.aside = Some(Aside::Header),
            b"footer" | b"footer-left" | b"footer-first" => self.aside = Some(Aside::Footer),
            b"note" => {
                self.notes.push(Vec::new());
                let number = self.notes.len();
                self.paragraphs.last_mut().into_iter().for_each(|text| text.push_str(&format!("[{number}]")));
            }
            b"note-body" => self.in_note = true,
            b"list" => self.lists.begin(tag),
            b"list-item" => self.lists.begin_item(),
            b"list-style" => self.lists.define(attribute(tag, b"name").unwrap_or_default()),
            b"list-level-style-number" => self.lists.define_numbered(tag),
            b"spreadsheet" => self.is_spreadsheet = true,
            b"table" if self.rows.is_empty() && self.paragraphs.is_empty() => {
                sink.paragraph_break();
                self.sheet = attribute(tag, b"name").filter(|_| self.is_spreadsheet);
            }
            b"table-row" => self.rows.begin(tag),
            b"table-cell" | b"covered-table-cell" => self.rows.begin_cell(tag),
            _ => self.empty(tag, sink)?,
        }
        Ok(())
    }

    /// Elements that say something by themselves, whether they are written empty or not.
    fn empty(&mut self, tag: &BytesStart<'_>, sink: &mut TextSink) -> Result<(), Failure> {
        let name = tag.local_name();
        match name.as_ref() {
            b"table-cell" | b"covered-table-cell" => {
                self.rows.begin_cell(tag);
                self.rows.end_cell();
            }
            b"soft-page-break" if self.rows.is_empty() && !self.in_note => {
                // What follows is no further item of a list and no further heading.
                if let Some(begun) = self.paragraphs.first_mut().map(std::mem::take) {
                    self.end_paragraph(begun.trim_end(), self.heading.is_some(), sink)?;
                }
                if !sink.page_is_empty() {
                    sink.page_break()?;
                }
            }
            b"list-level-style-number" => self.lists.define_numbered(tag),
            b"paragraph-properties" if attribute(tag, b"break-before").as_deref() == Some("page") => {
                self.breaking.insert(self.style.clone());
            }
            b"p" | b"h" if self.paragraphs.is_empty() => sink.line_break(),
            name => {
                let Some(paragraph) = self.paragraphs.last_mut() else { return Ok(()) };
                match name {
                    b"s" => paragraph.extend(std::iter::repeat_n(' ', count_of(tag, b"c").min(MAX_REPEATED))),
                    b"tab" => paragraph.push('\t'),
                    b"line-break" => paragraph.push('\n'),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn end(&mut self, name: &[u8], place: Place, sink: &mut TextSink) -> Result<(), Failure> {
        match name {
            b"p" | b"h" => {
                if let Some(text) = self.paragraphs.pop() {
                    self.end_paragraph(text.trim_end(), name == b"h", sink)?;
                }
            }
            b"header" | b"header-left" | b"header-first" | b"footer" | b"footer-left" | b"footer-first" => {
                self.aside = None;
            }
            // A slide's title may have several paragraphs. No other heading is open where a frame ends.
            b"frame" => sink.end_heading(),
            b"note-body" => self.in_note = false,
            b"list" => {
                self.lists.end();
                if self.lists.is_empty() && self.rows.is_empty() {
                    sink.paragraph_break();
                }
            }
            b"list-item" => self.lists.end_item(),
            b"table-cell" | b"covered-table-cell" => self.rows.end_cell(),
            b"table-row" => self.end_row(sink)?,
            b"table" if self.rows.is_empty() && self.is_spreadsheet => sink.page_break()?,
            b"table" if self.rows.is_empty() && place == Place::Content => sink.paragraph_break(),
            // A slide, and what stands for one in a drawing.
            b"page" if place == Place::Content => {
                sink.page_break()?;
                sink.end_sections();
            }
            _ => {}
        }
        Ok(())
    }

    fn end_paragraph(&mut self, text: &str, is_heading: bool, sink: &mut TextSink) -> Result<(), Failure> {
        if text.trim().is_empty() {
            return Ok(());
        }
        if let Some(aside) = self.aside {
            let lines = if aside == Aside::Header { &mut self.headers } else { &mut self.footers };
            if !lines.iter().any(|line| line == text) {
                lines.push(text.to_owned());
            }
            return Ok(());
        } else if self.in_note {
            self.notes.last_mut().into_iter().for_each(|note| note.push(text.trim().to_owned()));
            return Ok(());
        } else if self.rows.add(text.trim()) {
            return Ok(());
        }
        let is_item = !self.lists.is_empty();
        if !is_item {
            sink.paragraph_break();
        }
        if let Some(mark) = self.lists.take_mark().filter(|_| !is_heading) {
            sink.text(&mark)?;
        }
        let level = self.heading.take_if(|_| is_heading);
        level.into_iter().for_each(|level| sink.begin_heading(level));
        sink.text(text)?;
        if level.is_some() {
            sink.end_heading();
        }
        if is_item {
            sink.line_break();
        } else {
            sink.paragraph_break();
        }
        Ok(())
    }

    fn end_row(&mut self, sink: &mut TextSink) -> Result<(), Failure> {
        let Some((line, times)) = self.rows.end() else { return Ok(()) };
        // A sheet without a row that has text leaves nothing, not even its name.
        if let Some(name) = self.sheet.take() {
            sink.begin_heading(1);
            sink.text(&name)?;
            sink.end_heading();
            sink.paragraph_break();
        }
        for _ in 0..times {
            sink.text(&line)?;
            sink.line_break();
        }
        Ok(())
    }

    fn write_notes(&mut self, sink: &mut TextSink) -> Result<(), Failure> {
        for (note, number) in std::mem::take(&mut self.notes).into_iter().zip(1..) {
            sink.paragraph_break();
            sink.text(&format!("[{number}] "))?;
            for line in note {
                sink.text(&line)?;
                sink.line_break();
            }
        }
        sink.paragraph_break();
        Ok(())
    }
}

/// A count that is 1 where it is not told.
fn count_of(tag: &BytesStart<'_>, name: &[u8]) -> usize {
    attribute(tag, name).and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// White space counts once, and not at all at a paragraph's beginning (part 3, 6.1.2).
fn push_collapsed(text: &str, paragraph: &mut String) {
    for c in text.chars() {
        if !c.is_ascii_whitespace() {
            paragraph.push(c);
        } else if paragraph.chars().next_back().is_some_and(|last| !last.is_whitespace()) {
            paragraph.push(' ');
        }
    }
}
