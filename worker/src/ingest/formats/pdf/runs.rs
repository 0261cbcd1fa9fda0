//! From glyphs to runs: what was drawn one after the other on one baseline.
//!
//! A gap that is wide enough is a blank, whether or not one was drawn. Text that was drawn twice at nearly the same place,
//! to look bold or to cast a shadow, is text once.

use std::collections::HashMap;
use std::ops::Range;

use super::glyphs::{Glyph, PageText};

/// A gap of more than so many times the font size is a blank.
pub(super) const BLANK: f64 = 0.2;
/// Text again within so many times the font size along its line, and across it, is the same text drawn twice.
const TWICE: (f64, f64) = (0.1, 0.2);

/// Glyphs on one baseline.
#[derive(Debug)]
pub(super) struct Run {
    pub text: String,
    /// Which glyphs of the page.
    pub glyphs: Range<usize>,
}

pub(super) fn runs(page: &PageText) -> Vec<Run> {
    let mut runs = Runs { page, done: Vec::new(), text: String::new(), start: 0, direction: (1.0, 0.0) };
    for (index, glyph) in page.glyphs.iter().enumerate() {
        runs.take(index, glyph);
    }
    runs.finish(page.glyphs.len());
    without_doubles(page, runs.done)
}

struct Runs<'p> {
    page: &'p PageText,
    done: Vec<Run>,
    text: String,
    start: usize,
    direction: (f64, f64),
}

impl Runs<'_> {
    fn take(&mut self, index: usize, glyph: &Glyph) {
        let text = glyph.text(&self.page.text);
        let last = self.page.glyphs[self.start..index].last();
        match last.map(|last| self.step(last, glyph)) {
            None => self.direction = glyph.direction(),
            Some(Step::Same) => {}
            Some(Step::Blank) => {
                if !self.text.ends_with(char::is_whitespace) && !text.starts_with(char::is_whitespace) {
                    self.text.push(' ');
                }
            }
            Some(Step::Away) => {
                self.finish(index);
                self.direction = glyph.direction();
            }
        }
        self.text.push_str(text);
    }

    fn step(&self, last: &Glyph, glyph: &Glyph) -> Step {
        let size = glyph.size.max(last.size).max(1e-6);
        let (x, y) = self.direction;
        let own = glyph.direction();
        let gap = (glyph.origin.0 - last.next.0, glyph.origin.1 - last.next.1);
        let along = gap.0 * x + gap.1 * y;
        let across = (gap.1 * x - gap.0 * y).abs();
        let same_direction = own.0 * x + own.1 * y > 0.985;
        if !same_direction || across >= 0.5 * size || along <= -0.5 * size {
            Step::Away
        } else if along > BLANK * size {
            Step::Blank
        } else {
            Step::Same
        }
    }

    fn finish(&mut self, end: usize) {
        let text = self.text.trim_end();
        if !text.is_empty() {
            self.done.push(Run { text: text.to_owned(), glyphs: self.start..end });
        }
        self.text.clear();
        self.start = end;
    }
}

enum Step {
    Same,
    Blank,
    /// It does not continue the run.
    Away,
}

fn without_doubles(page: &PageText, runs: Vec<Run>) -> Vec<Run> {
    let mut places: HashMap<String, Vec<(f64, f64)>> = HashMap::new();
    let mut kept = Vec::with_capacity(runs.len());
    for run in runs {
        let glyph = &page.glyphs[run.glyphs.start];
        let near = |place: &(f64, f64)| {
            (place.0 - glyph.origin.0).abs() < TWICE.0 * glyph.size
                && (place.1 - glyph.origin.1).abs() < TWICE.1 * glyph.size
        };
        match places.get_mut(&run.text) {
            Some(known) if known.iter().any(near) => continue,
            Some(known) if known.len() < 64 => known.push(glyph.origin),
            Some(_) => {}
            None => drop(places.insert(run.text.clone(), vec![glyph.origin])),
        }
        kept.push(run);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::formats::pdf::font::Letters;

    fn page(glyphs: &[(&str, f64, f64, f64)]) -> PageText {
        let mut page = PageText::default();
        for (text, x, y, width) in glyphs {
            page.push(&Letters::Many((*text).into()), (*x, *y), (x + width, *y), 10.0);
        }
        page
    }

    fn texts(page: &PageText) -> Vec<String> {
        runs(page).into_iter().map(|run| run.text).collect()
    }

    #[test]
    fn a_gap_is_a_blank_and_another_baseline_another_run() {
        let page = page(&[
            ("H", 0.0, 100.0, 6.0),
            ("i", 6.0, 100.0, 3.0),
            ("you", 14.0, 100.0, 15.0),
            ("N", 0.0, 85.0, 7.0),
            (" ", 7.0, 85.0, 3.0),
            ("o", 12.5, 85.0, 5.0),
        ]);
        assert_eq!(texts(&page), ["Hi you", "N o"]);
    }

    #[test]
    fn going_back_starts_a_run() {
        assert_eq!(texts(&page(&[("a", 50.0, 10.0, 5.0), ("b", 0.0, 10.0, 5.0)])), ["a", "b"]);
    }

    #[test]
    fn vertical_text_is_a_run_of_its_own() {
        let mut page = PageText::default();
        for (text, y) in [('縦', 100.0), ('書', 90.0)] {
            page.push(&Letters::One(text), (0.0, y), (0.0, y - 10.0), 10.0);
        }
        page.push(&Letters::One('x'), (50.0, 50.0), (55.0, 50.0), 10.0);
        assert_eq!(texts(&page), ["縦書", "x"]);
    }

    #[test]
    fn what_was_drawn_twice_to_look_bold_is_text_once() {
        let bold = [("Mill", 0.0, 100.0, 20.0), ("Mill", 0.4, 100.3, 20.0), ("Mill", 0.0, 80.0, 20.0)];
        assert_eq!(texts(&page(&bold)), ["Mill", "Mill"]);
    }
}
