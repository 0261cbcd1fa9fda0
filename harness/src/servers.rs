//! Redis and Postgres together: the ones that the environment names, or private ones.

use std::path::Path;

use anyhow::{Context, Result};

use crate::{
    postgres::{PostgresOptions, PostgresServer},
    programs::{Program, Search},
    redis::{RedisOptions, RedisServer},
};

/// The two servers that Millrace needs.
#[derive(Debug)]
pub struct Servers {
    /// What is next.
    pub redis: RedisServer,
    /// What is true.
    pub postgres: PostgresServer,
}

impl Servers {
    /// Those of `REDIS_URL` and `DATABASE_URL` where both are set, as they are; otherwise private ones with their data in `dir`.
    ///
    /// # Errors
    /// When a private one cannot be had; the message says what to install or shows the server's log.
    pub async fn start(dir: &Path) -> Result<Self> {
        match (set("REDIS_URL"), set("DATABASE_URL")) {
            (Some(redis), Some(postgres)) => {
                Ok(Self { redis: RedisServer::external(&redis), postgres: PostgresServer::external(&postgres) })
            }
            _ => Self::start_private(dir).await,
        }
    }

    /// Private ones, whatever the environment says.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_private(dir: &Path) -> Result<Self> {
        let search = Search::default();
        // Both at once, so that one message (or one install) covers all that is missing.
        search.require(&[Program::Redis, Program::Postgres]).await?;
        let redis = RedisOptions { search: search.clone(), ..RedisOptions::default() };
        let postgres = PostgresOptions { search, ..PostgresOptions::default() };
        let (redis, postgres) = tokio::try_join!(RedisServer::start(dir, redis), PostgresServer::start(dir, postgres))?;
        Ok(Self { redis, postgres })
    }

    /// Whether they are children of ours.
    #[must_use]
    pub fn are_private(&self) -> bool {
        self.redis.pid().is_some() && self.postgres.pid().is_some()
    }

    /// Stops private ones cleanly, Redis first; leaves others alone.
    ///
    /// # Errors
    /// When one does not end in time.
    pub async fn stop(mut self) -> Result<()> {
        if self.redis.pid().is_some() {
            self.redis.stop().await.context("cannot stop Redis")?;
        }
        if self.postgres.pid().is_some() {
            self.postgres.stop().await.context("cannot stop Postgres")?;
        }
        Ok(())
    }
}

pub(crate) fn set(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}
