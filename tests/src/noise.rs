//! How much the machine itself holds everything up: a bystander that uses the same servers, and notes its longest wait.
//!
//! Tests have bounds on time only relative to it, because a busy machine stalls everybody, at times for seconds.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::Line;

const PAUSE: Duration = Duration::from_millis(20);

/// The bystander. It must not outlive the servers.
#[derive(Debug)]
pub struct Noise {
    stop: CancellationToken,
    watching: JoinHandle<Result<Duration>>,
}

impl Noise {
    /// Begins to watch.
    #[must_use]
    pub fn watch(line: &Line) -> Self {
        let stop = CancellationToken::new();
        let (ledger, redis, stopped) = (line.ledger.clone(), line.redis.clone(), stop.clone());
        let watching = tokio::spawn(async move {
            sqlx::query("CREATE TABLE IF NOT EXISTS noise (at timestamptz)").execute(ledger.pool()).await?;
            let mut connection = redis.connection().await?;
            let mut longest = Duration::ZERO;
            while !stopped.is_cancelled() {
                let start = Instant::now();
                sleep(PAUSE).await;
                sqlx::query("INSERT INTO noise VALUES (now())").execute(ledger.pool()).await?;
                redis::cmd("PING").query_async::<String>(&mut connection).await?;
                longest = longest.max(start.elapsed().saturating_sub(PAUSE));
            }
            Ok(longest)
        });
        Self { stop, watching }
    }

    /// Ends it, and tells the longest that a timer, a commit and a call of Redis together were late.
    ///
    /// # Errors
    /// When a server was away meanwhile.
    pub async fn longest(self) -> Result<Duration> {
        self.stop.cancel();
        self.watching.await.context("the bystander panicked")?
    }
}
