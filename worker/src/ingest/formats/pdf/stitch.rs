//! Words that were drawn in pieces, with other text between: `l`, then the next line, then `oans` where the `l` ends.
//!
//! A run that starts exactly where another one ends continues it, whenever it was drawn. What is parted by as little as a narrow
//! blank is left alone: columns and cells of tables are drawn in an order that means something.

use std::collections::HashMap;

use super::glyphs::{Glyph, PageText};
use super::runs::Run;

/// How far from the end of one run the other may start, in parts of the font size.
const NEAR: f64 = 0.05;
/// Starts of runs are looked up in squares of so many points.
const SQUARE: f64 = 4.0;

pub(super) fn stitched(page: &PageText, runs: Vec<Run>) -> Vec<Run> {
    let next = continuations(page, &runs);
    if next.iter().all(Option::is_none) {
        return runs;
    }
    let mut continues = vec![false; runs.len()];
    for &after in next.iter().flatten() {
        continues[after] = true;
    }
    let mut rest: Vec<Option<Run>> = runs.into_iter().map(Some).collect();
    let mut whole = Vec::with_capacity(rest.len());
    // Heads of chains first; what is left then goes round in a circle, and is taken as it comes.
    for first in (0..rest.len()).filter(|&run| !continues[run]).chain(0..continues.len()) {
        let Some(mut run) = rest[first].take() else { continue };
        let mut at = first;
        while let Some((after, piece)) = next[at].and_then(|after| Some((after, rest[after].take()?))) {
            if blank_between(page, &run, &piece) {
                run.text.push(' ');
            }
            run.text.push_str(&piece.text);
            run.glyphs.extend(piece.glyphs);
            at = after;
        }
        whole.push((first, run));
    }
    whole.sort_by_key(|(first, _)| *first);
    whole.into_iter().map(|(_, run)| run).collect()
}

/// Blanks at the edges are no text of a run, but they are between it and what continues it.
fn blank_between(page: &PageText, run: &Run, next: &Run) -> bool {
    let last = run.glyphs.last().and_then(|stretch| page.glyphs[stretch.clone()].last());
    let first = next.glyphs.first().and_then(|stretch| page.glyphs[stretch.clone()].first());
    let is_blank = |glyph: &Glyph| glyph.text(&page.text).trim().is_empty();
    last.is_some_and(is_blank) || first.is_some_and(is_blank)
}

/// For each run the one that continues it; no run continues two.
fn continuations(page: &PageText, runs: &[Run]) -> Vec<Option<usize>> {
    let ends = |run: &Run| -> (Glyph, Glyph) {
        let stretch = &page.glyphs[run.glyphs[0].clone()];
        (stretch[0], stretch[stretch.len() - 1])
    };
    let square = |(x, y): (f64, f64)| ((x / SQUARE).floor() as i64, (y / SQUARE).floor() as i64);
    let mut starts: HashMap<(i64, i64), Vec<usize>> = HashMap::new();
    for (index, run) in runs.iter().enumerate() {
        starts.entry(square(ends(run).0.origin)).or_default().push(index);
    }
    let mut taken = vec![false; runs.len()];
    let mut next = vec![None; runs.len()];
    for (index, run) in runs.iter().enumerate() {
        let last = ends(run).1;
        let (column, row) = square(last.next);
        let near = (-1..=1).flat_map(|x| (-1..=1).map(move |y| (column + x, row + y)));
        let candidates = near.filter_map(|square| starts.get(&square)).flat_map(|runs| runs.iter().take(16));
        let found = candidates.copied().find(|&other| {
            let first = ends(&runs[other]).0;
            other != index && !taken[other] && last.direction() == first.direction() && continues(&last, &first)
        });
        if let Some(other) = found {
            taken[other] = true;
            next[index] = Some(other);
        }
    }
    next
}

fn continues(last: &Glyph, first: &Glyph) -> bool {
    let distance = (first.origin.0 - last.next.0).hypot(first.origin.1 - last.next.1);
    let ratio = first.size / last.size.max(1e-6);
    distance < NEAR * last.size && (0.8..1.25).contains(&ratio)
}

#[cfg(test)]
mod tests {
    use crate::ingest::formats::pdf::font::Letters;
    use crate::ingest::formats::pdf::glyphs::PageText;
    use crate::ingest::formats::pdf::runs::runs;

    fn read(glyphs: &[(&str, f64, f64, f64)]) -> Vec<String> {
        let mut page = PageText::default();
        for (text, x, y, width) in glyphs {
            page.push(&Letters::Many((*text).into()), (*x, *y), (x + width, *y), 10.0);
        }
        runs(&page).into_iter().map(|run| run.text).collect()
    }

    #[test]
    fn a_word_drawn_in_pieces_is_a_word() {
        let pieces = [("l", 0.0, 100.0, 2.0), ("below", 0.0, 85.0, 20.0), ("oans", 2.0, 100.0, 15.0)];
        assert_eq!(read(&pieces), ["loans", "below"]);
    }

    #[test]
    fn a_blank_between_the_pieces_is_kept() {
        let pieces =
            [("of", 0.0, 100.0, 7.0), (" ", 7.0, 100.0, 3.0), ("below", 0.0, 85.0, 20.0), ("loans", 10.0, 100.0, 15.0)];
        assert_eq!(read(&pieces), ["of loans", "below"]);
    }

    #[test]
    fn columns_and_circles_are_left_alone() {
        let columns = [("left", 0.0, 100.0, 10.0), ("left", 0.0, 85.0, 10.0), ("right", 30.0, 100.0, 10.0)];
        assert_eq!(read(&columns), ["left", "left", "right"]);
        let circle = [("a", 0.0, 0.0, 0.0), ("b", 0.0, 40.0, 5.0), ("c", 0.0, 0.0, 0.0)];
        assert_eq!(read(&circle).len(), 2);
    }
}
