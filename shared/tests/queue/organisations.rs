//! What is set for single organisations: their weights, and limits of their own.

use std::collections::{BTreeMap, HashMap};

use millrace_shared::{
    ids::OrgId,
    queue::{ClaimStatus, Claimed, OrgSettings, OrgTerms, QueueJob, Settings},
};

use crate::support::*;

fn by_org(claimed: &[Claimed]) -> HashMap<OrgId, usize> {
    let mut counts = HashMap::new();
    for job in claimed {
        *counts.entry(job.org).or_default() += 1;
    }
    counts
}

#[tokio::test]
async fn shares_are_as_the_weights_whatever_the_size_of_a_claim() {
    for want in [1, 3, 8, 40] {
        let rig = Rig::start().await;
        let orgs: Vec<OrgId> = (0..3).map(|_| OrgId::new()).collect();
        rig.organisations(&[(orgs[0], weight(5)), (orgs[1], weight(2))]).await;
        for org in &orgs {
            rig.push(&normal(*org, 1_000)).await;
        }
        let mut served: HashMap<OrgId, usize> = HashMap::new();
        let mut total = 0;
        while total < 800 {
            let claimed = rig.claim(want).await;
            total += claimed.len();
            by_org(&claimed).into_iter().for_each(|(org, count)| *served.entry(org).or_default() += count);
        }
        for (org, share) in orgs.iter().zip([5, 2, 1]) {
            let (got, fair) = (served[org], total * share / 8);
            assert!(got.abs_diff(fair) <= want + 8, "claims of {want}: {got} instead of {fair} of {total}");
        }
    }
}

#[tokio::test]
async fn a_weight_is_felt_within_one_large_claim() {
    let rig = Rig::start().await;
    let (heavy, light) = (OrgId::new(), OrgId::new());
    rig.organisations(&[(heavy, weight(3))]).await;
    rig.push(&[normal(light, 100), normal(heavy, 100)].concat()).await;
    let counts = by_org(&rig.claim(40).await);
    assert_eq!((counts[&heavy], counts[&light]), (30, 10));
}

#[tokio::test]
async fn a_heavy_organisation_leaves_the_light_ones_their_turns() {
    let rig = Rig::start().await;
    let heavy = OrgId::new();
    rig.organisations(&[(heavy, weight(1_000))]).await;
    rig.push(&normal(heavy, 3_000)).await;
    let singles: Vec<QueueJob> = (0..20).flat_map(|_| normal(OrgId::new(), 1)).collect();
    rig.push(&singles).await;
    // It may have a thousand jobs for each of theirs, and they are all at the same time: nobody waits for a second thousand.
    let mut others = 0;
    for _ in 0..1_020 / 20 + 1 {
        others += rig.claim(20).await.iter().filter(|job| job.org != heavy).count();
    }
    assert_eq!(others, 20);
}

#[tokio::test]
async fn a_limit_of_its_own_goes_before_the_queues_limit_for_each() {
    let rig = Rig::start().await;
    rig.settings(Settings { org_concurrency: Some(3), ..Settings::default() }).await;
    let (more, less, other) = (OrgId::new(), OrgId::new(), OrgId::new());
    rig.organisations(&[(more, own_limit(7)), (less, own_limit(1))]).await;
    for org in [more, less, other] {
        rig.push(&normal(org, 20)).await;
    }
    let running = rig.claim(60).await;
    assert_eq!(by_org(&running), HashMap::from([(more, 7), (less, 1), (other, 3)]));
    assert!(rig.claim(60).await.is_empty());
    let first_of_each: Vec<Claimed> = {
        let mut seen = Vec::new();
        running
            .into_iter()
            .filter(|job| {
                !seen.contains(&job.org) && {
                    seen.push(job.org);
                    true
                }
            })
            .collect()
    };
    rig.settle(&first_of_each).await;
    assert_eq!(by_org(&rig.claim(60).await), HashMap::from([(more, 1), (less, 1), (other, 1)]));
}

#[tokio::test]
async fn a_limit_of_its_own_holds_where_the_queue_has_none_and_its_end_wakes() {
    let rig = Rig::start().await;
    let (limited, free) = (OrgId::new(), OrgId::new());
    rig.organisations(&[(limited, own_limit(2))]).await;
    rig.push(&[normal(limited, 5), normal(free, 5)].concat()).await;
    let running = rig.claim(20).await;
    assert_eq!(by_org(&running), HashMap::from([(limited, 2), (free, 5)]));
    let mut pubsub = rig.subscribe().await;
    let (its, others): (Vec<_>, Vec<_>) = running.into_iter().partition(|job| job.org == limited);
    rig.settle(&others).await;
    assert!(rig.heard(&mut pubsub).await.is_empty(), "nothing can be claimed for that");
    rig.settle(&its[..1]).await;
    assert_eq!(rig.heard(&mut pubsub).await, [b"w"]);
    assert_eq!(rig.claim(20).await.len(), 1);
}

#[tokio::test]
async fn a_changed_limit_is_felt_at_once() {
    let rig = Rig::start().await;
    let org = OrgId::new();
    rig.organisations(&[(org, own_limit(1))]).await;
    rig.push(&normal(org, 20)).await;
    assert_eq!(rig.claim(20).await.len(), 1);
    for (settings, more) in [(own_limit(4), 3), (own_limit(2), 0), (OrgSettings::default(), 16)] {
        let mut pubsub = rig.subscribe().await;
        rig.organisations(&[(org, settings)]).await;
        assert_eq!(rig.heard(&mut pubsub).await, [b"w"], "{settings:?}");
        assert_eq!(rig.claim(20).await.len(), more, "{settings:?}");
    }
}

#[tokio::test]
async fn of_two_that_bring_changes_at_once_none_undoes_the_others() {
    let rig = Rig::start().await;
    let org = OrgId::new();
    rig.organisations(&[(org, weight(2))]).await;
    let known = rig.queues.organisations_version(Q).await.unwrap();
    let terms = |weight_| [OrgTerms { org, settings: weight(weight_), version: 7 }];
    assert!(rig.queues.apply_organisations(Q, known, 7, &terms(9)).await.unwrap());
    assert!(!rig.queues.apply_organisations(Q, known, 7, &terms(3)).await.unwrap(), "it knows an older state");
    assert_eq!(own(&rig).await, [(org, "9,".to_owned())].into());
}

#[tokio::test]
async fn settings_of_another_ledger_or_of_none_are_forgotten() {
    let rig = Rig::start().await;
    let (old, new) = (OrgId::new(), OrgId::new());
    for lose in [None, Some("mr:{probe}:ctl")] {
        rig.organisations(&[(old, weight(2))]).await;
        let mut known = rig.queues.organisations_version(Q).await.unwrap();
        if let Some(key) = lose {
            rig.command::<i64>(redis::cmd("DEL").arg(key)).await;
            known = None;
        }
        let terms = [OrgTerms { org: new, settings: weight(3), version: 0 }];
        assert!(rig.queues.apply_organisations(Q, known, 0, &terms).await.unwrap());
        assert_eq!(own(&rig).await, [(new, "3,".to_owned())].into(), "{lose:?}");
    }
}

#[tokio::test]
async fn nothing_is_served_between_the_settings_of_organisations_and_those_of_the_queue() {
    let rig = Rig::start().await;
    rig.command::<String>(&redis::cmd("FLUSHALL")).await;
    rig.push(&normal(OrgId::new(), 1)).await;
    rig.organisations(&[(OrgId::new(), weight(2))]).await;
    assert_eq!(rig.claim_for(1, LONG).await.status, ClaimStatus::Lost);
    rig.settings(Settings::default()).await;
    assert_eq!(rig.claim(1).await.len(), 1);
}

async fn own(rig: &Rig) -> BTreeMap<OrgId, String> {
    let all: BTreeMap<Vec<u8>, String> = rig.command(redis::cmd("HGETALL").arg("mr:{probe}:own")).await;
    all.into_iter().map(|(org, terms)| (OrgId::try_from(org.as_slice()).unwrap(), terms)).collect()
}

/// What a claim of ten jobs of ten organisations costs, and what settling them does.
async fn cost(rig: &Rig) -> (u64, u64) {
    // Nobody is left in the ring, and it is no lower level's turn.
    assert!(rig.claim(1).await.is_empty());
    rig.command::<i64>(redis::cmd("HDEL").arg("mr:{probe}:ctl").arg("turn").arg("owed")).await;
    rig.push(&(0..10).flat_map(|_| normal(OrgId::new(), 1)).collect::<Vec<_>>()).await;
    let mut claimed = Vec::new();
    let claim = rig.commands_of(async || claimed = rig.claim(10).await).await;
    assert_eq!(claimed.len(), 10);
    (claim, rig.commands_of(async || rig.settle(&claimed).await).await)
}

#[tokio::test]
async fn ten_thousand_organisations_with_settings_cost_the_others_one_lookup_a_claim() {
    let rig = Rig::start().await;
    cost(&rig).await;
    let (claim, settle) = cost(&rig).await;
    let settings: Vec<(OrgId, OrgSettings)> = (0..10_000).map(|_| (OrgId::new(), weight(2))).collect();
    rig.organisations(&settings).await;
    let (claim_after, settle_after) = cost(&rig).await;
    assert_eq!(claim_after, claim + 1, "their settings, in one lookup a page of organisations");
    assert_eq!(settle_after, settle + 4, "whether they wait for a slot, in one lookup a priority");
}
