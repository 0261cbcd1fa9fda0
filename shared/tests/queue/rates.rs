//! Rates: so many per period, exactly, and nobody waits longer or asks more often than it must.

use std::{collections::HashSet, sync::Arc, time::Duration};

use millrace_shared::{
    ids::{JobId, OrgId},
    jobs::Rate,
    queue::{Queues, RateKey, RateRequest},
};
use tokio::{sync::Mutex, task::JoinSet};

use crate::support::*;

const HOUR: Duration = Duration::from_secs(3_600);

fn request(key: &RateKey, rate: Rate) -> RateRequest {
    RateRequest { key: key.clone(), rate, job: JobId::new() }
}

fn requests(key: &RateKey, rate: Rate, count: usize) -> Vec<RateRequest> {
    (0..count).map(|_| request(key, rate)).collect()
}

impl Rig {
    async fn waits(&self, requests: &[RateRequest]) -> Vec<Option<Duration>> {
        self.queues.within_rates(requests).await.unwrap().waits
    }

    /// Time passes for all rates, without anybody having to wait for it.
    async fn rates_age(&self, by: Duration) {
        for key in self.command::<Vec<String>>(redis::cmd("KEYS").arg("mr:{rate}:*")).await {
            let members: Vec<Vec<u8>> = self.command(redis::cmd("ZRANGE").arg(&key).arg(0).arg(-1)).await;
            let mut pipe = redis::pipe();
            for member in members {
                pipe.zincr(&key, member, -i64::try_from(by.as_micros()).unwrap());
            }
            pipe.exec_async(&mut self.redis.clone()).await.unwrap();
        }
    }
}

/// About so many milliseconds: what the test itself takes is missing from them.
fn about(wait: Option<Duration>, ms: u64) {
    let wait = wait.expect("it has to wait").as_millis();
    assert!(wait <= u128::from(ms) && wait + 80 >= u128::from(ms), "{wait} ms instead of {ms}");
}

#[tokio::test]
async fn a_periods_worth_may_begin_at_once_and_the_rest_waits_for_places_spread_evenly() {
    let rig = Rig::start().await;
    let key = RateKey::named(Some(OrgId::new()), "crm");
    let waits = rig.waits(&requests(&key, Rate::per_second(5), 9)).await;
    assert!(waits[..5].iter().all(Option::is_none), "{waits:?}");
    for (at, wait) in waits[5..].iter().enumerate() {
        about(*wait, 200 * (at as u64 + 1));
    }
}

#[tokio::test]
async fn who_comes_back_at_its_place_begins_whoever_asked_meanwhile() {
    let rig = Rig::start().await;
    let (key, rate) = (RateKey::named(None, "crm"), Rate::per_second(5));
    rig.waits(&requests(&key, rate, 5)).await;
    let patient = request(&key, rate);
    about(rig.waits(std::slice::from_ref(&patient)).await[0], 200);
    rig.rates_age(Duration::from_millis(200)).await;
    about(rig.waits(&requests(&key, rate, 1)).await[0], 200);
    assert_eq!(rig.waits(std::slice::from_ref(&patient)).await, [None]);
    // Its place is used up: another beginning needs another one.
    about(rig.waits(&[patient]).await[0], 400);
}

#[tokio::test]
async fn who_comes_back_too_early_keeps_its_place() {
    let rig = Rig::start().await;
    let (key, rate) = (RateKey::named(None, "crm"), Rate::per_second(5));
    rig.waits(&requests(&key, rate, 6)).await;
    let early = request(&key, rate);
    about(rig.waits(std::slice::from_ref(&early)).await[0], 400);
    rig.rates_age(Duration::from_millis(100)).await;
    for _ in 0..3 {
        about(rig.waits(std::slice::from_ref(&early)).await[0], 300);
    }
    about(rig.waits(&requests(&key, rate, 1)).await[0], 500);
}

#[tokio::test]
async fn beyond_the_horizon_nobody_has_a_place() {
    let rig = Rig::start().await;
    let key = RateKey::named(None, "crm");
    let rate = Rate { count: 1, period_ms: 60_000 };
    let horizon = Duration::from_secs(150);
    let waits = rig.queues.within_rates_until(&requests(&key, rate, 500), horizon).await.unwrap().waits;
    assert_eq!(waits.iter().filter(|wait| wait.is_none()).count(), 1);
    about(waits[2], 120_000);
    assert!(waits[3..].iter().all(|wait| *wait == Some(horizon)), "{:?}", &waits[..5]);
    let keys: Vec<String> = rig.command(redis::cmd("KEYS").arg("mr:{rate}:*")).await;
    let size: usize = rig.command(redis::cmd("ZCARD").arg(&keys[0])).await;
    assert_eq!(size, 4, "two places, and the two times of the key");
}

#[tokio::test]
async fn a_crowd_that_comes_too_late_for_its_places_gets_others() {
    let rig = Rig::start().await;
    let (key, rate) = (RateKey::named(None, "crm"), Rate::per_second(10));
    let crowd = requests(&key, rate, 110);
    rig.waits(&crowd).await;
    // All workers were away for a minute.
    rig.rates_age(Duration::from_secs(60)).await;
    let waits = rig.waits(&crowd[10..]).await;
    let begun = waits.iter().filter(|wait| wait.is_none()).count();
    assert_eq!(begun, 11, "a period's worth at once, and the one that is due");
    let distinct: HashSet<_> = waits[begun..].iter().collect();
    assert_eq!(distinct.len(), waits.len() - begun, "and not one for all: {:?}", &waits[begun..begun + 4]);
}

#[tokio::test]
async fn organisations_and_keys_do_not_wait_for_each_other() {
    let rig = Rig::start().await;
    let (flood, other, rate) = (OrgId::new(), OrgId::new(), Rate::per_second(3));
    rig.waits(&requests(&RateKey::named(Some(flood), "crm"), rate, 400)).await;
    for key in
        [RateKey::named(Some(other), "crm"), RateKey::named(Some(flood), "mail"), RateKey::kind(Some(flood), "crm")]
    {
        assert_eq!(rig.waits(&requests(&key, rate, 3)).await, [None; 3]);
    }
}

#[tokio::test]
async fn keys_expire_and_abandoned_places_are_cleared_away() {
    let rig = Rig::start().await;
    let (key, rate) = (RateKey::named(None, "crm"), Rate { count: 1, period_ms: 1_000 });
    rig.waits(&requests(&key, rate, 41)).await;
    let name = rig.command::<Vec<String>>(redis::cmd("KEYS").arg("mr:{rate}:*")).await.remove(0);
    let left_ms: i64 = rig.command(redis::cmd("PTTL").arg(&name)).await;
    assert!((600_000..660_000).contains(&left_ms), "{left_ms}");
    rig.rates_age(HOUR).await;
    // Whoever asks clears some of them away, and more than it adds.
    rig.waits(&requests(&key, rate, 14)).await;
    let size: usize = rig.command(redis::cmd("ZCARD").arg(&name)).await;
    assert!(size <= 2 + 14, "{size} are left");
}

#[tokio::test]
async fn a_job_costs_the_same_however_many_wait_before_it() {
    let rig = Rig::start().await;
    let (key, rate) = (RateKey::named(None, "crm"), Rate::per_second(100));
    let first = requests(&key, rate, 500);
    rig.waits(&first[..100]).await;
    let early = rig.commands_of(async || drop(rig.waits(&first[100..]).await)).await;
    for _ in 0..40 {
        rig.waits(&requests(&key, rate, 500)).await;
    }
    let late = rig.commands_of(async || drop(rig.waits(&requests(&key, rate, 400)).await)).await;
    assert_eq!(late, early);
}

/// Asks for a job until it may begin. Gives when that was, and how often it asked.
async fn begin(queues: &Queues, request: RateRequest) -> (i64, usize) {
    for asked in 1.. {
        let answer = queues.within_rates(std::slice::from_ref(&request)).await.unwrap();
        match answer.waits[0] {
            None => return (answer.at_us, asked),
            Some(wait) => tokio::time::sleep(wait).await,
        }
    }
    unreachable!("the loop ends by its return alone")
}

/// How many began within any period, its end excluded.
fn most_within(mut times_us: Vec<i64>, period_us: i64) -> usize {
    times_us.sort_unstable();
    let until = |begin: i64| times_us.iter().filter(|at| (begin..begin + period_us).contains(at)).count();
    times_us.iter().map(|begin| until(*begin)).max().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn never_more_than_twice_a_periods_worth_begins_in_any_period_under_concurrent_workers() {
    let rig = Rig::start().await;
    for (count, period_ms, jobs) in [(20, 100, 200), (1, 5, 100), (5, 40, 100)] {
        let rate = Rate { count, period_ms };
        let key = RateKey::named(Some(OrgId::new()), "crm");
        let waiting = Arc::new(Mutex::new(requests(&key, rate, jobs)));
        let mut workers = JoinSet::new();
        for _ in 0..32 {
            let (queues, waiting) = (rig.queues.clone(), Arc::clone(&waiting));
            workers.spawn(async move {
                let mut begun = Vec::new();
                loop {
                    let Some(next) = waiting.lock().await.pop() else { return begun };
                    begun.push(begin(&queues, next).await);
                }
            });
        }
        let begun: Vec<(i64, usize)> = workers.join_all().await.concat();
        let times: Vec<i64> = begun.iter().map(|(at, _)| *at).collect();
        let period_us = i64::try_from(period_ms).unwrap() * 1_000;
        let most = most_within(times, period_us);
        assert!(most <= 2 * count as usize, "{most} began within {period_ms} ms at {rate}");
        let asked: usize = begun.iter().map(|(_, asked)| asked).sum();
        assert!(asked <= 4 * jobs, "{jobs} jobs asked {asked} times at {rate}");
    }
}
