//! What was entrusted to us is shown nowhere: not by the API, not in the database, not in any log.

use anyhow::{Context as _, Result, ensure};
use millrace_tests::crm::Connected;
use serde_json::json;
use sqlx::{Connection as _, PgConnection};

use super::World;

const PERSON: &str = "planted.person@weir.example";
const PHONE: &str = "+49 30 5550 4711";
const NAME: &str = "Plantagenet-Weirkeeper";

#[tokio::test]
async fn tokens_and_people_are_in_no_log_whatever_happens() -> Result<()> {
    let world = World::start_with(|builder| {
        builder.env("MILLRACE_LOG", "debug,sqlx=info,hyper=info,h2=info").env("MILLRACE_LOG_FORMAT", "json")
    })
    .await?;
    let connected = world.connected("hubspot", 60).await?;
    connected.first_sync().await?;
    let person = json!({ "first_name": NAME, "emails": [PERSON], "phones": [PHONE] });
    connected.account.change(json!([{ "op": "create", "object": "contacts", "fields": person }])).await?;
    connected.sync("incremental").await?;
    let contacts = connected.copies("contacts").await?;
    ensure!(contacts.iter().any(|copy| copy["emails"][0] == PERSON), "the person was copied");

    // All that makes noise: broken answers, refused tokens, odd fields, a search for the person, a change of them.
    let faults = json!([
        { "after": 1, "count": 1, "fault": { "kind": "truncate", "keep_bytes": 900, "abrupt": false } },
        { "after": 3, "count": 1, "fault": { "kind": "html", "status": 400 } },
        { "after": 5, "count": 1, "fault": { "kind": "schema_drift", "field": "email", "change": "list" } },
    ]);
    connected.account.spoil(faults).await?;
    let job = connected.begin_sync("full").await?;
    let client = world.stack.client();
    client.wait_job(&job, std::time::Duration::from_secs(120)).await?;
    connected.account.delete("/faults").await?;
    let query = format!("/v1/records?q={}", PERSON.replace('@', "%40"));
    let found = client.get(&query).await?.expect(200)?;
    let id = found["items"][0]["id"].as_str().context("the person is not found")?;
    let request = client
        .request(reqwest::Method::PATCH, &format!("/v1/records/{id}"))
        .json(&json!({ "fields": { "emails": [format!("new.{PERSON}")] } }));
    let accepted = client.send(request).await?.expect(202)?;
    client.wait_job(accepted["job_id"].as_str().context("no job")?, std::time::Duration::from_secs(60)).await?;
    connected.account.post("/tokens", &json!({ "revoke": "all" })).await?;
    connected.begin_sync("incremental").await?;
    connected.wait_state("reauthorize").await?;

    let mut looked_at = 0;
    for entry in std::fs::read_dir(world.stack.dir())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") && !path.ends_with("postgres.log") {
            let log = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
            looked_at += usize::from(!log.is_empty());
            for secret in [super::TOKEN, PERSON, PHONE, NAME] {
                ensure!(!log.contains(secret), "{secret} is in {}", path.display());
            }
        }
    }
    ensure!(looked_at >= 2, "the logs of API and worker were looked at");
    Ok(())
}

#[tokio::test]
async fn tokens_are_sealed_in_the_database_and_shown_by_nobody() -> Result<()> {
    let world = World::start().await?;
    let connected = world.connected("pipedrive", 40).await?;
    connected.first_sync().await?;
    let shown = connected.shown().await?.to_string();
    ensure!(!shown.contains(super::TOKEN), "{shown}");
    let mut database = PgConnection::connect(world.stack.database_url()).await?;
    let tables: Vec<String> = sqlx::query_scalar("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        .fetch_all(&mut database)
        .await?;
    ensure!(tables.len() > 20, "{tables:?}");
    for table in tables {
        let query = format!("SELECT count(*) FROM {table} AS row WHERE row::text LIKE '%' || $1 || '%'");
        let rows: i64 =
            sqlx::query_scalar(sqlx::AssertSqlSafe(query)).bind(super::TOKEN).fetch_one(&mut database).await?;
        ensure!(rows == 0, "the token is in {table}");
    }
    Ok(())
}

#[tokio::test]
async fn an_organisation_sees_nothing_of_anothers_connections() -> Result<()> {
    let world = World::start().await?;
    let connected: Connected = world.connected("pipedrive", 40).await?;
    connected.first_sync().await?;
    let copy = connected.copies("contacts").await?.into_iter().next().context("no contact")?;
    let other = world.stack.client_of_other_org().await?;
    for path in ["/v1/connections", "/v1/records", "/v1/conflicts"] {
        ensure!(other.get(path).await?.expect(200)?["items"] == json!([]), "{path}");
    }
    let exported = other.get(&format!("/v1/records/export?connection={}", connected.id)).await?.text();
    ensure!(exported.trim() == r#"{"end":true}"#, "{exported}");
    let record = format!("/v1/records/{}", copy["id"].as_str().context("no id")?);
    for path in [record, format!("/v1/connections/{}", connected.id), format!("/v1/connections/{}/syncs", connected.id)]
    {
        other.get(&path).await?.expect(404)?;
    }
    // A job that names somebody else's connection finds none.
    let payload = json!({ "connection_id": connected.id });
    let job = other.submit("crm.sync", &payload).await?;
    let ended = other.wait_job(job["id"].as_str().context("no id")?, std::time::Duration::from_secs(30)).await?;
    ensure!(ended["state"] == "dead" && ended["error"]["class"] == "crm_connection_gone", "{ended:#}");
    Ok(())
}
