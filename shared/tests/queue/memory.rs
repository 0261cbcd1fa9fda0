//! Redis at its memory limit takes no further jobs, and everything that gets rid of jobs works.

use std::time::Duration;

use millrace_shared::{
    ids::OrgId,
    queue::{Extension, GivenBack, Meta, Refused, Settings, why},
};

use crate::support::*;

/// From now on Redis has less memory than it uses.
async fn exhaust(rig: &Rig) {
    rig.command::<()>(redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(1)).await;
}

#[tokio::test]
async fn no_job_is_pushed_or_replaced_and_the_reason_is_told() {
    let rig = Rig::start().await;
    let known = normal(OrgId::new(), 1);
    rig.push(&known).await;
    assert!(rig.queues.takes_writes().await.is_ok());
    exhaust(&rig).await;
    let refused = rig.queues.push(&normal(OrgId::new(), 1)).await.unwrap_err();
    assert_eq!(why(&refused), "is out of memory", "{refused}");
    let refused = rig.queues.takes_writes().await.unwrap_err();
    assert_eq!(refused.why(), "is out of memory", "{refused}");
    assert!(rig.queues.replace(&known[0]).await.is_err());
    rig.command::<()>(redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(0)).await;
    let lately = rig.queues.takes_writes().await.unwrap_err();
    assert!(
        matches!(lately, Refused::Lately("is out of memory")),
        "near the limit it would change all the time: {lately}"
    );
    assert!(!rig.keys().await.iter().any(|key| key.contains("health")));
}

#[tokio::test]
async fn a_full_redis_is_worked_empty() {
    let rig = Rig::start().await;
    rig.push(&normal(OrgId::new(), 6)).await;
    rig.push(&[delayed(OrgId::new(), Duration::from_millis(1))]).await;
    exhaust(&rig).await;
    rig.pass(Duration::from_millis(1)).await;

    assert_eq!(rig.claim_for(1, NONE).await.jobs.len(), 1);
    let claimed = rig.claim(500).await;
    assert_eq!(claimed.len(), 7, "what was lost and what came due are among them");
    let leases: Vec<_> = claimed.iter().map(|job| job.lease).collect();
    assert_eq!(rig.queues.extend(Q, &leases, LONG).await.unwrap(), [Extension::Extended; 7]);
    rig.queues.cancel(Q, &[leases[0].id]).await.unwrap();
    let meta = Meta { attempt: 1, ..Meta::default() };
    assert_eq!(rig.give_back(&claimed[0], None, meta).await, GivenBack::Cancelled);
    assert_eq!(rig.give_back(&claimed[1], None, meta).await, GivenBack::Waiting);
    assert_eq!(rig.give_back(&claimed[2], Some(Duration::from_millis(1)), meta).await, GivenBack::Waiting);
    rig.settle(&claimed[3..]).await;
    rig.settings(Settings { paused: true, ..Settings::default() }).await;
    rig.settings(Settings::default()).await;
    rig.pass(Duration::from_millis(1)).await;
    assert_eq!(rig.drain().await.len(), 2);
    rig.assert_nothing_left().await;
}
