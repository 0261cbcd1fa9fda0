//! What the headers of an answer tell: the document's name, its version, and when to come back.

use std::time::Duration;

use chrono::{DateTime, Utc};
use millrace_shared::db::assets::Validators;
use millrace_shared::fetch::SourceUrl;
use millrace_shared::label;
use percent_encoding::percent_decode_str;
use reqwest::header::{CONTENT_DISPOSITION, ETAG, HeaderMap, HeaderName, LAST_MODIFIED, RETRY_AFTER};

/// Longer ones are not kept: the next fetch then takes the whole document.
const VALIDATOR_BYTES: usize = 512;
/// No host is waited for longer than this, whatever it says.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// The name that the server gives the document (RFC 6266): `filename*` before `filename`.
pub(super) fn file_name(headers: &HeaderMap) -> Option<String> {
    let header = text(headers, &CONTENT_DISPOSITION)?;
    let parameters: Vec<(String, String)> = parameters(&header);
    let find = |wanted: &str| parameters.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    let extended = find("filename*").and_then(|value| {
        let (charset, rest) = value.split_once('\'')?;
        let (_, encoded) = rest.split_once('\'')?;
        charset.eq_ignore_ascii_case("utf-8").then(|| percent_decode_str(encoded).decode_utf8_lossy().into_owned())
    });
    extended.as_deref().and_then(label::of_file).or_else(|| find("filename").and_then(label::of_file))
}

/// `attachment; a=b; c="d;\"e"` without its first part.
fn parameters(header: &str) -> Vec<(String, String)> {
    let mut parts = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for letter in header.chars() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => {
                escaped = true;
                continue;
            }
            '"' => {
                quoted = !quoted;
                continue;
            }
            ';' if !quoted => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(letter);
        }
    }
    let pairs = parts.iter().skip(1).filter_map(|part| part.split_once('='));
    pairs.map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned())).collect()
}

/// What to ask the next time with, if the answer has anything of the kind.
pub(super) fn validators(url: Option<SourceUrl>, headers: &HeaderMap) -> Option<Validators> {
    let value = |name: &HeaderName| {
        let value = headers.get(name)?.to_str().ok()?;
        (!value.is_empty() && value.len() <= VALIDATOR_BYTES).then(|| value.to_owned())
    };
    let validators = Validators { url: url?, etag: value(&ETAG), last_modified: value(&LAST_MODIFIED) };
    (validators.etag.is_some() || validators.last_modified.is_some()).then_some(validators)
}

/// How long the server wants to be left alone: seconds, or a date (RFC 9110, 10.2.3).
pub(super) fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let value = text(headers, &RETRY_AFTER)?;
    let wait = match value.trim().parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => (DateTime::parse_from_rfc2822(value.trim()).ok()?.to_utc() - now).to_std().ok()?,
    };
    (!wait.is_zero()).then(|| wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn one(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_bytes(value.as_bytes()).expect("a header"))])
    }

    #[test]
    fn the_server_may_name_the_document_but_no_path() {
        for (header, name) in [
            ("attachment; filename=report.pdf", Some("report.pdf")),
            ("inline;FILENAME=\"a; b \\\"c\\\".txt\" ; x=y", Some("a; b \"c\".txt")),
            ("attachment; filename=\"x.txt\"; filename*=UTF-8''%C3%84rger%20%E2%82%AC.txt", Some("Ärger €.txt")),
            ("attachment; filename*=iso-8859-1''%E4.txt; filename=a.txt", Some("a.txt")),
            ("attachment; filename*=UTF-8''..%2F..%2Fetc%2Fpasswd", Some("passwd")),
            ("attachment; filename=Ärger.txt", Some("Ärger.txt")),
            ("attachment; filename=\"unclosed", Some("unclosed")),
            ("attachment; filename=", None),
            ("attachment", None),
            ("filename=not-a-parameter.txt", None),
        ] {
            assert_eq!(file_name(&one(CONTENT_DISPOSITION, header)).as_deref(), name, "{header}");
        }
    }

    #[test]
    fn a_wait_is_seconds_or_a_date_and_never_too_long() {
        let now = DateTime::parse_from_rfc3339("2026-01-31T08:00:00Z").expect("a time").to_utc();
        for (header, seconds) in [
            ("120", Some(120)),
            ("0", None),
            ("-5", None),
            ("soon", None),
            ("99999999", Some(3600)),
            ("Sat, 31 Jan 2026 08:00:07 GMT", Some(7)),
            ("Sat, 31 Jan 2026 07:00:00 GMT", None),
        ] {
            let wait = retry_after(&one(RETRY_AFTER, header), now);
            assert_eq!(wait.map(|wait| wait.as_secs()), seconds, "{header}");
        }
    }
}
