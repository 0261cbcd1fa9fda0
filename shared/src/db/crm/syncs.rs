//! `crm_syncs`, `crm_watermarks` and `crm_drift`: how syncs went, and how far they have come.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{FromRow, PgConnection};

use crate::crm::{Object, SyncMode};
use crate::db::{Page, PageRequest};
use crate::ids::{ConnectionId, JobId, OrgId};

/// How a sync went, or goes.
#[derive(Debug, Clone, FromRow)]
pub struct Sync {
    /// That of its job.
    pub id: JobId,
    /// `incremental` or `full`.
    pub mode: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended well.
    pub finished_at: Option<DateTime<Utc>>,
    /// What it met, by object.
    pub counts: Value,
    /// Where it is.
    pub cursor: Option<String>,
    /// What went wrong last.
    pub error: Option<String>,
    /// The state of its job; none once the ledger has forgotten it.
    pub job_state: Option<String>,
}

/// Notes that a sync begins, or goes on.
///
/// # Errors
/// When the connection is gone, or the database is away.
pub async fn begin(
    connection: &mut PgConnection,
    (org, id): (OrgId, ConnectionId),
    job: JobId,
    mode: SyncMode,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO crm_syncs (id, org_id, connection_id, mode) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING",
    )
    .bind(job)
    .bind(org)
    .bind(id)
    .bind(mode.as_str())
    .execute(connection)
    .await
    .map(drop)
}

/// Keeps how far a sync is.
///
/// # Errors
/// When the database is away.
pub async fn note(
    connection: &mut PgConnection,
    org: OrgId,
    job: JobId,
    counts: &Value,
    cursor: Option<&str>,
) -> sqlx::Result<()> {
    sqlx::query("UPDATE crm_syncs SET counts = $3, cursor = $4, error = NULL WHERE org_id = $1 AND id = $2")
        .bind(org)
        .bind(job)
        .bind(counts)
        .bind(cursor)
        .execute(connection)
        .await
        .map(drop)
}

/// Keeps what went wrong.
///
/// # Errors
/// When the database is away.
pub async fn note_error(connection: &mut PgConnection, org: OrgId, job: JobId, error: &str) -> sqlx::Result<()> {
    sqlx::query("UPDATE crm_syncs SET error = $3 WHERE org_id = $1 AND id = $2")
        .bind(org)
        .bind(job)
        .bind(error)
        .execute(connection)
        .await
        .map(drop)
}

/// Notes that a sync has ended well.
///
/// # Errors
/// When the database is away.
pub async fn finish(connection: &mut PgConnection, org: OrgId, job: JobId, counts: &Value) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE crm_syncs SET counts = $3, cursor = NULL, error = NULL, finished_at = now() WHERE org_id = $1 AND id = $2",
    )
    .bind(org)
    .bind(job)
    .bind(counts)
    .execute(connection)
    .await
    .map(drop)
}

/// Syncs of a connection, newest first.
///
/// # Errors
/// When the database is away.
pub async fn list(
    connection: &mut PgConnection,
    org: OrgId,
    id: ConnectionId,
    page: &PageRequest,
) -> sqlx::Result<Page<Sync>> {
    let rows: Vec<Sync> = sqlx::query_as(
        "SELECT crm_syncs.id, mode, crm_syncs.started_at, crm_syncs.finished_at, counts, cursor, crm_syncs.error, jobs.state AS job_state
         FROM crm_syncs LEFT JOIN jobs ON jobs.id = crm_syncs.id AND jobs.org_id = $1
         WHERE crm_syncs.org_id = $1 AND connection_id = $2 AND ($3::uuid IS NULL OR crm_syncs.id < $3)
         ORDER BY crm_syncs.id DESC LIMIT $4",
    )
    .bind(org)
    .bind(id)
    .bind(page.after.map(crate::db::Cursor::id))
    .bind(page.fetch_limit())
    .fetch_all(connection)
    .await?;
    Ok(page.page(rows, |row| row.id.0))
}

/// Up to when an object has been read, by the provider's clock; none before the first whole sync.
///
/// # Errors
/// When the database is away.
pub async fn watermark(
    connection: &mut PgConnection,
    org: OrgId,
    id: ConnectionId,
    object: Object,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar("SELECT read_until FROM crm_watermarks WHERE org_id = $1 AND connection_id = $2 AND object = $3")
        .bind(org)
        .bind(id)
        .bind(object.as_str())
        .fetch_optional(connection)
        .await
}

/// Whether a connection has been read before.
///
/// # Errors
/// When the database is away.
pub async fn has_watermark(connection: &mut PgConnection, org: OrgId, id: ConnectionId) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM crm_watermarks WHERE org_id = $1 AND connection_id = $2)")
        .bind(org)
        .bind(id)
        .fetch_one(connection)
        .await
}

/// Keeps up to when an object has been read.
///
/// # Errors
/// When the connection is gone, or the database is away.
pub async fn set_watermark(
    connection: &mut PgConnection,
    (org, id, object): (OrgId, ConnectionId, Object),
    read_until: DateTime<Utc>,
    mode: SyncMode,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO crm_watermarks (connection_id, org_id, object, read_until, full_at)
         VALUES ($1, $2, $3, $4, CASE WHEN $5 THEN now() END)
         ON CONFLICT (connection_id, object) DO UPDATE
         SET read_until = GREATEST(crm_watermarks.read_until, excluded.read_until),
             full_at = coalesce(excluded.full_at, crm_watermarks.full_at)",
    )
    .bind(id)
    .bind(org)
    .bind(object.as_str())
    .bind(read_until)
    .bind(mode == SyncMode::Full)
    .execute(connection)
    .await
    .map(drop)
}

/// A field that was not what it is known to be.
#[derive(Debug, Clone, FromRow)]
pub struct Drift {
    /// The sort of record.
    pub object: String,
    /// The field.
    pub field: String,
    /// What it was instead.
    pub problem: String,
    /// When that was first met.
    pub first_seen_at: DateTime<Utc>,
    /// When that was last met.
    pub last_seen_at: DateTime<Utc>,
}

/// Keeps that fields were not what they are known to be.
///
/// # Errors
/// When the connection is gone, or the database is away.
pub async fn note_drift(
    connection: &mut PgConnection,
    (org, id, object): (OrgId, ConnectionId, Object),
    found: &[(String, String)],
) -> sqlx::Result<()> {
    let (fields, problems): (Vec<&str>, Vec<&str>) =
        found.iter().map(|(field, problem)| (field.as_str(), problem.as_str())).unzip();
    sqlx::query(
        "INSERT INTO crm_drift (connection_id, org_id, object, field, problem)
         SELECT DISTINCT $1, $2, $3, field, problem FROM UNNEST($4::text[], $5::text[]) AS found (field, problem)
         ON CONFLICT (connection_id, object, field, problem) DO UPDATE SET last_seen_at = now()",
    )
    .bind(id)
    .bind(org)
    .bind(object.as_str())
    .bind(fields)
    .bind(problems)
    .execute(connection)
    .await
    .map(drop)
}

/// What has drifted in a connection.
///
/// # Errors
/// When the database is away.
pub async fn drift(connection: &mut PgConnection, org: OrgId, id: ConnectionId) -> sqlx::Result<Vec<Drift>> {
    sqlx::query_as(
        "SELECT object, field, problem, first_seen_at, last_seen_at FROM crm_drift
         WHERE org_id = $1 AND connection_id = $2 ORDER BY last_seen_at DESC LIMIT 200",
    )
    .bind(org)
    .bind(id)
    .fetch_all(connection)
    .await
}
