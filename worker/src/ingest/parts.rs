//! What a document holds that is a document itself: the attachments of a mail, the members of an archive.
//!
//! A child can neither open nor make a file. So with its document it gets a second descriptor, a scratch file without a name, and writes there the
//! bytes that it hands out; its answer lists what they are and where they lie. [`PartSink`] is the child's side, [`Contents`] the
//! parent's. The parent believes none of it: ranges must lie within the file, follow each other without overlap, and together stay within
//! what was [allowed](Unpack). So nothing a child says makes the parent read or store more than that.
//!
//! A part that is not kept is listed with a [reason](LeftOut), and never fails the document that holds it.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;

use millrace_shared::media::{self, MediaType};
use serde::{Deserialize, Serialize};

use super::document::{Warning, WarningCode};
use super::wire::Failure;

/// How many parts are listed that were not kept: an archive of a hundred thousand pictures is one warning, not as many rows.
const MAX_LISTED: usize = 1_000;
/// The longest name of a part, in characters; of a longer one the end is kept, which tells more.
const MAX_NAME_CHARS: usize = 255;
/// How many names a warning gives.
const NAMES_IN_WARNING: usize = 5;

/// How much one extraction may hand out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unpack {
    /// So many parts, of so many bytes together.
    UpTo {
        /// How many are kept.
        parts: u32,
        /// How many bytes they may have together.
        bytes: u64,
    },
    /// Nothing: the document lies too deep within others.
    TooDeep,
}

/// One thing that a document holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// A label: the name of the file, with its folders where it has any. Never a path.
    pub name: String,
    /// Told from the bytes, where they were read.
    pub media_type: Option<MediaType>,
    /// How many bytes it has, or claims to have.
    pub size_bytes: Option<u64>,
    /// Where its bytes are, or why they are not.
    pub content: PartContent,
}

/// Where a part's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartContent {
    /// In the scratch file.
    Kept {
        /// Where they begin.
        offset: u64,
        /// How many they are.
        length: u64,
    },
    /// Nowhere.
    LeftOut(LeftOut),
}

/// Why a part was not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftOut {
    /// No extractor for its type.
    UnsupportedMediaType,
    /// It has no bytes.
    Empty,
    /// A password is needed.
    Encrypted,
    /// Its bytes cannot be unpacked.
    Malformed,
    /// More parts than may be kept.
    TooMany,
    /// More bytes than may be kept or unpacked.
    TooLarge,
    /// The document lies too deep within others.
    TooDeep,
}

impl LeftOut {
    /// A stable name.
    pub fn code(self) -> &'static str {
        match self {
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::Empty => "empty",
            Self::Encrypted => "encrypted",
            Self::Malformed => "malformed",
            Self::TooMany => "too_many",
            Self::TooLarge => "too_large",
            Self::TooDeep => "too_deep",
        }
    }

    /// The reason in words, where somebody should hear of it. Nobody misses text in a picture or in nothing.
    fn reason(self) -> Option<&'static str> {
        match self {
            Self::UnsupportedMediaType | Self::Empty => None,
            Self::Encrypted => Some("protected with a password"),
            Self::Malformed => Some("damaged, or packed in a way that is not known"),
            Self::TooMany => Some("more than may be kept of one document"),
            Self::TooLarge => Some("larger than may be kept of one document"),
            Self::TooDeep => Some("too deep within other documents"),
        }
    }
}

/// Where a format puts the parts that it finds.
#[derive(Debug)]
pub(super) struct PartSink {
    scratch: Option<File>,
    unpack: Unpack,
    parts: Vec<Part>,
    kept: u32,
    written: u64,
    left_out: usize,
    unlisted: usize,
}

impl Default for PartSink {
    /// One that keeps nothing.
    fn default() -> Self {
        Self::open(None, Unpack::TooDeep)
    }
}

impl PartSink {
    pub fn new(scratch: File, unpack: Unpack) -> Self {
        Self::open(Some(scratch), unpack)
    }

    fn open(scratch: Option<File>, unpack: Unpack) -> Self {
        Self { scratch, unpack, parts: Vec::new(), kept: 0, written: 0, left_out: 0, unlisted: 0 }
    }

    /// Takes a part that is kept if it can be read. `size_bytes` is what its container says of it.
    pub fn offer(&mut self, name: &str, size_bytes: Option<u64>, mut content: &mut dyn Read) -> Result<(), Failure> {
        let mut head = Vec::new();
        if self.is_full() {
            self.leave_out(name, size_bytes, LeftOut::TooMany);
            return Ok(());
        }
        if let Err(error) = (&mut content).take(media::HEAD_BYTES as u64).read_to_end(&mut head) {
            return self.unreadable(name, size_bytes, &error);
        }
        if head.is_empty() {
            self.leave_out(name, Some(0), LeftOut::Empty);
            return Ok(());
        }
        let media_type = media::detect(&head);
        // What a compound file is may stand anywhere in it: its own reader looks.
        if !media_type.is_supported() && media_type.as_str() != "application/x-ole-storage" {
            self.list(name, Some(media_type), size_bytes, PartContent::LeftOut(LeftOut::UnsupportedMediaType));
            return Ok(());
        }
        self.keep(name, media_type, size_bytes, &mut head.as_slice().chain(content))
    }

    /// Takes a part of this type whatever that is. What is written of one that turns out to be too large is overwritten by the next.
    pub fn keep(
        &mut self,
        name: &str,
        media_type: MediaType,
        size_bytes: Option<u64>,
        content: &mut dyn Read,
    ) -> Result<(), Failure> {
        let is_full = self.is_full();
        let (Unpack::UpTo { bytes, .. }, Some(scratch)) = (self.unpack, &mut self.scratch) else {
            self.list(name, Some(media_type), size_bytes, PartContent::LeftOut(LeftOut::TooDeep));
            return Ok(());
        };
        if is_full {
            self.list(name, Some(media_type), size_bytes, PartContent::LeftOut(LeftOut::TooMany));
            return Ok(());
        }
        let offset = self.written;
        scratch.seek(SeekFrom::Start(offset)).map_err(|error| Failure::from_io(&error))?;
        let (mut length, mut block) = (0, vec![0; 64 << 10]);
        loop {
            let count = match content.read(&mut block) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return self.unreadable(name, size_bytes, &error),
            };
            length += count as u64;
            if length > bytes - offset {
                self.list(name, Some(media_type), size_bytes, PartContent::LeftOut(LeftOut::TooLarge));
                return Ok(());
            }
            scratch.write_all(&block[..count]).map_err(|error| Failure::from_io(&error))?;
        }
        (self.kept, self.written) = (self.kept + 1, offset + length);
        self.list(name, Some(media_type), Some(length), PartContent::Kept { offset, length });
        Ok(())
    }

    /// Lists a part whose bytes are not to be had.
    pub fn leave_out(&mut self, name: &str, size_bytes: Option<u64>, why: LeftOut) {
        self.list(name, None, size_bytes, PartContent::LeftOut(why));
    }

    fn is_full(&self) -> bool {
        matches!(self.unpack, Unpack::UpTo { parts, .. } if self.kept >= parts)
    }

    fn unreadable(&mut self, name: &str, size_bytes: Option<u64>, error: &io::Error) -> Result<(), Failure> {
        let own = error.get_ref().and_then(|inner| inner.downcast_ref::<Failure>());
        let why = match own {
            _ if error.kind() == io::ErrorKind::OutOfMemory => return Err(Failure::OutOfMemory),
            Some(Failure::OutOfMemory) => return Err(Failure::OutOfMemory),
            Some(Failure::TooLarge { .. }) => LeftOut::TooLarge,
            _ => LeftOut::Malformed,
        };
        self.leave_out(name, size_bytes, why);
        Ok(())
    }

    fn list(&mut self, name: &str, media_type: Option<MediaType>, size_bytes: Option<u64>, content: PartContent) {
        if matches!(content, PartContent::LeftOut(_)) {
            self.left_out += 1;
            if self.left_out > MAX_LISTED {
                self.unlisted += 1;
                return;
            }
        }
        self.parts.push(Part { name: label(name), media_type, size_bytes, content });
    }

    /// The parts in order, and what a reader should know of those that are not kept.
    pub fn finish(self) -> (Vec<Part>, Vec<Warning>) {
        let mut reasons: Vec<LeftOut> = self.parts.iter().filter_map(Part::left_out).collect();
        reasons.sort_unstable();
        reasons.dedup();
        let mut warnings: Vec<Warning> =
            reasons.into_iter().filter_map(|why| Some(warning(&self.parts, why, why.reason()?))).collect();
        if self.unlisted > 0 {
            let message = format!("{} more parts that were left out are not listed", self.unlisted);
            warnings.push(Warning { code: WarningCode::PartsLeftOut, page: None, message });
        }
        (self.parts, warnings)
    }
}

impl Part {
    /// Why it was left out, if it was.
    pub fn left_out(&self) -> Option<LeftOut> {
        match self.content {
            PartContent::Kept { .. } => None,
            PartContent::LeftOut(why) => Some(why),
        }
    }
}

fn warning(parts: &[Part], why: LeftOut, reason: &str) -> Warning {
    let names: Vec<&str> =
        parts.iter().filter(|part| part.left_out() == Some(why)).map(|part| part.name.as_str()).collect();
    let mut message = format!("left out, being {reason}: {}", names[..names.len().min(NAMES_IN_WARNING)].join(", "));
    if names.len() > NAMES_IN_WARNING {
        message.push_str(&format!(" and {} more", names.len() - NAMES_IN_WARNING));
    }
    Warning { code: WarningCode::PartsLeftOut, page: None, message }
}

/// A name as a person would read it. Roots, drives, dots and control characters are dropped, so that it leads nowhere.
pub(super) fn label(name: &str) -> String {
    let clean: String = name.chars().map(|c| if c == '\\' { '/' } else { c }).filter(|c| !is_invisible(*c)).collect();
    let folders: Vec<&str> = clean
        .split('/')
        .map(str::trim)
        .filter(|folder| !matches!(*folder, "" | "." | "..") && !is_drive(folder))
        .collect();
    let label = folders.join("/");
    let surplus = label.chars().count().saturating_sub(MAX_NAME_CHARS);
    let label: String = label.chars().skip(surplus).collect();
    if label.is_empty() { "unnamed".to_owned() } else { label }
}

fn is_drive(folder: &str) -> bool {
    folder.len() == 2 && folder.ends_with(':')
}

/// Controls, and the marks that turn the direction of text around, by which `gpj.exe` shows as `exe.jpg`.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The bytes of the parts that were kept. The child that wrote them is dead.
#[derive(Debug)]
pub struct Contents(File);

impl Contents {
    /// Checks what a child said of its parts against the file that it wrote, and cleans their names.
    pub(super) fn check(scratch: File, parts: &mut [Part], unpack: Unpack) -> io::Result<Self> {
        let wrong = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidData, what.to_owned()));
        let (most, limit) = match unpack {
            Unpack::UpTo { parts, bytes } => (parts as usize, bytes.min(scratch.metadata()?.len())),
            Unpack::TooDeep => (0, 0),
        };
        let (mut place, mut kept) = (0, 0);
        for part in parts.iter_mut() {
            part.name = label(&part.name);
            if let PartContent::Kept { offset, length } = part.content {
                let end = offset.checked_add(length).filter(|end| *end <= limit);
                let Some(end) = end.filter(|_| offset >= place && length > 0) else {
                    return wrong("a part is not where the child says");
                };
                (place, kept) = (end, kept + 1);
            }
        }
        if kept > most || parts.len() - kept > MAX_LISTED {
            return wrong("the child lists more parts than it may");
        }
        Ok(Self(scratch))
    }

    /// Bytes of a part from `position` on, as many as fit; empty at its end. It blocks on the disk.
    ///
    /// # Errors
    /// Those of the file.
    pub fn read_at(&self, part: &Part, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let PartContent::Kept { offset, length } = part.content else { return Ok(0) };
        let rest = usize::try_from(length.saturating_sub(position)).unwrap_or(usize::MAX);
        let wanted = rest.min(buffer.len());
        let mut filled = 0;
        while filled < wanted {
            match self.0.read_at(&mut buffer[filled..wanted], offset + position + filled as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

#[cfg(test)]
mod tests;
