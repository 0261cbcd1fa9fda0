//! Making and changing schedules: the checks, and what follows for the next tick.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;

use super::{Timing, timing_of};
use crate::{
    config::ScheduleLimits,
    db::{
        jobs,
        schedules::{self, ScheduleRow, Written},
    },
    ids::{OrgId, ScheduleId},
    intake,
    jobs::{FieldError, JobRequest, Kind, Kinds, Priority, SubmitError, SubmittedBy},
    label,
};

/// A schedule as somebody asks for it.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What people call it.
    pub name: String,
    /// The kind of its jobs.
    pub kind: String,
    /// What the kind's schema asks for.
    pub payload: Value,
    /// How urgent its jobs are.
    pub priority: Priority,
    /// Whether a tick makes no job while the one before has not ended.
    pub unique: bool,
    /// An interval, such as `15m`.
    pub every: Option<String>,
    /// A cron expression.
    pub cron: Option<String>,
    /// The time zone that it is read in.
    pub time_zone: Option<String>,
}

/// What is to be changed; what is not named stays.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "they are those of a draft")]
pub struct Change {
    pub name: Option<String>,
    pub payload: Option<Value>,
    pub priority: Option<Priority>,
    pub unique: Option<bool>,
    pub paused: Option<bool>,
    pub every: Option<String>,
    pub cron: Option<String>,
    pub time_zone: Option<String>,
}

/// A schedule was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// Fields that are wrong.
    #[error("the schedule is not valid")]
    Invalid(Vec<FieldError>),
    /// The organisation has as many as it may have.
    #[error("the organisation has {0} schedules, and may have no more: delete one first")]
    TooMany(u32),
    /// Postgres.
    #[error("the database gave no answer")]
    Database(#[from] sqlx::Error),
}

/// A schedule was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The organisation has no such schedule.
    #[error("there is no such schedule")]
    NotFound,
    /// Fields that are wrong.
    #[error("the change is not valid")]
    Invalid(Vec<FieldError>),
    /// Postgres.
    #[error("the database gave no answer")]
    Database(#[from] sqlx::Error),
}

/// Makes a schedule, within the caller's transaction. An interval begins now, so that its first tick is one interval ahead.
///
/// # Errors
/// When a field is wrong, the organisation has too many, or Postgres is away.
pub async fn create(
    connection: &mut PgConnection,
    org: OrgId,
    draft: Draft,
    (kinds, limits): (&Kinds, &ScheduleLimits),
) -> Result<ScheduleRow, CreateError> {
    let now = jobs::now(connection).await?;
    let (new, mut wrong) = draft.check(kinds, limits, now);
    if let Some(new) = &new {
        wrong.extend(intake::missing(connection, org, &new.kind, &new.payload).await?);
    }
    let Some(new) = new.filter(|_| wrong.is_empty()) else { return Err(CreateError::Invalid(wrong)) };
    if schedules::count_exclusively(connection, org).await? >= i64::from(limits.most) {
        return Err(CreateError::TooMany(limits.most));
    }
    Ok(schedules::create(connection, org, ScheduleId::new(), &new).await?)
}

/// Changes a schedule, within the caller's transaction. Another timing, and going on after a pause, begin with the next tick after now.
///
/// # Errors
/// When there is no such schedule, a field is wrong, or Postgres is away.
pub async fn change(
    connection: &mut PgConnection,
    (org, id): (OrgId, ScheduleId),
    change: Change,
    (kinds, limits): (&Kinds, &ScheduleLimits),
) -> Result<ScheduleRow, ChangeError> {
    let now = jobs::now(connection).await?;
    let row = schedules::lock(connection, org, id).await?.ok_or(ChangeError::NotFound)?;
    let has_payload = change.payload.is_some();
    let changed = change.apply(row, kinds, limits, now).map_err(ChangeError::Invalid)?;
    if has_payload {
        let wrong = intake::missing(connection, org, &changed.kind, &changed.payload).await?;
        if !wrong.is_empty() {
            return Err(ChangeError::Invalid(wrong));
        }
    }
    Ok(schedules::change(connection, org, id, &changed).await?)
}

impl Draft {
    /// The row, if all fields could be read, and every field that is wrong.
    fn check(self, kinds: &Kinds, limits: &ScheduleLimits, now: DateTime<Utc>) -> (Option<Written>, Vec<FieldError>) {
        let mut wrong = Vec::new();
        let name = name(&self.name, &mut wrong);
        let refused = match kinds.get(&self.kind) {
            Some(kind) if kind.submitted_by == SubmittedBy::Anyone => {
                payload(kind, &self.payload, kinds, &mut wrong);
                None
            }
            Some(_) => Some("is submitted by Millrace alone"),
            None => Some("is no kind of job"),
        };
        wrong.extend(refused.map(|why| FieldError::new("kind", format!("{why}; {}", choice(kinds)))));
        let timing = Timing::read(self.every.as_deref(), self.cron.as_deref(), self.time_zone.as_deref());
        let timing = timing.map_err(|errors| wrong.extend(errors)).ok();
        let next = timing.as_ref().and_then(|timing| first(timing, limits, now, &mut wrong));
        let (Some(name), Some(timing), Some(next_run_at)) = (name, timing, next) else { return (None, wrong) };
        let stored = timing.stored();
        let new = Written {
            name,
            kind: self.kind,
            payload: self.payload,
            priority: self.priority,
            every_seconds: stored.every_seconds,
            cron: stored.cron,
            time_zone: stored.time_zone,
            is_unique: self.unique,
            paused: false,
            next_run_at,
        };
        (Some(new), wrong)
    }
}

impl Change {
    fn apply(
        self,
        row: ScheduleRow,
        kinds: &Kinds,
        limits: &ScheduleLimits,
        now: DateTime<Utc>,
    ) -> Result<Written, Vec<FieldError>> {
        let mut wrong = Vec::new();
        let timing = self.timing(&row, limits, now, &mut wrong);
        let name = match &self.name {
            Some(text) => name(text, &mut wrong),
            None => Some(row.name.clone()),
        };
        if let Some(changed) = &self.payload {
            match kinds.get(&row.kind) {
                Some(kind) => payload(kind, changed, kinds, &mut wrong),
                None => wrong.push(FieldError::new("payload", "cannot be checked: this build does not know the kind")),
            }
        }
        let (Some(name), true) = (name, wrong.is_empty()) else { return Err(wrong) };
        let (stored, next_run_at) = timing.unwrap_or_else(|| (stored(&row), row.next_run_at));
        Ok(Written {
            name,
            priority: self.priority.unwrap_or(row.priority()),
            kind: row.kind,
            payload: self.payload.unwrap_or(row.payload),
            every_seconds: stored.every_seconds,
            cron: stored.cron,
            time_zone: stored.time_zone,
            is_unique: self.unique.unwrap_or(row.is_unique),
            paused: self.paused.unwrap_or(row.paused),
            next_run_at,
        })
    }

    /// The timing and its next tick, where either changes.
    fn timing(
        &self,
        row: &ScheduleRow,
        limits: &ScheduleLimits,
        now: DateTime<Utc>,
        wrong: &mut Vec<FieldError>,
    ) -> Option<(super::Stored, DateTime<Utc>)> {
        let is_new = self.every.is_some() || self.cron.is_some() || self.time_zone.is_some();
        let goes_on = row.paused && self.paused == Some(false);
        if !is_new && !goes_on {
            return None;
        }
        let read = if is_new { self.new_timing(row) } else { timing_of(row) };
        let timing = read.map_err(|errors| wrong.extend(errors)).ok()?;
        let next = if is_new {
            first(&timing, limits, now, wrong)?
        } else {
            // What went by during a pause was not missed: it was not wanted.
            timing.next(row.next_run_at, now)?
        };
        Some((timing.stored(), next))
    }

    fn new_timing(&self, row: &ScheduleRow) -> Result<Timing, Vec<FieldError>> {
        if self.every.is_some() {
            return Timing::read(self.every.as_deref(), self.cron.as_deref(), self.time_zone.as_deref());
        }
        let cron = self.cron.as_deref().or(row.cron.as_deref());
        if cron.is_none() {
            let message = "is for cron alone: an interval is the same everywhere; remove it, or give cron";
            return Err(vec![FieldError::new("time_zone", message)]);
        }
        Timing::read(None, cron, self.time_zone.as_deref().or(row.time_zone.as_deref()))
    }
}

fn stored(row: &ScheduleRow) -> super::Stored {
    super::Stored { every_seconds: row.every_seconds, cron: row.cron.clone(), time_zone: row.time_zone.clone() }
}

fn name(text: &str, wrong: &mut Vec<FieldError>) -> Option<String> {
    let name = label::of_text(text);
    if name.is_none() {
        wrong.push(FieldError::new("name", "is empty; say what the schedule is for"));
    }
    name
}

/// Checks a payload as a submission's is.
fn payload(kind: &Kind, payload: &Value, kinds: &Kinds, wrong: &mut Vec<FieldError>) {
    if let Err(SubmitError(errors)) = JobRequest::new(kind.name, payload.clone()).check(kinds) {
        wrong.extend(errors);
    }
}

/// The first tick of a new timing, if that does not tick too often.
fn first(
    timing: &Timing,
    limits: &ScheduleLimits,
    now: DateTime<Utc>,
    wrong: &mut Vec<FieldError>,
) -> Option<DateTime<Utc>> {
    let field = match timing {
        Timing::Every(_) => "every",
        Timing::Cron(_) => "cron",
    };
    if timing.shortest_interval(now).is_some_and(|interval| interval < limits.min_interval) {
        let least = seconds(limits.min_interval);
        wrong.push(FieldError::new(field, format!("ticks too often: at least {least} must be between two ticks")));
        return None;
    }
    let next = timing.next(now, now);
    if next.is_none() {
        wrong.push(FieldError::new(field, "has no next time"));
    }
    next
}

fn seconds(length: Duration) -> String {
    if length.subsec_millis() == 0 { format!("{} s", length.as_secs()) } else { format!("{} ms", length.as_millis()) }
}

/// What may be scheduled.
fn choice(kinds: &Kinds) -> String {
    let open = kinds.iter().filter(|kind| kind.submitted_by == SubmittedBy::Anyone).map(|kind| kind.name);
    format!("name one of {}", open.collect::<Vec<_>>().join(", "))
}
