//! Limits are exact whoever claims: every claim is one script, and what runs is counted in it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use millrace_shared::{
    ids::OrgId,
    queue::{Claimed, Lease, Settings},
};
use tokio::task::JoinSet;

use crate::support::*;

const CLAIMERS: usize = 6;
const JOBS_OF_EACH: usize = 120;

/// What runs, as those who run it see it: counted before a claim's jobs end and after it is answered, so never too much.
#[derive(Default)]
struct Running {
    now: HashMap<OrgId, usize>,
    most: HashMap<OrgId, usize>,
    most_of_all: usize,
    served: usize,
}

impl Running {
    fn begin(&mut self, claimed: &[Claimed]) {
        for job in claimed {
            let now = self.now.entry(job.org).or_default();
            *now += 1;
            let most = self.most.entry(job.org).or_default();
            *most = (*most).max(*now);
        }
        self.most_of_all = self.most_of_all.max(self.now.values().sum());
        self.served += claimed.len();
    }

    fn end(&mut self, job: &Claimed) {
        *self.now.get_mut(&job.org).unwrap() -= 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_of_the_queue_of_each_and_of_one_hold_exactly_under_concurrent_claimers() {
    let rig = Rig::start().await;
    rig.settings(Settings { concurrency: Some(9), org_concurrency: Some(3), ..Settings::default() }).await;
    let orgs: Vec<OrgId> = (0..5).map(|_| OrgId::new()).collect();
    rig.organisations(&[(orgs[0], own_limit(5)), (orgs[1], own_limit(1))]).await;
    for org in &orgs {
        rig.push(&normal(*org, JOBS_OF_EACH)).await;
    }
    // The one with the largest limit has enough to reach it when the others are done.
    rig.push(&normal(orgs[0], JOBS_OF_EACH)).await;
    let total = JOBS_OF_EACH * 6;
    let running = Arc::new(Mutex::new(Running::default()));
    let mut claimers = JoinSet::new();
    for claimer in 0..CLAIMERS {
        let (queues, running) = (rig.queues.clone(), Arc::clone(&running));
        claimers.spawn(async move {
            while running.lock().unwrap().served < total {
                let claimed = queues.claim(Q, 1 + claimer * 2, LONG, "worker").await.unwrap().jobs;
                running.lock().unwrap().begin(&claimed);
                tokio::task::yield_now().await;
                for job in claimed {
                    // Told before it is true: whoever claims in between counts this one as ended already.
                    running.lock().unwrap().end(&job);
                    let lease: (Lease, OrgId) = (job.lease, job.org);
                    assert_eq!(queues.settle(Q, &[lease]).await.unwrap(), [true]);
                }
            }
        });
    }
    claimers.join_all().await;
    rig.assert_nothing_left().await;
    let running = running.lock().unwrap();
    assert_eq!(running.served, total);
    let most: Vec<usize> = orgs.iter().map(|org| running.most[org]).collect();
    assert_eq!(most, [5, 1, 3, 3, 3], "each reached its limit and none passed it");
    assert_eq!(running.most_of_all, 9);
}
