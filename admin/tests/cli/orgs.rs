use anyhow::Result;
use millrace_shared::{db, ids::OrgId, queue::OrgSettings};
use serde_json::json;

use crate::place::Place;

async fn stored(place: &Place) -> Result<Vec<(Option<&'static str>, OrgSettings)>> {
    let made = db::org_settings::list(&mut place.connection().await?, Some(place.org)).await?;
    Ok(made.into_iter().map(|one| (one.queue.map(|queue| queue.as_str()), one.settings)).collect())
}

/// What Redis has for the organisation in the queue `probe`.
async fn in_redis(place: &Place, org: OrgId) -> Result<Option<String>> {
    let mut connection = redis::Client::open(place.redis.url())?.get_multiplexed_async_connection().await?;
    Ok(redis::cmd("HGET").arg("mr:{probe}:own").arg(org.as_bytes()).query_async(&mut connection).await?)
}

#[tokio::test]
async fn weights_and_limits_reach_ledger_and_redis_and_leave_each_other_alone() -> Result<()> {
    let place = Place::new().await?;
    let org = place.org.to_string();
    place.run(&["orgs", "limit", &org, "--weight", "3"]).await?.ok();
    assert_eq!(in_redis(&place, place.org).await?.as_deref(), Some("3,"));
    let told = place.run(&["orgs", "limit", &org, "--concurrency", "8", "--json"]).await?.document();
    assert_eq!(told, json!({ "org_id": org, "weight": 3, "concurrency": 8, "queues": [] }));
    let said = place.run(&["orgs", "limit", &org, "--queue", "probe", "--concurrency", "2"]).await?.ok();
    assert!(said.contains("in probe (weight: as everybody's; jobs at once: 2)"), "{said}");
    assert_eq!(
        in_redis(&place, place.org).await?.as_deref(),
        Some("3,2"),
        "one queue's setting goes before all queues'"
    );
    let all = OrgSettings { weight: Some(3), concurrency: Some(8) };
    let probe = OrgSettings { weight: None, concurrency: Some(2) };
    assert_eq!(stored(&place).await?, [(None, all), (Some("probe"), probe)]);

    let listed = place.run(&["orgs", "--json"]).await?.objects();
    assert_eq!(listed[1], json!({ "org_id": org, "queue": "probe", "weight": null, "concurrency": 2 }));
    assert!(place.run(&["orgs"]).await?.ok().starts_with("ORGANISATION"));

    place.run(&["orgs", "limit", &org, "--queue", "probe", "--concurrency", "none"]).await?.ok();
    assert_eq!(in_redis(&place, place.org).await?.as_deref(), Some("3,8"));
    place.run(&["orgs", "limit", &org, "--concurrency", "none", "--weight", "none"]).await?.ok();
    assert_eq!((in_redis(&place, place.org).await?, stored(&place).await?), (None, vec![]));
    Ok(())
}

#[tokio::test]
async fn without_redis_the_ledger_is_changed_and_nobody_is_invented() -> Result<()> {
    let mut place = Place::new().await?;
    place.redis.kill().await?;
    let org = place.org.to_string();
    place.run(&["orgs", "limit", &org, "--weight", "2"]).await?.ok();
    assert_eq!(stored(&place).await?, [(None, OrgSettings { weight: Some(2), concurrency: None })]);
    let nobody = OrgId::new().to_string();
    let said = place.run(&["orgs", "limit", &nobody, "--weight", "2"]).await?.fails(3);
    assert!(said.contains(&nobody), "{said}");
    let said = place.run(&["orgs", "limit", &org, "--weight", "0"]).await?.fails(2);
    assert!(said.contains("1 to 1000"), "{said}");
    place.run(&["orgs", "limit", &org]).await?.fails(2);
    Ok(())
}
