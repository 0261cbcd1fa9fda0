//! HTML as the text a reader sees.
//!
//! Only the tokenizer of html5ever is used, no tree: text comes out in document order either way, and without a tree
//! memory stays flat and no nesting, however deep, can overflow a stack. Scripts, styles and what a browser does not
//! show are left out; block elements become lines, paragraphs and list items keep their shape, table rows become lines
//! with tabs. Entities are the tokenizer's work.

use std::cell::RefCell;

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};

use super::{Input, text};
use crate::ingest::limits::IngestLimits;
use crate::ingest::sink::TextSink;
use crate::ingest::wire::Failure;

pub(super) fn extract(input: &Input, limits: &IngestLimits, sink: &mut TextSink) -> Result<(), Failure> {
    let source = text::read(input, limits, sink, declared_encoding)?;
    write_fragment(&source, sink)
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
    /// How much is fed at a time, so that a failure ends the work soon.
    const PIECE: usize = 64 * 1024;
    let is_xml = source.trim_start().starts_with("<?xml");
    let tokenizer = Tokenizer::new(HtmlSink(RefCell::new(Writer::new(sink, is_xml))), TokenizerOpts::default());
    let queue = BufferQueue::default();
    let mut rest = source;
    while !rest.is_empty() {
        let (piece, remaining) = rest.split_at(rest.floor_char_boundary(PIECE));
        rest = remaining;
        queue.push_back(StrTendril::from(piece));
        while !queue.is_empty() {
            let _ = tokenizer.feed(&queue);
        }
        if let Some(failure) = tokenizer.sink.0.borrow_mut().failure.take() {
            return Err(failure);
        }
    }
    tokenizer.end();
    let failure = tokenizer.sink.0.borrow_mut().failure.take();
    failure.map_or(Ok(()), Err)
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
}

impl<'a> Writer<'a> {
    fn new(sink: &'a mut TextSink, is_xml: bool) -> Self {
        Self {
            sink,
            failure: None,
            is_xml,
            skipped: None,
            title: None,
            preformatted: 0,
            blank: false,
            mark: None,
            lists: Vec::new(),
            row_has_cell: false,
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
        if self.preformatted > 0 {
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
        let blank = std::mem::take(&mut self.blank);
        if !self.write_mark()? && blank && !self.sink.at_line_start() {
            self.sink.text(" ")?;
        }
        self.sink.text(word)
    }

    fn write_mark(&mut self) -> Result<bool, Failure> {
        let Some(mark) = self.mark.take() else {
            return Ok(false);
        };
        self.sink.line_break();
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
        match tag.kind {
            TagKind::StartTag => {
                let done = self.start(name, tag);
                self.note(done);
                raw_content(tag, self.is_xml)
            }
            TagKind::EndTag => {
                self.end(name);
                TokenSinkResult::Continue
            }
        }
    }

    fn start(&mut self, name: &str, tag: &Tag) -> Result<(), Failure> {
        if is_hidden(name, tag) && !(tag.self_closing && (self.is_xml || name == "svg")) {
            self.skipped = Some((name.to_owned(), 1));
            return Ok(());
        }
        match name {
            "title" => self.title = Some(String::new()),
            "html" => self.sink.metadata.set_language(&attribute(tag, "lang")),
            "meta" => self.meta(tag),
            "br" => self.sink.line_break(),
            "pre" | "listing" | "textarea" => {
                self.sink.paragraph_break();
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
                self.sink.line_break();
                self.row_has_cell = false;
                self.blank = false;
            }
            "td" | "th" => {
                if self.row_has_cell {
                    self.sink.text("\t")?;
                    self.blank = false;
                }
                self.row_has_cell = true;
            }
            _ => {
                self.block(gap_of(name));
                // The mark of an item would be a part of the heading.
                if let Some(level) = heading_level(name)
                    && self.mark.is_none()
                {
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
        self.sink.line_break();
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
                self.sink.paragraph_break();
            }
            "ul" | "ol" | "menu" => {
                self.lists.pop();
                self.mark = None;
                self.block(if self.lists.is_empty() { Gap::Paragraph } else { Gap::Line });
            }
            "li" => {
                self.mark = None;
                self.sink.line_break();
            }
            "tr" => self.sink.line_break(),
            _ => {
                if heading_level(name).is_some() {
                    self.sink.end_heading();
                }
                self.block(gap_of(name));
            }
        }
    }

    fn block(&mut self, gap: Gap) {
        match gap {
            Gap::None => return,
            Gap::Line => self.sink.line_break(),
            // Within a list item a paragraph is a line, or every list would be spread over blank lines.
            Gap::Paragraph if !self.lists.is_empty() => self.sink.line_break(),
            Gap::Paragraph => self.sink.paragraph_break(),
        }
        self.blank = false;
    }
}

fn heading_level(name: &str) -> Option<u8> {
    match name.as_bytes() {
        [b'h', digit @ b'1'..=b'6'] => Some(digit - b'0'),
        _ => None,
    }
}

#[derive(Clone, Copy)]
enum Gap {
    None,
    Line,
    Paragraph,
}

fn gap_of(name: &str) -> Gap {
    match name {
        "p" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "blockquote" | "table" | "section" | "article" | "aside"
        | "header" | "footer" | "main" | "nav" | "figure" | "hr" | "dl" | "form" | "fieldset" | "details" => {
            Gap::Paragraph
        }
        "div" | "dt" | "dd" | "address" | "center" | "caption" | "figcaption" | "legend" | "summary" | "option"
        | "optgroup" | "body" | "head" | "html" | "thead" | "tbody" | "tfoot" | "dialog" | "hgroup" | "search" => {
            Gap::Line
        }
        _ => Gap::None,
    }
}

/// What a browser with scripts shows nothing of. The `hidden` attribute counts only on elements that need an end tag:
/// on others the end cannot be found without a tree.
fn is_hidden(name: &str, tag: &Tag) -> bool {
    match name {
        "script" | "style" | "noscript" | "template" | "svg" | "math" | "iframe" | "object" | "noembed"
        | "noframes" | "audio" | "video" | "canvas" | "datalist" => true,
        "div" | "section" | "article" | "aside" | "nav" | "span" | "ul" | "ol" | "table" | "dialog" => {
            tag.attrs.iter().any(|attribute| &*attribute.name.local == "hidden")
        }
        _ => false,
    }
}

fn first_number(tag: &Tag) -> u32 {
    attribute(tag, "start").trim().parse().unwrap_or(1)
}

/// The value of an attribute; empty where there is none.
fn attribute(tag: &Tag, name: &str) -> String {
    let found = tag.attrs.iter().find(|attribute| &*attribute.name.local == name);
    found.map_or_else(String::new, |attribute| attribute.value.to_string())
}

/// The states that the tree builder would put the tokenizer in (HTML standard, 13.2.6.4).
fn raw_content(tag: &Tag, is_xml: bool) -> TokenSinkResult<()> {
    if tag.kind == TagKind::EndTag || (is_xml && tag.self_closing) {
        return TokenSinkResult::Continue;
    }
    match &*tag.name {
        "title" | "textarea" => TokenSinkResult::RawData(RawKind::Rcdata),
        "style" | "xmp" | "iframe" | "noembed" | "noframes" | "noscript" => TokenSinkResult::RawData(RawKind::Rawtext),
        "script" => TokenSinkResult::RawData(RawKind::ScriptData),
        "plaintext" => TokenSinkResult::Plaintext,
        _ => TokenSinkResult::Continue,
    }
}

fn is_html_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{c}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(html: &str) -> String {
        let mut sink = TextSink::new(1_000_000, 10);
        write_fragment(html, &mut sink).unwrap();
        sink.finish().unwrap().text
    }

    #[test]
    fn what_a_browser_does_not_show_is_left_out() {
        let html = "<head><title>T</title><style>p{}</style></head><p>a<script>if (1 < 2) '<p>no'</script>b</p>\
                    <noscript>no</noscript><div hidden>no<div>no</div></div><svg><text>no</text></svg><p>c";
        assert_eq!(text_of(html), "ab\n\nc");
    }

    #[test]
    fn blanks_collapse_and_entities_are_decoded() {
        assert_eq!(text_of("<p> M&uuml;hle \n <b>am</b>  Bach&nbsp;&amp; Wehr </p>"), "Mühle am Bach & Wehr");
    }

    #[test]
    fn lists_tables_and_code_keep_their_shape() {
        assert_eq!(text_of("<ol><li>one<ul><li><p>a</p></li></ul></li><li> two</li></ol>"), "1. one\n  - a\n2. two");
        assert_eq!(text_of("<table><tr><th>a</th> <th>b</th></tr><tr><td>1</td><td>2</table>"), "a\tb\n1\t2");
        assert_eq!(text_of("<pre>x\n  y</pre>z"), "x\n  y\n\nz");
    }

    #[test]
    fn many_open_elements_are_no_problem() {
        let html = "<div><ul><li><table><tr><td>".repeat(30_000) + "deep";
        assert!(text_of(&html).ends_with("deep"));
    }
}
