//! Questions to Redis about one queue, and about what is left in all of them. Which keys there are is told by the head of
//! `shared/src/queue`.

use anyhow::{Context, Result};
use millrace_shared::jobs::QueueName;
use redis::{AsyncCommands as _, AsyncConnectionConfig, aio::MultiplexedConnection};

use crate::PATIENCE;

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
        // By itself a client is patient for half a second, which a busy machine takes at times.
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE)).set_response_timeout(Some(PATIENCE));
        self.client.get_multiplexed_async_connection_with_config(&config).await.context("Redis is away")
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

    /// What is left of jobs in any queue, one line each; nothing when every job has ended and was forgotten.
    ///
    /// A key that is not named here counts as left behind, so that a new one has to be thought about.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn leftovers(&self) -> Result<Vec<String>> {
        let mut connection = self.connection().await?;
        let keys: Vec<Vec<u8>> = connection.keys("*").await?;
        let mut left = Vec::new();
        for key in keys {
            // The ids of organisations in keys are raw bytes.
            let shown = key.escape_ascii().to_string();
            match lasting(&shown) {
                Lasting::Always => {}
                Lasting::UntilItExpires => {
                    let ttl: i64 = connection.ttl(&key).await?;
                    if ttl == -1 {
                        left.push(format!("{shown} never expires"));
                    }
                }
                Lasting::AtZero => {
                    let counts: Vec<i64> = connection.hvals(&key).await?;
                    if counts.iter().any(|count| *count != 0) {
                        left.push(format!("{shown}: {counts:?}"));
                    }
                }
                Lasting::Never => {
                    let size = size(&mut connection, &key).await?;
                    if size > 0 {
                        left.push(format!("{size} in {shown}"));
                    }
                }
            }
        }
        left.sort();
        Ok(left)
    }
}

/// When a key may be there although no job is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lasting {
    Always,
    UntilItExpires,
    AtZero,
    Never,
}

fn lasting(key: &str) -> Lasting {
    let in_queue = key.strip_prefix("mr:{").and_then(|rest| rest.split_once("}:"));
    let of_this_build = in_queue.filter(|(queue, _)| queue.parse::<QueueName>().is_ok());
    match of_this_build {
        // Settings, which no job has to do with.
        Some((_, "ctl" | "own")) => Lasting::Always,
        Some((_, "depth")) => Lasting::AtZero,
        Some((_, name)) if name.starts_with("done:") => Lasting::UntilItExpires,
        // What has begun under a rate counts for a while after the job that did.
        None if key.starts_with("mr:{rate}:") => Lasting::UntilItExpires,
        _ => Lasting::Never,
    }
}

/// How many members a key has; 0 if it is gone by now.
async fn size(connection: &mut MultiplexedConnection, key: &[u8]) -> Result<usize> {
    let kind: String = redis::cmd("TYPE").arg(key).query_async(connection).await?;
    let command = match kind.as_str() {
        "none" => return Ok(0),
        "hash" => "HLEN",
        "zset" => "ZCARD",
        "list" => "LLEN",
        "set" => "SCARD",
        _ => return Ok(1),
    };
    Ok(redis::cmd(command).arg(key).query_async(connection).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_may_stay() {
        for (key, expected) in [
            ("mr:{probe}:ctl", Lasting::Always),
            ("mr:{asset}:done:178", Lasting::UntilItExpires),
            ("mr:{probe}:depth", Lasting::AtZero),
            ("mr:{probe}:ring:0", Lasting::Never),
            ("mr:{unheard-of}:ctl", Lasting::Never),
            ("anything", Lasting::Never),
        ] {
            assert_eq!(lasting(key), expected, "{key}");
        }
    }
}
