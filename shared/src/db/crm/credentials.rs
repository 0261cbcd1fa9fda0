//! `connection_credentials`: sealed, and replaced by one at a time.

use sqlx::{FromRow, PgConnection};

use crate::ids::{ConnectionId, OrgId};
use crate::seal::Sealed;

/// What a connection proves itself with, sealed.
#[derive(Debug, Clone, FromRow)]
pub struct StoredCredentials {
    /// The [credentials](crate::crm::Credentials).
    pub sealed: Sealed,
    /// Counts replacements: whoever was refused with an older generation need only read again.
    pub generation: i64,
}

/// Stores the credentials of a new connection.
///
/// # Errors
/// When there is no such connection, or the database is away.
pub async fn insert(connection: &mut PgConnection, org: OrgId, id: ConnectionId, sealed: &Sealed) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO connection_credentials (id, org_id, sealed) VALUES ($1, $2, $3)")
        .bind(id)
        .bind(org)
        .bind(sealed)
        .execute(connection)
        .await
        .map(drop)
}

/// The credentials of a connection.
///
/// # Errors
/// When the database is away.
pub async fn get(
    connection: &mut PgConnection,
    org: OrgId,
    id: ConnectionId,
) -> sqlx::Result<Option<StoredCredentials>> {
    sqlx::query_as("SELECT sealed, generation FROM connection_credentials WHERE org_id = $1 AND id = $2")
        .bind(org)
        .bind(id)
        .fetch_optional(connection)
        .await
}

/// The credentials of a connection for their replacement, until the transaction ends; `None` too while another replaces them.
///
/// # Errors
/// When the database is away.
pub async fn lock(
    connection: &mut PgConnection,
    org: OrgId,
    id: ConnectionId,
) -> sqlx::Result<Option<StoredCredentials>> {
    sqlx::query_as(
        "SELECT sealed, generation FROM connection_credentials WHERE org_id = $1 AND id = $2 FOR UPDATE SKIP LOCKED",
    )
    .bind(org)
    .bind(id)
    .fetch_optional(connection)
    .await
}

/// The same, waiting for whoever replaces them.
///
/// # Errors
/// When the database is away, or it takes too long.
pub async fn lock_waiting(
    connection: &mut PgConnection,
    org: OrgId,
    id: ConnectionId,
) -> sqlx::Result<Option<StoredCredentials>> {
    sqlx::query_as("SELECT sealed, generation FROM connection_credentials WHERE org_id = $1 AND id = $2 FOR UPDATE")
        .bind(org)
        .bind(id)
        .fetch_optional(connection)
        .await
}

/// Replaces the credentials of a connection, whose row the caller has locked.
///
/// # Errors
/// When the database is away.
pub async fn replace(connection: &mut PgConnection, org: OrgId, id: ConnectionId, sealed: &Sealed) -> sqlx::Result<()> {
    let done = sqlx::query(
        "UPDATE connection_credentials SET sealed = $3, generation = generation + 1, updated_at = now()
         WHERE org_id = $1 AND id = $2",
    )
    .bind(org)
    .bind(id)
    .bind(sealed)
    .execute(connection)
    .await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(sqlx::Error::RowNotFound) }
}
