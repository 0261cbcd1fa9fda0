//! PDF: the text of each page, in the order it was drawn.
//!
//! Files, objects, encryption and fonts are read by otf-pdf (chosen by measurement, see `docs/adr/0003-sandboxed-parsing.md`).
//! What a page shows is found out here, because speed and quality are decided there:
//!
//! ```text
//!  content ─tokens▶ operators ─interpreter▶ glyphs with places ─runs▶ baselines ─bidi▶ reading order ─lines▶ paragraphs
//! ```

mod annotations;
mod bidi;
mod font;
mod glyphs;
mod interpreter;
mod layers;
mod lines;
mod outline;
mod runs;
#[cfg(test)]
mod soup;
mod state;
mod stitch;
mod tokens;

use millrace_shared::media::MediaType;
use otf_pdf_doc::{Document, Page, Store};
use otf_pdf_syntax::{Error, Limits, Object, OpenOptions, Source, SourceError};

use self::font::Fonts;
use self::glyphs::{PageText, Seen};
use self::interpreter::{Interpreter, Surroundings};
use self::layers::Layers;
use super::Input;
use crate::ingest::document::WarningCode;
use crate::ingest::limits::IngestLimits;
use crate::ingest::metadata::Metadata;
use crate::ingest::ocr::{self, Silence};
use crate::ingest::sink::TextSink;
use crate::ingest::wire::Failure;

/// One decoded stream: more than any page's text or font needs, less than the child's memory.
const MAX_STREAM_BYTES: u64 = 128 << 20;

pub(super) fn extract(input: &Input, limits: &IngestLimits, sink: &mut TextSink) -> Result<(), Failure> {
    let source = InputSource(input.try_clone().map_err(|error| Failure::from_io(&error))?);
    let options = OpenOptions {
        limits: Limits {
            max_pages: limits.max_pages,
            max_decoded_size: limits.max_expanded_bytes.min(MAX_STREAM_BYTES),
            ..Limits::default()
        },
        ..OpenOptions::default()
    };
    let document = Document::open(source, options).map_err(failure)?;
    let pages = document.pages().map_err(failure)?;
    if pages.is_empty() {
        return Err(Failure::malformed("it has no pages"));
    }
    read_metadata(&document, &mut sink.metadata);
    let layers = Layers::of(&document);
    let mut bookmarks = outline::by_page(&document, &pages);
    let mut fonts = Fonts::new(document.store());
    let surroundings = Surroundings { store: document.store(), layers: &layers, max_glyphs: limits.max_text_chars };
    let mut text = PageText::default();
    let mut silent = Vec::new();
    for (index, page) in pages.iter().enumerate() {
        text.clear();
        let content = content(document.store(), page).map_err(failure)?;
        let mut interpreter = Interpreter::new(surroundings, &mut fonts, page, &mut text);
        let fields = interpreter.run_page(page, &content.data).map_err(failure)?;
        lines::write(&text, &bookmarks.remove(&index).unwrap_or_default(), sink)?;
        for field in fields {
            sink.line_break();
            sink.text(&field)?;
        }
        let number = sink.page_number();
        if content.is_damaged {
            sink.warn(WarningCode::PartUnreadable, Some(number), "a part of the page's content is damaged");
        }
        if sink.page_is_empty()
            && let Some(seen) = text.seen()
        {
            silent.push((number, ocr::read_page(sink)?, seen));
        }
        sink.page_break()?;
    }
    warn_of_silence(&silent, sink);
    Ok(())
}

fn read_metadata(document: &Document, metadata: &mut Metadata) {
    let info = document.info();
    metadata.set_title(&info.title.unwrap_or_default());
    metadata.set_author(&info.author.unwrap_or_default());
    metadata.set_created(&info.creation_date.unwrap_or_default());
    metadata.set_modified(&info.mod_date.unwrap_or_default());
    if let Some(Object::String(language)) = document.catalog().get(b"Lang").map(|value| document.store().resolve(value))
    {
        metadata.set_language(&String::from_utf8_lossy(&language.bytes));
    }
}

/// A page's content streams, decoded and joined.
#[derive(Default)]
struct Content {
    data: Vec<u8>,
    /// Whether one of the streams could not be decoded; it is left out, and the others are read.
    is_damaged: bool,
}

fn content(store: &Store, page: &Page) -> Result<Content, Error> {
    let parts = match page.dict.get(b"Contents").map(|contents| store.resolve(contents)) {
        Some(Object::Array(items)) => items.iter().map(|item| store.resolve(item)).collect(),
        Some(single) => vec![single],
        None => Vec::new(),
    };
    let mut content = Content::default();
    for part in parts {
        let Object::Stream(stream) = part else { continue };
        match store.decode_stream(&stream) {
            Ok(decoded) => content.data.extend_from_slice(&decoded.data),
            Err(error @ (Error::Limit(_) | Error::Source(_))) => return Err(error),
            Err(_) => content.is_damaged = true,
        }
        // A stream may end within a token only by mistake.
        content.data.push(b'\n');
    }
    Ok(content)
}

/// Tells of pages that show something and gave no text.
fn warn_of_silence(silent: &[(u32, Silence, Seen)], sink: &mut TextSink) {
    let told: Vec<_> = silent.iter().map(|&(page, silence, seen)| (page, silence, message(seen))).collect();
    let is_needed = silent.iter().any(|(_, _, seen)| *seen != Seen::Shapes);
    ocr::warn_of_silence(&told, is_needed, sink);
}

fn message(seen: Seen) -> &'static str {
    match seen {
        Seen::Letters => "the page has letters, but its fonts do not tell which",
        Seen::Pictures => "the page has pictures, but no text",
        Seen::Shapes => "the page has drawings, but no text",
    }
}

fn failure(error: Error) -> Failure {
    match error {
        Error::InvalidPassword | Error::UnsupportedEncryption(_) => Failure::Encrypted,
        Error::Limit(kind) => Failure::too_large(format!("the {kind} limit for {} was reached", MediaType::Pdf)),
        Error::Source(error) => Failure::Io { reason: error.message().to_owned() },
        error => Failure::malformed(error.to_string()),
    }
}

/// Serves the parser from the open file, so that a large file is not held in memory.
struct InputSource(Input);

impl Source for InputSource {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, SourceError> {
        self.0.read_at(offset, buffer).map_err(|error| SourceError::new(error.kind().to_string()))
    }
}
