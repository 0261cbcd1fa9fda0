//! Values of arguments, each parsed in one place.

use std::{num::NonZeroU32, path::PathBuf, str::FromStr, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use millrace_shared::{
    ids::OrgId,
    jobs::{Priority, Rate, RateError},
    queue::MAX_WEIGHT,
};

/// An organisation that is to be made, or one that is there.
#[derive(Clone, Copy, Debug)]
pub enum NewOrOrg {
    New,
    Existing(OrgId),
}

impl FromStr for NewOrOrg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "new" {
            return Ok(Self::New);
        }
        text.parse().map(Self::Existing).map_err(|_| "neither a UUID nor `new`".to_owned())
    }
}

/// A limit, or none.
#[derive(Clone, Copy, Debug)]
pub struct Limit(Option<NonZeroU32>);

impl Limit {
    /// The limit, if there is to be one.
    pub fn number(self) -> Option<u32> {
        self.0.map(NonZeroU32::get)
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(Self(None));
        }
        let number: NonZeroU32 = text.parse().map_err(|_| "neither a number above 0 nor `none`".to_owned())?;
        if i32::try_from(number.get()).is_err() {
            return Err("too large; `none` is no limit".to_owned());
        }
        Ok(Self(Some(number)))
    }
}

/// A rate, or none.
#[derive(Clone, Copy, Debug)]
pub struct RateLimit(Option<Rate>);

impl RateLimit {
    /// The rate, if there is to be one.
    pub fn rate(self) -> Option<Rate> {
        self.0
    }
}

impl FromStr for RateLimit {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" { Ok(Self(None)) } else { text.parse().map(|rate| Self(Some(rate))) }
    }
}

/// A weight, or none.
#[derive(Clone, Copy, Debug)]
pub struct Weight(Option<u16>);

impl Weight {
    /// The weight, if there is to be one.
    pub fn number(self) -> Option<u16> {
        self.0
    }
}

impl FromStr for Weight {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(Self(None));
        }
        let weight = text.parse().ok().filter(|weight| (1..=MAX_WEIGHT).contains(weight));
        weight
            .map(|weight| Self(Some(weight)))
            .ok_or_else(|| format!("neither a number from 1 to {MAX_WEIGHT} nor `none`"))
    }
}

/// Where a payload comes from.
#[derive(Clone, Debug)]
pub enum PayloadSource {
    Text(String),
    File(PathBuf),
    StandardInput,
}

impl FromStr for PayloadSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix('@') {
            Some(file) => Ok(Self::File(file.into())),
            None if text == "-" => Ok(Self::StandardInput),
            None => Ok(Self::Text(text.to_owned())),
        }
    }
}

pub(super) fn label(text: &str) -> Result<String, String> {
    if text.chars().count() > 200 || text.contains('\0') {
        return Err("must have at most 200 characters and no NUL".to_owned());
    }
    Ok(text.to_owned())
}

pub(super) fn priority(text: &str) -> Result<Priority, String> {
    let known = Priority::ALL.into_iter().find(|priority| priority.as_str() == text);
    known.ok_or_else(|| "not one of critical, high, normal and low".to_owned())
}

pub(super) fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && (0.001..=1e6).contains(rate));
    rate.ok_or_else(|| "not a number from 0.001 to 1000000".to_owned())
}

/// `500ms`, `30s`, `5m`, `2h`, `3d`: above zero and at most ten years.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "not a duration: a whole number and one of ms, s, m, h and d, such as 30s".to_owned();
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    let ms = number.checked_mul(unit_ms).filter(|ms| (1..=3_650 * 86_400_000).contains(ms));
    ms.map(Duration::from_millis).ok_or_else(|| "must be above zero and at most 3650d".to_owned())
}

pub(super) fn since(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    let wrong = || "neither a time such as 2031-05-04T12:00:00Z nor how long ago, such as 15m, 2h or 3d".to_owned();
    let ago = duration(text).map_err(|_| wrong())?;
    TimeDelta::from_std(ago).ok().and_then(|ago| Utc::now().checked_sub_signed(ago)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_time_or_how_long_ago() {
        assert_eq!(since("2031-05-04T12:00:00+02:00").expect("a time").to_rfc3339(), "2031-05-04T10:00:00+00:00");
        let two_hours_ago = since("2h").expect("a duration");
        let seconds = (Utc::now() - two_hours_ago).num_seconds();
        assert!((7_200..7_210).contains(&seconds), "{seconds}");
        for text in ["", "2", "h", "-2h", "2 h", "2w", "99999999999d", "yesterday"] {
            assert!(since(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_limit_is_a_number_or_none() {
        assert_eq!("none".parse::<Limit>().expect("none").number(), None);
        assert_eq!("8".parse::<Limit>().expect("a number").number(), Some(8));
        for text in ["0", "-1", "3000000000", "many"] {
            assert!(text.parse::<Limit>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_weight_is_a_small_number_or_none() {
        assert_eq!("none".parse::<Weight>().expect("none").number(), None);
        assert_eq!("1000".parse::<Weight>().expect("a number").number(), Some(1_000));
        for text in ["0", "-1", "1001", "2.5", "heavy"] {
            assert!(text.parse::<Weight>().is_err(), "{text}");
        }
    }
}
