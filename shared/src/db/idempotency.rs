//! Requests that were answered already: `idempotency_keys`.

use std::time::Duration;

use serde_json::Value;
use sqlx::PgConnection;

use crate::ids::OrgId;

/// How long an answer is kept.
pub const RETENTION: Duration = Duration::from_secs(48 * 3600);

/// What is known of an idempotency key.
#[derive(Clone, PartialEq, Debug)]
pub enum Seen {
    /// Nothing: the caller now owns it and stores the answer in the same transaction.
    New,
    /// The same request was answered so.
    Answered(Value),
    /// Another request had this key.
    OtherRequest,
}

/// Claims a key for a request with this digest. Waits for a transaction that is claiming the same key.
///
/// # Errors
/// Those of the database.
pub async fn claim(connection: &mut PgConnection, org: OrgId, key: &str, digest: &[u8]) -> sqlx::Result<Seen> {
    let (known, response): (Vec<u8>, Option<Value>) = loop {
        let inserted = sqlx::query(
            "INSERT INTO idempotency_keys (org_id, idempotency_key, request_digest) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        )
        .bind(org)
        .bind(key)
        .bind(digest)
        .execute(&mut *connection)
        .await?;
        if inserted.rows_affected() == 1 {
            return Ok(Seen::New);
        }
        let seen = sqlx::query_as(
            "SELECT request_digest, response FROM idempotency_keys WHERE org_id = $1 AND idempotency_key = $2",
        )
        .bind(org)
        .bind(key)
        .fetch_optional(&mut *connection)
        .await?;
        // It may have been forgotten for its age in between.
        if let Some(seen) = seen {
            break seen;
        }
    };
    Ok(match response {
        Some(response) if known == digest => Seen::Answered(response),
        _ => Seen::OtherRequest,
    })
}

/// Stores the answer to a claimed key.
///
/// # Errors
/// Those of the database.
pub async fn answer(connection: &mut PgConnection, org: OrgId, key: &str, response: &Value) -> sqlx::Result<()> {
    sqlx::query("UPDATE idempotency_keys SET response = $3 WHERE org_id = $1 AND idempotency_key = $2")
        .bind(org)
        .bind(key)
        .bind(response)
        .execute(connection)
        .await
        .map(drop)
}

/// Forgets answers older than [`RETENTION`], a bounded number at a time. Gives how many.
///
/// # Errors
/// Those of the database.
pub async fn forget_old(connection: &mut PgConnection, limit: u32) -> sqlx::Result<u64> {
    let forgotten = sqlx::query(
        "DELETE FROM idempotency_keys WHERE (org_id, idempotency_key) IN (SELECT org_id, idempotency_key FROM idempotency_keys \
         WHERE created_at < now() - $1 * interval '1 second' ORDER BY created_at LIMIT $2)",
    )
    .bind(i64::try_from(RETENTION.as_secs()).unwrap_or(i64::MAX))
    .bind(i64::from(limit))
    .execute(connection)
    .await?;
    Ok(forgotten.rows_affected())
}
