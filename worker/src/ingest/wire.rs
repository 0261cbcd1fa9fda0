//! What passes between the worker and an extraction child.
//!
//! To the child: one argument, [`ChildSettings`] as JSON, and through the socket that is its standard input the open file, a scratch file for
//! [parts](super::parts) and, as JSON, how much of it may be used. From the child, on
//! standard output: the length of the header (`u32`, little endian), the header as JSON, and the text as UTF-8 up to the end. The
//! text travels bare because JSON would escape and copy it. The parent believes none of it: sizes are bounded before
//! they are read, and every offset is checked against the text before it becomes a [`Document`].

use std::io::{self, Write};

use millrace_shared::media::MediaType;
use serde::{Deserialize, Serialize};

use super::document::{Chunk, Document, Page, Warning};
use super::limits::IngestLimits;
use super::metadata::Metadata;
use super::parts::Part;

/// Room for the header besides the text: pages, chunks and warnings of the longest allowed text stay far below it.
const HEADER_LIMIT: usize = 64 << 20;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ChildSettings {
    pub limits: IngestLimits,
    /// The process that must be the child's parent: if it is not, the parent died before the child could ask for a signal.
    pub parent: u32,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Header {
    pub reply: Reply,
    pub usage: Usage,
}

/// What a child took to read its file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time of its whole life, start included, in µs.
    pub cpu_micros: u64,
    /// The most memory it held at once, in KiB.
    pub peak_memory_kib: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub(super) enum Reply {
    Document(Outline),
    Failed(Failure),
}

/// A [`Document`] without its text.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Outline {
    pub media_type: MediaType,
    pub metadata: Metadata,
    pub pages: Vec<Page>,
    pub words: u64,
    pub chunks: Vec<ChunkRange>,
    pub warnings: Vec<Warning>,
    #[serde(default)]
    pub parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ChunkRange {
    pub page: u32,
    pub start: u32,
    pub end: u32,
}

/// Why a format gave no text, as the child tells it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub(super) enum Failure {
    #[error("unsupported media type {detected}")]
    UnsupportedMediaType { detected: String },
    #[error("encrypted")]
    Encrypted,
    #[error("malformed: {reason}")]
    Malformed { reason: String },
    #[error("too large: {reason}")]
    TooLarge { reason: String },
    #[error("out of memory")]
    OutOfMemory,
    #[error("cannot read the file: {reason}")]
    Io { reason: String },
}

impl Failure {
    pub fn malformed(reason: impl Into<String>) -> Self {
        Self::Malformed { reason: reason.into() }
    }

    pub fn too_large(reason: impl Into<String>) -> Self {
        Self::TooLarge { reason: reason.into() }
    }

    /// A failed read of the file itself (not of something packed inside it).
    pub fn from_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::OutOfMemory => Self::OutOfMemory,
            _ => Self::Io { reason: error.kind().to_string() },
        }
    }
}

/// The most bytes a child may answer with.
pub(super) fn reply_limit(limits: &IngestLimits) -> u64 {
    (limits.max_text_chars as u64) * 4 + (HEADER_LIMIT as u64) + 4
}

pub(super) fn write_reply(out: &mut dyn Write, header: &Header, text: &str) -> io::Result<()> {
    let header = serde_json::to_vec(header)?;
    let length = u32::try_from(header.len()).map_err(|_| io::Error::other("the header is too long"))?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(&header)?;
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// What is wrong with a reply. Only a broken or subverted child gives one.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReplyError {
    #[error("the reply ends early")]
    Short,
    #[error("the reply's header is not valid")]
    Header(#[source] serde_json::Error),
    #[error("the reply's text is not UTF-8")]
    Text,
    #[error("the reply's offsets do not fit its text")]
    Offsets,
}

pub(super) fn read_reply(mut bytes: Vec<u8>) -> Result<(Result<Document, Failure>, Usage), ReplyError> {
    let prefix = bytes.first_chunk::<4>().ok_or(ReplyError::Short)?;
    let text_at = 4 + u32::from_le_bytes(*prefix) as usize;
    let header = bytes.get(4..text_at).ok_or(ReplyError::Short)?;
    let Header { reply, usage } = serde_json::from_slice(header).map_err(ReplyError::Header)?;
    let result = match reply {
        Reply::Failed(failure) => Err(failure),
        Reply::Document(outline) => {
            bytes.drain(..text_at);
            let text = String::from_utf8(bytes).map_err(|_| ReplyError::Text)?;
            Ok(assemble(outline, text)?)
        }
    };
    Ok((result, usage))
}

/// Joins outline and text, cutting every chunk out of the text by its offsets.
fn assemble(outline: Outline, text: String) -> Result<Document, ReplyError> {
    let mut place = 0;
    let ordered = outline.pages.iter().zip(1..).all(|(page, number)| {
        let fits = page.number == number && place <= page.start && page.start <= page.end;
        place = page.end;
        fits
    });
    let mut cursor = Cursor::new(&text);
    let mut chunks = Vec::with_capacity(outline.chunks.len());
    for (range, ordinal) in outline.chunks.iter().zip(0..) {
        let page = (range.page as usize)
            .checked_sub(1)
            .and_then(|index| outline.pages.get(index))
            .filter(|page| page.start <= range.start && range.end <= page.end);
        let piece = cursor.slice(range.start, range.end);
        let (Some(_), Some(piece)) = (page, piece) else {
            return Err(ReplyError::Offsets);
        };
        chunks.push(Chunk { ordinal, page: range.page, start: range.start, end: range.end, text: piece.to_owned() });
    }
    if !ordered || cursor.slice(place, place).is_none() {
        return Err(ReplyError::Offsets);
    }
    Ok(Document {
        media_type: outline.media_type,
        metadata: outline.metadata,
        pages: outline.pages,
        words: outline.words,
        warnings: outline.warnings,
        parts: outline.parts,
        chunks,
        text,
    })
}

/// Walks a text once, forward, turning character offsets into slices.
struct Cursor<'a> {
    rest: &'a str,
    chars: u32,
}

impl<'a> Cursor<'a> {
    fn new(text: &'a str) -> Self {
        Self { rest: text, chars: 0 }
    }

    /// The text from `start` to `end`; `None` behind the end, backwards, or before an earlier slice.
    fn slice(&mut self, start: u32, end: u32) -> Option<&'a str> {
        self.take(start)?;
        self.take(end)
    }

    fn take(&mut self, until: u32) -> Option<&'a str> {
        let count = until.checked_sub(self.chars)? as usize;
        let mut indices = self.rest.char_indices();
        let bytes = match indices.by_ref().nth(count) {
            Some((at, _)) => at,
            None if self.rest.chars().count() == count => self.rest.len(),
            None => return None,
        };
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        self.chars = until;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline(pages: &[(u32, u32)], chunks: &[(u32, u32, u32)]) -> Outline {
        Outline {
            media_type: MediaType::PlainText,
            metadata: Metadata::default(),
            pages: pages.iter().zip(1..).map(|(&(start, end), number)| Page { number, start, end }).collect(),
            words: 0,
            chunks: chunks.iter().map(|&(page, start, end)| ChunkRange { page, start, end }).collect(),
            warnings: Vec::new(),
            parts: Vec::new(),
        }
    }

    fn sent(reply: Reply, text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_reply(&mut bytes, &Header { reply, usage: Usage::default() }, text).unwrap();
        bytes
    }

    #[test]
    fn a_document_survives_the_wire() {
        let text = "水車の日誌\n\nzweite Seite";
        let reply = Reply::Document(outline(&[(0, 5), (7, 19)], &[(1, 0, 5), (2, 7, 19)]));
        let document = read_reply(sent(reply, text)).unwrap().0.unwrap();
        assert_eq!(document.text, text);
        let pieces: Vec<_> = document.chunks.iter().map(|chunk| chunk.text.as_str()).collect();
        assert_eq!(pieces, ["水車の日誌", "zweite Seite"]);
    }

    #[test]
    fn offsets_that_do_not_fit_are_refused() {
        for (pages, chunks) in [
            (&[(0, 4)][..], &[][..]),
            (&[(2, 1)], &[]),
            (&[(0, 3)], &[(1, 0, 4)]),
            (&[(0, 3)], &[(2, 0, 1)]),
            (&[(0, 3)], &[(1, 1, 2), (1, 0, 1)]),
        ] {
            assert!(assemble(outline(pages, chunks), "abc".to_owned()).is_err(), "{pages:?} {chunks:?}");
        }
        assert!(assemble(outline(&[(0, 3)], &[(1, 0, 3)]), "abc".to_owned()).is_ok());
    }

    #[test]
    fn a_cut_off_reply_is_an_error() {
        let mut bytes = sent(Reply::Failed(Failure::Encrypted), "");
        bytes.pop();
        assert!(matches!(read_reply(bytes), Err(ReplyError::Short)));
        assert!(matches!(read_reply(Vec::new()), Err(ReplyError::Short)));
    }
}
