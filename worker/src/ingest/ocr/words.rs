//! What tesseract says of a page, as paragraphs and lines.
//!
//! Its table has a line for each word (level 5): the numbers of block, paragraph and line, how sure it is in percent, and the word.

use crate::ingest::{
    hyphens::{joins, without_hyphen},
    sink::TextSink,
    wire::Failure,
};

/// Lines that it is less sure of, in percent, are rules, specks and pictures.
const LEAST_SURE: f64 = 30.0;

/// How sure tesseract is of some text: the sum over its characters, and their number.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Sure {
    sum: f64,
    chars: f64,
}

impl Sure {
    fn add(&mut self, percent: f64, chars: usize) {
        self.sum += percent * chars as f64;
        self.chars += chars as f64;
    }

    pub fn join(&mut self, other: Self) {
        self.sum += other.sum;
        self.chars += other.chars;
    }

    /// The mean; `None` of no text.
    pub fn percent(self) -> Option<f64> {
        (self.chars > 0.0).then(|| self.sum / self.chars)
    }
}

#[derive(Debug, PartialEq)]
struct Line {
    /// Block and paragraph.
    paragraph: [u32; 2],
    number: u32,
    text: String,
    sure: Sure,
}

/// Writes a page's text, and tells how sure it is; `None` where it has no words.
pub(super) fn write(said: &str, sink: &mut TextSink) -> Result<Option<Sure>, Failure> {
    let lines: Vec<Line> = lines(said)
        .into_iter()
        .filter(|line| line.sure.percent().is_some_and(|percent| percent >= LEAST_SURE))
        .collect();
    // A page of dots and dashes has been recognised as nothing.
    if !lines.iter().any(|line| line.text.chars().any(char::is_alphanumeric)) {
        return Ok(None);
    }
    let mut sure = Sure::default();
    for (index, line) in lines.iter().enumerate() {
        let next = lines.get(index + 1).filter(|next| next.paragraph == line.paragraph);
        let goes_on = next.is_some_and(|next| joins(&line.text, &next.text));
        sink.text(if goes_on { without_hyphen(&line.text) } else { &line.text })?;
        match next {
            Some(_) if goes_on => {}
            Some(_) => sink.line_break(),
            None => sink.paragraph_break(),
        }
        sure.join(line.sure);
    }
    Ok(Some(sure))
}

fn lines(said: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for (paragraph, number, percent, word) in said.lines().filter_map(word) {
        let is_new = lines.last().is_none_or(|line| (line.paragraph, line.number) != (paragraph, number));
        if is_new {
            lines.push(Line { paragraph, number, text: String::new(), sure: Sure::default() });
        }
        let Some(line) = lines.last_mut() else { continue };
        let is_parted = line.text.chars().next_back().zip(word.chars().next());
        if is_parted.is_some_and(|(before, after)| !is_written_without_blanks(before, after)) {
            line.text.push(' ');
        }
        line.text.push_str(word);
        line.sure.add(percent, word.chars().count());
    }
    lines
}

fn word(row: &str) -> Option<([u32; 2], u32, f64, &str)> {
    let fields: Vec<&str> = row.splitn(12, '\t').collect();
    let [level, _, block, paragraph, line, _, _, _, _, _, percent, word] = fields[..] else { return None };
    let word = word.trim();
    let percent: f64 = percent.parse().ok().filter(|percent: &f64| percent.is_finite())?;
    let is_word = level == "5" && !word.is_empty();
    is_word.then_some((
        [block.parse().ok()?, paragraph.parse().ok()?],
        line.parse().ok()?,
        percent.clamp(0.0, 100.0),
        word,
    ))
}

/// Chinese and Japanese, of which tesseract gives each word or character, do not part words.
fn is_written_without_blanks(before: char, after: char) -> bool {
    let is_without = |c: char| {
        matches!(c, '\u{2e80}'..='\u{30ff}' | '\u{31f0}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
            | '\u{ff00}'..='\u{ffef}' | '\u{20000}'..='\u{3ffff}')
    };
    is_without(before) && is_without(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words with their block, paragraph, line and percent.
    fn table(words: &[(u32, u32, u32, f64, &str)]) -> String {
        let header = "level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext\n";
        let rows = words.iter().map(|(block, paragraph, line, percent, word)| {
            format!("5\t1\t{block}\t{paragraph}\t{line}\t1\t0\t0\t9\t9\t{percent}\t{word}\n")
        });
        rows.fold(format!("{header}1\t1\t0\t0\t0\t0\t0\t0\t99\t99\t-1\t\n"), |table, row| table + &row)
    }

    fn read(words: &[(u32, u32, u32, f64, &str)]) -> (String, Option<f64>) {
        let mut sink = TextSink::new(1_000, 10);
        let sure = write(&table(words), &mut sink).unwrap();
        (sink.finish().unwrap().text, sure.and_then(Sure::percent))
    }

    #[test]
    fn lines_and_paragraphs_are_those_of_the_layout() {
        let words = [
            (1, 1, 1, 90.0, "The"),
            (1, 1, 1, 90.0, "water-"),
            (1, 1, 2, 90.0, "wheel"),
            (1, 1, 3, 90.0, "turns."),
            (1, 2, 1, 90.0, "Next"),
            (2, 1, 1, 90.0, "Column"),
        ];
        assert_eq!(read(&words).0, "The waterwheel\nturns.\n\nNext\n\nColumn");
    }

    #[test]
    fn confidence_is_the_mean_over_the_characters() {
        assert_eq!(read(&[(1, 1, 1, 100.0, "abc"), (1, 1, 1, 60.0, "d")]).1, Some(90.0));
    }

    #[test]
    fn specks_and_rules_are_no_words() {
        assert_eq!(read(&[(1, 1, 1, 95.0, "|"), (1, 2, 1, 95.0, "—")]), (String::new(), None));
        assert_eq!(read(&[(1, 1, 1, 12.0, "Ee"), (1, 2, 1, 95.0, "word")]), ("word".to_owned(), Some(95.0)));
    }

    #[test]
    fn chinese_and_japanese_have_no_blanks_and_korean_has() {
        assert_eq!(read(&[(1, 1, 1, 90.0, "水"), (1, 1, 1, 90.0, "車"), (1, 1, 1, 90.0, "A4")]).0, "水車 A4");
        assert_eq!(read(&[(1, 1, 1, 90.0, "물레"), (1, 1, 1, 90.0, "방아")]).0, "물레 방아");
    }

    #[test]
    fn nonsense_is_no_table() {
        let mut sink = TextSink::new(1_000, 10);
        for said in ["", "5\t1\n", "5\t1\t-1\t1\t1\t1\t0\t0\t0\t0\tnan\tword\n", "\u{fffd}\t\t\t\t\t\t\t\t\t\t\t\n"] {
            assert_eq!(write(said, &mut sink).unwrap(), None);
        }
    }
}
