//! Files that hold files: ZIP (Office Open XML, OpenDocument, EPUB, …) and OLE compound files (legacy Office).
//!
//! Only the head is at hand, so a ZIP's central directory (at its end) is not; the local headers tell the first names,
//! and `[Content_Types].xml` or `mimetype`, which producers write early, tell the rest.

use std::io::Read;

use flate2::read::DeflateDecoder;

use super::{DOCX, MediaType, PPTX, XLSX, find};

const ZIP_LOCAL_HEADER: &[u8] = b"PK\x03\x04";
const OLE_MAGIC: &[u8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1";

/// Enough of `[Content_Types].xml` or `mimetype` to find the main part's type; also bounds a bomb.
const INFLATE_LIMIT: u64 = 256 * 1024;

pub(super) fn detect(head: &[u8]) -> Option<MediaType> {
    if head.starts_with(OLE_MAGIC) {
        return Some(MediaType::from(ole_type(head).to_owned()));
    }
    if head.starts_with(ZIP_LOCAL_HEADER) {
        return Some(MediaType::from(zip_type(head)));
    }
    (head.starts_with(b"PK\x05\x06")).then_some(MediaType::Zip)
}

fn zip_type(head: &[u8]) -> String {
    let mut rest = head;
    let mut by_name = None;
    while let Some(at) = find(rest, ZIP_LOCAL_HEADER) {
        // OpenDocument and EPUB begin with it; another file of that name may be anything.
        let is_first = rest.len() == head.len();
        rest = &rest[at..];
        let mut read = ZIP_LOCAL_HEADER.len();
        if let Some(entry) = LocalEntry::parse(rest) {
            if entry.name == b"mimetype" && is_first {
                let mime = String::from_utf8_lossy(&entry.content()).trim().to_owned();
                let is_container = mime.starts_with("application/vnd.") || mime.ends_with("+zip");
                if is_container && mime.is_ascii() && mime.len() < 128 {
                    return mime;
                }
            }
            if entry.name == b"[Content_Types].xml"
                && let Some(mime) = office_type(&entry.content())
            {
                return mime.to_owned();
            }
            by_name = by_name.or_else(|| type_by_name(entry.name));
            read = rest.len() - entry.data.len() + entry.stored_size.unwrap_or(0);
        }
        // Archives within this one have headers as well.
        rest = rest.get(read..).unwrap_or_default();
    }
    by_name.unwrap_or("application/zip").to_owned()
}

/// The parts that only one kind of archive has.
fn type_by_name(name: &[u8]) -> Option<&'static str> {
    if name.starts_with(b"word/") {
        Some(DOCX)
    } else if name.starts_with(b"xl/") {
        Some(XLSX)
    } else if name.starts_with(b"ppt/") {
        Some(PPTX)
    } else if name == b"META-INF/MANIFEST.MF" {
        Some("application/java-archive")
    } else if name == b"AndroidManifest.xml" {
        Some("application/vnd.android.package-archive")
    } else {
        None
    }
}

/// The type of the main part (ECMA-376 part 2, content types). Templates and macro-enabled files count as their kind.
fn office_type(content_types: &[u8]) -> Option<&'static str> {
    const MAIN_PARTS: [(&[u8], &str); 11] = [
        (b"wordprocessingml.document.main", DOCX),
        (b"wordprocessingml.template.main", DOCX),
        (b"ms-word.document.macroEnabled.main", DOCX),
        (b"ms-word.template.macroEnabledTemplate.main", DOCX),
        (b"spreadsheetml.sheet.main", XLSX),
        (b"spreadsheetml.template.main", XLSX),
        (b"ms-excel.sheet.macroEnabled.main", XLSX),
        (b"presentationml.presentation.main", PPTX),
        (b"presentationml.template.main", PPTX),
        (b"presentationml.slideshow.main", PPTX),
        (b"ms-powerpoint.presentation.macroEnabled.main", PPTX),
    ];
    MAIN_PARTS.into_iter().find(|(mark, _)| find(content_types, mark).is_some()).map(|(_, mime)| mime)
}

/// A local file header (APPNOTE.TXT 4.3.7) and what the head holds of its data.
struct LocalEntry<'a> {
    name: &'a [u8],
    method: u16,
    /// `None` where it is told behind the data.
    stored_size: Option<usize>,
    data: &'a [u8],
}

impl<'a> LocalEntry<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let u16_at = |at: usize| -> Option<u16> { Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?)) };
        let u32_at = |at: usize| -> Option<u32> { Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?)) };
        const SIZE_FOLLOWS: u16 = 1 << 3;
        let flags = u16_at(6)?;
        let name_len = usize::from(u16_at(26)?);
        let extra_len = usize::from(u16_at(28)?);
        Some(Self {
            name: bytes.get(30..30 + name_len)?,
            method: u16_at(8)?,
            stored_size: Some(u32_at(18)? as usize).filter(|_| flags & SIZE_FOLLOWS == 0),
            data: bytes.get(30 + name_len + extra_len..).unwrap_or_default(),
        })
    }

    /// As much of the content as the head holds; empty for a method other than stored and deflate.
    fn content(&self) -> Vec<u8> {
        let mut content = Vec::new();
        match self.method {
            0 => {
                let len = self.stored_size.unwrap_or(usize::MAX).min(self.data.len()).min(INFLATE_LIMIT as usize);
                content.extend_from_slice(&self.data[..len]);
            }
            8 => {
                // A stream cut off by the end of the head is an error after useful bytes: those are kept.
                let _ = DeflateDecoder::new(self.data).take(INFLATE_LIMIT).read_to_end(&mut content);
            }
            _ => {}
        }
        content
    }
}

/// Names of streams that OLE producers write, as the directory stores them (UTF-16LE).
fn ole_type(head: &[u8]) -> &'static str {
    let has = |name: &str| {
        let wide: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        find(head, &wide).is_some()
    };
    if is_message(head) {
        "application/vnd.ms-outlook"
    } else if has("WordDocument") {
        "application/msword"
    } else if has("Workbook") {
        "application/vnd.ms-excel"
    } else if has("PowerPoint Document") {
        "application/vnd.ms-powerpoint"
    } else if has("__substg1.0_") {
        "application/vnd.ms-outlook"
    } else {
        "application/x-ole-storage"
    }
}

/// Whether the first sector of the directory is that of an Outlook item ([MS-OXMSG] 2.2): its root has the class of one, or the names that
/// only such items have. Names further on may be those of what is attached to it, or of a message within another file.
fn is_message(head: &[u8]) -> bool {
    /// {00020D0B-0000-0000-C000-000000000046}, as it is stored.
    const CLASS: &[u8] = b"\x0b\x0d\x02\0\0\0\0\0\xc0\0\0\0\0\0\0\x46";
    const ENTRY_BYTES: usize = 128;
    let number = |at: usize| head.get(at..at + 4).and_then(|bytes| Some(u32::from_le_bytes(bytes.try_into().ok()?)));
    // [MS-CFB] 2.2: the version decides the size of a sector, and the header takes one.
    let sector_bytes = if head.get(26) == Some(&4) { 4_096 } else { 512 };
    let directory = number(48).and_then(|sector| (sector as usize).checked_add(1)?.checked_mul(sector_bytes));
    let Some(sector) = directory.and_then(|at| head.get(at..at.checked_add(sector_bytes)?)) else {
        return false;
    };
    let named = |entry: &[u8]| {
        [
            "__nameid_version1.0",
            "__properties_version1.0",
            "__substg1.0_",
            "__recip_version1.0_",
            "__attach_version1.0_",
        ]
        .iter()
        .any(|name| entry.starts_with(&name.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>()))
    };
    sector.get(80..96) == Some(CLASS) || sector.chunks(ENTRY_BYTES).any(named)
}
