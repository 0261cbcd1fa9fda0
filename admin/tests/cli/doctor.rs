use std::collections::BTreeMap;

use anyhow::Result;
use chrono::{TimeDelta, Utc};
use millrace_harness::{PostgresOptions, RedisOptions};
use millrace_shared::ids::JobId;
use serde_json::Value;
use sqlx::AssertSqlSafe;

use crate::place::{Place, Run, millrace};

/// What each check found, by its name.
fn checks(run: &Run) -> BTreeMap<String, Value> {
    run.objects().into_iter().map(|check| (check["check"].as_str().unwrap_or_default().to_owned(), check)).collect()
}

#[track_caller]
fn assert_check(run: &Run, name: &str, status: &str, found: &str) {
    let checks = checks(run);
    let check = checks.get(name).unwrap_or_else(|| panic!("no {name} in {run:?}"));
    assert_eq!(check["status"], status, "{check}");
    let text = format!("{} {}", check["found"], check["fix"]);
    assert!(text.contains(found), "{found} in {check}");
    assert_eq!(check["fix"].is_null(), status == "ok", "{check}");
}

fn redis(name: &str, value: &str) -> RedisOptions {
    RedisOptions { directives: vec![(name.to_owned(), value.to_owned())], ..RedisOptions::default() }
}

/// A migrated place with a Postgres of its own: the one that tests share runs without fsync, for speed, which the doctor tells.
async fn durable(redis: RedisOptions) -> Result<Place> {
    let place = Place::empty(redis, Some(PostgresOptions::default())).await?;
    place.run(&["migrate"]).await?.ok();
    Ok(place)
}

#[tokio::test]
async fn a_sound_installation_passes() -> Result<()> {
    let place = durable(RedisOptions::default()).await?;
    let run = place.run(&["doctor", "--json"]).await?;
    assert_eq!(run.code, 0, "{run:?}");
    for name in [
        "configuration",
        "postgres",
        "postgres version",
        "postgres role",
        "migrations",
        "ledger partitions",
        "ledger default partition",
        "ledger retention",
        "sealed secrets",
        "redis",
        "redis version",
        "redis role",
        "redis maxmemory-policy",
        "redis persistence",
        "storage",
    ] {
        assert_check(&run, name, "ok", "");
    }
    assert_check(&run, "redis queues", "warning", "asset, crm, graph, probe");
    for queue in ["asset", "crm", "graph", "probe"] {
        place.run(&["queues", "resume", queue]).await?.ok();
    }
    assert_check(&place.run(&["doctor", "--json"]).await?, "redis queues", "ok", "");
    let text = place.run(&["doctor"]).await?.ok();
    assert!(text.contains("ok       redis maxmemory-policy   noeviction"), "{text}");
    assert!(text.lines().last().is_some_and(|line| line.ends_with("0 failed")), "{text}");
    Ok(())
}

#[tokio::test]
async fn an_evicting_redis_fails() -> Result<()> {
    let place = Place::empty(redis("maxmemory-policy", "allkeys-lru"), None).await?;
    let run = place.run(&["doctor", "--json"]).await?;
    assert_eq!(run.code, 1);
    assert_check(&run, "redis maxmemory-policy", "failed", "allkeys-lru");
    assert_check(&run, "redis maxmemory-policy", "failed", "noeviction");
    Ok(())
}

#[tokio::test]
async fn a_redis_without_its_file_is_warned_of() -> Result<()> {
    let place = durable(redis("appendonly", "no")).await?;
    let run = place.run(&["doctor", "--json"]).await?;
    assert_eq!(run.code, 0, "{run:?}");
    assert_check(&run, "redis persistence", "warning", "appendonly yes");
    Ok(())
}

#[tokio::test]
async fn pending_migrations_fail_and_are_named() -> Result<()> {
    let place = Place::empty(RedisOptions::default(), None).await?;
    let run = place.run(&["doctor", "--json"]).await?;
    assert_eq!(run.code, 1);
    assert_check(&run, "migrations", "failed", "0001 organisations, 0002 jobs");
    assert_check(&run, "migrations", "failed", "millrace migrate");
    Ok(())
}

#[tokio::test]
async fn a_ledger_that_no_worker_keeps_is_warned_of() -> Result<()> {
    let place = Place::new().await?;
    // The only partition has ended, and what comes after it has none.
    let end = JobId::lowest_at(Utc::now() - TimeDelta::days(40));
    for table in ["jobs", "job_attempts"] {
        let cut = format!(
            "ALTER TABLE {table} DETACH PARTITION {table}_first; \
             ALTER TABLE {table} ATTACH PARTITION {table}_first FOR VALUES FROM (MINVALUE) TO ('{end}')"
        );
        sqlx::raw_sql(AssertSqlSafe(cut)).execute(&mut place.connection().await?).await?;
    }
    place.dead_letters(place.org, "broken", 3).await?;
    let run = place.run(&["doctor", "--json"]).await?;
    assert_check(&run, "ledger partitions", "warning", "start a worker");
    assert_check(&run, "ledger default partition", "warning", "3 jobs have no partition");
    assert_check(&run, "ledger retention", "warning", "should have been dropped 10d");

    let off = place.environment_with("MILLRACE_RETENTION", Some("off"));
    assert_check(&millrace(&off, &["doctor", "--json"], "").await?, "ledger retention", "ok", "for ever");
    let longer = place.environment_with("MILLRACE_RETENTION", Some("60d"));
    assert_check(&millrace(&longer, &["doctor", "--json"], "").await?, "ledger retention", "ok", "60d after");
    Ok(())
}

#[tokio::test]
async fn a_postgres_that_forgets_fails() -> Result<()> {
    let settings = vec![("fsync".to_owned(), "off".to_owned()), ("max_connections".to_owned(), "12".to_owned())];
    let options = PostgresOptions { settings, ..PostgresOptions::default() };
    let place = Place::empty(RedisOptions::default(), Some(options)).await?;
    let run = place.run(&["doctor", "--json"]).await?;
    assert_check(&run, "postgres durability", "failed", "fsync");
    assert_check(&run, "postgres connections", "warning", "max_connections");
    Ok(())
}

#[tokio::test]
async fn servers_that_are_away_fail_and_the_rest_is_checked() -> Result<()> {
    let mut place = Place::empty(RedisOptions::default(), Some(PostgresOptions::default())).await?;
    place.postgres.stop().await?;
    let run = place.run(&["doctor", "--json"]).await?;
    assert_eq!(run.code, 1);
    assert_check(&run, "postgres", "failed", "DATABASE_URL");
    assert_check(&run, "redis", "ok", "");
    assert_check(&run, "storage", "ok", "");

    place.redis.stop().await?;
    let run = place.run(&["doctor", "--json"]).await?;
    assert_check(&run, "redis", "failed", "REDIS_URL");
    for secret in [place.redis.url(), place.postgres.url()] {
        assert!(!run.stdout.contains(secret) && !run.stderr.contains(secret));
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_password_fails() -> Result<()> {
    let place = Place::new().await?;
    let (_, address) = place.redis.url().split_once('@').expect("a password");
    let environment = place.environment_with("REDIS_URL", Some(&format!("redis://:wrong@{address}")));
    let run = millrace(&environment, &["doctor", "--json"], "").await?;
    assert_eq!(run.code, 1);
    assert_check(&run, "redis", "failed", "no connection");
    Ok(())
}

#[tokio::test]
async fn a_missing_variable_is_told_and_the_rest_is_checked() -> Result<()> {
    let place = Place::new().await?;
    let run = millrace(&place.environment_with("REDIS_URL", None), &["doctor", "--json"], "").await?;
    assert_eq!(run.code, 1);
    assert_check(&run, "configuration", "failed", "REDIS_URL is not set");
    assert_check(&run, "postgres", "ok", "");
    assert_check(&run, "storage", "ok", "");
    assert!(!checks(&run).contains_key("redis"));

    // What only another program reads is told, too.
    let run = millrace(&place.environment_with("MILLRACE_QUEUES", Some("nonsense")), &["doctor", "--json"], "").await?;
    assert_check(&run, "configuration", "failed", "MILLRACE_QUEUES");
    Ok(())
}

#[tokio::test]
async fn weak_secrets_are_warned_of_and_fail_in_production() -> Result<()> {
    let place = durable(RedisOptions::default()).await?;
    let weak = Some("change-me-change-me-change-me-change-me");
    let mut environment = place.environment_with("MILLRACE_JWT_SECRET", weak);
    let run = millrace(&environment, &["doctor", "--json"], "").await?;
    assert_eq!(run.code, 0, "{run:?}");
    assert_check(&run, "fit for production", "warning", "MILLRACE_JWT_SECRET");
    environment.push(("MILLRACE_ENV".to_owned(), "production".to_owned()));
    let run = millrace(&environment, &["doctor", "--json"], "").await?;
    assert_eq!(run.code, 1);
    assert_check(&run, "configuration", "failed", "MILLRACE_JWT_SECRET");
    assert!(!run.stdout.contains("change-me-change-me"), "{run:?}");
    Ok(())
}

#[tokio::test]
async fn a_store_that_cannot_be_written_fails() -> Result<()> {
    let place = Place::new().await?;
    let file = place.run.path().join("a-file");
    std::fs::write(&file, "")?;
    let inside = format!("file://{}/storage", file.display());
    let run =
        millrace(&place.environment_with("MILLRACE_STORAGE_URL", Some(&inside)), &["doctor", "--json"], "").await?;
    assert_eq!(run.code, 1);
    assert_check(&run, "storage", "failed", "MILLRACE_STORAGE_URL");
    Ok(())
}
