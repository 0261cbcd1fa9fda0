//! PPTX: a ZIP of XML parts (ECMA-376). A slide is a page: its shapes in the order of the file, its diagrams, then the speaker's notes.

use quick_xml::events::{BytesStart, Event};

use super::Input;
use super::package::{Package, Relation, XmlPart, attribute, push_characters, reference};
use crate::ingest::document::WarningCode;
use crate::ingest::limits::IngestLimits;
use crate::ingest::sink::TextSink;
use crate::ingest::wire::Failure;

pub(super) fn extract(input: &Input, limits: &IngestLimits, sink: &mut TextSink) -> Result<(), Failure> {
    let mut package = Package::open(input, limits.max_expanded_bytes)?;
    let main = package.main_part("ppt/presentation.xml")?;
    package.read_core_properties(&mut sink.metadata);
    let slides = package.relations(&main)?;
    for id in slide_ids(&mut package, &main)? {
        if let Some(slide) = slides.iter().find(|relation| relation.id == id) {
            write_slide(&mut package, &slide.target, sink)?;
        }
        sink.page_break()?;
        // A slide without a title does not belong to the one before.
        sink.end_sections();
    }
    Ok(())
}

/// The slides in the order in which they are shown, as the presentation refers to them.
fn slide_ids(package: &mut Package<'_>, main: &str) -> Result<Vec<String>, Failure> {
    let mut ids = Vec::new();
    let mut part = package.part(main)?.ok_or_else(|| Failure::malformed("its main part is missing"))?;
    while let Some(event) = part.next()? {
        let (Event::Start(tag) | Event::Empty(tag)) = event else { continue };
        if tag.local_name().as_ref() == b"sldId" {
            ids.extend(reference(&tag));
        }
    }
    Ok(ids)
}

fn write_slide(package: &mut Package<'_>, name: &str, sink: &mut TextSink) -> Result<(), Failure> {
    write_part(package, name, Left::OfSlides, sink)?;
    let relations = package.relations(name)?;
    let others = |kind: &str| relations.iter().filter(|relation| relation.kind == kind).collect::<Vec<&Relation>>();
    for diagram in others("diagramData") {
        write_part(package, &diagram.target, Left::OfSlides, sink)?;
    }
    for notes in others("notesSlide") {
        write_part(package, &notes.target, Left::OfNotes, sink)?;
    }
    Ok(())
}

/// Writes a part's text. One that is damaged is told of and costs no other its text.
fn write_part(package: &mut Package<'_>, name: &str, left: Left, sink: &mut TextSink) -> Result<(), Failure> {
    sink.paragraph_break();
    let Some(part) = package.part(name)? else { return Ok(()) };
    match (Shapes { left, left_out: false, paragraph: None, cells: None, is_title: false, heading_due: false })
        .walk(part, sink)
    {
        Err(Failure::Malformed { .. }) => {
            let page = sink.page_number();
            sink.warn(WarningCode::PartUnreadable, Some(page), "a part of the slide could not be read");
            Ok(())
        }
        done => done,
    }
}

/// Which placeholders are left out: what stands on every slide says nothing of any.
#[derive(Clone, Copy)]
enum Left {
    OfSlides,
    OfNotes,
}

impl Left {
    fn leaves_out(self, placeholder: &str) -> bool {
        match self {
            Self::OfSlides => placeholder == "sldNum",
            Self::OfNotes => matches!(placeholder, "sldNum" | "dt" | "hdr" | "ftr"),
        }
    }
}

struct Shapes {
    left: Left,
    left_out: bool,
    /// The text of the paragraph that is open.
    paragraph: Option<String>,
    /// The row that is open: its cells so far.
    cells: Option<Vec<String>>,
    is_title: bool,
    /// The title's first paragraph is still to come.
    heading_due: bool,
}

impl Shapes {
    fn walk(mut self, mut part: XmlPart<'_>, sink: &mut TextSink) -> Result<(), Failure> {
        let (mut in_text, mut skipped) = (false, 0);
        while let Some(event) = part.next()? {
            match event {
                Event::Start(_) if skipped > 0 => skipped += 1,
                Event::End(_) if skipped > 0 => skipped -= 1,
                _ if skipped > 0 => {}
                // What stands twice, once for readers who know less, is taken once.
                Event::Start(tag) if tag.local_name().as_ref() == b"Fallback" => skipped = 1,
                Event::Start(tag) if tag.local_name().as_ref() == b"t" => in_text = true,
                Event::End(tag) if tag.local_name().as_ref() == b"t" => in_text = false,
                Event::Start(tag) | Event::Empty(tag) => self.begin(&tag),
                Event::End(tag) => self.end(tag.local_name().as_ref(), sink)?,
                event if in_text => {
                    if let Some(paragraph) = &mut self.paragraph {
                        push_characters(&event, paragraph);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn begin(&mut self, tag: &BytesStart<'_>) {
        match tag.local_name().as_ref() {
            b"ph" => {
                let kind = attribute(tag, b"type").unwrap_or_default();
                self.left_out = self.left.leaves_out(&kind);
                self.is_title = matches!(kind.as_str(), "title" | "ctrTitle");
                self.heading_due = self.is_title;
            }
            b"p" => self.paragraph = Some(String::new()),
            b"br" => self.paragraph.iter_mut().for_each(|text| text.push('\n')),
            b"tr" => self.cells = Some(Vec::new()),
            b"tc" => self.cells.iter_mut().for_each(|cells| cells.push(String::new())),
            _ => {}
        }
    }

    fn end(&mut self, name: &[u8], sink: &mut TextSink) -> Result<(), Failure> {
        match name {
            b"p" => {
                let text = self.paragraph.take().unwrap_or_default();
                let text = text.trim();
                if self.left_out || text.is_empty() {
                    return Ok(());
                }
                if let Some(cell) = self.cells.as_mut().and_then(|cells| cells.last_mut()) {
                    if !cell.is_empty() {
                        cell.push(' ');
                    }
                    // A row is a line, so a cell cannot have several.
                    cell.extend(text.chars().map(|c| if c == '\n' { ' ' } else { c }));
                    return Ok(());
                }
                if self.is_title {
                    sink.metadata.set_title(text);
                }
                if std::mem::take(&mut self.heading_due) {
                    sink.begin_heading(1);
                }
                sink.text(text)?;
                sink.line_break();
            }
            b"tr" => {
                let row = self.cells.take().unwrap_or_default();
                if row.iter().any(|cell| !cell.is_empty()) {
                    sink.text(&row.join("\t"))?;
                    sink.line_break();
                }
            }
            b"sp" | b"graphicFrame" => {
                (self.left_out, self.is_title, self.heading_due) = (false, false, false);
                sink.end_heading();
                sink.paragraph_break();
            }
            _ => {}
        }
        Ok(())
    }
}
