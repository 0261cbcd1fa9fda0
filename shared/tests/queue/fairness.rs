//! Whose turn it is among organisations.

use std::collections::HashMap;

use millrace_shared::{
    ids::OrgId,
    jobs::Priority,
    queue::{QueueJob, Settings},
};

use crate::support::*;

/// One organisation with 1,000 jobs, then twenty with one each.
async fn flood_and_twenty() -> (Rig, OrgId) {
    let rig = Rig::start().await;
    let flood = OrgId::new();
    rig.push(&normal(flood, 1_000)).await;
    let others: Vec<QueueJob> = (0..20).map(|_| job(OrgId::new(), Priority::Normal)).collect();
    rig.push(&others).await;
    (rig, flood)
}

#[tokio::test]
async fn twenty_single_jobs_are_served_before_a_flood_job_by_job() {
    let (rig, flood) = flood_and_twenty().await;
    let mut others = 0;
    for _ in 0..21 {
        others += rig.claim(1).await.iter().filter(|job| job.org != flood).count();
    }
    assert_eq!(others, 20);
}

#[tokio::test]
async fn twenty_single_jobs_are_in_the_first_large_claim_beside_a_flood() {
    let (rig, flood) = flood_and_twenty().await;
    let claimed = rig.claim(50).await;
    assert_eq!(claimed.iter().filter(|job| job.org != flood).count(), 20);
    assert_eq!(claimed.len(), 50, "and the flood fills the rest");
}

#[tokio::test]
async fn who_comes_late_earns_no_credit_and_does_not_stand_behind_the_flood() {
    for want in [1, 10] {
        let rig = Rig::start().await;
        let (flood, late) = (OrgId::new(), OrgId::new());
        rig.push(&normal(flood, 1_000)).await;
        for _ in 0..500 / want {
            rig.claim(want).await;
        }
        rig.push(&normal(late, 200)).await;
        let mut served = 0;
        for _ in 0..100 / want {
            served += rig.claim(want).await.iter().filter(|job| job.org == late).count();
        }
        assert!((40..=60).contains(&served), "{served} of 100 claims of {want} went to the late one");
    }
}

#[tokio::test]
async fn idleness_earns_no_credit() {
    let rig = Rig::start().await;
    let (flood, idle) = (OrgId::new(), OrgId::new());
    rig.push(&[normal(idle, 1), normal(flood, 1_000)].concat()).await;
    for _ in 0..300 {
        rig.claim(1).await;
    }
    rig.push(&normal(idle, 100)).await;
    let mut served = 0;
    for _ in 0..40 {
        served += rig.claim(1).await.iter().filter(|job| job.org == idle).count();
    }
    assert!((19..=21).contains(&served), "{served} of 40");
}

#[tokio::test]
async fn a_thousand_organisations_get_one_job_each_before_any_gets_a_second() {
    let rig = Rig::start().await;
    let orgs: Vec<OrgId> = (0..1_000).map(|_| OrgId::new()).collect();
    let jobs: Vec<QueueJob> = orgs.iter().flat_map(|org| normal(*org, 3)).collect();
    rig.push(&jobs).await;
    for round in 1..=3 {
        let mut served: HashMap<OrgId, usize> = HashMap::new();
        let mut count = 0;
        while count < 1_000 {
            let claimed = rig.claim(50).await;
            count += claimed.len();
            for job in claimed {
                *served.entry(job.org).or_default() += 1;
            }
        }
        assert_eq!(served.len(), 1_000, "round {round}");
    }
}

/// A limit takes an organisation out of the ring and lets it in again when one of its jobs ends: not before its turn.
#[tokio::test]
async fn an_organisation_at_its_limit_does_not_get_more_than_its_share() {
    let rig = Rig::start().await;
    rig.settings(Settings { org_concurrency: Some(12), ..Settings::default() }).await;
    let orgs: Vec<OrgId> = (0..6).map(|_| OrgId::new()).collect();
    rig.push(&normal(orgs[0], 1_000)).await;
    let mut running = rig.claim(20).await;
    assert_eq!(running.len(), 12, "its limit");
    for org in &orgs[1..] {
        rig.push(&normal(*org, 1_000)).await;
    }
    running.extend(rig.claim(8).await);
    let mut served: HashMap<OrgId, usize> = HashMap::new();
    for _ in 0..120 {
        // Its jobs are quick and theirs are slow.
        running.sort_by_key(|job| job.org != orgs[0]);
        let rest = running.split_off(10);
        rig.settle(&running).await;
        running = rest;
        let claimed = rig.claim(10).await;
        for job in &claimed {
            *served.entry(job.org).or_default() += 1;
        }
        running.extend(claimed);
    }
    let share = |org: &OrgId| served.get(org).copied().unwrap_or_default();
    assert!(share(&orgs[0]) <= 220, "a sixth of 1,200 is 200: {:?}", orgs.iter().map(share).collect::<Vec<_>>());
}

/// One organisation with `flood` jobs is being served; then 99 submit one each. How many of the flood's jobs are served before the last one.
async fn flood_served_before_99(flood: usize, want: usize) -> Vec<usize> {
    let rig = Rig::start().await;
    let flooding = OrgId::new();
    for _ in 0..flood / 500 {
        rig.push(&normal(flooding, 500)).await;
    }
    rig.settle(&rig.claim(want).await).await;
    let singles: Vec<QueueJob> = (0..99).flat_map(|_| normal(OrgId::new(), 1)).collect();
    rig.push(&singles).await;
    let (mut served, mut before) = (0, Vec::new());
    while before.len() < 99 {
        let claimed = rig.claim(want).await;
        for job in &claimed {
            if job.org == flooding { served += 1 } else { before.push(served) }
        }
        rig.settle(&claimed).await;
    }
    before
}

#[tokio::test]
async fn ninety_nine_single_jobs_are_served_as_if_the_flood_were_not_there() {
    for want in [1, 16, 100, 500] {
        let before = flood_served_before_99(10_000, want).await;
        // One job's worth of turn, or what fills up the claim that they are in.
        assert!(before.iter().all(|served| *served <= want.max(2)), "claims of {want}: {before:?}");
    }
}

#[tokio::test]
#[ignore = "pushes 100,000 jobs"]
async fn ninety_nine_single_jobs_do_not_notice_a_flood_of_100_000() {
    for want in [1, 16, 500] {
        let before = flood_served_before_99(100_000, want).await;
        assert!(before.iter().all(|served| *served <= want.max(2)), "claims of {want}: {before:?}");
    }
}

/// Each comes while the flood is being served, and not all at once.
#[tokio::test]
async fn a_single_job_that_comes_any_time_is_in_one_of_the_next_two_claims() {
    let rig = Rig::start().await;
    let flooding = OrgId::new();
    for _ in 0..8 {
        rig.push(&normal(flooding, 500)).await;
    }
    for round in 0..60 {
        rig.claim(round % 9 + 1).await;
        let single = normal(OrgId::new(), 1);
        rig.push(&single).await;
        let next = [ids(&rig.claim(1).await), ids(&rig.claim(1).await)].concat();
        assert!(next.contains(&single[0].id), "round {round}");
    }
}
