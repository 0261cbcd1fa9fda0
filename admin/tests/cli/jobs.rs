use std::time::Duration;

use anyhow::{Context as _, Result};
use millrace_shared::{
    ids::{JobId, OrgId},
    queue::{Extension, LiveState},
};
use serde_json::json;

use crate::place::{Place, millrace};

async fn submit(place: &Place, arguments: &[&str]) -> Result<JobId> {
    let org = place.org.to_string();
    let all = [&["jobs", "submit", "probe", "--org", &org], arguments].concat();
    Ok(place.run(&all).await?.ok().parse()?)
}

#[tokio::test]
async fn a_submitted_job_is_in_the_ledger_and_in_redis() -> Result<()> {
    let place = Place::new().await?;
    let id = submit(&place, &["--payload", r#"{"sleep_ms":7}"#, "--max-attempts", "3", "--timeout", "90s"]).await?;
    let shown = place.run(&["jobs", "show", &id.to_string(), "--json"]).await?.document();
    for (field, expected) in [
        ("id", json!(id)),
        ("org_id", json!(place.org)),
        ("kind", json!("probe")),
        ("queue", json!("probe")),
        ("state", json!("queued")),
        ("priority", json!("normal")),
        ("attempt", json!(0)),
        ("max_attempts", json!(3)),
        ("started_at", json!(null)),
        ("finished_at", json!(null)),
        ("progress", json!(null)),
        ("result", json!(null)),
        ("error", json!(null)),
        ("attempts", json!([])),
        ("payload", json!({ "sleep_ms": 7 })),
        ("timeout_ms", json!(90_000)),
    ] {
        assert_eq!(shown[field], expected, "{field} of {shown}");
    }
    let live = place.queues()?.live("probe".parse()?, &[id]).await?;
    assert_eq!(live[0].state, LiveState::Ready);
    let text = place.run(&["jobs", "show", &id.to_string()]).await?.ok();
    assert!(text.contains("state         queued") && text.contains(r#"payload       {"sleep_ms":7}"#), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_payload_comes_from_standard_input_or_a_file() -> Result<()> {
    let place = Place::new().await?;
    let org = place.org.to_string();
    let arguments = ["jobs", "submit", "probe", "--org", &org, "--json", "--payload", "-"];
    let id = millrace(&place.environment, &arguments, r#"{"bytes":1}"#).await?.document()["id"].clone();
    let file = place.run.path().join("payload.json");
    std::fs::write(&file, r#"{"bytes":2}"#)?;
    let other = submit(&place, &["--payload", &format!("@{}", file.display())]).await?;
    for (id, bytes) in [(id.as_str().context("no id")?, 1), (&other.to_string(), 2)] {
        let shown = place.run(&["jobs", "show", id, "--json"]).await?.document();
        assert_eq!(shown["payload"]["bytes"], bytes);
    }
    millrace(&place.environment, &arguments, "{").await?.fails(2);
    Ok(())
}

#[tokio::test]
async fn every_wrong_field_of_a_submission_is_told() -> Result<()> {
    let place = Place::new().await?;
    let org = place.org.to_string();
    let wrong = ["--payload", r#"{"sleep_ms":-1,"colour":1}"#, "--max-attempts", "0"];
    let said = place.run(&[&["jobs", "submit", "probe", "--org", &org], &wrong[..]].concat()).await?.fails(2);
    for field in ["payload.sleep_ms", "payload.colour", "max_attempts"] {
        assert!(said.contains(field), "{field} in {said}");
    }
    place.run(&["jobs", "submit", "no.such.kind", "--org", &org]).await?.fails(2);
    place.run(&["jobs", "submit", "probe", "--org", &OrgId::new().to_string()]).await?.fails(3);
    // An asset that the organisation does not have: the check that the API makes, too.
    let payload = json!({ "asset_id": JobId::new() }).to_string();
    let said = place.run(&["jobs", "submit", "asset.process", "--org", &org, "--payload", &payload]).await?.fails(2);
    assert!(said.contains("payload.asset_id"), "{said}");
    assert_eq!(place.run(&["jobs", "list", "--json"]).await?.ok(), "");
    Ok(())
}

#[tokio::test]
async fn a_unique_key_gives_the_job_that_waits() -> Result<()> {
    let place = Place::new().await?;
    let first = submit(&place, &["--unique-key", "one"]).await?;
    let again = place.run(&["jobs", "submit", "probe", "--org", &place.org.to_string(), "--unique-key", "one"]).await?;
    assert!(again.stderr.contains("waits already"), "{again:?}");
    assert_eq!(again.ok(), first.to_string());
    Ok(())
}

#[tokio::test]
async fn lists_filter_and_go_on_where_they_ended() -> Result<()> {
    let place = Place::new().await?;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(submit(&place, &[]).await?.to_string());
    }
    let delayed = submit(&place, &["--delay", "1h"]).await?.to_string();
    let dead = place.dead_letters(place.new_org().await?, "broken", 1).await?[0].to_string();
    let list = async |arguments: &[&str]| -> Result<Vec<String>> {
        let listed = place.run(&[&["jobs", "list", "--json"], arguments].concat()).await?;
        assert_eq!(listed.code, 0, "{listed:?}");
        Ok(listed.objects().iter().map(|job| job["id"].as_str().unwrap_or_default().to_owned()).collect())
    };

    let newest_first = [&dead, &delayed, &ids[2], &ids[1], &ids[0]].map(String::clone);
    assert_eq!(list(&[]).await?, newest_first);
    assert_eq!(list(&["--limit", "2"]).await?, newest_first[..2]);
    assert_eq!(list(&["--limit", "2", "--before", &delayed]).await?, newest_first[2..4]);
    assert_eq!(list(&["--state", "delayed"]).await?, newest_first[1..2]);
    assert_eq!(list(&["--state", "queued"]).await?, newest_first[2..]);
    assert_eq!(list(&["--state", "dead", "--kind", "probe", "--queue", "probe"]).await?, [dead]);
    assert_eq!(list(&["--org", &place.org.to_string(), "--since", "1h"]).await?, newest_first[1..]);
    assert_eq!(list(&["--since", "2999-01-01T00:00:00Z"]).await?, [""; 0]);
    assert_eq!(list(&["--kind", "asset.process"]).await?, [""; 0]);

    let page = place.run(&["jobs", "list", "--limit", "2"]).await?;
    assert!(page.stderr.contains(&format!("--before {delayed}")), "{page:?}");
    assert!(page.ok().lines().nth(2).is_some_and(|line| line.starts_with(&delayed) && line.contains("delayed")));
    Ok(())
}

#[tokio::test]
async fn what_waits_is_cancelled_once() -> Result<()> {
    let place = Place::new().await?;
    let (ready, delayed) = (submit(&place, &[]).await?, submit(&place, &["--delay", "1h"]).await?);
    let (ready_text, delayed_text) = (ready.to_string(), delayed.to_string());
    place.run(&["jobs", "cancel", &ready_text, &delayed_text]).await?.ok();
    let queues = place.queues()?;
    let claim = queues.claim("probe".parse()?, 10, Duration::from_secs(30), "w").await?;
    assert!(claim.jobs.is_empty(), "cancelled jobs are not served");
    assert_eq!(queues.live("probe".parse()?, &[delayed]).await?[0].state, LiveState::Unknown);
    let shown = place.run(&["jobs", "show", &ready_text, "--json"]).await?.document();
    assert_eq!(shown["state"], "cancelled");

    let said = place.run(&["jobs", "cancel", &ready_text]).await?.fails(4);
    assert!(said.contains("has ended already"), "{said}");
    // One that cannot be cancelled does not keep the others from it.
    let third = submit(&place, &[]).await?.to_string();
    let mixed = place.run(&["jobs", "cancel", &JobId::new().to_string(), &third, "--json"]).await?;
    assert_eq!((mixed.code, &mixed.objects()[0]["id"]), (3, &json!(third)));
    assert_eq!(mixed.objects()[0]["state"], "cancelled");
    place.run(&["jobs", "show", &JobId::new().to_string()]).await?.fails(3);
    Ok(())
}

#[tokio::test]
async fn what_runs_is_shown_running_and_its_worker_is_told_of_the_cancellation() -> Result<()> {
    let place = Place::new().await?;
    let queues = place.queues()?;
    let queue = "probe".parse()?;
    // The first settings start the queue's epoch, as a worker does.
    place.run(&["queues", "resume", "probe"]).await?.ok();
    let id = submit(&place, &[]).await?;
    let claim = queues.claim(queue, 1, Duration::from_secs(30), "the-worker").await?;
    assert_eq!(claim.jobs.len(), 1);

    let running = place.run(&["jobs", "list", "--state", "running", "--json"]).await?.objects();
    assert_eq!(running.len(), 1, "{running:?}");
    let job = &running[0];
    assert_eq!((&job["id"], &job["state"], &job["attempt"]), (&json!(id), &json!("running"), &json!(1)));
    let attempt = &job["attempts"][0];
    assert_eq!((&attempt["outcome"], &attempt["worker"]), (&json!("running"), &json!("the-worker")));
    assert!(attempt["ended_at"].is_null() && attempt["started_at"] == job["started_at"], "{job}");
    assert_eq!(place.run(&["queues", "--json"]).await?.objects()[3]["running"], 1);

    place.run(&["jobs", "cancel", &id.to_string()]).await?.ok();
    let extended = queues.extend(queue, &[claim.jobs[0].lease], Duration::from_secs(30)).await?;
    assert_eq!(extended, [Extension::Cancelled]);
    Ok(())
}
