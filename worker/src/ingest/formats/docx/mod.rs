//! DOCX: a ZIP of XML parts (ECMA-376), read as streams.
//!
//! Order of the text: headers, body (with the pages that the producer rendered), notes with the numbers that stand in the
//! body, comments, diagrams, footers. What changed and was deleted is left out, what was inserted stays: the text as if all changes were
//! accepted. Memory does not grow with the document but for its text.

mod body;
mod flow;
mod numbering;

use std::collections::{HashMap, HashSet};
use std::fmt::Display;

use self::body::{read_aside, read_body, read_notes};
use self::numbering::Numbering;
use super::package::{Package, Relation};
use super::{Input, drawing};
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
    write_notes(&mut package, &relations, "footnotes", &notes.footnotes, sink)?;
    write_notes(&mut package, &relations, "endnotes", &notes.endnotes, sink)?;
    write_comments(&mut package, &relations, sink)?;
    write_diagrams(&mut package, &relations, sink)?;
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

/// A part of notes or comments, if the document has it and it can be read.
fn notes_of(
    package: &mut Package<'_>,
    relations: &[Relation],
    kind: &str,
    sink: &mut TextSink,
) -> Result<Vec<(String, Vec<String>)>, Failure> {
    let Some(relation) = relations.iter().find(|relation| relation.kind == kind) else {
        return Ok(Vec::new());
    };
    let Some(part) = package.part(&relation.target)? else {
        return Ok(Vec::new());
    };
    match read_notes(part) {
        Err(Failure::Malformed { .. }) => {
            sink.warn(WarningCode::PartUnreadable, None, format!("the {kind} could not be read"));
            Ok(Vec::new())
        }
        notes => notes,
    }
}

fn write_notes(
    package: &mut Package<'_>,
    relations: &[Relation],
    kind: &str,
    places: &HashMap<String, usize>,
    sink: &mut TextSink,
) -> Result<(), Failure> {
    let mut notes = notes_of(package, relations, kind, sink)?;
    // Notes that nothing refers to come last.
    notes.sort_by_key(|(id, _)| places.get(id).copied().unwrap_or(usize::MAX));
    for (id, lines) in notes {
        write_note(places.get(&id), &lines, sink)?;
    }
    sink.paragraph_break();
    Ok(())
}

/// Comments, each with who wrote it, in the order of their part, which is that of the text.
fn write_comments(package: &mut Package<'_>, relations: &[Relation], sink: &mut TextSink) -> Result<(), Failure> {
    for (author, lines) in notes_of(package, relations, "comments", sink)? {
        write_note(Some(author.trim()).filter(|author| !author.is_empty()), &lines, sink)?;
    }
    sink.paragraph_break();
    Ok(())
}

/// What diagrams say. The text has only their places.
fn write_diagrams(package: &mut Package<'_>, relations: &[Relation], sink: &mut TextSink) -> Result<(), Failure> {
    for relation in relations.iter().filter(|relation| relation.kind == "diagramData") {
        sink.paragraph_break();
        let Some(part) = package.part(&relation.target)? else { continue };
        match drawing::paragraphs(part) {
            Err(Failure::Malformed { .. }) => {
                sink.warn(WarningCode::PartUnreadable, None, "a diagram could not be read");
            }
            paragraphs => {
                for paragraph in paragraphs? {
                    sink.text(&paragraph)?;
                    sink.line_break();
                }
            }
        }
    }
    Ok(())
}

fn write_note(mark: Option<impl Display>, lines: &[String], sink: &mut TextSink) -> Result<(), Failure> {
    sink.paragraph_break();
    if let Some(mark) = mark {
        sink.text(&format!("[{mark}] "))?;
    }
    for line in lines {
        // The mark is often parted from the note by a tab.
        sink.text(line.trim())?;
        sink.line_break();
    }
    Ok(())
}
