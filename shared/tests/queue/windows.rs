//! Windows: no more calls arrive in any period than the rate has, however long each is under way.

use std::time::{Duration, Instant};

use millrace_shared::{jobs::Rate, queue::RateKey};
use tokio::task::JoinSet;

use crate::support::*;

const PERIOD: Duration = Duration::from_millis(150);
const RATE: Rate = Rate { count: 5, period_ms: 150 };
const LONGEST: Duration = Duration::from_secs(10);

fn key() -> RateKey {
    RateKey::named(None, "crm:kommo@nat")
}

#[tokio::test]
async fn calls_of_any_length_never_meet_in_a_period_beyond_the_rate() {
    let rig = Rig::start().await;
    let mut calls = JoinSet::new();
    for number in 0..60_u64 {
        let queues = rig.queues.clone();
        calls.spawn(async move {
            let entered = loop {
                match queues.enter_window(&key(), RATE, LONGEST).await.unwrap() {
                    Ok(entered) => break entered,
                    Err(wait) => tokio::time::sleep(wait.min(Duration::from_millis(20))).await,
                }
            };
            let begun = Instant::now();
            tokio::time::sleep(Duration::from_millis(number * 7 % 40)).await;
            let answered = Instant::now();
            queues.leave_window(entered).await.unwrap();
            (begun, answered)
        });
    }
    let calls = calls.join_all().await;
    for (begun, _) in &calls {
        let in_the_window = |call: &&(Instant, Instant)| call.0 < *begun && call.1 + PERIOD > *begun;
        let others = calls.iter().filter(in_the_window).count();
        assert!(others < 5, "{others} others could have arrived in the period before");
    }
}

#[tokio::test]
async fn a_call_that_never_leaves_counts_for_as_long_as_one_may_take() {
    let rig = Rig::start().await;
    let longest = Duration::from_millis(200);
    for _ in 0..5 {
        drop(rig.queues.enter_window(&key(), RATE, longest).await.unwrap().expect("there is room"));
    }
    let wait = rig.queues.enter_window(&key(), RATE, longest).await.unwrap().expect_err("all places are taken");
    assert!(wait > PERIOD && wait <= longest + PERIOD, "{wait:?}");
    tokio::time::sleep(wait + Duration::from_millis(5)).await;
    drop(rig.queues.enter_window(&key(), RATE, longest).await.unwrap().expect("they were given up"));
}

#[tokio::test]
async fn windows_of_other_keys_are_apart_and_none_stays_for_ever() {
    let rig = Rig::start().await;
    for _ in 0..5 {
        drop(rig.queues.enter_window(&key(), RATE, LONGEST).await.unwrap());
    }
    let other = RateKey::named(None, "crm:hubspot:acme");
    drop(rig.queues.enter_window(&other, RATE, LONGEST).await.unwrap().expect("nobody is in it"));
    for key in rig.command::<Vec<String>>(redis::cmd("KEYS").arg("mr:{rate}:*")).await {
        let left: i64 = rig.command(redis::cmd("PTTL").arg(&key)).await;
        assert!(left > 0 && left < 60_000, "{key} lives for {left} ms");
    }
}
