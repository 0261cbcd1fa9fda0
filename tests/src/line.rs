//! A whole Millrace with the two views on it that tests ask.

use std::time::Duration;

use anyhow::Result;
use millrace_harness::{Client, Service, Stack, StackBuilder};
use serde_json::Value;

use crate::{Ledger, RedisView};

/// A running stack, its ledger and its Redis.
#[derive(Debug)]
pub struct Line {
    /// The processes and servers.
    pub stack: Stack,
    /// What is true.
    pub ledger: Ledger,
    /// What is next, in the queue of the probes.
    pub redis: RedisView,
}

impl Line {
    /// Starts a stack.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start(builder: StackBuilder) -> Result<Self> {
        let stack = builder.start().await?;
        let ledger = Ledger::open(stack.database_url())?;
        let redis = RedisView::open(stack.redis.url(), "probe")?;
        Ok(Self { stack, ledger, redis })
    }

    /// A client of an admin.
    #[must_use]
    pub fn client(&self) -> &Client {
        self.stack.client()
    }

    /// The workers that have not ended.
    pub fn live_workers(&self) -> impl Iterator<Item = &Service> {
        self.stack.workers.iter().filter(|worker| worker.process().status().is_none())
    }

    /// Reads a job.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn job(&self, id: &str) -> Result<Value> {
        self.client().get(&format!("/v1/jobs/{id}")).await?.expect(200)
    }

    /// Waits until a job shows this state.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn wait_state(&self, id: &str, state: &str) -> Result<Value> {
        let mut job = Value::Null;
        let what = format!("job {id} is {state}");
        crate::until(&what, crate::PATIENCE, async || {
            job = self.job(id).await?;
            Ok(job["state"] == state)
        })
        .await?;
        Ok(job)
    }

    /// Waits until the handlers of exactly so many jobs run in the first worker: a leased job may still be on its way to its handler.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub async fn wait_running(&self, count: u32) -> Result<()> {
        let url = self.stack.workers[0].url();
        crate::until(&format!("{count} jobs run"), crate::PATIENCE, async || {
            Ok((crate::metric(&url, "millrace_running").await? - f64::from(count)).abs() < 0.5)
        })
        .await
    }

    /// Waits until a job has ended and returns it.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn wait_end(&self, id: &str) -> Result<Value> {
        self.client().wait_job(id, crate::PATIENCE).await
    }
}

/// A stack whose workers are found dead after two seconds instead of thirty.
#[must_use]
pub fn short_lease(builder: StackBuilder) -> StackBuilder {
    builder.worker_env("MILLRACE_LEASE", format!("{}ms", Duration::from_secs(2).as_millis()))
}
