//! Lines of Hebrew, Arabic and their like: from the order on paper to the order of reading.
//!
//! A PDF draws glyphs at places; most producers draw right-to-left words from the left, some glyph by glyph from the
//! right. Either way the places tell the visual order, so neighbouring pieces of one baseline are brought into that order
//! first, and then runs are turned round: the inverse of the reordering that UAX #9 (rule L2) does for display. Lines
//! without right-to-left letters are passed on as they are.

use std::cmp::Ordering;

use otf_pdf_text::{TextChar, TextLine};

use super::lines::Line;

/// Pieces on one baseline belong together if they are no further apart than this many times the font size.
const NEIGHBOUR: f64 = 2.0;
/// A gap of more than so many times the font size is a blank, as the parser has it for other lines.
const BLANK: f64 = 0.2;

pub(super) fn in_reading_order(lines: &[TextLine]) -> Vec<Line> {
    let mut ordered = Vec::with_capacity(lines.len());
    let mut rest = lines;
    while let Some((first, mut following)) = rest.split_first() {
        if !first.chars.iter().any(|c| class(&c.text) == Class::Right) {
            ordered.push(Line::new(first.text.clone(), &first.chars));
            rest = following;
            continue;
        }
        let mut chars = first.chars.clone();
        while let Some((next, after)) = following.split_first() {
            if !is_neighbour(&chars, &next.chars) {
                break;
            }
            chars.extend(next.chars.iter().cloned());
            following = after;
        }
        rest = following;
        let visual = in_visual_order(chars);
        ordered.push(Line::new(logical(&visual), &visual));
    }
    ordered
}

fn is_neighbour(line: &[TextChar], next: &[TextChar]) -> bool {
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
    fn of(chars: &[TextChar]) -> Option<Self> {
        let first = chars.first()?;
        let edges = || chars.iter().flat_map(|c| [c.origin.0, c.end.0]);
        Some(Self {
            left: edges().fold(f64::INFINITY, f64::min),
            right: edges().fold(f64::NEG_INFINITY, f64::max),
            baseline: first.origin.1,
            size: chars.iter().map(|c| c.size).fold(0.0, f64::max),
        })
    }
}

/// From left to right, with a blank in every gap that is wide enough and has none.
fn in_visual_order(mut chars: Vec<TextChar>) -> Vec<TextChar> {
    let left = |c: &TextChar| c.origin.0.min(c.end.0);
    chars.retain(|c| !c.text.trim().is_empty());
    chars.sort_by(|a, b| left(a).partial_cmp(&left(b)).unwrap_or(Ordering::Equal));
    let mut visual: Vec<TextChar> = Vec::with_capacity(chars.len());
    let mut right = f64::INFINITY;
    for c in chars {
        if left(&c) - right > BLANK * c.size {
            visual.push(TextChar { text: " ".to_owned(), ..c.clone() });
        }
        right = if right.is_finite() { right.max(c.origin.0.max(c.end.0)) } else { c.origin.0.max(c.end.0) };
        visual.push(c);
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
fn logical(visual: &[TextChar]) -> String {
    let classes: Vec<Class> = visual.iter().map(|c| class(&c.text)).collect();
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
    order.into_iter().map(|index| visual[index].text.as_str()).collect()
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

    /// A line of characters, each five wide, drawn from the left.
    fn drawn(text: &str) -> Vec<TextChar> {
        let place = |index: usize| index as f64 * 5.0;
        text.chars()
            .enumerate()
            .map(|(index, c)| TextChar {
                text: c.to_string(),
                origin: (place(index), 100.0),
                end: (place(index + 1), 100.0),
                size: 10.0,
                font: String::new(),
                invisible: false,
            })
            .collect()
    }

    fn line(chars: Vec<TextChar>) -> TextLine {
        TextLine {
            text: chars.iter().map(|c| c.text.as_str()).collect(),
            bbox: otf_pdf_doc::Rect { llx: 0.0, lly: 0.0, urx: 0.0, ury: 0.0 },
            chars,
        }
    }

    fn reversed(text: &str) -> String {
        text.chars().rev().collect()
    }

    #[test]
    fn hebrew_drawn_from_the_left_is_turned_round() {
        let ordered = in_reading_order(&[line(drawn(&reversed("גלגל המים")))]);
        assert_eq!(ordered[0].text, "גלגל המים");
    }

    #[test]
    fn hebrew_drawn_glyph_by_glyph_from_the_right_is_one_line() {
        let mut glyphs = drawn(&reversed("שלום"));
        glyphs.reverse();
        let lines: Vec<TextLine> = glyphs.into_iter().map(|glyph| line(vec![glyph])).collect();
        let ordered = in_reading_order(&lines);
        assert_eq!(ordered.len(), 1);
        assert_eq!(ordered[0].text, "שלום");
    }

    #[test]
    fn numbers_and_latin_words_keep_their_order_within_hebrew() {
        // On paper, from the left: "Millrace 42" stands left of the Hebrew words.
        let paper = format!("Millrace 42 {}", reversed("התקינו היום את"));
        let ordered = in_reading_order(&[line(drawn(&paper))]);
        assert_eq!(ordered[0].text, "התקינו היום את Millrace 42");
    }

    #[test]
    fn a_hebrew_word_within_english_is_turned_alone() {
        let paper = format!("the word {} means wheel", reversed("גלגל"));
        let ordered = in_reading_order(&[line(drawn(&paper))]);
        assert_eq!(ordered[0].text, "the word גלגל means wheel");
    }

    #[test]
    fn lines_without_right_to_left_letters_are_left_alone() {
        let mut backwards = drawn("abc");
        backwards.reverse();
        let lines = [line(backwards), line(drawn("12"))];
        let texts: Vec<String> = in_reading_order(&lines).into_iter().map(|line| line.text).collect();
        assert_eq!(texts, ["cba", "12"]);
    }
}
