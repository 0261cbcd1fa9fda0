use anyhow::Result;
use millrace_harness::RedisOptions;

use crate::place::{Place, millrace};

#[tokio::test]
async fn help_tells_the_exit_codes() -> Result<()> {
    let help = millrace(&[], &["--help"], "").await?.ok();
    for line in ["0  done", "2  wrong usage", "3  no such job", "4  refused", "5  the configuration", "6  Postgres"] {
        assert!(help.contains(line), "{line} in {help}");
    }
    for command in ["migrate", "doctor", "keys", "queues", "jobs", "schedules", "dlq"] {
        assert!(help.contains(command));
    }
    Ok(())
}

#[tokio::test]
async fn wrong_arguments_are_told_before_anything_is_read() -> Result<()> {
    for arguments in [
        &["no-such-command"][..],
        &["jobs", "show", "no-uuid"],
        &["queues", "pause", "no-such-queue"],
        &["queues", "limit", "probe"],
        &["dlq", "discard"],
        &["keys", "create", "--org", "new", "--role", "root"],
        &["jobs", "list", "--since", "yesterday"],
        &["schedules", "pause"],
        &["schedules", "show", "no-uuid"],
    ] {
        millrace(&[], arguments, "").await?.fails(2);
    }
    Ok(())
}

#[tokio::test]
async fn every_missing_variable_is_named() -> Result<()> {
    let said = millrace(&[("MILLRACE_LGO".into(), "x".into())], &["queues"], "").await?.fails(5);
    for text in ["DATABASE_URL is not set", "REDIS_URL is not set", "did you mean MILLRACE_LOG?"] {
        assert!(said.contains(text), "{text} in {said}");
    }
    Ok(())
}

#[tokio::test]
async fn absent_postgres_has_an_exit_code_of_its_own() -> Result<()> {
    let environment = [
        ("DATABASE_URL".into(), "postgres://somebody:hunter2@127.0.0.1:1/x".into()),
        ("REDIS_URL".into(), "redis://127.0.0.1:1".into()),
    ];
    let said = millrace(&environment, &["jobs", "list"], "").await?.fails(6);
    assert!(said.contains("Postgres is away"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
    Ok(())
}

#[tokio::test]
async fn migrate_makes_the_tables_once() -> Result<()> {
    let place = Place::empty(RedisOptions::default(), None).await?;
    let said = place.run(&["jobs", "list"]).await?.fails(1);
    assert!(said.contains("run `millrace migrate`"), "{said}");

    let first = place.run(&["migrate", "--json"]).await?.document();
    assert_eq!(first["applied"][0]["version"], 1);
    assert_eq!(first["applied"][0]["description"], "organisations");
    let second = place.run(&["migrate", "--json"]).await?.document();
    assert_eq!(second["applied"].as_array().map(Vec::len), Some(0));
    assert_eq!(place.run(&["migrate"]).await?.ok(), "the database is up to date");
    place.run(&["jobs", "list"]).await?.ok();
    Ok(())
}

#[tokio::test]
async fn nothing_colours_what_is_no_terminal() -> Result<()> {
    let place = Place::new().await?;
    place.dead_letters(place.org, "broken", 1).await?;
    for arguments in [
        &["queues"][..],
        &["jobs", "list", "--wide"],
        &["schedules", "list"],
        &["dlq", "list"],
        &["keys", "list"],
        &["doctor"],
    ] {
        let shown = place.run(arguments).await?;
        assert!(!shown.stdout.contains('\u{1b}') && !shown.stderr.contains('\u{1b}'), "{arguments:?}: {shown:?}");
    }
    Ok(())
}
