//! Pausing, and how much may run at once.

use std::time::Duration;

use millrace_shared::{
    ids::OrgId,
    queue::{ClaimStatus, Meta, QueueJob, Settings},
};

use crate::support::*;

fn limit(concurrency: u32) -> Settings {
    Settings { concurrency: Some(concurrency), ..Settings::default() }
}

fn org_limit(concurrency: u32) -> Settings {
    Settings { org_concurrency: Some(concurrency), ..Settings::default() }
}

const PAUSED: Settings =
    Settings { paused: true, concurrency: None, org_concurrency: None, rate: None, org_rate: None };

#[tokio::test]
async fn nothing_is_claimed_of_a_paused_queue_and_resuming_wakes_its_workers() {
    let rig = Rig::start().await;
    let jobs = normal(OrgId::new(), 2);
    rig.push(&jobs).await;
    let running = rig.claim(1).await;
    rig.settings(PAUSED).await;
    let claim = rig.claim_for(5, LONG).await;
    assert_eq!((claim.status, claim.jobs.len()), (ClaimStatus::Paused, 0));
    assert!(rig.queues.stats(Q).await.unwrap().paused);
    rig.settle(&running).await;
    let mut pubsub = rig.subscribe().await;
    rig.settings(Settings::default()).await;
    assert_eq!(rig.heard(&mut pubsub).await, [b"w"]);
    assert_eq!(ids(&rig.claim(5).await), [jobs[1].id]);
}

#[tokio::test]
async fn jobs_that_come_due_in_a_paused_queue_do_not_keep_its_workers_asking() {
    let rig = Rig::start().await;
    let job = delayed(OrgId::new(), Duration::from_millis(1));
    rig.push(std::slice::from_ref(&job)).await;
    rig.settings(PAUSED).await;
    rig.pass(Duration::from_millis(1)).await;
    let claim = rig.claim_for(1, LONG).await;
    assert_eq!((claim.status, claim.next_event), (ClaimStatus::Paused, None));
    rig.settings(Settings::default()).await;
    assert_eq!(ids(&rig.claim(1).await), [job.id]);
}

#[tokio::test]
async fn leases_run_out_in_a_paused_queue_too() {
    let rig = Rig::start().await;
    rig.push(&normal(OrgId::new(), 1)).await;
    rig.claim_for(1, NONE).await;
    rig.settings(PAUSED).await;
    assert_eq!(rig.claim_for(1, LONG).await.status, ClaimStatus::Paused);
    let stats = rig.queues.stats(Q).await.unwrap();
    assert_eq!((stats.ready.iter().sum::<u64>(), stats.running), (1, 0));
}

#[tokio::test]
async fn no_more_run_than_the_queues_limit_and_a_slot_that_becomes_free_wakes() {
    let rig = Rig::start().await;
    rig.settings(limit(3)).await;
    rig.push(&normal(OrgId::new(), 10)).await;
    let claim = rig.claim_for(2, LONG).await;
    assert_eq!(claim.jobs.len(), 2);
    let mut pubsub = rig.subscribe().await;
    let rest = rig.claim(5).await;
    assert_eq!(rest.len(), 1, "what is left of the limit");
    rig.settle(&claim.jobs[..1]).await;
    assert_eq!(rig.heard(&mut pubsub).await, [b"w"], "who got less than it asked for waits for the slot");
    assert_eq!(rig.claim(5).await.len(), 1);
    let full = rig.claim_for(5, LONG).await;
    assert_eq!((full.status, full.jobs.len()), (ClaimStatus::AtLimit, 0));
    rig.settle(&rest).await;
    assert_eq!(rig.heard(&mut pubsub).await, [b"w"]);
}

#[tokio::test]
async fn no_more_of_an_organisation_run_than_its_limit_and_others_pass_it() {
    let rig = Rig::start().await;
    rig.settings(org_limit(2)).await;
    let (many, few) = (OrgId::new(), OrgId::new());
    let jobs = normal(many, 10);
    rig.push(&jobs).await;
    let running = rig.claim(5).await;
    assert_eq!(ids(&running), ids_of(&jobs[..2]));
    let other = normal(few, 1);
    rig.push(&other).await;
    assert_eq!(ids(&rig.claim(5).await), ids_of(&other));
    let mut pubsub = rig.subscribe().await;
    rig.settle(&running[..1]).await;
    assert_eq!(rig.heard(&mut pubsub).await, [b"w"]);
    assert_eq!(ids(&rig.claim(5).await), [jobs[2].id], "it comes back as soon as a slot is free");
}

#[tokio::test]
async fn every_way_in_which_a_run_ends_frees_its_organisations_slot() {
    let rig = Rig::start().await;
    rig.settings(org_limit(1)).await;
    let jobs = normal(OrgId::new(), 6);
    rig.push(&jobs).await;
    let take = async || {
        let mut claimed = rig.claim(3).await;
        assert_eq!(claimed.len(), 1);
        assert!(rig.claim(3).await.is_empty(), "the limit holds");
        claimed.remove(0)
    };
    let meta = Meta { attempt: 1, ..Meta::default() };
    rig.settle(&[take().await]).await;
    rig.give_back(&take().await, Some(LONG), meta).await;
    rig.give_back(&take().await, Some(Duration::ZERO), meta).await;
    rig.give_back(&take().await, None, meta).await;
    let cancelled = take().await;
    rig.queues.cancel(Q, &[cancelled.lease.id]).await.unwrap();
    rig.settle(&[cancelled]).await;
    assert_eq!(rig.claim_for(1, NONE).await.jobs.len(), 1);
    take().await;
}

#[tokio::test]
async fn parked_organisations_come_back_when_the_limit_is_raised_or_lifted() {
    for settings in [org_limit(2), Settings::default()] {
        let rig = Rig::start().await;
        rig.settings(org_limit(1)).await;
        // More than one call of the script brings back.
        let jobs: Vec<QueueJob> = (0..450).flat_map(|_| normal(OrgId::new(), 2)).collect();
        rig.push(&jobs).await;
        let mut running = 0;
        while running < 450 {
            running += rig.claim(200).await.len();
        }
        assert!(rig.claim(500).await.is_empty());
        let mut pubsub = rig.subscribe().await;
        rig.settings(settings).await;
        assert!(rig.heard(&mut pubsub).await.contains(&b"w".to_vec()));
        let mut more = 0;
        while more < 450 {
            let claim = rig.claim_for(200, LONG).await;
            assert!(!claim.jobs.is_empty() || claim.next_event == Some(Duration::ZERO), "{more} of 450 came back");
            more += claim.jobs.len();
        }
    }
}

#[tokio::test]
async fn a_lowered_limit_holds_back_until_enough_have_ended() {
    let rig = Rig::start().await;
    rig.push(&normal(OrgId::new(), 10)).await;
    let running = rig.claim(4).await;
    for settings in [limit(2), org_limit(2)] {
        rig.settings(settings).await;
        assert!(rig.claim_for(5, LONG).await.jobs.is_empty());
    }
    rig.settle(&running[..2]).await;
    assert!(rig.claim_for(5, LONG).await.jobs.is_empty());
    rig.settle(&running[2..]).await;
    assert_eq!(rig.claim(5).await.len(), 2);
}

#[tokio::test]
async fn nothing_is_served_while_the_settings_are_lost() {
    let rig = Rig::start().await;
    rig.settings(PAUSED).await;
    let epoch = rig.queues.epoch(Q).await.unwrap();
    rig.push(&normal(OrgId::new(), 1)).await;
    for lose in ["DEL", "FLUSHALL"] {
        let mut command = redis::cmd(lose);
        if lose == "DEL" {
            command.arg("mr:{probe}:ctl");
        }
        rig.command::<redis::Value>(command).await;
        let job = normal(OrgId::new(), 1);
        rig.push(&job).await;
        let claim = rig.claim_for(1, LONG).await;
        assert_eq!((claim.status, claim.jobs.len()), (ClaimStatus::Lost, 0), "after {lose}");
        assert_eq!(rig.queues.epoch(Q).await.unwrap(), None);
        rig.settings(Settings::default()).await;
        assert_ne!(rig.queues.epoch(Q).await.unwrap(), epoch);
        assert_eq!(rig.claim(1).await.len(), 1, "after {lose} and the settings");
    }
}

#[tokio::test]
async fn an_epoch_lasts_as_long_as_the_data() {
    let rig = Rig::start().await;
    let epoch = rig.queues.epoch(Q).await.unwrap();
    assert!(epoch.is_some());
    rig.settings(limit(7)).await;
    assert_eq!(rig.queues.epoch(Q).await.unwrap(), epoch);
    assert_eq!(rig.queues.stats(Q).await.unwrap().epoch, epoch);
}

#[tokio::test]
async fn losing_the_clocks_gives_newcomers_no_credit() {
    let rig = Rig::start().await;
    let (old, new) = (OrgId::new(), OrgId::new());
    rig.push(&normal(old, 300)).await;
    for _ in 0..100 {
        rig.claim(1).await;
    }
    rig.command::<i64>(redis::cmd("DEL").arg("mr:{probe}:ctl")).await;
    rig.push(&normal(new, 100)).await;
    rig.settings(Settings::default()).await;
    let mut served = 0;
    for _ in 0..20 {
        served += rig.claim(1).await.iter().filter(|job| job.org == new).count();
    }
    assert!((9..=11).contains(&served), "{served} of 20");
}
