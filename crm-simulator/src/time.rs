//! Times as the vendors write them.

use chrono::{DateTime, Datelike as _, SecondsFormat, Timelike as _, Utc};
use serde_json::Value;

fn time(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).unwrap_or_default()
}

/// `2026-01-31T08:00:00.123Z`; without the fraction where that is zero, as `HubSpot` has it.
pub(crate) fn iso_ms(ms: i64) -> String {
    let format = if ms.rem_euclid(1000) == 0 { SecondsFormat::Secs } else { SecondsFormat::Millis };
    time(ms).to_rfc3339_opts(format, true)
}

/// `2026-01-31T08:00:00Z`
pub(crate) fn iso_seconds(ms: i64) -> String {
    time(ms).to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// `2026-01-31 08:00:00`
pub(crate) fn plain(ms: i64) -> String {
    let time = time(ms);
    let (date, clock) = (time.date_naive(), time.time());
    format!("{date} {:02}:{:02}:{:02}", clock.hour(), clock.minute(), clock.second())
}

/// `2026-01-31T08:00:00.000+0000`
pub(crate) fn salesforce(ms: i64) -> String {
    let time = time(ms);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}+0000",
        time.year(),
        time.month(),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.timestamp_subsec_millis()
    )
}

/// `2026-01-31`
pub(crate) fn date(ms: i64) -> String {
    time(ms).date_naive().to_string()
}

/// RFC 3339, in milliseconds.
pub(crate) fn parse(text: &str) -> Option<i64> {
    // Salesforce leaves the colon out of the offset, which RFC 3339 asks for.
    let parsed =
        DateTime::parse_from_rfc3339(text).or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z"));
    parsed.ok().map(|time| time.timestamp_millis())
}

/// Unix seconds of the midnight at which a date begins.
pub(crate) fn date_to_seconds(date: &Value) -> Option<i64> {
    parse(&format!("{}T00:00:00Z", date.as_str()?)).map(|ms| ms / 1000)
}

/// Unix seconds.
pub(crate) fn seconds(ms: i64) -> i64 {
    ms.div_euclid(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_vendors_write_them() {
        let ms = parse("2026-01-31T08:00:00.120Z").unwrap();
        assert_eq!(iso_ms(ms), "2026-01-31T08:00:00.120Z");
        assert_eq!(iso_ms(ms - 120), "2026-01-31T08:00:00Z");
        assert_eq!(plain(ms), "2026-01-31 08:00:00");
        assert_eq!(salesforce(ms), "2026-01-31T08:00:00.120+0000");
        assert_eq!(parse("2026-01-31T08:00:00.120+0000"), Some(ms));
        assert_eq!(date(ms), "2026-01-31");
    }
}
