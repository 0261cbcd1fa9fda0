//! What every command works with: the configuration, the two servers, and where answers go.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use anyhow::{Context as _, Result};
use millrace_shared::{
    config::{AdminConfig, LogConfig, Source},
    db::{self, jobs::JobRow},
    intake::within_patience,
    jobs::{KindSet, Kinds},
    ledger,
    queue::Queues,
    telemetry,
};
use serde::Serialize;
use sqlx::{PgPool, Postgres, Transaction, pool::PoolConnection};

use crate::ui::Table;

/// The longest wait for an answer of Redis.
pub const REDIS_TIMEOUT: Duration = Duration::from_secs(3);

/// A configured command.
pub struct App {
    pub config: AdminConfig,
    pub pool: PgPool,
    pub queues: Queues,
    pub out: Output,
}

impl App {
    /// Reads the configuration. Connects when it is needed.
    pub fn new(out: Output) -> Result<Self> {
        let config = AdminConfig::load(&Source::from_process())?;
        start_logs(&config.common.log)?;
        let pool = db::pool(&config.common.database, "millrace").context("DATABASE_URL cannot be used")?;
        let queues = Queues::connect(&config.common.redis_url, REDIS_TIMEOUT).context("REDIS_URL cannot be used")?;
        Ok(Self { config, pool, queues, out })
    }

    pub async fn connection(&self) -> Result<PoolConnection<Postgres>> {
        Ok(self.pool.acquire().await?)
    }

    pub async fn transaction(&self) -> Result<Transaction<'static, Postgres>> {
        Ok(self.pool.begin().await?)
    }

    /// The kinds that this environment accepts.
    pub fn kinds(&self) -> Kinds {
        Kinds::new(if self.config.common.probe { KindSet::WorkAndProbe } else { KindSet::Work })
    }

    /// Sends committed jobs to Redis. A failure is logged there; the reconciler brings them.
    pub async fn publish(&self, rows: &[JobRow]) {
        within_patience(ledger::publish(&self.queues, rows)).await;
    }
}

/// The command line talks by itself, so its log says warnings only, unless somebody asked for other than the default.
pub fn start_logs(config: &LogConfig) -> Result<()> {
    let filter = if config.filter == "info" { "warn".to_owned() } else { config.filter.clone() };
    telemetry::init_logs(&LogConfig { filter, format: config.format }).context("logs cannot be set up")
}

/// Where answers go, and in which form.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    pub json: bool,
}

impl Output {
    /// A line on standard output.
    pub fn line(self, text: &str) -> Result<()> {
        Ok(writeln!(io::stdout().lock(), "{text}")?)
    }

    /// A JSON document on a line of its own on standard output.
    pub fn document(self, value: &impl Serialize) -> Result<()> {
        self.line(&serde_json::to_string(value)?)
    }

    /// A line for people on standard error, in both forms.
    pub fn note(self, text: &str) {
        // Where standard error is closed there is nobody to tell.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// A table on standard output.
    pub fn table(self, table: &Table) -> Result<()> {
        table.lines().iter().try_for_each(|line| self.line(line))
    }
}
