//! API keys, by their hash.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::auth::{ApiKey, KeyHash, Principal, Role, Subject};
use crate::ids::{KeyId, OrgId};

/// What is known of a key; never the key.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct KeyRecord {
    /// The record's id, by which the key is revoked.
    pub id: KeyId,
    /// The tenant that it acts for.
    pub org_id: OrgId,
    /// What it allows.
    pub role: Role,
    /// A name that people gave it.
    pub label: String,
    /// The key's first characters.
    pub prefix: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was used last, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// Stores a key's hash. The organisation must exist.
///
/// # Errors
/// When the database refuses or is away.
pub async fn create(
    connection: &mut PgConnection,
    org: OrgId,
    role: Role,
    label: &str,
    key: &ApiKey,
) -> Result<KeyRecord, sqlx::Error> {
    sqlx::query_as(
        "INSERT INTO api_keys (id, org_id, role, label, hash, prefix) VALUES ($1, $2, $3, $4, $5, $6)
         RETURNING id, org_id, role, label, prefix, created_at, last_used_at, revoked_at",
    )
    .bind(KeyId::new())
    .bind(org)
    .bind(role)
    .bind(label)
    .bind(key.hash().as_bytes())
    .bind(key.display_prefix())
    .fetch_one(connection)
    .await
}

#[derive(sqlx::FromRow)]
struct Match {
    id: KeyId,
    org_id: OrgId,
    role: Role,
    hash: Vec<u8>,
    use_is_unrecorded: bool,
}

/// Who holds these keys, parallel to `hashes`; `None` if nobody does, or if the key was revoked. Notes the use, at most once a minute.
///
/// # Errors
/// When the database is away.
pub async fn authenticate(
    connection: &mut PgConnection,
    hashes: &[KeyHash],
) -> Result<Vec<Option<Principal>>, sqlx::Error> {
    let found: Vec<Match> = sqlx::query_as(
        "SELECT id, org_id, role, hash,
                last_used_at IS NULL OR last_used_at < now() - interval '1 minute' AS use_is_unrecorded
         FROM api_keys WHERE hash = ANY($1) AND revoked_at IS NULL",
    )
    .bind(hashes.iter().map(|hash| hash.as_bytes()).collect::<Vec<_>>())
    .fetch_all(&mut *connection)
    .await?;
    let unrecorded: Vec<KeyId> = found.iter().filter(|key| key.use_is_unrecorded).map(|key| key.id).collect();
    if !unrecorded.is_empty() {
        // Concurrent requests with one key must not queue up behind each other's row lock.
        sqlx::query(
            "UPDATE api_keys SET last_used_at = now()
             WHERE id IN (SELECT id FROM api_keys WHERE id = ANY($1) FOR UPDATE SKIP LOCKED)",
        )
        .bind(unrecorded)
        .execute(connection)
        .await?;
    }
    let holder = |hash: &KeyHash| {
        let key = found.iter().find(|key| hash.matches(&key.hash))?;
        Some(Principal { org: key.org_id, role: key.role, subject: Subject::Key(key.id) })
    };
    Ok(hashes.iter().map(holder).collect())
}

/// All keys, or those of one organisation, newest first.
///
/// # Errors
/// When the database is away.
pub async fn list(connection: &mut PgConnection, org: Option<OrgId>) -> Result<Vec<KeyRecord>, sqlx::Error> {
    sqlx::query_as(
        "SELECT id, org_id, role, label, prefix, created_at, last_used_at, revoked_at
         FROM api_keys WHERE $1::uuid IS NULL OR org_id = $1 ORDER BY id DESC",
    )
    .bind(org)
    .fetch_all(connection)
    .await
}

/// Revokes a key for good; `false` when there is no such key that is still valid.
///
/// # Errors
/// When the database is away.
pub async fn revoke(connection: &mut PgConnection, id: KeyId) -> Result<bool, sqlx::Error> {
    let done = sqlx::query("UPDATE api_keys SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL")
        .bind(id)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}
