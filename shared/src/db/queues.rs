//! The queues' settings: `queue_settings`. Redis has a copy, which is restored from here when Redis lost its data.

use std::time::Duration;

use sqlx::{FromRow, PgConnection};

use crate::{
    jobs::{QueueName, Rate},
    queue::Settings,
};

#[derive(FromRow)]
struct Row {
    paused: bool,
    concurrency: Option<i32>,
    org_concurrency: Option<i32>,
    rate_count: Option<i32>,
    rate_period_ms: Option<i64>,
    org_rate_count: Option<i32>,
    org_rate_period_ms: Option<i64>,
}

/// A queue's settings; the defaults where none were made.
///
/// # Errors
/// Those of the database.
pub async fn settings(connection: &mut PgConnection, queue: QueueName) -> sqlx::Result<Settings> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT paused, concurrency, org_concurrency, rate_count, rate_period_ms, org_rate_count, org_rate_period_ms \
         FROM queue_settings WHERE queue = $1",
    )
    .bind(queue.as_str())
    .fetch_optional(connection)
    .await?;
    let limit = |number: Option<i32>| number.and_then(|number| u32::try_from(number).ok());
    let rate = |count, period_ms: Option<i64>| Rate::checked(limit(count)?, period_ms?.try_into().ok()?).ok();
    Ok(row.map_or_else(Settings::default, |row| Settings {
        paused: row.paused,
        concurrency: limit(row.concurrency),
        org_concurrency: limit(row.org_concurrency),
        rate: rate(row.rate_count, row.rate_period_ms),
        org_rate: rate(row.org_rate_count, row.org_rate_period_ms),
    }))
}

fn period_ms(rate: Option<Rate>) -> Option<i64> {
    rate.map(|rate| i64::try_from(rate.period_ms).unwrap_or(i64::MAX))
}

/// Stores a queue's settings.
///
/// # Errors
/// Those of the database.
pub async fn set(connection: &mut PgConnection, queue: QueueName, settings: Settings) -> sqlx::Result<()> {
    let limit = |number: Option<u32>| number.map(|number| i32::try_from(number).unwrap_or(i32::MAX));
    sqlx::query(
        "INSERT INTO queue_settings (queue, paused, concurrency, org_concurrency, rate_count, rate_period_ms, org_rate_count, \
             org_rate_period_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
         ON CONFLICT (queue) DO UPDATE SET paused = $2, concurrency = $3, org_concurrency = $4, rate_count = $5, \
             rate_period_ms = $6, org_rate_count = $7, org_rate_period_ms = $8, updated_at = now()",
    )
    .bind(queue.as_str())
    .bind(settings.paused)
    .bind(limit(settings.concurrency))
    .bind(limit(settings.org_concurrency))
    .bind(limit(settings.rate.map(|rate| rate.count)))
    .bind(period_ms(settings.rate))
    .bind(limit(settings.org_rate.map(|rate| rate.count)))
    .bind(period_ms(settings.org_rate))
    .execute(connection)
    .await
    .map(drop)
}

/// Jobs of a queue that are due more than `ahead` from now, over all organisations.
///
/// # Errors
/// Those of the database.
pub async fn due_later_than(connection: &mut PgConnection, queue: QueueName, ahead: Duration) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "SELECT count(*) FROM jobs WHERE queue = $1 AND finished_at IS NULL AND run_at > now() + $2 * interval '1 millisecond'",
    )
    .bind(queue.as_str())
    .bind(i64::try_from(ahead.as_millis()).unwrap_or(i64::MAX))
    .fetch_one(connection)
    .await
}

/// How many jobs of a queue are due, by priority, over all organisations. Reads every such row: for when Redis is away.
///
/// # Errors
/// Those of the database.
pub async fn due_by_priority(connection: &mut PgConnection, queue: QueueName) -> sqlx::Result<Vec<(i16, i64)>> {
    sqlx::query_as(
        "SELECT priority, count(*) FROM jobs WHERE queue = $1 AND finished_at IS NULL AND blocked_by IS NULL AND run_at <= now() \
         GROUP BY priority",
    )
    .bind(queue.as_str())
    .fetch_all(connection)
    .await
}

/// Dead letters of a queue that nobody has replayed or discarded, over all organisations.
///
/// # Errors
/// Those of the database.
pub async fn dead_count(connection: &mut PgConnection, queue: QueueName) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT count(*) FROM jobs WHERE queue = $1 AND state = 'dead' AND discarded_at IS NULL")
        .bind(queue.as_str())
        .fetch_one(connection)
        .await
}
