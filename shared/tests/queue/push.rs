//! Jobs go in once, in order, and in any number.

use std::time::Duration;

use millrace_shared::{
    ids::OrgId,
    jobs::Priority,
    queue::{MAX_BATCH, Meta, QueueJob},
};

use crate::support::*;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn pushing_a_job_again_changes_nothing_wherever_it_is() {
    let rig = Rig::start().await;
    let org = OrgId::new();
    let running = normal(org, 1);
    rig.push(&running).await;
    let claimed = rig.claim(1).await;
    let (ready, later) = (normal(org, 1), delayed(org, HOUR));
    let all = [running, ready.clone(), vec![later]].concat();
    assert_eq!(rig.push(&all).await, 2, "the running one is known");
    let hurried: Vec<QueueJob> = all.iter().map(|job| QueueJob { delay: Duration::ZERO, ..job.clone() }).collect();
    assert_eq!(rig.push(&hurried).await, 0);
    let stats = rig.queues.stats(Q).await.unwrap();
    assert_eq!((stats.ready_at(Priority::Normal), stats.delayed, stats.running), (1, 1, 1));
    assert_eq!(ids(&rig.claim(10).await), ids_of(&ready));
    rig.settle(&claimed).await;
}

#[tokio::test]
async fn a_job_given_twice_in_one_batch_is_taken_once() {
    let rig = Rig::start().await;
    let job = QueueJob { meta: Meta { attempt: 2, lost: 0, snoozes: 0 }, ..job(OrgId::new(), Priority::High) };
    let late = delayed(OrgId::new(), HOUR);
    assert_eq!(rig.push(&[job.clone(), late.clone(), job.clone(), late.clone()]).await, 2);
    assert_eq!(ids(&rig.claim(10).await), [job.id]);
    assert_eq!(rig.queues.stats(Q).await.unwrap().delayed, 1);
}

#[tokio::test]
async fn what_a_job_has_been_through_travels_with_it() {
    let rig = Rig::start().await;
    let meta = Meta { attempt: 3, lost: 1, snoozes: 70_000 };
    let ready = QueueJob { meta, ..job(OrgId::new(), Priority::Normal) };
    let late = QueueJob { meta, ..delayed(OrgId::new(), Duration::from_millis(1)) };
    rig.push(&[ready, late]).await;
    rig.pass(Duration::from_millis(1)).await;
    let claimed = rig.claim(2).await;
    assert_eq!(claimed.iter().map(|job| job.meta).collect::<Vec<_>>(), [meta, meta]);
}

#[tokio::test]
async fn jobs_of_a_lane_come_out_in_the_order_in_which_they_went_in() {
    let rig = Rig::start().await;
    let jobs = normal(OrgId::new(), 2 * MAX_BATCH + 1);
    assert_eq!(rig.push(&jobs).await, jobs.len(), "more than a batch");
    let mut served = Vec::new();
    for want in [1, 3, MAX_BATCH, MAX_BATCH, MAX_BATCH] {
        served.extend(ids(&rig.claim(want).await));
    }
    assert_eq!(served, ids_of(&jobs));
}

#[tokio::test]
async fn a_claim_gives_no_more_than_a_batch_however_much_is_wanted() {
    let rig = Rig::start().await;
    rig.push(&normal(OrgId::new(), MAX_BATCH + 1)).await;
    assert_eq!(rig.claim(10_000).await.len(), MAX_BATCH);
}

#[tokio::test]
async fn jobs_of_several_queues_are_pushed_in_one_call() {
    let rig = Rig::start().await;
    let here = job(OrgId::new(), Priority::Normal);
    let there = QueueJob { queue: millrace_shared::jobs::QUEUES[0], ..job(OrgId::new(), Priority::Normal) };
    assert_eq!(rig.push(&[here.clone(), there.clone()]).await, 2);
    assert_eq!(ids(&rig.claim(10).await), [here.id]);
    assert_eq!(rig.queues.missing(there.queue, &[here.id, there.id]).await.unwrap(), [here.id]);
}

#[tokio::test]
async fn thousands_of_jobs_due_at_once_move_in_bounded_batches_and_in_order() {
    let rig = Rig::start().await;
    let org = OrgId::new();
    let jobs: Vec<QueueJob> = (0..2_000).map(|_| delayed(org, Duration::from_millis(1))).collect();
    rig.push(&jobs).await;
    rig.pass(Duration::from_millis(1)).await;

    let first = rig.claim_for(1, LONG).await;
    let stats = rig.queues.stats(Q).await.unwrap();
    assert_eq!((stats.ready_at(Priority::Normal), stats.delayed), (127, 1_872));
    let (mut served, mut delayed) = (ids(&first.jobs), stats.delayed);
    while served.len() < jobs.len() {
        let claim = rig.claim_for(500, LONG).await;
        let moved = delayed - rig.queues.stats(Q).await.unwrap().delayed;
        delayed -= moved;
        assert!(!claim.jobs.is_empty());
        assert!(claim.jobs.len() as u64 + moved <= 500, "{moved} were moved and {} served", claim.jobs.len());
        let is_last = served.len() + claim.jobs.len() == jobs.len();
        if claim.jobs.len() < 500 && !is_last {
            assert_eq!(claim.next_event, Some(Duration::ZERO), "there is more at once");
        }
        served.extend(ids(&claim.jobs));
    }
    // Four batches were pushed; each has a due time of its own, within which ids decide.
    assert_eq!(served, ids_of(&jobs));
}

#[tokio::test]
async fn a_delay_beyond_all_measure_is_not_taken_for_a_short_one() {
    let rig = Rig::start().await;
    rig.push(&[delayed(OrgId::new(), Duration::MAX)]).await;
    let claim = rig.claim_for(1, Duration::MAX).await;
    assert!(claim.jobs.is_empty());
    assert!(claim.next_event > Some(HOUR), "{:?}", claim.next_event);
}

#[tokio::test]
async fn an_envelope_of_a_later_version_is_claimed_and_told_as_unreadable() {
    let rig = Rig::start().await;
    let job = job(OrgId::new(), Priority::High);
    rig.push(std::slice::from_ref(&job)).await;
    let mut bytes = job.envelope.encode();
    bytes[0] = b'9';
    let mut set = redis::cmd("HSET");
    rig.command::<i64>(set.arg("mr:{probe}:job").arg(job.id.as_bytes()).arg(bytes)).await;
    let claimed = rig.claim(1).await;
    assert!(claimed[0].envelope.is_err());
    assert_eq!((claimed[0].org, claimed[0].priority), (job.envelope.org, Priority::High));
    rig.settle(&claimed).await;
    rig.assert_nothing_left().await;
}
