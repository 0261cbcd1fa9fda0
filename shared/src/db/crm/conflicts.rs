//! `crm_conflicts`: changes of ours that met changes of the CRM's.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::db::{Page, PageRequest};
use crate::ids::{ConflictId, JobId, OrgId, RecordId};

/// A conflict as it is stored.
#[derive(Debug, Clone, FromRow)]
pub struct Conflict {
    /// Its id.
    pub id: ConflictId,
    /// What it is about.
    pub record_id: RecordId,
    /// The job that met it.
    pub job_id: JobId,
    /// `{"field": [as the change knew it, as it is there, as the change has it]}`.
    pub fields: Value,
    /// When it was met.
    pub created_at: DateTime<Utc>,
    /// When somebody said which side stays.
    pub resolved_at: Option<DateTime<Utc>>,
    /// Which one: `crm` or `local`.
    pub taken: Option<String>,
}

/// Keeps a conflict. The same job meets it once.
///
/// # Errors
/// When the record is gone, or the database is away.
pub async fn insert(
    connection: &mut PgConnection,
    org: OrgId,
    record: RecordId,
    job: JobId,
    fields: &Value,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO crm_conflicts (id, org_id, record_id, job_id, fields) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (job_id) DO NOTHING",
    )
    .bind(ConflictId::new())
    .bind(org)
    .bind(record)
    .bind(job)
    .bind(fields)
    .execute(connection)
    .await
    .map(drop)
}

/// Conflicts of the organisation, newest first; those that wait, unless all are wanted.
///
/// # Errors
/// When the database is away.
pub async fn list(
    connection: &mut PgConnection,
    org: OrgId,
    resolved_too: bool,
    page: &PageRequest,
) -> sqlx::Result<Page<Conflict>> {
    let rows: Vec<Conflict> = sqlx::query_as(
        "SELECT id, record_id, job_id, fields, created_at, resolved_at, taken FROM crm_conflicts
         WHERE org_id = $1 AND ($2 OR resolved_at IS NULL) AND ($3::uuid IS NULL OR id < $3) ORDER BY id DESC LIMIT $4",
    )
    .bind(org)
    .bind(resolved_too)
    .bind(page.after.map(crate::db::Cursor::id))
    .bind(page.fetch_limit())
    .fetch_all(connection)
    .await?;
    Ok(page.page(rows, |row| row.id.0))
}

/// Notes which side of a conflict stays, if nobody has said so before. Gives the conflict; `None` if there is no such one that waits.
///
/// # Errors
/// When the database is away.
pub async fn resolve(
    connection: &mut PgConnection,
    org: OrgId,
    id: ConflictId,
    taken: &str,
) -> sqlx::Result<Option<Conflict>> {
    sqlx::query_as(
        "UPDATE crm_conflicts SET resolved_at = now(), taken = $3 WHERE org_id = $1 AND id = $2 AND resolved_at IS NULL
         RETURNING id, record_id, job_id, fields, created_at, resolved_at, taken",
    )
    .bind(org)
    .bind(id)
    .bind(taken)
    .fetch_optional(connection)
    .await
}

/// Whether there is a conflict of that id, whatever became of it.
///
/// # Errors
/// When the database is away.
pub async fn exists(connection: &mut PgConnection, org: OrgId, id: ConflictId) -> sqlx::Result<bool> {
    let found: Option<Uuid> = sqlx::query_scalar("SELECT id FROM crm_conflicts WHERE org_id = $1 AND id = $2")
        .bind(org)
        .bind(id)
        .fetch_optional(connection)
        .await?;
    Ok(found.is_some())
}
