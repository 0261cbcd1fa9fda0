//! Copies for whoever asks.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{FromRow, PgConnection};

use super::{Record, record_columns};
use crate::crm::Object;
use crate::db::{Page, PageRequest};
use crate::ids::{ConnectionId, OrgId, RecordId};

/// Which records are asked for.
#[derive(Debug, Clone, Default)]
pub struct ListRecords<'a> {
    /// Of this connection alone.
    pub connection: Option<ConnectionId>,
    /// Of this sort alone.
    pub object: Option<Object>,
    /// With these letters in their name, or this whole address or number.
    pub text: Option<&'a str>,
    /// Whose copy has changed since.
    pub updated_since: Option<DateTime<Utc>>,
    /// Whether those are wanted too that were deleted.
    pub deleted: bool,
}

/// A record of the organisation.
///
/// # Errors
/// When the database is away.
pub async fn get(connection: &mut PgConnection, org: OrgId, id: RecordId) -> sqlx::Result<Option<Record>> {
    sqlx::query_as(concat!("SELECT ", record_columns!(), " FROM crm_records WHERE org_id = $1 AND id = $2"))
        .bind(org)
        .bind(id)
        .fetch_optional(connection)
        .await
}

/// Records of the organisation, those whose copy was made last first.
///
/// # Errors
/// When the database is away.
pub async fn list(
    connection: &mut PgConnection,
    org: OrgId,
    asked: &ListRecords<'_>,
    page: &PageRequest,
) -> sqlx::Result<Page<Record>> {
    let rows: Vec<Record> = sqlx::query_as(concat!(
        "SELECT ",
        record_columns!(),
        " FROM crm_records
         WHERE org_id = $1 AND ($2::uuid IS NULL OR connection_id = $2) AND ($3::text IS NULL OR object = $3)
           AND ($4::text IS NULL OR name ILIKE '%' || $5 || '%' OR $4 = ANY(emails) OR $4 = ANY(phones) OR external_id = $4)
           AND ($6::timestamptz IS NULL OR updated_at >= $6) AND ($7 OR deleted_at IS NULL)
           AND ($8::uuid IS NULL OR id < $8)
         ORDER BY id DESC LIMIT $9"
    ))
    .bind(org)
    .bind(asked.connection)
    .bind(asked.object.map(Object::as_str))
    .bind(asked.text)
    .bind(asked.text.map(literally))
    .bind(asked.updated_since)
    .bind(asked.deleted)
    .bind(page.after.map(crate::db::Cursor::id))
    .bind(page.fetch_limit())
    .fetch_all(connection)
    .await?;
    Ok(page.page(rows, |row| row.id.0))
}

/// Text that a pattern takes for nothing but itself.
fn literally(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

/// What a version of a record changed.
#[derive(Debug, Clone, FromRow)]
pub struct Change {
    /// The version that came of it.
    pub version: i32,
    /// When.
    pub changed_at: DateTime<Utc>,
    /// `{"field": [before, after]}`.
    pub changes: Value,
}

/// What has changed in a record, the last `limit` versions, the newest first.
///
/// # Errors
/// When the database is away.
pub async fn changes(connection: &mut PgConnection, org: OrgId, id: RecordId, limit: i64) -> sqlx::Result<Vec<Change>> {
    sqlx::query_as(
        "SELECT version, changed_at, changes FROM crm_changes WHERE org_id = $1 AND record_id = $2 ORDER BY version DESC LIMIT $3",
    )
    .bind(org)
    .bind(id)
    .bind(limit)
    .fetch_all(connection)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_that_mean_something_in_patterns_mean_themselves() {
        assert_eq!(literally(r"50%_a\b"), r"50\%\_a\\b");
    }
}
