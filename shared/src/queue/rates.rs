//! Rates in Redis: who may begin now, and who has to wait how long.
//!
//! All rates' keys share one hash tag, `{rate}`, and expire by themselves some minutes after they were last of use. A Redis that lost them has
//! forgotten what began before, so that at most one period's worth more begins at once.

use std::time::Duration;

use redis::RedisResult;
use sha2::{Digest as _, Sha256};

use super::{MAX_BATCH, Queues};
use crate::{
    ids::{JobId, OrgId},
    jobs::Rate,
};

/// How far ahead places are given away. Whoever would have to wait longer waits about so long and asks again.
pub const HORIZON: Duration = Duration::from_secs(3_600);
/// Longer names stand in Redis as their digest.
const MAX_NAME_BYTES: usize = 100;

/// What a rate is for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct RateKey(pub(super) String);

impl RateKey {
    /// A handler's own key, of one organisation or (`None`) of all together.
    #[must_use]
    pub fn named(org: Option<OrgId>, name: &str) -> Self {
        Self(format!("{}:n:{}", scope(org), short(name)))
    }

    /// All jobs of a kind, of one organisation or (`None`) of all together.
    #[must_use]
    pub fn kind(org: Option<OrgId>, kind: &str) -> Self {
        Self(format!("{}:k:{}", scope(org), short(kind)))
    }
}

fn scope(org: Option<OrgId>) -> String {
    org.map_or_else(|| "all".to_owned(), |org| org.to_string())
}

fn short(name: &str) -> String {
    if name.len() <= MAX_NAME_BYTES {
        return name.to_owned();
    }
    Sha256::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// May this job begin?
#[derive(Clone, Debug)]
pub struct RateRequest {
    /// Under which key.
    pub key: RateKey,
    /// The rate that holds there.
    pub rate: Rate,
    /// The job: it is known again when it comes back at its time.
    pub job: JobId,
}

/// Who may begin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RateAnswers {
    /// Redis' clock, in µs since the epoch: the time of those that begin.
    pub at_us: i64,
    /// Parallel to the requests: nothing where the job may begin, else after how long it may.
    pub waits: Vec<Option<Duration>>,
}

impl Queues {
    /// Asks for at most [`MAX_BATCH`] jobs whether they may begin under their rates, in one script call. One that may not has a place: coming
    /// back after its wait, it may, whoever asks meanwhile. A job has one place a key.
    ///
    /// # Errors
    /// Redis is away, or has no memory left.
    pub async fn within_rates(&self, requests: &[RateRequest]) -> RedisResult<RateAnswers> {
        self.within_rates_until(requests, HORIZON).await
    }

    /// As [`Self::within_rates`], with places given away no further ahead than `horizon`.
    ///
    /// # Errors
    /// Redis is away, or has no memory left.
    pub async fn within_rates_until(&self, requests: &[RateRequest], horizon: Duration) -> RedisResult<RateAnswers> {
        debug_assert!(requests.len() <= MAX_BATCH);
        let mut call = self.scripts.rate.key("mr:{rate}:ctl");
        let horizon_us = u64::try_from(horizon.as_micros()).unwrap_or(u64::MAX);
        for request in requests {
            call.arg(&request.key.0).arg(request.rate.interval_us()).arg(request.rate.tolerance_us());
            call.arg(horizon_us).arg(request.job.as_bytes());
        }
        let mut reply: Vec<i64> = self.run(&call).await?;
        let waits = reply.split_off(1.min(reply.len()));
        let wait = |ms: i64| u64::try_from(ms).ok().filter(|ms| *ms > 0).map(Duration::from_millis);
        Ok(RateAnswers { at_us: reply.first().copied().unwrap_or(0), waits: waits.into_iter().map(wait).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_apart_by_organisation_and_by_purpose_and_never_long() {
        let (one, other) = (OrgId::new(), OrgId::new());
        let keys = [
            RateKey::named(Some(one), "crm"),
            RateKey::named(Some(other), "crm"),
            RateKey::named(None, "crm"),
            RateKey::kind(Some(one), "crm"),
            RateKey::named(Some(one), &"x".repeat(101)),
            RateKey::named(Some(one), &"x".repeat(102)),
        ];
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
        assert!(keys.iter().all(|key| key.0.len() < 150));
    }
}
