//! Between the claimer and apalis: claimed jobs that wait for a slot.
//!
//! *Slots* say how many handlers run at once. *Places* say how many jobs the worker holds in all: those that wait here, those that run, and
//! those whose end is being written; they are what a drain waits for. A slot is free again as soon as its handler has ended and nothing of
//! it is left but to write down that it went well, so that short jobs do not wait for each other's commits.
//!
//! Short jobs would wait for claims, too: so the worker claims ahead of its slots, by what it starts while claims are on their way, going by how
//! fast it has been starting jobs lately and how long claims have taken. Long jobs are never hoarded: one that is not started within [`STALE`] goes back for others to take.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::task::AtomicWaker;
use millrace_shared::queue::MAX_BATCH;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::{line::Line, run::Run};

/// How far a worker claims ahead of what it starts: by what it starts during so many claims.
const CLAIMS_AHEAD: f64 = 2.0;
/// As far at most, however long claims take: whatever comes meanwhile, however urgent, waits so long for what is claimed already.
const FARTHEST_AHEAD: Duration = Duration::from_millis(10);
/// The most jobs that it claims ahead.
const MOST_AHEAD: usize = 1_000;
/// The most jobs whose ends may be on their way to the ledger and to Redis, beside those in slots.
const MOST_UNSETTLED: usize = 2_000;
/// A claimed job that has not been started after this time is given back.
pub(crate) const STALE: Duration = Duration::from_millis(100);

/// A queue's claimed jobs in this worker.
pub(crate) struct Buffer {
    slots: Arc<Semaphore>,
    slot_count: usize,
    places: Arc<Semaphore>,
    place_count: usize,
    waiting: Mutex<Line>,
    /// How many wait, to be read without the lock.
    waiting_count: AtomicUsize,
    /// How many jobs beyond the free slots are to be claimed.
    ahead: AtomicUsize,
    started: AtomicU64,
    closed: AtomicBool,
    arrival: AtomicWaker,
    demand: Notify,
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let free = self.slots.available_permits();
        f.debug_struct("Buffer").field("slots", &self.slot_count).field("free", &free).finish_non_exhaustive()
    }
}

/// A place in the worker, from the claim until Redis has heard of the job's end.
#[derive(Debug)]
pub(crate) struct Place(Option<OwnedSemaphorePermit>, Arc<Buffer>);

/// The right to run a handler.
#[derive(Debug)]
pub(crate) struct Slot(Option<OwnedSemaphorePermit>, Arc<Buffer>);

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.0.take());
        self.1.changed();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        drop(self.0.take());
        // A job may wait for this very slot.
        self.1.arrival.wake();
        self.1.changed();
    }
}

impl Buffer {
    pub(crate) fn new(slots: usize) -> Arc<Self> {
        let places = slots + MOST_AHEAD + MOST_UNSETTLED;
        Arc::new(Self {
            slots: Arc::new(Semaphore::new(slots)),
            slot_count: slots,
            places: Arc::new(Semaphore::new(places)),
            place_count: places,
            waiting: Mutex::default(),
            waiting_count: AtomicUsize::new(0),
            ahead: AtomicUsize::new(0),
            started: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            arrival: AtomicWaker::new(),
            demand: Notify::new(),
        })
    }

    fn waiting(&self) -> MutexGuard<'_, Line> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many jobs to claim now. Nothing while the half of what was claimed ahead is still there: a claim of many costs little more than
    /// a claim of one.
    fn wanted(&self) -> usize {
        let (free, ahead) = (self.slots.available_permits(), self.ahead.load(Ordering::Relaxed));
        let waiting = self.waiting_count.load(Ordering::Acquire);
        if waiting > free + ahead / 2 {
            return 0;
        }
        (free + ahead - waiting).min(self.places.available_permits()).min(MAX_BATCH)
    }

    fn changed(&self) {
        if self.wanted() > 0 {
            self.demand.notify_one();
        }
    }

    /// Waits until there is room for jobs, and takes it.
    pub(crate) async fn room(self: &Arc<Self>) -> Vec<Place> {
        loop {
            // Only the claimer takes places, so what is there stays there.
            if let Ok(count) = u32::try_from(self.wanted())
                && count > 0
                && let Ok(mut permits) = Arc::clone(&self.places).try_acquire_many_owned(count)
            {
                let split = std::iter::from_fn(|| permits.split(1));
                return split.map(|permit| Place(Some(permit), Arc::clone(self))).collect();
            }
            self.demand.notified().await;
        }
    }

    /// Puts claimed jobs up for the free slots.
    pub(crate) fn add(&self, runs: impl IntoIterator<Item = Run>) {
        let mut waiting = self.waiting();
        runs.into_iter().for_each(|run| waiting.push(run));
        self.waiting_count.store(waiting.len(), Ordering::Release);
        drop(waiting);
        self.arrival.wake();
    }

    /// The next job and its slot: `None` once the buffer is closed and empty.
    pub(crate) fn poll_next(self: &Arc<Self>, context: &mut Context<'_>) -> Poll<Option<Run>> {
        // Before looking, so that what comes or becomes free right after is not missed.
        self.arrival.register(context.waker());
        if self.waiting_count.load(Ordering::Acquire) == 0 {
            return if self.closed.load(Ordering::Acquire) { Poll::Ready(None) } else { Poll::Pending };
        }
        let Ok(permit) = Arc::clone(&self.slots).try_acquire_owned() else { return Poll::Pending };
        let slot = Slot(Some(permit), Arc::clone(self));
        let mut waiting = self.waiting();
        let run = waiting.pop();
        self.waiting_count.store(waiting.len(), Ordering::Release);
        drop(waiting);
        let Some(mut run) = run else { return Poll::Pending };
        run.slot = Some(slot);
        self.started.fetch_add(1, Ordering::Relaxed);
        self.changed();
        Poll::Ready(Some(run))
    }

    /// Waits until jobs have waited too long for a slot, and takes them out. Nobody else may add jobs meanwhile.
    pub(crate) async fn stale(&self) -> Vec<Run> {
        loop {
            let oldest = self.waiting().oldest();
            let Some(oldest) = oldest else { return std::future::pending().await };
            tokio::time::sleep_until((oldest + STALE).into()).await;
            let late: Vec<Run> = {
                let mut waiting = self.waiting();
                let late = waiting.take_older_than(STALE);
                self.waiting_count.store(waiting.len(), Ordering::Release);
                late
            };
            if !late.is_empty() {
                return late;
            }
        }
    }

    /// Takes no more jobs, and gives those that wait.
    pub(crate) fn close(&self) -> Vec<Run> {
        let mut waiting = self.waiting();
        let left = waiting.take_all();
        self.waiting_count.store(0, Ordering::Release);
        self.closed.store(true, Ordering::Release);
        drop(waiting);
        self.arrival.wake();
        left
    }

    /// Waits until the worker holds no job of the queue any more.
    pub(crate) async fn empty(&self) {
        let all = u32::try_from(self.place_count).unwrap_or(u32::MAX);
        // An error means that the semaphore is closed, which nobody does.
        let _ = self.places.acquire_many(all).await;
    }

    /// Goes by the pace at which jobs are started.
    pub(crate) fn look_ahead(&self, pace: &mut Pace) {
        let ahead = pace.ahead(self.started.load(Ordering::Relaxed), Instant::now());
        self.ahead.store(ahead, Ordering::Relaxed);
    }
}

/// How fast jobs are started: rising slowly, falling at once. And how long a claim takes, on the average of the last few.
#[derive(Debug)]
pub(crate) struct Pace {
    per_second: f64,
    claim_seconds: f64,
    started: u64,
    at: Instant,
}

impl Pace {
    /// Shorter spans tell nothing.
    const SPAN: Duration = Duration::from_millis(5);

    pub(crate) fn new(now: Instant) -> Self {
        Self { per_second: 0.0, claim_seconds: 0.0, started: 0, at: now }
    }

    /// A claim took so long.
    pub(crate) fn claimed_within(&mut self, elapsed: Duration) {
        self.claim_seconds += (elapsed.as_secs_f64() - self.claim_seconds) / 8.0;
    }

    /// How many jobs to claim ahead, when `started` were started by `now`.
    #[expect(clippy::cast_precision_loss, reason = "a count of jobs within milliseconds")]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "neither negative nor large")]
    fn ahead(&mut self, started: u64, now: Instant) -> usize {
        let elapsed = now.saturating_duration_since(self.at);
        if elapsed >= Self::SPAN {
            let recent = (started - self.started) as f64 / elapsed.as_secs_f64();
            self.per_second = recent.min(f64::midpoint(self.per_second, recent));
            (self.started, self.at) = (started, now);
        }
        let span = (CLAIMS_AHEAD * self.claim_seconds).min(FARTHEST_AHEAD.as_secs_f64());
        ((self.per_second * span) as usize).min(MOST_AHEAD)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::poll_fn;
    use millrace_shared::ids::OrgId;

    use super::*;

    fn runs(places: Vec<Place>) -> Vec<Run> {
        places.into_iter().map(|place| Run::sample(OrgId::new(), Some(place))).collect()
    }

    async fn next(buffer: &Arc<Buffer>) -> Option<Run> {
        poll_fn(|context| buffer.poll_next(context)).await
    }

    #[tokio::test]
    async fn no_more_jobs_start_than_there_are_slots() {
        let buffer = Buffer::new(2);
        let mut jobs = runs(buffer.room().await);
        assert_eq!(jobs.len(), 2, "a worker that has started nothing yet claims for its slots alone");
        let (first, second) = (jobs.pop(), jobs.pop());
        buffer.add([first, second].into_iter().flatten());
        let (first, _second) = (next(&buffer).await, next(&buffer).await);
        buffer.ahead.store(10, Ordering::Relaxed);
        buffer.add(runs(buffer.room().await));
        let waits = tokio::time::timeout(Duration::from_millis(20), next(&buffer)).await;
        assert!(waits.is_err(), "both slots are taken");
        drop(first);
        assert!(next(&buffer).await.is_some(), "a freed slot wakes whoever waits for it");
    }

    #[tokio::test]
    async fn what_waits_too_long_for_a_slot_is_taken_out() {
        let buffer = Buffer::new(1);
        buffer.add(runs(buffer.room().await));
        let _running = next(&buffer).await;
        buffer.ahead.store(3, Ordering::Relaxed);
        buffer.add(runs(buffer.room().await));
        let late = buffer.stale().await;
        assert_eq!(late.len(), 3);
        assert!(late.iter().all(|run| run.claimed_at.elapsed() >= STALE));
    }

    #[tokio::test]
    async fn a_closed_buffer_ends_and_is_empty_once_everything_is_settled() {
        let buffer = Buffer::new(2);
        buffer.add(runs(buffer.room().await));
        let running = next(&buffer).await;
        assert_eq!(buffer.close().len(), 1);
        assert!(next(&buffer).await.is_none());
        assert!(tokio::time::timeout(Duration::from_millis(20), buffer.empty()).await.is_err(), "one job still runs");
        drop(running);
        buffer.empty().await;
    }

    #[test]
    fn only_short_jobs_are_claimed_ahead_and_a_slow_one_ends_that() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let at = |ms: u64| start + Duration::from_millis(ms);
        (0..100).for_each(|_| pace.claimed_within(Duration::from_millis(2)));
        assert_eq!(pace.ahead(1, at(1_000)), 0, "one a second");
        for step in 1..20 {
            pace.ahead(1 + step * 100, at(1_000 + step * 10));
        }
        let ahead = pace.ahead(2_001, at(1_200));
        assert!((35..=40).contains(&ahead), "10,000 a second are 40 in two claims of 2 ms, not {ahead}");
        assert_eq!(pace.ahead(2_002, at(1_300)), 0, "ten a second, at once");
        assert_eq!(pace.ahead(u64::from(u32::MAX), at(1_400)), MOST_AHEAD, "however fast");
    }

    #[test]
    fn slow_claims_are_not_made_up_for_without_end() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        (0..100).for_each(|_| pace.claimed_within(Duration::from_secs(1)));
        let at = |ms: u64| start + Duration::from_millis(ms);
        let ahead = (1..20).map(|step| pace.ahead(step * 100, at(step * 10))).last();
        assert!(ahead.is_some_and(|ahead| (95..=100).contains(&ahead)), "10 ms of 10,000 a second, not {ahead:?}");
    }
}
