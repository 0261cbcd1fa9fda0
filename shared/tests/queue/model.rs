//! Random operations against a small model of what a queue is.
//!
//! The model knows where every job is and in which order a lane is served, but not whose turn it is: that is the other tests' matter.
//! After every step Redis must hold exactly what the model does, each job in one place.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    time::Duration,
};

use millrace_shared::{
    ids::{JobId, OrgId},
    jobs::Priority,
    queue::{Claim, ClaimStatus, Extension, GiveBack, GivenBack, Lease, Meta, QueueJob, Settings},
};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use crate::support::*;

type Lane = (u8, OrgId);

struct Held {
    lease: Lease,
    /// Whether it has run out by the next call.
    short: bool,
}

#[derive(Default)]
struct Model {
    jobs: BTreeMap<JobId, (Lane, Meta)>,
    lanes: BTreeMap<Lane, VecDeque<JobId>>,
    delayed: BTreeSet<JobId>,
    due: BTreeSet<JobId>,
    held: BTreeMap<JobId, Held>,
    cancelled: HashSet<JobId>,
    settings: Settings,
}

impl Model {
    fn running(&self, org: OrgId) -> usize {
        self.held.keys().filter(|id| self.jobs[*id].0.1 == org).count()
    }

    fn forget(&mut self, id: JobId) {
        self.jobs.remove(&id);
        self.cancelled.remove(&id);
    }

    fn return_lost(&mut self) {
        let short: Vec<(i64, JobId)> =
            self.held.values().filter(|held| held.short).map(|held| (held.lease.token, held.lease.id)).collect();
        let mut by_expiry: BTreeSet<(i64, JobId)> = short.into_iter().collect();
        // The first to run out ends in front.
        while let Some((_, id)) = by_expiry.pop_last() {
            self.held.remove(&id);
            if self.cancelled.contains(&id) {
                self.forget(id);
            } else {
                let (lane, meta) = self.jobs.get_mut(&id).unwrap();
                meta.lost += 1;
                self.lanes.entry(*lane).or_default().push_front(id);
            }
        }
    }

    fn promote_due(&mut self) {
        for id in std::mem::take(&mut self.due) {
            self.lanes.entry(self.jobs[&id].0).or_default().push_back(id);
        }
    }

    /// How many jobs a claim must give: as many as are wanted, as are there and as are allowed.
    fn servable(&self, want: usize) -> usize {
        let mut by_org: HashMap<OrgId, usize> = HashMap::new();
        for ((_, org), lane) in &self.lanes {
            *by_org.entry(*org).or_default() += lane.iter().filter(|id| !self.cancelled.contains(id)).count();
        }
        let allowed = |org: OrgId, count: usize| match self.settings.org_concurrency {
            Some(limit) => count.min((limit as usize).saturating_sub(self.running(org))),
            None => count,
        };
        let there: usize = by_org.into_iter().map(|(org, count)| allowed(org, count)).sum();
        let room =
            self.settings.concurrency.map_or(usize::MAX, |limit| (limit as usize).saturating_sub(self.held.len()));
        want.min(room).min(there)
    }

    fn claimed(&mut self, want: usize, short: bool, claim: &Claim) {
        self.return_lost();
        if self.settings.paused {
            assert_eq!((claim.status, claim.jobs.len()), (ClaimStatus::Paused, 0));
            return;
        }
        self.promote_due();
        assert_eq!(claim.jobs.len(), self.servable(want), "of {want}");
        for job in &claim.jobs {
            let id = job.lease.id;
            let (lane, meta) = self.jobs[&id];
            assert_eq!((job.org, job.priority.level(), job.meta), (lane.1, lane.0, meta));
            let waiting = self.lanes.get_mut(&lane).unwrap();
            // Cancelled ones in front of it are cleared away.
            while let Some(front) = waiting.pop_front() {
                if front == id {
                    break;
                }
                assert!(self.cancelled.remove(&front), "{front} stood before {id}");
                self.jobs.remove(&front);
            }
            assert!(self.held.insert(id, Held { lease: job.lease, short }).is_none(), "{id} was claimed twice");
        }
    }
}

struct Run {
    rig: Rig,
    model: Model,
    rng: StdRng,
    orgs: Vec<OrgId>,
}

impl Run {
    async fn push(&mut self) {
        let mut jobs = Vec::new();
        for _ in 0..self.rng.random_range(1..8) {
            let org = *self.orgs.choose(&mut self.rng).unwrap();
            let mut new = job(org, *Priority::ALL.choose(&mut self.rng).unwrap());
            if self.rng.random_bool(0.2) {
                new.delay = LONG;
                self.model.delayed.insert(new.id);
            } else {
                let lane = (new.envelope.priority.level(), org);
                self.model.lanes.entry(lane).or_default().push_back(new.id);
            }
            new.meta.attempt = self.rng.random_range(0..3);
            self.model.jobs.insert(new.id, ((new.envelope.priority.level(), org), new.meta));
            jobs.push(new);
        }
        assert_eq!(self.rig.push(&jobs).await, jobs.len());
        let again: Vec<QueueJob> = jobs.into_iter().map(|job| QueueJob { delay: Duration::ZERO, ..job }).collect();
        assert_eq!(self.rig.push(&again).await, 0);
    }

    async fn claim(&mut self) {
        let want = *[1, 2, 5, 50].choose(&mut self.rng).unwrap();
        let short = self.rng.random_bool(0.3);
        let claim = self.rig.claim_for(want, if short { NONE } else { LONG }).await;
        self.model.claimed(want, short, &claim);
        // What stood between served jobs and was cancelled is cleared away as well; how much is the script's matter.
        let known: Vec<JobId> = self.model.cancelled.iter().copied().collect();
        for gone in self.rig.queues.missing(Q, &known).await.unwrap() {
            assert!(!self.model.held.contains_key(&gone));
            self.model.forget(gone);
            self.model.lanes.values_mut().for_each(|lane| lane.retain(|id| *id != gone));
        }
    }

    fn some_held(&mut self) -> Option<(Lease, OrgId)> {
        let held: Vec<Lease> = self.model.held.values().map(|held| held.lease).collect();
        let lease = *held.choose(&mut self.rng)?;
        Some((lease, self.model.jobs[&lease.id].0.1))
    }

    async fn settle(&mut self) {
        let Some((lease, org)) = self.some_held() else { return };
        let stale = Lease { token: lease.token - 1, ..lease };
        assert_eq!(self.rig.queues.settle(Q, &[(stale, org), (lease, org)]).await.unwrap(), [false, true]);
        self.model.held.remove(&lease.id);
        self.model.forget(lease.id);
    }

    async fn extend(&mut self) {
        let Some((lease, _)) = self.some_held() else { return };
        let answer = self.rig.queues.extend(Q, &[lease], LONG).await.unwrap()[0];
        if self.model.cancelled.contains(&lease.id) {
            assert_eq!(answer, Extension::Cancelled);
        } else {
            assert_eq!(answer, Extension::Extended);
            self.model.held.get_mut(&lease.id).unwrap().short = false;
        }
    }

    async fn give_back(&mut self) {
        let Some((lease, org)) = self.some_held() else { return };
        let (lane, mut meta) = self.model.jobs[&lease.id];
        meta.attempt += 1;
        let delay = *[None, Some(Duration::ZERO), Some(LONG)].choose(&mut self.rng).unwrap();
        let answer = self.rig.queues.give_back(Q, &[GiveBack { lease, org, delay, meta }]).await.unwrap()[0];
        self.model.held.remove(&lease.id);
        if self.model.cancelled.contains(&lease.id) {
            assert_eq!(answer, GivenBack::Cancelled);
            return self.model.forget(lease.id);
        }
        assert_eq!(answer, GivenBack::Waiting);
        self.model.jobs.insert(lease.id, (lane, meta));
        let waiting = self.model.lanes.entry(lane).or_default();
        match delay {
            None => waiting.push_front(lease.id),
            Some(Duration::ZERO) => waiting.push_back(lease.id),
            Some(_) => drop(self.model.delayed.insert(lease.id)),
        }
    }

    async fn cancel(&mut self) {
        let known: Vec<JobId> = self.model.jobs.keys().copied().collect();
        let Some(id) = known.choose(&mut self.rng).copied() else { return };
        self.rig.queues.cancel(Q, &[id]).await.unwrap();
        if self.model.delayed.remove(&id) | self.model.due.remove(&id) {
            self.model.forget(id);
        } else {
            self.model.cancelled.insert(id);
        }
    }

    /// The delayed jobs' time comes, without anybody having to wait for it.
    async fn time_passes(&mut self) {
        for id in std::mem::take(&mut self.model.delayed) {
            let mut add = redis::cmd("ZADD");
            self.rig.command::<i64>(add.arg("mr:{probe}:delayed").arg("XX").arg(1).arg(id.as_bytes())).await;
            self.model.due.insert(id);
        }
    }

    async fn settings(&mut self) {
        let mut limit = |most: u32| self.rng.random_bool(0.5).then(|| self.rng.random_range(1..most));
        let (concurrency, org_concurrency) = (limit(20), limit(6));
        let settings = Settings { paused: self.rng.random_bool(0.15), concurrency, org_concurrency };
        self.rig.settings(settings).await;
        self.model.settings = settings;
    }

    /// Redis holds what the model holds, each job in one place, and all counts fit.
    async fn compare(&self) {
        let rig = &self.rig;
        let key = |name: &str| format!("mr:{{probe}}:{name}");
        let mut depth = [0; 4];
        let mut places: Vec<Vec<u8>> = Vec::new();
        for lane in rig.command::<Vec<Vec<u8>>>(redis::cmd("KEYS").arg(key("ready:*"))).await {
            let members: Vec<Vec<u8>> = rig.command(redis::cmd("LRANGE").arg(&lane).arg(0).arg(-1)).await;
            depth[usize::from(lane[key("ready:").len()] - b'0')] += members.len() as u64;
            places.extend(members);
        }
        for set in ["delayed", "leases"] {
            places.extend(rig.command::<Vec<Vec<u8>>>(redis::cmd("ZRANGE").arg(key(set)).arg(0).arg(-1)).await);
        }
        places.sort_unstable();
        let known: Vec<Vec<u8>> = self.model.jobs.keys().map(|id| id.as_bytes().to_vec()).collect();
        assert_eq!(places, known, "each job in one place");
        let mut envelopes: Vec<Vec<u8>> = rig.command(redis::cmd("HKEYS").arg(key("job"))).await;
        envelopes.sort_unstable();
        assert_eq!(envelopes, known, "one envelope each");

        let stats = rig.queues.stats(Q).await.unwrap();
        assert_eq!(stats.ready, depth, "the depth counters");
        assert_eq!(stats.running as usize, self.model.held.len());
        assert_eq!(stats.delayed as usize, self.model.delayed.len() + self.model.due.len());
        let running: BTreeMap<Vec<u8>, usize> = rig.command(redis::cmd("HGETALL").arg(key("running"))).await;
        let expected: BTreeMap<Vec<u8>, usize> = (self.orgs.iter())
            .map(|org| (org.as_bytes().to_vec(), self.model.running(*org)))
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(running, expected, "who runs how many");
        let live: usize = rig.command(redis::cmd("HLEN").arg(key("live"))).await;
        assert_eq!(live, self.model.held.len());
    }

    async fn finish(mut self) {
        self.rig.settings(Settings::default()).await;
        self.model.settings = Settings::default();
        self.time_passes().await;
        for Held { lease, .. } in self.model.held.values() {
            let org = self.model.jobs[&lease.id].0.1;
            self.rig.queues.settle(Q, &[(*lease, org)]).await.unwrap();
        }
        let mut left: BTreeSet<JobId> = self.model.jobs.keys().copied().collect();
        left.retain(|id| !self.model.held.contains_key(id) && !self.model.cancelled.contains(id));
        let served: BTreeSet<JobId> = self.rig.drain().await.into_iter().collect();
        assert_eq!(served, left, "all that waited is served in the end");
        self.rig.assert_nothing_left().await;
    }
}

async fn run(seed: u64, steps: usize) {
    let orgs = (0..5).map(|_| OrgId::new()).collect();
    let mut run = Run { rig: Rig::start().await, model: Model::default(), rng: StdRng::seed_from_u64(seed), orgs };
    for _ in 0..steps {
        match run.rng.random_range(0..100) {
            0..22 => run.push().await,
            22..55 => run.claim().await,
            55..70 => run.settle().await,
            70..77 => run.extend().await,
            77..87 => run.give_back().await,
            87..93 => run.cancel().await,
            93..96 => run.time_passes().await,
            _ => run.settings().await,
        }
        run.compare().await;
    }
    run.finish().await;
}

#[tokio::test]
async fn random_operations_leave_every_job_in_exactly_one_place_and_keep_every_limit() {
    for seed in 0..4 {
        eprintln!("seed {seed}");
        run(seed, 400).await;
    }
}

#[tokio::test]
async fn operations_that_nobody_has_tried_before_do_so_too() {
    let seed = rand::rng().random();
    eprintln!("seed {seed}");
    run(seed, 600).await;
}
