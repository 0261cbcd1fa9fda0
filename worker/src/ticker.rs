//! Lets schedules tick.
//!
//! One worker at a time does it, under an advisory lock of its session, so that the others do not ask in vain. That a tick counts once does not
//! depend on it: the schedule's row decides ([`schedules::fire_due`]). So others may stand in for a leader that hangs, or that is of a version which
//! does not know a kind. A worker that is killed takes the lock with it.

use std::time::Duration;

use chrono::TimeDelta;
use millrace_shared::{
    db, intake,
    jobs::Kinds,
    queue::Queues,
    schedules::{self, Outcome, Tick},
};
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::handler::chain;

/// The advisory lock's key: the bytes of `mr_sched`.
const LOCK: i64 = i64::from_be_bytes(*b"mr_sched");
/// How often a follower asks whether the leader is gone, and how often the leader asks for schedules that were made meanwhile.
const BEAT: Duration = Duration::from_secs(1);
/// What has been due for so long is neglected by the leader.
const NEGLECTED: TimeDelta = TimeDelta::seconds(10);
/// Who has seen that does the leader's work for so long, beside it if it is there after all.
const STANDING_IN: Duration = Duration::from_secs(60);
/// However soon the next tick is, others get a turn before it.
const SHORTEST: Duration = Duration::from_millis(10);
/// After an error that may last.
const AGAIN: Duration = Duration::from_secs(5);
/// So many schedules tick in one transaction.
const BATCH: u32 = 50;

/// See the module.
#[derive(Debug)]
pub(crate) struct Ticker {
    pub(crate) pool: PgPool,
    pub(crate) queues: Queues,
    pub(crate) kinds: Kinds,
}

impl Ticker {
    /// Waits for the lock, then lets schedules tick, until `end`.
    pub(crate) async fn run(self, end: CancellationToken) {
        let leading = metrics::gauge!("millrace_schedules_leader");
        loop {
            leading.set(0.0);
            let pause = match end.run_until_cancelled(self.lead(&leading)).await {
                None => break,
                Some(Ok(())) => BEAT,
                Some(Err(error)) if db::is_unavailable(&error) => {
                    tracing::debug!(error = chain(&error), "schedules have to wait for Postgres");
                    BEAT
                }
                Some(Err(error)) => {
                    tracing::warn!(error = chain(&error), "schedules cannot tick; trying again");
                    AGAIN
                }
            };
            if end.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                break;
            }
        }
        leading.set(0.0);
    }

    /// Leads if nobody else does. Ends when the connection that holds the lock is lost, or with another error.
    async fn lead(&self, leading: &metrics::Gauge) -> sqlx::Result<()> {
        let mut connection = self.pool.acquire().await?;
        let locked: bool =
            sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(LOCK).fetch_one(&mut *connection).await?;
        if !locked {
            let due_in = schedules::due_in(&mut connection, &self.kinds).await?;
            if due_in.is_some_and(|due_in| due_in < -NEGLECTED) {
                self.stand_in(&mut connection).await?;
            }
            return Ok(());
        }
        // Taken out of the pool: closing it, by whatever way this ends, is what frees the lock.
        let mut connection = connection.detach();
        tracing::debug!("this worker lets schedules tick");
        leading.set(1.0);
        loop {
            let pause = self.round(&mut connection).await?;
            tokio::time::sleep(pause).await;
        }
    }

    async fn stand_in(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        tracing::warn!("ticks of schedules are long due though a worker leads; this one stands in for it for a while");
        let end = Instant::now() + STANDING_IN;
        while Instant::now() < end {
            let pause = self.round(connection).await?;
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    /// Does what is due, and gives how long to wait then.
    async fn round(&self, connection: &mut PgConnection) -> sqlx::Result<Duration> {
        let mut is_hindered = false;
        loop {
            let mut transaction = connection.begin().await?;
            let round = schedules::fire_due(&mut transaction, &self.kinds, BATCH).await?;
            transaction.commit().await?;
            intake::publish(&self.queues, &round.accepted).await;
            round.ticks.iter().for_each(tell);
            is_hindered |= round.ticks.iter().any(|tick| tick.outcome == Outcome::PutOff);
            if !round.goes_on {
                break;
            }
        }
        for marked in schedules::mark_unknown(connection, &self.kinds, BATCH).await? {
            let (schedule, org, kind) = (marked.id, marked.org_id, marked.kind);
            count(&kind, "unknown_kind");
            tracing::warn!(schedule.id = %schedule, org.id = %org, job.kind = kind, "a schedule is of a kind that this worker does not know; its tick waits");
        }
        let due_in = schedules::due_in(connection, &self.kinds).await?;
        let idle = due_in.map_or(BEAT, |due_in| due_in.to_std().unwrap_or_default());
        Ok(if is_hindered { BEAT } else { idle.clamp(SHORTEST, BEAT) })
    }
}

fn count(kind: &str, outcome: &'static str) {
    metrics::counter!("millrace_schedule_ticks_total", "kind" => kind.to_owned(), "outcome" => outcome).increment(1);
}

fn tell(tick: &Tick) {
    let (schedule, org, late_ms) = (tick.schedule, tick.org, tick.late.as_millis());
    match &tick.outcome {
        // It is still due, and told when it is not.
        Outcome::PutOff => return,
        Outcome::Fired(job) => {
            count(&tick.kind, "fired");
            tracing::info!(schedule.id = %schedule, org.id = %org, job.id = %job, job.kind = tick.kind, late_ms, missed = tick.missed, "a schedule has ticked");
        }
        Outcome::Skipped(job) => {
            count(&tick.kind, "skipped");
            tracing::info!(schedule.id = %schedule, org.id = %org, job.id = %job, job.kind = tick.kind, late_ms, missed = tick.missed, "a schedule's tick is left out: its job before has not ended");
        }
        Outcome::Failed { class, error } => {
            count(&tick.kind, "failed");
            tracing::warn!(schedule.id = %schedule, org.id = %org, job.kind = tick.kind, error.class = class, error, "a schedule's tick made no job");
        }
    }
    let missed = u64::try_from(tick.missed).unwrap_or(0);
    metrics::counter!("millrace_schedule_missed_total", "kind" => tick.kind.clone()).increment(missed);
    metrics::histogram!("millrace_schedule_late_seconds").record(tick.late.as_secs_f64());
}
