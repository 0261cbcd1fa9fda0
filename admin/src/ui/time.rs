use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};

/// How long something took: two units at most.
pub fn duration(length: Duration) -> String {
    let (seconds, ms) = (length.as_secs(), length.subsec_millis());
    match seconds {
        0 => format!("{ms}ms"),
        1..10 => format!("{seconds}.{}s", ms / 100),
        10..60 => format!("{seconds}s"),
        60..3_600 => two(seconds / 60, "m", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "m"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

fn two(whole: u64, unit: &str, rest: u64, smaller: &str) -> String {
    if rest == 0 { format!("{whole}{unit}") } else { format!("{whole}{unit} {rest:02}{smaller}") }
}

/// How old something is: one unit, for tables.
pub fn age(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// How far a time is from now: `3m ago`, `in 2h`.
pub fn ago(time: DateTime<Utc>) -> String {
    let now = Utc::now();
    match (now - time).to_std() {
        Ok(past) => format!("{} ago", age(past)),
        Err(_) => format!("in {}", age((time - now).to_std().unwrap_or_default())),
    }
}

/// A time, in full.
pub fn stamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units_at_most() {
        let texts =
            [7, 1_250, 12_900, 60_000, 200_000, 7_500_000, 190_000_000].map(|ms| duration(Duration::from_millis(ms)));
        assert_eq!(texts, ["7ms", "1.2s", "12s", "1m", "3m 20s", "2h 05m", "2d 04h"]);
    }

    #[test]
    fn ages_have_one() {
        let texts = [0, 59, 60, 3_600, 100_000, 172_800].map(|seconds| age(Duration::from_secs(seconds)));
        assert_eq!(texts, ["0s", "59s", "1m", "1h", "27h", "2d"]);
    }

    #[test]
    fn times_are_told_from_both_sides() {
        let hour = chrono::TimeDelta::hours(3);
        assert_eq!(ago(Utc::now() - hour), "3h ago");
        assert_eq!(ago(Utc::now() + hour + chrono::TimeDelta::seconds(5)), "in 3h");
    }
}
