//! `connections`, with the circuit breaker of each.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::postgres::types::PgInterval;
use sqlx::{FromRow, PgConnection};

use crate::crm::{ConflictPolicy, Object, Provider};
use crate::db::{Page, PageRequest};
use crate::ids::{ConnectionId, OrgId};

/// Whether a connection serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum ConnectionState {
    /// It has proved nothing yet.
    Pending,
    /// Its credentials serve.
    Active,
    /// Its credentials were refused: somebody must grant access again.
    Reauthorize,
}

/// A connection as it is stored.
#[derive(Debug, Clone, FromRow)]
pub struct Connection {
    /// Its id.
    pub id: ConnectionId,
    /// Whose it is.
    pub org_id: OrgId,
    #[sqlx(try_from = "String")]
    provider: ProviderName,
    /// A label.
    pub name: String,
    /// The account's part of the provider's addresses, where it has one.
    pub account: Option<String>,
    #[sqlx(rename = "objects")]
    object_names: Vec<String>,
    /// Whether it serves.
    pub state: ConnectionState,
    /// Why it does not.
    pub state_reason: Option<String>,
    /// How the provider calls the account, once it was asked.
    pub account_id: Option<String>,
    /// The account's name, once it was asked.
    pub account_name: Option<String>,
    #[sqlx(try_from = "String")]
    conflict_policy: PolicyName,
    /// Calls that failed in a row.
    pub failures: i32,
    /// No calls until then.
    pub open_until: Option<DateTime<Utc>>,
    /// Whether that is still to come, by Postgres' clock, and for how many milliseconds.
    pub open_ms: Option<i64>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it changed last.
    pub updated_at: DateTime<Utc>,
}

/// A provider's name that may be one of a later version.
#[derive(Debug, Clone, Copy)]
struct ProviderName(Provider);

impl TryFrom<String> for ProviderName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

/// A policy's name.
#[derive(Debug, Clone, Copy)]
struct PolicyName(ConflictPolicy);

impl TryFrom<String> for PolicyName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

impl Connection {
    /// What becomes of changes of ours that meet changes of the CRM's.
    #[must_use]
    pub fn conflict_policy(&self) -> ConflictPolicy {
        self.conflict_policy.0
    }

    /// The CRM.
    #[must_use]
    pub fn provider(&self) -> Provider {
        self.provider.0
    }

    /// What is kept a copy of, in the order in which it is read. Names of a later version are left out.
    #[must_use]
    pub fn objects(&self) -> Vec<Object> {
        let mut objects: Vec<Object> = self.object_names.iter().filter_map(|name| name.parse().ok()).collect();
        objects.sort();
        objects
    }

    /// How long no calls are made, if the breaker is open.
    #[must_use]
    pub fn open_for(&self) -> Option<Duration> {
        self.open_ms.and_then(|ms| u64::try_from(ms).ok()).filter(|ms| *ms > 0).map(Duration::from_millis)
    }
}

/// A connection that is to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewConnection<'a> {
    /// Its id.
    pub id: ConnectionId,
    /// Whose it is to be.
    pub org: OrgId,
    /// The CRM.
    pub provider: Provider,
    /// A label.
    pub name: &'a str,
    /// The account's part of the provider's addresses, where it has one.
    pub account: Option<&'a str>,
    /// What is to be kept a copy of.
    pub objects: &'a [Object],
    /// What becomes of changes of ours that meet changes of the CRM's.
    pub conflict_policy: ConflictPolicy,
}

macro_rules! columns {
    () => {
        "id, org_id, provider, name, account, objects, state, state_reason, account_id, account_name, conflict_policy, failures, open_until, \
         (extract(epoch FROM open_until - now()) * 1000)::bigint AS open_ms, created_at, updated_at"
    };
}

/// Stores a connection.
///
/// # Errors
/// When the database refuses or is away.
pub async fn create(connection: &mut PgConnection, new: &NewConnection<'_>) -> sqlx::Result<Connection> {
    sqlx::query_as(concat!(
        "INSERT INTO connections (id, org_id, provider, name, account, objects, conflict_policy) VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING ",
        columns!()
    ))
    .bind(new.id)
    .bind(new.org)
    .bind(new.provider.as_str())
    .bind(new.name)
    .bind(new.account)
    .bind(new.objects.iter().map(|object| object.as_str()).collect::<Vec<_>>())
    .bind(new.conflict_policy.as_str())
    .fetch_one(connection)
    .await
}

/// A connection of the organisation.
///
/// # Errors
/// When the database is away.
pub async fn get(connection: &mut PgConnection, org: OrgId, id: ConnectionId) -> sqlx::Result<Option<Connection>> {
    sqlx::query_as(concat!("SELECT ", columns!(), " FROM connections WHERE org_id = $1 AND id = $2"))
        .bind(org)
        .bind(id)
        .fetch_optional(connection)
        .await
}

/// Connections of the organisation, newest first.
///
/// # Errors
/// When the database is away.
pub async fn list(connection: &mut PgConnection, org: OrgId, page: &PageRequest) -> sqlx::Result<Page<Connection>> {
    let rows: Vec<Connection> = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM connections WHERE org_id = $1 AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3"
    ))
    .bind(org)
    .bind(page.after.map(crate::db::Cursor::id))
    .bind(page.fetch_limit())
    .fetch_all(connection)
    .await?;
    Ok(page.page(rows, |row| row.id.0))
}

/// Deletes a connection with its credentials and what is left of its copy: a large one goes before, by [`super::records::delete_some`]. `false` when there is
/// none.
///
/// # Errors
/// When the database is away.
pub async fn delete(connection: &mut PgConnection, org: OrgId, id: ConnectionId) -> sqlx::Result<bool> {
    let done = sqlx::query("DELETE FROM connections WHERE org_id = $1 AND id = $2")
        .bind(org)
        .bind(id)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Changes what becomes of changes of ours that meet changes of the CRM's.
///
/// # Errors
/// When the database is away.
pub async fn set_policy(
    connection: &mut PgConnection,
    (org, id): (OrgId, ConnectionId),
    policy: ConflictPolicy,
) -> sqlx::Result<bool> {
    let done =
        sqlx::query("UPDATE connections SET conflict_policy = $3, updated_at = now() WHERE org_id = $1 AND id = $2")
            .bind(org)
            .bind(id)
            .bind(policy.as_str())
            .execute(connection)
            .await?;
    Ok(done.rows_affected() == 1)
}

/// Notes that a connection serves.
///
/// # Errors
/// When the database is away.
pub async fn activate(connection: &mut PgConnection, org: OrgId, id: ConnectionId) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE connections SET state = $3, state_reason = NULL, updated_at = now() WHERE org_id = $1 AND id = $2 AND state <> $3",
    )
    .bind(org)
    .bind(id)
    .bind(ConnectionState::Active)
    .execute(connection)
    .await
    .map(drop)
}

/// Notes that the credentials of this generation are refused. `false` if others are in their place by now.
///
/// # Errors
/// When the database is away.
pub async fn revoke(
    connection: &mut PgConnection,
    (org, id): (OrgId, ConnectionId),
    reason: &str,
    generation: i64,
) -> sqlx::Result<bool> {
    let done = sqlx::query(
        "UPDATE connections SET state = $3, state_reason = $4, updated_at = now() WHERE org_id = $1 AND id = $2
         AND EXISTS (SELECT 1 FROM connection_credentials WHERE org_id = $1 AND id = $2 AND generation = $5)",
    )
    .bind(org)
    .bind(id)
    .bind(ConnectionState::Reauthorize)
    .bind(reason)
    .bind(generation)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Keeps whose account it is.
///
/// # Errors
/// When the database is away.
pub async fn set_account(
    connection: &mut PgConnection,
    (org, id): (OrgId, ConnectionId),
    account_id: &str,
    account_name: Option<&str>,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE connections SET account_id = $3, account_name = $4, updated_at = now() WHERE org_id = $1 AND id = $2",
    )
    .bind(org)
    .bind(id)
    .bind(account_id)
    .bind(account_name)
    .execute(connection)
    .await
    .map(drop)
}

/// Keeps where an account has moved to.
///
/// # Errors
/// When the database is away.
pub async fn move_account(
    connection: &mut PgConnection,
    (org, id): (OrgId, ConnectionId),
    account: &str,
) -> sqlx::Result<()> {
    sqlx::query("UPDATE connections SET account = $3, updated_at = now() WHERE org_id = $1 AND id = $2")
        .bind(org)
        .bind(id)
        .bind(account)
        .execute(connection)
        .await
        .map(drop)
}

/// Counts a call that failed. From `threshold` failures in a row on, no calls are made for `base`, doubled with each further one up to `cap`.
///
/// # Errors
/// When the database is away.
pub async fn note_failure(
    connection: &mut PgConnection,
    (org, id): (OrgId, ConnectionId),
    threshold: i32,
    (base, cap): (Duration, Duration),
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE connections SET failures = LEAST(failures + 1, 1000), probe_until = NULL,
                open_until = CASE WHEN failures + 1 >= $3
                    THEN now() + LEAST($4 * power(2, LEAST(failures + 1 - $3, 20)), $5) ELSE open_until END
         WHERE org_id = $1 AND id = $2",
    )
    .bind(org)
    .bind(id)
    .bind(threshold)
    .bind(PgInterval::try_from(base).map_err(sqlx::Error::Encode)?)
    .bind(PgInterval::try_from(cap).map_err(sqlx::Error::Encode)?)
    .execute(connection)
    .await
    .map(drop)
}

/// No calls are made for `after`, as the CRM has asked. That is no failure.
///
/// # Errors
/// When the database is away.
pub async fn hold(
    connection: &mut PgConnection,
    (org, id): (OrgId, ConnectionId),
    after: Duration,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE connections SET open_until = GREATEST(open_until, now() + $3), probe_until = NULL WHERE org_id = $1 AND id = $2",
    )
    .bind(org)
    .bind(id)
    .bind(PgInterval::try_from(after).map_err(sqlx::Error::Encode)?)
    .execute(connection)
    .await
    .map(drop)
}

/// Notes a call that did not fail: the breaker is closed.
///
/// # Errors
/// When the database is away.
pub async fn note_success(connection: &mut PgConnection, org: OrgId, id: ConnectionId) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE connections SET failures = 0, open_until = NULL, probe_until = NULL
         WHERE org_id = $1 AND id = $2 AND (failures > 0 OR open_until IS NOT NULL)",
    )
    .bind(org)
    .bind(id)
    .execute(connection)
    .await
    .map(drop)
}

/// Whether the caller is the one that tries, for at most `time`, whether an open breaker may be closed.
///
/// # Errors
/// When the database is away.
pub async fn take_probe(
    connection: &mut PgConnection,
    org: OrgId,
    id: ConnectionId,
    time: Duration,
) -> sqlx::Result<bool> {
    let done = sqlx::query(
        "UPDATE connections SET probe_until = now() + $3
         WHERE org_id = $1 AND id = $2 AND open_until <= now() AND (probe_until IS NULL OR probe_until <= now())",
    )
    .bind(org)
    .bind(id)
    .bind(PgInterval::try_from(time).map_err(sqlx::Error::Encode)?)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}
