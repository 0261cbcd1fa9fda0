//! What extraction gives.
//!
//! Every offset counts Unicode scalar values (Rust `char`s) of [`Document::text`], from 0, and every range is half open:
//! `text.chars().skip(start).take(end - start)` is exactly the page's or the chunk's text. Bytes would be cheaper, but
//! clients in other languages could not use them; Python's `text[start:end]` and Postgres' `substring` can.

use millrace_shared::db::assets::HeadingPath;
use millrace_shared::media::MediaType;
use serde::{Deserialize, Serialize};

use super::metadata::Metadata;
use super::parts::Part;

/// The text of one file, with its structure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// What the file is, told from its bytes.
    pub media_type: MediaType,
    /// What the file states of itself, and its language.
    #[serde(flatten)]
    pub metadata: Metadata,
    /// All text: lines end in `\n`, paragraphs are a blank line apart, no control characters but `\n` and `\t`.
    pub text: String,
    /// The pages in order, without gaps in their numbers. A format without pages has one.
    pub pages: Vec<Page>,
    /// The headings in order.
    pub headings: Vec<Heading>,
    /// How many words the text has, by Unicode's word boundaries (UAX #29).
    pub words: u64,
    /// The chunks in order. They never cross a page, and repeat of the one before no more than was asked for.
    pub chunks: Vec<Chunk>,
    /// What a reader of the text should know.
    pub warnings: Vec<Warning>,
    /// What else is in it: attachments, members, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
}

/// Where one page lies in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// From 1.
    pub number: u32,
    /// Offset of its first character.
    pub start: u32,
    /// Offset behind its last character.
    pub end: u32,
}

/// What a part of the text stands under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heading {
    /// From 1, the highest, to 9.
    pub level: u8,
    /// On one line, cut to 200 characters.
    pub title: String,
    /// Offset of its first character.
    pub start: u32,
    /// Offset behind its last character; `start` where its title does not stand in the text, such as a bookmark's.
    pub end: u32,
}

/// A piece of text small enough to index or to quote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// From 0, in reading order.
    pub ordinal: u32,
    /// The number of the page it lies on.
    pub page: u32,
    /// The headings that all of it stands under, its own included.
    pub headings: HeadingPath,
    /// Offset of its first character.
    pub start: u32,
    /// Offset behind its last character.
    pub end: u32,
    /// The text between the two; never empty, never only blanks.
    pub text: String,
}

/// Something that went less well than the outcome says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// What kind of thing.
    pub code: WarningCode,
    /// The page it is about, if it is about one.
    pub page: Option<u32>,
    /// A sentence for people.
    pub message: String,
}

/// The kinds of [`Warning`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WarningCode {
    /// The document has pages but no words: they are pictures of text.
    NeedsOcr,
    /// One page gave no text while others did.
    PageWithoutText,
    /// One part or page could not be read and was left out.
    PartUnreadable,
    /// The encoding was guessed.
    EncodingGuessed,
    /// Some bytes or characters could not be read and stand as U+FFFD.
    CharactersReplaced,
    /// The text of some pages was recognised in pictures; the message names them.
    ReadByOcr,
    /// Some pages could not be read by recognition; the message names them, and says why.
    OcrFailed,
    /// Some of the documents in it were not unpacked; the message names them.
    PartsLeftOut,
}
