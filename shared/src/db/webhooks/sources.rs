//! `webhook_sources` and `webhook_secrets`.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::postgres::types::PgInterval;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection};

use crate::db::sealed::WEBHOOK_SECRETS;
use crate::ids::{ConnectionId, OrgId, SecretId, SourceId};
use crate::seal::{Place, Sealed};
use crate::webhook::Scheme;

/// A source as it is stored.
#[derive(Debug, Clone, FromRow)]
pub struct Source {
    /// Its id, which is in its URL.
    pub id: SourceId,
    /// Whose it is.
    pub org_id: OrgId,
    /// A label.
    pub name: String,
    /// How its deliveries are verified.
    pub scheme: Json<Scheme>,
    /// The kind of job that each delivery becomes.
    pub kind: String,
    /// The connection to a CRM that the deliveries are of.
    pub connection_id: Option<ConnectionId>,
    /// How far the signed time may be from ours, in seconds.
    pub tolerance_seconds: i32,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it or its secrets changed last.
    pub updated_at: DateTime<Utc>,
}

/// A source that is to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewSource<'a> {
    /// Its id.
    pub id: SourceId,
    /// Whose it is to be.
    pub org: OrgId,
    /// A label.
    pub name: &'a str,
    /// How its deliveries are verified.
    pub scheme: &'a Scheme,
    /// The kind of job that each delivery becomes.
    pub kind: &'a str,
    /// The connection to a CRM that the deliveries are of.
    pub connection_id: Option<ConnectionId>,
    /// How far the signed time may be from ours, in seconds.
    pub tolerance_seconds: i32,
}

/// Stores a source. It verifies nothing before it has a secret.
///
/// # Errors
/// When the database refuses or is away.
pub async fn create(connection: &mut PgConnection, new: &NewSource<'_>) -> sqlx::Result<Source> {
    sqlx::query_as(
        "INSERT INTO webhook_sources (id, org_id, name, scheme, kind, connection_id, tolerance_seconds) VALUES ($1, $2, $3, $4, $5, $6, $7)
         RETURNING id, org_id, name, scheme, kind, connection_id, tolerance_seconds, created_at, updated_at",
    )
    .bind(new.id)
    .bind(new.org)
    .bind(new.name)
    .bind(Json(new.scheme))
    .bind(new.kind)
    .bind(new.connection_id)
    .bind(new.tolerance_seconds)
    .fetch_one(connection)
    .await
}

/// A source of the organisation.
///
/// # Errors
/// When the database is away.
pub async fn get(connection: &mut PgConnection, org: OrgId, id: SourceId) -> sqlx::Result<Option<Source>> {
    sqlx::query_as(
        "SELECT id, org_id, name, scheme, kind, connection_id, tolerance_seconds, created_at, updated_at
         FROM webhook_sources WHERE org_id = $1 AND id = $2",
    )
    .bind(org)
    .bind(id)
    .fetch_optional(connection)
    .await
}

/// Sources of the organisation, newest first, those before `before`, at most `limit`.
///
/// # Errors
/// When the database is away.
pub async fn list(
    connection: &mut PgConnection,
    org: OrgId,
    before: Option<SourceId>,
    limit: i64,
) -> sqlx::Result<Vec<Source>> {
    sqlx::query_as(
        "SELECT id, org_id, name, scheme, kind, connection_id, tolerance_seconds, created_at, updated_at
         FROM webhook_sources WHERE org_id = $1 AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3",
    )
    .bind(org)
    .bind(before)
    .bind(limit)
    .fetch_all(connection)
    .await
}

/// Deletes a source with its secrets and what it sent. Jobs that were made of that go on. `false` when there is none.
///
/// # Errors
/// When the database is away.
pub async fn delete(connection: &mut PgConnection, org: OrgId, id: SourceId) -> sqlx::Result<bool> {
    let done = sqlx::query("DELETE FROM webhook_sources WHERE org_id = $1 AND id = $2")
        .bind(org)
        .bind(id)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Which of these sources are there, whoever's they are; none of them can be deleted before the transaction ends.
///
/// # Errors
/// When the database is away.
pub async fn hold(connection: &mut PgConnection, ids: &[SourceId]) -> sqlx::Result<HashSet<SourceId>> {
    let held: Vec<SourceId> =
        sqlx::query_scalar("SELECT id FROM webhook_sources WHERE id = ANY($1) ORDER BY id FOR KEY SHARE")
            .bind(ids)
            .fetch_all(connection)
            .await?;
    Ok(held.into_iter().collect())
}

/// A secret of a source as it is stored.
#[derive(Debug, Clone, FromRow)]
pub struct SecretRecord {
    /// Its id, which its seal is bound to.
    pub id: SecretId,
    /// The secret.
    pub sealed: Sealed,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// From then on it verifies nothing.
    pub valid_until: Option<DateTime<Utc>>,
}

impl SecretRecord {
    /// Where a secret is, which its seal is bound to.
    #[must_use]
    pub fn place_of(org: OrgId, id: SecretId) -> Place {
        WEBHOOK_SECRETS.place(org, id.0)
    }

    /// Where this one is.
    #[must_use]
    pub fn place(&self, org: OrgId) -> Place {
        Self::place_of(org, self.id)
    }
}

/// Adds a secret to a source.
///
/// # Errors
/// When there is no such source, or the database is away.
pub async fn add_secret(
    connection: &mut PgConnection,
    (org, source): (OrgId, SourceId),
    id: SecretId,
    sealed: &Sealed,
) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO webhook_secrets (id, org_id, source_id, sealed) VALUES ($1, $2, $3, $4)")
        .bind(id)
        .bind(org)
        .bind(source)
        .bind(sealed)
        .execute(connection)
        .await?;
    Ok(())
}

/// Lets the secrets that a source has end after `overlap`, those that end sooner left alone, and takes those out that have ended.
///
/// # Errors
/// When the database is away.
pub async fn expire_secrets(
    connection: &mut PgConnection,
    org: OrgId,
    source: SourceId,
    overlap: Duration,
) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM webhook_secrets WHERE org_id = $1 AND source_id = $2 AND valid_until <= now()")
        .bind(org)
        .bind(source)
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "UPDATE webhook_secrets SET valid_until = LEAST(valid_until, now() + $3) WHERE org_id = $1 AND source_id = $2",
    )
    .bind(org)
    .bind(source)
    .bind(PgInterval::try_from(overlap).map_err(sqlx::Error::Encode)?)
    .execute(&mut *connection)
    .await?;
    sqlx::query("UPDATE webhook_sources SET updated_at = now() WHERE org_id = $1 AND id = $2")
        .bind(org)
        .bind(source)
        .execute(connection)
        .await?;
    Ok(())
}

/// The secrets of a source that verify now, the newest first.
///
/// # Errors
/// When the database is away.
pub async fn secrets(connection: &mut PgConnection, org: OrgId, source: SourceId) -> sqlx::Result<Vec<SecretRecord>> {
    sqlx::query_as(
        "SELECT id, sealed, created_at, valid_until FROM webhook_secrets
         WHERE org_id = $1 AND source_id = $2 AND (valid_until IS NULL OR valid_until > now()) ORDER BY id DESC",
    )
    .bind(org)
    .bind(source)
    .fetch_all(connection)
    .await
}

#[derive(FromRow)]
struct Held {
    source_id: SourceId,
    #[sqlx(flatten)]
    secret: SecretRecord,
}

/// Sources by their ids alone, whoever's they are, with the secrets that verify now: for deliveries, whose only credential is what they prove.
///
/// # Errors
/// When the database is away.
pub async fn keyholders(
    connection: &mut PgConnection,
    ids: &[SourceId],
) -> sqlx::Result<HashMap<SourceId, (Source, Vec<SecretRecord>)>> {
    let sources: Vec<Source> = sqlx::query_as(
        "SELECT id, org_id, name, scheme, kind, connection_id, tolerance_seconds, created_at, updated_at
         FROM webhook_sources WHERE id = ANY($1)",
    )
    .bind(ids)
    .fetch_all(&mut *connection)
    .await?;
    Ok(with_secrets(connection, sources).await?.into_iter().map(|found| (found.0.id, found)).collect())
}

/// Sources, each with the secrets that verify now, the newest first; in their order, by one statement for all.
///
/// # Errors
/// When the database is away.
pub async fn with_secrets(
    connection: &mut PgConnection,
    sources: Vec<Source>,
) -> sqlx::Result<Vec<(Source, Vec<SecretRecord>)>> {
    let held: Vec<Held> = sqlx::query_as(
        "SELECT source_id, secret.id, sealed, created_at, valid_until
         FROM UNNEST($1::uuid[], $2::uuid[]) AS asked (org, source)
         JOIN webhook_secrets AS secret ON secret.org_id = asked.org AND secret.source_id = asked.source
         WHERE valid_until IS NULL OR valid_until > now() ORDER BY secret.id DESC",
    )
    .bind(sources.iter().map(|source| source.org_id).collect::<Vec<_>>())
    .bind(sources.iter().map(|source| source.id).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    let mut secrets: HashMap<SourceId, Vec<SecretRecord>> = HashMap::new();
    for Held { source_id, secret } in held {
        secrets.entry(source_id).or_default().push(secret);
    }
    let of = |source: Source| {
        let secrets = secrets.remove(&source.id).unwrap_or_default();
        (source, secrets)
    };
    Ok(sources.into_iter().map(of).collect())
}
