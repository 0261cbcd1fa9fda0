//! Keeping the ledger's partitions: some ahead, so that rows have a place, and none that is over.
//!
//! One process at a time does it, under an advisory lock of its session ([`lead`]): killed, it takes the lock with it. Every step is one
//! transaction that leaves the ledger whole. How rows survive is told in [`crate::db::rewrite`].

use std::time::Duration;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use sqlx::PgConnection;

use crate::{
    config::RetentionConfig,
    db::{
        self, idempotency, jobs,
        partitions::{self, Partition},
        probe_effects,
        rewrite::{Cutoff, Rewrite},
        webhooks,
    },
    ids::JobId,
};

/// The advisory lock's key: the bytes of `mr_house`.
const LOCK: i64 = i64::from_be_bytes(*b"mr_house");
const HOUR: TimeDelta = TimeDelta::hours(1);
/// A retention is cut into so many partitions. More of them cost statements that cannot leave partitions out, such as lists; fewer keep rows
/// longer than was asked for.
const PARTS: i32 = 30;
const NARROWEST: TimeDelta = TimeDelta::hours(6);
const WIDEST: TimeDelta = TimeDelta::days(30);
/// There are partitions for so long, should no worker be there to make more.
pub const AHEAD: TimeDelta = TimeDelta::days(4);
/// Where the present has no partition, its rows are in the default one already. The next partition begins a moment ahead, so that
/// accepting goes on there while those are moved.
const MOMENT: TimeDelta = TimeDelta::seconds(5);
/// So often a drop that is prepared asks for its locks.
const SWAPS: u32 = 5;
const BETWEEN_SWAPS: Duration = Duration::from_secs(2);
/// Rows deleted in one statement.
const BATCH: u32 = 5_000;

/// What [`make_ahead`] has done.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Round {
    /// Partitions made.
    pub made: u64,
    /// Jobs moved out of the default partition.
    pub moved: u64,
}

/// A partition that was dropped.
#[derive(Clone, Debug)]
pub struct Dropped {
    /// It.
    pub partition: Partition,
    /// How many jobs survive by now, of it and of those that were dropped before.
    pub survivors: i64,
}

/// How the ledger is kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Partitions, the default one and that of survivors left out.
    pub partitions: usize,
    /// The end of the oldest one.
    pub oldest_end: Option<DateTime<Utc>>,
    /// Up to when there are partitions.
    pub until: Option<DateTime<Utc>>,
    /// Jobs in the default partition, counted up to [`Kept::MOST_COUNTED`].
    pub in_default: i64,
    /// Postgres' clock.
    pub now: DateTime<Utc>,
}

impl Kept {
    /// More jobs in the default partition are not counted.
    pub const MOST_COUNTED: u32 = 10_000;

    /// How long ago the oldest partition should have been dropped, if it should.
    #[must_use]
    pub fn lag(&self, config: &RetentionConfig) -> Option<TimeDelta> {
        let over = self.oldest_end? + span(config.jobs?);
        (over < self.now).then(|| self.now - over)
    }
}

/// Takes the lock, which the session then holds once more than before. False where another session has it.
///
/// # Errors
/// Those of the database.
pub async fn lead(connection: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(LOCK).fetch_one(connection).await
}

/// How the ledger is kept now.
///
/// # Errors
/// Those of the database.
pub async fn look(connection: &mut PgConnection) -> sqlx::Result<Kept> {
    let all = partitions::list(connection).await?;
    let until = all.last().map(|last| last.to.time());
    let by_time: Vec<&Partition> = all.iter().filter(|partition| !partition.is_kept()).collect();
    Ok(Kept {
        partitions: by_time.len(),
        oldest_end: by_time.first().map(|oldest| oldest.to.time()),
        until,
        in_default: partitions::default_count(connection, Kept::MOST_COUNTED).await?,
        now: jobs::now(connection).await?,
    })
}

/// How much time a partition holds.
#[must_use]
pub fn width(config: &RetentionConfig) -> TimeDelta {
    let Some(retention) = config.jobs else { return WIDEST };
    let hours = (span(retention) / PARTS).num_hours();
    TimeDelta::hours(hours).clamp(NARROWEST, WIDEST)
}

fn span(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}

/// Makes the partitions that are missing up to [`AHEAD`] of `now`, and those of times that only the default partition has rows of. Nothing where
/// another session is at it.
///
/// # Errors
/// Those of the database. What was made before the error stays.
pub async fn make_ahead(
    connection: &mut PgConnection,
    config: &RetentionConfig,
    now: DateTime<Utc>,
) -> sqlx::Result<Round> {
    if !lead(connection).await? {
        return Ok(Round::default());
    }
    let made = make_missing(connection, width(config), now).await;
    follow(connection, made).await
}

async fn make_missing(connection: &mut PgConnection, width: TimeDelta, now: DateTime<Utc>) -> sqlx::Result<Round> {
    let mut round = Round::default();
    let until = partitions::list(connection).await?.last().map_or(DateTime::UNIX_EPOCH, |last| last.to.time());
    let mut from = if until <= now { (now + MOMENT).trunc_subsecs(0) } else { until };
    while from < now + AHEAD {
        let to = next_bound(from, width);
        round.make(connection, from, to).await?;
        from = to;
    }
    let all = partitions::list(connection).await?;
    for pair in all.windows(2) {
        let (from, to) = (pair[0].to, pair[1].from.unwrap_or(pair[0].to));
        if from < to && partitions::default_has(connection, Some(from), to).await? {
            round.make(connection, from.time(), to.time()).await?;
        }
    }
    Ok(round)
}

impl Round {
    async fn make(
        &mut self,
        connection: &mut PgConnection,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> sqlx::Result<()> {
        let new = partitions::between(from, to);
        let moved = if partitions::make(connection, &new).await? {
            0
        } else {
            let rewrite = Rewrite::adopted(&new);
            rewrite.prepare(connection).await?;
            swap(connection, &rewrite).await?
        };
        self.made += 1;
        self.moved += moved.unsigned_abs();
        if moved > 0 {
            tracing::warn!(%from, until = %to, jobs.moved = moved, "jobs were accepted where the ledger had no partition; they have one now");
        }
        Ok(())
    }
}

/// The first multiple of `width` after `time`, counted from 1970.
fn next_bound(time: DateTime<Utc>, width: TimeDelta) -> DateTime<Utc> {
    let seconds = width.num_seconds().max(HOUR.num_seconds());
    let next = (time.timestamp().div_euclid(seconds) + 1) * seconds;
    DateTime::from_timestamp(next, 0).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// Drops the oldest partition if its time is over, and keeps the rows in it that must survive. `None` where none is, or another session is at it.
///
/// # Errors
/// Those of the database; then nothing was dropped.
pub async fn drop_expired(
    connection: &mut PgConnection,
    config: &RetentionConfig,
    now: DateTime<Utc>,
) -> sqlx::Result<Option<Dropped>> {
    let Some(ended) = cutoff_of(config.jobs, now) else { return Ok(None) };
    // Two at once would take each other's copies for their own.
    if !lead(connection).await? {
        return Ok(None);
    }
    let cutoff = Cutoff { ended, died: cutoff_of(config.dead_letters, now) };
    let done = drop_oldest(connection, cutoff).await;
    follow(connection, done).await
}

/// Gives the lock back.
async fn follow<T>(connection: &mut PgConnection, done: sqlx::Result<T>) -> sqlx::Result<T> {
    // Where the session is lost, so is its lock, and what was done tells of it.
    let unlocked = sqlx::query("SELECT pg_advisory_unlock($1)").bind(LOCK).execute(connection).await;
    let done = done?;
    unlocked.map(|_| done)
}

async fn drop_oldest(connection: &mut PgConnection, cutoff: Cutoff) -> sqlx::Result<Option<Dropped>> {
    let all = partitions::list(connection).await?;
    let kept = all.first().filter(|first| first.is_kept());
    let oldest = all.iter().find(|partition| !partition.is_kept());
    let over = JobId::lowest_at(cutoff.ended);
    let Some(victim) = oldest.filter(|oldest| oldest.to <= over) else { return Ok(None) };
    let rewrite = Rewrite::expired(kept, victim, cutoff);
    rewrite.prepare(connection).await?;
    let survivors = swap(connection, &rewrite).await?;
    Ok(Some(Dropped { partition: victim.clone(), survivors }))
}

fn cutoff_of(retention: Option<Duration>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    now.checked_sub_signed(span(retention?))
}

/// The locks are asked for some times, because whoever has them lets go of them sooner than rows are copied again.
async fn swap(connection: &mut PgConnection, prepared: &Rewrite) -> sqlx::Result<i64> {
    let mut tries = 1;
    loop {
        match prepared.swap(connection).await {
            Err(error) if db::is_contention(&error) && tries < SWAPS => {
                tries += 1;
                tokio::time::sleep(BETWEEN_SWAPS).await;
            }
            done => return done,
        }
    }
}

/// Deletes what has no partitions and is over: answers to idempotent requests, deliveries of webhooks, and effects of probes.
///
/// # Errors
/// Those of the database.
pub async fn forget_expired(
    connection: &mut PgConnection,
    config: &RetentionConfig,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    // In batches, each a transaction of its own, but all of them: what comes in faster than it is deleted would grow for ever.
    while idempotency::forget_old(connection, BATCH).await? == u64::from(BATCH) {}
    if let Some(age) = config.webhooks {
        while webhooks::forget_old(connection, age, i64::from(BATCH)).await? == u64::from(BATCH) {}
    }
    if let Some(cutoff) = cutoff_of(config.jobs, now) {
        while probe_effects::forget_old(connection, cutoff, BATCH).await? == u64::from(BATCH) {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(jobs: Option<TimeDelta>) -> RetentionConfig {
        RetentionConfig { jobs: jobs.map(|jobs| jobs.to_std().unwrap()), dead_letters: None, webhooks: None }
    }

    #[test]
    fn a_retention_is_cut_into_about_thirty_partitions_of_whole_hours() {
        for (retention, expected) in [
            (Some(TimeDelta::days(30)), TimeDelta::days(1)),
            (Some(TimeDelta::hours(1)), NARROWEST),
            (Some(TimeDelta::days(8)), NARROWEST),
            (Some(TimeDelta::days(10)), TimeDelta::hours(8)),
            (Some(TimeDelta::days(365)), TimeDelta::hours(292)),
            (Some(TimeDelta::days(3650)), WIDEST),
            (None, WIDEST),
        ] {
            assert_eq!(width(&config(retention)), expected, "{retention:?}");
        }
    }

    #[test]
    fn partitions_of_a_day_end_at_midnight() {
        let day = TimeDelta::days(1);
        for (time, next) in [
            ("2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z"),
            ("2026-11-21T23:59:59.999Z", "2026-11-22T00:00:00Z"),
            ("1970-01-01T00:00:00Z", "1970-01-02T00:00:00Z"),
        ] {
            let expected: DateTime<Utc> = next.parse().unwrap();
            assert_eq!(next_bound(time.parse().unwrap(), day), expected);
        }
    }
}
