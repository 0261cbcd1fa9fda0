//! What stands beside the cells of an XLSX: its text boxes, and comments with their authors.

use std::collections::HashMap;

use quick_xml::events::Event;

use crate::ingest::formats::drawing;
use crate::ingest::formats::package::{Package, Relation, XmlPart, attribute, push_characters, reference};
use crate::ingest::wire::Failure;

/// Where the sheets of a workbook are, by their names, and who comments in it, by id.
#[derive(Default)]
pub(super) struct Beside {
    sheets: HashMap<String, String>,
    persons: HashMap<String, String>,
}

impl Beside {
    pub fn of(package: &mut Package<'_>) -> Result<Self, Failure> {
        let main = package.main_part("xl/workbook.xml")?;
        let relations = package.relations(&main)?;
        let mut found = Self::default();
        if let Some(mut book) = package.part(&main)? {
            while let Some(event) = book.next()? {
                let (Event::Start(tag) | Event::Empty(tag)) = event else { continue };
                if tag.local_name().as_ref() == b"sheet"
                    && let (Some(name), Some(id)) = (attribute(&tag, b"name"), reference(&tag))
                    && let Some(relation) = relations.iter().find(|relation| relation.id == id)
                {
                    found.sheets.insert(name, relation.target.clone());
                }
            }
        }
        for relation in relations.iter().filter(|relation| relation.kind == "person") {
            let Some(mut part) = package.part(&relation.target)? else { continue };
            while let Some(event) = part.next()? {
                let (Event::Start(tag) | Event::Empty(tag)) = event else { continue };
                if let (Some(id), Some(name)) = (attribute(&tag, b"id"), attribute(&tag, b"displayName")) {
                    found.persons.insert(id, name);
                }
            }
        }
        Ok(found)
    }

    /// The lines that belong to a sheet.
    pub fn lines(&self, package: &mut Package<'_>, sheet: &str) -> Result<Vec<String>, Failure> {
        let Some(part) = self.sheets.get(sheet) else { return Ok(Vec::new()) };
        let relations = package.relations(part)?;
        let mut of_kind = |kind: &str, read: &dyn Fn(XmlPart<'_>) -> Result<Vec<String>, Failure>| {
            let mut lines = Vec::new();
            for Relation { target, .. } in relations.iter().filter(|relation| relation.kind == kind) {
                if let Some(part) = package.part(target)? {
                    lines.extend(read(part)?);
                }
            }
            Ok::<_, Failure>(lines)
        };
        let mut lines = of_kind("drawing", &drawing::paragraphs)?;
        lines.extend(of_kind("comments", &comments)?);
        lines.extend(of_kind("threadedComment", &|part| self.threaded(part))?);
        Ok(lines)
    }

    /// Comments of a thread, answers included.
    fn threaded(&self, mut part: XmlPart<'_>) -> Result<Vec<String>, Failure> {
        let mut lines = Vec::new();
        let mut open = None::<Comment>;
        while let Some(event) = part.next()? {
            match event {
                Event::Start(tag) if tag.local_name().as_ref() == b"threadedComment" => {
                    let author = attribute(&tag, b"personId").and_then(|id| self.persons.get(&id).cloned());
                    open = Some(Comment::new(attribute(&tag, b"ref"), author));
                }
                Event::End(tag) if tag.local_name().as_ref() == b"threadedComment" => {
                    lines.extend(open.take().and_then(Comment::line));
                }
                event => open.iter_mut().for_each(|comment| push_characters(&event, &mut comment.text)),
            }
        }
        Ok(lines)
    }
}

/// A comment that is being read.
struct Comment {
    cell: String,
    author: Option<String>,
    text: String,
}

impl Comment {
    fn new(cell: Option<String>, author: Option<String>) -> Self {
        Self { cell: cell.unwrap_or_default(), author, text: String::new() }
    }

    /// What spreadsheets keep for readers that know no threads is said by the thread.
    fn line(self) -> Option<String> {
        let author = self.author.unwrap_or_default();
        let author = author.trim();
        if author.starts_with("tc={") {
            return None;
        }
        // The author's name is often the first line of the comment, too.
        let text = self.text.trim();
        let text = text.strip_prefix(author).and_then(|rest| rest.strip_prefix(':')).unwrap_or(text).trim();
        let mark: Vec<&str> = [self.cell.trim(), author].into_iter().filter(|word| !word.is_empty()).collect();
        (!text.is_empty()).then(|| format!("[{}] {text}", mark.join(", ")))
    }
}

fn comments(mut part: XmlPart<'_>) -> Result<Vec<String>, Failure> {
    let (mut authors, mut lines) = (Vec::<String>::new(), Vec::new());
    let (mut open, mut in_author, mut in_text) = (None::<Comment>, false, false);
    while let Some(event) = part.next()? {
        match event {
            Event::Start(tag) => match tag.local_name().as_ref() {
                b"author" => {
                    in_author = true;
                    authors.push(String::new());
                }
                b"comment" => {
                    let author = attribute(&tag, b"authorId").and_then(|id| id.parse::<usize>().ok());
                    let author = author.and_then(|author| authors.get(author).cloned());
                    open = Some(Comment::new(attribute(&tag, b"ref"), author));
                }
                b"t" => in_text = true,
                _ => {}
            },
            Event::End(tag) => match tag.local_name().as_ref() {
                b"author" => in_author = false,
                b"comment" => lines.extend(open.take().and_then(Comment::line)),
                b"t" => in_text = false,
                _ => {}
            },
            event if in_author => authors.iter_mut().last().into_iter().for_each(|name| push_characters(&event, name)),
            event if in_text => open.iter_mut().for_each(|comment| push_characters(&event, &mut comment.text)),
            _ => {}
        }
    }
    Ok(lines)
}
