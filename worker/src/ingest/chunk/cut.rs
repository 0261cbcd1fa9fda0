//! Cuts what does not fit into one piece, at the best bound in reach.
//!
//! A piece ends, in this order of preference, between paragraphs, behind a sentence, at a line end, between words, and
//! only else inside a word (never inside a grapheme). Bounds are looked for in the second half of the room, so pieces are
//! neither tiny nor cut worse than need be. What a piece repeats of the one before begins with a sentence, or else with a word, and
//! never reaches into the heading.

use unicode_segmentation::UnicodeSegmentation;

use super::{ChunkSizes, skip_blanks, trim_end};

/// Cuts `text`, whose first `lead` characters are headings and whose ends are visible.
pub(super) fn cut(text: &[char], lead: usize, sizes: ChunkSizes, mut emit: impl FnMut(usize, usize)) {
    // A heading that leaves little room is cut like text.
    let (mut start, mut kept) = (0, if lead * 3 <= sizes.max { lead } else { 0 });
    while start < text.len() {
        let cut = start + find_cut(&text[start..], kept, sizes.max);
        emit(start, trim_end(text, start, cut));
        let next = skip_blanks(text, cut);
        if next == text.len() {
            break;
        }
        let earliest = next.saturating_sub(sizes.overlap).max(start + 1).max(lead);
        start = overlap_start(text, earliest, next);
        kept = next - start;
    }
}

/// Where a piece begins that may repeat what stands from `earliest` to `next`.
fn overlap_start(text: &[char], earliest: usize, next: usize) -> usize {
    let first = |is_start: fn(&[char], usize) -> bool| (earliest..next).find(|&at| is_start(text, at));
    first(starts_sentence).or_else(|| first(starts_word)).unwrap_or(next)
}

fn starts_sentence(text: &[char], at: usize) -> bool {
    if at == 0 || text[at].is_whitespace() {
        return false;
    }
    let blanks = text[..at].iter().rev().take_while(|c| c.is_whitespace()).count();
    text[at - blanks..at].contains(&'\n') || ends_sentence(text, at - blanks)
}

fn starts_word(text: &[char], at: usize) -> bool {
    at > 0 && text[at - 1].is_whitespace() && !text[at].is_whitespace()
}

/// How many characters of `rest` (which starts with a visible one) the next piece takes: more than the first `kept`, which alone are none.
fn find_cut(rest: &[char], kept: usize, max_chars: usize) -> usize {
    if rest.len() <= max_chars {
        return rest.len();
    }
    // Where one piece would leave a scrap, two of a similar size are better.
    let most = if rest.len() < max_chars + max_chars / 4 { rest.len() * 5 / 8 } else { max_chars };
    let least = (kept + (most - kept) / 2).max(kept + 1);
    let last = |is_bound: fn(&[char], usize) -> bool| (least..=most).rev().find(|&at| is_bound(rest, at));
    last(ends_paragraph)
        .or_else(|| last(ends_sentence))
        .or_else(|| last(|text, at| text[at] == '\n'))
        .or_else(|| last(ends_word))
        .or_else(|| Some(grapheme_bound(rest, most)).filter(|&at| at > kept))
        .unwrap_or(most)
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
