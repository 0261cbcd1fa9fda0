//! Schedules: jobs that are submitted at intervals, or by the clocks of a time zone.
//!
//! Here is what may be written ([`Draft`], [`Change`]), when it ticks ([`Timing`]), and what a tick does ([`fire_due`]). Which worker lets them
//! tick is for the worker; that each tick counts once does not depend on it.

mod tick;
mod timing;
mod writing;

pub use tick::{Outcome, Round, Tick, due_in, fire_due, mark_unknown, run_now};
pub use timing::{Every, LONGEST_EVERY, Local, Stored, Timing};
pub use writing::{Change, ChangeError, CreateError, Draft, change, create};

use crate::{
    db::schedules::ScheduleRow,
    jobs::{FieldError, JobRequest, Kinds, NewJob, OnConflict, SubmitError},
};

/// When a stored schedule ticks.
///
/// # Errors
/// What is wrong with it, where it was stored by another version.
pub fn timing_of(row: &ScheduleRow) -> Result<Timing, Vec<FieldError>> {
    Timing::restore(row.every_seconds, row.cron.as_deref(), row.time_zone.as_deref())
}

/// The job of a tick. Unless that was turned off, only one of the schedule's jobs waits or runs at a time; a kind with a unique key of its own
/// keeps it either way.
///
/// # Errors
/// Every field of the schedule that its kind does not take, or no longer.
pub fn job_of(row: &ScheduleRow, kinds: &Kinds) -> Result<NewJob, SubmitError> {
    let request = JobRequest { priority: row.priority(), ..JobRequest::new(&row.kind, row.payload.clone()) };
    let job = request.check(kinds)?;
    if job.unique_key.is_some() || !row.is_unique {
        return Ok(job);
    }
    Ok(NewJob { unique_key: Some(format!("schedule:{}", row.id)), on_conflict: OnConflict::Keep, ..job })
}
