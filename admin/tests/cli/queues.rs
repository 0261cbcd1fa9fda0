use std::{process::Stdio, time::Duration};

use anyhow::{Context as _, Result};
use millrace_shared::{
    db,
    jobs::{QUEUES, QueueName},
    queue::Settings,
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    time::timeout,
};

use crate::place::{Place, command};

fn probe() -> QueueName {
    "probe".parse().expect("a queue")
}

async fn stored(place: &Place) -> Result<Settings> {
    Ok(db::queues::settings(&mut place.connection().await?, probe()).await?)
}

#[tokio::test]
async fn every_queue_is_told_with_its_depth() -> Result<()> {
    let place = Place::new().await?;
    let org = place.org.to_string();
    place.run(&["jobs", "submit", "probe", "--org", &org, "--priority", "high"]).await?.ok();
    place.run(&["jobs", "submit", "probe", "--org", &org]).await?.ok();
    place.run(&["jobs", "submit", "probe", "--org", &org, "--delay", "10m"]).await?.ok();
    place.run(&["jobs", "submit", "probe", "--org", &org, "--delay", "2d"]).await?.ok();
    place.dead_letters(place.org, "broken", 3).await?;

    let queues = place.run(&["queues", "--json"]).await?.objects();
    let names: Vec<_> = queues.iter().map(|queue| queue["queue"].as_str().unwrap_or_default()).collect();
    assert_eq!(names, QUEUES.map(QueueName::as_str));
    let queue = &queues[3];
    assert_eq!(queue["ready"], serde_json::json!({ "critical": 0, "high": 1, "normal": 1, "low": 0 }));
    assert_eq!((&queue["delayed"], &queue["running"], &queue["dead"]), (&2.into(), &0.into(), &3.into()));
    assert_eq!((&queue["paused"], &queue["live"]), (&false.into(), &true.into()));
    assert!(queue["oldest_ready_age_ms"].is_u64() && queue["finished_last_minute"].is_u64(), "{queue}");

    let table = place.run(&["queues"]).await?.ok();
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("QUEUE  READY  CRITICAL") && lines[4].starts_with("probe      2"), "{table}");
    Ok(())
}

#[tokio::test]
async fn pausing_and_limits_reach_ledger_and_redis_and_leave_each_other_alone() -> Result<()> {
    let place = Place::new().await?;
    place.run(&["queues", "limit", "probe", "--concurrency", "8", "--org-concurrency", "2"]).await?.ok();
    let paused = place.run(&["queues", "pause", "probe", "--json"]).await?.document();
    assert_eq!((&paused["paused"], &paused["limits"]["concurrency"]), (&true.into(), &8.into()));
    assert!(place.queues()?.stats(probe()).await?.paused);
    place.run(&["queues", "limit", "probe", "--concurrency", "none"]).await?.ok();
    let expected = Settings { paused: true, org_concurrency: Some(2), ..Settings::default() };
    assert_eq!(stored(&place).await?, expected);

    let said = place.run(&["queues", "resume", "probe"]).await?.ok();
    assert!(said.starts_with("probe is open"), "{said}");
    assert!(!place.queues()?.stats(probe()).await?.paused);
    assert_eq!(stored(&place).await?, Settings { paused: false, ..expected });
    Ok(())
}

#[tokio::test]
async fn without_redis_the_ledger_is_shown_and_changed() -> Result<()> {
    let mut place = Place::new().await?;
    place.redis.kill().await?;
    place.run(&["jobs", "submit", "probe", "--org", &place.org.to_string()]).await?.ok();
    place.run(&["queues", "pause", "probe"]).await?.ok();
    assert!(stored(&place).await?.paused);
    let queue = &place.run(&["queues", "--json"]).await?.objects()[3];
    assert_eq!((&queue["live"], &queue["paused"], &queue["ready"]["normal"]), (&false.into(), &true.into(), &1.into()));
    assert!(place.run(&["queues"]).await?.ok().contains("Redis is away"));
    let said = place.run(&["jobs", "list", "--state", "running"]).await?.fails(6);
    assert!(said.contains("Redis"), "{said}");
    Ok(())
}

#[tokio::test]
async fn watching_goes_on_until_it_is_interrupted() -> Result<()> {
    let place = Place::new().await?;
    let mut child =
        command(&place.environment, &["queues", "--watch=50ms", "--json"]).stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
    // Two frames, and the begin of a third.
    for _ in 0..9 {
        let line = timeout(Duration::from_secs(20), lines.next_line()).await??.context("it ended by itself")?;
        serde_json::from_str::<serde_json::Value>(&line)?;
    }
    let pid = child.id().context("it ended by itself")?;
    tokio::process::Command::new("kill").args(["-INT", &pid.to_string()]).status().await?;
    let status = timeout(Duration::from_secs(20), child.wait()).await??;
    assert!(status.success(), "{status}");
    Ok(())
}
