//! Where every format writes its text to.
//!
//! The sink owns what all formats have in common: which characters may occur, how lines and paragraphs are parted, where
//! pages begin and end in characters, where headings stand, and how much is too much. Breaks are remembered and written only when a visible
//! character follows, so no text starts, ends or is parted by more than one blank line.

use unicode_segmentation::UnicodeSegmentation;

use super::document::{Page, Warning, WarningCode};
use super::headings::{Mark, Marker};
use super::metadata::Metadata;
use super::ocr::Recognition;
use super::parts::{Part, PartSink};
use super::wire::Failure;

#[derive(Debug)]
pub(super) struct TextSink {
    text: String,
    chars: usize,
    max_chars: usize,
    max_pages: u32,
    pages: Vec<Page>,
    page_start: usize,
    /// Whether the current page has a visible character.
    page_has_text: bool,
    /// Line ends that the next visible character is parted by: 0, 1 or 2.
    breaks: u8,
    /// Blanks that are written if something follows them on the line.
    blanks: String,
    last_was_return: bool,
    marker: Marker,
    pub metadata: Metadata,
    pub warnings: Vec<Warning>,
    /// Where the documents go that are in this one.
    pub parts: PartSink,
    /// What was recognised of pages without words.
    pub recognition: Recognition,
}

/// What a filled sink holds.
#[derive(Debug)]
pub(super) struct Collected {
    pub text: String,
    pub pages: Vec<Page>,
    pub marks: Vec<Mark>,
    pub words: u64,
    pub metadata: Metadata,
    pub warnings: Vec<Warning>,
    pub parts: Vec<Part>,
    pub silent: Vec<u32>,
}

/// How many warnings of one document are kept: a thousand unreadable pages are one message, not a thousand.
const MAX_WARNINGS: usize = 50;

impl TextSink {
    pub fn new(max_chars: usize, max_pages: u32) -> Self {
        Self {
            text: String::new(),
            chars: 0,
            // Offsets are 32 bits wide.
            max_chars: max_chars.min(u32::MAX as usize),
            max_pages,
            pages: Vec::new(),
            page_start: 0,
            page_has_text: false,
            breaks: 0,
            blanks: String::new(),
            last_was_return: false,
            marker: Marker::default(),
            metadata: Metadata::default(),
            warnings: Vec::new(),
            parts: PartSink::default(),
            recognition: Recognition::default(),
        }
    }

    /// Takes text as it is; `\n` ends a line. Characters that carry no text (controls, soft hyphens, byte order marks)
    /// are left out, no-break spaces become spaces.
    pub fn text(&mut self, text: &str) -> Result<(), Failure> {
        for c in text.chars() {
            let after_return = std::mem::take(&mut self.last_was_return);
            match c {
                '\n' if after_return => {}
                '\n' | '\u{b}' | '\u{85}' | '\u{2028}' => self.add_break(),
                '\r' => {
                    self.last_was_return = true;
                    self.add_break();
                }
                '\u{2029}' => self.paragraph_break(),
                ' ' | '\t' | '\u{a0}' => {
                    if self.blanks.len() < 1_000 {
                        self.blanks.push(if c == '\t' { c } else { ' ' });
                    }
                }
                '\u{ad}' | '\u{feff}' | '\u{200b}' => {}
                c if c.is_control() => {}
                c => self.visible(c)?,
            }
        }
        Ok(())
    }

    fn visible(&mut self, c: char) -> Result<(), Failure> {
        let starts_line = self.at_line_start();
        if !self.page_has_text {
            self.page_has_text = true;
            self.breaks = 0;
            if !self.text.is_empty() {
                self.append("\n\n")?;
            }
            self.page_start = self.chars;
        }
        match std::mem::take(&mut self.breaks) {
            0 => {}
            1 => self.append("\n")?,
            _ => self.append("\n\n")?,
        }
        if !self.blanks.is_empty() {
            let mut blanks = std::mem::take(&mut self.blanks);
            self.append(&blanks)?;
            blanks.clear();
            self.blanks = blanks;
        }
        if self.chars >= self.max_chars {
            return Err(self.too_many_chars());
        }
        if self.marker.is_expectant() {
            self.marker.take(c, self.chars as u32, starts_line);
        }
        self.text.push(c);
        self.chars += 1;
        Ok(())
    }

    /// Appends ASCII.
    fn append(&mut self, ascii: &str) -> Result<(), Failure> {
        if self.chars + ascii.len() > self.max_chars {
            return Err(self.too_many_chars());
        }
        self.text.push_str(ascii);
        self.chars += ascii.len();
        Ok(())
    }

    fn too_many_chars(&self) -> Failure {
        Failure::too_large(format!("more than {} characters of text", self.max_chars))
    }

    fn add_break(&mut self) {
        self.breaks = (self.breaks + 1).min(2);
        self.blanks.clear();
    }

    /// What follows starts on a line of its own.
    pub fn line_break(&mut self) {
        self.breaks = self.breaks.max(1);
        self.blanks.clear();
    }

    /// What follows starts a paragraph: a blank line comes between.
    pub fn paragraph_break(&mut self) {
        self.breaks = 2;
        self.blanks.clear();
    }

    /// Whether the next character would start a line.
    pub fn at_line_start(&self) -> bool {
        !self.page_has_text || self.breaks > 0
    }

    /// What follows is a heading of this level, 1 to 9, if it begins a line: its text heads what comes after it, up to the next heading
    /// of that level or a higher one. Ended by [`end_heading`](Self::end_heading), the next heading, or the page's end.
    pub fn begin_heading(&mut self, level: u8) {
        self.marker.begin(level, self.chars as u32);
    }

    pub fn end_heading(&mut self) {
        self.marker.end(self.chars as u32);
    }

    /// A heading that stands nowhere in the text, such as a PDF's bookmark, heads what follows from here.
    pub fn bookmark(&mut self, level: u8, title: &str) {
        self.marker.bookmark(level, title, self.chars as u32);
    }

    /// What follows stands under no heading that came before: notes behind a text, the next slide.
    pub fn end_sections(&mut self) {
        self.marker.end_sections(self.chars as u32);
    }

    /// Whether any page has text.
    pub fn has_text(&self) -> bool {
        !self.text.is_empty()
    }

    /// Whether the current page has no text yet.
    pub fn page_is_empty(&self) -> bool {
        !self.page_has_text
    }

    /// Ends the current page, empty or not.
    pub fn page_break(&mut self) -> Result<(), Failure> {
        self.marker.end_page(self.chars as u32);
        if self.pages.len() >= self.max_pages as usize {
            return Err(Failure::too_large(format!("more than {} pages", self.max_pages)));
        }
        let start = if self.page_has_text { self.page_start } else { self.chars };
        self.pages.push(Page { number: self.pages.len() as u32 + 1, start: start as u32, end: self.chars as u32 });
        self.page_has_text = false;
        self.breaks = 0;
        self.blanks.clear();
        Ok(())
    }

    /// The number of the page that is being written.
    pub fn page_number(&self) -> u32 {
        self.pages.len() as u32 + 1
    }

    pub fn warn(&mut self, code: WarningCode, page: Option<u32>, message: impl Into<String>) {
        if self.warnings.len() < MAX_WARNINGS {
            self.warnings.push(Warning { code, page, message: message.into() });
        }
    }

    /// Ends the last page (a page that a trailing break opened and nothing was written to does not count).
    pub fn finish(mut self) -> Result<Collected, Failure> {
        if self.page_has_text || self.pages.is_empty() {
            self.page_break()?;
        }
        let (parts, warnings) = self.parts.finish();
        self.warnings.extend(warnings);
        let (silent, warnings) = self.recognition.finish();
        self.warnings.extend(warnings);
        Ok(Collected {
            words: self.text.unicode_words().count() as u64,
            marks: self.marker.finish(self.chars as u32),
            text: self.text,
            pages: self.pages,
            metadata: self.metadata,
            warnings: self.warnings,
            parts,
            silent,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sink() -> TextSink {
        TextSink::new(1_000, 10)
    }

    fn slice(collected: &Collected, page: usize) -> String {
        let page = collected.pages[page];
        let length = (page.end - page.start) as usize;
        collected.text.chars().skip(page.start as usize).take(length).collect()
    }

    #[test]
    fn blank_lines_collapse_and_line_ends_are_trimmed() {
        let mut sink = sink();
        sink.text("\n\n one  \r\n\r\n\r\n\r\n  two\rthree \t\n").unwrap();
        assert_eq!(sink.finish().unwrap().text, " one\n\n  two\nthree");
    }

    #[test]
    fn characters_without_text_are_left_out() {
        let mut sink = sink();
        sink.text("Mühl\u{ad}rad\u{0}\u{7}\u{feff} a\u{a0}b").unwrap();
        assert_eq!(sink.finish().unwrap().text, "Mühlrad a b");
    }

    #[test]
    fn pages_are_found_by_their_offsets_in_characters() {
        let mut sink = sink();
        sink.text("水車\n").unwrap();
        sink.page_break().unwrap();
        sink.page_break().unwrap();
        sink.text("\nтретья").unwrap();
        let collected = sink.finish().unwrap();
        assert_eq!(collected.text, "水車\n\nтретья");
        assert_eq!(slice(&collected, 0), "水車");
        assert_eq!(slice(&collected, 1), "");
        assert_eq!(slice(&collected, 2), "третья");
        assert_eq!(collected.pages.len(), 3);
    }

    /// Every mark as level and title, with where it stands.
    fn marks(collected: &Collected) -> Vec<(u8, String, u32)> {
        let title = |mark: &Mark| {
            let length = (mark.end - mark.start) as usize;
            let in_text: String = collected.text.chars().skip(mark.start as usize).take(length).collect();
            mark.title.clone().unwrap_or(in_text)
        };
        collected.marks.iter().map(|mark| (mark.level, title(mark), mark.start)).collect()
    }

    #[test]
    fn headings_are_found_by_their_offsets() {
        let mut sink = sink();
        sink.text("水\n\n").unwrap();
        sink.begin_heading(1);
        sink.text("  Two\nlines \n").unwrap();
        sink.end_heading();
        sink.text("\nbody ").unwrap();
        sink.begin_heading(2);
        sink.text("within a line\n").unwrap();
        sink.begin_heading(2);
        sink.page_break().unwrap();
        sink.begin_heading(12);
        sink.text("never ended").unwrap();
        let collected = sink.finish().unwrap();
        assert_eq!(collected.text, "水\n\n  Two\nlines\n\nbody within a line\n\nnever ended");
        assert_eq!(marks(&collected), [(1, "Two\nlines".to_owned(), 5), (9, "never ended".to_owned(), 36)]);
    }

    #[test]
    fn bookmarks_and_ends_of_sections_hold_from_the_next_character() {
        let mut sink = sink();
        sink.end_sections();
        sink.bookmark(1, "never");
        sink.bookmark(1, " One ");
        sink.bookmark(2, "Deeper");
        sink.bookmark(3, "as deep as the heading");
        sink.begin_heading(3);
        sink.page_break().unwrap();
        sink.text("a\n").unwrap();
        sink.bookmark(1, "nothing follows");
        sink.end_sections();
        sink.text("b").unwrap();
        sink.bookmark(1, " ");
        sink.bookmark(1, "nothing follows");
        let collected = sink.finish().unwrap();
        let expected = [(1, "One", 0), (2, "Deeper", 0), (3, "a", 0), (0, "", 2)];
        assert_eq!(marks(&collected), expected.map(|(level, title, at)| (level, title.to_owned(), at)));
    }

    #[test]
    fn a_heading_begins_behind_its_indent() {
        let mut sink = sink();
        sink.begin_heading(1);
        sink.text("\u{3000}第一章\n").unwrap();
        sink.begin_heading(1);
        sink.text("\u{3000}\u{2003}\n").unwrap();
        assert_eq!(marks(&sink.finish().unwrap()), [(1, "第一章".to_owned(), 1)]);
    }

    #[test]
    fn a_heading_without_an_end_is_none() {
        let mut sink = sink();
        sink.begin_heading(1);
        sink.text(&"word ".repeat(120)).unwrap();
        assert_eq!(sink.finish().unwrap().marks, []);
    }

    #[test]
    fn nothing_at_all_is_one_empty_page() {
        let collected = sink().finish().unwrap();
        assert_eq!((collected.text.as_str(), collected.pages.len(), collected.words), ("", 1, 0));
    }

    #[test]
    fn too_much_is_an_error_and_never_cut() {
        let mut sink = TextSink::new(5, 1);
        assert!(sink.text("12345").is_ok());
        assert!(matches!(sink.text("6"), Err(Failure::TooLarge { .. })));
        assert!(sink.page_break().is_ok());
        assert!(matches!(sink.page_break(), Err(Failure::TooLarge { .. })));
    }
}
