//! Mail as it is sent (RFC 5322, MIME).

use std::borrow::Cow;

use mail_parser::decoders::{base64::base64_decode, quoted_printable::quoted_printable_decode};
use mail_parser::{Address, Encoding, HeaderName, Message, MessageParser, MessagePart, MimeHeaders as _, PartType};

use super::{Head, write_html};
use crate::ingest::document::WarningCode;
use crate::ingest::formats::{Input, text};
use crate::ingest::limits::IngestLimits;
use crate::ingest::parts::LeftOut;
use crate::ingest::sink::TextSink;
use crate::ingest::wire::Failure;

pub(in crate::ingest::formats) fn extract(
    input: &Input,
    limits: &IngestLimits,
    sink: &mut TextSink,
) -> Result<(), Failure> {
    // Attachments are part of the file, so it may be far longer than its text.
    let bytes = input.read_text_bytes(limits.max_expanded_bytes)?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let message = MessageParser::default().parse(bytes).ok_or_else(|| Failure::malformed("it has no header"))?;
    head_of(&message).write(sink)?;
    if is_encrypted(&message) {
        sink.warn(WarningCode::PartUnreadable, None, "the message is encrypted; only its header was read");
    }
    for &id in body_of(&message) {
        if let Some(part) = message.part(id) {
            sink.paragraph_break();
            write_body(part, bytes, sink)?;
        }
    }
    for &id in &message.attachments {
        // Parts that are in the text are not listed again.
        if let Some(part) = message.part(id).filter(|_| !body_of(&message).contains(&id)) {
            offer(part, bytes, sink)?;
        }
    }
    Ok(())
}

fn head_of(message: &Message<'_>) -> Head {
    let date = message.header_raw(HeaderName::Date).map(str::to_owned);
    let sent = message.date().map(mail_parser::DateTime::to_rfc3339).unwrap_or_default();
    Head {
        from: addresses(message.from().or_else(|| message.sender())),
        to: addresses(message.to()),
        cc: addresses(message.cc()),
        date: date.unwrap_or_else(|| sent.clone()),
        sent,
        subject: message.subject().unwrap_or_default().to_owned(),
    }
}

fn addresses(list: Option<&Address<'_>>) -> String {
    let written = |address: &mail_parser::Addr<'_>| match (address.name(), address.address()) {
        (Some(name), Some(address)) if name != address => format!("{name} <{address}>"),
        (Some(only), _) | (None, Some(only)) => only.to_owned(),
        (None, None) => String::new(),
    };
    let all = list.into_iter().flat_map(Address::iter).map(written).filter(|address| !address.is_empty());
    all.collect::<Vec<_>>().join(", ")
}

/// The parts that are the body: plain text, or HTML where that says nothing.
fn body_of<'a>(message: &'a Message<'_>) -> &'a [u32] {
    let says_something =
        |id: &u32| message.part(*id).and_then(MessagePart::text_contents).is_some_and(|text| !text.trim().is_empty());
    if message.text_body.iter().any(says_something) { &message.text_body } else { &message.html_body }
}

fn write_body(part: &MessagePart<'_>, whole: &[u8], sink: &mut TextSink) -> Result<(), Failure> {
    let (words, is_html) = match &part.body {
        PartType::Text(words) => (words, false),
        PartType::Html(words) => (words, true),
        _ => return Ok(()),
    };
    let guessed = words.contains(char::REPLACEMENT_CHARACTER).then(|| guess(part, whole, sink)).flatten();
    let words = guessed.as_deref().unwrap_or(words);
    if words.contains(char::REPLACEMENT_CHARACTER) {
        sink.warn(
            WarningCode::CharactersReplaced,
            None,
            "some bytes of the body are not what it says and were replaced",
        );
    }
    if is_html {
        return write_html(words, sink);
    }
    let content_type = part.content_type();
    let attribute = |name: &str| content_type.and_then(|content_type| content_type.attribute(name));
    if attribute("format").is_some_and(|format| format.eq_ignore_ascii_case("flowed")) {
        let deletes_blanks = attribute("delsp").is_some_and(|answer| answer.eq_ignore_ascii_case("yes"));
        return sink.text(&unflowed(words, deletes_blanks));
    }
    sink.text(words)
}

/// The text of a part that does not state its encoding, if it stands in the file as it is.
fn guess(part: &MessagePart<'_>, whole: &[u8], sink: &mut TextSink) -> Option<String> {
    let is_stated = part.content_type().is_some_and(|content_type| content_type.attribute("charset").is_some());
    if is_stated || part.encoding != Encoding::None {
        return None;
    }
    let bytes = raw(part, whole);
    let encoding = text::guess(bytes, None, sink);
    Some(encoding.decode_without_bom_handling(bytes).0.into_owned())
}

/// Joins lines that were parted for the transport alone (RFC 3676): those that end in a blank, but for the signature's mark.
fn unflowed(words: &str, deletes_blanks: bool) -> String {
    let mut joined = String::with_capacity(words.len());
    let mut depth = None;
    for line in words.lines() {
        let quotes = line.bytes().take_while(|&byte| byte == b'>').count();
        let content = line[quotes..].strip_prefix(' ').unwrap_or(&line[quotes..]);
        if depth != Some(quotes) || content == "-- " {
            if !joined.is_empty() && !joined.ends_with('\n') {
                joined.push('\n');
            }
            joined.push_str(&">".repeat(quotes.min(20)));
            joined.push_str(if quotes > 0 { " " } else { "" });
        }
        let is_soft = content.ends_with(' ') && content != "-- ";
        joined.push_str(if is_soft && deletes_blanks { &content[..content.len() - 1] } else { content });
        if !is_soft {
            joined.push('\n');
        }
        depth = is_soft.then_some(quotes);
    }
    joined
}

fn is_encrypted(message: &Message<'_>) -> bool {
    message.content_type().is_some_and(|content_type| {
        let subtype = content_type.subtype().unwrap_or_default().to_ascii_lowercase();
        // Signed mail in an opaque envelope has a type of the same name, and its words cannot be read either.
        (content_type.ctype() == "multipart" && subtype == "encrypted")
            || (content_type.ctype() == "application" && subtype.ends_with("pkcs7-mime"))
    })
}

fn offer(part: &MessagePart<'_>, whole: &[u8], sink: &mut TextSink) -> Result<(), Failure> {
    let nested = match &part.body {
        PartType::Message(nested) => Some(nested),
        PartType::Multipart(_) => return Ok(()),
        _ => None,
    };
    let subject = nested.and_then(Message::subject).map(|subject| format!("{}.eml", subject.replace(['/', '\\'], "-")));
    let name = part.attachment_name().map(str::to_owned).or(subject).unwrap_or_default();
    if is_garbled(part) {
        sink.parts.leave_out(&name, None, LeftOut::Malformed);
        return Ok(());
    }
    let undecoded;
    let content = match nested {
        // One that was not encoded stands in the file as it is.
        Some(_) if part.encoding == Encoding::None => raw(part, whole),
        Some(nested) => nested.raw_message(),
        None if matches!(part.body, PartType::Text(_) | PartType::Html(_)) => {
            undecoded = bytes_of(part, whole);
            &undecoded
        }
        None => part.contents(),
    };
    sink.parts.offer(&name, Some(content.len() as u64), &mut &content[..])
}

/// A part's body as it stands in the mail, its encoding not undone.
fn raw<'a>(part: &MessagePart<'_>, whole: &'a [u8]) -> &'a [u8] {
    whole.get(part.offset_body as usize..part.offset_end as usize).unwrap_or_default()
}

/// The bytes of a text as somebody attached it. The parser has read them as characters, by what the mail says of them or by UTF-8, which loses what
/// they were; a document's own reader knows better.
fn bytes_of<'a>(part: &MessagePart<'_>, whole: &'a [u8]) -> Cow<'a, [u8]> {
    let raw = raw(part, whole);
    let decoded = match part.encoding {
        Encoding::None => None,
        Encoding::Base64 => base64_decode(raw),
        Encoding::QuotedPrintable => quoted_printable_decode(raw),
    };
    decoded.map_or(Cow::Borrowed(raw), Cow::Owned)
}

/// Whether its encoding could not be undone: then the parser gives the encoded bytes as text.
fn is_garbled(part: &MessagePart<'_>) -> bool {
    part.is_encoding_problem
        && part.content_transfer_encoding().is_some_and(|encoding| {
            encoding.eq_ignore_ascii_case("base64") || encoding.eq_ignore_ascii_case("quoted-printable")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flowed_lines_are_joined_and_quotes_kept_apart() {
        let flowed = "One line \r\nof text.\r\n> quoted \r\n> words\r\nAn answer \r\n-- \r\nThe miller\r\n";
        assert_eq!(unflowed(flowed, false), "One line of text.\n> quoted words\nAn answer \n-- \nThe miller\n");
        assert_eq!(unflowed("水 \n車\n", true), "水車\n");
    }
}
