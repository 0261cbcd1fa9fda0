//! Lines of Hebrew, Arabic and their like: from the order on paper to the order of reading.
//!
//! A PDF draws glyphs at places; most producers draw right-to-left words from the left, some glyph by glyph from the
//! right. Either way the places tell the visual order, so neighbouring pieces of one baseline are brought into that order
//! first, and then runs are turned round: the inverse of the reordering that UAX #9 (rule L2) does for display. Lines
//! without right-to-left letters are passed on as they are.

use std::cmp::Ordering;

use super::glyphs::{Glyph, PageText};
use super::lines::Line;
use super::runs::{BLANK, Run};

/// Pieces on one baseline belong together if they are no further apart than this many times the font size.
const NEIGHBOUR: f64 = 2.0;

pub(super) fn in_reading_order(page: &PageText, runs: Vec<Run>) -> Vec<Line> {
    let mut ordered = Vec::with_capacity(runs.len());
    let mut runs = runs.into_iter().peekable();
    while let Some(run) = runs.next() {
        let mut glyphs = run.glyphs(page);
        if !glyphs.iter().any(|glyph| class(glyph.text(&page.text)) == Class::Right) {
            ordered.push(Line::new(run.text, &glyphs));
            continue;
        }
        while let Some(next) = runs.next_if(|next| is_neighbour(&glyphs, &next.glyphs(page))) {
            glyphs.extend(next.glyphs(page));
        }
        let pieces = in_visual_order(&page.text, &mut glyphs);
        ordered.push(Line::new(logical(&pieces), &glyphs));
    }
    ordered
}

fn is_neighbour(line: &[Glyph], next: &[Glyph]) -> bool {
    let (Some(this), Some(other)) = (Extent::of(line), Extent::of(next)) else {
        return false;
    };
    let size = this.size.max(other.size);
    let gap = (other.left - this.right).max(this.left - other.right);
    (this.baseline - other.baseline).abs() < 0.5 * size && gap < NEIGHBOUR * size
}

struct Extent {
    left: f64,
    right: f64,
    baseline: f64,
    size: f64,
}

impl Extent {
    fn of(glyphs: &[Glyph]) -> Option<Self> {
        let first = glyphs.first()?;
        let edges = || glyphs.iter().flat_map(|glyph| [glyph.origin.0, glyph.next.0]);
        Some(Self {
            left: edges().fold(f64::INFINITY, f64::min),
            right: edges().fold(f64::NEG_INFINITY, f64::max),
            baseline: first.origin.1,
            size: glyphs.iter().map(|glyph| glyph.size).fold(0.0, f64::max),
        })
    }
}

/// From left to right, with a blank in every gap that is wide enough and has none.
fn in_visual_order<'t>(text: &'t str, glyphs: &mut Vec<Glyph>) -> Vec<&'t str> {
    let left = |glyph: &Glyph| glyph.origin.0.min(glyph.next.0);
    glyphs.retain(|glyph| !glyph.text(text).trim().is_empty());
    glyphs.sort_by(|a, b| left(a).partial_cmp(&left(b)).unwrap_or(Ordering::Equal));
    let mut visual = Vec::with_capacity(glyphs.len());
    let mut right = f64::INFINITY;
    for glyph in glyphs.iter() {
        if left(glyph) - right > BLANK * glyph.size {
            visual.push(" ");
        }
        let end = glyph.origin.0.max(glyph.next.0);
        right = if right.is_finite() { right.max(end) } else { end };
        visual.push(glyph.text(text));
    }
    visual
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Left,
    Right,
    Number,
    Neutral,
}

/// The direction of a piece of text by its first character that has one.
fn class(text: &str) -> Class {
    let classes = text.chars().map(|c| match c {
        '\u{590}'..='\u{5ff}' | '\u{600}'..='\u{65f}' | '\u{66a}'..='\u{6ef}' | '\u{6fa}'..='\u{8ff}' => Class::Right,
        '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}' | '\u{200f}' => Class::Right,
        c if c.is_numeric() => Class::Number,
        c if c.is_alphabetic() => Class::Left,
        _ => Class::Neutral,
    });
    let mut number = false;
    for class in classes {
        match class {
            Class::Left | Class::Right => return class,
            Class::Number => number = true,
            Class::Neutral => {}
        }
    }
    if number { Class::Number } else { Class::Neutral }
}

/// Turns a visual line into reading order. The line's own direction is that of most of its letters.
fn logical(visual: &[&str]) -> String {
    let classes: Vec<Class> = visual.iter().map(|text| class(text)).collect();
    let count = |wanted: Class| classes.iter().filter(|class| **class == wanted).count();
    let mut order: Vec<usize> = (0..visual.len()).collect();
    if count(Class::Right) >= count(Class::Left) {
        order.reverse();
        // Numbers and words from left to right stand in their own order also within the reversed line.
        turn_runs(&mut order, &classes, |class| matches!(class, Class::Left | Class::Number));
    } else {
        turn_runs(&mut order, &classes, |class| matches!(class, Class::Right | Class::Number));
        turn_runs(&mut order, &classes, |class| class == Class::Number);
    }
    order.into_iter().map(|index| visual[index]).collect()
}

/// Reverses every maximal run of the given classes, with the neutrals between two of them. A run of numbers alone in a
/// left-to-right line is reversed twice, which leaves it as it was.
fn turn_runs(order: &mut [usize], classes: &[Class], belongs: fn(Class) -> bool) {
    let mut start = 0;
    while start < order.len() {
        if !belongs(classes[order[start]]) {
            start += 1;
            continue;
        }
        let mut end = start + 1;
        let mut at = end;
        while at < order.len() {
            let class = classes[order[at]];
            if belongs(class) {
                end = at + 1;
            } else if class != Class::Neutral {
                break;
            }
            at += 1;
        }
        order[start..end].reverse();
        start = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::formats::pdf::font::Letters;
    use crate::ingest::formats::pdf::runs::runs;

    /// Draws letters, each five wide, from the left; or from the right, one after the other.
    fn drawn(paper: &str, backwards: bool) -> PageText {
        let mut page = PageText::default();
        let places: Vec<(usize, char)> = paper.chars().enumerate().collect();
        let turned: Vec<(usize, char)> = places.iter().rev().copied().collect();
        for (index, letter) in if backwards { turned } else { places } {
            let place = |index: usize| (index as f64 * 5.0, 100.0);
            page.push(&Letters::One(letter), place(index), place(index + 1), 10.0);
        }
        page
    }

    fn read(page: &PageText) -> Vec<String> {
        in_reading_order(page, runs(page)).into_iter().map(|line| line.text).collect()
    }

    fn reversed(text: &str) -> String {
        text.chars().rev().collect()
    }

    #[test]
    fn hebrew_drawn_from_the_left_is_turned_round() {
        assert_eq!(read(&drawn(&reversed("גלגל המים"), false)), ["גלגל המים"]);
    }

    #[test]
    fn hebrew_drawn_glyph_by_glyph_from_the_right_is_one_line() {
        assert_eq!(read(&drawn(&reversed("שלום"), true)), ["שלום"]);
    }

    #[test]
    fn numbers_and_latin_words_keep_their_order_within_hebrew() {
        // On paper, from the left: "Millrace 42" stands left of the Hebrew words.
        let paper = format!("Millrace 42 {}", reversed("התקינו היום את"));
        assert_eq!(read(&drawn(&paper, false)), ["התקינו היום את Millrace 42"]);
    }

    #[test]
    fn a_hebrew_word_within_english_is_turned_alone() {
        let paper = format!("the word {} means wheel", reversed("גלגל"));
        assert_eq!(read(&drawn(&paper, false)), ["the word גלגל means wheel"]);
    }

    #[test]
    fn lines_without_right_to_left_letters_read_from_the_left() {
        assert_eq!(read(&drawn("abc", true)), ["abc"]);
        assert_eq!(read(&drawn("12", false)), ["12"]);
    }
}
