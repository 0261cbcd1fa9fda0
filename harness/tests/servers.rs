//! The servers' promises, kept by real servers.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use millrace_harness::{PostgresOptions, PostgresServer, Program, RedisOptions, RedisServer, RunDir, Search, Servers};
use redis::{AsyncCommands, aio::MultiplexedConnection};
use sqlx::{Connection, PgConnection};

async fn redis_at(server: &RedisServer) -> Result<MultiplexedConnection> {
    Ok(redis::Client::open(server.url())?.get_multiplexed_async_connection().await?)
}

async fn count(url: &str) -> Result<i64> {
    let mut connection = PgConnection::connect(url).await?;
    Ok(sqlx::query_scalar("SELECT count(*) FROM kept").fetch_one(&mut connection).await?)
}

async fn insert(url: &str) -> Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::raw_sql("CREATE TABLE IF NOT EXISTS kept (n int); INSERT INTO kept VALUES (1)")
        .execute(&mut connection)
        .await?;
    Ok(())
}

/// `everysec` promises a sync within about a second; Redis tells when nothing is pending any more.
async fn synced(connection: &mut MultiplexedConnection) -> Result<()> {
    let (local, _): (u64, u64) = redis::cmd("WAITAOF").arg(1).arg(0).arg(10_000).query_async(connection).await?;
    anyhow::ensure!(local == 1, "the append-only file was not synced within 10 s");
    Ok(())
}

#[tokio::test]
async fn redis_keeps_synced_writes_through_kill_and_through_stop() -> Result<()> {
    let run = RunDir::create()?;
    let mut server = RedisServer::start(run.path(), RedisOptions::default()).await?;
    let (url, first_pid) = (server.url().to_owned(), server.pid());

    let mut connection = redis_at(&server).await?;
    () = connection.set("kept", "through kill").await?;
    if synced(&mut connection).await.is_err() {
        // Before 7.2 there is no WAITAOF: the promise itself is all there is to wait for.
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    server.kill().await?;
    assert!(redis_at(&server).await.is_err(), "it is gone");
    server.start_again().await?;
    assert_eq!(server.url(), url, "same port, same password");
    assert_ne!(server.pid(), first_pid);
    let mut connection = redis_at(&server).await?;
    let kept: String = connection.get("kept").await?;
    assert_eq!(kept, "through kill");

    () = connection.set("kept", "through stop").await?;
    server.restart().await?;
    let kept: String = redis_at(&server).await?.get("kept").await?;
    assert_eq!(kept, "through stop");
    Ok(())
}

#[tokio::test]
async fn redis_is_set_up_as_production_asks() -> Result<()> {
    let run = RunDir::create()?;
    let directives = vec![("maxmemory".to_owned(), "64mb".to_owned())];
    let server = RedisServer::start(run.path(), RedisOptions { directives, ..RedisOptions::default() }).await?;
    let mut connection = redis_at(&server).await?;
    for (name, expected) in [
        ("appendonly", "yes"),
        ("appendfsync", "everysec"),
        ("maxmemory-policy", "noeviction"),
        ("maxmemory", "67108864"),
        ("bind", "127.0.0.1"),
    ] {
        let (_, value): (String, String) =
            redis::cmd("CONFIG").arg("GET").arg(name).query_async(&mut connection).await?;
        assert_eq!(value, expected, "{name}");
    }
    () = redis::cmd("DEBUG").arg("SLEEP").arg(0).query_async(&mut connection).await?;

    let without_password = server.url().split_once('@').map(|(_, rest)| format!("redis://{rest}")).unwrap();
    let refused = redis::Client::open(without_password)?.get_multiplexed_async_connection().await;
    let refused: redis::RedisResult<String> = match refused {
        Ok(mut connection) => redis::cmd("PING").query_async(&mut connection).await,
        Err(error) => Err(error),
    };
    assert!(refused.unwrap_err().to_string().contains("NOAUTH"));
    Ok(())
}

#[tokio::test]
async fn frozen_redis_answers_again_after_its_thaw() -> Result<()> {
    let run = RunDir::create()?;
    let mut server = RedisServer::start(run.path(), RedisOptions::default()).await?;
    let mut connection = redis_at(&server).await?;
    server.freeze()?;
    let ping = redis::cmd("PING");
    let silence = tokio::time::timeout(Duration::from_millis(200), ping.query_async::<String>(&mut connection)).await;
    assert!(silence.is_err(), "a frozen server does not answer");
    server.thaw()?;
    let mut connection = redis_at(&server).await?;
    let reply: String = ping.query_async(&mut connection).await?;
    assert_eq!(reply, "PONG");
    Ok(())
}

#[tokio::test]
async fn postgres_keeps_rows_through_stop_and_through_kill() -> Result<()> {
    let run = RunDir::create()?;
    let mut server = PostgresServer::start(run.path(), PostgresOptions::default()).await?;
    let url = server.url().to_owned();
    insert(&url).await?;
    assert!(server.stop().await?.success());
    assert!(PgConnection::connect(&url).await.is_err(), "it is gone");
    server.start_again().await?;
    assert_eq!(server.url(), url);
    assert_eq!(count(&url).await?, 1);
    insert(&url).await?;
    server.kill().await?;
    server.start_again().await?;
    assert_eq!(count(&url).await?, 2);
    Ok(())
}

#[tokio::test]
async fn each_test_can_have_a_database_of_its_own() -> Result<()> {
    let run = RunDir::create()?;
    let settings = vec![("fsync".to_owned(), "off".to_owned())];
    let server = PostgresServer::start(run.path(), PostgresOptions { settings, ..PostgresOptions::default() }).await?;
    let template = server.create_database("own_template").await?;
    insert(&template).await?;
    let (one, two) =
        tokio::try_join!(server.copy_database("own_1", "own_template"), server.copy_database("own_2", "own_template"))?;
    insert(&one).await?;
    assert_eq!(count(&one).await?, 2);
    assert_eq!(count(&two).await?, 1, "what one test writes, the other does not see");

    let mut connection = PgConnection::connect(&two).await?;
    let (encoding, fsync): (String, String) =
        sqlx::query_as("SELECT current_setting('server_encoding'), current_setting('fsync')")
            .fetch_one(&mut connection)
            .await?;
    assert_eq!((encoding.as_str(), fsync.as_str()), ("UTF8", "off"));

    assert!(server.create_database("no\"name").await.is_err());
    assert_eq!(server.drop_databases("own_").await?, 3, "even with somebody connected");
    assert!(count(&two).await.is_err());
    Ok(())
}

#[tokio::test]
async fn wrong_password_is_refused() -> Result<()> {
    let run = RunDir::create()?;
    let server = PostgresServer::start(run.path(), PostgresOptions::default()).await?;
    let (before, after) = server.url().split_once('@').context("no @")?;
    let wrong = format!("{}x@{after}", &before[..before.len() - 1]);
    assert!(PgConnection::connect(&wrong).await.is_err());
    Ok(())
}

#[tokio::test]
async fn concurrent_runs_do_not_collide() -> Result<()> {
    async fn one(mark: &str) -> Result<(RunDir, Servers)> {
        let run = RunDir::create()?;
        let servers = Servers::start_private(run.path()).await?;
        () = redis_at(&servers.redis).await?.set("mark", mark).await?;
        insert(servers.postgres.url()).await?;
        Ok((run, servers))
    }
    let (one, two, three) = tokio::try_join!(one("1"), one("2"), one("3"))?;
    for ((run, servers), mark) in [(one, "1"), (two, "2"), (three, "3")] {
        let found: String = redis_at(&servers.redis).await?.get("mark").await?;
        assert_eq!(found, mark);
        assert_eq!(count(servers.postgres.url()).await?, 1);
        servers.stop().await?;
        let path = run.path().to_owned();
        drop(run);
        assert!(!Path::new(&path).exists());
    }
    Ok(())
}

#[tokio::test]
async fn foreign_servers_are_used_but_not_stopped() -> Result<()> {
    let mut postgres = PostgresServer::external("postgres://somebody@127.0.0.1:1/theirs");
    let mut redis = RedisServer::external("redis://127.0.0.1:1");
    assert!(postgres.stop().await.is_err());
    assert!(redis.kill().await.is_err());
    assert_eq!((postgres.pid(), redis.pid()), (None, None));
    Servers { redis, postgres }.stop().await
}

#[tokio::test]
async fn servers_tell_their_versions() -> Result<()> {
    let search = Search::default();
    search.require(&[Program::Redis, Program::Postgres]).await?;
    for program in [Program::Redis, Program::Postgres] {
        let version = search.version(program).await.context("no version")?;
        let major: u32 = version.split('.').next().and_then(|major| major.parse().ok()).context(version)?;
        assert!(major >= 6, "{program:?} {major}");
    }
    Ok(())
}
