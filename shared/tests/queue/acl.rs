//! A user with no more rights than the documentation asks for.

use std::time::Duration;

use millrace_shared::{
    ids::OrgId,
    jobs::Rate,
    queue::{Meta, OrgSettings, Queues, RateKey, RateRequest, Settings},
};

use crate::support::*;

const DEPLOY: &str = include_str!("../../../docs/deploy.md");

#[tokio::test]
async fn rights_that_the_documentation_asks_for_are_enough_and_end_where_it_says() {
    let mut rig = Rig::start().await;
    let documented = DEPLOY.lines().find(|line| line.starts_with("ACL SETUSER")).unwrap();
    let mut command = redis::cmd("ACL");
    documented.split(' ').skip(1).for_each(|word| {
        command.arg(word);
    });
    rig.command::<()>(command).await;
    let address = rig.server.url().rsplit(['@', '/']).find(|part| part.contains(':')).unwrap();
    let url = format!("redis://millrace:PASSWORD@{address}");
    rig.queues = Queues::connect(&url.clone().into(), Duration::from_secs(10)).unwrap();

    let org = OrgId::new();
    let mut heard = rig.subscribe().await;
    rig.settings(Settings {
        concurrency: Some(10),
        org_concurrency: Some(10),
        rate: Some(Rate::per_second(1000)),
        org_rate: Some(Rate::per_second(1000)),
        ..Settings::default()
    })
    .await;
    rig.organisations(&[(org, OrgSettings { weight: Some(2), concurrency: Some(9) })]).await;
    let jobs = [normal(org, 5), vec![delayed(org, Duration::from_millis(1))]].concat();
    rig.push(&jobs).await;
    rig.pass(Duration::from_millis(1)).await;
    let claimed = rig.claim(10).await;
    assert_eq!(claimed.len(), 6);
    rig.queues.extend(Q, &[claimed[0].lease], LONG).await.unwrap();
    rig.queues.cancel(Q, &[claimed[1].lease.id]).await.unwrap();
    rig.give_back(&claimed[2], Some(LONG), Meta { attempt: 1, ..Meta::default() }).await;
    rig.settle(&claimed[3..]).await;
    rig.queues.replace(&jobs[2]).await.unwrap();
    rig.queues.missing(Q, &[jobs[0].id]).await.unwrap();
    rig.queues.live(Q, &[jobs[0].id]).await.unwrap();
    rig.queues.running(Q).await.unwrap();
    rig.queues.stats(Q).await.unwrap();
    rig.queues.epoch(Q).await.unwrap();
    rig.queues.ping().await.unwrap();
    rig.queues.info().await.unwrap();
    rig.queues.takes_writes().await.unwrap();
    let rate = RateRequest { key: RateKey::named(Some(org), "calls"), rate: Rate::per_second(1), job: jobs[0].id };
    rig.queues.within_rates(&[rate]).await.unwrap();
    assert!(!rig.heard(&mut heard).await.is_empty(), "messages arrive");

    let client = redis::Client::open(url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    for refused in [&["FLUSHALL"][..], &["KEYS", "*"], &["CONFIG", "GET", "*"], &["GET", "another:key"]] {
        let mut command = redis::cmd(refused[0]);
        command.arg(&refused[1..]);
        let error = command.query_async::<redis::Value>(&mut connection).await.unwrap_err();
        assert!(error.to_string().contains("NOPERM") || error.code() == Some("NOPERM"), "{refused:?}: {error}");
    }
}
