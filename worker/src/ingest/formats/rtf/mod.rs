//! RTF (specification 1.9.1): groups, control words and text in code pages, read as a stream.
//!
//! Text stands where the file has it, headers and footers at the beginning of their section. Notes come at the end, with the numbers that stand
//! in the text. What is hidden or was deleted is left out; list marks are those that the producer wrote down.

mod codepage;
mod tokens;

use encoding_rs::{Encoding, WINDOWS_1252};

use self::tokens::{Token, Tokens};
use super::Input;
use crate::ingest::limits::IngestLimits;
use crate::ingest::sink::TextSink;
use crate::ingest::wire::Failure;

/// Word processors nest some dozens of groups.
const MAX_DEPTH: usize = 10_000;

pub(super) fn extract(input: &Input, limits: &IngestLimits, sink: &mut TextSink) -> Result<(), Failure> {
    // Pictures are written as digits, so a file may be many times its text.
    let bytes = input.read_text_bytes(limits.max_expanded_bytes / 2)?;
    write(&bytes, sink)
}

/// Writes the text of rich text that is at hand.
pub(super) fn write(bytes: &[u8], sink: &mut TextSink) -> Result<(), Failure> {
    let mut reader = Reader::default();
    for token in Tokens::new(bytes) {
        reader.take(token, sink)?;
    }
    reader.flush(sink)?;
    sink.end_sections();
    if !reader.outer.is_empty() {
        return Err(Failure::malformed("it ends within a group"));
    }
    for (note, number) in reader.notes.iter().zip(1..) {
        sink.paragraph_break();
        sink.text(&format!("[{number}] {}", note.trim()))?;
    }
    Ok(())
}

/// What the text of a group is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Destination {
    #[default]
    Text,
    Fonts,
    Title,
    Author,
    Note,
    /// The mark of a list item, as the producer wrote it down.
    Mark,
    /// Nothing that is read.
    Nothing,
}

/// What holds until the group ends.
#[derive(Debug, Clone)]
struct State {
    destination: Destination,
    encoding: &'static Encoding,
    /// How many characters stand in for one that is written as a number.
    stand_ins: usize,
    is_hidden: bool,
    is_deleted: bool,
    /// The level of the heading that the paragraph is.
    heading: Option<u8>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            destination: Destination::Text,
            encoding: WINDOWS_1252,
            stand_ins: 1,
            is_hidden: false,
            is_deleted: false,
            heading: None,
        }
    }
}

#[derive(Default)]
struct Reader {
    state: State,
    outer: Vec<State>,
    /// Bytes in the current encoding that have not been decoded yet: a character may take two.
    bytes: Vec<u8>,
    /// A first half of a character beyond the basic plane, which is written as two numbers.
    half: Option<u16>,
    /// How many characters are still to be left out after one that was written as a number.
    skipped: usize,
    /// The group may be ignored by readers who do not know its first word.
    is_optional: bool,
    ansi: Option<&'static Encoding>,
    /// Encodings of fonts by their numbers, and the font that is being told of.
    fonts: std::collections::HashMap<i32, &'static Encoding>,
    font: i32,
    /// The text of a title or an author that is open.
    told: String,
    mark: String,
    notes: Vec<String>,
}

impl Reader {
    fn take(&mut self, token: Token<'_>, sink: &mut TextSink) -> Result<(), Failure> {
        match token {
            Token::Open => {
                self.flush(sink)?;
                if self.outer.len() >= MAX_DEPTH {
                    return Err(Failure::malformed("its groups are nested too deeply"));
                }
                self.outer.push(self.state.clone());
                (self.skipped, self.is_optional) = (0, false);
            }
            Token::Close => {
                self.flush(sink)?;
                let (closed, heading) = (self.state.destination, self.state.heading);
                // One that closes nothing is what some producers end with.
                self.state = self.outer.pop().unwrap_or_default();
                if closed == Destination::Text && heading != self.state.heading {
                    self.begin_paragraph(sink);
                }
                if closed != self.state.destination {
                    self.leave(closed, sink)?;
                }
                self.skipped = 0;
            }
            Token::Byte(_) if self.skipped > 0 => self.skipped -= 1,
            Token::Byte(byte) => self.bytes.push(byte),
            Token::Word(word, number) => self.word(word, number, sink)?,
            Token::Symbol(symbol) => self.symbol(symbol, sink)?,
        }
        Ok(())
    }

    fn symbol(&mut self, symbol: u8, sink: &mut TextSink) -> Result<(), Failure> {
        match symbol {
            b'*' => self.is_optional = true,
            b'~' => self.write("\u{a0}", sink)?,
            b'_' => self.write("\u{2011}", sink)?,
            b'\n' | b'\r' => self.write("\n\n", sink)?,
            b'{' | b'}' | b'\\' => self.bytes.push(symbol),
            _ => {}
        }
        Ok(())
    }

    fn word(&mut self, word: &[u8], number: Option<i32>, sink: &mut TextSink) -> Result<(), Failure> {
        self.flush(sink)?;
        let optional = std::mem::take(&mut self.is_optional);
        let on = number != Some(0);
        if let Some(text) = character(word) {
            self.write(text, sink)?;
            if matches!(word, b"par" | b"cell" | b"row") && self.state.destination == Destination::Text {
                self.begin_paragraph(sink);
            }
            return Ok(());
        }
        match word {
            b"pard" | b"outlinelevel" => {
                self.state.heading = number.and_then(|level| u8::try_from(level).ok()).filter(|level| *level < 9);
                self.state.heading = self.state.heading.filter(|_| word == b"outlinelevel").map(|level| level + 1);
                if self.state.destination == Destination::Text {
                    self.begin_paragraph(sink);
                }
            }
            b"u" => return self.numbered(number.unwrap_or(0), sink),
            b"uc" => self.state.stand_ins = usize::try_from(number.unwrap_or(1)).unwrap_or(1).min(16),
            b"ansicpg" => {
                self.ansi = Some(codepage::of_number(number.unwrap_or(1252)));
                self.state.encoding = codepage::of_number(number.unwrap_or(1252));
            }
            b"mac" => self.state.encoding = encoding_rs::MACINTOSH,
            b"f" if self.state.destination == Destination::Fonts => self.font = number.unwrap_or(0),
            b"fcharset" if self.state.destination == Destination::Fonts => {
                if let Some(encoding) = codepage::of_charset(number.unwrap_or(0)).or(self.ansi) {
                    self.fonts.insert(self.font, encoding);
                }
            }
            b"f" => {
                let known = self.fonts.get(&number.unwrap_or(0)).copied().or(self.ansi);
                self.state.encoding = known.unwrap_or(WINDOWS_1252);
            }
            b"v" => self.state.is_hidden = on,
            b"deleted" => self.state.is_deleted = on,
            b"plain" => (self.state.is_hidden, self.state.is_deleted) = (false, false),
            b"page" | b"pagebb" | b"sect" if self.is_read() && self.state.destination == Destination::Text => {
                if !sink.page_is_empty() {
                    sink.page_break()?;
                }
            }
            _ => self.enter(word, optional, sink)?,
        }
        Ok(())
    }

    /// Ends the heading that was open; the paragraph that begins may be another one.
    fn begin_paragraph(&self, sink: &mut TextSink) {
        sink.end_heading();
        if let Some(level) = self.state.heading.filter(|_| self.is_read()) {
            sink.begin_heading(level);
        }
    }

    /// A word that says what its group is for.
    fn enter(&mut self, word: &[u8], optional: bool, sink: &mut TextSink) -> Result<(), Failure> {
        if self.state.destination == Destination::Nothing && !is_text_within(word) {
            return Ok(());
        }
        self.state.destination = match word {
            b"fonttbl" => Destination::Fonts,
            b"title" => Destination::Title,
            b"author" => Destination::Author,
            b"listtext" | b"pntext" if self.state.destination == Destination::Text => Destination::Mark,
            b"footnote" if self.state.destination == Destination::Text => {
                let number = self.notes.len() + 1;
                sink.text(&format!("[{number}]"))?;
                self.notes.push(String::new());
                Destination::Note
            }
            _ if is_text_within(word) => Destination::Text,
            b"info" => self.state.destination,
            b"colortbl" | b"stylesheet" | b"pict" | b"object" | b"fldinst" | b"themedata" | b"datastore"
            | b"listtable" | b"listoverridetable" | b"revtbl" | b"filetbl" | b"operator" | b"subject" | b"keywords"
            | b"comment" | b"doccomm" | b"company" | b"manager" | b"category" | b"hlinkbase" | b"creatim"
            | b"revtim" | b"printim" | b"buptim" | b"nonshppict" | b"upr" | b"annotation" | b"atnid" | b"atnauthor"
            | b"atnref" | b"xe" | b"tc" | b"rxe" | b"txe" | b"private" | b"template" => Destination::Nothing,
            _ if optional => Destination::Nothing,
            _ => self.state.destination,
        };
        Ok(())
    }

    /// Writes what a group was for, at its end.
    fn leave(&mut self, closed: Destination, sink: &mut TextSink) -> Result<(), Failure> {
        match closed {
            Destination::Title => sink.metadata.set_title(&std::mem::take(&mut self.told)),
            Destination::Author => sink.metadata.set_author(&std::mem::take(&mut self.told)),
            Destination::Mark => {
                let mark = std::mem::take(&mut self.mark);
                // Bullets are pictures in fonts of symbols.
                let is_bullet = |c: char| matches!(c, '\u{f000}'..='\u{f0ff}' | '•' | '·' | '○' | '▪' | '◦');
                match mark.trim() {
                    "" => {}
                    bullet if bullet.chars().all(is_bullet) => self.write("- ", sink)?,
                    number => self.write(&format!("{number} "), sink)?,
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn is_read(&self) -> bool {
        !self.state.is_hidden && !self.state.is_deleted && self.state.destination != Destination::Nothing
    }

    /// A character by its number, after which its stand-ins are left out.
    fn numbered(&mut self, number: i32, sink: &mut TextSink) -> Result<(), Failure> {
        self.skipped = self.state.stand_ins;
        // Written as a signed number of 16 bits, and by some as one without a sign.
        let Ok(unit) = u16::try_from(number).or_else(|_| i16::try_from(number).map(i16::cast_unsigned)) else {
            return Ok(());
        };
        if (0xd800..0xdc00).contains(&unit) {
            self.half = Some(unit);
            return Ok(());
        }
        let units = self.half.take().into_iter().chain([unit]);
        let text: String = char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
        self.write(&text, sink)
    }

    /// Decodes and writes the bytes at hand.
    fn flush(&mut self, sink: &mut TextSink) -> Result<(), Failure> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.bytes);
        let (text, _) = self.state.encoding.decode_without_bom_handling(&bytes);
        self.write_decoded(&text, sink)?;
        self.bytes = bytes;
        self.bytes.clear();
        Ok(())
    }

    fn write(&mut self, text: &str, sink: &mut TextSink) -> Result<(), Failure> {
        self.flush(sink)?;
        self.write_decoded(text, sink)
    }

    fn write_decoded(&mut self, text: &str, sink: &mut TextSink) -> Result<(), Failure> {
        if !self.is_read() {
            return Ok(());
        }
        match self.state.destination {
            Destination::Text => sink.text(text)?,
            Destination::Note => self.notes.last_mut().into_iter().for_each(|note| note.push_str(text)),
            Destination::Title | Destination::Author => self.told.push_str(text),
            Destination::Mark => self.mark.push_str(text),
            Destination::Fonts | Destination::Nothing => {}
        }
        Ok(())
    }
}

/// Groups of text within one that is not read: in a drawing, or in what stands for an embedded object.
fn is_text_within(word: &[u8]) -> bool {
    matches!(word, b"shptxt" | b"result" | b"fldrslt" | b"ud")
}

/// Words that are characters.
fn character(word: &[u8]) -> Option<&'static str> {
    Some(match word {
        b"par" => "\n\n",
        b"line" | b"row" | b"lbr" => "\n",
        b"tab" | b"cell" | b"nestcell" => "\t",
        b"nestrow" => " ",
        b"emdash" => "—",
        b"endash" => "–",
        b"emspace" | b"enspace" | b"qmspace" => " ",
        b"bullet" => "•",
        b"lquote" => "‘",
        b"rquote" => "’",
        b"ldblquote" => "“",
        b"rdblquote" => "”",
        _ => return None,
    })
}
