//! The model: where every job is.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use millrace_shared::{
    ids::{JobId, OrgId},
    queue::{Lease, Meta, OrgSettings, Settings},
};

/// A priority's level and an organisation.
pub type Lane = (u8, OrgId);

/// What is known of a job.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    pub lane: Lane,
    pub meta: Meta,
    /// Which version of its payload it has.
    pub revision: i32,
}

#[derive(Default)]
pub struct Model {
    pub jobs: BTreeMap<JobId, Known>,
    pub lanes: BTreeMap<Lane, VecDeque<JobId>>,
    pub delayed: BTreeSet<JobId>,
    /// Delayed jobs whose time has come, in the order in which it did.
    pub due: Vec<JobId>,
    pub held: BTreeMap<JobId, Lease>,
    /// Held jobs whose leases have run out, in the order in which they did.
    pub expired: Vec<JobId>,
    /// Cancelled jobs that Redis still knows.
    pub cancelled: HashSet<JobId>,
    /// Jobs that ended, and may be replayed.
    pub ended: Vec<(JobId, Lane)>,
    /// Leases that are nobody's any more.
    pub stale: Vec<(Lease, OrgId)>,
    pub settings: Settings,
    pub organisations: BTreeMap<OrgId, OrgSettings>,
}

impl Model {
    pub fn running(&self, org: OrgId) -> usize {
        self.held.keys().filter(|id| self.jobs[*id].lane.1 == org).count()
    }

    /// How many more of an organisation's jobs may run.
    pub fn room(&self, org: OrgId) -> usize {
        let own = self.organisations.get(&org).and_then(|own| own.concurrency);
        match own.or(self.settings.org_concurrency) {
            Some(limit) => (limit as usize).saturating_sub(self.running(org)),
            None => usize::MAX,
        }
    }

    /// How many more jobs may run at all.
    pub fn room_of_all(&self) -> usize {
        self.settings.concurrency.map_or(usize::MAX, |limit| (limit as usize).saturating_sub(self.held.len()))
    }

    pub fn weight(&self, org: OrgId) -> f64 {
        self.organisations.get(&org).and_then(|own| own.weight).unwrap_or(1).into()
    }

    /// Jobs of a lane that can be served.
    pub fn waiting(&self, lane: Lane) -> usize {
        let ids = self.lanes.get(&lane).into_iter().flatten();
        ids.filter(|id| !self.cancelled.contains(id)).count()
    }

    /// How many jobs of a level could be served now, were there nothing else.
    pub fn servable_at(&self, level: u8) -> usize {
        let lanes = self.lanes.keys().filter(|lane| lane.0 == level);
        let there: usize = lanes.map(|lane| self.waiting(*lane).min(self.room(lane.1))).sum();
        there.min(self.room_of_all())
    }

    /// How many jobs a claim must give: as many as are wanted, as are there and as are allowed.
    pub fn servable(&self, want: usize) -> usize {
        let mut by_org: BTreeMap<OrgId, usize> = BTreeMap::new();
        for lane in self.lanes.keys() {
            *by_org.entry(lane.1).or_default() += self.waiting(*lane);
        }
        let there: usize = by_org.into_iter().map(|(org, count)| count.min(self.room(org))).sum();
        want.min(self.room_of_all()).min(there)
    }

    pub fn forget(&mut self, id: JobId) {
        self.jobs.remove(&id);
        self.cancelled.remove(&id);
    }

    pub fn end(&mut self, id: JobId) {
        self.held.remove(&id);
        self.expired.retain(|other| *other != id);
        if !self.cancelled.contains(&id) {
            self.ended.push((id, self.jobs[&id].lane));
        }
        self.forget(id);
    }

    pub fn return_lost(&mut self) {
        // The first to run out ends in front.
        for id in std::mem::take(&mut self.expired).into_iter().rev() {
            let lease = self.held.remove(&id).unwrap();
            self.stale.push((lease, self.jobs[&id].lane.1));
            if self.cancelled.contains(&id) {
                self.forget(id);
            } else {
                let known = self.jobs.get_mut(&id).unwrap();
                known.meta.lost += 1;
                let lane = known.lane;
                self.lanes.entry(lane).or_default().push_front(id);
            }
        }
    }

    pub fn promote_due(&mut self) {
        for id in std::mem::take(&mut self.due) {
            self.lanes.entry(self.jobs[&id].lane).or_default().push_back(id);
        }
    }

    /// Takes a served job off its lane; cancelled ones in front of it are cleared away.
    pub fn take(&mut self, id: JobId) {
        let lane = self.jobs[&id].lane;
        while let Some(front) = self.lanes.get_mut(&lane).and_then(VecDeque::pop_front) {
            if front == id {
                return;
            }
            assert!(self.cancelled.remove(&front), "{front} stood before {id}");
            self.jobs.remove(&front);
        }
        panic!("{id} was not waiting in its lane");
    }

    /// All jobs that have not ended go back to be served, as the ledger knows them: in the order of their ids.
    pub fn rebuild(&mut self) {
        self.stale.extend(self.held.iter().map(|(id, lease)| (*lease, self.jobs[id].lane.1)));
        self.held.clear();
        self.expired.clear();
        for id in std::mem::take(&mut self.cancelled) {
            self.jobs.remove(&id);
            self.delayed.remove(&id);
        }
        self.due.clear();
        self.lanes.clear();
        for (id, known) in &self.jobs {
            if !self.delayed.contains(id) {
                self.lanes.entry(known.lane).or_default().push_back(*id);
            }
        }
    }
}
