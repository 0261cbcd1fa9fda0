//! HTML as the text a reader sees.
//!
//! Only the tokenizer of html5ever is used, no tree: text comes out in document order either way, and without a tree
//! memory stays flat and no nesting, however deep, can overflow a stack. Scripts, styles and what a browser does not
//! show are left out; block elements become lines, paragraphs and list items keep their shape, table rows become lines
//! with tabs. Entities are the tokenizer's work. Of a page that tells its main content only that is taken ([`scope`]).

mod elements;
mod scope;
#[cfg(test)]
mod tests;

use std::cell::RefCell;

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::{BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};

use self::elements::{Gap, attribute, first_number, gap_of, heading_level, is_hidden, is_html_space, raw_content};
use self::scope::{Inside, Scope};
use super::{Input, text};
use crate::ingest::limits::IngestLimits;
use crate::ingest::sink::TextSink;
use crate::ingest::wire::Failure;

pub(super) fn extract(input: &Input, limits: &IngestLimits, sink: &mut TextSink) -> Result<(), Failure> {
    let source = text::read(input, limits, sink, declared_encoding)?;
    let writer = Writer { scope: Scope::of(&source), is_page: true, ..Writer::new(sink, is_xml(&source)) };
    write(&source, writer)
}

/// The encoding that a `meta` element within the first 1,024 bytes states (HTML standard, "prescan a byte stream"),
/// simplified to the first `charset=`.
fn declared_encoding(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(1_024)]).to_ascii_lowercase();
    let (_, value) = head.split_once("charset")?;
    let value = value.trim_start().strip_prefix('=')?.trim_start();
    let value = value.trim_start_matches(['"', '\'']);
    let label: String =
        value.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':' | '.')).collect();
    let encoding = Encoding::for_label(label.as_bytes())?;
    // A file that could be read this far is not UTF-16, whatever it says.
    Some(if encoding == UTF_16LE || encoding == UTF_16BE { UTF_8 } else { encoding })
}

/// Writes the text of a piece of HTML.
pub(super) fn write_fragment(source: &str, sink: &mut TextSink) -> Result<(), Failure> {
    write(source, Writer::new(sink, is_xml(source)))
}

/// Writes the text of XHTML, whether or not its first line says that it is XML.
pub(super) fn write_xhtml(source: &str, sink: &mut TextSink) -> Result<(), Failure> {
    write(source, Writer::new(sink, true))
}

fn write(source: &str, writer: Writer<'_>) -> Result<(), Failure> {
    let HtmlSink(writer) = feed(source, HtmlSink(RefCell::new(writer)), |sink| sink.0.borrow().failure.is_some());
    writer.into_inner().failure.map_or(Ok(()), Err)
}

fn is_xml(source: &str) -> bool {
    source.trim_start().starts_with("<?xml")
}

/// Cuts a source into tokens for `sink`, until it has had enough; gives it back.
fn feed<S: TokenSink>(source: &str, sink: S, has_enough: impl Fn(&S) -> bool) -> S {
    /// How much is fed at a time, so that a failure ends the work soon.
    const PIECE: usize = 64 * 1024;
    let tokenizer = Tokenizer::new(sink, TokenizerOpts::default());
    let queue = BufferQueue::default();
    let mut rest = source;
    while !rest.is_empty() && !has_enough(&tokenizer.sink) {
        let (piece, remaining) = rest.split_at(rest.floor_char_boundary(PIECE));
        rest = remaining;
        queue.push_back(StrTendril::from(piece));
        while !queue.is_empty() {
            let _ = tokenizer.feed(&queue);
        }
    }
    tokenizer.end();
    tokenizer.sink
}

struct HtmlSink<'a>(RefCell<Writer<'a>>);

impl TokenSink for HtmlSink<'_> {
    type Handle = ();

    fn process_token(&self, token: Token, _line_number: u64) -> TokenSinkResult<()> {
        let mut writer = self.0.borrow_mut();
        let done = match token {
            Token::TagToken(tag) => return writer.tag(&tag),
            Token::CharacterTokens(text) => writer.characters(&text),
            _ => Ok(()),
        };
        writer.note(done);
        TokenSinkResult::Continue
    }
}

/// Deeper lists are not indented further; hostile files open millions and close none.
const MAX_LISTS: usize = 32;

struct Writer<'a> {
    sink: &'a mut TextSink,
    failure: Option<Failure>,
    /// XHTML, where `<script/>` is a whole element.
    is_xml: bool,
    /// Which part is taken.
    scope: Scope,
    inside: Inside,
    /// Headings of the first level are taken wherever they stand: the page's own often stands above its content.
    in_title: bool,
    /// A page of its own has menus, which are no text of it.
    is_page: bool,
    /// The element whose content is left out, and how many of its name are open.
    skipped: Option<(String, usize)>,
    title: Option<String>,
    preformatted: usize,
    /// A blank is due before the next word of the line.
    blank: bool,
    /// The dash or number that the next word of a list item follows.
    mark: Option<String>,
    lists: Vec<Option<u32>>,
    row_has_cell: bool,
    cell: Option<Cell>,
}

/// A table's cell that is open.
#[derive(Default)]
struct Cell {
    has_text: bool,
    /// What parts the text so far from more text of this cell. At the cell's edges nothing is due: a row of paragraphs is a line all the same.
    due: Gap,
}

impl<'a> Writer<'a> {
    fn new(sink: &'a mut TextSink, is_xml: bool) -> Self {
        Self {
            sink,
            failure: None,
            is_xml,
            scope: Scope::Whole,
            inside: Inside::default(),
            in_title: false,
            is_page: false,
            skipped: None,
            title: None,
            preformatted: 0,
            blank: false,
            mark: None,
            lists: Vec::new(),
            row_has_cell: false,
            cell: None,
        }
    }

    fn note(&mut self, result: Result<(), Failure>) {
        if let Err(failure) = result {
            self.failure.get_or_insert(failure);
        }
    }

    fn characters(&mut self, text: &str) -> Result<(), Failure> {
        if self.skipped.is_some() || self.failure.is_some() {
            return Ok(());
        }
        if let Some(title) = &mut self.title {
            if title.len() < 10_000 {
                title.push_str(text);
            }
            return Ok(());
        }
        if self.scope != Scope::Whole && !self.inside.is_inside() && !self.in_title {
            return Ok(());
        }
        if self.preformatted > 0 {
            self.part_cell();
            self.write_mark()?;
            return self.sink.text(text);
        }
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let is_blank = is_html_space(first);
            let length = rest.find(|c| is_html_space(c) != is_blank).unwrap_or(rest.len());
            let (run, remaining) = rest.split_at(length);
            rest = remaining;
            if is_blank {
                self.blank = true;
            } else {
                self.word(run)?;
            }
        }
        Ok(())
    }

    fn word(&mut self, word: &str) -> Result<(), Failure> {
        self.part_cell();
        let blank = std::mem::take(&mut self.blank);
        if !self.write_mark()? && blank && !self.sink.at_line_start() {
            self.sink.text(" ")?;
        }
        self.sink.text(word)
    }

    /// Parts what follows in a cell from what it has.
    fn part_cell(&mut self) {
        let Some(cell) = &mut self.cell else { return };
        let (had_text, due) = (std::mem::replace(&mut cell.has_text, true), std::mem::take(&mut cell.due));
        match due {
            Gap::Line if had_text => self.sink.line_break(),
            Gap::Paragraph if had_text => self.sink.paragraph_break(),
            _ => {}
        }
    }

    fn write_mark(&mut self) -> Result<bool, Failure> {
        let Some(mark) = self.mark.take() else {
            return Ok(false);
        };
        if self.cell.is_none() {
            self.sink.line_break();
        }
        self.sink.text(&mark)?;
        Ok(true)
    }

    fn tag(&mut self, tag: &Tag) -> TokenSinkResult<()> {
        if self.failure.is_some() {
            return TokenSinkResult::Continue;
        }
        let name: &str = &tag.name;
        if let Some((skipped, open)) = &mut self.skipped {
            if skipped == name && !tag.self_closing {
                *open = match tag.kind {
                    TagKind::StartTag => *open + 1,
                    TagKind::EndTag => *open - 1,
                };
                if *open == 0 {
                    self.skipped = None;
                }
            }
            return raw_content(tag, self.is_xml);
        }
        self.inside.tag(self.scope, name, tag);
        if name == "h1" {
            self.in_title = tag.kind == TagKind::StartTag && !self.is_whole(tag);
        }
        match tag.kind {
            TagKind::StartTag => {
                let done = self.start(name, tag);
                self.note(done);
                if self.is_whole(tag) {
                    self.end(name);
                }
                raw_content(tag, self.is_xml)
            }
            TagKind::EndTag => {
                self.end(name);
                TokenSinkResult::Continue
            }
        }
    }

    /// Whether the tag is an element without content, as `<p/>` is in XML.
    fn is_whole(&self, tag: &Tag) -> bool {
        self.is_xml && tag.self_closing
    }

    fn start(&mut self, name: &str, tag: &Tag) -> Result<(), Failure> {
        if (is_hidden(name, tag) || (self.is_page && name == "nav"))
            && !(self.is_whole(tag) || (tag.self_closing && name == "svg"))
        {
            self.skipped = Some((name.to_owned(), 1));
            return Ok(());
        }
        match name {
            "title" => self.title = Some(String::new()),
            "html" => self.sink.metadata.set_language(&attribute(tag, "lang")),
            "meta" => self.meta(tag),
            "br" => self.block(Gap::Line),
            "pre" | "listing" | "textarea" => {
                self.block(Gap::Paragraph);
                self.preformatted += 1;
            }
            "ul" | "ol" | "menu" => {
                self.block(if self.lists.is_empty() { Gap::Paragraph } else { Gap::Line });
                if self.lists.len() < MAX_LISTS {
                    self.lists.push((name == "ol").then(|| first_number(tag)));
                }
            }
            "li" => self.item(),
            "tr" => {
                self.end_row();
                self.row_has_cell = false;
            }
            "td" | "th" => {
                if self.row_has_cell {
                    self.sink.text("\t")?;
                }
                self.blank = false;
                self.row_has_cell = true;
                self.cell = Some(Cell::default());
            }
            _ => {
                self.block(gap_of(name));
                // The mark of an item would be a part of the heading.
                if let Some(level) = heading_level(name)
                    && self.mark.is_none()
                {
                    // A cell with a heading is a piece of a page's layout; a heading begins a line.
                    self.sink.paragraph_break();
                    self.sink.begin_heading(level);
                }
            }
        }
        Ok(())
    }

    fn meta(&mut self, tag: &Tag) {
        let (name, content) = (attribute(tag, "name") + &attribute(tag, "property"), attribute(tag, "content"));
        match name.to_ascii_lowercase().as_str() {
            "author" | "dc.creator" => self.sink.metadata.set_author(&content),
            "date" | "dcterms.date" | "dcterms.created" | "article:published_time" => {
                self.sink.metadata.set_created(&content);
            }
            "last-modified" | "dcterms.modified" | "article:modified_time" => self.sink.metadata.set_modified(&content),
            _ => {}
        }
    }

    fn item(&mut self) {
        self.block(Gap::Line);
        let indent = "  ".repeat(self.lists.len().saturating_sub(1));
        let mark = match self.lists.last_mut() {
            Some(Some(number)) => {
                *number = number.saturating_add(1);
                format!("{indent}{}. ", number.saturating_sub(1))
            }
            _ => format!("{indent}- "),
        };
        self.mark = Some(mark);
    }

    fn end(&mut self, name: &str) {
        match name {
            "title" => {
                if let Some(title) = self.title.take() {
                    self.sink.metadata.set_title(&title);
                }
            }
            "pre" | "listing" | "textarea" => {
                self.preformatted = self.preformatted.saturating_sub(1);
                self.block(Gap::Paragraph);
            }
            "ul" | "ol" | "menu" => {
                self.lists.pop();
                self.mark = None;
                self.block(if self.lists.is_empty() { Gap::Paragraph } else { Gap::Line });
            }
            "li" => {
                self.mark = None;
                self.block(Gap::Line);
            }
            "td" | "th" => self.cell = None,
            "tr" | "table" => {
                self.end_row();
                self.block(gap_of(name));
            }
            _ => {
                if heading_level(name).is_some() {
                    self.sink.end_heading();
                }
                self.block(gap_of(name));
            }
        }
    }

    fn end_row(&mut self) {
        self.cell = None;
        self.sink.line_break();
        self.blank = false;
    }

    fn block(&mut self, gap: Gap) {
        // Within a list item a paragraph is a line, or every list would be spread over blank lines.
        let gap = if self.lists.is_empty() { gap } else { gap.min(Gap::Line) };
        match (&mut self.cell, gap) {
            (_, Gap::None) => return,
            (Some(cell), gap) => cell.due = cell.due.max(gap),
            (None, Gap::Line) => self.sink.line_break(),
            (None, Gap::Paragraph) => self.sink.paragraph_break(),
        }
        self.blank = false;
    }
}
