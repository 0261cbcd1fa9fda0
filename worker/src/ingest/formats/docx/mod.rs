//! DOCX: a ZIP of XML parts (ECMA-376), read as streams.
//!
//! Order of the text: headers, body (with the pages that the producer rendered), notes with the numbers that stand in the
//! body, footers. What changed and was deleted is left out, what was inserted stays: the text as if all changes were
//! accepted. Memory does not grow with the document but for its text.

mod body;
mod flow;
mod numbering;

use std::collections::HashSet;

use self::body::{Notes, read_aside, read_body, read_notes};
use self::numbering::Numbering;
use super::Input;
use super::package::{Package, Relation};
use crate::ingest::document::WarningCode;
use crate::ingest::limits::IngestLimits;
use crate::ingest::sink::TextSink;
use crate::ingest::wire::Failure;

pub(super) fn extract(input: &Input, limits: &IngestLimits, sink: &mut TextSink) -> Result<(), Failure> {
    let mut package = Package::open(input, limits.max_expanded_bytes)?;
    let main = package.main_part("word/document.xml")?;
    let relations = package.relations(&main)?;
    package.read_core_properties(&mut sink.metadata);
    let mut numbering = read_numbering(&mut package, &relations, sink);
    write_asides(&mut package, &relations, "header", sink)?;
    let part = package.part(&main)?;
    let part = part.ok_or_else(|| Failure::malformed("its main part is missing"))?;
    let notes = read_body(part, &mut numbering, sink)?;
    sink.end_sections();
    write_notes(&mut package, &relations, &notes, sink)?;
    write_asides(&mut package, &relations, "footer", sink)
}

/// List marks are a nicety: where their parts are broken, the text comes without them.
fn read_numbering(package: &mut Package<'_>, relations: &[Relation], sink: &mut TextSink) -> Numbering {
    let mut numbering = Numbering::default();
    let mut read = |kind: &str| -> Result<(), Failure> {
        let Some(relation) = relations.iter().find(|relation| relation.kind == kind) else {
            return Ok(());
        };
        match package.part(&relation.target)? {
            Some(part) if kind == "styles" => numbering.read_styles(part),
            Some(part) => numbering.read_lists(part),
            None => Ok(()),
        }
    };
    if read("numbering").and_then(|()| read("styles")).is_err() {
        sink.warn(WarningCode::PartUnreadable, None, "the list numbers could not be read");
    }
    numbering
}

/// Headers or footers, each distinct text once: the same words stand on every page.
fn write_asides(
    package: &mut Package<'_>,
    relations: &[Relation],
    kind: &str,
    sink: &mut TextSink,
) -> Result<(), Failure> {
    let mut seen = HashSet::new();
    for relation in relations.iter().filter(|relation| relation.kind == kind) {
        let Some(part) = package.part(&relation.target)? else {
            continue;
        };
        match read_aside(part) {
            Ok(lines) if !lines.is_empty() && seen.insert(lines.clone()) => {
                sink.paragraph_break();
                for line in lines {
                    sink.text(&line)?;
                    sink.line_break();
                }
                sink.paragraph_break();
            }
            Ok(_) => {}
            Err(Failure::Malformed { .. }) => {
                sink.warn(WarningCode::PartUnreadable, None, format!("a {kind} could not be read"));
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}

fn write_notes(
    package: &mut Package<'_>,
    relations: &[Relation],
    referenced: &Notes,
    sink: &mut TextSink,
) -> Result<(), Failure> {
    for (kind, places) in [("footnotes", &referenced.footnotes), ("endnotes", &referenced.endnotes)] {
        let Some(relation) = relations.iter().find(|relation| relation.kind == kind) else {
            continue;
        };
        let Some(part) = package.part(&relation.target)? else {
            continue;
        };
        let mut notes = match read_notes(part) {
            Ok(notes) => notes,
            Err(Failure::Malformed { .. }) => {
                sink.warn(WarningCode::PartUnreadable, None, format!("the {kind} could not be read"));
                continue;
            }
            Err(failure) => return Err(failure),
        };
        // Notes that nothing refers to come last.
        notes.sort_by_key(|(id, _)| places.get(id).copied().unwrap_or(usize::MAX));
        for (id, lines) in notes {
            sink.paragraph_break();
            if let Some(number) = places.get(&id) {
                sink.text(&format!("[{number}] "))?;
            }
            for line in lines {
                // The mark is often parted from the note by a tab.
                sink.text(line.trim())?;
                sink.line_break();
            }
        }
        sink.paragraph_break();
    }
    Ok(())
}
