//! ZIP packages of parts (Office Open XML, OpenDocument, EPUB): parts by name, relations by type, text out of XML, and a cap on what everything
//! expands to.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use quick_xml::events::{BytesStart, Event};
use zip::ZipArchive;
use zip::result::ZipError;

use crate::ingest::formats::Input;
use crate::ingest::formats::input::Reader;
use crate::ingest::metadata::Metadata;
use crate::ingest::wire::Failure;

/// Past so many bytes a part must not be more than [`MAX_RATIO`] times its packed size. Real documents of repeated
/// paragraphs reach 300; DEFLATE's own limit is 1,032.
const RATIO_FLOOR: u64 = 32 << 20;
const MAX_RATIO: u64 = 500;

/// The longest tag or run of text. A word processor parts text into runs of a paragraph at most.
const MAX_EVENT_BYTES: u64 = 16 << 20;

pub(super) struct Package<'a> {
    archive: ZipArchive<BufReader<Reader<'a>>>,
    /// Part names are compared without case (ECMA-376 part 2, 6.2.2.3), and some producers write backslashes.
    names: HashMap<String, usize>,
    remaining: Rc<Cell<u64>>,
}

/// A relation of a part to another one.
#[derive(Debug)]
pub(super) struct Relation {
    /// How the part itself refers to it.
    pub id: String,
    /// The last segment of its type's URI, such as `header`.
    pub kind: String,
    /// The name of the part it leads to.
    pub target: String,
}

impl<'a> Package<'a> {
    pub fn open(input: &'a Input, max_expanded_bytes: u64) -> Result<Self, Failure> {
        let archive = ZipArchive::new(BufReader::new(input.reader())).map_err(zip_failure)?;
        let names = (0..archive.len())
            .filter_map(|index| Some((normalise(&archive.name_for_index(index)?.ok()?), index)))
            .collect();
        Ok(Self { archive, names, remaining: Rc::new(Cell::new(max_expanded_bytes)) })
    }

    pub fn has(&self, name: &str) -> bool {
        self.names.contains_key(&normalise(name))
    }

    fn open_part<'s>(
        &'s mut self,
        name: &str,
        event_bytes: Rc<Cell<u64>>,
    ) -> Result<Option<impl Read + use<'s, 'a>>, Failure> {
        let Some(&index) = self.names.get(&normalise(name)) else {
            return Ok(None);
        };
        let file = self.archive.by_index(index).map_err(zip_failure)?;
        Ok(Some(Capped {
            packed: file.compressed_size().max(1),
            expanded: 0,
            remaining: Rc::clone(&self.remaining),
            event_bytes,
            inner: file,
        }))
    }

    /// Opens a part as XML; `None` where there is no such part.
    pub fn part(&mut self, name: &str) -> Result<Option<XmlPart<'_>>, Failure> {
        let event_bytes = Rc::new(Cell::new(0));
        let Some(part) = self.open_part(name, Rc::clone(&event_bytes))? else { return Ok(None) };
        let reader = quick_xml::Reader::from_reader(BufReader::with_capacity(32 << 10, part).into_dyn());
        Ok(Some(XmlPart { reader, buffer: Vec::new(), open: 0, event_bytes }))
    }

    /// The whole of a part, of 16 MiB at most; `None` where there is no such part.
    pub fn bytes(&mut self, name: &str) -> Result<Option<Vec<u8>>, Failure> {
        let Some(mut part) = self.open_part(name, Rc::default())? else { return Ok(None) };
        let mut bytes = Vec::new();
        part.read_to_end(&mut bytes).map_err(|error| io_failure(&error))?;
        Ok(Some(bytes))
    }

    /// The part that the package's relations name as the main one, or `usual`, which must be there then.
    pub fn main_part(&mut self, usual: &str) -> Result<String, Failure> {
        let relations = self.relations("")?;
        let main = relations.into_iter().find(|relation| relation.kind == "officeDocument");
        let name = main.map_or_else(|| usual.to_owned(), |relation| relation.target);
        if self.has(&name) { Ok(name) } else { Err(Failure::malformed("its main part is missing")) }
    }

    /// Takes what the core properties state (ECMA-376 part 2, 8.3), as far as they can be read.
    pub fn read_core_properties(&mut self, metadata: &mut Metadata) {
        let relations = self.relations("").unwrap_or_default();
        let core = relations.into_iter().find(|relation| relation.kind == "core-properties");
        self.read_properties(
            &core.map_or_else(|| "docProps/core.xml".to_owned(), |relation| relation.target),
            metadata,
        );
    }

    /// Takes what a part states by elements of Dublin Core and their like, as far as it can be read.
    pub fn read_properties(&mut self, part: &str, metadata: &mut Metadata) {
        if let Ok(Some(part)) = self.part(part) {
            let _ = part.read_properties(metadata);
        }
    }

    /// The relations of a part (`""` for the package itself), those that lead outside left out.
    pub fn relations(&mut self, part: &str) -> Result<Vec<Relation>, Failure> {
        let (folder, file) = part.rsplit_once('/').unwrap_or(("", part));
        let name = join(folder, &format!("_rels/{file}.rels"));
        let mut relations = Vec::new();
        let Some(mut xml) = self.part(&name)? else {
            return Ok(relations);
        };
        while let Some(event) = xml.next()? {
            let (Event::Start(tag) | Event::Empty(tag)) = event else {
                continue;
            };
            if tag.local_name().as_ref() != b"Relationship"
                || attribute(&tag, b"TargetMode").as_deref() == Some("External")
            {
                continue;
            }
            if let (Some(kind), Some(target)) = (attribute(&tag, b"Type"), attribute(&tag, b"Target")) {
                relations.push(Relation {
                    id: attribute(&tag, b"Id").unwrap_or_default(),
                    kind: kind.rsplit('/').next().unwrap_or_default().to_owned(),
                    target: join(folder, &target),
                });
            }
        }
        Ok(relations)
    }
}

/// A part as a stream of XML events.
pub(super) struct XmlPart<'a> {
    reader: quick_xml::Reader<Box<dyn BufRead + 'a>>,
    buffer: Vec<u8>,
    open: u64,
    event_bytes: Rc<Cell<u64>>,
}

impl XmlPart<'_> {
    /// The next event; `None` at the end. No document type is read, so no entity expands and nothing is fetched.
    pub fn next(&mut self) -> Result<Option<Event<'_>>, Failure> {
        self.buffer.clear();
        self.event_bytes.set(0);
        let event = self.reader.read_event_into(&mut self.buffer).map_err(|error| xml_failure(&error))?;
        match &event {
            Event::Start(_) => self.open += 1,
            Event::End(_) => self.open = self.open.saturating_sub(1),
            // Silently taking what came before would pass off a part of the text as the whole.
            Event::Eof if self.open > 0 => {
                return Err(Failure::malformed("one of its XML parts ends early"));
            }
            Event::Eof => return Ok(None),
            _ => {}
        }
        Ok(Some(event))
    }

    fn read_properties(mut self, metadata: &mut Metadata) -> Result<(), Failure> {
        let (mut text, mut initial) = (String::new(), None);
        while let Some(event) = self.next()? {
            match event {
                Event::Start(_) => text.clear(),
                Event::End(tag) => match tag.local_name().as_ref() {
                    b"title" => metadata.set_title(&text),
                    b"initial-creator" => initial = Some(std::mem::take(&mut text)),
                    b"creator" => metadata.set_author(&text),
                    b"created" | b"creation-date" => metadata.set_created(&text),
                    // In OpenDocument the time of the last change; books have their time of publication in it.
                    b"modified" | b"date" => metadata.set_modified(&text),
                    b"language" => metadata.set_language(&text),
                    // A book's are in its package document, which goes on for long.
                    b"metadata" => break,
                    _ => {}
                },
                event if text.len() < 10_000 => push_characters(&event, &mut text),
                _ => {}
            }
        }
        if let Some(initial) = initial {
            // `creator` is whoever changed it last.
            metadata.author = None;
            metadata.set_author(&initial);
        }
        Ok(())
    }
}

/// Adds what an event holds of text: characters, character references and the five predefined entities.
pub(super) fn push_characters(event: &Event<'_>, text: &mut String) {
    match event {
        Event::Text(piece) => push_run(&String::from_utf8_lossy(piece), text),
        Event::CData(piece) => push_run(&String::from_utf8_lossy(piece), text),
        Event::GeneralRef(reference) => match reference.resolve_char_ref() {
            Ok(Some(c)) => text.push(c),
            _ => match &**reference {
                b"amp" => text.push('&'),
                b"lt" => text.push('<'),
                b"gt" => text.push('>'),
                b"quot" => text.push('"'),
                b"apos" => text.push('\''),
                // An entity of a document type, which is not read.
                _ => {}
            },
        },
        _ => {}
    }
}

/// Line ends within a run are blanks; the breaks are elements.
fn push_run(run: &str, text: &mut String) {
    text.extend(run.chars().map(|c| if matches!(c, '\n' | '\r' | '\t') { ' ' } else { c }));
}

/// The value of an attribute by its local name, entities resolved.
pub(super) fn attribute(tag: &BytesStart<'_>, name: &[u8]) -> Option<String> {
    let found =
        tag.attributes().with_checks(false).flatten().find(|attribute| attribute.key.local_name().as_ref() == name)?;
    let raw = String::from_utf8_lossy(&found.value);
    Some(quick_xml::escape::unescape(&raw).map_or_else(|_| raw.clone().into_owned(), std::borrow::Cow::into_owned))
}

/// How an element refers to another part: its `r:id`, which differs from an `id` by the prefix alone.
pub(super) fn reference(tag: &BytesStart<'_>) -> Option<String> {
    let found = tag
        .attributes()
        .with_checks(false)
        .flatten()
        .find(|attribute| attribute.key.prefix().is_some() && attribute.key.local_name().as_ref() == b"id")?;
    Some(String::from_utf8_lossy(&found.value).into_owned())
}

/// Counts what a part expands to, against the package's cap, the ratio and the length of one event.
struct Capped<R> {
    inner: R,
    packed: u64,
    expanded: u64,
    remaining: Rc<Cell<u64>>,
    event_bytes: Rc<Cell<u64>>,
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let bytes = count as u64;
        self.expanded += bytes;
        self.event_bytes.set(self.event_bytes.get() + bytes);
        let too_large = |reason: &str| Err(io::Error::other(Failure::too_large(reason)));
        let Some(remaining) = self.remaining.get().checked_sub(bytes) else {
            return too_large("it expands to more than may be unpacked");
        };
        self.remaining.set(remaining);
        if self.expanded > RATIO_FLOOR && self.expanded / self.packed > MAX_RATIO {
            return too_large("it expands to several hundred times its size");
        }
        if self.event_bytes.get() > MAX_EVENT_BYTES {
            return too_large("a single piece of text in it has no end");
        }
        Ok(count)
    }
}

trait IntoDyn<'a> {
    fn into_dyn(self) -> Box<dyn BufRead + 'a>;
}

impl<'a, R: Read + 'a> IntoDyn<'a> for BufReader<R> {
    fn into_dyn(self) -> Box<dyn BufRead + 'a> {
        Box::new(self)
    }
}

fn xml_failure(error: &quick_xml::Error) -> Failure {
    let quick_xml::Error::Io(io) = error else {
        return Failure::malformed("one of its XML parts is not well-formed");
    };
    io_failure(io)
}

fn io_failure(error: &io::Error) -> Failure {
    let own = error.get_ref().and_then(|inner| inner.downcast_ref::<Failure>());
    own.cloned().unwrap_or_else(|| match error.kind() {
        io::ErrorKind::OutOfMemory => Failure::OutOfMemory,
        _ => Failure::malformed("one of its packed parts is damaged"),
    })
}

fn zip_failure(error: ZipError) -> Failure {
    match error {
        ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) => Failure::Encrypted,
        ZipError::Io(io) if io.kind() == io::ErrorKind::OutOfMemory => Failure::OutOfMemory,
        _ => Failure::malformed("its package cannot be opened"),
    }
}

fn normalise(name: &str) -> String {
    name.trim_start_matches(['/', '\\']).replace('\\', "/").to_ascii_lowercase()
}

/// Resolves a target against the folder of the part that names it.
pub(super) fn join(folder: &str, target: &str) -> String {
    let mut segments: Vec<&str> = if target.starts_with('/') { Vec::new() } else { folder.split('/').collect() };
    for segment in target.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    segments.retain(|segment| !segment.is_empty());
    segments.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_resolve_within_the_package() {
        assert_eq!(join("word", "header1.xml"), "word/header1.xml");
        assert_eq!(join("word", "/word/notes.xml"), "word/notes.xml");
        assert_eq!(join("word/a", "../b.xml"), "word/b.xml");
        assert_eq!(join("", "../../../etc/passwd"), "etc/passwd");
        assert_eq!(join("", "_rels/.rels"), "_rels/.rels");
    }
}
