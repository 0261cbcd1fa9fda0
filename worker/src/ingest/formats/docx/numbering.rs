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
    /// Level in the outline, from 0.
    outline: Option<usize>,
    /// The level that its name tells, where nothing else does: the names of built-in styles are the same in every language.
    named: Option<usize>,
}

/// The lists of a document and where each stands.
#[derive(Debug, Default)]
pub(super) struct Numbering {
    definitions: HashMap<String, Vec<Level>>,
    lists: HashMap<String, String>,
    styles: HashMap<String, Style>,
    counters: HashMap<String, [Option<u32>; LEVELS]>,
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
                b"name" => style.named = heading_number(&value(&tag)),
                b"outlineLvl" => style.outline = level_of(&tag, b"val"),
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
        let counters = self.counters.entry(list).or_default();
        counters[level] = Some(counters[level].map_or(this.start, |number| number.saturating_add(1)));
        counters[level + 1..].fill(None);
        let indent = "  ".repeat(level);
        if this.format == "none" || this.template.is_empty() {
            return None;
        }
        if this.format == "bullet" || !this.template.contains('%') {
            return Some(format!("{indent}- "));
        }
        let mut mark = this.template.clone();
        for (place, other) in levels.iter().enumerate().take(level + 1) {
            let number = counters[place].unwrap_or(other.start);
            mark = mark.replace(&format!("%{}", place + 1), &format_number(number, &other.format));
        }
        Some(format!("{indent}{mark} "))
    }

    fn inherited(&self, style: Option<&str>) -> ListPlace {
        let mut place = ListPlace::default();
        for style in self.chain(style) {
            place.list = place.list.or_else(|| style.place.list.clone());
            place.level = place.level.or(style.place.level);
        }
        place
    }

    /// The level in the outline, from 0, that a style gives its paragraphs, itself or through what it is based on.
    pub fn outline_level(&self, style: Option<&str>) -> Option<usize> {
        self.chain(style).find_map(|style| style.outline.or(style.named))
    }

    /// A style and those it is based on. In a broken file they may be a circle.
    fn chain<'s>(&'s self, style: Option<&str>) -> impl Iterator<Item = &'s Style> {
        let next = |style: &&'s Style| style.based_on.as_ref().and_then(|name| self.styles.get(name));
        std::iter::successors(style.and_then(|name| self.styles.get(name)), next).take(10)
    }
}

/// The level, from 0, of a style called `heading 1` to `heading 9`.
fn heading_number(name: &str) -> Option<usize> {
    let number: usize = name.to_ascii_lowercase().strip_prefix("heading ")?.parse().ok()?;
    number.checked_sub(1).filter(|level| *level < LEVELS)
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
    fn a_style_has_the_level_of_what_it_is_based_on() {
        let style = |based_on: &str, outline, name: &str| Style {
            based_on: Some(based_on.to_owned()),
            outline,
            named: heading_number(name),
            ..Style::default()
        };
        let mut numbering = Numbering::default();
        for (id, style) in [
            ("berschrift2", style("Normal", None, "heading 2")),
            ("Own", style("berschrift2", None, "Kapitel")),
            ("Caption", style("berschrift2", Some(9), "Caption")),
            ("a", style("b", None, "heading 10")),
            ("b", style("a", None, "Heading 0")),
        ] {
            numbering.styles.insert(id.to_owned(), style);
        }
        let levels = ["berschrift2", "Own", "Caption", "a", "gone"].map(|id| numbering.outline_level(Some(id)));
        assert_eq!(levels, [Some(1), Some(1), Some(9), None, None]);
        assert_eq!(numbering.outline_level(None), None);
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
