//! Whose turn it is among priorities: the more urgent first, and none starves.

use std::collections::HashMap;

use millrace_shared::{
    ids::OrgId,
    jobs::Priority,
    queue::{Claimed, QueueJob, Settings},
};

use crate::support::*;

#[tokio::test]
async fn the_more_urgent_is_served_first() {
    let rig = Rig::start().await;
    let org = OrgId::new();
    let jobs: Vec<QueueJob> = Priority::ALL.iter().rev().map(|priority| job(org, *priority)).collect();
    rig.push(&jobs).await;
    let served: Vec<Priority> = rig.claim(4).await.iter().map(|job| job.priority).collect();
    assert_eq!(served, Priority::ALL);
}

#[tokio::test]
async fn each_lower_level_has_one_claim_in_eight_under_a_flood_of_critical_jobs() {
    let rig = Rig::start().await;
    let org = OrgId::new();
    let flood: Vec<QueueJob> = (0..200).map(|_| job(org, Priority::Critical)).collect();
    let lower = [Priority::High, Priority::Normal, Priority::Low];
    let rest: Vec<QueueJob> = (0..20).flat_map(|_| lower.map(|priority| job(OrgId::new(), priority))).collect();
    rig.push(&[flood, rest].concat()).await;
    for round in 0..10 {
        let mut served: HashMap<Priority, usize> = HashMap::new();
        for _ in 0..8 {
            *served.entry(rig.claim(1).await[0].priority).or_default() += 1;
        }
        let expected =
            HashMap::from([(Priority::Critical, 5), (Priority::High, 1), (Priority::Normal, 1), (Priority::Low, 1)]);
        assert_eq!(served, expected, "round {round}");
    }
}

#[tokio::test]
async fn a_large_claim_that_serves_low_first_gives_it_a_quarter() {
    let rig = Rig::start().await;
    let org = OrgId::new();
    let jobs: Vec<QueueJob> = (0..400).flat_map(|_| [job(org, Priority::Low), job(org, Priority::Critical)]).collect();
    rig.push(&jobs).await;
    let mut low = Vec::new();
    for _ in 0..8 {
        let claimed = rig.claim(40).await;
        low.push(claimed.iter().filter(|job| job.priority == Priority::Low).count());
    }
    low.sort_unstable();
    assert_eq!(low, [0, 0, 0, 0, 0, 0, 0, 10]);
}

/// How many claims of `want` jobs pass before a job of `priority` is served, while all levels above it never run dry.
async fn claims_until_served(priority: Priority, want: usize) -> usize {
    let rig = Rig::start().await;
    let org = OrgId::new();
    let above = &Priority::ALL[..usize::from(priority.level())];
    let flood: Vec<QueueJob> = (0..want * 20).flat_map(|_| above.iter().map(|above| job(org, *above))).collect();
    rig.push(&flood).await;
    rig.claim(want).await;
    rig.push(&[job(OrgId::new(), priority)]).await;
    for claims in 1..=20 {
        if rig.claim(want).await.iter().any(|job| job.priority == priority) {
            return claims;
        }
    }
    panic!("{priority:?} was not served in 20 claims of {want}");
}

#[tokio::test]
async fn every_level_is_served_within_eight_claims_however_the_levels_above_it_flood() {
    for priority in [Priority::High, Priority::Normal, Priority::Low] {
        for want in [1, 7, 40] {
            let claims = claims_until_served(priority, want).await;
            assert!(claims <= 8, "{priority:?} waited for {claims} claims of {want}");
        }
    }
}

/// Two workers that find nothing every other time would otherwise take all turns of a level for themselves.
#[tokio::test]
async fn a_claim_that_serves_nothing_uses_up_nobodys_turn() {
    let rig = Rig::start().await;
    rig.settings(Settings { concurrency: None, org_concurrency: Some(1), ..Settings::default() }).await;
    let org = OrgId::new();
    let flood: Vec<QueueJob> = (0..60).map(|_| job(org, Priority::Critical)).collect();
    rig.push(&flood).await;
    for priority in [Priority::High, Priority::Normal, Priority::Low] {
        rig.push(&[job(org, priority)]).await;
    }
    let mut served = HashMap::<Priority, usize>::new();
    for _ in 0..16 {
        let claimed = rig.claim(1).await;
        *served.entry(claimed[0].priority).or_default() += 1;
        assert!(rig.claim(1).await.is_empty(), "the limit holds");
        rig.settle(&claimed).await;
    }
    assert_eq!(served.len(), 4, "{served:?}");
}

/// Whose turn comes while its organisation is at its limit has it as soon as that may run again.
#[tokio::test]
async fn a_turn_that_could_not_be_used_is_kept() {
    let rig = Rig::start().await;
    rig.settings(Settings { org_concurrency: Some(1), ..Settings::default() }).await;
    let (both, others) = (OrgId::new(), (0..30).map(|_| OrgId::new()));
    let critical: Vec<QueueJob> = (0..20).map(|_| job(both, Priority::Critical)).collect();
    rig.push(&critical).await;
    rig.push(&[job(both, Priority::Low)]).await;
    rig.push(&others.map(|org| job(org, Priority::Critical)).collect::<Vec<_>>()).await;
    // Its slot is taken by a critical job of its own whenever the turn of `low` comes.
    let mut held: Vec<Claimed> = Vec::new();
    while held.iter().all(|job| job.org != both) {
        held.extend(rig.claim(1).await);
    }
    for _ in 0..16 {
        assert!(rig.claim(1).await.iter().all(|job| job.org != both));
    }
    let at = held.iter().position(|job| job.org == both).unwrap();
    rig.settle(&[held.swap_remove(at)]).await;
    let next = rig.claim(1).await;
    assert_eq!((next[0].org, next[0].priority), (both, Priority::Low));
}

#[tokio::test]
async fn batches_of_one_organisation_do_not_delay_anothers_critical_job() {
    for flooded in Priority::ALL {
        let rig = Rig::start().await;
        let (flood, other) = (OrgId::new(), OrgId::new());
        let batch: Vec<QueueJob> = (0..5_000).map(|_| job(flood, flooded)).collect();
        rig.push(&batch).await;
        for _ in 0..5 {
            rig.claim(20).await;
        }
        rig.push(&[job(other, Priority::Critical)]).await;
        assert!(rig.claim(20).await.iter().any(|job| job.org == other), "beside a batch of {flooded:?}");
    }
}
