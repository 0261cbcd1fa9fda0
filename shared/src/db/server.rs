//! Facts about the server itself, for checks.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection};

/// What a Postgres says of itself.
#[derive(Clone, Debug, FromRow)]
pub struct ServerFacts {
    /// Its version as a number: 160002 is 16.2.
    pub version_number: i32,
    /// Its version as it is written.
    pub version: String,
    /// `on` where commits survive a power cut.
    pub fsync: String,
    /// `off` where commits of the last moment may be lost.
    pub synchronous_commit: String,
    /// `on` where a torn page can be mended.
    pub full_page_writes: String,
    /// Connections that users other than superusers may have.
    pub max_connections: i32,
    /// Connections that are open.
    pub open_connections: i64,
    /// Whether it is a standby, which takes no writes.
    pub is_standby: bool,
    /// Its clock.
    pub now: DateTime<Utc>,
}

/// Asks the server for its facts.
///
/// # Errors
/// Those of the database.
pub async fn facts(connection: &mut PgConnection) -> sqlx::Result<ServerFacts> {
    sqlx::query_as(
        "SELECT current_setting('server_version_num')::int AS version_number, current_setting('server_version') AS version, \
         current_setting('fsync') AS fsync, current_setting('synchronous_commit') AS synchronous_commit, \
         current_setting('full_page_writes') AS full_page_writes, \
         current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int AS max_connections, \
         (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS open_connections, \
         pg_is_in_recovery() AS is_standby, clock_timestamp() AS now",
    )
    .fetch_one(connection)
    .await
}
