//! EPUB: a ZIP of XHTML documents (EPUB 3.3, and 2). Each document of the spine is a page, in its order.

use std::collections::{HashMap, HashSet};

use quick_xml::events::{BytesStart, Event};

use super::package::{Package, attribute, join};
use super::{Input, html};
use crate::ingest::document::WarningCode;
use crate::ingest::limits::IngestLimits;
use crate::ingest::sink::TextSink;
use crate::ingest::wire::Failure;

pub(super) fn extract(input: &Input, limits: &IngestLimits, sink: &mut TextSink) -> Result<(), Failure> {
    let mut package = Package::open(input, limits.max_expanded_bytes)?;
    if RIGHTS.iter().any(|name| package.has(name)) {
        return Err(Failure::Encrypted);
    }
    let encrypted = encrypted(&mut package)?;
    let opf = package_document(&mut package)?;
    package.read_properties(&opf, &mut sink.metadata);
    // A book's date is that of its publication.
    sink.metadata.created = sink.metadata.created.or(sink.metadata.modified.take());
    let folder = opf.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
    for href in spine(&mut package, &opf)? {
        let name = join(&folder, &href);
        if encrypted.contains(&name) {
            return Err(Failure::Encrypted);
        }
        match package.bytes(&name) {
            Ok(Some(bytes)) => html::write_xhtml(&decode(&bytes), sink)?,
            Ok(None) | Err(Failure::Malformed { .. }) => {
                let page = sink.page_number();
                sink.warn(WarningCode::PartUnreadable, Some(page), "a chapter could not be read");
            }
            Err(failure) => return Err(failure),
        }
        sink.page_break()?;
    }
    Ok(())
}

/// What manages rights puts one of these into a book: Adobe's, Readium's LCP, Apple's.
const RIGHTS: [&str; 3] = ["META-INF/rights.xml", "META-INF/license.lcpl", "META-INF/sinf.xml"];

/// The names of what is encrypted. Fonts often are, so that nobody takes them out, and cost the text nothing.
fn encrypted(package: &mut Package<'_>) -> Result<HashSet<String>, Failure> {
    let mut names = HashSet::new();
    let Some(mut part) = package.part("META-INF/encryption.xml")? else { return Ok(names) };
    while let Some(event) = part.next()? {
        if let Event::Start(tag) | Event::Empty(tag) = event
            && tag.local_name().as_ref() == b"CipherReference"
        {
            names.extend(attribute(&tag, b"URI").map(|uri| percent_decoded(&uri)));
        }
    }
    Ok(names)
}

/// The name of the package document, as the container tells it.
fn package_document(package: &mut Package<'_>) -> Result<String, Failure> {
    let missing = || Failure::malformed("its list of contents is missing");
    let mut container = package.part("META-INF/container.xml")?.ok_or_else(missing)?;
    while let Some(event) = container.next()? {
        if let Event::Start(tag) | Event::Empty(tag) = event
            && tag.local_name().as_ref() == b"rootfile"
            && let Some(name) = attribute(&tag, b"full-path")
        {
            return Ok(name);
        }
    }
    Err(missing())
}

/// The documents to be read, in order, relative to the package document.
fn spine(package: &mut Package<'_>, opf: &str) -> Result<Vec<String>, Failure> {
    let mut part = package.part(opf)?.ok_or_else(|| Failure::malformed("its list of contents is missing"))?;
    let (mut items, mut order) = (HashMap::new(), Vec::new());
    while let Some(event) = part.next()? {
        let (Event::Start(tag) | Event::Empty(tag)) = event else { continue };
        match tag.local_name().as_ref() {
            b"item" => {
                if let (Some(id), Some(href)) = (attribute(&tag, b"id"), attribute(&tag, b"href"))
                    && is_text(&tag)
                {
                    items.insert(id, percent_decoded(&href));
                }
            }
            b"itemref" => order.extend(attribute(&tag, b"idref")),
            _ => {}
        }
    }
    Ok(order.iter().filter_map(|id| items.get(id).cloned()).collect())
}

fn is_text(item: &BytesStart<'_>) -> bool {
    attribute(item, b"media-type").is_some_and(|kind| kind.contains("html") || kind.contains("dtbook"))
}

/// EPUB documents are UTF-8 or UTF-16, with a mark in the latter case.
fn decode(bytes: &[u8]) -> String {
    encoding_rs::UTF_8.decode(bytes).0.into_owned()
}

/// Links are written as URLs, names in the archive are not.
fn percent_decoded(href: &str) -> String {
    let href = href.split('#').next().unwrap_or_default();
    let mut bytes = Vec::with_capacity(href.len());
    let mut rest = href.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).filter(|code| *first == b'%' && code.iter().all(u8::is_ascii_hexdigit));
        let code = code.and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lose_their_escapes_and_fragments() {
        assert_eq!(percent_decoded("text/m%C3%BChle%20eins.xhtml#top"), "text/mühle eins.xhtml");
        assert_eq!(percent_decoded("100%.xhtml"), "100%.xhtml");
        assert_eq!(percent_decoded("%+1%é"), "%+1%é");
    }
}
