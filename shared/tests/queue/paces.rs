//! Rates of a queue and of each organisation in it: what is over them stays in its lane, in its order, and costs nothing.

use std::{collections::HashMap, sync::Arc, time::Duration};

use millrace_shared::{
    ids::OrgId,
    jobs::{Priority, Rate},
    queue::{ClaimStatus, Claimed, QueueJob, Settings},
};
use tokio::{sync::Mutex, task::JoinSet};

use crate::support::*;

fn rate(rate: Rate) -> Settings {
    Settings { rate: Some(rate), ..Settings::default() }
}

fn org_rate(rate: Rate) -> Settings {
    Settings { org_rate: Some(rate), ..Settings::default() }
}

impl Rig {
    /// Time passes for the queue's rates, without anybody having to wait for it.
    async fn queue_ages(&self, by: Duration) {
        let by_us = -i64::try_from(by.as_micros()).unwrap();
        let used: bool = self.command(redis::cmd("HEXISTS").arg("mr:{probe}:ctl").arg("rate_used")).await;
        if used {
            let mut add = redis::cmd("HINCRBYFLOAT");
            self.command::<f64>(add.arg("mr:{probe}:ctl").arg("rate_used").arg(by_us)).await;
        }
        for key in ["mr:{probe}:paced", "mr:{probe}:resting"] {
            for member in self.command::<Vec<Vec<u8>>>(redis::cmd("ZRANGE").arg(key).arg(0).arg(-1)).await {
                self.command::<f64>(redis::cmd("ZINCRBY").arg(key).arg(by_us).arg(member)).await;
            }
        }
    }
}

fn about(event: Option<Duration>, ms: u64) {
    let event = event.expect("it is told when to ask again").as_millis();
    assert!(event <= u128::from(ms) + 2 && event + 80 >= u128::from(ms), "{event} ms instead of {ms}");
}

#[tokio::test]
async fn an_organisation_over_its_rate_waits_and_others_pass_it() {
    let rig = Rig::start().await;
    rig.settings(org_rate(Rate::per_second(5))).await;
    let (many, few) = (OrgId::new(), OrgId::new());
    let jobs = normal(many, 20);
    rig.push(&jobs).await;
    let first = rig.claim_for(10, LONG).await;
    assert_eq!(ids(&first.jobs), ids_of(&jobs[..5]));
    about(first.next_event, 200);
    let other = normal(few, 3);
    rig.push(&other).await;
    assert_eq!(ids(&rig.claim(10).await), ids_of(&other));
    rig.settle(&first.jobs).await;
    assert!(rig.claim(10).await.is_empty(), "that they ended makes no difference");
    rig.queue_ages(Duration::from_millis(400)).await;
    assert_eq!(ids(&rig.claim(10).await), ids_of(&jobs[5..7]));
    rig.queue_ages(Duration::from_secs(60)).await;
    assert_eq!(rig.claim(20).await.len(), 5, "a pause earns a period's worth and no more");
}

#[tokio::test]
async fn the_more_urgent_of_an_organisation_goes_first_when_its_rate_allows_it_again() {
    let rig = Rig::start().await;
    let org = OrgId::new();
    rig.settings(org_rate(Rate { count: 1, period_ms: 1_000 })).await;
    rig.push(&normal(org, 50)).await;
    assert_eq!(rig.claim(5).await.len(), 1);
    let urgent = job(org, Priority::Critical);
    rig.push(std::slice::from_ref(&urgent)).await;
    assert!(rig.claim(5).await.is_empty());
    rig.queue_ages(Duration::from_secs(1)).await;
    assert_eq!(ids(&rig.claim(5).await), [urgent.id]);
}

#[tokio::test]
async fn a_queue_over_its_rate_serves_nobody_and_then_in_the_usual_order() {
    let rig = Rig::start().await;
    rig.settings(rate(Rate::per_second(10))).await;
    let (flood, other) = (OrgId::new(), OrgId::new());
    rig.push(&normal(flood, 100)).await;
    assert_eq!(rig.claim(50).await.len(), 10);
    let urgent = [job(other, Priority::Critical), job(other, Priority::Normal)];
    rig.push(&urgent).await;
    let claim = rig.claim_for(50, LONG).await;
    assert_eq!((claim.status, claim.jobs.len()), (ClaimStatus::AtLimit, 0));
    about(claim.next_event, 100);
    rig.queue_ages(Duration::from_millis(200)).await;
    assert_eq!(ids(&rig.claim(50).await), ids_of(&urgent), "the flood has no places before them");
}

#[tokio::test]
async fn a_lifted_rate_is_felt_at_once() {
    let limited = Rate { count: 2, period_ms: 3_600_000 };
    for settings in [rate(limited), org_rate(limited)] {
        let rig = Rig::start().await;
        rig.settings(settings).await;
        rig.push(&normal(OrgId::new(), 30)).await;
        assert_eq!(rig.claim(50).await.len(), 2);
        assert_eq!(rig.claim_for(50, LONG).await.jobs.len(), 0);
        let mut pubsub = rig.subscribe().await;
        rig.settings(Settings::default()).await;
        assert_eq!(rig.heard(&mut pubsub).await, [b"w"]);
        let rest = rig.claim(50).await;
        assert_eq!(rest.len(), 28);
        rig.settle(&rest).await;
    }
}

#[tokio::test]
async fn cancelled_jobs_use_up_no_rate() {
    let rig = Rig::start().await;
    rig.settings(Settings { rate: Some(Rate::per_second(3)), ..org_rate(Rate::per_second(3)) }).await;
    let jobs = normal(OrgId::new(), 40);
    rig.push(&jobs).await;
    rig.queues.cancel(Q, &ids_of(&jobs[..30])).await.unwrap();
    assert_eq!(ids(&rig.claim(10).await), ids_of(&jobs[30..33]));
}

#[tokio::test]
async fn what_waits_for_a_rate_costs_nothing_however_much_it_is() {
    let rig = Rig::start().await;
    rig.settings(org_rate(Rate { count: 1, period_ms: 3_600_000 })).await;
    let org = OrgId::new();
    rig.push(&normal(org, 100)).await;
    rig.claim(10).await;
    let few = rig.commands_of(async || drop(rig.claim(10).await)).await;
    for _ in 0..20 {
        rig.push(&normal(org, 500)).await;
    }
    rig.claim(10).await;
    let many = rig.commands_of(async || drop(rig.claim(10).await)).await;
    assert!(many <= few, "{many} commands instead of {few}");
    let keys = rig.keys().await;
    assert!(keys.contains("paced") && keys.contains("resting"), "{keys:?}");
    let left_ms: i64 = rig.command(redis::cmd("PTTL").arg("mr:{probe}:paced")).await;
    assert!(left_ms > 3_500_000, "it expires by itself, and not too early: {left_ms}");
}

/// How many began within any period, its end excluded. The fencing token of a lease is the time of its claim on Redis' clock.
fn most_within(tokens: &[i64], period_us: i64) -> usize {
    let until = |begin: i64| tokens.iter().filter(|at| (begin..begin + period_us).contains(at)).count();
    tokens.iter().map(|begin| until(*begin)).max().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn never_more_than_twice_a_periods_worth_begins_in_any_period_over_all_claimers() {
    let rig = Rig::start().await;
    let (whole, each) = (Rate { count: 30, period_ms: 100 }, Rate { count: 10, period_ms: 100 });
    rig.settings(Settings { rate: Some(whole), ..org_rate(each) }).await;
    let orgs: Vec<OrgId> = (0..4).map(|_| OrgId::new()).collect();
    let jobs: Vec<QueueJob> = orgs.iter().flat_map(|org| normal(*org, 80)).collect();
    rig.push(&jobs).await;
    let begun: Arc<Mutex<HashMap<OrgId, Vec<i64>>>> = Arc::default();
    let mut claimers = JoinSet::new();
    for claimer in 0..5 {
        let (queues, begun) = (rig.queues.clone(), Arc::clone(&begun));
        claimers.spawn(async move {
            while begun.lock().await.values().map(Vec::len).sum::<usize>() < 320 {
                let claim = queues.claim(Q, claimer * 4 + 1, LONG, "worker").await.unwrap();
                for Claimed { lease, org, .. } in &claim.jobs {
                    begun.lock().await.entry(*org).or_default().push(lease.token);
                    queues.settle(Q, &[(*lease, *org)]).await.unwrap();
                }
                if let Some(pause) = claim.next_event.filter(|_| claim.jobs.is_empty()) {
                    tokio::time::sleep(pause.min(Duration::from_millis(20))).await;
                }
            }
        });
    }
    claimers.join_all().await;
    let begun = begun.lock().await;
    for org in &orgs {
        let most = most_within(&begun[org], 100_000);
        assert!(most <= 20, "{most} of one organisation");
    }
    let all: Vec<i64> = begun.values().flatten().copied().collect();
    let most = most_within(&all, 100_000);
    assert!(most <= 60, "{most} of all");
}
