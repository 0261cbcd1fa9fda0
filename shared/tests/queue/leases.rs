//! Leases: nobody else has a leased job, and who lost a lease cannot do anything with it.

use std::time::Duration;

use millrace_shared::{
    ids::OrgId,
    jobs::Priority,
    queue::{Extension, GiveBack, GivenBack, Lease, Meta},
};

use crate::support::*;

#[tokio::test]
async fn a_leased_job_is_not_claimed_again() {
    let rig = Rig::start().await;
    rig.push(&normal(OrgId::new(), 3)).await;
    let mut seen = ids(&rig.claim(2).await);
    for _ in 0..10 {
        seen.extend(ids(&rig.claim(2).await));
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 3);
    assert_eq!(rig.queues.stats(Q).await.unwrap().running, 3);
}

#[tokio::test]
async fn a_lease_that_ran_out_brings_its_jobs_to_the_front_in_their_order_and_counts_them_as_lost() {
    let rig = Rig::start().await;
    let jobs = normal(OrgId::new(), 6);
    rig.push(&jobs).await;
    assert_eq!(ids(&rig.claim_for(3, NONE).await.jobs), ids_of(&jobs[..3]));
    let again = rig.claim(6).await;
    assert_eq!(ids(&again), ids_of(&jobs), "the lost ones first");
    let lost: Vec<u32> = again.iter().map(|job| job.meta.lost).collect();
    assert_eq!(lost, [1, 1, 1, 0, 0, 0]);
    assert!(again.iter().all(|job| job.meta.attempt == 0), "a loss is no attempt");
}

#[tokio::test]
async fn every_loss_is_counted_and_nothing_else_is_forgotten() {
    let rig = Rig::start().await;
    let meta = Meta { attempt: 2, lost: 0, snoozes: 7 };
    rig.push(&[millrace_shared::queue::QueueJob { meta, ..job(OrgId::new(), Priority::Low) }]).await;
    for lost in 0..5 {
        let claimed = rig.claim_for(1, NONE).await.jobs;
        assert_eq!(claimed[0].meta, Meta { lost, ..meta });
    }
}

#[tokio::test]
async fn hundreds_of_leases_that_ran_out_come_back_in_bounded_batches() {
    let rig = Rig::start().await;
    let jobs = normal(OrgId::new(), 600);
    rig.push(&jobs).await;
    assert_eq!(rig.claim_for(500, NONE).await.jobs.len(), 500);
    assert_eq!(ids(&rig.claim(100).await), ids_of(&jobs[..100]));
    let stats = rig.queues.stats(Q).await.unwrap();
    assert_eq!((stats.running, stats.ready_at(Priority::Normal)), (500 - 128 + 100, 128), "128 came back at most");
    assert_eq!(rig.drain().await.len(), 500, "and then the others");
}

#[tokio::test]
async fn an_extended_lease_keeps_its_token_and_its_job() {
    let rig = Rig::start().await;
    rig.push(&normal(OrgId::new(), 1)).await;
    let short = Duration::from_millis(300);
    let claimed = rig.claim_for(1, short).await.jobs;
    assert_eq!(rig.queues.extend(Q, &[claimed[0].lease], LONG).await.unwrap(), [Extension::Extended]);
    rig.pass(short).await;
    assert!(rig.claim(1).await.is_empty());
    rig.settle(&claimed).await;
}

/// A job whose first claimer lost it to a second one.
async fn lost_and_taken(rig: &Rig) -> (Lease, millrace_shared::queue::Claimed) {
    rig.push(&normal(OrgId::new(), 1)).await;
    let old = rig.claim_for(1, NONE).await.jobs.remove(0);
    let new = rig.claim(1).await.remove(0);
    assert_eq!(old.lease.id, new.lease.id);
    assert!(new.lease.token > old.lease.token);
    (old.lease, new)
}

#[tokio::test]
async fn who_lost_a_lease_cannot_settle_extend_or_give_back_the_job() {
    let rig = Rig::start().await;
    let (old, new) = lost_and_taken(&rig).await;
    let before = (rig.queues.stats(Q).await.unwrap(), rig.keys().await);
    assert_eq!(rig.queues.settle(Q, &[(old, new.org)]).await.unwrap(), [false]);
    assert_eq!(rig.queues.extend(Q, &[old], LONG).await.unwrap(), [Extension::Lost]);
    for delay in [None, Some(Duration::ZERO), Some(LONG)] {
        let meta = Meta { attempt: 9, lost: 9, snoozes: 9 };
        let back = GiveBack { lease: old, org: new.org, delay, meta };
        assert_eq!(rig.queues.give_back(Q, &[back]).await.unwrap(), [GivenBack::Lost]);
    }
    assert_eq!((rig.queues.stats(Q).await.unwrap(), rig.keys().await), before);
    assert_eq!(rig.queues.live(Q, &[old.id]).await.unwrap()[0].meta, Meta { lost: 1, ..Meta::default() });
    assert_eq!(rig.queues.extend(Q, &[new.lease], LONG).await.unwrap(), [Extension::Extended]);
    rig.settle(&[new]).await;
    rig.assert_nothing_left().await;
}

#[tokio::test]
async fn a_settled_job_cannot_be_settled_again_and_an_unknown_one_not_at_all() {
    let rig = Rig::start().await;
    rig.push(&normal(OrgId::new(), 2)).await;
    let claimed = rig.claim(2).await;
    let first = (claimed[0].lease, claimed[0].org);
    assert_eq!(rig.queues.settle(Q, &[first, first]).await.unwrap(), [true, false], "twice in one call");
    assert_eq!(rig.queues.settle(Q, &[first]).await.unwrap(), [false]);
    let running: i64 = rig.command(redis::cmd("HGET").arg("mr:{probe}:running").arg(claimed[1].org.as_bytes())).await;
    assert_eq!(running, 1, "its neighbour still runs");
}

#[tokio::test]
async fn a_retry_waits_for_its_delay_with_its_meta() {
    let rig = Rig::start().await;
    let jobs = normal(OrgId::new(), 1);
    rig.push(&jobs).await;
    let claimed = rig.claim(1).await.remove(0);
    let (delay, meta) = (Duration::from_millis(40), Meta { attempt: 1, lost: 0, snoozes: 2 });
    assert_eq!(rig.give_back(&claimed, Some(delay), meta).await, GivenBack::Waiting);
    let claim = rig.claim_for(1, LONG).await;
    assert!(claim.jobs.is_empty());
    assert!(claim.next_event.is_some_and(|wait| wait <= delay), "{:?}", claim.next_event);
    rig.pass(delay).await;
    let again = rig.claim(1).await;
    assert_eq!((again[0].lease.id, again[0].meta), (jobs[0].id, meta));
}

#[tokio::test]
async fn a_job_given_back_without_delay_goes_behind_what_is_ready() {
    let rig = Rig::start().await;
    let jobs = normal(OrgId::new(), 3);
    rig.push(&jobs).await;
    let claimed = rig.claim(1).await.remove(0);
    rig.give_back(&claimed, Some(Duration::ZERO), Meta::default()).await;
    assert_eq!(ids(&rig.claim(3).await), [jobs[1].id, jobs[2].id, jobs[0].id]);
}

#[tokio::test]
async fn jobs_handed_back_keep_their_place_by_age_and_use_no_attempt() {
    let rig = Rig::start().await;
    let jobs = normal(OrgId::new(), 5);
    rig.push(&jobs).await;
    let claimed = rig.claim(3).await;
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let held = if order == [0, 1, 2] { &claimed } else { &rig.claim(3).await };
        let back: Vec<GiveBack> =
            order.map(|i| GiveBack { lease: held[i].lease, org: held[i].org, delay: None, meta: held[i].meta }).into();
        assert_eq!(rig.queues.give_back(Q, &back).await.unwrap(), [GivenBack::Waiting; 3]);
    }
    let again = rig.claim(5).await;
    assert_eq!(ids(&again), ids_of(&jobs));
    assert!(again.iter().all(|job| job.meta == Meta::default()));
}

#[tokio::test]
async fn answers_to_a_mixed_give_back_stand_where_the_jobs_stood() {
    let rig = Rig::start().await;
    rig.push(&normal(OrgId::new(), 3)).await;
    let claimed = rig.claim(3).await;
    rig.queues.cancel(Q, &[claimed[0].lease.id]).await.unwrap();
    rig.queues.settle(Q, &[(claimed[2].lease, claimed[2].org)]).await.unwrap();
    let back: Vec<GiveBack> = [2, 1, 0]
        .map(|i: usize| GiveBack { lease: claimed[i].lease, org: claimed[i].org, delay: None, meta: Meta::default() })
        .into();
    let answers = rig.queues.give_back(Q, &back).await.unwrap();
    assert_eq!(answers, [GivenBack::Lost, GivenBack::Waiting, GivenBack::Cancelled]);
}

#[tokio::test]
async fn nothing_of_a_job_is_left_when_it_is_settled() {
    let rig = Rig::start().await;
    let orgs: Vec<OrgId> = (0..30).map(|_| OrgId::new()).collect();
    for org in &orgs {
        let mut jobs = Priority::ALL.map(|priority| job(*org, priority)).to_vec();
        jobs.push(delayed(*org, Duration::from_millis(1)));
        rig.push(&jobs).await;
    }
    let lost = rig.claim_for(20, NONE).await.jobs;
    assert_eq!(lost.len(), 20);
    let retried = rig.claim(10).await;
    for claimed in &retried {
        let meta = Meta { attempt: 1, ..claimed.meta };
        rig.give_back(claimed, Some(Duration::from_millis(1)), meta).await;
    }
    rig.pass(Duration::from_millis(1)).await;
    assert_eq!(rig.drain().await.len(), 150);
    rig.assert_nothing_left().await;
}
