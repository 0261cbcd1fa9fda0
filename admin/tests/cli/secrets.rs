//! Keys are replaced: what an older one has sealed is sealed anew, what cannot be opened is named, and nothing is shown.

use std::{
    collections::BTreeMap,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use millrace_shared::{
    db::{sealed::WEBHOOK_SECRETS, webhooks},
    ids::{OrgId, SecretId, SourceId},
    seal::{Keyring, Sealed},
    webhook::Scheme,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::place::{Place, Run, command, millrace};

const KEYS: &str = "MILLRACE_ENCRYPTION_KEYS";
const OLD: &str = "2026-01:b25lIGtleSBvZiB0aGlydHktdHdvIGJ5dGVzLCBvbGQ=";
const NEW: &str = "2026-07:b25lIGtleSBvZiB0aGlydHktdHdvIGJ5dGVzLCBuZXc=";
/// Another value under the id of the old one.
const FORGED: &str = "2026-01:b25lIGtleSBvZiB0aGlydHktdHdvIGJ5dGVzLCBub3Q=";
/// More than two pages of a rotation.
const MANY: usize = 450;

fn ring(keys: &str) -> Result<Keyring> {
    Ok(Keyring::parse(&SecretString::from(keys))?)
}

/// The secret of a row, in the clear: what no output may hold.
fn text(number: usize) -> String {
    format!("planted-secret-{number}")
}

/// A source, and secrets of it that are sealed with the first of these keys. Gives their ids in their order.
async fn sealed(place: &Place, keys: &str, count: usize) -> Result<Vec<SecretId>> {
    let (ring, source) = (ring(keys)?, SourceId::new());
    let mut connection = place.connection().await?;
    let new = webhooks::NewSource {
        connection_id: None,
        id: source,
        org: place.org,
        name: "Weir",
        scheme: &Scheme::Github {},
        kind: "probe",
        tolerance_seconds: 300,
    };
    webhooks::create(&mut connection, &new).await?;
    let mut ids = Vec::new();
    for number in 0..count {
        let id = SecretId::new();
        let sealed = ring.seal(&WEBHOOK_SECRETS.place(place.org, id.0), &SecretString::from(text(number)));
        webhooks::add_secret(&mut connection, (place.org, source), id, &sealed).await?;
        ids.push(id);
    }
    Ok(ids)
}

async fn stored(place: &Place) -> Result<BTreeMap<SecretId, (OrgId, Sealed)>> {
    let rows: Vec<(SecretId, OrgId, Sealed)> = sqlx::query_as("SELECT id, org_id, sealed FROM webhook_secrets")
        .fetch_all(&mut place.connection().await?)
        .await?;
    Ok(rows.into_iter().map(|(id, org, sealed)| (id, (org, sealed))).collect())
}

/// Runs `millrace secrets …` with this ring. Whatever comes of it, no secret and no key is said.
async fn secrets(place: &Place, keys: &str, arguments: &[&str]) -> Result<Run> {
    let run = millrace(&place.environment_with(KEYS, Some(keys)), &[&["secrets"][..], arguments].concat(), "").await?;
    for said in [&run.stdout, &run.stderr] {
        assert!(!said.contains("planted") && !said.contains("b25lIGtleSB"), "{run:?}");
    }
    Ok(run)
}

async fn rotate(place: &Place, keys: &str) -> Result<Value> {
    Ok(secrets(place, keys, &["rotate", "--json"]).await?.document())
}

#[tokio::test]
async fn rotation_seals_anew_with_the_first_key_what_another_has_sealed() -> Result<()> {
    let place = Place::new().await?;
    let both = format!("{NEW},{OLD}");
    let ids = sealed(&place, OLD, MANY).await?;
    let fine = sealed(&place, NEW, 3).await?;
    let before = stored(&place).await?;

    let counted = secrets(&place, &both, &["rotate", "--dry-run", "--json"]).await?.document();
    let expected = json!({ "key_id": "2026-07", "resealed": MANY, "fine": 3, "unopened": [], "dry_run": true });
    assert_eq!(counted, expected);
    assert_eq!(stored(&place).await?, before, "a dry run changes nothing");
    let said = secrets(&place, &both, &["rotate", "--dry-run"]).await?.ok();
    assert!(said.contains("would be") && said.contains("450") && said.contains("2026-07"), "{said}");

    let said = secrets(&place, &both, &["rotate"]).await?.ok();
    assert_eq!(said, "sealed anew with the key 2026-07: 450; sealed with it before: 3");
    let (after, new) = (stored(&place).await?, ring(NEW)?);
    for (number, id) in ids.iter().enumerate() {
        let (org, sealed) = &after[id];
        let opened = new.open(&WEBHOOK_SECRETS.place(*org, id.0), sealed)?;
        assert_eq!(opened.expose_secret(), text(number));
    }
    for id in &fine {
        assert_eq!(after[id], before[id], "what was fine is left as it was");
    }
    let again = rotate(&place, NEW).await?;
    assert_eq!((&again["resealed"], &again["fine"]), (&json!(0), &json!(MANY + 3)));
    assert_eq!(stored(&place).await?, after);
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_opened_is_named_and_the_rest_is_done() -> Result<()> {
    let place = Place::new().await?;
    let ids = sealed(&place, OLD, 5).await?;
    let lost = sealed(&place, &FORGED.replace("2026-01", "2025-07"), 1).await?;
    let forged = sealed(&place, FORGED, 1).await?;
    let mut connection = place.connection().await?;
    // One of ours in the place of another, and one that is no sealed value.
    let copy = "UPDATE webhook_secrets SET sealed = (SELECT sealed FROM webhook_secrets WHERE id = $1) WHERE id = $2";
    sqlx::query(copy).bind(ids[0]).bind(ids[1]).execute(&mut connection).await?;
    let cut = "UPDATE webhook_secrets SET sealed = 'planted' WHERE id = $1";
    sqlx::query(cut).bind(ids[2]).execute(&mut connection).await?;
    let before = stored(&place).await?;

    let both = format!("{NEW},{OLD}");
    for arguments in [&["rotate", "--dry-run", "--json"][..], &["rotate", "--json"]] {
        let run = secrets(&place, &both, arguments).await?;
        assert_eq!(run.code, 1, "{run:?}");
        let told = &run.objects()[0];
        assert_eq!((&told["resealed"], &told["fine"]), (&json!(3), &json!(0)), "{told}");
        let unopened: BTreeMap<String, Value> = told["unopened"]
            .as_array()
            .context("no list")?
            .iter()
            .map(|one| (one["id"].as_str().unwrap_or_default().to_owned(), one["key_id"].clone()))
            .collect();
        let expected = [(ids[1], json!("2026-01")), (ids[2], Value::Null), (lost[0], json!("2025-07"))];
        let expected = expected.into_iter().chain([(forged[0], json!("2026-01"))]);
        let expected: BTreeMap<String, Value> = expected.map(|(id, key)| (id.to_string(), key)).collect();
        assert_eq!(unopened, expected);
        for id in unopened.keys() {
            assert!(run.stderr.contains(id), "{id} in {run:?}");
        }
        assert!(run.stderr.contains("2025-07") && run.stderr.contains("4 could not be opened"), "{run:?}");
    }
    let after = stored(&place).await?;
    for id in [ids[1], ids[2], lost[0], forged[0]] {
        assert_eq!(after[&id], before[&id], "it is as it was");
    }
    assert_eq!(after[&ids[4]].1.key_id(), Some("2026-07"));
    Ok(())
}

/// Waits until a statement of this database waits for a lock.
async fn somebody_waits(connection: &mut PgConnection) -> Result<()> {
    let waits =
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')";
    let begun = Instant::now();
    while !sqlx::query_scalar::<_, bool>(waits).fetch_one(&mut *connection).await? {
        ensure!(begun.elapsed() < Duration::from_secs(60), "nobody waits for a lock");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

#[tokio::test]
async fn a_rotation_that_was_killed_is_finished_by_the_next_one() -> Result<()> {
    let place = Place::new().await?;
    let ids = sealed(&place, OLD, MANY).await?;
    let both = format!("{NEW},{OLD}");
    let mut connection = place.connection().await?;
    let mut holder = connection.begin().await?;
    let hold: Uuid = sqlx::query_scalar("SELECT id FROM webhook_secrets WHERE id = $1 FOR UPDATE")
        .bind(ids[MANY - 1])
        .fetch_one(&mut *holder)
        .await?;
    let mut running = command(&place.environment_with(KEYS, Some(&both)), &["secrets", "rotate"]);
    let mut running = running.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    somebody_waits(&mut place.connection().await?).await?;
    running.kill().await?;
    holder.rollback().await?;
    let key_of = |rows: &BTreeMap<SecretId, (OrgId, Sealed)>, id: &SecretId| rows[id].1.key_id().map(str::to_owned);
    let rows = stored(&place).await?;
    assert_eq!(key_of(&rows, &ids[0]).as_deref(), Some("2026-07"), "pages before it are done");
    assert_eq!(key_of(&rows, &SecretId(hold)).as_deref(), Some("2026-01"), "the page that it was at is as it was");
    let done = rows.values().filter(|(_, sealed)| sealed.key_id() == Some("2026-07")).count();

    let again = rotate(&place, &both).await?;
    assert_eq!((&again["resealed"], &again["fine"]), (&json!(MANY - done), &json!(done)));
    Ok(())
}

#[tokio::test]
async fn a_change_that_crosses_a_rotation_stays() -> Result<()> {
    let place = Place::new().await?;
    let ids = sealed(&place, OLD, 3).await?;
    let both = format!("{NEW},{OLD}");
    let seat = WEBHOOK_SECRETS.place(place.org, ids[1].0);
    let mut connection = place.connection().await?;
    let mut change = connection.begin().await?;
    sqlx::query("UPDATE webhook_secrets SET sealed = $2 WHERE id = $1")
        .bind(ids[1])
        .bind(ring(OLD)?.seal(&seat, &SecretString::from("another secret")))
        .execute(&mut *change)
        .await?;
    let mut watcher = place.connection().await?;
    let commit = async {
        somebody_waits(&mut watcher).await?;
        anyhow::Ok(change.commit().await?)
    };
    let (rotated, committed) = tokio::join!(rotate(&place, &both), commit);
    committed?;
    assert_eq!(rotated?["resealed"], 3);
    let opened = ring(NEW)?.open(&seat, &stored(&place).await?[&ids[1]].1)?;
    assert_eq!(opened.expose_secret(), "another secret");
    Ok(())
}

#[tokio::test]
async fn status_counts_what_each_key_has_sealed() -> Result<()> {
    let place = Place::new().await?;
    sealed(&place, OLD, 2).await?;
    sealed(&place, &NEW.replace("2026-07", "2025-07"), 1).await?;
    let both = format!("{NEW},{OLD}");
    let objects = secrets(&place, &both, &["status", "--json"]).await?.objects();
    let row = |key: &str, standing: &str, count: u64| {
        let columns = if count > 0 { json!({ "webhook_secrets.sealed": count }) } else { json!({}) };
        json!({ "key_id": key, "key": standing, "sealed": count, "columns": columns })
    };
    assert_eq!(objects, [row("2026-07", "current", 0), row("2026-01", "old", 2), row("2025-07", "missing", 1)]);
    let table = secrets(&place, &both, &["status"]).await?.ok();
    assert_eq!(table.lines().count(), 4, "{table}");
    assert!(table.contains("webhook_secrets.sealed 2"), "{table}");

    let without = millrace(&place.environment, &["secrets", "status", "--json"], "").await?.objects();
    assert_eq!(without, [row("2025-07", "missing", 1), row("2026-01", "missing", 2)]);
    let said = millrace(&place.environment, &["secrets", "rotate"], "").await?.fails(5);
    assert!(said.contains("MILLRACE_ENCRYPTION_KEYS is not set"), "{said}");
    Ok(())
}

#[tokio::test]
async fn the_doctor_warns_of_keys_that_are_old_or_missing() -> Result<()> {
    let place = Place::new().await?;
    let check = async |keys: Option<&str>| -> Result<Value> {
        let run = millrace(&place.environment_with(KEYS, keys), &["doctor", "--json"], "").await?;
        let check = run.objects().into_iter().find(|check| check["check"] == "sealed secrets");
        check.with_context(|| format!("{run:?}"))
    };
    assert_eq!(check(None).await?["status"], "ok");
    sealed(&place, OLD, 2).await?;
    assert_eq!(check(Some(OLD)).await?["status"], "ok");
    let both = format!("{NEW},{OLD}");
    for (keys, found, fix) in [
        (Some(both.as_str()), "2 by 2026-01", "millrace secrets rotate"),
        (Some(NEW), "2 by 2026-01", "put their keys back"),
        (None, "2 by 2026-01", "MILLRACE_ENCRYPTION_KEYS"),
    ] {
        let check = check(keys).await?;
        assert_eq!(check["status"], "warning", "{check}");
        assert!(check["found"].as_str().is_some_and(|text| text.contains(found)), "{check}");
        assert!(check["fix"].as_str().is_some_and(|text| text.contains(fix)), "{check}");
    }
    rotate(&place, &both).await?;
    assert_eq!(check(Some(&both)).await?["status"], "ok");
    Ok(())
}
