//! Tenants.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::ids::OrgId;

/// A tenant.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Organisation {
    /// Its id.
    pub id: OrgId,
    /// When it was created.
    pub created_at: DateTime<Utc>,
}

/// Creates an organisation.
///
/// # Errors
/// When the database refuses or is away.
pub async fn create(connection: &mut PgConnection, id: OrgId) -> Result<Organisation, sqlx::Error> {
    sqlx::query_as("INSERT INTO organisations (id) VALUES ($1) RETURNING id, created_at")
        .bind(id)
        .fetch_one(connection)
        .await
}

/// Whether the organisation exists.
///
/// # Errors
/// When the database is away.
pub async fn exists(connection: &mut PgConnection, id: OrgId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM organisations WHERE id = $1)").bind(id).fetch_one(connection).await
}
