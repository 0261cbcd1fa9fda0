//! The queue protocol: what is next, in Redis.
//!
//! A claim leases jobs instead of popping them. A lease ends by being settled (the ledger knows the job's end), by being given back
//! (retry, snooze, hand-back), or by running out, upon which the next claim returns the job to the front of its lane and counts it as
//! lost. So a job is delivered at least once; that its effects count once is the ledger's guard, not Redis'.
//!
//! Keys of a queue, all under the hash tag `{queue}`, so that a queue lives on one slot of a cluster. Ids are 16 raw bytes.
//!
//! | key | type | holds |
//! |---|---|---|
//! | `mr:{q}:job` | hash | id → envelope |
//! | `mr:{q}:meta` | hash | id → `attempt,lost,snoozes`, only for jobs that have any; `x` marks a cancelled one |
//! | `mr:{q}:ready:<prio>:<org>` | list | ids ready now, oldest first |
//! | `mr:{q}:ring:<prio>` | zset | organisation → virtual time; the least is served next |
//! | `mr:{q}:parked:<prio>` | zset | organisation at its concurrency limit or over its rate → its virtual time |
//! | `mr:{q}:resting` | zset | priority and organisation over its rate → when it may go on, µs |
//! | `mr:{q}:paced` | zset | organisation → up to when it has used up its rate, µs; only where there is one |
//! | `mr:{q}:delayed` | zset | id → due time, ms |
//! | `mr:{q}:leases` | zset | id → lease expiry in µs |
//! | `mr:{q}:live` | hash | id → `<claim in µs> <worker>` of what runs; the time of the claim is its fencing token, because no two scripts share a microsecond |
//! | `mr:{q}:running` | hash | organisation → jobs running |
//! | `mr:{q}:own` | hash | organisation → `weight,limit`, only for those with settings of their own |
//! | `mr:{q}:depth` | hash | priority → ready jobs |
//! | `mr:{q}:done:<n>` | counter | jobs finished in the n-th ten seconds, kept two minutes |
//! | `mr:{q}:ctl` | hash | epoch, paused, limits and rates, ring clocks; whose `turn` it is and which priorities are `owed` theirs; `own_version` of the organisations' settings; `idle` while a worker waits to be woken |
//! | `mr:{q}:wake` | channel | `w` there is work; `c<id>` a running job was cancelled |
//!
//! Rates are apart from the queues, because several may share one: `mr:{rate}:<key>` is a zset of times, see `lua/rate.lua`.
//!
//! Every operation is one script over a batch with bounded work, timed by Redis' own clock. Needs Redis 6.2 or Valkey.

mod client;
mod envelope;
mod grants;
mod live;
mod organisations;
mod rates;
mod refusal;
mod scripts;
mod windows;

pub use client::{Claim, ClaimStatus, Claimed, ConnectError, Extension, GiveBack, GivenBack, Lease, QueueJob, Queues};
pub use envelope::{Envelope, EnvelopeError, INLINE_PAYLOAD_BYTES, json_of};
pub use grants::{GRANT_TIME, Grant};
pub use live::{Live, LiveState, QueueStats, Settings};
pub use organisations::{MAX_WEIGHT, OrgSettings, OrgTerms};
pub use rates::{HORIZON as RATE_HORIZON, RateAnswers, RateKey, RateRequest};
pub use refusal::{Refused, why};
pub use windows::Entered;

use std::fmt;

/// The most jobs one call takes; callers with more make several calls, so that none holds Redis up.
pub const MAX_BATCH: usize = 500;

/// What a job has been through, as it travels with it through Redis.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Meta {
    /// Attempts used up.
    pub attempt: u32,
    /// Times its worker vanished with it. Not an attempt.
    pub lost: u32,
    /// Times it was put off without using up an attempt.
    pub snoozes: u32,
}

impl Meta {
    fn encode(self) -> String {
        if self == Self::default() { String::new() } else { self.to_string() }
    }

    /// Reads what [`Meta::encode`] wrote; anything else counts as nothing, which at worst grants an attempt more.
    fn decode(bytes: &[u8]) -> Self {
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        let mut numbers = text.split(',').map(|part| part.parse().unwrap_or_default());
        let mut next = || numbers.next().unwrap_or_default();
        Self { attempt: next(), lost: next(), snoozes: next() }
    }
}

impl fmt::Display for Meta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{},{}", self.attempt, self.lost, self.snoozes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meta_survives_the_way_through_redis() {
        let meta = Meta { attempt: 3, lost: 1, snoozes: 70_000 };
        assert_eq!(Meta::decode(meta.encode().as_bytes()), meta);
        assert_eq!(Meta::default().encode(), "");
        assert_eq!(Meta::decode(b"\xffnonsense"), Meta::default());
    }
}
