//! How long a job may take and what happens when it fails.

use std::time::Duration;

use rand::{Rng, RngExt};

use super::Rate;

/// A kind's defaults. A submission may lower or raise attempts and timeout within the bounds of [`super::SubmitError`].
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// One attempt's time limit.
    pub timeout: Duration,
    /// Attempts before the job becomes a dead letter.
    pub max_attempts: u16,
    /// The wait between attempts.
    pub backoff: Backoff,
    /// How often a job may be put off without using up an attempt before it becomes a dead letter.
    pub max_snoozes: u32,
    /// What a second job with the same unique key does.
    pub on_conflict: OnConflict,
    /// How many of its jobs may begin in how long, if that is bounded.
    pub rate: Option<KindRate>,
}

impl Policy {
    /// Five attempts of five minutes each, one second to ten minutes apart.
    pub const DEFAULT: Self = Self {
        timeout: Duration::from_secs(300),
        max_attempts: 5,
        backoff: Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(600) },
        max_snoozes: 500,
        on_conflict: OnConflict::Keep,
        rate: None,
    };
}

/// A kind's rate. Jobs over it wait for their place, which uses up no attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KindRate {
    /// How many in how long.
    pub rate: Rate,
    /// Whose jobs are counted together.
    pub scope: RateScope,
}

/// Whose jobs are counted together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RateScope {
    /// Those of each organisation.
    Organisation,
    /// All of the kind.
    Kind,
}

/// What to do when a job with the same unique key is waiting already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnConflict {
    /// The waiting job stays as it is and is given back.
    Keep,
    /// The waiting job gets the new payload; behind a running one a single successor is queued.
    Replace,
}

/// Exponential backoff with full jitter: a wait drawn evenly from zero to `min(cap, base · 2^(n−1))` after the n-th failure.
///
/// Full jitter spreads a burst of failures best of the usual schemes
/// (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The longest wait after the first failure.
    pub base: Duration,
    /// The longest wait ever.
    pub cap: Duration,
}

impl Backoff {
    /// The longest wait after `failures` failed attempts (at least 1).
    #[must_use]
    pub fn ceiling(&self, failures: u32) -> Duration {
        let doubled = self.base.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
        doubled.min(self.cap)
    }

    /// A wait for after `failures` failed attempts.
    #[must_use]
    pub fn wait(&self, failures: u32, rng: &mut impl Rng) -> Duration {
        let ceiling = u64::try_from(self.ceiling(failures).as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(rng.random_range(0..=ceiling))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    const BACKOFF: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(60) };

    #[test]
    fn the_ceiling_doubles_up_to_the_cap_and_never_overflows() {
        let seconds: Vec<u64> = (1..=8).map(|n| BACKOFF.ceiling(n).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(BACKOFF.ceiling(u32::MAX), BACKOFF.cap);
    }

    proptest! {
        #[test]
        fn no_wait_is_longer_than_its_ceiling_and_no_ceiling_shrinks(
            (base_ms, cap_ms) in (0..10_000_000_u64, 0..10_000_000_u64),
            failures in 1..u32::MAX,
            seed: u64,
        ) {
            let backoff = Backoff { base: Duration::from_millis(base_ms), cap: Duration::from_millis(cap_ms) };
            let ceiling = backoff.ceiling(failures);
            prop_assert!(ceiling <= backoff.cap);
            prop_assert!(backoff.ceiling(failures - 1) <= ceiling);
            prop_assert!(backoff.wait(failures, &mut StdRng::seed_from_u64(seed)) <= ceiling);
        }
    }

    #[test]
    fn the_wait_is_spread_over_the_whole_range() {
        let mut rng = rand::rng();
        let waits: Vec<u128> = (0..1000).map(|_| BACKOFF.wait(5, &mut rng).as_millis()).collect();
        assert!(waits.iter().all(|wait| *wait <= 16_000));
        assert!(waits.iter().any(|wait| *wait < 4_000), "full jitter reaches down to zero");
        assert!(waits.iter().any(|wait| *wait > 12_000), "and up to the ceiling");
    }
}
