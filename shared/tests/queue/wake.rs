//! Idle workers are woken, once, and told when to ask by themselves.

use std::time::Duration;

use millrace_shared::{ids::OrgId, jobs::Priority, queue::Meta};

use crate::support::*;

const WOKEN: [&[u8]; 1] = [b"w"];
const SILENCE: [&[u8]; 0] = [];

#[tokio::test]
async fn a_push_wakes_an_idle_worker_exactly_once() {
    let rig = Rig::start().await;
    let mut pubsub = rig.subscribe().await;
    assert!(rig.claim(1).await.is_empty());
    rig.push(&normal(OrgId::new(), 3)).await;
    rig.push(&normal(OrgId::new(), 3)).await;
    assert_eq!(rig.heard(&mut pubsub).await, WOKEN);
}

#[tokio::test]
async fn a_push_wakes_nobody_when_nobody_is_idle() {
    let rig = Rig::start().await;
    rig.push(&normal(OrgId::new(), 3)).await;
    let mut pubsub = rig.subscribe().await;
    assert_eq!(rig.claim(3).await.len(), 3, "all that it asked for");
    rig.push(&normal(OrgId::new(), 1)).await;
    assert_eq!(rig.heard(&mut pubsub).await, SILENCE);
}

#[tokio::test]
async fn who_got_less_than_it_asked_for_is_woken_by_the_next_push() {
    let rig = Rig::start().await;
    rig.push(&normal(OrgId::new(), 3)).await;
    let mut pubsub = rig.subscribe().await;
    assert_eq!(rig.claim(4).await.len(), 3);
    rig.push(&normal(OrgId::new(), 1)).await;
    assert_eq!(rig.heard(&mut pubsub).await, WOKEN);
}

#[tokio::test]
async fn a_delayed_job_wakes_only_if_it_is_due_before_all_others() {
    let rig = Rig::start().await;
    let mut pubsub = rig.subscribe().await;
    let org = OrgId::new();
    for (seconds, heard) in [(100, &WOKEN[..]), (200, &SILENCE), (100, &SILENCE), (50, &WOKEN)] {
        assert!(rig.claim(1).await.is_empty());
        rig.push(&[delayed(org, Duration::from_secs(seconds))]).await;
        assert_eq!(rig.heard(&mut pubsub).await, heard, "{seconds} s");
        // The next one is not due in the same millisecond.
        rig.pass(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_job_given_back_wakes_if_it_is_there_at_once_or_due_first() {
    let rig = Rig::start().await;
    let org = OrgId::new();
    rig.push(&normal(org, 1)).await;
    let mut pubsub = rig.subscribe().await;
    for (delay, heard) in [(None, &WOKEN[..]), (Some(Duration::ZERO), &WOKEN), (Some(LONG), &WOKEN)] {
        let claimed = rig.claim(2).await.remove(0);
        rig.give_back(&claimed, delay, Meta::default()).await;
        assert_eq!(rig.heard(&mut pubsub).await, heard, "{delay:?}");
    }
    rig.push(&normal(org, 1)).await;
    let claimed = rig.claim(2).await.remove(0);
    rig.give_back(&claimed, Some(LONG * 2), Meta::default()).await;
    assert_eq!(rig.heard(&mut pubsub).await, SILENCE, "another one is due before");
}

#[tokio::test]
async fn a_settlement_wakes_nobody_where_no_limit_was_in_the_way() {
    let rig = Rig::start().await;
    rig.push(&normal(OrgId::new(), 1)).await;
    let mut pubsub = rig.subscribe().await;
    let claimed = rig.claim(2).await;
    rig.settle(&claimed).await;
    assert_eq!(rig.heard(&mut pubsub).await, SILENCE);
}

#[tokio::test]
async fn the_next_event_is_the_first_due_job_or_the_first_lease_to_run_out() {
    let rig = Rig::start().await;
    let org = OrgId::new();
    assert_eq!(rig.claim_for(1, LONG).await.next_event, None);
    rig.push(&[delayed(org, Duration::from_secs(500))]).await;
    let within = |event: Option<Duration>, seconds: u64| {
        let event = event.expect("something is to come");
        assert!(
            event <= Duration::from_millis(seconds * 1_000 + 2) && event > Duration::from_secs(seconds - 30),
            "{event:?}"
        );
    };
    within(rig.claim_for(1, LONG).await.next_event, 500);
    rig.push(&[job(org, Priority::Normal)]).await;
    assert_eq!(rig.claim_for(1, Duration::from_secs(100)).await.jobs.len(), 1);
    within(rig.claim_for(1, LONG).await.next_event, 100);
    rig.push(&[delayed(org, Duration::from_secs(50))]).await;
    within(rig.claim_for(1, LONG).await.next_event, 50);
}

#[tokio::test]
async fn asking_at_the_next_event_finds_the_job() {
    let rig = Rig::start().await;
    let org = OrgId::new();
    rig.push(&normal(org, 1)).await;
    rig.claim_for(1, Duration::from_millis(30)).await;
    let event = rig.claim_for(1, LONG).await.next_event.unwrap();
    tokio::time::sleep(event).await;
    let claimed = rig.claim(1).await;
    assert_eq!(claimed.len(), 1, "the lease has run out by then");
    rig.settle(&claimed).await;
    rig.push(&[delayed(org, Duration::from_millis(30))]).await;
    let event = rig.claim_for(1, LONG).await.next_event.unwrap();
    tokio::time::sleep(event).await;
    assert_eq!(rig.claim(1).await.len(), 1, "the job is due by then");
}
