//! ZIP archives of files: the text is the list of their names, the files that can be read become parts.
//!
//! Sizes that the archive states are not believed: all that is unpacked counts against one cap. Names are labels; nothing is written by them.
//! What a file system or a packer left behind (folders, links, `__MACOSX`) is no document and is not listed.

use std::cell::Cell;
use std::io::{self, BufReader, Read};
use std::rc::Rc;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, WINDOWS_1252};
use zip::ZipArchive;
use zip::read::ZipFile;
use zip::result::ZipError;

use super::Input;
use super::input::Reader;
use crate::ingest::limits::IngestLimits;
use crate::ingest::parts::{LeftOut, label};
use crate::ingest::sink::TextSink;
use crate::ingest::wire::Failure;

type Archive<'a> = ZipArchive<BufReader<Reader<'a>>>;

pub(super) fn extract(input: &Input, limits: &IngestLimits, sink: &mut TextSink) -> Result<(), Failure> {
    let mut archive = ZipArchive::new(BufReader::new(input.reader())).map_err(failure)?;
    let encoding = encoding_of_names(&mut archive);
    let remaining = Rc::new(Cell::new(limits.max_expanded_bytes));
    for index in 0..archive.len() {
        let Some((name, why)) = look_at(&mut archive, index, encoding) else { continue };
        sink.text(&name)?;
        sink.line_break();
        let member = match why {
            None => archive.by_index(index),
            Some(why) => {
                sink.parts.leave_out(&name, None, why);
                continue;
            }
        };
        match member {
            Ok(member) => {
                let size = member.size();
                let mut content = Capped { inner: member, remaining: Rc::clone(&remaining) };
                sink.parts.offer(&name, Some(size), &mut content)?;
            }
            Err(ZipError::Io(error)) if error.kind() == io::ErrorKind::OutOfMemory => return Err(Failure::OutOfMemory),
            Err(_) => sink.parts.leave_out(&name, None, LeftOut::Malformed),
        }
    }
    Ok(())
}

/// The name of a member, and why it cannot be unpacked; `None` for what is no document.
fn look_at(
    archive: &mut Archive<'_>,
    index: usize,
    encoding: Option<&'static Encoding>,
) -> Option<(String, Option<LeftOut>)> {
    let Ok(member) = archive.by_index_raw(index) else {
        let name = archive.name_for_index(index).and_then(Result::ok);
        return Some((label(name.as_deref().unwrap_or_default()), Some(LeftOut::Malformed)));
    };
    let name = label(&name_of(&member, encoding));
    let is_left_behind = name.split('/').any(|folder| matches!(folder, "__MACOSX" | ".DS_Store" | "Thumbs.db"));
    if member.is_dir() || member.is_symlink() || is_left_behind {
        return None;
    }
    Some((name, member.encrypted().then_some(LeftOut::Encrypted)))
}

/// Names that are not UTF-8 are in a code page that no archive states; all of them together tell it best. `None` is code page 437, the one that
/// the format was made with.
fn encoding_of_names(archive: &mut Archive<'_>) -> Option<&'static Encoding> {
    /// So much tells it.
    const SAMPLE_BYTES: usize = 64 << 10;
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    let mut seen = 0;
    for index in 0..archive.len() {
        let Ok(member) = archive.by_index_raw(index) else { continue };
        let name = member.name_raw();
        if std::str::from_utf8(name).is_err() && seen < SAMPLE_BYTES {
            seen += name.len();
            detector.feed(name, false);
            detector.feed(b"\n", false);
        }
    }
    detector.feed(b"", true);
    let guess = detector.guess(None, Utf8Detection::Deny);
    // What is not told from the bytes is guessed to be this one.
    (seen > 0 && guess != WINDOWS_1252).then_some(guess)
}

fn name_of<R: Read>(member: &ZipFile<'_, R>, encoding: Option<&'static Encoding>) -> String {
    let raw = member.name_raw();
    match (std::str::from_utf8(raw), encoding) {
        (Ok(name), _) => name.to_owned(),
        (Err(_), Some(encoding)) => encoding.decode_without_bom_handling(raw).0.into_owned(),
        (Err(_), None) => member.name().map(std::borrow::Cow::into_owned).unwrap_or_default(),
    }
}

/// Counts what is unpacked of the whole archive.
struct Capped<R> {
    inner: R,
    remaining: Rc<Cell<u64>>,
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let Some(remaining) = self.remaining.get().checked_sub(count as u64) else {
            return Err(io::Error::other(Failure::too_large("it expands to more than may be unpacked")));
        };
        self.remaining.set(remaining);
        Ok(count)
    }
}

fn failure(error: ZipError) -> Failure {
    match error {
        ZipError::Io(io) if io.kind() == io::ErrorKind::OutOfMemory => Failure::OutOfMemory,
        _ => Failure::malformed("its list of members cannot be read"),
    }
}
