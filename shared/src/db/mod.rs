//! Postgres: one module per table, all SQL of the workspace.
//!
//! Functions take a connection, so that callers own the transaction and can join several calls into one. Every table with
//! tenant data carries `org_id`, and every statement on one names it.

pub mod api_keys;
pub mod asset_parts;
pub mod assets;
pub mod attempts;
pub mod crm;
mod cursor;
pub mod dead_letters;
pub mod idempotency;
pub mod jobs;
pub mod org_settings;
pub mod organisations;
pub mod partitions;
pub mod probe_effects;
pub mod queues;
pub mod rewrite;
pub mod runs;
pub mod schedules;
pub mod sealed;
pub mod search;
pub mod server;
pub mod stray_objects;
pub(crate) mod uniques;
pub mod webhooks;

use std::time::Duration;

use secrecy::ExposeSecret;
use sqlx::migrate::{Migrate, MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, PgPool};

pub use cursor::{Cursor, MalformedCursor, Page, PageRequest};

use crate::config::DatabaseConfig;

/// A statement that runs longer is a bug, or a database in trouble; either way the connection is needed elsewhere.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(15);
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
const IDLE_IN_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a request waits for a free connection, or for a new one.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// A connection that was of use so short a time ago is taken for alive. To ask it first would be a round trip for each statement; one that has
/// died meanwhile fails its next statement, like one that dies a moment later.
const TRUSTED_FOR: Duration = Duration::from_millis(500);

static MIGRATOR: Migrator = sqlx::migrate!("../migrations");

/// Opens a pool without connecting yet, so that a program can start while Postgres is away.
///
/// `application` appears in `pg_stat_activity`.
///
/// # Errors
/// When the URL holds parameters that the driver does not know.
pub fn pool(config: &DatabaseConfig, application: &str) -> Result<PgPool, sqlx::Error> {
    let milliseconds = |timeout: Duration| timeout.as_millis().to_string();
    let options = config.url.expose_secret().parse::<PgConnectOptions>()?.application_name(application).options([
        ("statement_timeout", milliseconds(STATEMENT_TIMEOUT)),
        ("lock_timeout", milliseconds(LOCK_TIMEOUT)),
        ("idle_in_transaction_session_timeout", milliseconds(IDLE_IN_TRANSACTION_TIMEOUT)),
        // A plan that is kept knows neither which partitions a batch is in, nor that one has grown that was empty when the plan was made.
        ("plan_cache_mode", "force_custom_plan".to_owned()),
        // Plans over many partitions look expensive, and compiling them takes longer than running them.
        ("jit", "off".to_owned()),
    ]);
    Ok(PgPoolOptions::new()
        .max_connections(config.max_connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(|connection, usage| {
            Box::pin(async move { Ok(usage.idle_for < TRUSTED_FOR || connection.ping().await.is_ok()) })
        })
        .max_lifetime(Duration::from_secs(30 * 60))
        .idle_timeout(Duration::from_secs(5 * 60))
        .connect_lazy_with(options))
}

/// A migration that this build has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// Its number; they run in this order.
    pub version: i64,
    /// Its name.
    pub description: String,
}

/// Applies every pending migration, one transaction each, under a lock that makes concurrent runs wait for each other.
///
/// Versions that only a newer build knows are left alone: during a rollout old and new run side by side.
///
/// # Errors
/// When a migration fails, or an applied one was changed afterwards.
pub async fn migrate(pool: &PgPool) -> Result<Vec<Migration>, MigrateError> {
    let mut connection = pool.acquire().await?;
    sqlx::query("SET statement_timeout = 0").execute(&mut *connection).await?;
    let before = pending_migrations(&mut connection).await?;
    let mut migrator = Migrator::with_migrations(MIGRATOR.iter().cloned().collect());
    migrator.set_ignore_missing(true);
    migrator.run_direct(None, &mut *connection, false).await?;
    // Closed instead of returned: its statement timeout is off.
    connection.close().await?;
    Ok(before)
}

/// The migrations that this build has and the database lacks, in order.
///
/// # Errors
/// When the database cannot be asked, or a migration failed half-way.
pub async fn pending_migrations(connection: &mut PgConnection) -> Result<Vec<Migration>, MigrateError> {
    let table_exists: bool =
        sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL").fetch_one(&mut *connection).await?;
    let applied = if table_exists { connection.list_applied_migrations("_sqlx_migrations").await? } else { Vec::new() };
    Ok(MIGRATOR
        .iter()
        .filter(|migration| migration.migration_type.is_up_migration())
        .filter(|migration| !applied.iter().any(|applied| applied.version == migration.version))
        .map(|migration| Migration { version: migration.version, description: migration.description.to_string() })
        .collect())
}

/// Whether an error means that Postgres is away or overloaded, as opposed to a statement it refused: worth trying again later.
#[must_use]
pub fn is_unavailable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        // Classes of https://www.postgresql.org/docs/current/errcodes-appendix.html: 08 connection, 53 resources, 57P
        // operator intervention (shutdown, crash, starting up), 57014 a statement over its time, 55P03 a lock that was not to be had
        // in time, 40001 and 40P01 a transaction that was sacrificed to another one, 25006 read-only (a standby during failover).
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            ["08", "53", "57P"].iter().any(|class| code.starts_with(class))
                || ["57014", "55P03", "40001", "40P01", "25006"].contains(&code.as_ref())
        }),
        _ => false,
    }
}

/// Whether Postgres is there but stopped a statement for being in another one's way, or for taking too long. It may work another time; it
/// may also never work.
#[must_use]
pub fn is_contention(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| ["57014", "55P03", "40001", "40P01"].contains(&code.as_ref()))
}

/// Whether an error is the violation of this constraint.
#[must_use]
pub fn violates(error: &sqlx::Error, constraint: &str) -> bool {
    error.as_database_error().and_then(|error| error.constraint()) == Some(constraint)
}
