//! Ticks: a due schedule's job is submitted, and the schedule moves on, in one transaction.
//!
//! - The row is locked from the look at `next_run_at` to the commit that moves it, so a tick counts once whoever else looks.
//! - `next_run_at` becomes the next tick after now. However many were missed meanwhile, they are caught up by the one that is submitted.
//! - Each submission is a savepoint: one that is refused is noted at its schedule, which moves on, and stops no other.
//! - Schedules of kinds that this build does not know are marked and stay due, for a worker that does.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{Connection as _, PgConnection};

use super::{job_of, timing_of};
use crate::{
    db::{
        self, jobs,
        schedules::{self, Counted, Marked, ScheduleRow},
    },
    ids::{JobId, OrgId, ScheduleId},
    intake::{self, IntakeError},
    jobs::{FieldError, Kinds, NewJob, SubmitError},
    ledger::Accepted,
};

/// A schedule whose timing this build cannot read, another one may read after so long.
const UNREADABLE: TimeDelta = TimeDelta::minutes(10);
/// What is noted at a schedule of a kind that this build does not know.
const UNKNOWN_KIND: (&str, &str) =
    ("unknown_kind", "the worker that lets schedules tick does not know this kind; the tick waits for one that does");

/// What became of a tick.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It made this job.
    Fired(JobId),
    /// The one before has not ended: this job.
    Skipped(JobId),
    /// It made none, and the schedule has moved on.
    Failed {
        /// A stable word for the sort of error.
        class: &'static str,
        /// Why.
        error: String,
    },
    /// Another transaction is in the way; the tick is still due.
    PutOff,
}

/// A tick.
#[derive(Clone, Debug)]
pub struct Tick {
    /// Whose it is.
    pub schedule: ScheduleId,
    /// And whose that is.
    pub org: OrgId,
    /// The kind of its job.
    pub kind: String,
    /// How long it had been due.
    pub late: Duration,
    /// How many others it catches up.
    pub missed: i64,
    /// What became of it.
    pub outcome: Outcome,
}

/// What one transaction did.
#[derive(Debug, Default)]
pub struct Round {
    /// The ticks.
    pub ticks: Vec<Tick>,
    /// Their jobs, to be published after the commit.
    pub accepted: Vec<Accepted>,
    /// Whether there may be more to do at once.
    pub goes_on: bool,
}

/// What is to be done for a due schedule, or why nothing can be; and its next tick.
struct Plan {
    row: ScheduleRow,
    job: Result<NewJob, (&'static str, String)>,
    missed: i64,
    next: DateTime<Utc>,
}

impl Plan {
    fn new(row: ScheduleRow, kinds: &Kinds, now: DateTime<Utc>) -> Self {
        let timing = timing_of(&row);
        let next = timing.as_ref().ok().and_then(|timing| timing.next(row.next_run_at, now));
        let (job, missed) = match (timing, next) {
            (Ok(timing), Some(_)) => {
                let job = job_of(&row, kinds).map_err(|SubmitError(fields)| ("refused", lines(&fields)));
                (job, timing.missed(row.next_run_at, now))
            }
            (Ok(_), None) => (Err(("timing", "has no next time".to_owned())), 0),
            (Err(fields), _) => (Err(("timing", lines(&fields))), 0),
        };
        Self { row, job, missed, next: next.unwrap_or(now + UNREADABLE) }
    }
}

/// Lets due schedules tick, `limit` at most, within the caller's transaction. Commit, then publish what was accepted.
///
/// # Errors
/// When the database is away. Whatever else goes wrong is noted at its schedule.
pub async fn fire_due(connection: &mut PgConnection, kinds: &Kinds, limit: u32) -> sqlx::Result<Round> {
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name).collect();
    let now = jobs::now(connection).await?;
    let due = schedules::lock_due(connection, &names, i64::from(limit)).await?;
    let found = due.len();
    let mut plans: Vec<Plan> = due.into_iter().map(|row| Plan::new(row, kinds, now)).collect();
    // In the order of their unique keys, so that two that fire never wait for each other.
    plans.sort_by(|a, b| key(a).cmp(&key(b)));
    let mut round = Round::default();
    for plan in plans {
        let late = (now - plan.row.next_run_at).to_std().unwrap_or_default();
        let (outcome, accepted) = fire(connection, &plan).await?;
        round.accepted.extend(accepted);
        let Plan { row, missed, .. } = plan;
        round.ticks.push(Tick { schedule: row.id, org: row.org_id, kind: row.kind, late, missed, outcome });
    }
    let has_done_any = round.ticks.iter().any(|tick| tick.outcome != Outcome::PutOff);
    round.goes_on = has_done_any && found >= limit as usize;
    Ok(round)
}

fn key(plan: &Plan) -> (OrgId, &str, Option<&str>, ScheduleId) {
    let unique = plan.job.as_ref().ok().and_then(|job| job.unique_key.as_deref());
    (plan.row.org_id, &plan.row.kind, unique, plan.row.id)
}

async fn fire(connection: &mut PgConnection, plan: &Plan) -> sqlx::Result<(Outcome, Option<Accepted>)> {
    let submitted = match &plan.job {
        Ok(job) => submit(connection, plan.row.org_id, job).await?,
        Err((class, error)) => Submitted::Failed { class, error: error.clone() },
    };
    match submitted {
        Submitted::Accepted(accepted) => {
            let job = accepted.row().id;
            let (counted, outcome) = match &*accepted {
                Accepted::Existing(_) => (Counted::Skipped, Outcome::Skipped(job)),
                _ => (Counted::Fired, Outcome::Fired(job)),
            };
            schedules::ticked(connection, &plan.row, (counted, job), (plan.missed, plan.next)).await?;
            Ok((outcome, Some(*accepted)))
        }
        Submitted::Failed { class, error } => {
            schedules::failed(connection, &plan.row, (class, &error), plan.next).await?;
            Ok((Outcome::Failed { class, error }, None))
        }
        Submitted::PutOff => Ok((Outcome::PutOff, None)),
    }
}

enum Submitted {
    Accepted(Box<Accepted>),
    Failed { class: &'static str, error: String },
    PutOff,
}

/// Submits one job in a savepoint, so that what is refused takes nothing along.
async fn submit(connection: &mut PgConnection, org: OrgId, job: &NewJob) -> sqlx::Result<Submitted> {
    let mut savepoint = connection.begin().await?;
    let taken = intake::accept(&mut savepoint, org, std::slice::from_ref(job), |_| String::new()).await;
    let submitted = match taken {
        Ok(mut accepted) => {
            savepoint.commit().await?;
            return accepted.pop().map(|one| Submitted::Accepted(Box::new(one))).ok_or(sqlx::Error::RowNotFound);
        }
        Err(IntakeError::Invalid(fields)) => Submitted::Failed { class: "refused", error: lines(&fields) },
        Err(IntakeError::Database(error)) if db::is_contention(&error) => Submitted::PutOff,
        Err(IntakeError::Database(error)) if db::is_unavailable(&error) => return Err(error),
        // The database's words may repeat what is in the payload.
        Err(IntakeError::Database(_)) => {
            Submitted::Failed { class: "database", error: "the database refused the job".to_owned() }
        }
    };
    savepoint.rollback().await?;
    Ok(submitted)
}

fn lines(fields: &[FieldError]) -> String {
    fields.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Marks due schedules of kinds that this build does not know, `limit` at most, each once.
///
/// # Errors
/// Those of the database.
pub async fn mark_unknown(connection: &mut PgConnection, kinds: &Kinds, limit: u32) -> sqlx::Result<Vec<Marked>> {
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name).collect();
    schedules::mark_others(connection, &names, UNKNOWN_KIND, i64::from(limit)).await
}

/// How far off the next tick is, by Postgres' clock: negative where it is overdue, and nothing where none is to come.
///
/// # Errors
/// Those of the database.
pub async fn due_in(connection: &mut PgConnection, kinds: &Kinds) -> sqlx::Result<Option<TimeDelta>> {
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name).collect();
    Ok(schedules::next_due_in_ms(connection, &names).await?.map(TimeDelta::milliseconds))
}

/// Submits a schedule's job now, out of turn, within the caller's transaction. Commit, then publish what was accepted. Its next tick stays
/// where it is. `None` where the organisation has no such schedule.
///
/// # Errors
/// When the schedule's job is refused, or the database is away.
pub async fn run_now(
    connection: &mut PgConnection,
    (org, id): (OrgId, ScheduleId),
    kinds: &Kinds,
    trace_context: Option<String>,
) -> Result<Option<Accepted>, IntakeError> {
    let Some(row) = schedules::lock(connection, org, id).await? else { return Ok(None) };
    let job = job_of(&row, kinds).map_err(|SubmitError(fields)| IntakeError::Invalid(fields))?;
    let job = NewJob { trace_context, ..job };
    let accepted = intake::accept(connection, org, std::slice::from_ref(&job), |_| String::new()).await?;
    let Some(accepted) = accepted.into_iter().next() else { return Ok(None) };
    schedules::ran(connection, org, id, accepted.row().id).await?;
    Ok(Some(accepted))
}
