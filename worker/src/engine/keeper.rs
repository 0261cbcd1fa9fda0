//! The lease keeper: extends the leases of everything that runs, and hears of cancellations.
//!
//! A handler is dropped when its time is up, unless it blocks its thread and cannot be. Its lease is let go a while later, so that the job
//! comes back and runs where it can be killed: in a process of its own.
//!
//! It extends at a third of the lease, so that two extensions may fail before a lease runs out. When Redis is away it goes on trying: a job
//! whose lease ran out meanwhile runs to its end, and the ledger decides whether that end counts.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use millrace_shared::{
    ids::JobId,
    jobs::QueueName,
    queue::{Extension, Lease, Queues},
};
use tokio_util::sync::CancellationToken;

/// A handler that goes on so long after its time is up blocks its thread.
const LATE: Duration = Duration::from_secs(10);

/// Why a running job must end before its handler does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    /// Somebody cancelled the job.
    Cancelled,
    /// The worker must go; the job goes back.
    HandBack,
}

/// A running job's switch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Switch(Arc<Switched>);

#[derive(Debug, Default)]
struct Switched {
    reason: OnceLock<Stop>,
    token: CancellationToken,
    handler_has_ended: AtomicBool,
}

impl Switch {
    /// Stops the job; the first reason counts.
    pub(crate) fn stop(&self, reason: Stop) {
        let _ = self.0.reason.set(reason);
        self.0.token.cancel();
    }

    /// The reason, if the job is stopped.
    pub(crate) fn reason(&self) -> Option<Stop> {
        self.0.reason.get().copied()
    }

    /// From now on the job is only being written down, however long that takes.
    pub(crate) fn handler_has_ended(&self) {
        self.0.handler_has_ended.store(true, Ordering::Relaxed);
    }

    /// Waits until the job is stopped.
    pub(crate) async fn stopped(&self) -> Stop {
        self.0.token.cancelled().await;
        self.reason().unwrap_or(Stop::HandBack)
    }

    /// A token for what the job starts.
    pub(crate) fn token(&self) -> CancellationToken {
        self.0.token.child_token()
    }
}

struct Held {
    queue: QueueName,
    lease: Lease,
    switch: Switch,
    /// When its handler's time is up.
    deadline: Instant,
}

impl Held {
    fn is_stuck(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.deadline) > LATE && !self.switch.0.handler_has_ended.load(Ordering::Relaxed)
    }
}

/// All leases of a worker process.
#[derive(Clone)]
pub(crate) struct Keeper {
    queues: Queues,
    lease: Duration,
    held: Arc<Mutex<HashMap<JobId, Held>>>,
    /// Set, under the lock, once everything is to go back: a claim that was on its way then comes too late to be run.
    handing_back: Arc<AtomicBool>,
}

fn lock(held: &Mutex<HashMap<JobId, Held>>) -> MutexGuard<'_, HashMap<JobId, Held>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("held", &self.held().len()).finish_non_exhaustive()
    }
}

/// A lease that is being kept, until this is dropped.
pub(crate) struct Kept {
    held: Arc<Mutex<HashMap<JobId, Held>>>,
    lease: Lease,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kept").field(&self.lease).finish()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut held = lock(&self.held);
        // A zombie of this job may run beside its next delivery; each lets go of its own lease only.
        if held.get(&self.lease.id).is_some_and(|held| held.lease == self.lease) {
            held.remove(&self.lease.id);
        }
    }
}

impl Keeper {
    pub(crate) fn new(queues: Queues, lease: Duration) -> Self {
        Self { queues, lease, held: Arc::default(), handing_back: Arc::default() }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<JobId, Held>> {
        lock(&self.held)
    }

    /// Keeps a lease, for a handler that has `time`.
    pub(crate) fn keep(&self, (queue, lease): (QueueName, Lease), switch: Switch, time: Duration) -> Kept {
        let mut held = self.held();
        if self.handing_back.load(Ordering::Relaxed) {
            switch.stop(Stop::HandBack);
        }
        held.insert(lease.id, Held { queue, lease, switch, deadline: Instant::now() + time });
        drop(held);
        Kept { held: Arc::clone(&self.held), lease }
    }

    /// Stops a job if it runs here.
    pub(crate) fn cancel(&self, id: JobId) {
        if let Some(held) = self.held().get(&id) {
            held.switch.stop(Stop::Cancelled);
        }
    }

    /// Stops everything that runs here or still comes, to be handed back.
    pub(crate) fn hand_back_all(&self) -> usize {
        let held = self.held();
        self.handing_back.store(true, Ordering::Relaxed);
        held.values().for_each(|held| held.switch.stop(Stop::HandBack));
        held.len()
    }

    /// Extends leases until `end`.
    pub(crate) async fn run(self, end: CancellationToken) {
        let mut beat = tokio::time::interval(self.lease / 3);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while end.run_until_cancelled(beat.tick()).await.is_some() {
            let mut by_queue: HashMap<QueueName, Vec<Lease>> = HashMap::new();
            self.let_go_of_stuck();
            for held in self.held().values() {
                by_queue.entry(held.queue).or_default().push(held.lease);
            }
            for (queue, leases) in by_queue {
                self.extend(queue, &leases).await;
            }
        }
    }

    fn let_go_of_stuck(&self) {
        let now = Instant::now();
        self.held().retain(|id, held| {
            let is_stuck = held.is_stuck(now);
            if is_stuck {
                tracing::error!(
                    job.id = %id, queue = %held.queue,
                    "a handler blocks its thread and cannot be stopped; the job comes back when its lease runs out"
                );
                metrics::counter!("millrace_stuck_handlers_total", "queue" => held.queue.as_str()).increment(1);
            }
            !is_stuck
        });
    }

    async fn extend(&self, queue: QueueName, leases: &[Lease]) {
        match self.queues.extend(queue, leases, self.lease).await {
            Ok(extensions) => {
                // A job that ended while the extension was on its way is not held any more, and not lost.
                let still_held = |lease: &Lease| self.held().get(&lease.id).is_some_and(|held| held.lease == *lease);
                let lost = leases.iter().zip(&extensions);
                let lost =
                    lost.filter(|(lease, extension)| **extension == Extension::Lost && still_held(lease)).count();
                if lost > 0 {
                    tracing::warn!(queue = %queue, jobs = lost, "leases are lost; the jobs may be running elsewhere too, and the ledger will decide");
                }
                for (lease, _) in
                    leases.iter().zip(extensions).filter(|(_, extension)| *extension == Extension::Cancelled)
                {
                    self.cancel(lease.id);
                }
            }
            Err(error) => {
                tracing::warn!(queue = %queue, error = %error, jobs = leases.len(), "leases could not be extended");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use millrace_shared::jobs::QUEUES;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn everything_goes_back_including_what_is_claimed_too_late() {
        let queues = Queues::connect(&"redis://127.0.0.1:1".into(), Duration::from_secs(1)).expect("a URL");
        let keeper = Keeper::new(queues, Duration::from_secs(30));
        let (early, late) = (Switch::default(), Switch::default());
        let _early = keeper.keep((QUEUES[3], Lease { id: JobId::new(), token: 1 }), early.clone(), HOUR);
        assert_eq!(keeper.hand_back_all(), 1);
        assert_eq!(early.stopped().await, Stop::HandBack);
        let _late = keeper.keep((QUEUES[3], Lease { id: JobId::new(), token: 2 }), late.clone(), HOUR);
        let stopped = tokio::time::timeout(Duration::from_secs(5), late.stopped()).await;
        assert_eq!(stopped, Ok(Stop::HandBack));
    }

    #[test]
    fn a_handler_is_stuck_only_while_it_goes_on_late() {
        let (start, switch) = (Instant::now(), Switch::default());
        let lease = Lease { id: JobId::new(), token: 1 };
        let held = Held { queue: QUEUES[3], lease, switch: switch.clone(), deadline: start + HOUR };
        assert!(!held.is_stuck(start + HOUR + LATE));
        assert!(held.is_stuck(start + HOUR + LATE * 2));
        switch.handler_has_ended();
        assert!(!held.is_stuck(start + HOUR + LATE * 2), "writing its end down may take as long as Postgres is away");
    }
}
