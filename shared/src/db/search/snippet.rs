//! The piece of a chunk that shows why it was found.
//!
//! Postgres knows which words of a text a query means, stems and all; it says so by U+0001 before and U+0002 after each of them (migration 0008
//! takes these characters out of what it is given, and parts characters by U+0003). Its answer is used for these places alone: what is shown are
//! slices of the chunk as it is stored, so that nothing can be injected and offsets hold.

/// About how many characters are shown.
const ROOM: usize = 240;
/// How far a cut moves to reach a bound between words.
const REACH: usize = 24;

/// A piece of a document's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snippet {
    /// Offset of its first character in the document's text.
    pub start_char: i32,
    /// Offset after its last character.
    pub end_char: i32,
    /// The piece, cut where highlighting begins and ends; together it is the text between the offsets.
    pub fragments: Vec<Fragment>,
}

/// A part of a snippet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// The text as it is in the document.
    pub text: String,
    /// Whether it is what was searched for.
    pub highlight: bool,
}

impl Snippet {
    /// Of a chunk that begins at `start_char`, as it is stored and as `ts_headline` gave it.
    pub(super) fn of(text: &str, highlighted: &str, start_char: i32) -> Self {
        let text: Vec<char> = text.chars().collect();
        let places = places(highlighted, text.len());
        let (from, to) = window(&text, &places);
        let mut fragments = Vec::new();
        let mut push = |from: usize, to: usize, highlight| {
            if from < to {
                fragments.push(Fragment { text: text[from..to].iter().collect(), highlight });
            }
        };
        let mut at = from;
        for &(begin, end) in places.iter().filter(|(begin, end)| *begin < to && *end > from) {
            push(at, begin.max(at), false);
            push(begin.max(at), end.min(to), true);
            at = end.min(to);
        }
        push(at, to, false);
        let offset = |at: usize| start_char.saturating_add(i32::try_from(at).unwrap_or(i32::MAX));
        Self { start_char: offset(from), end_char: offset(to), fragments }
    }
}

/// The highlighted ranges; none where Postgres' answer is not the text that it was asked about.
fn places(highlighted: &str, length: usize) -> Vec<(usize, usize)> {
    let (mut places, mut begin, mut at) = (Vec::<(usize, usize)>::new(), 0, 0);
    for character in highlighted.chars() {
        match character {
            '\u{1}' => begin = at,
            '\u{2}' => match places.last_mut() {
                // Characters of a word that has no bounds of its own.
                Some(last) if last.1 == begin => last.1 = at,
                _ => places.push((begin, at)),
            },
            '\u{3}' => {}
            _ => at += 1,
        }
    }
    if at == length { places } else { Vec::new() }
}

/// What is shown: from a little before a highlighted word on, where most of them are in the room.
fn window(text: &[char], places: &[(usize, usize)]) -> (usize, usize) {
    if text.len() <= ROOM + REACH {
        return (0, text.len());
    }
    let seen =
        |first: usize| places[first..].iter().take_while(|place| place.1 <= places[first].0 + ROOM * 3 / 4).count();
    // The first of the best.
    let best = (0..places.len()).rev().max_by_key(|first| seen(*first)).map_or(0, |first| places[first].0);
    let from = best.saturating_sub(ROOM / 4).min(text.len() - ROOM);
    let to = from + ROOM;
    (begin_of_word(text, from, best), end_of_word(text, to))
}

/// Where a word begins at or after `at`, if one does in reach and before `limit`.
fn begin_of_word(text: &[char], at: usize, limit: usize) -> usize {
    let begins = |at: &usize| *at == 0 || text[at - 1].is_whitespace() && !text[*at].is_whitespace();
    (at..=limit.min(at + REACH)).find(begins).unwrap_or(at)
}

/// Where a word ends at or after `at`, if one does in reach.
fn end_of_word(text: &[char], at: usize) -> usize {
    let ends = |at: &usize| *at == text.len() || text[*at].is_whitespace();
    (at..=text.len().min(at + REACH)).find(ends).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(snippet: &Snippet) -> String {
        snippet
            .fragments
            .iter()
            .map(|fragment| if fragment.highlight { format!("[{}]", fragment.text) } else { fragment.text.clone() })
            .collect()
    }

    #[test]
    fn a_short_chunk_is_shown_whole() {
        let snippet = Snippet::of("The <b>mill</b> wheel", "The <b>\u{1}mill\u{2}</b> \u{1}wheel\u{2}", 7);
        assert_eq!(shown(&snippet), "The <b>[mill]</b> [wheel]");
        assert_eq!((snippet.start_char, snippet.end_char), (7, 28));
    }

    #[test]
    fn characters_that_are_words_of_their_own_are_one_highlight() {
        let snippet = Snippet::of("この水車は", "この\u{1}水\u{2}\u{3}\u{1}車\u{2}\u{3}は", 0);
        assert_eq!(shown(&snippet), "この[水車]は");
    }

    #[test]
    fn an_answer_about_another_text_highlights_nothing() {
        assert_eq!(shown(&Snippet::of("The mill", "The old \u{1}mill\u{2}", 0)), "The mill");
    }

    #[test]
    fn a_long_chunk_is_shown_where_most_is_highlighted() {
        let text = format!("mill {} the mill and its wheel turn {}", "x ".repeat(300), "y ".repeat(300));
        let marked = text.replace("mill", "\u{1}mill\u{2}").replace("wheel", "\u{1}wheel\u{2}");
        let snippet = Snippet::of(&text, &marked, 100);
        assert!(shown(&snippet).contains("the [mill] and its [wheel] turn"), "{snippet:?}");
        assert!(snippet.end_char - snippet.start_char <= 300);
    }

    proptest! {
        #[test]
        fn a_snippet_is_a_slice_whatever_the_text(text in "[a-c \u{1}-\u{3}ä水]{0,700}", marked in "[a-c \u{1}-\u{3}ä水]{0,700}", same in any::<bool>()) {
            let marked = if same { text.clone() } else { marked };
            let snippet = Snippet::of(&text, &marked, 0);
            let (from, to) = (snippet.start_char as usize, snippet.end_char as usize);
            let slice: String = text.chars().skip(from).take(to - from).collect();
            prop_assert_eq!(slice, snippet.fragments.iter().map(|fragment| fragment.text.as_str()).collect::<String>());
        }
    }
}
