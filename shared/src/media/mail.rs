//! Mail as it is sent (RFC 5322): told by its header, because it has no signature.
//!
//! Many a text begins with words and colons, so much is asked for: every line up to the first empty one is a field or goes on with one, somebody
//! is said to have written it, and there is a field that a program writes and a person does not. A mailbox file (which opens with a line `From `
//! without a colon) is none: it is many messages, or one that would be taken for all.

/// So many bytes of a line are enough to see whether it is a field: names are short.
const NAME_BYTES: usize = 77;

pub(super) fn is_message(head: &[u8]) -> bool {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let (mut has_author, mut is_made_by_a_program, mut is_first) = (false, false, true);
    for line in head.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        if matches!(line[0], b' ' | b'\t') && !is_first {
            continue;
        }
        is_first = false;
        let Some((name, value)) = field(line) else {
            // The head may end within a name, and then the rest is not told.
            if head.ends_with(line) && has_author && is_made_by_a_program {
                break;
            }
            return false;
        };
        let is = |known: &[&str]| known.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
        has_author |= is(&["From", "Sender"]);
        is_made_by_a_program |= is(&["Received", "Return-Path", "Message-ID", "MIME-Version", "DKIM-Signature"])
            || (is(&["Date"]) && is_date(value));
    }
    has_author && is_made_by_a_program
}

/// `name: value`, where a name is printable ASCII (RFC 5322, 2.2).
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().take(NAME_BYTES).position(|&byte| byte == b':')?;
    // The obsolete syntax has blanks before the colon (4.5).
    let name = line[..colon].trim_ascii_end();
    let is_name = !name.is_empty() && name.iter().all(|byte| (33..=126).contains(byte));
    is_name.then_some((name, &line[colon + 1..]))
}

/// Whether it has the shape of a date in mail: a month by its English name, a year, and a time of day.
fn is_date(value: &[u8]) -> bool {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = String::from_utf8_lossy(value);
    let words: Vec<&str> = text.split_ascii_whitespace().take(8).collect();
    let has = |test: &dyn Fn(&str) -> bool| words.iter().any(|word| test(word));
    has(&|word| MONTHS.iter().any(|month| word.eq_ignore_ascii_case(month)))
        && has(&|word| (2..=4).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_digit()))
        && has(&|word| word.contains(':') && word.bytes().all(|byte| byte.is_ascii_digit() || byte == b':'))
}
