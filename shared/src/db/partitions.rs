//! The partitions of the ledger: `jobs` and `job_attempts`, always cut alike, by the time in the job's id.
//!
//! ```text
//!  jobs_kept_…          jobs_p20261120_000000   jobs_p20261121_000000   …              jobs_default
//!  (MINVALUE, oldest)   [oldest, next)          [next, …)               some ahead     everything else
//! ```
//!
//! `jobs_kept_…` holds what had to survive partitions that were dropped ([`super::rewrite`]); before the first drop `jobs_first` is there instead,
//! the table that the ledger was before it had partitions. The default partition is empty as long as there are partitions ahead and clocks are right.
//!
//! Names and bounds are put into statements as text, because definitions know no parameters; both are made here from times alone.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, Connection as _, FromRow, PgConnection};

use crate::ids::JobId;

/// The tables that are partitioned, and the column by which.
pub(super) const TABLES: [(&str, &str); 2] = [("jobs", "id"), ("job_attempts", "job_id")];
/// How the name of the default partition ends.
pub(super) const DEFAULT: &str = "default";
/// How the name of a partition of survivors begins, after that of its table.
pub(super) const KEPT: &str = "kept_";
/// So long others may have to wait behind us for a lock that we wait for; then we let them through and try another time.
const LOCK_TIMEOUT: Duration = Duration::from_millis(500);
/// Moving and copying rows takes as long as it takes; nobody waits for it but those who want the very rows.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(600);

/// A partition of `jobs`, and of `job_attempts`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Partition {
    /// What follows the table's name and an underscore in its own.
    pub suffix: String,
    /// The least id in it; `None` for the one that has no lower bound.
    pub from: Option<JobId>,
    /// The least id after it.
    pub to: JobId,
}

impl Partition {
    /// Whether it holds what survived others.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.suffix.starts_with(KEPT)
    }

    /// As `ATTACH PARTITION` has them.
    pub(super) fn bounds(&self) -> String {
        let from = self.from.map_or_else(|| "MINVALUE".to_owned(), |from| format!("'{from}'"));
        format!("FOR VALUES FROM ({from}) TO ('{}')", self.to)
    }
}

/// All partitions but the default one, the oldest first.
///
/// # Errors
/// Those of the database.
pub async fn list(connection: &mut PgConnection) -> sqlx::Result<Vec<Partition>> {
    #[derive(FromRow)]
    struct Row {
        name: String,
        from: Option<JobId>,
        to: JobId,
    }
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT name, substring(bounds FROM 'FROM \\(''([0-9a-f-]{36})''\\)')::uuid AS from, \
         substring(bounds FROM 'TO \\(''([0-9a-f-]{36})''\\)')::uuid AS to FROM \
         (SELECT c.relname::text AS name, pg_get_expr(c.relpartbound, c.oid) AS bounds FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
         WHERE i.inhparent = 'jobs'::regclass) AS partitions WHERE bounds <> 'DEFAULT' ORDER BY 3",
    )
    .fetch_all(connection)
    .await?;
    let suffix = |name: String| name.strip_prefix("jobs_").map_or_else(|| name.clone(), str::to_owned);
    Ok(rows.into_iter().map(|row| Partition { suffix: suffix(row.name), from: row.from, to: row.to }).collect())
}

/// The partition that holds the ids of a span of time.
#[must_use]
pub fn between(from: DateTime<Utc>, to: DateTime<Utc>) -> Partition {
    Partition { suffix: format!("p{}", stamp(from)), from: Some(JobId::lowest_at(from)), to: JobId::lowest_at(to) }
}

pub(super) fn stamp(time: DateTime<Utc>) -> impl std::fmt::Display {
    time.format("%Y%m%d_%H%M%S")
}

/// Makes an empty partition of both tables. False where there are jobs for it in the default one: then it has to be
/// [adopted](super::rewrite::Rewrite::adopted).
///
/// Writers wait for the moment that this takes, so that none of them is on its way to the default partition with a row that belongs here.
///
/// # Errors
/// Those of the database: among them that a lock was not to be had soon.
pub async fn make(connection: &mut PgConnection, new: &Partition) -> sqlx::Result<bool> {
    let mut transaction = connection.begin().await?;
    set_timeouts(&mut transaction).await?;
    let lock = "LOCK TABLE ONLY jobs, ONLY job_attempts IN SHARE ROW EXCLUSIVE MODE";
    run(&mut transaction, lock.to_owned()).await?;
    if default_has(&mut transaction, new.from, new.to).await? {
        return Ok(false);
    }
    for (table, _) in TABLES {
        let name = format!("{table}_{}", new.suffix);
        run(&mut transaction, format!("CREATE TABLE {name} (LIKE {table} INCLUDING ALL)")).await?;
        run(&mut transaction, format!("ALTER TABLE {table} ATTACH PARTITION {name} {}", new.bounds())).await?;
    }
    transaction.commit().await?;
    Ok(true)
}

/// Whether the default partition holds a job with an id in `from..to`.
///
/// # Errors
/// Those of the database.
pub async fn default_has(connection: &mut PgConnection, from: Option<JobId>, to: JobId) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM jobs_default WHERE ($1::uuid IS NULL OR id >= $1) AND id < $2)")
        .bind(from)
        .bind(to)
        .fetch_one(connection)
        .await
}

/// How many jobs the default partition holds, counted up to `most`.
///
/// # Errors
/// Those of the database.
pub async fn default_count(connection: &mut PgConnection, most: u32) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT count(*) FROM (SELECT FROM jobs_default LIMIT $1) AS counted")
        .bind(i64::from(most))
        .fetch_one(connection)
        .await
}

pub(super) async fn set_timeouts(connection: &mut PgConnection) -> sqlx::Result<()> {
    for (name, timeout) in [("lock_timeout", LOCK_TIMEOUT), ("statement_timeout", STATEMENT_TIMEOUT)] {
        run(connection, format!("SET LOCAL {name} = {}", timeout.as_millis())).await?;
    }
    Ok(())
}

/// Runs a statement made of our own names and bounds. Gives how many rows it changed.
pub(super) async fn run(connection: &mut PgConnection, statement: String) -> sqlx::Result<u64> {
    sqlx::query(AssertSqlSafe(statement)).persistent(false).execute(connection).await.map(|done| done.rows_affected())
}
