//! The marks of list items and numbered headings, counted as a word processor counts them (ECMA-376 part 1, 17.9).
//!
//! A paragraph names a list and a level, itself or through its style. Each level has a number format and a template such
//! as `%1.%2`; a higher level starts its lower ones anew.

use std::collections::HashMap;

use quick_xml::events::{BytesStart, Event};

use super::super::package::{XmlPart, attribute};
use crate::ingest::wire::Failure;

/// Levels are 0 to 8 (17.9.3).
const LEVELS: usize = 9;

#[derive(Debug, Clone, Default)]
struct Level {
    format: String,
    template: String,
    start: u32,
}

/// Which list a paragraph belongs to, as far as one place tells.
#[derive(Debug, Clone, Default)]
pub(super) struct ListPlace {
    pub list: Option<String>,
    pub level: Option<usize>,
}

#[derive(Debug, Default)]
struct Style {
    based_on: Option<String>,
    place: ListPlace,
}

/// The lists of a document and where each stands.
#[derive(Debug, Default)]
pub(super) struct Numbering {
    definitions: HashMap<String, Vec<Level>>,
    lists: HashMap<String, String>,
    styles: HashMap<String, Style>,
    counters: HashMap<String, [u32; LEVELS]>,
}

impl Numbering {
    pub fn read_lists(&mut self, mut xml: XmlPart<'_>) -> Result<(), Failure> {
        let mut definition = String::new();
        let mut list = String::new();
        let mut level: Option<usize> = None;
        while let Some(event) = xml.next()? {
            let tag = match event {
                Event::Start(tag) | Event::Empty(tag) => tag,
                Event::End(tag) => {
                    match tag.local_name().as_ref() {
                        b"lvl" => level = None,
                        b"num" => list.clear(),
                        _ => {}
                    }
                    continue;
                }
                _ => continue,
            };
            match tag.local_name().as_ref() {
                b"abstractNum" => {
                    definition = attribute(&tag, b"abstractNumId").unwrap_or_default();
                    self.definitions.insert(definition.clone(), vec![Level::default(); LEVELS]);
                }
                // A `lvl` within `num` overrides; that is rare, and its list keeps the definition's marks.
                b"lvl" if list.is_empty() => level = level_of(&tag, b"ilvl"),
                b"num" => list = attribute(&tag, b"numId").unwrap_or_default(),
                b"abstractNumId" => {
                    self.lists.insert(list.clone(), value(&tag));
                }
                name => {
                    let levels = self.definitions.get_mut(&definition);
                    if let Some(level) = levels.zip(level).and_then(|(levels, level)| levels.get_mut(level)) {
                        match name {
                            b"start" => level.start = value(&tag).parse().unwrap_or(1),
                            b"numFmt" => level.format = value(&tag),
                            b"lvlText" => level.template = value(&tag),
                            _ => {}
                        }
                    }
                }
            }
        }
        Ok(())
    }

    pub fn read_styles(&mut self, mut xml: XmlPart<'_>) -> Result<(), Failure> {
        let mut current = String::new();
        while let Some(event) = xml.next()? {
            let (Event::Start(tag) | Event::Empty(tag)) = event else {
                continue;
            };
            if tag.local_name().as_ref() == b"style" {
                current = attribute(&tag, b"styleId").unwrap_or_default();
                continue;
            }
            let style = self.styles.entry(current.clone()).or_default();
            match tag.local_name().as_ref() {
                b"basedOn" => style.based_on = Some(value(&tag)),
                b"numId" => style.place.list = Some(value(&tag)),
                b"ilvl" => style.place.level = level_of(&tag, b"val"),
                _ => {}
            }
        }
        Ok(())
    }

    /// The mark of a paragraph, with its indent and a blank behind it, and counts it; `None` where it is in no list.
    pub fn mark(&mut self, own: &ListPlace, style: Option<&str>) -> Option<String> {
        let inherited = self.inherited(style);
        let list = own.list.clone().or(inherited.list).filter(|list| list != "0")?;
        let level = own.level.or(inherited.level).unwrap_or(0).min(LEVELS - 1);
        let levels = self.lists.get(&list).and_then(|definition| self.definitions.get(definition))?;
        let this = levels.get(level)?;
        let counters = self.counters.entry(list).or_insert([0; LEVELS]);
        counters[level] = if counters[level] == 0 { this.start } else { counters[level].saturating_add(1) };
        counters[level + 1..].fill(0);
        let indent = "  ".repeat(level);
        if this.format == "none" || this.template.is_empty() {
            return None;
        }
        if this.format == "bullet" || !this.template.contains('%') {
            return Some(format!("{indent}- "));
        }
        let mut mark = this.template.clone();
        for (place, other) in levels.iter().enumerate().take(level + 1) {
            let number = if counters[place] == 0 { other.start } else { counters[place] };
            mark = mark.replace(&format!("%{}", place + 1), &format_number(number, &other.format));
        }
        Some(format!("{indent}{mark} "))
    }

    fn inherited(&self, style: Option<&str>) -> ListPlace {
        let mut place = ListPlace::default();
        let mut next = style.and_then(|name| self.styles.get(name));
        // A chain of styles may be a circle in a broken file.
        for _ in 0..10 {
            let Some(style) = next else { break };
            place.list = place.list.or_else(|| style.place.list.clone());
            place.level = place.level.or(style.place.level);
            next = style.based_on.as_ref().and_then(|name| self.styles.get(name));
        }
        place
    }
}

fn value(tag: &BytesStart<'_>) -> String {
    attribute(tag, b"val").unwrap_or_default()
}

pub(super) fn level_of(tag: &BytesStart<'_>, name: &[u8]) -> Option<usize> {
    attribute(tag, name)?.parse().ok()
}

fn format_number(number: u32, format: &str) -> String {
    match format {
        "lowerLetter" => letters(number).to_lowercase(),
        "upperLetter" => letters(number),
        "lowerRoman" => roman(number).to_lowercase(),
        "upperRoman" => roman(number),
        "decimalZero" => format!("{number:02}"),
        _ => number.to_string(),
    }
}

/// A, B, … Z, AA, BB, … as word processors repeat letters.
fn letters(number: u32) -> String {
    let index = number.saturating_sub(1);
    let letter = char::from(b'A' + (index % 26) as u8);
    String::from(letter).repeat((index / 26 + 1).min(10) as usize)
}

fn roman(number: u32) -> String {
    const DIGITS: [(u32, &str); 13] = [
        (1000, "M"),
        (900, "CM"),
        (500, "D"),
        (400, "CD"),
        (100, "C"),
        (90, "XC"),
        (50, "L"),
        (40, "XL"),
        (10, "X"),
        (9, "IX"),
        (5, "V"),
        (4, "IV"),
        (1, "I"),
    ];
    if number > 3_999 {
        return number.to_string();
    }
    let mut rest = number;
    let mut text = String::new();
    for (value, digits) in DIGITS {
        while rest >= value {
            text.push_str(digits);
            rest -= value;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_every_format() {
        assert_eq!(format_number(4, "lowerRoman"), "iv");
        assert_eq!(format_number(28, "upperLetter"), "BB");
        assert_eq!(format_number(7, "decimalZero"), "07");
        assert_eq!(format_number(9, "unheardOf"), "9");
    }

    #[test]
    fn a_level_starts_its_lower_ones_anew() {
        let level =
            |format: &str, template: &str| Level { format: format.to_owned(), template: template.to_owned(), start: 1 };
        let mut levels = vec![Level::default(); LEVELS];
        levels[0] = level("decimal", "%1.");
        levels[1] = level("decimal", "%1.%2");
        let mut numbering = Numbering::default();
        numbering.definitions.insert("d".to_owned(), levels);
        numbering.lists.insert("1".to_owned(), "d".to_owned());
        let mut mark = |level| {
            let place = ListPlace { list: Some("1".to_owned()), level: Some(level) };
            numbering.mark(&place, None).unwrap()
        };
        let marks = [mark(0), mark(1), mark(1), mark(0), mark(1)];
        assert_eq!(marks, ["1. ", "  1.1 ", "  1.2 ", "2. ", "  2.1 "]);
    }
}
