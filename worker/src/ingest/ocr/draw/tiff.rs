//! Pages of a TIFF (TIFF 6.0, section 2): directories that each lead to the next one.
//!
//! The decoder reads the first page alone. So it is given a view of the file in which the header leads to the page that is wanted.

use std::{
    collections::HashSet,
    io::{self, Read, Seek, SeekFrom},
};

use crate::ingest::{
    formats::{Input, InputReader},
    wire::Failure,
};

/// Where the header says where the first directory is.
const FIRST_AT: u64 = 4;
/// The tag `NewSubfileType`, and its bit for a smaller version of another page.
const SUBFILE_TYPE: u16 = 254;
const IS_PREVIEW: u32 = 1;

/// Where the directories of the pages are.
pub(super) fn pages(input: &Input, max_pages: u32) -> Result<Vec<u32>, Failure> {
    let file = Numbers::of(input)?;
    let mut pages = Vec::new();
    let mut seen = HashSet::new();
    let mut next = file.long(FIRST_AT)?;
    while next != 0 && seen.insert(next) {
        if pages.len() >= max_pages as usize {
            return Err(Failure::too_large(format!("more than {max_pages} pages")));
        }
        let entries = u64::from(file.short(next.into())?);
        let at = u64::from(next) + 2;
        if !file.is_preview(at, entries)? {
            pages.push(next);
        }
        next = file.long(at + entries * 12)?;
    }
    if pages.is_empty() {
        return Err(Failure::malformed("it has no pages"));
    }
    Ok(pages)
}

/// The file, such that this page is its first.
pub(super) fn page(input: &Input, page: u32, max_pages: u32) -> Result<OnePage<'_>, Failure> {
    let pages = pages(input, max_pages)?;
    let directory = (page as usize).checked_sub(1).and_then(|index| pages.get(index));
    let directory = *directory.ok_or_else(|| Failure::malformed("there is no such page"))?;
    let is_big_endian = Numbers::of(input)?.is_big_endian;
    let first = if is_big_endian { directory.to_be_bytes() } else { directory.to_le_bytes() };
    Ok(OnePage { reader: input.reader(), first })
}

/// Numbers in the file, in its byte order.
struct Numbers<'a> {
    input: &'a Input,
    is_big_endian: bool,
}

impl<'a> Numbers<'a> {
    fn of(input: &'a Input) -> Result<Self, Failure> {
        let mut mark = [0; 2];
        input.read_at(0, &mut mark).map_err(|error| Failure::from_io(&error))?;
        Ok(Self { input, is_big_endian: mark == *b"MM" })
    }

    fn bytes<const N: usize>(&self, at: u64) -> Result<[u8; N], Failure> {
        let mut bytes = [0; N];
        let filled = self.input.read_at(at, &mut bytes).map_err(|error| Failure::from_io(&error))?;
        if filled < N {
            return Err(Failure::malformed("it ends within a directory of its pages"));
        }
        Ok(bytes)
    }

    fn short(&self, at: u64) -> Result<u16, Failure> {
        let bytes = self.bytes(at)?;
        Ok(if self.is_big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    fn long(&self, at: u64) -> Result<u32, Failure> {
        let bytes = self.bytes(at)?;
        Ok(if self.is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    /// Whether a directory of so many entries from there on is that of a preview.
    fn is_preview(&self, at: u64, entries: u64) -> Result<bool, Failure> {
        for entry in (0..entries).map(|index| at + index * 12) {
            // Entries are in the order of their tags.
            match self.short(entry)? {
                SUBFILE_TYPE => return Ok(self.long(entry + 8)? & IS_PREVIEW != 0),
                tag if tag > SUBFILE_TYPE => return Ok(false),
                _ => {}
            }
        }
        Ok(false)
    }
}

/// A file with another number in its header.
pub(super) struct OnePage<'a> {
    reader: InputReader<'a>,
    first: [u8; 4],
}

impl Read for OnePage<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let start = self.reader.stream_position()?;
        let count = self.reader.read(buffer)?;
        for (place, byte) in (FIRST_AT..).zip(self.first) {
            let index = place.checked_sub(start).and_then(|index| usize::try_from(index).ok());
            if let Some(old) = index.filter(|index| *index < count).and_then(|index| buffer.get_mut(index)) {
                *old = byte;
            }
        }
        Ok(count)
    }
}

impl Seek for OnePage<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.reader.seek(to)
    }
}
