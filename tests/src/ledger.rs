//! Questions to Postgres.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use sqlx::{FromRow, PgPool, postgres::PgPoolOptions};
use uuid::Uuid;

use crate::until;

/// The test's own eyes on the ledger.
#[derive(Clone, Debug)]
pub struct Ledger {
    pool: PgPool,
}

/// What the ledger says of one job.
#[derive(Clone, Debug, FromRow)]
pub struct JobFacts {
    /// The job.
    pub id: Uuid,
    /// The ledger's state.
    pub state: String,
    /// Attempts used up.
    pub attempt: i32,
    /// Rows of `job_attempts`: attempts that did not succeed.
    pub failed_attempts: i64,
    /// Rows of `probe_effects`.
    pub effects: i64,
    /// Whether there should be one if it succeeded.
    pub has_effect: bool,
    /// Which worker wrote its end.
    pub worker: Option<String>,
    /// The last error.
    pub error: Option<String>,
}

impl Ledger {
    /// Looks at the database at `url`, connecting when first asked and again after it was away.
    ///
    /// # Errors
    /// When the URL is none.
    pub fn open(url: &str) -> Result<Self> {
        let options = PgPoolOptions::new().max_connections(2).acquire_timeout(Duration::from_secs(20));
        Ok(Self { pool: options.connect_lazy(url).context("the database's URL is none")? })
    }

    /// For questions that only one test has.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Every job, in the order of acceptance.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn jobs(&self) -> Result<Vec<JobFacts>> {
        let jobs = sqlx::query_as(
            "SELECT id, state, attempt, worker, error, COALESCE((payload->>'effect')::bool, false) AS has_effect, \
             (SELECT count(*) FROM job_attempts a WHERE a.job_id = jobs.id) AS failed_attempts, \
             (SELECT count(*) FROM probe_effects e WHERE e.job_id = jobs.id) AS effects FROM jobs ORDER BY id",
        );
        jobs.fetch_all(&self.pool).await.context("cannot read the ledger")
    }

    /// How many jobs are in each state.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn states(&self) -> Result<BTreeMap<String, i64>> {
        let rows: Vec<(String, i64)> =
            sqlx::query_as("SELECT state, count(*) FROM jobs GROUP BY state").fetch_all(&self.pool).await?;
        Ok(rows.into_iter().collect())
    }

    /// How many jobs are in this state.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn count(&self, state: &str) -> Result<i64> {
        Ok(self.states().await?.get(state).copied().unwrap_or(0))
    }

    /// Waits until at least so many jobs are in this state.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub async fn wait_count(&self, state: &str, least: i64, deadline: Duration) -> Result<()> {
        until(&format!("{least} jobs are {state}"), deadline, async || Ok(self.count(state).await? >= least)).await
    }

    /// Waits until no job is left to be done.
    ///
    /// # Errors
    /// When that does not happen in time; the message tells the states.
    pub async fn wait_all_ended(&self, deadline: Duration) -> Result<()> {
        let done = until("every job has ended", deadline, async || {
            let asked = sqlx::query_scalar("SELECT NOT EXISTS (SELECT FROM jobs WHERE finished_at IS NULL)");
            asked.fetch_one(&self.pool).await.context("cannot read the ledger")
        });
        let done = done.await;
        if let Err(error) = done {
            let states = self.states().await?;
            return Err(error.context(format!("jobs by state: {states:?}")));
        }
        Ok(())
    }

    /// Makes all objects due that are noted to be deleted, as if their hour was over. Gives how many are noted.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn hurry_strays(&self) -> Result<u64> {
        let done = sqlx::query("UPDATE stray_objects SET due_at = now()").execute(&self.pool).await;
        Ok(done.context("cannot change what is to be swept")?.rows_affected())
    }

    /// Whether a statement in this database waits for a lock.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn somebody_waits(&self) -> Result<bool> {
        let waiting = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')";
        sqlx::query_scalar(waiting).fetch_one(&self.pool).await.context("cannot ask who waits")
    }

    /// What is in other tables without a job that accounts for it, one line each.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn strays(&self) -> Result<Vec<String>> {
        let mut strays = Vec::new();
        for (what, sql) in [
            (
                "effects of no job",
                "SELECT count(*) FROM probe_effects e WHERE NOT EXISTS (SELECT FROM jobs WHERE id = e.job_id)",
            ),
            (
                "unique keys of jobs that have ended",
                "SELECT count(*) FROM job_uniques u JOIN jobs ON jobs.id = u.job_id WHERE finished_at IS NOT NULL",
            ),
        ] {
            let count: i64 = sqlx::query_scalar(sql).fetch_one(&self.pool).await.context("cannot read the ledger")?;
            if count > 0 {
                strays.push(format!("{count} {what}"));
            }
        }
        Ok(strays)
    }
}
