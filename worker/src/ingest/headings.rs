//! Headings: what formats tell of them, and the paths that they make.
//!
//! A [`Mark`] says where a section begins. Most have their title in the text; a bookmark names a section whose title stands nowhere, and
//! one of level 0 ends all sections, so that a footnote at a document's end or a slide without a title does not count to whatever came
//! before it.

use std::sync::Arc;

use millrace_shared::db::assets::HeadingPath;
use serde::{Deserialize, Serialize};

/// Levels are 1 to 9, as in word processors. A path has at most one heading of each.
pub(super) const MAX_LEVEL: u8 = 9;
/// A longer title is cut.
pub(super) const MAX_TITLE_CHARS: usize = 200;
/// A longer heading is none: somebody forgot to end it, or used its style for text.
const MAX_HEADING_CHARS: u32 = 500;
/// More of a document have no effect. Large manuals have some ten thousands.
pub(super) const MAX_MARKS: usize = 100_000;

/// Where a section begins: `start` to `end` are the characters of its title, none where it has a title of its own or ends all sections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// 1 to 9, or 0 where all sections end.
    pub level: u8,
    pub start: u32,
    pub end: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

/// Collects marks while text is written. Offsets are those of the next character.
#[derive(Debug, Default)]
pub(super) struct Marker {
    marks: Vec<Mark>,
    open: Option<Open>,
    /// Bookmarks that take effect with the next visible character, each deeper than the one before.
    waiting: Vec<(u8, String)>,
    sections_end: bool,
    is_expectant: bool,
}

#[derive(Debug)]
struct Open {
    level: u8,
    start: Option<u32>,
    /// The line begins with a blank that is a character of the text, such as an ideographic space.
    is_indented: bool,
}

impl Marker {
    pub fn begin(&mut self, level: u8, at: u32) {
        self.end(at);
        self.open = Some(Open { level: level.clamp(1, MAX_LEVEL), start: None, is_indented: false });
        self.is_expectant = true;
    }

    /// Ends the heading that is open, if one is.
    pub fn end(&mut self, at: u32) {
        if let Some(Open { level, start: Some(start), .. }) = self.open.take()
            && at.saturating_sub(start) <= MAX_HEADING_CHARS
        {
            self.push(Mark { level, start, end: at, title: None });
        }
    }

    /// Ends the heading that is open, unless it has not begun: a page may be broken between its style and its text.
    pub fn end_page(&mut self, at: u32) {
        if self.open.as_ref().is_some_and(|open| open.start.is_some()) {
            self.end(at);
        }
    }

    pub fn bookmark(&mut self, level: u8, title: &str, at: u32) {
        self.end(at);
        let (level, title) = (level.clamp(1, MAX_LEVEL), title_of(title));
        if title.is_empty() {
            return;
        }
        // A section in which nothing stands is of no use.
        self.waiting.retain(|(outer, _)| *outer < level);
        self.waiting.push((level, title));
        self.is_expectant = true;
    }

    pub fn end_sections(&mut self, at: u32) {
        self.end(at);
        self.waiting.clear();
        self.sections_end = !self.marks.is_empty();
        self.is_expectant = self.sections_end;
    }

    /// Whether the next character matters.
    pub fn is_expectant(&self) -> bool {
        self.is_expectant
    }

    /// The character `c` comes to stand at `at`.
    pub fn take(&mut self, c: char, at: u32, starts_line: bool) {
        if c.is_whitespace() {
            self.open.iter_mut().for_each(|open| open.is_indented |= starts_line);
            return;
        }
        self.is_expectant = false;
        if std::mem::take(&mut self.sections_end) {
            self.push(Mark { level: 0, start: at, end: at, title: None });
        }
        // Within a line, such as in the second cell of a row, it heads nothing.
        self.open = self.open.take().filter(|open| open.start.is_some() || open.is_indented || starts_line);
        let level_here = self.open.as_ref().filter(|open| open.start.is_none()).map(|open| open.level);
        for (level, title) in std::mem::take(&mut self.waiting) {
            // One that the heading here ends at once has nothing under it.
            if level_here.is_none_or(|here| level < here) {
                self.push(Mark { level, start: at, end: at, title: Some(title) });
            }
        }
        self.open.iter_mut().for_each(|open| open.start = open.start.or(Some(at)));
    }

    fn push(&mut self, mark: Mark) {
        match self.marks.len() {
            count if count < MAX_MARKS - 1 => self.marks.push(mark),
            // What follows counts to none rather than to the last one that had room.
            count if count == MAX_MARKS - 1 => self.marks.push(Mark { level: 0, end: mark.start, title: None, ..mark }),
            _ => {}
        }
    }

    pub fn finish(mut self, at: u32) -> Vec<Mark> {
        self.end(at);
        self.marks
    }
}

/// A title on one line, bounded.
pub(super) fn title_of(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let mut title = String::new();
    let mut chars = 0;
    for word in words {
        let gap = usize::from(chars > 0);
        let room = MAX_TITLE_CHARS.saturating_sub(chars + gap);
        if room == 0 {
            break;
        }
        if gap > 0 {
            title.push(' ');
        }
        title.extend(word.chars().take(room));
        chars += gap + word.chars().count().min(room);
    }
    title
}

/// The path that holds from each mark on.
pub(super) fn paths<'a>(marks: impl Iterator<Item = (u8, &'a str)>) -> Vec<HeadingPath> {
    let mut open: Vec<(u8, Arc<str>)> = Vec::new();
    marks
        .map(|(level, title)| {
            open.retain(|(outer, _)| *outer < level);
            if level > 0 {
                open.push((level, Arc::from(title)));
            }
            open.iter().map(|(_, title)| Arc::clone(title)).collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_one_line_and_not_long() {
        assert_eq!(title_of("  Two \t\n lines\u{0} here "), "Two lines here");
        assert_eq!(title_of(&"水".repeat(300)).chars().count(), MAX_TITLE_CHARS);
        assert_eq!(title_of(&format!("{} bc", "a".repeat(199))), "a".repeat(199));
    }

    #[test]
    fn a_heading_ends_those_of_its_level_and_deeper_ones() {
        let marks = [(1, "Guide"), (3, "Deep"), (2, "Install"), (2, "Use"), (1, "End"), (0, "")];
        let paths: Vec<String> =
            paths(marks.into_iter()).iter().map(|path| path.titles().collect::<Vec<_>>().join(">")).collect();
        assert_eq!(paths, ["Guide", "Guide>Deep", "Guide>Install", "Guide>Use", "End", ""]);
    }

    #[test]
    fn marks_are_bounded_and_the_last_one_ends_all_sections() {
        let mut marker = Marker::default();
        for at in 0..MAX_MARKS as u32 + 5 {
            marker.bookmark(1, "x", at);
            marker.take('x', at, true);
        }
        let marks = marker.finish(0);
        assert_eq!(marks.len(), MAX_MARKS);
        assert_eq!((marks[MAX_MARKS - 2].level, marks[MAX_MARKS - 1].level), (1, 0));
    }
}
