//! Markdown (CommonMark with tables, footnotes and strikethrough) as readable text.
//!
//! Marks go, structure stays: headings and paragraphs part by blank lines, list items keep a dash or their number, code
//! keeps its lines, table rows become lines with tabs. HTML within goes through the HTML reader.

use pulldown_cmark::{Event, HeadingLevel, MetadataBlockKind, Options, Parser, Tag, TagEnd};

use super::{Input, html, text};
use crate::ingest::limits::IngestLimits;
use crate::ingest::sink::TextSink;
use crate::ingest::wire::Failure;

pub(super) fn extract(input: &Input, limits: &IngestLimits, sink: &mut TextSink) -> Result<(), Failure> {
    let source = text::read(input, limits, sink, |_| None)?;
    let mut writer = Writer::new(sink);
    for event in Parser::new_ext(&source, options()) {
        writer.event(event)?;
    }
    writer.finish()
}

fn options() -> Options {
    Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS
}

struct Writer<'a> {
    sink: &'a mut TextSink,
    /// The number of the next item of every open list; `None` for a list of dashes.
    lists: Vec<Option<u64>>,
    /// The text of the first top heading, which is the title where no metadata names one.
    heading: Option<String>,
    first_heading: Option<String>,
    metadata: Option<String>,
    /// A footnote's name was just written: its first paragraph stands behind it.
    after_note_name: bool,
    cell: usize,
    html: String,
}

impl<'a> Writer<'a> {
    fn new(sink: &'a mut TextSink) -> Self {
        Self {
            sink,
            lists: Vec::new(),
            heading: None,
            first_heading: None,
            metadata: None,
            after_note_name: false,
            cell: 0,
            html: String::new(),
        }
    }

    fn event(&mut self, event: Event<'_>) -> Result<(), Failure> {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) => self.words(&text),
            Event::Code(text) | Event::InlineMath(text) | Event::DisplayMath(text) => self.words(&text),
            Event::Html(piece) => {
                self.html.push_str(&piece);
                Ok(())
            }
            // A lone inline tag has no text; what it encloses comes as text events.
            Event::InlineHtml(tag) if tag.starts_with("<br") => {
                self.sink.line_break();
                Ok(())
            }
            Event::InlineHtml(_) => Ok(()),
            Event::FootnoteReference(name) => self.words(&format!("[{name}]")),
            Event::SoftBreak => self.words(" "),
            Event::HardBreak => {
                self.sink.line_break();
                Ok(())
            }
            Event::Rule => {
                self.sink.paragraph_break();
                Ok(())
            }
            Event::TaskListMarker(done) => self.words(if done { "[x] " } else { "[ ] " }),
        }
    }

    fn words(&mut self, text: &str) -> Result<(), Failure> {
        if let Some(metadata) = &mut self.metadata {
            metadata.push_str(text);
            return Ok(());
        }
        if let Some(heading) = &mut self.heading {
            heading.push_str(text);
        }
        self.sink.text(text)
    }

    fn start(&mut self, tag: Tag<'_>) -> Result<(), Failure> {
        match tag {
            Tag::Paragraph if std::mem::take(&mut self.after_note_name) => {}
            Tag::Paragraph if self.lists.is_empty() => self.sink.paragraph_break(),
            // The dash or number stands before an item's first paragraph.
            Tag::Paragraph => {}
            Tag::Heading { level, .. } => {
                self.sink.paragraph_break();
                self.sink.begin_heading(level as u8);
                if level == HeadingLevel::H1 && self.first_heading.is_none() {
                    self.heading = Some(String::new());
                }
            }
            Tag::CodeBlock(_) => self.sink.paragraph_break(),
            Tag::List(first) => {
                if self.lists.is_empty() {
                    self.sink.paragraph_break();
                }
                self.lists.push(first);
            }
            Tag::Item => return self.item(),
            Tag::FootnoteDefinition(name) => {
                self.sink.paragraph_break();
                self.after_note_name = true;
                return self.sink.text(&format!("[{name}] "));
            }
            Tag::Table(_) | Tag::BlockQuote(_) => self.sink.paragraph_break(),
            Tag::TableHead | Tag::TableRow => {
                self.sink.line_break();
                self.cell = 0;
            }
            Tag::TableCell => {
                if self.cell > 0 {
                    self.sink.text("\t")?;
                }
                self.cell += 1;
            }
            Tag::MetadataBlock(MetadataBlockKind::YamlStyle | MetadataBlockKind::PlusesStyle) => {
                self.metadata = Some(String::new());
            }
            _ => {}
        }
        Ok(())
    }

    fn item(&mut self) -> Result<(), Failure> {
        self.sink.line_break();
        let depth = self.lists.len().clamp(1, 10);
        let mark = match self.lists.last_mut() {
            Some(Some(number)) => {
                *number = number.saturating_add(1);
                format!("{}. ", *number - 1)
            }
            _ => "- ".to_owned(),
        };
        self.sink.text(&"  ".repeat(depth - 1))?;
        self.sink.text(&mark)
    }

    fn end(&mut self, tag: TagEnd) -> Result<(), Failure> {
        match tag {
            TagEnd::Paragraph if self.lists.is_empty() => self.sink.paragraph_break(),
            TagEnd::Paragraph | TagEnd::Item => self.sink.line_break(),
            TagEnd::Heading(_) => {
                self.sink.end_heading();
                self.sink.paragraph_break();
                if let Some(heading) = self.heading.take() {
                    self.first_heading = Some(heading);
                }
            }
            TagEnd::CodeBlock => self.sink.paragraph_break(),
            TagEnd::List(_) => {
                self.lists.pop();
                if self.lists.is_empty() {
                    self.sink.paragraph_break();
                }
            }
            TagEnd::Table | TagEnd::BlockQuote(_) => self.sink.paragraph_break(),
            TagEnd::HtmlBlock => {
                let block = std::mem::take(&mut self.html);
                self.sink.paragraph_break();
                html::write_fragment(&block, self.sink)?;
                self.sink.paragraph_break();
            }
            TagEnd::MetadataBlock(_) => {
                let metadata = self.metadata.take().unwrap_or_default();
                if let Some(title) = yaml_title(&metadata) {
                    self.sink.metadata.set_title(title);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<(), Failure> {
        if let Some(heading) = self.first_heading {
            self.sink.metadata.set_title(&heading);
        }
        Ok(())
    }
}

/// The value of a top-level `title:` line. Anything YAML can do beyond that is not a title's business.
fn yaml_title(metadata: &str) -> Option<&str> {
    let value = metadata.lines().find_map(|line| line.strip_prefix("title:"))?.trim();
    let unquoted = ['"', '\''].into_iter().find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
    Some(unquoted.unwrap_or(value))
}
