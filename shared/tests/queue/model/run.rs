//! One sequence of operations, done to Redis and to the model.

use std::time::Duration;

use millrace_shared::{
    ids::{JobId, OrgId},
    jobs::Priority,
    queue::{ClaimStatus, Extension, GiveBack, GivenBack, Lease, Meta, OrgSettings, QueueJob, Settings},
};
use proptest::sample::Index;

use super::{
    Back, NewJob, ORGS, Op,
    rules::Rules,
    snapshot::Snapshot,
    state::{Known, Model},
};
use crate::support::*;

pub struct Run<'a> {
    rig: &'a Rig,
    model: Model,
    rules: Rules,
    orgs: Vec<OrgId>,
    last: Snapshot,
    /// Whoever waits asks again without being woken: at once, or because leases and delays ran out, whose times it was told.
    asks_again: bool,
    /// Times in the past, each later than those before.
    past: i64,
}

fn choose<T: Copy>(all: impl IntoIterator<Item = T>, index: &Index) -> Option<T> {
    let all: Vec<T> = all.into_iter().collect();
    (!all.is_empty()).then(|| *index.get(&all))
}

impl<'a> Run<'a> {
    pub async fn new(rig: &'a Rig) -> Self {
        rig.command::<String>(redis::cmd("FLUSHALL")).await;
        rig.settings(Settings::default()).await;
        let orgs: Vec<OrgId> = (0..ORGS).map(|_| OrgId::new()).collect();
        let last = Snapshot::read(rig, &orgs).await;
        Self { rig, model: Model::default(), rules: Rules::default(), orgs, last, asks_again: false, past: 0 }
    }

    pub async fn step(&mut self, op: Op) {
        match op {
            Op::Push(jobs) => self.push(&jobs).await,
            Op::PushAgain(index) => self.push_again(&index).await,
            Op::Claim { want } => return self.claim(want).await,
            Op::Settle(index) => self.settle(&index).await,
            Op::Extend(index) => self.extend(&index).await,
            Op::GiveBack(index, back) => self.give_back(&index, back).await,
            Op::HandBackAll => self.hand_back_all().await,
            Op::Expire(index) => self.expire(&index).await,
            Op::ComeDue(index) => self.come_due(&index).await,
            Op::Cancel(index) => self.cancel(&index).await,
            Op::Replace(index) => self.replace(&index).await,
            Op::Replay(index) => self.replay(&index).await,
            Op::Settings { is_paused, concurrency, org_concurrency } => {
                let settings = Settings { paused: is_paused, concurrency, org_concurrency, ..Settings::default() };
                self.rig.settings(settings).await;
                self.model.settings = settings;
            }
            Op::Organisation { org, weight, concurrency } => {
                let settings = OrgSettings { weight, concurrency };
                self.rig.organisations(&[(self.orgs[org], settings)]).await;
                self.model.organisations.insert(self.orgs[org], settings);
            }
            Op::LoseEverything => self.lose_everything().await,
        }
        self.compare().await;
    }

    async fn compare(&mut self) {
        self.last = Snapshot::read(self.rig, &self.orgs).await;
        self.last.assert_is(&self.model);
        let servable = if self.model.settings.paused { 0 } else { self.model.servable(1) };
        assert!(servable == 0 || !self.last.is_idle || self.asks_again, "whoever waits was not woken");
    }

    fn queue_job(&self, id: JobId, known: Known, delay: Duration) -> QueueJob {
        let mut new = job(known.lane.1, Priority::from_level(known.lane.0.into()));
        new.envelope.revision = known.revision;
        QueueJob { id, delay, meta: known.meta, ..new }
    }

    async fn push(&mut self, new: &[NewJob]) {
        let mut jobs = Vec::new();
        for NewJob { org, priority, is_delayed, attempt } in new {
            let lane = (Priority::ALL[*priority].level(), self.orgs[*org]);
            let known = Known { lane, meta: Meta { attempt: *attempt, ..Meta::default() }, revision: 0 };
            let id = JobId::new();
            jobs.push(self.queue_job(id, known, if *is_delayed { LONG } else { Duration::ZERO }));
            self.model.jobs.insert(id, known);
            if *is_delayed {
                self.model.delayed.insert(id);
            } else {
                self.model.lanes.entry(lane).or_default().push_back(id);
            }
        }
        assert_eq!(self.rig.push(&jobs).await, jobs.len());
    }

    /// Pushing what is known changes nothing, wherever it is.
    async fn push_again(&mut self, index: &Index) {
        let Some((id, known)) = choose(self.model.jobs.iter().map(|(id, known)| (*id, *known)), index) else { return };
        let again = QueueJob { meta: Meta::default(), ..self.queue_job(id, known, Duration::ZERO) };
        assert_eq!(self.rig.push(&[again]).await, 0);
    }

    async fn claim(&mut self, want: usize) {
        let time_came = !self.model.expired.is_empty() || !self.model.due.is_empty();
        let claim = self.rig.claim_for(want, LONG).await;
        let after = Snapshot::read(self.rig, &self.orgs).await;
        self.rules.claimed(&mut self.model, (&self.last, &after), want, &claim);
        self.asks_again = if claim.jobs.len() < want {
            claim.next_event == Some(Duration::ZERO)
        } else {
            self.asks_again || time_came
        };
        // What stood between served jobs and was cancelled is cleared away as well; how much is the script's matter.
        let marked: Vec<JobId> = self.model.cancelled.iter().copied().collect();
        for gone in self.rig.queues.missing(Q, &marked).await.unwrap() {
            assert!(!self.model.held.contains_key(&gone));
            self.model.forget(gone);
            self.model.lanes.values_mut().for_each(|lane| lane.retain(|id| *id != gone));
        }
        self.compare().await;
    }

    /// A lease that somebody holds, with its organisation; one that has run out still counts until the next claim.
    fn held(&self, index: &Index) -> Option<(Lease, OrgId)> {
        let lease = choose(self.model.held.values().copied(), index)?;
        Some((lease, self.model.jobs[&lease.id].lane.1))
    }

    async fn settle(&mut self, index: &Index) {
        if let Some((stale, org)) = choose(self.model.stale.iter().copied(), index) {
            assert_eq!(self.rig.queues.settle(Q, &[(stale, org)]).await.unwrap(), [false], "a stale lease");
        }
        let Some((lease, org)) = self.held(index) else { return };
        let twice = [(lease, org), (lease, org)];
        assert_eq!(self.rig.queues.settle(Q, &twice).await.unwrap(), [true, false]);
        self.model.end(lease.id);
    }

    async fn extend(&mut self, index: &Index) {
        let Some((lease, _)) = self.held(index) else { return };
        let answer = self.rig.queues.extend(Q, &[lease], LONG).await.unwrap()[0];
        if self.model.cancelled.contains(&lease.id) {
            assert_eq!(answer, Extension::Cancelled);
        } else {
            assert_eq!(answer, Extension::Extended);
            self.model.expired.retain(|id| *id != lease.id);
        }
    }

    async fn give_back(&mut self, index: &Index, back: Back) {
        let Some((lease, org)) = self.held(index) else { return };
        let mut meta = self.model.jobs[&lease.id].meta;
        let delay = match back {
            Back::Retry => Some(LONG),
            Back::RetryNow => Some(Duration::ZERO),
            Back::Snooze | Back::PutOff => Some(LONG),
            Back::ToTheFront => None,
        };
        match back {
            Back::Retry | Back::RetryNow => meta.attempt += 1,
            Back::Snooze => meta.snoozes += 1,
            Back::ToTheFront | Back::PutOff => {}
        }
        let answer = self.rig.queues.give_back(Q, &[GiveBack { lease, org, delay, meta }]).await.unwrap();
        self.given_back(lease.id, delay, meta, answer[0]);
    }

    fn given_back(&mut self, id: JobId, delay: Option<Duration>, meta: Meta, answer: GivenBack) {
        self.model.held.remove(&id);
        self.model.expired.retain(|other| *other != id);
        if self.model.cancelled.contains(&id) {
            assert_eq!(answer, GivenBack::Cancelled);
            return self.model.forget(id);
        }
        assert_eq!(answer, GivenBack::Waiting);
        let known = self.model.jobs.get_mut(&id).unwrap();
        known.meta = meta;
        let waiting = self.model.lanes.entry(known.lane).or_default();
        match delay {
            None => waiting.push_front(id),
            Some(Duration::ZERO) => waiting.push_back(id),
            Some(_) => drop(self.model.delayed.insert(id)),
        }
    }

    /// A worker that must go gives back everything it has: the oldest ends in front.
    async fn hand_back_all(&mut self) {
        let held: Vec<Lease> = self.model.held.values().copied().collect();
        let back = |lease: &Lease| {
            let known = self.model.jobs[&lease.id];
            GiveBack { lease: *lease, org: known.lane.1, delay: None, meta: known.meta }
        };
        let jobs: Vec<GiveBack> = held.iter().map(back).collect();
        let answers = self.rig.queues.give_back(Q, &jobs).await.unwrap();
        for (job, answer) in jobs.iter().zip(answers).rev() {
            self.given_back(job.lease.id, None, job.meta, answer);
        }
    }

    async fn write_past(&mut self, set: &str, id: JobId) {
        self.past += 1;
        let mut add = redis::cmd("ZADD");
        add.arg(format!("mr:{{probe}}:{set}")).arg("XX").arg(self.past).arg(id.as_bytes());
        self.rig.command::<i64>(&add).await;
    }

    async fn expire(&mut self, index: &Index) {
        let fresh = self.model.held.keys().filter(|id| !self.model.expired.contains(id)).copied();
        let Some(id) = choose(fresh, index) else { return };
        self.write_past("leases", id).await;
        self.model.expired.push(id);
    }

    async fn come_due(&mut self, index: &Index) {
        let Some(id) = choose(self.model.delayed.iter().copied(), index) else { return };
        self.write_past("delayed", id).await;
        self.model.delayed.remove(&id);
        self.model.due.push(id);
    }

    async fn cancel(&mut self, index: &Index) {
        let Some(id) = choose(self.model.jobs.keys().copied(), index) else { return };
        self.rig.queues.cancel(Q, &[id]).await.unwrap();
        let due = self.model.due.iter().position(|other| *other == id).map(|at| self.model.due.remove(at));
        if self.model.delayed.remove(&id) || due.is_some() {
            self.model.forget(id);
        } else {
            self.model.cancelled.insert(id);
        }
    }

    async fn replace(&mut self, index: &Index) {
        let Some((id, mut known)) = choose(self.model.jobs.iter().map(|(id, known)| (*id, *known)), index) else {
            return;
        };
        known.revision += 1;
        let waits = !self.model.held.contains_key(&id);
        let replaced = self.rig.queues.replace(&self.queue_job(id, known, Duration::ZERO)).await.unwrap();
        assert_eq!(replaced, waits, "only what waits gets another payload");
        if waits {
            self.model.jobs.insert(id, known);
        }
    }

    /// A dead letter comes back under its own id.
    async fn replay(&mut self, index: &Index) {
        let Some((id, lane)) = choose(self.model.ended.iter().copied(), index) else { return };
        self.model.ended.retain(|(other, _)| *other != id);
        let known = Known { lane, meta: Meta { attempt: 5, ..Meta::default() }, revision: 0 };
        assert_eq!(self.rig.push(&[self.queue_job(id, known, Duration::ZERO)]).await, 1);
        self.model.jobs.insert(id, known);
        self.model.lanes.entry(lane).or_default().push_back(id);
    }

    /// Redis is emptied, refuses to serve, and is rebuilt from what the ledger knows.
    async fn lose_everything(&mut self) {
        self.rig.command::<String>(redis::cmd("FLUSHALL")).await;
        assert_eq!(self.rig.claim_for(5, LONG).await.status, ClaimStatus::Lost);
        let organisations: Vec<(OrgId, OrgSettings)> =
            self.model.organisations.iter().map(|(org, settings)| (*org, *settings)).collect();
        self.rig.organisations(&organisations).await;
        self.rig.settings(self.model.settings).await;
        self.model.rebuild();
        let rows = self.model.jobs.iter().map(|(id, known)| {
            let delay = if self.model.delayed.contains(id) { LONG } else { Duration::ZERO };
            self.queue_job(*id, *known, delay)
        });
        let rows: Vec<QueueJob> = rows.collect();
        assert_eq!(self.rig.push(&rows).await, rows.len());
        self.asks_again = false;
        // Whose turn it was is forgotten, too.
        self.rules = Rules::default();
    }

    /// In the end everything that waits is served, and nothing is left.
    pub async fn finish(mut self) {
        self.rig.settings(Settings::default()).await;
        let free: Vec<(OrgId, OrgSettings)> = self.orgs.iter().map(|org| (*org, OrgSettings::default())).collect();
        self.rig.organisations(&free).await;
        for id in std::mem::take(&mut self.model.delayed) {
            self.write_past("delayed", id).await;
        }
        for lease in self.model.held.values().copied().collect::<Vec<_>>() {
            let org = self.model.jobs[&lease.id].lane.1;
            self.rig.queues.settle(Q, &[(lease, org)]).await.unwrap();
            self.model.end(lease.id);
        }
        let left: Vec<JobId> =
            self.model.jobs.keys().filter(|id| !self.model.cancelled.contains(id)).copied().collect();
        let mut served = self.rig.drain().await;
        served.sort_unstable();
        assert_eq!(served, left, "all that waited is served in the end");
        self.rig.assert_nothing_left().await;
    }
}
