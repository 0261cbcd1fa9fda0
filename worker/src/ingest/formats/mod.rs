//! The formats, one file each, and the registry that leads to them.
//!
//! To add one: a variant of [`MediaType`], a file here with an [`Extract`] function, a line in [`EXTRACTORS`].

mod archive;
mod csv;
mod docx;
mod drawing;
mod epub;
mod html;
mod input;
mod mail;
mod markdown;
mod odf;
mod package;
mod pdf;
mod picture;
mod pptx;
mod rtf;
mod sheet;
mod text;

use std::io;

use millrace_shared::media::{self, MediaType};

pub(super) use input::{Input, Reader as InputReader};

use self::package::Package;
use super::limits::IngestLimits;
use super::sink::TextSink;
use super::wire::Failure;

/// Reads a file's text into the sink, page by page.
type Extract = fn(&Input, &IngestLimits, &mut TextSink) -> Result<(), Failure>;

const EXTRACTORS: [(MediaType, Extract); 17] = [
    (MediaType::Pdf, pdf::extract),
    (MediaType::Docx, docx::extract),
    (MediaType::Pptx, pptx::extract),
    (MediaType::Xlsx, sheet::extract_xlsx),
    (MediaType::Xls, sheet::extract_xls),
    (MediaType::Odt, odf::extract_text),
    (MediaType::Ods, odf::extract_pages),
    (MediaType::Odp, odf::extract_pages),
    (MediaType::Epub, epub::extract),
    (MediaType::Rtf, rtf::extract),
    (MediaType::Html, html::extract),
    (MediaType::Markdown, markdown::extract),
    (MediaType::Csv, csv::extract),
    (MediaType::Eml, mail::extract_eml),
    (MediaType::Msg, mail::extract_msg),
    (MediaType::Zip, archive::extract),
    (MediaType::PlainText, text::extract),
];

/// Tells the type from the bytes and reads the text with that type's extractor.
pub(super) fn extract(input: &Input, limits: &IngestLimits, sink: &mut TextSink) -> Result<MediaType, Failure> {
    let media_type = identify(input).map_err(|error| Failure::from_io(&error))??;
    if media_type.is_picture() {
        picture::extract(input, &media_type, limits, sink)?;
        return Ok(media_type);
    }
    let extractor = EXTRACTORS.iter().find(|(known, _)| *known == media_type);
    let Some((_, extract)) = extractor else {
        return Err(Failure::UnsupportedMediaType { detected: media_type.as_str().to_owned() });
    };
    extract(input, limits, sink)?;
    Ok(media_type)
}

/// [`media::detect`], and a look at the whole of a container whose head leaves it open.
pub(super) fn identify(input: &Input) -> io::Result<Result<MediaType, Failure>> {
    let head = input.read_head(media::HEAD_BYTES)?;
    let media_type = media::detect(&head);
    Ok(match media_type.as_str() {
        // Folders of an archive may have any names, and what is stored in it headers of its own.
        _ if is_office(&media_type) && is_plain_archive(input) => Ok(MediaType::Zip),
        "application/zip" => Ok(office_type(input).unwrap_or(media_type)),
        "application/x-ole-storage" if mail::is_message(input) => Ok(MediaType::Msg),
        "application/x-ole-storage" if sheet::is_workbook(input) => Ok(MediaType::Xls),
        // An Office file with a password is an OLE container around the encrypted ZIP (MS-OFFCRYPTO 2.3).
        "application/x-ole-storage" if input.contains(&utf16le("EncryptedPackage"))? => Err(Failure::Encrypted),
        _ => Ok(media_type),
    })
}

/// What a ZIP is whose head did not tell, by the folder of its main part.
fn office_type(input: &Input) -> Option<MediaType> {
    let mut package = Package::open(input, 16 << 20).ok()?;
    let usual = ["word/document.xml", "ppt/presentation.xml", "xl/workbook.xml"];
    let main = usual.into_iter().find_map(|usual| package.main_part(usual).ok())?;
    let types = [("word/", MediaType::Docx), ("ppt/", MediaType::Pptx), ("xl/", MediaType::Xlsx)];
    types.into_iter().find(|(folder, _)| main.starts_with(folder)).map(|(_, media_type)| media_type)
}

fn is_office(media_type: &MediaType) -> bool {
    matches!(media_type, MediaType::Docx | MediaType::Pptx | MediaType::Xlsx)
}

/// Whether a ZIP has no list of its parts' types, as Office Open XML must (ECMA-376 part 2, 7.2.3). One that cannot be opened is what it seems.
fn is_plain_archive(input: &Input) -> bool {
    Package::open(input, 0).is_ok_and(|package| !package.has("[Content_Types].xml"))
}

fn utf16le(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}
