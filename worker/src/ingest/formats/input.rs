//! The file as the formats see it: bytes at offsets, and no name.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::fs::FileExt;

use crate::ingest::wire::Failure;

/// An open, readable file.
#[derive(Debug)]
pub(in crate::ingest) struct Input {
    file: File,
    length: u64,
}

impl Input {
    /// # Errors
    /// Where it is not a regular file: a pipe has no length and cannot be sought.
    pub fn new(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Self { file, length: metadata.len() })
    }

    pub fn len(&self) -> u64 {
        self.length
    }

    /// Reads at `offset` until `buffer` is full or the file ends, and says how much it read.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    pub fn read_head(&self, most: usize) -> io::Result<Vec<u8>> {
        let mut head = vec![0; most.min(usize::try_from(self.length).unwrap_or(usize::MAX))];
        let filled = self.read_at(0, &mut head)?;
        head.truncate(filled);
        Ok(head)
    }

    /// The whole file, for formats that are text: longer than `most` bytes and it is too large.
    pub fn read_text_bytes(&self, most: u64) -> Result<Vec<u8>, Failure> {
        if self.length > most {
            return Err(Failure::too_large(format!("a text file of more than {most} bytes")));
        }
        self.read_head(usize::try_from(most).unwrap_or(usize::MAX)).map_err(|error| Failure::from_io(&error))
    }

    /// Whether `needle` occurs anywhere, read in blocks.
    pub fn contains(&self, needle: &[u8]) -> io::Result<bool> {
        const BLOCK: usize = 1 << 20;
        let mut offset = 0;
        loop {
            // Blocks overlap, so that a match across their bound is found.
            let mut block = vec![0; BLOCK + needle.len()];
            let filled = self.read_at(offset, &mut block)?;
            if block[..filled].windows(needle.len()).any(|window| window == needle) {
                return Ok(true);
            }
            if filled < block.len() {
                return Ok(false);
            }
            offset += BLOCK as u64;
        }
    }

    /// An own view of the file from its start, for readers that seek.
    pub fn reader(&self) -> Reader<'_> {
        Reader { input: self, position: 0 }
    }

    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { file: self.file.try_clone()?, length: self.length })
    }
}

/// Reads and seeks without moving the file's own position, so that several may be in use.
#[derive(Debug)]
pub(in crate::ingest) struct Reader<'a> {
    input: &'a Input,
    position: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read_at(self.position, buffer)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Reader<'_> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let target = match to {
            io::SeekFrom::Start(offset) => Some(offset),
            io::SeekFrom::End(delta) => self.input.length.checked_add_signed(delta),
            io::SeekFrom::Current(delta) => self.position.checked_add_signed(delta),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
