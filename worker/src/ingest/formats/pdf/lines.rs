//! From positioned lines to readable text.
//!
//! Reading order is drawing order, which is what producers of text mean. A line much further down than its neighbours
//! starts a paragraph. A word parted by a hyphen at a line's end is joined again. Ligatures and the contextual letter
//! forms of Arabic and Hebrew, which are pictures of letters, become the letters.

use unicode_normalization::UnicodeNormalization;

use super::glyphs::{Glyph, PageText};
use super::outline::Bookmark;
use super::{bidi, runs};
use crate::ingest::hyphens::{joins, without_hyphen};
use crate::ingest::sink::TextSink;
use crate::ingest::wire::Failure;

/// A line whose distance is so many times the usual one starts a paragraph.
const PARAGRAPH_DISTANCE: f64 = 1.4;
/// A change of the font size by so much starts a paragraph: a heading, a caption.
const PARAGRAPH_SIZE: f64 = 1.2;

/// Writes a page's text; each bookmark before the first line that does not stand above its place.
pub(super) fn write(page: &PageText, bookmarks: &[Bookmark], sink: &mut TextSink) -> Result<(), Failure> {
    let mut bookmarks = bookmarks.iter().peekable();
    let lines = bidi::in_reading_order(page, runs::runs(page));
    let usual = usual_distance(&lines);
    let mut previous: Option<&Line> = None;
    for (index, line) in lines.iter().enumerate() {
        if let Some(previous) = previous {
            if starts_paragraph(previous, line, usual) {
                sink.paragraph_break();
            } else if !joins(&previous.text, &line.text) {
                sink.line_break();
            }
        }
        let continued = lines
            .get(index + 1)
            .is_some_and(|next| joins(&line.text, &next.text) && !starts_paragraph(line, next, usual));
        let is_reached = |bookmark: &&Bookmark| bookmark.top.is_none_or(|top| line.baseline <= top);
        while let Some(bookmark) = bookmarks.next_if(is_reached) {
            sink.bookmark(bookmark.level, &bookmark.title);
        }
        let text = if continued { without_hyphen(&line.text) } else { &line.text };
        sink.text(&as_letters(text))?;
        previous = Some(line);
    }
    for bookmark in bookmarks {
        sink.bookmark(bookmark.level, &bookmark.title);
    }
    Ok(())
}

/// A line with its text in reading order, where it stands and how large its letters are.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    pub text: String,
    pub left: f64,
    pub baseline: f64,
    pub size: f64,
    pub horizontal: bool,
}

impl Line {
    pub fn new(text: String, glyphs: &[Glyph]) -> Self {
        let first = glyphs.first();
        Self {
            text,
            left: first.map_or(0.0, |glyph| glyph.origin.0),
            baseline: first.map_or(0.0, |glyph| glyph.origin.1),
            size: glyphs.iter().map(|glyph| glyph.size).fold(0.0, f64::max),
            horizontal: glyphs.iter().all(|glyph| (glyph.next.1 - glyph.origin.1).abs() < 0.1 * glyph.size.max(0.1)),
        }
    }

    /// How far `next` is below; `None` where it is not below at all.
    fn distance_to(&self, next: &Line) -> Option<f64> {
        let distance = self.baseline - next.baseline;
        (self.horizontal && next.horizontal && distance > 0.3 * self.size).then_some(distance)
    }
}

/// The median distance of lines that follow each other closely.
fn usual_distance(lines: &[Line]) -> Option<f64> {
    let mut distances: Vec<f64> = lines
        .windows(2)
        .filter_map(|pair| pair[0].distance_to(&pair[1]).filter(|distance| *distance < 3.0 * pair[0].size))
        .collect();
    distances.sort_by(f64::total_cmp);
    distances.get(distances.len() / 2).copied()
}

fn starts_paragraph(previous: &Line, line: &Line, usual: Option<f64>) -> bool {
    let Some(distance) = previous.distance_to(line) else {
        return false;
    };
    let ratio = previous.size / line.size.max(f64::EPSILON);
    let other_size = !(1.0 / PARAGRAPH_SIZE..=PARAGRAPH_SIZE).contains(&ratio);
    // Large letters stand further apart by nature.
    let far =
        distance > line.size * PARAGRAPH_DISTANCE && usual.is_some_and(|usual| distance > usual * PARAGRAPH_DISTANCE);
    far || (other_size && distance > 0.8 * line.size)
}

/// Replaces presentation forms (Latin, Armenian, Hebrew and Arabic) by the letters they stand for.
fn as_letters(text: &str) -> String {
    let is_form = |c: char| matches!(c, '\u{fb00}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}');
    if !text.chars().any(is_form) {
        return text.to_owned();
    }
    let mut letters = String::with_capacity(text.len());
    for c in text.chars() {
        if is_form(c) {
            letters.extend(std::iter::once(c).nfkc());
        } else {
            letters.push(c);
        }
    }
    letters
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str, baseline: f64, size: f64) -> Line {
        Line { text: text.to_owned(), left: 0.0, baseline, size, horizontal: true }
    }

    #[test]
    fn a_distance_above_the_usual_starts_a_paragraph() {
        let lines = [
            line("a", 100.0, 10.0),
            line("b", 88.0, 10.0),
            line("c", 76.0, 10.0),
            line("d", 50.0, 10.0),
            line("e", 300.0, 10.0),
        ];
        let usual = usual_distance(&lines);
        let starts: Vec<bool> = lines.windows(2).map(|pair| starts_paragraph(&pair[0], &pair[1], usual)).collect();
        assert_eq!(starts, [false, false, true, false]);
    }

    #[test]
    fn presentation_forms_become_letters() {
        assert_eq!(as_letters("e\u{fb03}cient \u{fefb}"), "efficient لا");
    }
}
