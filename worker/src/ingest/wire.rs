//! What passes between the worker and an extraction child.
//!
//! To the child: one argument, [`ChildSettings`] as JSON, and through the socket that is its standard input the open file, a scratch file for
//! [parts](super::parts) and, as JSON, how much of it may be used. From the child, on
//! standard output: the length of the header (`u32`, little endian), the header as JSON, and the text as UTF-8 up to the end. The
//! text travels bare because JSON would escape and copy it. The parent believes none of it: sizes are bounded before
//! they are read, and every offset is checked against the text before it becomes a [`Document`].

use std::io::{self, Write};

use millrace_shared::db::assets::HeadingPath;
use millrace_shared::media::MediaType;
use serde::{Deserialize, Serialize};

use super::document::{Chunk, Document, Heading, Page, Warning};
use super::headings::{MAX_LEVEL, MAX_MARKS, Mark, paths, title_of};
use super::limits::IngestLimits;
use super::metadata::Metadata;
use super::ocr::Picture;
use super::parts::{Part, Unpack};

/// Room for the header besides the text: pages, headings, chunks and warnings of the longest allowed text stay far below it.
const HEADER_LIMIT: usize = 64 << 20;
/// How many times the text's own length its chunks may have together. With the longest overlap they come near to four.
const MAX_REPETITION: u64 = 8;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ChildSettings {
    pub limits: IngestLimits,
    /// The process that must be the child's parent: if it is not, the parent died before the child could ask for a signal.
    pub parent: u32,
}

/// What a child is to do with its file.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Task {
    /// Read its text.
    Read {
        unpack: Unpack,
        /// Where the list begins of the pages that were recognised, in the third file.
        recognised: Option<u64>,
    },
    /// Draw one of its pages into the scratch file, for recognition.
    Draw {
        /// From 1.
        page: u32,
        /// How many it must have: who counts otherwise speaks of other pages.
        pages: u32,
    },
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
    Document(Box<Outline>),
    Drawn(Picture),
    Failed(Failure),
}

/// What a child gave.
#[derive(Debug)]
pub(super) enum Answer {
    Document(Box<Read>),
    Drawn(Picture),
}

/// A document, and what is left to do for it.
#[derive(Debug)]
pub(super) struct Read {
    pub document: Document,
    /// The pages that show something and give no words.
    pub silent: Vec<u32>,
}

/// A [`Document`] without its text.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Outline {
    pub media_type: MediaType,
    pub metadata: Metadata,
    pub pages: Vec<Page>,
    pub marks: Vec<Mark>,
    pub words: u64,
    pub chunks: Vec<ChunkRange>,
    pub warnings: Vec<Warning>,
    #[serde(default)]
    pub parts: Vec<Part>,
    /// Pages that recognition may read.
    #[serde(default)]
    pub silent: Vec<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ChunkRange {
    pub page: u32,
    pub start: u32,
    pub end: u32,
    /// How many marks have come, which tells the path that it stands under...
    pub section: u32,
    /// ...as far as so many headings.
    pub depth: u8,
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

pub(super) fn read_reply(mut bytes: Vec<u8>) -> Result<(Result<Answer, Failure>, Usage), ReplyError> {
    let prefix = bytes.first_chunk::<4>().ok_or(ReplyError::Short)?;
    let text_at = 4 + u32::from_le_bytes(*prefix) as usize;
    let header = bytes.get(4..text_at).ok_or(ReplyError::Short)?;
    let Header { reply, usage } = serde_json::from_slice(header).map_err(ReplyError::Header)?;
    let result = match reply {
        Reply::Failed(failure) => Err(failure),
        Reply::Drawn(picture) => Ok(Answer::Drawn(picture)),
        Reply::Document(mut outline) => {
            bytes.drain(..text_at);
            let text = String::from_utf8(bytes).map_err(|_| ReplyError::Text)?;
            let silent = std::mem::take(&mut outline.silent);
            let document = assemble(*outline, text)?;
            let are_pages = silent.iter().all(|&page| page > 0 && page as usize <= document.pages.len());
            if !are_pages || !silent.is_sorted_by(|one, next| one < next) {
                return Err(ReplyError::Offsets);
            }
            Ok(Answer::Document(Box::new(Read { document, silent })))
        }
    };
    Ok((result, usage))
}

/// Joins outline and text, cutting every title and every chunk out of the text by its offsets.
fn assemble(outline: Outline, text: String) -> Result<Document, ReplyError> {
    let length = text.chars().count();
    if !are_in_order(&outline.pages, length) {
        return Err(ReplyError::Offsets);
    }
    let headings = headings_of(&outline.marks, &text).ok_or(ReplyError::Offsets)?;
    let paths = paths(headings.iter().map(|heading| (heading.level, heading.title.as_str())));
    let mut cursor = Cursor::new(&text);
    let mut chunks = Vec::with_capacity(outline.chunks.len());
    let mut room = length as u64 * MAX_REPETITION;
    let mut before = None;
    for (range, ordinal) in outline.chunks.iter().zip(0..) {
        let is_later = before.is_none_or(|(start, end)| start < range.start && end < range.end);
        before = Some((range.start, range.end));
        let page = (range.page as usize).checked_sub(1).and_then(|index| outline.pages.get(index));
        let page = page.filter(|page| is_later && page.start <= range.start && range.end <= page.end);
        let left = room.checked_sub(u64::from(range.end.saturating_sub(range.start)));
        let (Some(_), Some(left)) = (page, left) else { return Err(ReplyError::Offsets) };
        room = left;
        let piece = cursor.slice(range.start, range.end).ok_or(ReplyError::Offsets)?.to_owned();
        let path = path_of(range, &paths).ok_or(ReplyError::Offsets)?;
        chunks.push(Chunk {
            ordinal,
            page: range.page,
            headings: path,
            start: range.start,
            end: range.end,
            text: piece,
        });
    }
    Ok(Document {
        media_type: outline.media_type,
        metadata: outline.metadata,
        pages: outline.pages,
        headings: headings.into_iter().filter(|heading| heading.level > 0).collect(),
        words: outline.words,
        warnings: outline.warnings,
        parts: outline.parts,
        chunks,
        text,
    })
}

fn are_in_order(pages: &[Page], length: usize) -> bool {
    let mut place = 0;
    let ordered = pages.iter().zip(1..).all(|(page, number)| {
        let fits = page.number == number && place <= page.start && page.start <= page.end;
        place = page.end;
        fits
    });
    ordered && place as usize <= length
}

/// The marks with their titles, ends of sections included; `None` if one of them is not as the sink makes them.
fn headings_of(marks: &[Mark], text: &str) -> Option<Vec<Heading>> {
    let mut cursor = Cursor::new(text);
    let mut headings: Vec<Heading> = Vec::with_capacity(marks.len().min(MAX_MARKS));
    for mark in marks {
        let slice = cursor.slice(mark.start, mark.end)?;
        let follows = headings.last().is_none_or(|before| {
            // Of those that begin at one place each is deeper than the one before, but for the one whose title stands there.
            let is_deeper = before.start < mark.start || before.level < mark.level || mark.start < mark.end;
            before.end <= mark.start && is_deeper
        });
        let title = match (&mark.title, mark.level) {
            (None, 0) if slice.is_empty() => String::new(),
            (Some(title), 1..=MAX_LEVEL) if slice.is_empty() && *title == title_of(title) => title.clone(),
            (None, 1..=MAX_LEVEL) => title_of(slice),
            _ => return None,
        };
        if !follows || headings.len() >= MAX_MARKS || (mark.level > 0 && title.is_empty()) {
            return None;
        }
        headings.push(Heading { level: mark.level, title, start: mark.start, end: mark.end });
    }
    Some(headings)
}

fn path_of(range: &ChunkRange, paths: &[HeadingPath]) -> Option<HeadingPath> {
    match range.section.checked_sub(1) {
        Some(index) => paths.get(index as usize).map(|path| path.outer(range.depth.into())),
        None => Some(HeadingPath::default()),
    }
}

/// Walks a text once, forward, turning character offsets into slices. A slice may begin within the one before.
struct Cursor<'a> {
    rest: &'a str,
    chars: u32,
}

impl<'a> Cursor<'a> {
    fn new(text: &'a str) -> Self {
        Self { rest: text, chars: 0 }
    }

    /// The text from `start` to `end`; `None` behind the end, backwards, or where it begins before an earlier slice.
    fn slice(&mut self, start: u32, end: u32) -> Option<&'a str> {
        let skipped = bytes_of(self.rest, start.checked_sub(self.chars)?)?;
        (self.rest, self.chars) = (&self.rest[skipped..], start);
        let length = bytes_of(self.rest, end.checked_sub(start)?)?;
        Some(&self.rest[..length])
    }
}

/// How many bytes the first characters of a text take; `None` if it has fewer.
fn bytes_of(text: &str, chars: u32) -> Option<usize> {
    let mut bounds = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    bounds.nth(chars as usize)
}

#[cfg(test)]
mod tests;
