//! One function per shape of value. Errors say what was expected and never repeat the value of a secret.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use url::Url;

use crate::fetch::{Network, Ports};
use crate::jobs::{QueueName, UnknownQueue};

pub(super) type Parsed<T> = Result<T, String>;

/// `500ms`, `30s`, `5m`, `1h`.
pub(super) fn duration(text: &str) -> Parsed<Duration> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let wrong = || format!("is not a duration: `{text}` (a whole number and one of ms, s, m, h)");
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    let ms = number.checked_mul(unit_ms).ok_or_else(wrong)?;
    if ms == 0 {
        return Err("must be longer than zero".to_owned());
    }
    if ms > 24 * 3_600_000 {
        return Err("is longer than a day".to_owned());
    }
    Ok(Duration::from_millis(ms))
}

/// `30d`, `36h`, or `off` for ever.
pub(super) fn retention(text: &str) -> Parsed<Option<Duration>> {
    if text == "off" {
        return Ok(None);
    }
    let wrong = || {
        format!(
            "is not a retention: `{text}` (a whole number and one of h, d, at least 1h and at most 3650d, or `off`)"
        )
    };
    let (number, hours) = match (text.strip_suffix('h'), text.strip_suffix('d')) {
        (Some(number), _) => (number, 1),
        (_, Some(number)) => (number, 24),
        _ => return Err(wrong()),
    };
    let hours = number.parse::<u32>().ok().and_then(|number| number.checked_mul(hours));
    let hours = hours.filter(|hours| (1..=3650 * 24).contains(hours)).ok_or_else(wrong)?;
    Ok(Some(Duration::from_secs(u64::from(hours) * 3600)))
}

/// A name of ours: `nat-eu-1`.
pub(super) fn name(text: &str) -> Parsed<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.len() > 64 || !text.chars().all(is_name) {
        return Err("must be 1 to 64 letters, digits, hyphens, dots or underscores".to_owned());
    }
    Ok(text.to_owned())
}

/// `1048576`, `64KiB`, `2MiB`, `1GiB`.
pub(super) fn bytes(text: &str) -> Parsed<u64> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let wrong = || format!("is not a size: `{text}` (a whole number of bytes, or with KiB, MiB or GiB)");
    let shift = match unit {
        "" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    // Sizes become BIGINT columns and `usize`; anything near 2^63 is a slip.
    match number.checked_mul(1 << shift) {
        Some(0) => Err("must be above zero".to_owned()),
        Some(size) if size <= 1 << 50 => Ok(size),
        _ => Err(wrong()),
    }
}

/// A whole number in `low..=high`.
pub(super) fn whole(low: u32, high: u32) -> impl Fn(&str) -> Parsed<u32> {
    move |text| match text.parse() {
        Ok(number) if (low..=high).contains(&number) => Ok(number),
        _ => Err(format!("is not a whole number from {low} to {high}: `{text}`")),
    }
}

/// `80,443`, or `any`.
pub(super) fn ports(text: &str) -> Parsed<Ports> {
    if text == "any" {
        return Ok(Ports::Any);
    }
    let mut ports = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let port = part.parse().ok().filter(|port| *port != 0);
        ports.push(port.ok_or_else(|| format!("holds `{part}`, which is not a port from 1 to 65535 (or say `any`)"))?);
    }
    if ports.is_empty() {
        return Err("names no port".to_owned());
    }
    Ok(Ports::Only(ports))
}

/// `10.20.0.0/16,fd00:20::/64`.
pub(super) fn networks(text: &str) -> Parsed<Vec<Network>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| part.parse().map_err(|error: crate::fetch::NetworkError| format!("is wrong: {error}"))).collect()
}

/// `eng+deu`, as tesseract names its languages: files, or scripts such as `script/Latin`.
pub(super) fn ocr_languages(text: &str) -> Parsed<Vec<String>> {
    let mut languages: Vec<String> = Vec::new();
    for name in text.split('+').map(str::trim) {
        let is_word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !name.strip_prefix("script/").map_or_else(|| is_word(name), is_word) {
            return Err(format!("holds `{name}`, which is no language of tesseract (parted by `+`, such as eng+deu)"));
        }
        if languages.iter().any(|earlier| earlier == name) {
            return Err(format!("names the language `{name}` twice"));
        }
        languages.push(name.to_owned());
    }
    Ok(languages)
}

pub(super) fn address(text: &str) -> Parsed<SocketAddr> {
    text.parse().map_err(|_| format!("is not an IP address with a port: `{text}`"))
}

pub(super) fn switch(text: &str) -> Parsed<bool> {
    match text {
        "1" => Ok(true),
        "0" => Ok(false),
        _ => Err(format!("is neither `1` nor `0`: `{text}`")),
    }
}

/// A URL of one of these schemes. It may hold a password, so that errors do not repeat it.
pub(super) fn url(schemes: &'static [&'static str]) -> impl Fn(&str) -> Parsed<Url> {
    move |text| {
        let url = Url::parse(text).map_err(|error| format!("is not a URL ({error})"))?;
        if !schemes.contains(&url.scheme()) {
            return Err(format!("has the scheme `{}:`, expected {}", url.scheme(), schemes.join(" or ")));
        }
        if url.host_str().is_none_or(str::is_empty) && url.query().is_none() {
            return Err("names no host".to_owned());
        }
        Ok(url)
    }
}

/// A queue that a worker serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSlots {
    /// The queue.
    pub queue: QueueName,
    /// Jobs of it that this worker runs at once.
    pub slots: NonZeroU32,
}

/// `asset=4,probe=64`.
pub(super) fn queues(text: &str) -> Parsed<Vec<QueueSlots>> {
    let mut served: Vec<QueueSlots> = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, slots) =
            part.split_once('=').ok_or_else(|| format!("has a part that is not `queue=slots`: `{part}`"))?;
        let (name, slots) = (name.trim(), slots.trim());
        let queue: QueueName = name.parse().map_err(|error: UnknownQueue| format!("names an {error}"))?;
        if served.iter().any(|earlier| earlier.queue == queue) {
            return Err(format!("names the queue `{name}` twice"));
        }
        let slots = slots
            .parse()
            .ok()
            .filter(|slots: &NonZeroU32| slots.get() <= 4096)
            .ok_or_else(|| format!("gives `{name}` slots that are not a number from 1 to 4096: `{slots}`"))?;
        served.push(QueueSlots { queue, slots });
    }
    if served.is_empty() {
        return Err("names no queue".to_owned());
    }
    Ok(served)
}
