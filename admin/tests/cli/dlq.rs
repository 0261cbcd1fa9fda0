use anyhow::Result;
use millrace_shared::{
    db::jobs::{self, JobRow, JobState},
    ids::JobId,
};
use serde_json::{Value, json};

use crate::place::Place;

async fn row(place: &Place, id: JobId) -> Result<JobRow> {
    let row = jobs::find_any(&mut place.connection().await?, id).await?;
    Ok(row.expect("the job is in the ledger"))
}

/// How many dead letters are left, as the list tells.
async fn left(place: &Place, filter: &[&str]) -> Result<usize> {
    let listed = place.run(&[&["dlq", "list", "--json", "--limit", "10000"], filter].concat()).await?;
    assert_eq!(listed.code, 0, "{listed:?}");
    Ok(listed.objects().len())
}

async fn ready(place: &Place) -> Result<u64> {
    Ok(place.queues()?.stats("probe".parse()?).await?.ready.iter().sum())
}

#[tokio::test]
async fn dead_letters_are_listed_and_shown_with_their_history() -> Result<()> {
    let place = Place::new().await?;
    let ids = place.dead_letters(place.org, "broken", 2).await?;
    let listed = place.run(&["dlq", "list", "--json"]).await?.objects();
    assert_eq!((&listed[0]["id"], &listed[1]["id"]), (&json!(ids[1]), &json!(ids[0])));

    let shown = place.run(&["dlq", "show", &ids[0].to_string(), "--json"]).await?.document();
    assert_eq!((&shown["state"], &shown["dead_reason"]), (&json!("dead"), &json!("attempts_exhausted")));
    assert_eq!(shown["error"]["class"], "broken");
    assert_eq!((&shown["payload"], &shown["replays"]), (&json!({}), &json!(0)));
    let attempt = &shown["attempts"][0];
    assert_eq!((&attempt["outcome"], &attempt["attempt"]), (&json!("failed"), &json!(5)));
    assert_eq!((&attempt["worker"], &attempt["error"]["class"]), (&json!("a-worker"), &json!("broken")));

    let table = place.run(&["dlq", "list"]).await?.ok();
    assert!(table.contains("it was broken and [31mmore"), "on one line, without escapes:\n{table}");
    let text = place.run(&["dlq", "show", &ids[0].to_string()]).await?.ok();
    assert!(text.contains("error         broken: it was broken\n              and [31mmore"), "{text}");
    // One that lives is no dead letter.
    let alive = place.run(&["jobs", "submit", "probe", "--org", &place.org.to_string()]).await?.ok();
    place.run(&["dlq", "show", &alive]).await?.fails(3);
    Ok(())
}

#[tokio::test]
async fn a_replayed_job_keeps_its_id_and_history_and_is_ready() -> Result<()> {
    let place = Place::new().await?;
    let ids = place.dead_letters(place.org, "broken", 2).await?;
    assert_eq!(place.run(&["dlq", "replay", &ids[0].to_string()]).await?.ok(), "replayed 1 dead letter");
    let job = place.run(&["jobs", "show", &ids[0].to_string(), "--json"]).await?.document();
    assert_eq!((&job["state"], &job["replays"]), (&json!("queued"), &json!(1)));
    assert_eq!((&job["attempt"], &job["max_attempts"]), (&json!(5), &json!(10)));
    assert_eq!(job["attempts"].as_array().map(Vec::len), Some(1));
    assert_eq!((ready(&place).await?, left(&place, &[]).await?), (1, 1));

    // It is none any more; the other one named beside it is replayed all the same.
    let (first, second) = (ids[0].to_string(), ids[1].to_string());
    let run = place.run(&["dlq", "replay", &first, &second, "--json"]).await?;
    assert!(run.stderr.contains(&first) && !run.stderr.contains(&second), "{run:?}");
    assert_eq!(run.code, 3);
    assert_eq!(run.objects(), [json!({ "matched": 1, "replayed": 1, "skipped": 0, "dry_run": false })]);
    Ok(())
}

#[tokio::test]
async fn an_edited_payload_is_checked_first() -> Result<()> {
    let place = Place::new().await?;
    let ids = place.dead_letters(place.org, "broken", 2).await?;
    let id = ids[0].to_string();
    let said = place.run(&["dlq", "replay", &id, "--payload", r#"{"sleep_ms":"x"}"#]).await?.fails(2);
    assert!(said.contains("payload.sleep_ms"), "{said}");
    assert_eq!(row(&place, ids[0]).await?.state, JobState::Dead);
    place.run(&["dlq", "replay", &id, "--payload", r#"{"sleep_ms":3}"#]).await?.ok();
    let replayed = row(&place, ids[0]).await?;
    assert_eq!((replayed.state, &replayed.payload["sleep_ms"]), (JobState::Queued, &json!(3)));
    place.run(&["dlq", "replay", &id, "--payload", "{}"]).await?.fails(3);
    place.run(&["dlq", "replay", "--kind", "probe", "--payload", "{}"]).await?.fails(2);
    Ok(())
}

#[tokio::test]
async fn bulk_work_is_refused_where_nobody_can_be_asked() -> Result<()> {
    let place = Place::new().await?;
    place.dead_letters(place.org, "broken", 3).await?;
    for verb in ["replay", "discard"] {
        let said = place.run(&["dlq", verb, "--kind", "probe"]).await?.fails(4);
        assert!(said.contains("3 dead letters") && said.contains("--yes"), "{said}");
        let counted = place.run(&["dlq", verb, "--all", "--dry-run", "--json"]).await?.document();
        assert_eq!((&counted["matched"], &counted["dry_run"]), (&json!(3), &json!(true)));
    }
    assert_eq!((left(&place, &[]).await?, ready(&place).await?), (3, 0), "nothing was changed");
    Ok(())
}

#[tokio::test]
async fn filters_choose_what_is_replayed_and_discarded() -> Result<()> {
    let place = Place::new().await?;
    let other = place.new_org().await?;
    place.dead_letters(place.org, "broken", 3).await?;
    place.dead_letters(place.org, "timeout", 2).await?;
    place.dead_letters(other, "broken", 4).await?;
    let (org, other) = (place.org.to_string(), other.to_string());
    for (filter, expected) in [
        (&["--org", &org][..], 5),
        (&["--error", "broken"], 7),
        (&["--error", "WAS TIME"], 2),
        (&["--org", &other, "--error", "timeout"], 0),
        (&["--queue", "probe", "--since", "1h"], 9),
        (&["--kind", "asset.process"], 0),
        (&["--since", "2999-01-01T00:00:00Z"], 0),
    ] {
        assert_eq!(left(&place, filter).await?, expected, "{filter:?}");
        let counted = place.run(&[&["dlq", "replay", "--dry-run", "--json"], filter].concat()).await?.document();
        assert_eq!(counted["matched"], expected, "{filter:?}");
    }
    let replayed = place.run(&["dlq", "replay", "--org", &org, "--error", "broken", "--yes"]).await?.ok();
    assert_eq!(replayed, "replayed 3 dead letters");
    let discarded = place.run(&["dlq", "discard", "--error", "broken", "--yes", "--json"]).await?.document();
    assert_eq!((&discarded["discarded"], &discarded["matched"]), (&json!(4), &json!(4)));
    assert_eq!((left(&place, &[]).await?, left(&place, &["--error", "timeout"]).await?), (2, 2));
    assert_eq!(ready(&place).await?, 3);
    Ok(())
}

#[tokio::test]
async fn a_rate_lets_jobs_become_due_one_after_another() -> Result<()> {
    let place = Place::new().await?;
    let ids = place.dead_letters(place.org, "broken", 5).await?;
    place.run(&["dlq", "replay", "--all", "--rate", "0.5", "--yes"]).await?.ok();
    let mut times = Vec::new();
    for id in ids {
        times.push(row(&place, id).await?.run_at);
    }
    let gaps: Vec<i64> = times.windows(2).map(|pair| (pair[1] - pair[0]).num_milliseconds()).collect();
    assert_eq!(gaps, [2_000; 4], "one every two seconds");
    Ok(())
}

#[tokio::test]
async fn many_are_worked_off_in_batches() -> Result<()> {
    let place = Place::new().await?;
    let ids = place.dead_letters(place.org, "broken", 620).await?;
    let replayed = place.run(&["dlq", "replay", "--all", "--rate", "100", "--yes", "--json"]).await?.document();
    assert_eq!(replayed, json!({ "matched": 620, "replayed": 620, "skipped": 0, "dry_run": false }));
    let (first, last) = (row(&place, ids[0]).await?.run_at, row(&place, ids[619]).await?.run_at);
    let spread = (last - first).num_milliseconds();
    assert!((6_190..16_000).contains(&spread), "the pace goes on over batches: {spread}ms");

    place.dead_letters(place.org, "other", 601).await?;
    let discarded = place.run(&["dlq", "discard", "--all", "--yes", "--json"]).await?.document();
    assert_eq!(discarded["discarded"], 601);
    assert_eq!(left(&place, &[]).await?, 0);
    let again = place.run(&["dlq", "discard", "--all", "--json"]).await?.document();
    assert_eq!(again["matched"], 0, "nothing to ask about");
    Ok(())
}

#[tokio::test]
async fn a_taken_unique_key_keeps_a_dead_letter_where_it_is() -> Result<()> {
    let place = Place::new().await?;
    let org = place.org.to_string();
    let dead = place.dead_letters(place.org, "broken", 1).await?[0];
    sqlx::query("UPDATE jobs SET unique_key = 'one' WHERE id = $1")
        .bind(dead)
        .execute(&mut place.connection().await?)
        .await?;
    place.run(&["jobs", "submit", "probe", "--org", &org, "--unique-key", "one"]).await?.ok();
    let named = place.run(&["dlq", "replay", &dead.to_string(), "--json"]).await?;
    assert_eq!((named.code, &named.objects()[0]["skipped"]), (4, &Value::from(1)));
    let filtered = place.run(&["dlq", "replay", "--all", "--yes"]).await?;
    assert!(filtered.stderr.contains("unique key"), "{filtered:?}");
    assert_eq!(filtered.ok(), "replayed 0 dead letters");
    Ok(())
}
