//! What a claim must do, and what it must not do to anybody.

use std::collections::{BTreeMap, BTreeSet};

use millrace_shared::queue::{Claim, ClaimStatus};

use super::{
    snapshot::Snapshot,
    state::{Lane, Model},
};

/// So many claims that serve anything may pass a level by that has something to serve: each level has one in eight, and two others may be
/// owed theirs.
const PATIENCE: usize = 10;

/// What the rules remember from one claim to the next.
#[derive(Default)]
pub struct Rules {
    passed_by: [usize; 4],
}

impl Rules {
    /// Holds a claim against the model, which still is as it was before, and changes it.
    pub fn claimed(&mut self, model: &mut Model, (before, after): (&Snapshot, &Snapshot), want: usize, claim: &Claim) {
        model.return_lost();
        if model.settings.paused {
            assert_eq!((claim.status, claim.jobs.len()), (ClaimStatus::Paused, 0));
            return;
        }
        model.promote_due();
        let is_full = model.room_of_all() == 0;
        assert_eq!(claim.status, if is_full { ClaimStatus::AtLimit } else { ClaimStatus::Served });
        assert_eq!(claim.jobs.len(), model.servable(want), "of {want}");
        let could: [bool; 4] = [0, 1, 2, 3].map(|level| model.servable_at(level) > 0);
        let no_cancelled = model.cancelled.is_empty();
        let mut served: BTreeMap<Lane, usize> = BTreeMap::new();
        for job in &claim.jobs {
            let known = model.jobs[&job.lease.id];
            assert_eq!((job.org, job.priority.level(), job.meta), (known.lane.1, known.lane.0, known.meta));
            assert_eq!(job.envelope.as_ref().unwrap().revision, known.revision, "its payload");
            *served.entry(known.lane).or_default() += 1;
            model.take(job.lease.id);
            assert!(model.held.insert(job.lease.id, job.lease).is_none(), "{} was claimed twice", job.lease.id);
        }
        assert_limits(model, served.keys().map(|lane| lane.1).collect());
        if no_cancelled {
            assert_urgent_first(model, &served, want);
            assert_charged(model, (before, after), &served);
        }
        self.assert_nobody_starves(could, &served);
    }

    fn assert_nobody_starves(&mut self, could: [bool; 4], served: &BTreeMap<Lane, usize>) {
        if served.is_empty() {
            return;
        }
        for (level, passed_by) in self.passed_by.iter_mut().enumerate() {
            let was_served = served.keys().any(|lane| usize::from(lane.0) == level);
            *passed_by = if could[level] && !was_served { *passed_by + 1 } else { 0 };
            assert!(*passed_by <= PATIENCE, "level {level} was passed by {passed_by} times");
        }
    }
}

fn assert_limits(model: &Model, orgs: BTreeSet<millrace_shared::ids::OrgId>) {
    if let Some(limit) = model.settings.concurrency {
        assert!(orgs.is_empty() || model.held.len() <= limit as usize, "{} run of {limit}", model.held.len());
    }
    for org in orgs {
        let own = model.organisations.get(&org).and_then(|own| own.concurrency);
        if let Some(limit) = own.or(model.settings.org_concurrency) {
            assert!(model.running(org) <= limit as usize, "{} of {org} run of {limit}", model.running(org));
        }
    }
}

/// Below a level that has more to serve, at most a quarter of a claim is served.
fn assert_urgent_first(model: &Model, served: &BTreeMap<Lane, usize>, want: usize) {
    let Some(left) = (0..4).find(|level| model.servable_at(*level) > 0) else { return };
    let below: usize = served.iter().filter(|(lane, _)| lane.0 > left).map(|(_, count)| count).sum();
    assert!(below <= want.div_ceil(4), "{below} of {want} were served below level {left}");
}

/// A virtual time moves on by what was served, divided by the weight.
fn assert_charged(model: &Model, (before, after): (&Snapshot, &Snapshot), served: &BTreeMap<Lane, usize>) {
    for (lane, count) in served {
        // Who joins the ring in this very claim begins where the ring is; who had nothing ready may do so too.
        let was_ready = before.lanes.contains_key(lane);
        let (Some(from), Some(to)) = (before.rings.get(lane).filter(|_| was_ready), after.rings.get(lane)) else {
            continue;
        };
        #[expect(clippy::cast_precision_loss, reason = "a claim has at most 50 jobs")]
        let expected = from + *count as f64 / model.weight(lane.1);
        assert!((to - expected).abs() < 1e-6, "{lane:?} moved from {from} to {to} instead of {expected}");
    }
}
