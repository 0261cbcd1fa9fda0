//! Cuts text into pieces of at most so many characters, at the best bound in reach.
//!
//! A piece ends, in this order of preference, between paragraphs, behind a sentence, at a line end, between words, and
//! only else inside a word (never inside a grapheme). Bounds are looked for in the second half of the room, so pieces are
//! neither tiny nor cut worse than need be. No piece crosses a page, starts or ends with a blank, or is empty. The same
//! text gives the same pieces.

use unicode_segmentation::UnicodeSegmentation;

use super::document::Page;
use super::wire::ChunkRange;

/// Below this a chunk holds hardly a sentence, and the search for bounds has no room.
const LEAST_CHARS: usize = 100;

pub(super) fn chunk(text: &str, pages: &[Page], max_chars: usize) -> Vec<ChunkRange> {
    let max_chars = max_chars.max(LEAST_CHARS);
    let mut chunks = Vec::new();
    let mut chars = text.chars();
    let mut at = 0;
    for page in pages {
        let skipped = (page.start - at) as usize;
        let length = (page.end - page.start) as usize;
        let page_chars: Vec<char> = chars.by_ref().skip(skipped).take(length).collect();
        at = page.end;
        cut_page(&page_chars, max_chars, |start, end| {
            chunks.push(ChunkRange {
                page: page.number,
                start: page.start + start as u32,
                end: page.start + end as u32,
            });
        });
    }
    chunks
}

fn cut_page(page: &[char], max_chars: usize, mut emit: impl FnMut(usize, usize)) {
    let mut start = skip_blanks(page, 0);
    while start < page.len() {
        let cut = find_cut(&page[start..], max_chars);
        let end = trim_end(page, start, start + cut);
        emit(start, end);
        start = skip_blanks(page, start + cut);
    }
}

fn skip_blanks(page: &[char], from: usize) -> usize {
    let blanks = page[from..].iter().take_while(|c| c.is_whitespace()).count();
    from + blanks
}

fn trim_end(page: &[char], start: usize, end: usize) -> usize {
    let blanks = page[start..end].iter().rev().take_while(|c| c.is_whitespace()).count();
    end - blanks
}

/// How many characters of `rest` (which starts with a visible one) the next piece takes, at least one.
fn find_cut(rest: &[char], max_chars: usize) -> usize {
    if rest.len() <= max_chars {
        return rest.len();
    }
    // Where one piece would leave a scrap, two of a similar size are better.
    let most = if rest.len() < max_chars + max_chars / 4 { rest.len() * 5 / 8 } else { max_chars };
    let least = most / 2;
    let last = |is_bound: fn(&[char], usize) -> bool| (least.max(1)..=most).rev().find(|&at| is_bound(rest, at));
    last(ends_paragraph)
        .or_else(|| last(ends_sentence))
        .or_else(|| last(|text, at| text[at] == '\n'))
        .or_else(|| last(ends_word))
        .unwrap_or_else(|| grapheme_bound(rest, most))
}

fn ends_paragraph(text: &[char], at: usize) -> bool {
    text[at] == '\n' && text.get(at + 1) == Some(&'\n')
}

/// Behind `.`, `!`, `?`, `…` (and closing quotes) before a blank, or behind an East Asian full stop.
fn ends_sentence(text: &[char], at: usize) -> bool {
    let closers = text[..at].iter().rev().take(3).take_while(|c| is_closer(**c)).count();
    let Some(&terminator) = at.checked_sub(closers + 1).and_then(|place| text.get(place)) else {
        return false;
    };
    match terminator {
        '。' | '！' | '？' | '｡' => !is_closer(text[at]),
        '.' | '!' | '?' | '…' | '؟' | '۔' | '।' | '։' => text[at].is_whitespace(),
        _ => false,
    }
}

fn is_closer(c: char) -> bool {
    matches!(c, '"' | '\'' | ')' | ']' | '»' | '«' | '”' | '“' | '’' | '」' | '』' | '）' | '】')
}

fn ends_word(text: &[char], at: usize) -> bool {
    text[at].is_whitespace() || matches!(text[at - 1], '、' | '，' | '；' | '：')
}

/// The last bound between graphemes at or before `most`; `most` itself where a single grapheme is longer than the window.
fn grapheme_bound(text: &[char], most: usize) -> usize {
    const WINDOW: usize = 64;
    let from = most.saturating_sub(WINDOW);
    let window: String = text[from..text.len().min(most + 16)].iter().collect();
    let mut bound = from;
    let mut best = most;
    for grapheme in window.graphemes(true) {
        if bound > from.max(1) && bound <= most {
            best = bound;
        }
        bound += grapheme.chars().count();
        if bound > most {
            break;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ingest::sink::TextSink;

    fn pieces(text: &str, max_chars: usize) -> Vec<String> {
        let chars: Vec<char> = text.chars().collect();
        let page = Page { number: 1, start: 0, end: chars.len() as u32 };
        chunk(text, &[page], max_chars)
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

    /// Text with bounds of every kind, in several scripts.
    fn any_text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            "[a-zäöü]{1,12}",
            "[а-я]{1,9}",
            "[水車石臼粉]{1,30}",
            "[\u{5d0}-\u{5ea}]{1,8}",
            Just(". ".to_owned()),
            Just("。".to_owned()),
            Just("\n".to_owned()),
            Just("\n\n".to_owned()),
            Just("\t".to_owned()),
            Just(" ".to_owned()),
            Just("e\u{301}".to_owned()),
            Just("👩‍🌾".to_owned()),
            Just("x".repeat(130)),
            Just("\u{c}".to_owned()),
        ];
        prop::collection::vec(piece, 0..200).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn chunks_cover_the_text_once_and_keep_their_bounds(text in any_text(), max_chars in 100_usize..1_200) {
            let mut sink = TextSink::new(1_000_000, 10_000);
            for (index, page) in text.split('\u{c}').enumerate() {
                if index > 0 {
                    sink.page_break().unwrap();
                }
                sink.text(page).unwrap();
            }
            let collected = sink.finish().unwrap();
            let chars: Vec<char> = collected.text.chars().collect();
            let ranges = chunk(&collected.text, &collected.pages, max_chars);
            prop_assert_eq!(&ranges, &chunk(&collected.text, &collected.pages, max_chars));
            let mut covered_to = 0;
            for range in &ranges {
                let (start, end) = (range.start as usize, range.end as usize);
                let page = collected.pages[range.page as usize - 1];
                prop_assert!(page.start <= range.start && range.end <= page.end, "crosses a page");
                prop_assert!(start < end && end - start <= max_chars, "empty or too long");
                prop_assert!(!chars[start].is_whitespace() && !chars[end - 1].is_whitespace());
                prop_assert!(chars[covered_to..start].iter().all(|c| c.is_whitespace()), "text left out");
                covered_to = end;
            }
            prop_assert!(chars[covered_to..].iter().all(|c| c.is_whitespace()), "text left out at the end");
        }
    }
}
