//! Outlook items: properties as streams of a compound file ([MS-OXMSG], [MS-CFB]).
//!
//! A property is a stream that is named by its number and type, or sixteen bytes in the stream of those that are short. An attached item is a
//! storage with the same inside, so it is handed out as a compound file of its own. Streams are read to the length that their entries state,
//! within what may be unpacked; a chain that goes round ends at the memory limit.

use std::io::{Cursor, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cfb::{CompoundFile, Version};
use chrono::{DateTime, Datelike as _, Utc};
use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

use super::{Head, rich, write_html};
use crate::ingest::document::WarningCode;
use crate::ingest::formats::input::Reader;
use crate::ingest::formats::{Input, rtf};
use crate::ingest::limits::IngestLimits;
use crate::ingest::parts::LeftOut;
use crate::ingest::sink::TextSink;
use crate::ingest::wire::Failure;

const PROPERTIES: &str = "__properties_version1.0";
/// Bytes before the first property: of the item, of one that is attached, and of what is attached ([MS-OXMSG] 2.4.1).
const ITEM_HEADER: usize = 32;
const ATTACHED_ITEM_HEADER: usize = 24;

// Numbers of properties ([MS-OXPROPS]).
const SUBJECT: u16 = 0x0037;
const SENT: u16 = 0x0039;
const REPRESENTED_NAME: u16 = 0x0042;
const SENDER_NAME: u16 = 0x0c1a;
const SENDER_ADDRESS: u16 = 0x0c1f;
const SENDER_SMTP_ADDRESS: u16 = 0x5d01;
const DELIVERED: u16 = 0x0e06;
const DISPLAY_TO: u16 = 0x0e04;
const DISPLAY_CC: u16 = 0x0e03;
const BODY: u16 = 0x1000;
const RTF: u16 = 0x1009;
const HTML: u16 = 0x1013;
const DISPLAY_NAME: u16 = 0x3001;
const CONTENT: u16 = 0x3701;
const FILE_NAME: u16 = 0x3704;
const LONG_FILE_NAME: u16 = 0x3707;
const INTERNET_CODE_PAGE: u16 = 0x3fde;
const CODE_PAGE: u16 = 0x3ffd;

/// Whether a compound file is an item, whose directory may lie anywhere in it.
pub(in crate::ingest::formats) fn is_message(input: &Input) -> bool {
    CompoundFile::open(input.reader()).is_ok_and(|file| file.is_stream(Path::new("/").join(PROPERTIES)))
}

pub(in crate::ingest::formats) fn extract(
    input: &Input,
    limits: &IngestLimits,
    sink: &mut TextSink,
) -> Result<(), Failure> {
    let file = CompoundFile::open(input.reader()).map_err(|error| failure(&error))?;
    let mut item = Item::open(file, limits.max_expanded_bytes)?;
    item.head()?.write(sink)?;
    item.write_body(sink)?;
    item.offer_attachments(sink)
}

struct Item<'a> {
    file: CompoundFile<Reader<'a>>,
    /// The short properties of the item.
    short: Vec<u8>,
    remaining: u64,
}

impl<'a> Item<'a> {
    fn open(file: CompoundFile<Reader<'a>>, most_bytes: u64) -> Result<Self, Failure> {
        let mut item = Self { file, short: Vec::new(), remaining: most_bytes };
        let properties = Path::new("/").join(PROPERTIES);
        item.short = item.stream(&properties)?.ok_or_else(|| Failure::malformed("it has no properties"))?;
        Ok(item)
    }

    fn head(&mut self) -> Result<Head, Failure> {
        let name = self.first_text(&[SENDER_NAME, REPRESENTED_NAME])?;
        let address = self.first_text(&[SENDER_SMTP_ADDRESS, SENDER_ADDRESS])?;
        let from = match (name.is_empty(), address.contains('@') && address != name) {
            (false, true) => format!("{name} <{address}>"),
            (true, true) => address,
            (_, false) => name,
        };
        let sent = self.time(SENT).or_else(|| self.time(DELIVERED));
        Ok(Head {
            from,
            to: self.first_text(&[DISPLAY_TO])?,
            cc: self.first_text(&[DISPLAY_CC])?,
            date: sent.map(|time| time.to_rfc2822()).unwrap_or_default(),
            sent: sent.map(|time| time.to_rfc3339()).unwrap_or_default(),
            subject: self.first_text(&[SUBJECT])?,
        })
    }

    fn write_body(&mut self, sink: &mut TextSink) -> Result<(), Failure> {
        let root = Path::new("/");
        if let Some(plain) = self.text(root, BODY)?.filter(|text| !text.trim().is_empty()) {
            return sink.text(&plain);
        }
        if let Some(html) = self.text(root, HTML)? {
            return write_html(&html, sink);
        }
        if let Some(html) = self.binary(root, HTML)? {
            let encoding = self.code_page(INTERNET_CODE_PAGE);
            return write_html(&encoding.decode(&html).0, sink);
        }
        let Some(packed) = self.binary(root, RTF)? else { return Ok(()) };
        let unpacked = rich::decompress(&packed).ok_or_else(|| Failure::malformed("its body cannot be unpacked"));
        match unpacked.and_then(|text| rtf::write(&text, sink)) {
            Err(Failure::Malformed { .. }) => {
                sink.warn(WarningCode::PartUnreadable, None, "the body is damaged and was left out");
                Ok(())
            }
            done => done,
        }
    }

    fn offer_attachments(&mut self, sink: &mut TextSink) -> Result<(), Failure> {
        let mut storages: Vec<PathBuf> = self
            .file
            .read_root_storage()
            .filter(|entry| entry.is_storage() && entry.name().starts_with("__attach_version1.0_"))
            .map(|entry| entry.path().to_owned())
            .collect();
        storages.sort();
        for storage in storages {
            let mut name = self.name_of(&storage)?;
            let item = storage.join(stream_name(CONTENT, 0x000d));
            let content = if self.file.is_stream(item.join(PROPERTIES)) {
                name = if name.is_empty() { name } else { format!("{name}.msg") };
                self.attached_item(&item)
            } else {
                self.binary(&storage, CONTENT)
            };
            match content {
                Ok(Some(content)) => sink.parts.offer(&name, Some(content.len() as u64), &mut content.as_slice())?,
                Err(Failure::OutOfMemory) => return Err(Failure::OutOfMemory),
                Err(Failure::TooLarge { .. }) => sink.parts.leave_out(&name, None, LeftOut::TooLarge),
                // Damaged, a link to a file elsewhere, or an object of a program.
                Ok(None) | Err(_) => sink.parts.leave_out(&name, None, LeftOut::Malformed),
            }
        }
        Ok(())
    }

    /// What an attachment is called; empty where that cannot be read.
    fn name_of(&mut self, storage: &Path) -> Result<String, Failure> {
        for number in [LONG_FILE_NAME, FILE_NAME, DISPLAY_NAME] {
            match self.text(storage, number) {
                Ok(Some(name)) if !name.is_empty() => return Ok(name),
                Err(Failure::OutOfMemory) => return Err(Failure::OutOfMemory),
                _ => {}
            }
        }
        Ok(String::new())
    }

    /// An attached item as a file of its own. The same item always gives the same bytes.
    fn attached_item(&mut self, storage: &Path) -> Result<Option<Vec<u8>>, Failure> {
        let entries: Vec<(PathBuf, bool)> = match self.file.walk_storage(storage) {
            Ok(entries) => entries.skip(1).map(|entry| (entry.path().to_owned(), entry.is_storage())).collect(),
            Err(_) => return Ok(None),
        };
        let Ok(mut copy) = CompoundFile::create_with_version(Version::V3, Cursor::new(Vec::new())) else {
            return Ok(None);
        };
        for (path, is_storage) in entries {
            let Ok(below) = path.strip_prefix(storage) else { continue };
            let target = Path::new("/").join(below);
            let done = if is_storage {
                copy.create_storage(&target).and_then(|()| timeless(&mut copy, &target))
            } else {
                let Some(mut content) = self.stream(&path)? else { continue };
                if below == Path::new(PROPERTIES) && content.len() >= ATTACHED_ITEM_HEADER {
                    content.splice(ATTACHED_ITEM_HEADER..ATTACHED_ITEM_HEADER, [0; ITEM_HEADER - ATTACHED_ITEM_HEADER]);
                }
                copy.create_stream(&target).and_then(|mut stream| stream.write_all(&content))
            };
            if done.is_err() {
                return Ok(None);
            }
        }
        let done = timeless(&mut copy, Path::new("/")).and_then(|()| copy.flush());
        Ok(done.is_ok().then(|| copy.into_inner().into_inner()))
    }

    /// The first of these properties that the item has as text.
    fn first_text(&mut self, numbers: &[u16]) -> Result<String, Failure> {
        for &number in numbers {
            if let Some(text) = self.text(Path::new("/"), number)?.filter(|text| !text.trim().is_empty()) {
                return Ok(text);
            }
        }
        Ok(String::new())
    }

    fn text(&mut self, storage: &Path, number: u16) -> Result<Option<String>, Failure> {
        if let Some(wide) = self.stream(&storage.join(stream_name(number, 0x001f)))? {
            let text = encoding_rs::UTF_16LE.decode_without_bom_handling(&wide).0;
            return Ok(Some(text.trim_end_matches('\0').to_owned()));
        }
        let narrow = self.stream(&storage.join(stream_name(number, 0x001e)))?;
        let encoding = self.code_page(CODE_PAGE);
        Ok(narrow.map(|bytes| encoding.decode_without_bom_handling(&bytes).0.trim_end_matches('\0').to_owned()))
    }

    fn binary(&mut self, storage: &Path, number: u16) -> Result<Option<Vec<u8>>, Failure> {
        self.stream(&storage.join(stream_name(number, 0x0102)))
    }

    /// A whole stream; `None` where there is none.
    fn stream(&mut self, path: &Path) -> Result<Option<Vec<u8>>, Failure> {
        if !self.file.is_stream(path) {
            return Ok(None);
        }
        let stream = self.file.open_stream(path).map_err(|error| failure(&error))?;
        let too_large = || Failure::too_large("it expands to more than may be unpacked");
        self.remaining = self.remaining.checked_sub(stream.len()).ok_or_else(too_large)?;
        let mut bytes = Vec::new();
        let length = stream.len();
        stream.take(length).read_to_end(&mut bytes).map_err(|error| failure(&error))?;
        Ok(Some(bytes))
    }

    /// The value of a short property of the item ([MS-OXMSG] 2.4.2).
    fn short(&self, number: u16, kind: u16) -> Option<[u8; 8]> {
        let entries = self.short.get(ITEM_HEADER..)?.as_chunks::<16>().0;
        let tag = (u32::from(number) << 16 | u32::from(kind)).to_le_bytes();
        let entry = entries.iter().find(|entry| entry.starts_with(&tag))?;
        entry.last_chunk().copied()
    }

    fn time(&self, number: u16) -> Option<DateTime<Utc>> {
        /// 1601 to 1970, in seconds.
        const EPOCH: i64 = 11_644_473_600;
        let ticks = i64::from_le_bytes(self.short(number, 0x0040)?);
        let time = DateTime::from_timestamp(ticks / 10_000_000 - EPOCH, 0).filter(|_| ticks > 0)?;
        // Later ones are no dates, and no form that mail knows can tell them.
        (time.year() <= 9_999).then_some(time)
    }

    fn code_page(&self, number: u16) -> &'static Encoding {
        let value = self.short(number, 0x0003).and_then(|value| Some(u32::from_le_bytes(*value.first_chunk()?)));
        match value {
            Some(65_001) => UTF_8,
            Some(page @ 1_250..=1_258) => by_label(&format!("windows-{page}")),
            Some(932 | 50_220 | 50_221) => by_label("shift_jis"),
            Some(936 | 54_936) => by_label("gb18030"),
            Some(949) => by_label("euc-kr"),
            Some(950) => by_label("big5"),
            Some(20_866) => by_label("koi8-r"),
            Some(21_866) => by_label("koi8-u"),
            Some(51_932) => by_label("euc-jp"),
            Some(page @ 28_591..=28_606) => by_label(&format!("iso-8859-{}", page - 28_590)),
            _ => WINDOWS_1252,
        }
    }
}

/// Takes away the time at which a copy was made, which would make another file of it each time.
fn timeless(copy: &mut CompoundFile<Cursor<Vec<u8>>>, storage: &Path) -> std::io::Result<()> {
    copy.set_created_time(storage, SystemTime::UNIX_EPOCH)?;
    copy.set_modified_time(storage, SystemTime::UNIX_EPOCH)
}

fn by_label(label: &str) -> &'static Encoding {
    Encoding::for_label(label.as_bytes()).unwrap_or(WINDOWS_1252)
}

fn stream_name(number: u16, kind: u16) -> String {
    format!("__substg1.0_{number:04X}{kind:04X}")
}

fn failure(error: &std::io::Error) -> Failure {
    match error.kind() {
        std::io::ErrorKind::OutOfMemory => Failure::OutOfMemory,
        _ => Failure::malformed("its compound file cannot be read"),
    }
}
