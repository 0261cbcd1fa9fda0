//! Plain text, and decoding for every format that is text.
//!
//! A byte order mark decides; else valid UTF-8 is UTF-8; else the encoding is guessed from the whole text and the guess
//! is told as a warning. A form feed ends a page, as printers and RFCs have it.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, UTF_8};
use millrace_shared::media::{TextEncoding, sniff_encoding};

use super::Input;
use crate::ingest::document::WarningCode;
use crate::ingest::limits::IngestLimits;
use crate::ingest::sink::TextSink;
use crate::ingest::wire::Failure;

pub(super) fn extract(input: &Input, limits: &IngestLimits, sink: &mut TextSink) -> Result<(), Failure> {
    let text = read(input, limits, sink, |_| None)?;
    for (index, page) in without_escapes(&text).split('\u{c}').enumerate() {
        if index > 0 {
            sink.page_break()?;
        }
        sink.text(page)?;
    }
    Ok(())
}

/// Reads and decodes a text file. `declared` may name the encoding that the bytes themselves state (HTML's `meta`),
/// which counts less than a byte order mark and more than a guess.
pub(super) fn read(
    input: &Input,
    limits: &IngestLimits,
    sink: &mut TextSink,
    declared: fn(&[u8]) -> Option<&'static Encoding>,
) -> Result<String, Failure> {
    // No encoding has more than four bytes a character; markup may be several times its text.
    let bytes = input.read_text_bytes((limits.max_text_chars as u64).saturating_mul(8))?;
    let (encoding, body) = match sniff_encoding(&bytes) {
        Some(TextEncoding::Marked { encoding, bom_len }) => (encoding, &bytes[bom_len..]),
        Some(TextEncoding::Utf8) => (UTF_8, &bytes[..]),
        // Control bytes behind the head are dropped later on; they are no reason to refuse the rest.
        Some(TextEncoding::Legacy) | None => (guess(&bytes, declared(&bytes), sink), &bytes[..]),
    };
    let (text, replaced) = encoding.decode_without_bom_handling(body);
    if replaced {
        sink.warn(
            WarningCode::CharactersReplaced,
            None,
            format!("some bytes are not valid {} and were replaced", encoding.name()),
        );
    }
    Ok(text.into_owned())
}

pub(super) fn guess(bytes: &[u8], declared: Option<&'static Encoding>, sink: &mut TextSink) -> &'static Encoding {
    if let Some(encoding) = declared {
        return encoding;
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
    detector.feed(bytes, true);
    let encoding = detector.guess(None, Utf8Detection::Allow);
    sink.warn(
        WarningCode::EncodingGuessed,
        None,
        format!("the file does not tell its encoding; it was read as {}", encoding.name()),
    );
    encoding
}

/// Drops terminal colour sequences (ECMA-48 `ESC [ … final`), which logs are full of.
fn without_escapes(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\u{1b}[") {
        kept.push_str(&rest[..at]);
        let sequence = &rest[at + 2..];
        let end = sequence.find(|c: char| ('@'..='~').contains(&c));
        rest = end.map_or("", |end| &sequence[end + 1..]);
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_sequences_are_dropped() {
        assert_eq!(without_escapes("\u{1b}[31mred\u{1b}[0m and plain"), "red and plain");
        assert_eq!(without_escapes("cut \u{1b}[31"), "cut ");
    }
}
