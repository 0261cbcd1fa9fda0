//! The gate between claim and run for kinds that have a rate.
//!
//! A job over its kind's rate goes back as delayed until its place comes (see `shared/src/queue/rates.rs`): without an attempt, without
//! counting as a snooze, and without a word to the ledger, for which it has not begun. A claim without such kinds asks nothing.

use std::{sync::Arc, time::Duration};

use millrace_shared::{
    jobs::{QueueName, RateScope},
    queue::{Claim, Claimed, Queues, RATE_HORIZON, RateKey, RateRequest},
};
use rand::RngExt as _;

use super::{run::policy_of, settle::Settler};
use crate::handler::Handlers;

/// Lets through what may begin.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    pub(crate) queues: Queues,
    pub(crate) handlers: Arc<Handlers>,
}

impl Gate {
    /// Leaves in the claim what may begin now, and puts the rest off. Where Redis fails, nothing is left for anybody to run, and all goes back.
    pub(crate) async fn admit(&self, queue: QueueName, claim: &mut Claim, settler: &Settler) -> redis::RedisResult<()> {
        let (asking, requests): (Vec<usize>, Vec<RateRequest>) =
            claim.jobs.iter().enumerate().filter_map(|(at, job)| Some((at, self.request(job)?))).unzip();
        if requests.is_empty() {
            return Ok(());
        }
        let waits = match self.queues.within_rates(&requests).await {
            Ok(answers) => answers.waits,
            Err(error) => {
                claim.jobs.drain(..).for_each(|job| settler.put_back(&job, None));
                return Err(error);
            }
        };
        let mut delays: Vec<Option<Duration>> = vec![None; claim.jobs.len()];
        for (at, wait) in asking.into_iter().zip(waits) {
            delays[at] = wait.map(spread);
        }
        let (late, now): (Vec<_>, Vec<_>) = claim.jobs.drain(..).zip(delays).partition(|(_, delay)| delay.is_some());
        claim.jobs = now.into_iter().map(|(job, _)| job).collect();
        metrics::counter!("millrace_paced_total", "queue" => queue.as_str()).increment(late.len() as u64);
        late.iter().for_each(|(job, delay)| settler.put_back(job, *delay));
        Ok(())
    }

    fn request(&self, job: &Claimed) -> Option<RateRequest> {
        // An envelope that this version cannot read does not tell its kind; such a job is not held up.
        let kind = job.envelope.as_ref().ok()?.kind.as_str();
        let limit = policy_of(&self.handlers, kind).rate?;
        let org = match limit.scope {
            RateScope::Organisation => Some(job.org),
            RateScope::Kind => None,
        };
        Some(RateRequest { key: RateKey::kind(org, kind), rate: limit.rate, job: job.lease.id })
    }
}

/// A place is a time of its own. Those beyond all places come back at different times, so that they do not ask all at once.
pub(crate) fn spread(wait: Duration) -> Duration {
    if wait < RATE_HORIZON { wait } else { wait.mul_f64(rand::rng().random_range(0.8..1.2)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_kept_to_the_millisecond_and_what_has_none_is_spread() {
        let place = RATE_HORIZON - Duration::from_millis(1);
        assert_eq!(spread(place), place);
        let spreads: Vec<Duration> = (0..100).map(|_| spread(RATE_HORIZON)).collect();
        assert!(spreads.iter().all(|wait| *wait >= RATE_HORIZON.mul_f64(0.8) && *wait < RATE_HORIZON.mul_f64(1.2)));
        assert!(spreads.iter().any(|wait| *wait < RATE_HORIZON) && spreads.iter().any(|wait| *wait > RATE_HORIZON));
    }
}
