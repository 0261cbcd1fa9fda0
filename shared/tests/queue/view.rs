//! What people and metrics are told.

use std::time::Duration;

use chrono::Utc;
use millrace_shared::{
    ids::{JobId, OrgId},
    jobs::Priority,
    queue::{LiveState, Meta, QueueJob},
};

use crate::support::*;

#[tokio::test]
async fn the_live_view_tells_where_each_job_is() {
    let rig = Rig::start().await;
    let org = OrgId::new();
    let meta = Meta { attempt: 2, lost: 0, snoozes: 1 };
    let jobs = normal(org, 2);
    let late = QueueJob { meta, ..delayed(org, Duration::from_secs(60)) };
    rig.push(&[jobs.clone(), vec![late.clone()]].concat()).await;
    rig.claim(1).await;
    let asked = [jobs[1].id, late.id, JobId::new(), jobs[0].id];
    let live = rig.queues.live(Q, &asked).await.unwrap();
    assert_eq!((&live[0].state, live[0].meta), (&LiveState::Ready, Meta::default()));
    let LiveState::Delayed { until } = live[1].state else { panic!("{:?}", live[1]) };
    let ahead = until.signed_duration_since(Utc::now()).num_seconds();
    assert!((50..=61).contains(&ahead), "{ahead} s");
    assert_eq!(live[1].meta, meta);
    assert_eq!(live[2].state, LiveState::Unknown);
    let LiveState::Running { since, worker } = &live[3].state else { panic!("{:?}", live[3]) };
    assert_eq!(worker, "worker-1");
    assert!(Utc::now().signed_duration_since(since).num_seconds().abs() < 10, "{since}");
    assert_eq!(rig.queues.running(Q).await.unwrap(), [jobs[0].id]);
    assert!(rig.queues.live(Q, &[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_figures_count_every_priority_and_what_ended_in_the_last_minute() {
    let rig = Rig::start().await;
    let org = OrgId::new();
    for (priority, count) in Priority::ALL.into_iter().zip([1, 2, 3, 4]) {
        let jobs: Vec<QueueJob> = (0..count).map(|_| job(org, priority)).collect();
        rig.push(&jobs).await;
    }
    rig.push(&[delayed(org, LONG)]).await;
    let stats = rig.queues.stats(Q).await.unwrap();
    assert_eq!((stats.ready, stats.delayed, stats.running, stats.finished_last_minute), ([1, 2, 3, 4], 1, 0, 0));
    let claimed = rig.claim(4).await;
    rig.settle(&claimed[..3]).await;
    let stats = rig.queues.stats(Q).await.unwrap();
    assert_eq!((stats.ready, stats.running, stats.finished_last_minute), ([0, 0, 2, 4], 1, 3));
    assert!(!stats.paused);
}

#[tokio::test]
async fn what_is_missing_is_told_whatever_the_number() {
    let rig = Rig::start().await;
    let jobs = normal(OrgId::new(), 700);
    rig.push(&jobs[..300]).await;
    assert_eq!(rig.queues.missing(Q, &ids_of(&jobs)).await.unwrap(), ids_of(&jobs[300..]));
    assert!(rig.queues.missing(Q, &[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_server_tells_of_itself() {
    let rig = Rig::start().await;
    assert!(rig.queues.ping().await.unwrap() < Duration::from_secs(10));
    let info = rig.queues.info().await.unwrap();
    assert_eq!(info.get("maxmemory_policy").map(String::as_str), Some("noeviction"));
}
