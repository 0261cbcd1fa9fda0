//! Pieces of texts with structure of every kind.

use proptest::prelude::*;

use super::*;
use crate::ingest::sink::{Collected, TextSink};

fn pieces(text: &str, max_chars: usize) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let page = Page { number: 1, start: 0, end: chars.len() as u32 };
    chunk(text, &[page], &[], ChunkSizes::new(max_chars, 0))
        .iter()
        .map(|range| chars[range.start as usize..range.end as usize].iter().collect())
        .collect()
}

#[test]
fn paragraphs_are_preferred_to_sentences() {
    let paragraph = "The wheel turns. The stones grind.";
    let text = [paragraph; 6].join("\n\n");
    for piece in pieces(&text, 120) {
        assert!(piece.starts_with("The wheel") && piece.ends_with("grind."), "{piece}");
    }
}

#[test]
fn sentences_are_preferred_to_words() {
    let text = "The sluice is opened at dawn, and closed at dusk. ".repeat(8);
    for piece in pieces(&text, 130) {
        assert!(piece.starts_with("The") && piece.ends_with("dusk."), "{piece}");
    }
}

#[test]
fn japanese_sentences_need_no_blanks() {
    let text = "水車は朝から回る。石臼が粉をひく。".repeat(20);
    for piece in pieces(&text, 100) {
        assert!(piece.ends_with('。'), "{piece}");
    }
}

#[test]
fn a_text_without_any_bound_is_cut_between_graphemes() {
    let text = "e\u{301}".repeat(300);
    let pieces = pieces(&text, 101);
    assert!(pieces.len() > 4);
    for piece in pieces {
        assert!(piece.starts_with('e') && piece.ends_with('\u{301}'), "{piece}");
    }
}

#[test]
fn a_scrap_is_shared_out() {
    let text = "word ".repeat(210);
    let lengths: Vec<usize> = pieces(&text, 1_000).iter().map(|piece| piece.chars().count()).collect();
    assert_eq!(lengths.len(), 2);
    assert!(lengths.iter().all(|&length| length > 300), "{lengths:?}");
}

/// A Markdown-like text: lines that begin with `#` are headings, a form feed ends a page.
fn collected(source: &str) -> Collected {
    let mut sink = TextSink::new(1_000_000, 10_000);
    for line in source.split('\n') {
        let level = line.chars().take_while(|c| *c == '#').count() as u8;
        match line {
            "\u{c}" => sink.page_break().unwrap(),
            "~" => sink.end_sections(),
            _ if level > 0 => {
                sink.paragraph_break();
                sink.begin_heading(level);
                sink.text(line.trim_start_matches('#')).unwrap();
                sink.end_heading();
                sink.paragraph_break();
            }
            _ => sink.text(&format!("{line}\n")).unwrap(),
        }
    }
    sink.finish().unwrap()
}

/// The first words of every piece, and its path by the first words of its headings.
fn outlined(source: &str, max_chars: usize) -> Vec<(String, String)> {
    let collected = collected(source);
    let chars: Vec<char> = collected.text.chars().collect();
    let slice = |start: u32, end: u32| chars[start as usize..end as usize].iter().collect::<String>();
    let open = open_marks(&collected.marks);
    chunk(&collected.text, &collected.pages, &collected.marks, ChunkSizes::new(max_chars, 0))
        .iter()
        .map(|range| {
            let path = open[range.section as usize][..usize::from(range.depth)].iter();
            let path = path.map(|&mark| slice(collected.marks[mark].start, collected.marks[mark].end));
            let text = slice(range.start, range.end);
            (text.split_whitespace().next().unwrap().to_owned(), path.collect::<Vec<_>>().join(">"))
        })
        .collect()
}

fn paths_of(pieces: &[(String, String)]) -> Vec<(&str, &str)> {
    pieces.iter().map(|(text, path)| (text.as_str(), path.as_str())).collect()
}

/// The marks that are open after each number of marks.
fn open_marks(marks: &[Mark]) -> Vec<Vec<usize>> {
    let mut open: Vec<usize> = Vec::new();
    let mut all = vec![open.clone()];
    for (index, mark) in marks.iter().enumerate() {
        open.retain(|&outer| marks[outer].level < mark.level);
        if mark.level > 0 {
            open.push(index);
        }
        all.push(open.clone());
    }
    all
}

#[test]
fn a_heading_begins_a_piece_and_stays_with_what_follows() {
    let body = "The wheel turns, and the stones grind. ".repeat(2);
    let source = format!("before {body}\n# Guide\n## Install\n{body}\n## Use\n{body}{body}{body}\n# End\n{body}");
    assert_eq!(
        paths_of(&outlined(&source, 130)),
        [("before", ""), ("Guide", "Guide>Install"), ("Use", "Guide>Use"), ("The", "Guide>Use"), ("End", "End")]
    );
}

#[test]
fn small_neighbours_under_one_parent_share_a_piece() {
    let source = "# Rules\n## One\nShort.\n## Two\nShort.\n### Deeper\nShort.\n# Other\n## One\nShort.";
    assert_eq!(paths_of(&outlined(source, 400)), [("Rules", "Rules"), ("Other", "Other>One")]);
    let long = format!("# Rules\n## One\nShort.\n## Two\n{}\n## Three\nShort.", "Long words. ".repeat(20));
    assert_eq!(
        paths_of(&outlined(&long, 400)),
        [("Rules", "Rules>One"), ("Two", "Rules>Two"), ("Three", "Rules>Three")]
    );
}

#[test]
fn a_heading_without_text_is_no_piece_where_a_neighbour_has_room() {
    let long = "Long words. ".repeat(20);
    let source = format!("# Rules\n## One\n{long}\n## Empty\n\u{c}\n{long}\n# Empty too\n# Two\n{long}");
    assert_eq!(paths_of(&outlined(&source, 400)), [("Rules", "Rules>One"), ("Long", "Rules>Empty"), ("Empty", "Two")]);
}

#[test]
fn sections_go_on_where_pages_end_until_all_end() {
    let source = "# One\ntext\n\u{c}\nmore\n~\nnote";
    assert_eq!(paths_of(&outlined(source, 400)), [("One", "One"), ("more", "One"), ("note", "")]);
}

#[test]
fn a_piece_repeats_the_sentences_at_the_end_of_the_one_before() {
    let text: String = (10..60).map(|number| format!("Sentence {number} is here. ")).collect();
    let page = Page { number: 1, start: 0, end: text.chars().count() as u32 };
    let ranges = chunk(&text, &[page], &[], ChunkSizes::new(200, 60));
    assert!(ranges.len() > 5);
    for pair in ranges.windows(2) {
        let repeated = &text[pair[1].start as usize..pair[0].end as usize];
        assert!(repeated.starts_with("Sentence ") && repeated.ends_with("is here."), "{repeated:?}");
        assert_eq!(repeated.matches("Sentence").count(), 2, "as many sentences as fit: {repeated:?}");
    }
}

/// What a format may do to the sink.
#[derive(Debug, Clone)]
enum Step {
    Text(String),
    Heading(u8, String),
    Bookmark(u8),
    EndSections,
    Page,
}

fn any_words() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-zäöü]{1,12}",
        "[а-я]{1,9}",
        "[水車石臼粉]{1,30}",
        "[\u{5d0}-\u{5ea}]{1,8}",
        Just(". ".to_owned()),
        Just("。".to_owned()),
        Just("\n".to_owned()),
        Just("\u{3000}".to_owned()),
        Just("\n\n".to_owned()),
        Just("\t".to_owned()),
        Just(" ".to_owned()),
        Just("e\u{301}".to_owned()),
        Just("👩‍🌾".to_owned()),
        Just("x".repeat(130)),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => any_words().prop_map(Step::Text),
        5 => (1_u8..4, "\u{3000}?[A-Z][a-z]{0,9}( [a-z]{1,30}){0,4}").prop_map(|(level, title)| Step::Heading(level, title)),
        1 => (1_u8..4).prop_map(Step::Bookmark),
        1 => Just(Step::EndSections),
        1 => Just(Step::Page),
    ];
    prop::collection::vec(step, 0..24)
}

fn written(steps: &[Step]) -> Collected {
    let mut sink = TextSink::new(1_000_000, 10_000);
    for step in steps {
        match step {
            Step::Text(text) => sink.text(text).unwrap(),
            Step::Heading(level, title) => {
                sink.paragraph_break();
                sink.begin_heading(*level);
                sink.text(title).unwrap();
                sink.end_heading();
                sink.paragraph_break();
            }
            Step::Bookmark(level) => sink.bookmark(*level, "bookmark"),
            Step::EndSections => sink.end_sections(),
            Step::Page => sink.page_break().unwrap(),
        }
    }
    sink.finish().unwrap()
}

/// What is known of a text without its pieces.
struct Known {
    chars: Vec<char>,
    marks: Vec<Mark>,
    open: Vec<Vec<usize>>,
}

impl Known {
    fn new(collected: &Collected) -> Self {
        let (chars, marks) = (collected.text.chars().collect(), collected.marks.clone());
        Self { chars, open: open_marks(&marks), marks }
    }

    fn is_blank(&self, from: usize, to: usize) -> bool {
        self.chars[from..to].iter().all(|c| c.is_whitespace())
    }

    fn is_heading(&self, at: usize) -> bool {
        self.marks.iter().any(|mark| mark.start as usize <= at && at < mark.end as usize)
    }

    /// How many marks have come at `at`.
    fn section(&self, at: usize) -> usize {
        self.marks.iter().filter(|mark| mark.start as usize <= at).count()
    }

    /// Places of the range that are neither blank nor of a heading.
    fn body(&self, range: ChunkRange) -> Vec<usize> {
        let places = range.start as usize..range.end as usize;
        places.filter(|&at| !self.chars[at].is_whitespace() && !self.is_heading(at)).collect()
    }

    fn check_path(&self, range: ChunkRange) -> Result<(), TestCaseError> {
        let told = &self.open[range.section as usize][..usize::from(range.depth)];
        let mut sections: Vec<usize> = self.body(range).iter().map(|&at| self.section(at)).collect();
        sections.dedup();
        // A piece of headings alone has nothing that stands under them.
        let Some(&first) = sections.first() else { return Ok(()) };
        let first = &self.open[first];
        let shared = |other: &Vec<usize>| first.iter().zip(other).take_while(|(one, other)| one == other).count();
        let depth = sections.iter().map(|&section| shared(&self.open[section])).min().unwrap();
        prop_assert_eq!(told, &first[..depth], "the path is not what all of {:?} stands under", range);
        Ok(())
    }

    /// Several sections with text are all small ones; a heading without any has nothing to lead.
    fn check_sections(
        &self,
        range: ChunkRange,
        next: Option<&ChunkRange>,
        max_chars: usize,
    ) -> Result<(), TestCaseError> {
        let body = self.body(range);
        let mut sections: Vec<usize> = body.iter().map(|&at| self.section(at)).collect();
        sections.dedup();
        for section in sections.iter().filter(|_| sections.len() > 1) {
            let visible = body.iter().filter(|&&at| self.section(at) == *section).count();
            prop_assert!(visible < max_chars / 4, "a section of {} shares {:?}", visible, range);
        }
        let inside = |mark: &&Mark| range.start <= mark.start && mark.start < range.end;
        let is_short = (range.end - range.start) as usize * 4 <= max_chars;
        if let Some(next) = next.filter(|next| body.is_empty() && is_short && next.page == range.page) {
            let deepest = self.marks.iter().filter(inside).map(|mark| mark.level).max();
            let follows = self.marks.iter().filter(|mark| mark.start == next.start).map(|mark| mark.level).min();
            prop_assert!(follows <= deepest, "{:?} is only the heading of {:?}", range, next);
        }
        Ok(())
    }

    fn check_overlap(&self, before: ChunkRange, range: ChunkRange, overlap: usize) -> Result<(), TestCaseError> {
        prop_assert!(before.start < range.start && before.end < range.end, "no progress");
        let (start, end) = (range.start as usize, before.end as usize);
        if start >= end {
            return Ok(());
        }
        prop_assert!(end - start <= overlap, "repeats too much");
        prop_assert_eq!((before.page, before.section, before.depth), (range.page, range.section, range.depth));
        prop_assert_eq!(self.section(start), self.section(end - 1), "repeats across a heading");
        prop_assert!(!(start..end).any(|at| self.is_heading(at)), "repeats a heading");
        let behind = self.chars[start - 1];
        prop_assert!(behind.is_whitespace() || behind == '。', "begins within a word");
        Ok(())
    }
}

proptest! {
    #[test]
    fn pieces_are_the_text_and_follow_its_structure(
        steps in any_steps(),
        max_chars in 100_usize..700,
        overlap in prop_oneof![Just(0_usize), 0_usize..350],
    ) {
        let collected = written(&steps);
        let known = Known::new(&collected);
        let sizes = ChunkSizes::new(max_chars, overlap);
        let ranges = chunk(&collected.text, &collected.pages, &collected.marks, sizes);
        prop_assert_eq!(&ranges, &chunk(&collected.text, &collected.pages, &collected.marks, sizes));
        let (mut covered_to, mut length) = (0, 0);
        for (index, &range) in ranges.iter().enumerate() {
            let (start, end) = (range.start as usize, range.end as usize);
            let page = collected.pages[range.page as usize - 1];
            prop_assert!(page.start <= range.start && range.end <= page.end, "crosses a page");
            prop_assert!(start < end && end - start <= max_chars, "empty or too long");
            prop_assert!(!known.is_blank(start, start + 1) && !known.is_blank(end - 1, end), "blank at an edge");
            prop_assert!(known.is_blank(covered_to, start.max(covered_to)), "text left out");
            known.check_path(range)?;
            known.check_sections(range, ranges.get(index + 1), max_chars)?;
            if index > 0 {
                known.check_overlap(ranges[index - 1], range, overlap)?;
            }
            (covered_to, length) = (end, length + end - start);
        }
        prop_assert!(known.is_blank(covered_to, known.chars.len()), "text left out at the end");
        prop_assert!(length <= 4 * known.chars.len(), "what the parent bounds");
    }
}
