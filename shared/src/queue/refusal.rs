//! Whether Redis takes jobs in: what everybody is told who looks, and what the log is told once.
//!
//! A Redis may be reachable and still refuse: it is at its memory limit, or a replica. Near the limit it refuses one push and takes the next,
//! because memory becomes free all the time; so it counts as taking jobs again only after a while without a refusal.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{RedisError, RedisResult};

use super::Queues;

/// How long nothing may have been refused before it is over.
const CALM: Duration = Duration::from_secs(10);

/// Why Redis does not take a write, as the end of a sentence about it.
#[must_use]
pub fn why(error: &RedisError) -> &'static str {
    // Before Redis 7 the code of an error inside a script was only in its text.
    let says = |code: &str| error.code() == Some(code) || error.to_string().contains(&format!("-{code} "));
    if says("OOM") {
        "is out of memory"
    } else if says("READONLY") {
        "is a read-only replica"
    } else if error.is_io_error() || error.is_connection_refusal() || error.is_timeout() {
        "is not reachable"
    } else {
        "refuses writes"
    }
}

/// Since when and until when Redis refused, for the log.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    refusing: AtomicBool,
    /// When the last one was, and why.
    last: Mutex<Option<(Instant, &'static str)>>,
}

/// Why Redis counts as not taking jobs.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It has just refused.
    #[error("Redis {}", why(.0))]
    Now(#[source] RedisError),
    /// It took a write, but refused one a moment ago.
    #[error("Redis {0}, or was a moment ago")]
    Lately(&'static str),
}

impl Refused {
    /// Why, as the end of a sentence about Redis.
    #[must_use]
    pub fn why(&self) -> &'static str {
        match self {
            Self::Now(error) => why(error),
            Self::Lately(why) => why,
        }
    }
}

impl Refusals {
    /// Notes a write's result. Logs a change.
    pub(super) fn note<T>(&self, result: &RedisResult<T>) {
        match result {
            Ok(_) if self.refusing.load(Ordering::Relaxed) => {
                if self.is_over(Instant::now()) {
                    tracing::info!("Redis takes jobs again");
                }
            }
            Ok(_) => {}
            Err(error) => {
                if self.has_begun(Instant::now(), why(error)) {
                    tracing::warn!(error = %error, "Redis {}; accepted jobs wait in Postgres and are brought to it later", why(error));
                }
            }
        }
    }

    /// A refusal; whether it is the first one.
    fn has_begun(&self, now: Instant, why: &'static str) -> bool {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, why));
        !self.refusing.swap(true, Ordering::Relaxed)
    }

    /// A success; whether it ends the refusals.
    fn is_over(&self, now: Instant) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let over = last.is_some_and(|(last, _)| now.saturating_duration_since(last) >= CALM);
        if over {
            *last = None;
            self.refusing.store(false, Ordering::Relaxed);
        }
        over
    }
}

impl Queues {
    /// Asks whether Redis takes writes, by one that needs memory and changes nothing.
    ///
    /// # Errors
    /// It does not, or refused a job a moment ago.
    pub async fn takes_writes(&self) -> Result<(), Refused> {
        // Nothing is written over nothing, so that the key never comes into being.
        let mut command = redis::cmd("SETRANGE");
        command.arg("mr:{health}:none").arg(0).arg("");
        let result = command.query_async::<i64>(&mut self.connection.clone()).await;
        self.refusals.note(&result);
        result.map_err(Refused::Now)?;
        match *self.refusals.last.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((_, why)) => Err(Refused::Lately(why)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_once_and_its_end_after_a_while_of_calm() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        assert!(refusals.has_begun(start, ""));
        assert!(!refusals.is_over(start), "it takes some and refuses others");
        assert!(!refusals.has_begun(start + CALM / 2, ""));
        assert!(!refusals.is_over(start + CALM));
        assert!(refusals.is_over(start + CALM * 2));
        assert!(!refusals.is_over(start + CALM * 3), "told before");
        assert!(refusals.has_begun(start + CALM * 4, ""), "and it may begin again");
    }

    #[test]
    fn reason_is_named_whichever_way_redis_tells_it() {
        for (reply, expected) in [
            ("-OOM command not allowed when used memory > 'maxmemory'.\r\n", "is out of memory"),
            (
                "-ERR Error running script (call to f_1): @user_script:1: -OOM command not allowed\r\n",
                "is out of memory",
            ),
            ("-READONLY You can't write against a read only replica.\r\n", "is a read-only replica"),
            ("-MISCONF Redis is configured to save RDB snapshots\r\n", "refuses writes"),
        ] {
            let error = redis::parse_redis_value(reply.as_bytes()).and_then(redis::Value::extract_error);
            assert_eq!(error.as_ref().map_err(why), Err(expected), "{reply}");
        }
        assert_eq!(why(&RedisError::from(std::io::Error::other("gone"))), "is not reachable");
    }
}
