//! Cancelling and replacing jobs, wherever they are.

use std::time::Duration;

use millrace_shared::{
    ids::OrgId,
    jobs::Priority,
    queue::{Claimed, Envelope, Extension, GivenBack, Meta, QueueJob, Settings, json_of},
};
use serde_json::{Value, json};

use crate::support::*;

#[tokio::test]
async fn a_ready_job_that_was_cancelled_is_never_served_and_leaves_nothing_behind() {
    let rig = Rig::start().await;
    let jobs = normal(OrgId::new(), 3);
    rig.push(&jobs).await;
    rig.queues.cancel(Q, &[jobs[0].id, jobs[2].id]).await.unwrap();
    assert_eq!(rig.drain().await, [jobs[1].id]);
    rig.assert_nothing_left().await;
}

#[tokio::test]
async fn a_cancelled_job_takes_nobodys_turn() {
    let rig = Rig::start().await;
    let jobs = normal(OrgId::new(), 4);
    rig.push(&jobs).await;
    rig.queues.cancel(Q, &[jobs[0].id, jobs[1].id, jobs[2].id]).await.unwrap();
    assert_eq!(ids(&rig.claim(1).await), [jobs[3].id], "the first one that is not cancelled");
}

#[tokio::test]
async fn a_claim_that_meets_only_cancelled_jobs_waits_for_the_next_push() {
    let rig = Rig::start().await;
    let org = OrgId::new();
    let jobs = normal(org, 1);
    rig.push(&jobs).await;
    rig.queues.cancel(Q, &ids_of(&jobs)).await.unwrap();
    assert!(rig.claim(1).await.is_empty());
    let mut pubsub = rig.subscribe().await;
    rig.push(&normal(org, 1)).await;
    assert_eq!(rig.heard(&mut pubsub).await, [b"w"]);
}

#[tokio::test]
async fn thousands_of_cancelled_jobs_are_cleared_in_bounded_steps_and_hide_nothing() {
    let rig = Rig::start().await;
    let jobs = normal(OrgId::new(), 3_001);
    rig.push(&jobs).await;
    rig.queues.cancel(Q, &ids_of(&jobs[..3_000])).await.unwrap();
    let mut steps = 0;
    let served = loop {
        let claim = rig.claim_for(1, LONG).await;
        if !claim.jobs.is_empty() {
            break claim.jobs;
        }
        assert_eq!(claim.next_event, Some(Duration::ZERO), "there is more to clear");
        steps += 1;
    };
    assert_eq!(ids(&served), [jobs[3_000].id]);
    assert!(steps > 3, "{steps} steps are not bounded");
    rig.settle(&served).await;
    rig.assert_nothing_left().await;
}

#[tokio::test]
async fn cancelled_jobs_fill_no_organisations_limit() {
    let rig = Rig::start().await;
    rig.settings(Settings { org_concurrency: Some(1), ..Settings::default() }).await;
    for want in [1, 5] {
        let jobs = normal(OrgId::new(), 4);
        rig.push(&jobs).await;
        rig.queues.cancel(Q, &ids_of(&jobs[..3])).await.unwrap();
        let claimed = rig.claim(want).await;
        assert_eq!(ids(&claimed), [jobs[3].id]);
        rig.settle(&claimed).await;
    }
}

#[tokio::test]
async fn a_delayed_job_that_was_cancelled_is_gone_at_once() {
    let rig = Rig::start().await;
    let job = delayed(OrgId::new(), Duration::from_millis(1));
    rig.push(std::slice::from_ref(&job)).await;
    rig.queues.cancel(Q, &[job.id]).await.unwrap();
    assert_eq!(rig.queues.missing(Q, &[job.id]).await.unwrap(), [job.id]);
    rig.pass(Duration::from_millis(1)).await;
    assert!(rig.claim(1).await.is_empty());
    rig.assert_nothing_left().await;
}

#[tokio::test]
async fn the_worker_of_a_running_job_hears_that_it_was_cancelled_and_its_settlement_cleans_up() {
    let rig = Rig::start().await;
    rig.push(&normal(OrgId::new(), 1)).await;
    let claimed = rig.claim(1).await;
    let id = claimed[0].lease.id;
    let mut pubsub = rig.subscribe().await;
    rig.queues.cancel(Q, &[id]).await.unwrap();
    let told = [b"c".as_slice(), id.as_bytes()].concat();
    assert_eq!(rig.heard(&mut pubsub).await, [told]);
    assert_eq!(rig.queues.extend(Q, &[claimed[0].lease], LONG).await.unwrap(), [Extension::Cancelled]);
    rig.settle(&claimed).await;
    rig.assert_nothing_left().await;
}

#[tokio::test]
async fn a_running_job_that_was_cancelled_does_not_come_back_by_being_given_back() {
    let rig = Rig::start().await;
    for delay in [None, Some(Duration::ZERO), Some(LONG)] {
        rig.push(&normal(OrgId::new(), 1)).await;
        let claimed = rig.claim(1).await.remove(0);
        rig.queues.cancel(Q, &[claimed.lease.id]).await.unwrap();
        let meta = Meta { attempt: 1, ..Meta::default() };
        assert_eq!(rig.give_back(&claimed, delay, meta).await, GivenBack::Cancelled);
    }
    rig.assert_nothing_left().await;
}

#[tokio::test]
async fn a_cancelled_job_whose_worker_died_is_dropped_when_its_lease_runs_out() {
    let rig = Rig::start().await;
    rig.settings(Settings { org_concurrency: Some(1), ..Settings::default() }).await;
    let jobs = normal(OrgId::new(), 2);
    rig.push(&jobs).await;
    let claimed = rig.claim_for(2, NONE).await.jobs;
    assert_eq!(ids(&claimed), [jobs[0].id]);
    rig.queues.cancel(Q, &[jobs[0].id]).await.unwrap();
    let next = rig.claim(2).await;
    assert_eq!(ids(&next), [jobs[1].id], "its slot is free again");
    rig.settle(&next).await;
    rig.assert_nothing_left().await;
}

#[tokio::test]
async fn cancelling_what_redis_does_not_know_leaves_no_mark() {
    let rig = Rig::start().await;
    let job = job(OrgId::new(), Priority::Normal);
    rig.queues.cancel(Q, &[job.id]).await.unwrap();
    rig.push(std::slice::from_ref(&job)).await;
    assert_eq!(ids(&rig.claim(1).await), [job.id], "the ledger tells its worker");
}

fn with_payload(job: &QueueJob, text: &str) -> QueueJob {
    let envelope = Envelope { payload: Some(json_of(&json!({ "text": text }))), revision: 1, ..job.envelope.clone() };
    QueueJob { envelope, ..job.clone() }
}

fn payload_of(job: &Claimed) -> Value {
    serde_json::from_str(job.envelope.as_ref().unwrap().payload.as_ref().unwrap().get()).unwrap()
}

#[tokio::test]
async fn a_waiting_job_gets_another_payload_in_its_place() {
    let rig = Rig::start().await;
    let org = OrgId::new();
    let (ready, late) = (normal(org, 2), delayed(org, Duration::from_millis(1)));
    rig.push(&[ready.clone(), vec![late.clone()]].concat()).await;
    assert!(rig.queues.replace(&with_payload(&ready[0], "new")).await.unwrap());
    assert!(rig.queues.replace(&with_payload(&late, "late")).await.unwrap());
    rig.pass(Duration::from_millis(1)).await;
    let claimed = rig.claim(3).await;
    assert_eq!(ids(&claimed), [ready[0].id, ready[1].id, late.id]);
    let texts: Vec<_> = claimed.iter().map(|job| payload_of(job)["text"].clone()).collect();
    assert_eq!(texts, [json!("new"), json!(null), json!("late")]);
}

#[tokio::test]
async fn a_running_or_unknown_job_keeps_the_payload_it_has() {
    let rig = Rig::start().await;
    let jobs = normal(OrgId::new(), 1);
    assert!(!rig.queues.replace(&with_payload(&jobs[0], "unknown")).await.unwrap());
    rig.push(&jobs).await;
    let claimed = rig.claim_for(1, NONE).await.jobs;
    assert!(!rig.queues.replace(&with_payload(&jobs[0], "running")).await.unwrap());
    let again = rig.claim(1).await;
    assert_eq!(payload_of(&again[0]), payload_of(&claimed[0]));
    rig.settle(&again).await;
    rig.assert_nothing_left().await;
}
