//! Rates: so many beginnings per period.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// The most that a rate may allow in its period.
const MAX_COUNT: u32 = 1_000_000;
/// The shortest and the longest period.
const PERIODS_MS: std::ops::RangeInclusive<u64> = 1..=86_400_000;

/// So many per period. At the begin, and after a pause, as many may come at once; from then on they are spread evenly. So never more than
/// twice as many come within a period, and `count` on the average.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, schemars::JsonSchema, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// How many.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub count: u32,
    /// In how long, in milliseconds.
    #[schemars(range(min = 1, max = 86_400_000))]
    #[schema(minimum = 1, maximum = 86_400_000)]
    pub period_ms: u64,
}

/// A rate that is none.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RateError {
    /// The count is out of bounds.
    #[error("the count must be from 1 to {MAX_COUNT}")]
    Count,
    /// The period is out of bounds.
    #[error("the period must be from 1 ms to a day")]
    Period,
    /// It is no rate at all.
    #[error("not a rate: a number, a slash and a period in ms, s, m or h, such as 10/1s")]
    Shape,
}

impl Rate {
    /// `count` per second.
    #[must_use]
    pub const fn per_second(count: u32) -> Self {
        Self { count, period_ms: 1_000 }
    }

    /// A rate within the bounds.
    ///
    /// # Errors
    /// Where one of them is not kept.
    pub fn checked(count: u32, period_ms: u64) -> Result<Self, RateError> {
        if !(1..=MAX_COUNT).contains(&count) {
            return Err(RateError::Count);
        }
        if !PERIODS_MS.contains(&period_ms) {
            return Err(RateError::Period);
        }
        Ok(Self { count, period_ms })
    }

    /// The time between two when they are spread evenly, in microseconds.
    #[must_use]
    pub fn interval_us(&self) -> f64 {
        Duration::from_millis(self.period_ms).as_secs_f64() * 1e6 / f64::from(self.count.max(1))
    }

    /// How far ahead of an even spread they may be, in microseconds: all of a period's at once.
    #[must_use]
    pub fn tolerance_us(&self) -> f64 {
        self.interval_us() * f64::from(self.count.saturating_sub(1))
    }
}

/// `10/1s`, `600/1m`, `1/500ms`.
impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let (count, period) = text.split_once('/').ok_or(RateError::Shape)?;
        let digits = period.find(|letter: char| !letter.is_ascii_digit()).ok_or(RateError::Shape)?;
        let (number, unit) = period.split_at(digits);
        // `10/s` is how people write `10/1s`.
        let number: u64 = if number.is_empty() { 1 } else { number.parse().map_err(|_| RateError::Period)? };
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(RateError::Shape),
        };
        let count = count.parse().map_err(|_| if is_number(count) { RateError::Count } else { RateError::Shape })?;
        Self::checked(count, number.checked_mul(unit_ms).ok_or(RateError::Period)?)
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, unit) = match self.period_ms {
            ms if ms % 3_600_000 == 0 => (ms / 3_600_000, "h"),
            ms if ms % 60_000 == 0 => (ms / 60_000, "m"),
            ms if ms % 1_000 == 0 => (ms / 1_000, "s"),
            ms => (ms, "ms"),
        };
        write!(f, "{}/{number}{unit}", self.count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_rate_is_read_as_it_is_written() {
        for text in ["10/1s", "600/1m", "1/500ms", "1000000/24h", "7/1500ms"] {
            assert_eq!(text.parse::<Rate>().expect(text).to_string(), text);
        }
        assert_eq!("10/s".parse::<Rate>(), Ok(Rate::per_second(10)));
    }

    #[test]
    fn what_is_no_rate_is_told_with_what_would_be_one() {
        for (text, error) in [
            ("10", RateError::Shape),
            ("10/1", RateError::Shape),
            ("10/1d", RateError::Shape),
            ("ten/1s", RateError::Shape),
            ("/1s", RateError::Shape),
            ("0/1s", RateError::Count),
            ("1000001/1s", RateError::Count),
            ("99999999999/1s", RateError::Count),
            ("1/0s", RateError::Period),
            ("1/25h", RateError::Period),
            ("1/99999999999999999999h", RateError::Period),
            ("1/9999999999999999h", RateError::Period),
        ] {
            assert_eq!(text.parse::<Rate>(), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_rate_is_read_as_it_is_written(count in 1..=MAX_COUNT, period_ms in PERIODS_MS) {
            let rate = Rate::checked(count, period_ms).expect("within the bounds");
            prop_assert_eq!(rate.to_string().parse::<Rate>(), Ok(rate));
            // All of a period's beginnings, evenly spread, fill the period.
            let spread_us = rate.tolerance_us() + rate.interval_us();
            prop_assert!((spread_us / 1_000.0 - Duration::from_millis(period_ms).as_secs_f64() * 1_000.0).abs() < 1e-3);
        }
    }

    #[test]
    fn the_interval_is_the_periods_share_and_the_tolerance_the_rest_of_the_period() {
        let rate = Rate::per_second(10);
        assert!((rate.interval_us() - 100_000.0).abs() < 1e-6);
        assert!((rate.tolerance_us() - 900_000.0).abs() < 1e-6);
        let single = Rate { count: 1, period_ms: 250 };
        assert!((single.interval_us() - 250_000.0).abs() < 1e-6 && single.tolerance_us().abs() < 1e-6);
    }
}
