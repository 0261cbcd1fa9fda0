//! What a file is, told from its bytes and never from its name.
//!
//! The API asks at upload with the first [`HEAD_BYTES`] bytes, so that a file nobody can read is refused or labelled at
//! once; the worker asks again before parsing, because it trusts no label. Both get the same answer for the same bytes.
//!
//! Order of the rules: formats with a signature first (PDF, ZIP containers, OLE containers), then mail by its header fields, then text (valid in a known
//! encoding, then told apart as HTML, Markdown or plain text), and only then the signatures of everything else: short
//! signatures such as `BM` or `MZ` would otherwise claim prose that happens to start so.

mod container;
mod mail;
mod table;
mod text;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use table::delimiter_of;
pub use text::{TextEncoding, sniff_encoding};

/// How many leading bytes [`detect`] wants to see. More does no harm, fewer may lose a late clue.
pub const HEAD_BYTES: usize = 64 * 1024;

/// A media type: one that can be extracted, or the name of one that cannot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
#[expect(missing_docs, reason = "the names are those of the formats; `KNOWN` has their types")]
pub enum MediaType {
    Pdf,
    Docx,
    Pptx,
    Xlsx,
    Xls,
    Odt,
    Ods,
    Odp,
    Epub,
    Rtf,
    Html,
    Markdown,
    Csv,
    Eml,
    Msg,
    Zip,
    PlainText,
    Png,
    Jpeg,
    Tiff,
    WebP,
    /// Anything else, with the detected MIME type (`application/octet-stream` where nothing is known).
    Unsupported(String),
}

pub(crate) const DOCX: &str = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
pub(crate) const PPTX: &str = "application/vnd.openxmlformats-officedocument.presentationml.presentation";
pub(crate) const XLSX: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";

/// What can be extracted.
const KNOWN: [(MediaType, &str); 21] = [
    (MediaType::Pdf, "application/pdf"),
    (MediaType::Docx, DOCX),
    (MediaType::Pptx, PPTX),
    (MediaType::Xlsx, XLSX),
    (MediaType::Xls, "application/vnd.ms-excel"),
    (MediaType::Odt, "application/vnd.oasis.opendocument.text"),
    (MediaType::Ods, "application/vnd.oasis.opendocument.spreadsheet"),
    (MediaType::Odp, "application/vnd.oasis.opendocument.presentation"),
    (MediaType::Epub, "application/epub+zip"),
    (MediaType::Rtf, "application/rtf"),
    (MediaType::Html, "text/html"),
    (MediaType::Markdown, "text/markdown"),
    (MediaType::Csv, "text/csv"),
    (MediaType::Eml, "message/rfc822"),
    (MediaType::Msg, "application/vnd.ms-outlook"),
    (MediaType::Zip, "application/zip"),
    (MediaType::PlainText, "text/plain"),
    (MediaType::Png, "image/png"),
    (MediaType::Jpeg, "image/jpeg"),
    (MediaType::Tiff, "image/tiff"),
    (MediaType::WebP, "image/webp"),
];

impl MediaType {
    /// The MIME type, without parameters.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Unsupported(mime) => mime,
            known => KNOWN.iter().find(|(media_type, _)| media_type == known).map_or("", |(_, mime)| mime),
        }
    }

    /// Whether Millrace has an extractor for it. One for [pictures](Self::is_picture) it has only with character recognition.
    pub fn is_supported(&self) -> bool {
        !matches!(self, Self::Unsupported(_)) && !self.is_picture()
    }

    /// Whether it is a picture that character recognition can read.
    pub fn is_picture(&self) -> bool {
        matches!(self, Self::Png | Self::Jpeg | Self::Tiff | Self::WebP)
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
        // A template is read like what is made from it.
        let name = mime.strip_suffix("-template").unwrap_or(&mime);
        KNOWN
            .iter()
            .find(|(_, known)| *known == name)
            .map_or_else(|| Self::Unsupported(mime.clone()), |(media_type, _)| media_type.clone())
    }
}

impl From<MediaType> for String {
    fn from(media_type: MediaType) -> Self {
        media_type.as_str().to_owned()
    }
}

/// Tells the media type from the first bytes of a file ([`HEAD_BYTES`], or all of a shorter file).
pub fn detect(head: &[u8]) -> MediaType {
    if head.is_empty() {
        return MediaType::unsupported("application/x-empty");
    }
    if is_pdf(head) {
        return MediaType::Pdf;
    }
    if head.starts_with(b"{\\rtf") {
        return MediaType::Rtf;
    }
    if let Some(media_type) = container::detect(head) {
        return media_type;
    }
    // Before text: a message may have bytes in it that no text has.
    if mail::is_message(head) {
        return MediaType::Eml;
    }
    if let Some(media_type) = text::detect(head) {
        return media_type;
    }
    let mime = infer::get(head).map_or("application/octet-stream", |kind| kind.mime_type());
    MediaType::from(mime.to_owned())
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
