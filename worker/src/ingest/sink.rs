//! Where every format writes its text to.
//!
//! The sink owns what all formats have in common: which characters may occur, how lines and paragraphs are parted, where
//! pages begin and end in characters, and how much is too much. Breaks are remembered and written only when a visible
//! character follows, so no text starts, ends or is parted by more than one blank line.

use unicode_segmentation::UnicodeSegmentation;

use super::document::{Page, Warning, WarningCode};
use super::metadata::Metadata;
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
    pub metadata: Metadata,
    pub warnings: Vec<Warning>,
    /// Where the documents go that are in this one.
    pub parts: PartSink,
}

/// What a filled sink holds.
#[derive(Debug)]
pub(super) struct Collected {
    pub text: String,
    pub pages: Vec<Page>,
    pub words: u64,
    pub metadata: Metadata,
    pub warnings: Vec<Warning>,
    pub parts: Vec<Part>,
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
            metadata: Metadata::default(),
            warnings: Vec::new(),
            parts: PartSink::default(),
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
        Ok(Collected {
            words: self.text.unicode_words().count() as u64,
            text: self.text,
            pages: self.pages,
            metadata: self.metadata,
            warnings: self.warnings,
            parts,
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
