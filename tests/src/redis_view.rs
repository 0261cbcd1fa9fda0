//! Questions to Redis about one queue. Which keys there are is told by the head of `shared/src/queue`.

use anyhow::{Context, Result};
use redis::{AsyncCommands as _, aio::MultiplexedConnection};

/// The test's own eyes on Redis. Connects anew for every question, because tests restart it.
#[derive(Clone, Debug)]
pub struct RedisView {
    client: redis::Client,
    queue: &'static str,
}

impl RedisView {
    /// Looks at a queue in the Redis at `url`.
    ///
    /// # Errors
    /// When the URL is none.
    pub fn open(url: &str, queue: &'static str) -> Result<Self> {
        Ok(Self { client: redis::Client::open(url).context("the URL of Redis is none")?, queue })
    }

    /// A connection.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn connection(&self) -> Result<MultiplexedConnection> {
        self.client.get_multiplexed_async_connection().await.context("Redis is away")
    }

    fn key(&self, name: &str) -> String {
        format!("mr:{{{}}}:{name}", self.queue)
    }

    /// How many jobs are leased.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn leased(&self) -> Result<usize> {
        Ok(self.connection().await?.zcard(self.key("leases")).await?)
    }

    /// How many jobs it knows.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn known(&self) -> Result<usize> {
        Ok(self.connection().await?.hlen(self.key("job")).await?)
    }

    /// What it holds of a job beside its envelope: `attempt,lost,snoozes`.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn meta(&self, id: &str) -> Result<Option<String>> {
        let id: uuid::Uuid = id.parse().context("no id")?;
        Ok(self.connection().await?.hget(self.key("meta"), id.as_bytes().as_slice()).await?)
    }

    /// Empties Redis.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn flush_all(&self) -> Result<()> {
        redis::cmd("FLUSHALL").query_async(&mut self.connection().await?).await.context("FLUSHALL failed")
    }

    /// What is left of jobs, one line each; nothing when every job has ended and was forgotten.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn leftovers(&self) -> Result<Vec<String>> {
        let mut connection = self.connection().await?;
        let mut left = Vec::new();
        for (name, command) in [
            ("job", "HLEN"),
            ("meta", "HLEN"),
            ("live", "HLEN"),
            ("running", "HLEN"),
            ("leases", "ZCARD"),
            ("delayed", "ZCARD"),
        ] {
            let count: usize = redis::cmd(command).arg(self.key(name)).query_async(&mut connection).await?;
            if count > 0 {
                left.push(format!("{count} in {name}"));
            }
        }
        for pattern in ["ready:*", "parked:*"] {
            let keys: Vec<redis::Value> = connection.keys(self.key(pattern)).await?;
            if !keys.is_empty() {
                left.push(format!("{} keys {pattern}", keys.len()));
            }
        }
        let depths: Vec<i64> = connection.hvals(self.key("depth")).await?;
        if depths.iter().any(|depth| *depth != 0) {
            left.push(format!("depths {depths:?}"));
        }
        Ok(left)
    }
}
