//! Cuts text into pieces of at most so many characters, by its structure first.
//!
//! - A piece lies on one page. A heading begins a piece, and stays with the text that follows it.
//! - Sections of less than a quarter of the size share a piece with neighbours of that kind, under the same heading. So do headings without
//!   text of their own, whatever the size of their neighbours. What stands higher up is never pulled in.
//! - A section that does not fit is cut where it is best (see [`cut`]), and its pieces may repeat the end of the one before.
//! - The path of a piece is what all of its text stands under: for most that of its section, for several sections what they share.
//!
//! No piece starts or ends with a blank, or is empty; all pieces together are the text. The same text gives the same pieces.

mod cut;
mod sections;
#[cfg(test)]
mod tests;

use self::sections::Sections;
use super::document::Page;
use super::headings::Mark;
use super::wire::ChunkRange;

/// Below this a chunk holds hardly a sentence, and the search for bounds has no room.
const LEAST_CHARS: usize = 100;

/// How long a piece may be, in characters.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChunkSizes {
    max: usize,
    /// How much of it may repeat the piece before.
    overlap: usize,
}

impl ChunkSizes {
    pub fn new(max: usize, overlap: usize) -> Self {
        let max = max.max(LEAST_CHARS);
        Self { max, overlap: overlap.min(max / 2) }
    }
}

pub(super) fn chunk(text: &str, pages: &[Page], marks: &[Mark], sizes: ChunkSizes) -> Vec<ChunkRange> {
    let mut chunks = Vec::new();
    let mut sections = Sections::new(marks);
    let mut chars = text.chars();
    let mut at = 0;
    for page in pages {
        let skipped = (page.start - at) as usize;
        let length = (page.end - page.start) as usize;
        let page_chars: Vec<char> = chars.by_ref().skip(skipped).take(length).collect();
        at = page.end;
        for unit in sections.of_page(page, &page_chars, sizes.max) {
            let unit_chars = &page_chars[unit.start..unit.end];
            cut::cut(unit_chars, unit.body - unit.start, sizes, |start, end| {
                chunks.push(ChunkRange {
                    page: page.number,
                    start: page.start + (unit.start + start) as u32,
                    end: page.start + (unit.start + end) as u32,
                    section: unit.path.section,
                    depth: unit.path.depth,
                });
            });
        }
    }
    chunks
}

fn skip_blanks(text: &[char], from: usize) -> usize {
    let blanks = text[from..].iter().take_while(|c| c.is_whitespace()).count();
    from + blanks
}

fn trim_end(text: &[char], start: usize, end: usize) -> usize {
    let blanks = text[start..end].iter().rev().take_while(|c| c.is_whitespace()).count();
    end - blanks
}
