//! `webhook_events`: deliveries that were verified.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::postgres::types::PgInterval;
use sqlx::{FromRow, PgConnection};

use crate::ids::{ConnectionId, EventId, JobId, OrgId, SourceId};

/// A verified delivery that has just come.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Its id.
    pub id: EventId,
    /// Whose it is.
    pub org: OrgId,
    /// Who sent it.
    pub source: SourceId,
    /// The same for deliveries that are the same.
    pub fingerprint: [u8; 32],
    /// As the sender calls its body.
    pub content_type: Option<String>,
    /// The raw bytes; of a delivery without any, [what it says](crate::webhook::Verified::said).
    pub body: Vec<u8>,
    /// The job that it becomes.
    pub job: JobId,
}

/// Stores those that have not come before, and gives their ids. Of several that are the same the first counts.
///
/// # Errors
/// When a source is gone, or the database is away.
pub async fn insert_new(connection: &mut PgConnection, arrivals: &[&Arrival]) -> sqlx::Result<HashSet<EventId>> {
    // In one order, so that two batches that share deliveries never wait for each other.
    let mut sorted: Vec<&Arrival> = arrivals.to_vec();
    sorted.sort_by_key(|arrival| (arrival.source, arrival.fingerprint));
    let ids: Vec<EventId> = sqlx::query_scalar(
        "INSERT INTO webhook_events (id, org_id, source_id, fingerprint, content_type, body, job_id)
         SELECT id, org, source, fingerprint, content_type, body, job
         FROM UNNEST($1::uuid[], $2::uuid[], $3::uuid[], $4::bytea[], $5::text[], $6::bytea[], $7::uuid[])
              AS new (id, org, source, fingerprint, content_type, body, job)
         ON CONFLICT (source_id, fingerprint) DO NOTHING RETURNING id",
    )
    .bind(sorted.iter().map(|arrival| arrival.id).collect::<Vec<_>>())
    .bind(sorted.iter().map(|arrival| arrival.org).collect::<Vec<_>>())
    .bind(sorted.iter().map(|arrival| arrival.source).collect::<Vec<_>>())
    .bind(sorted.iter().map(|arrival| arrival.fingerprint.as_slice()).collect::<Vec<_>>())
    .bind(sorted.iter().map(|arrival| arrival.content_type.as_deref()).collect::<Vec<_>>())
    .bind(sorted.iter().map(|arrival| arrival.body.as_slice()).collect::<Vec<_>>())
    .bind(sorted.iter().map(|arrival| arrival.job).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    Ok(ids.into_iter().collect())
}

/// A delivery as its job reads it.
#[derive(Debug, Clone, FromRow)]
pub struct Event {
    /// Who sent it.
    pub source_id: SourceId,
    /// The kind of job that it becomes.
    pub kind: String,
    /// The connection to a CRM that the source belongs to, if it does.
    pub connection_id: Option<ConnectionId>,
    /// When it came.
    pub received_at: DateTime<Utc>,
    /// The raw bytes; none once they were forgotten.
    pub body: Option<Vec<u8>>,
}

/// A delivery; `None` if it was forgotten, or its source deleted.
///
/// # Errors
/// When the database is away.
pub async fn get(connection: &mut PgConnection, org: OrgId, id: EventId) -> sqlx::Result<Option<Event>> {
    sqlx::query_as(
        "SELECT source_id, kind, connection_id, received_at, body FROM webhook_events AS event
         JOIN webhook_sources AS source ON source.org_id = $1 AND source.id = event.source_id
         WHERE event.org_id = $1 AND event.id = $2",
    )
    .bind(org)
    .bind(id)
    .fetch_optional(connection)
    .await
}

/// Forgets what a delivery said. That it came is still known.
///
/// # Errors
/// When the database is away.
pub async fn forget_body(connection: &mut PgConnection, org: OrgId, id: EventId) -> sqlx::Result<()> {
    sqlx::query("UPDATE webhook_events SET body = NULL WHERE org_id = $1 AND id = $2")
        .bind(org)
        .bind(id)
        .execute(connection)
        .await?;
    Ok(())
}

/// Forgets deliveries that came longer ago than `age`, `limit` at most, whoever's they are; gives how many. What a job still needs stays: one that has not
/// ended, or a dead letter that may be replayed.
///
/// # Errors
/// When the database is away.
pub async fn forget_old(connection: &mut PgConnection, age: Duration, limit: i64) -> sqlx::Result<u64> {
    let done = sqlx::query(
        "DELETE FROM webhook_events WHERE id IN (
             SELECT event.id FROM webhook_events AS event
             WHERE received_at < now() - $1 AND (body IS NULL OR NOT EXISTS (
                 SELECT FROM jobs WHERE jobs.id = event.job_id AND jobs.org_id = event.org_id
                     AND (finished_at IS NULL OR (state = 'dead' AND discarded_at IS NULL))))
             ORDER BY received_at LIMIT $2 FOR UPDATE OF event SKIP LOCKED)",
    )
    .bind(PgInterval::try_from(age).map_err(sqlx::Error::Encode)?)
    .bind(limit)
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}
