//! From glyphs to runs: what was drawn one after the other on one baseline.
//!
//! A gap that is wide enough is a blank, whether or not one was drawn. Text that was drawn twice at nearly the same place,
//! to look bold or to cast a shadow, is text once.

use std::collections::HashMap;
use std::ops::Range;

use super::glyphs::{Glyph, PageText};
use super::stitch;

/// A gap of more than so many times the font size is a blank where the line itself does not tell.
pub(super) const BLANK: f64 = 0.2;
/// A gap must be so much wider than the usual one of its run to be a blank, in parts of the font size.
const WIDER: f64 = 0.1;
/// The same where blanks are drawn, and gaps that are blanks besides are rare.
const WIDER_BESIDE_BLANKS: f64 = 0.2;
/// Letters that are spaced out further than so many times the font size are words of one letter.
const MOST_SPACED_OUT: f64 = 0.15;
/// Text again within so many times the font size along its line, and across it, is the same text drawn twice.
const TWICE: (f64, f64) = (0.1, 0.2);

/// Glyphs on one baseline.
#[derive(Debug)]
pub(super) struct Run {
    pub text: String,
    /// Which glyphs of the page, in the order of the text; several stretches where a word was drawn in pieces.
    pub glyphs: Vec<Range<usize>>,
}

impl Run {
    pub fn glyphs(&self, page: &PageText) -> Vec<Glyph> {
        self.glyphs.iter().flat_map(|stretch| &page.glyphs[stretch.clone()]).copied().collect()
    }
}

pub(super) fn runs(page: &PageText) -> Vec<Run> {
    let mut runs = Runs { page, done: Vec::new(), start: 0, last: None, direction: (1.0, 0.0), gaps: Vec::new() };
    for (index, glyph) in page.glyphs.iter().enumerate() {
        runs.take(index, glyph);
    }
    runs.finish(page.glyphs.len());
    stitch::stitched(page, without_doubles(page, runs.done))
}

struct Runs<'p> {
    page: &'p PageText,
    done: Vec<Run>,
    start: usize,
    /// The glyph that the next one is to continue.
    last: Option<Glyph>,
    direction: (f64, f64),
    gaps: Vec<f64>,
}

impl Runs<'_> {
    fn take(&mut self, index: usize, glyph: &Glyph) {
        let continues = self.last.is_some_and(|last| self.continues(&last, glyph));
        // A blank that was drawn over other text parts nothing; if it stands for a gap, the gap is there.
        if !continues && self.last.is_some() && self.is_blank(glyph) {
            return;
        }
        if !continues {
            self.finish(index);
            self.direction = glyph.direction();
        }
        self.last = Some(*glyph);
    }

    fn is_blank(&self, glyph: &Glyph) -> bool {
        glyph.text(&self.page.text).trim().is_empty()
    }

    /// How far a glyph starts from where the last one ended, along the baseline and across it, in parts of the font size.
    fn gap(&self, last: &Glyph, glyph: &Glyph) -> (f64, f64) {
        let size = glyph.size.max(last.size).max(1e-6);
        let (x, y) = self.direction;
        let gap = (glyph.origin.0 - last.next.0, glyph.origin.1 - last.next.1);
        ((gap.0 * x + gap.1 * y) / size, (gap.1 * x - gap.0 * y) / size)
    }

    fn continues(&self, last: &Glyph, glyph: &Glyph) -> bool {
        let own = glyph.direction();
        let (along, across) = self.gap(last, glyph);
        own.0 * self.direction.0 + own.1 * self.direction.1 > 0.985 && across.abs() < 0.5 && along > -0.5
    }

    fn finish(&mut self, end: usize) {
        let glyphs = &self.page.glyphs[self.start..end];
        let mut text = String::new();
        let blank = self.blank_gap(glyphs);
        let mut last: Option<&Glyph> = None;
        for glyph in glyphs {
            let piece = glyph.text(&self.page.text);
            if last.is_some_and(|last| self.is_blank(glyph) && !self.continues(last, glyph)) {
                continue;
            }
            if last.is_some_and(|last| self.gap(last, glyph).0 > blank)
                && !text.ends_with(char::is_whitespace)
                && !piece.starts_with(char::is_whitespace)
            {
                text.push(' ');
            }
            text.push_str(piece);
            last = Some(glyph);
        }
        let text = text.trim();
        if !text.is_empty() {
            let glyphs = std::iter::once(self.start..end).collect();
            self.done.push(Run { text: text.to_owned(), glyphs });
        }
        self.start = end;
        self.last = None;
    }

    /// From which gap on a blank stands between two glyphs of a run.
    ///
    /// Justified lines have blanks as narrow as a tenth of the font size, and letters that are spaced out stand further apart than that, so
    /// the usual gap between the letters of the run decides.
    fn blank_gap(&mut self, glyphs: &[Glyph]) -> f64 {
        let mut gaps = std::mem::take(&mut self.gaps);
        gaps.clear();
        // Rows of dots are spaced out as no words are.
        let is_letter = |glyph: &Glyph| glyph.text(&self.page.text).starts_with(char::is_alphanumeric);
        for pair in glyphs.windows(2) {
            if is_letter(&pair[0]) && is_letter(&pair[1]) {
                gaps.push(self.gap(&pair[0], &pair[1]).0);
            }
        }
        let middle = gaps.len() / 2;
        let usual = if gaps.len() < 4 { 0.0 } else { *gaps.select_nth_unstable_by(middle, f64::total_cmp).1 };
        let wider = if glyphs.iter().any(|glyph| self.is_blank(glyph)) { WIDER_BESIDE_BLANKS } else { WIDER };
        self.gaps = gaps;
        usual.clamp(0.0, MOST_SPACED_OUT) + wider
    }
}

fn without_doubles(page: &PageText, runs: Vec<Run>) -> Vec<Run> {
    let mut places: HashMap<String, Vec<(f64, f64)>> = HashMap::new();
    let mut kept = Vec::with_capacity(runs.len());
    for run in runs {
        let glyph = &page.glyphs[run.glyphs[0].start];
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
