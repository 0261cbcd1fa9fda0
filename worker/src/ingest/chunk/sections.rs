//! What of a page belongs together: a section, or several small ones.

use super::{skip_blanks, trim_end};
use crate::ingest::document::Page;
use crate::ingest::headings::Mark;

/// Sections shorter than this part of a piece may share one.
const SMALL_PART: usize = 4;

/// Where a piece stands: the path that holds from a mark on, as far as `depth` headings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// How many marks have come, that one included; 0 before the first one.
    pub section: u32,
    pub depth: u8,
}

/// What pieces are cut from, in characters of the page. It starts and ends with visible ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unit {
    pub start: usize,
    pub end: usize,
    /// Where the text behind its first headings begins; its end if there is none.
    pub body: usize,
    pub path: Place,
    /// The level of its first heading, 0 for text before any.
    level: u8,
    /// How many headings that one stands under.
    outer: u8,
    is_small: bool,
}

impl Unit {
    fn has_body(&self) -> bool {
        self.body < self.end
    }

    /// Whether this is only the headings of what follows.
    fn leads(&self, next: &Self) -> bool {
        !self.has_body() && next.level > self.level
    }

    fn takes_in(&self, next: &Self, max_chars: usize) -> bool {
        let fits = next.end - self.start <= max_chars;
        // Those at the top have nothing in common that a path could tell.
        let are_small = next.outer > 0 && self.is_small && next.is_small;
        fits && next.level >= self.level && (are_small || !self.has_body() || !next.has_body())
    }

    fn take_in(&mut self, next: &Self) {
        if !self.has_body() {
            (self.path, self.body) = (next.path, next.body);
        } else if next.has_body() {
            self.path.depth = self.path.depth.min(next.outer);
        }
        self.end = next.end;
        self.is_small &= next.is_small;
    }
}

/// Walks the marks from page to page: a section goes on where a page ends.
pub(super) struct Sections<'a> {
    marks: std::iter::Peekable<std::slice::Iter<'a, Mark>>,
    passed: u32,
    /// Levels of the headings that are open.
    open: Vec<u8>,
}

impl<'a> Sections<'a> {
    pub fn new(marks: &'a [Mark]) -> Self {
        Self { marks: marks.iter().peekable(), passed: 0, open: Vec::new() }
    }

    /// The units of the next page.
    pub fn of_page(&mut self, page: &Page, text: &[char], max_chars: usize) -> Vec<Unit> {
        let mut units: Vec<Unit> = Vec::new();
        let mut leading: Option<Unit> = None;
        for section in self.sections_of(page, text) {
            let unit = match leading.take() {
                Some(lead) if lead.leads(&section) => {
                    Unit { start: lead.start, level: lead.level, outer: lead.outer, ..section }
                }
                lead => {
                    lead.into_iter().for_each(|lead| add(&mut units, lead, max_chars));
                    section
                }
            };
            if unit.has_body() {
                add(&mut units, unit, max_chars);
            } else {
                leading = Some(unit);
            }
        }
        leading.into_iter().for_each(|lead| add(&mut units, lead, max_chars));
        units
    }

    /// Each section's part of the page. One that begins here is told without a character too: what stands under a bookmark may begin with
    /// a heading.
    fn sections_of(&mut self, page: &Page, text: &[char]) -> Vec<Unit> {
        let mut sections = Vec::new();
        let mut begun = self.unit_at(0, 0);
        let mut goes_on = true;
        while let Some(mark) = self.marks.next_if(|mark| mark.start < page.end) {
            let at = |offset: u32| (offset.max(page.start) - page.start) as usize;
            let section = ended(begun, at(mark.start), text);
            sections.extend((!goes_on || section.start < section.end).then_some(section));
            goes_on = false;
            self.pass(mark.level);
            begun = self.unit_at(at(mark.start), at(mark.end).min(text.len()));
        }
        sections.push(ended(begun, text.len(), text));
        sections
    }

    fn pass(&mut self, level: u8) {
        self.passed += 1;
        self.open.retain(|outer| *outer < level);
        if level > 0 {
            self.open.push(level);
        }
    }

    /// A section of the heading that is open, with its text from `body` on and without an end.
    fn unit_at(&self, start: usize, body: usize) -> Unit {
        let depth = self.open.len() as u8;
        Unit {
            start,
            end: start,
            body,
            path: Place { section: self.passed, depth },
            level: self.open.last().copied().unwrap_or(0),
            outer: depth.saturating_sub(1),
            is_small: false,
        }
    }
}

/// The section with its end told, and blanks at its edges left out.
fn ended(section: Unit, end: usize, text: &[char]) -> Unit {
    let start = skip_blanks(&text[..end], section.start);
    let end = trim_end(text, start, end);
    let body = skip_blanks(&text[..end], section.body.clamp(start, end));
    Unit { start, end, body, ..section }
}

/// Adds a unit, to the one before where it may share its piece.
fn add(units: &mut Vec<Unit>, mut unit: Unit, max_chars: usize) {
    if unit.start == unit.end {
        return;
    }
    unit.is_small = unit.end - unit.start < max_chars / SMALL_PART;
    match units.last_mut() {
        Some(before) if before.takes_in(&unit, max_chars) => before.take_in(&unit),
        _ => units.push(unit),
    }
}
