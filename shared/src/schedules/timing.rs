//! When a schedule ticks: a pure function from what was written, and a time, to the next time.
//!
//! An interval counts on from its last tick, so that it keeps its phase however late a tick is seen. A cron expression is read on the clocks of
//! its time zone. What that means where these are put forward or back is said in `docs/schedules.md` and tested below: it is what `croner`
//! does, which follows the Open Cron Pattern Specification.

use std::{fmt, str::FromStr, time::Duration};

use chrono::{DateTime, FixedOffset, SubsecRound as _, TimeDelta, Utc};
use chrono_tz::Tz;
use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};

use crate::jobs::FieldError;

/// The longest interval: 366 days, in seconds.
pub const LONGEST_EVERY: i32 = 366 * 86_400;
/// More than this is no expression that anybody wrote.
const LONGEST_CRON: usize = 200;
/// So many ticks that were missed in a row are counted one by one; more than that count as so many.
const MOST_COUNTED: i64 = 1_000;
/// The two closest of so many ticks ahead are what a cron expression's shortest interval is taken for.
const LOOKED_AHEAD: usize = 60;
/// What cron expressions have instead of five fields.
const NICKNAMES: [&str; 6] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@hourly"];

/// When a schedule ticks.
#[derive(Clone, Debug)]
pub enum Timing {
    /// Again and again, so many seconds apart.
    Every(Every),
    /// Whenever the clocks somewhere show certain times.
    Cron(Box<Local>),
}

/// An interval, in whole seconds: 1 to [`LONGEST_EVERY`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Every(i32);

/// A cron expression on the clocks of a time zone.
#[derive(Clone, Debug)]
pub struct Local {
    text: String,
    cron: Cron,
    zone: Tz,
}

/// A timing as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the columns are described where they are made, in the migration")]
pub struct Stored {
    pub every_seconds: Option<i32>,
    pub cron: Option<String>,
    pub time_zone: Option<String>,
}

impl Timing {
    /// Reads what was written for the fields `every`, `cron` and `time_zone`.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn read(every: Option<&str>, cron: Option<&str>, time_zone: Option<&str>) -> Result<Self, Vec<FieldError>> {
        match (every, cron) {
            (Some(_), Some(_)) => Err(wrong("cron", "excludes every; give one of the two")),
            (None, None) => Err(wrong("every", "is required, such as 15m; or give cron, such as 0 8 * * mon-fri")),
            (Some(_), None) if time_zone.is_some() => {
                Err(wrong("time_zone", "is for cron alone: an interval is the same everywhere; remove it"))
            }
            (Some(every), None) => every.parse().map(Self::Every).map_err(|message: String| wrong("every", message)),
            (None, Some(cron)) => {
                Local::read(cron, time_zone.unwrap_or("UTC")).map(|local| Self::Cron(Box::new(local)))
            }
        }
    }

    /// Reads what is stored.
    ///
    /// # Errors
    /// What is wrong with it. Nothing was when it was stored, but that may have been by another version.
    pub fn restore(
        every_seconds: Option<i32>,
        cron: Option<&str>,
        zone: Option<&str>,
    ) -> Result<Self, Vec<FieldError>> {
        let every = every_seconds.map(|seconds| format!("{seconds}s"));
        Self::read(every.as_deref(), cron, zone)
    }

    /// As it is stored.
    #[must_use]
    pub fn stored(&self) -> Stored {
        match self {
            Self::Every(every) => Stored { every_seconds: Some(every.0), cron: None, time_zone: None },
            Self::Cron(local) => Stored {
                every_seconds: None,
                cron: Some(local.text.clone()),
                time_zone: Some(local.zone.name().to_owned()),
            },
        }
    }

    /// The first tick after `now`. Those of an interval are so many intervals from `tick`, one of them. Nothing where none is found.
    #[must_use]
    pub fn next(&self, tick: DateTime<Utc>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::Every(_) if tick > now => Some(tick),
            Self::Every(every) => {
                let passed = (now - tick).num_seconds() / i64::from(every.0);
                tick.checked_add_signed(TimeDelta::seconds((passed + 1) * i64::from(every.0)))
            }
            Self::Cron(local) => local.next(now).map(|next| next.to_utc()),
        }
    }

    /// How many ticks were after `tick`, up to `now`: 1,000 at most where they are those of a cron expression.
    #[must_use]
    pub fn missed(&self, tick: DateTime<Utc>, now: DateTime<Utc>) -> i64 {
        match self {
            Self::Every(every) => ((now - tick).num_seconds() / i64::from(every.0)).max(0),
            Self::Cron(local) => {
                let (mut missed, mut last) = (0, tick);
                while missed < MOST_COUNTED {
                    match local.next(last) {
                        Some(next) if next.to_utc() <= now => (missed, last) = (missed + 1, next.to_utc()),
                        _ => break,
                    }
                }
                missed
            }
        }
    }

    /// `tick` and those after it, `count` in all, by the clocks of the time zone.
    #[must_use]
    pub fn upcoming(&self, tick: DateTime<Utc>, count: usize) -> Vec<DateTime<FixedOffset>> {
        let by_the_clocks = |time: DateTime<Utc>| match self {
            Self::Every(_) => time.fixed_offset(),
            Self::Cron(local) => time.with_timezone(&local.zone).fixed_offset(),
        };
        std::iter::successors(Some(tick), |last| self.next(*last, *last)).take(count).map(by_the_clocks).collect()
    }

    /// The shortest time between two ticks, of those that come soon after `now`.
    #[must_use]
    pub fn shortest_interval(&self, now: DateTime<Utc>) -> Option<Duration> {
        match self {
            Self::Every(every) => Some(every.length()),
            Self::Cron(_) => {
                let ticks = self.upcoming(self.next(now, now)?, LOOKED_AHEAD);
                ticks.windows(2).filter_map(|pair| (pair[1] - pair[0]).to_std().ok()).min()
            }
        }
    }
}

impl Every {
    /// The interval.
    #[must_use]
    pub fn length(self) -> Duration {
        Duration::from_secs(u64::from(self.0.unsigned_abs()))
    }
}

impl FromStr for Every {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "must be a whole number and one of s, m, h and d, such as 30s, 15m, 6h or 1d";
        let digits = text.find(|letter: char| !letter.is_ascii_digit()).ok_or(WRONG)?;
        let (number, unit) = text.split_at(digits);
        let unit_seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return Err(WRONG.to_owned()),
        };
        if number.is_empty() {
            return Err(WRONG.to_owned());
        }
        let seconds = number.parse::<i32>().ok().and_then(|number| number.checked_mul(unit_seconds));
        let seconds = seconds.filter(|seconds| (1..=LONGEST_EVERY).contains(seconds));
        seconds.map(Self).ok_or_else(|| format!("must be from 1s to {}d", LONGEST_EVERY / 86_400))
    }
}

impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0;
        match seconds {
            _ if seconds % 86_400 == 0 => write!(f, "{}d", seconds / 86_400),
            _ if seconds % 3_600 == 0 => write!(f, "{}h", seconds / 3_600),
            _ if seconds % 60 == 0 => write!(f, "{}m", seconds / 60),
            _ => write!(f, "{seconds}s"),
        }
    }
}

impl Local {
    fn read(text: &str, zone: &str) -> Result<Self, Vec<FieldError>> {
        let cron = parse(text.trim());
        let zone = zone.parse::<Tz>();
        let (cron, zone) = match (cron, zone) {
            (Ok(cron), Ok(zone)) => (cron, zone),
            (cron, zone) => {
                let not_a_zone = "is no time zone of the IANA database, such as Europe/Berlin or UTC";
                let cron = cron.err().map(|message| FieldError::new("cron", message));
                let zone = zone.err().map(|_| FieldError::new("time_zone", not_a_zone));
                return Err(cron.into_iter().chain(zone).collect());
            }
        };
        Ok(Self { text: text.trim().to_owned(), cron, zone })
    }

    fn next(&self, now: DateTime<Utc>) -> Option<DateTime<Tz>> {
        // Fractions of a second would be carried on into the answer.
        let local = now.trunc_subsecs(0).with_timezone(&self.zone);
        let next = self.cron.find_next_occurrence(&local, false).ok()?;
        // One that is not later would come up for ever.
        (next > now).then_some(next)
    }
}

fn parse(text: &str) -> Result<Cron, String> {
    let fields = text.split_whitespace().count();
    let is_nickname = NICKNAMES.contains(&text.to_ascii_lowercase().as_str());
    if !is_nickname && (fields != 5 || text.len() > LONGEST_CRON || text.contains('@')) {
        return Err(format!(
            "must have five fields (minute, hour, day of month, month, day of week), such as */5 8-18 * * mon-fri, and not {fields}; \
             or be one of {}",
            NICKNAMES.join(", ")
        ));
    }
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    let cron =
        parser.parse(text).map_err(|error| format!("is no cron expression such as */5 8-18 * * mon-fri: {error}"))?;
    match cron.find_next_occurrence(&DateTime::<Utc>::UNIX_EPOCH, false) {
        Ok(_) => Ok(cron),
        Err(_) => Err("never comes about: there is no such day".to_owned()),
    }
}

fn wrong(field: &str, message: impl Into<String>) -> Vec<FieldError> {
    vec![FieldError::new(field, message)]
}

#[cfg(test)]
mod tests;
