//! The formats, one file each, and the registry that leads to them.
//!
//! To add one: a variant of [`MediaType`], a file here with an [`Extract`] function, a line in [`EXTRACTORS`].

mod docx;
mod html;
mod input;
mod markdown;
mod pdf;
mod text;

use std::io;

use millrace_shared::media::{self, MediaType};

pub(super) use input::Input;

use super::limits::IngestLimits;
use super::sink::TextSink;
use super::wire::Failure;

/// Reads a file's text into the sink, page by page.
type Extract = fn(&Input, &IngestLimits, &mut TextSink) -> Result<(), Failure>;

const EXTRACTORS: [(MediaType, Extract); 5] = [
    (MediaType::Pdf, pdf::extract),
    (MediaType::Docx, docx::extract),
    (MediaType::Html, html::extract),
    (MediaType::Markdown, markdown::extract),
    (MediaType::PlainText, text::extract),
];

/// Tells the type from the bytes and reads the text with that type's extractor.
pub(super) fn extract(input: &Input, limits: &IngestLimits, sink: &mut TextSink) -> Result<MediaType, Failure> {
    let media_type = identify(input).map_err(|error| Failure::from_io(&error))??;
    let extractor = EXTRACTORS.iter().find(|(known, _)| *known == media_type);
    let Some((_, extract)) = extractor else {
        return Err(Failure::UnsupportedMediaType { detected: media_type.as_str().to_owned() });
    };
    extract(input, limits, sink)?;
    Ok(media_type)
}

/// [`media::detect`], and a look at the whole of a container whose head leaves it open.
fn identify(input: &Input) -> io::Result<Result<MediaType, Failure>> {
    let head = input.read_head(media::HEAD_BYTES)?;
    let media_type = media::detect(&head);
    Ok(match media_type.as_str() {
        "application/zip" if docx::is_docx(input) => Ok(MediaType::Docx),
        // An Office file with a password is an OLE container around the encrypted ZIP (MS-OFFCRYPTO 2.3).
        "application/x-ole-storage" if input.contains(&utf16le("EncryptedPackage"))? => Err(Failure::Encrypted),
        _ => Ok(media_type),
    })
}

fn utf16le(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}
