//! What a file is, told from its bytes and never from its name.
//!
//! The API asks at upload with the first [`HEAD_BYTES`] bytes, so that a file nobody can read is refused or labelled at
//! once; the worker asks again before parsing, because it trusts no label. Both get the same answer for the same bytes.
//!
//! Order of the rules: formats with a signature first (PDF, ZIP containers, OLE containers), then text (valid in a known
//! encoding, then told apart as HTML, Markdown or plain text), and only then the signatures of everything else: short
//! signatures such as `BM` or `MZ` would otherwise claim prose that happens to start so.

mod container;
mod text;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use text::{TextEncoding, sniff_encoding};

/// How many leading bytes [`detect`] wants to see. More does no harm, fewer may lose a late clue.
pub const HEAD_BYTES: usize = 64 * 1024;

/// A media type: one that can be extracted, or the name of one that cannot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum MediaType {
    /// `application/pdf`
    Pdf,
    /// `application/vnd.openxmlformats-officedocument.wordprocessingml.document`
    Docx,
    /// `text/html`
    Html,
    /// `text/markdown`
    Markdown,
    /// `text/plain`
    PlainText,
    /// Anything else, with the detected MIME type (`application/octet-stream` where nothing is known).
    Unsupported(String),
}

impl MediaType {
    /// The MIME type, without parameters.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Pdf => "application/pdf",
            Self::Docx => DOCX,
            Self::Html => "text/html",
            Self::Markdown => "text/markdown",
            Self::PlainText => "text/plain",
            Self::Unsupported(mime) => mime,
        }
    }

    /// Whether Millrace has an extractor for it.
    pub fn is_supported(&self) -> bool {
        !matches!(self, Self::Unsupported(_))
    }

    fn unsupported(mime: &str) -> Self {
        Self::Unsupported(mime.to_owned())
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<String> for MediaType {
    fn from(mime: String) -> Self {
        [Self::Pdf, Self::Docx, Self::Html, Self::Markdown, Self::PlainText]
            .into_iter()
            .find(|known| known.as_str() == mime)
            .unwrap_or(Self::Unsupported(mime))
    }
}

impl From<MediaType> for String {
    fn from(media_type: MediaType) -> Self {
        media_type.as_str().to_owned()
    }
}

pub(crate) const DOCX: &str = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";

/// Tells the media type from the first bytes of a file ([`HEAD_BYTES`], or all of a shorter file).
pub fn detect(head: &[u8]) -> MediaType {
    if head.is_empty() {
        return MediaType::unsupported("application/x-empty");
    }
    if is_pdf(head) {
        return MediaType::Pdf;
    }
    if let Some(media_type) = container::detect(head) {
        return media_type;
    }
    if let Some(media_type) = text::detect(head) {
        return media_type;
    }
    let mime = infer::get(head).map_or("application/octet-stream", |kind| kind.mime_type());
    MediaType::unsupported(mime)
}

/// A PDF header within the first 1,024 bytes (ISO 32000-1, annex H.3.4.1: viewers accept junk before it).
///
/// A header that does not open the file also needs an indirect object behind it, so that prose which quotes a header is
/// not taken for a PDF.
fn is_pdf(head: &[u8]) -> bool {
    const MARK: &[u8] = b"%PDF-";
    let window = &head[..head.len().min(1024 + MARK.len())];
    let Some(at) = find(window, MARK) else {
        return false;
    };
    at == 0 || has_indirect_object(&head[at..])
}

fn has_indirect_object(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = find(rest, b" obj") {
        if at > 0 && rest[at - 1].is_ascii_digit() {
            return true;
        }
        rest = &rest[at + 4..];
    }
    false
}

pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests;
