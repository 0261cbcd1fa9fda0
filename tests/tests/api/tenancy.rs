//! Another organisation's anything does not exist: a table with a row for every route.

use std::time::Duration;

use anyhow::{Context as _, Result};
use millrace_harness::{Client, Reply, Stack};
use serde_json::{Value, json};

use super::description::{Operation, invalid, operations, problem};
use super::webhooks::KEYS;

/// What a stranger gets.
#[derive(Debug, Clone, Copy)]
enum Stranger {
    /// A 404 that is the same as for an id that nobody has.
    Sees404,
    /// A list without any of ours.
    SeesNothing,
    /// Bulk work that matches nothing of ours.
    MatchesNothing,
    /// Something of their own, and nothing of ours; the test below says how.
    Apart,
    /// What is everybody's: it holds no tenant's data.
    Common,
    /// What is the platform's staff's, whoever's organisation it is about.
    Staffs,
}

use Stranger::{Apart, Common, MatchesNothing, Sees404, SeesNothing, Staffs};

/// A new route needs a row here: say what another organisation gets.
const TABLE: &[(&str, Stranger)] = &[
    ("submitJob", Apart),
    ("submitJobs", Apart),
    ("listJobs", SeesNothing),
    ("getJob", Sees404),
    ("cancelJob", Sees404),
    ("listKinds", Common),
    ("uploadAsset", Apart),
    ("listAssets", SeesNothing),
    ("getAsset", Sees404),
    ("deleteAsset", Sees404),
    ("getAssetText", Sees404),
    ("listAssetChunks", Sees404),
    ("listAssetParts", Sees404),
    ("search", SeesNothing),
    ("createSchedule", Apart),
    ("listSchedules", SeesNothing),
    ("getSchedule", Sees404),
    ("changeSchedule", Sees404),
    ("deleteSchedule", Sees404),
    ("runSchedule", Sees404),
    ("createConnection", Apart),
    ("listConnections", SeesNothing),
    ("getConnection", Sees404),
    ("changeConnection", Sees404),
    ("deleteConnection", Sees404),
    ("replaceCredentials", Sees404),
    ("syncConnection", Sees404),
    ("listSyncs", Sees404),
    ("listDrift", Sees404),
    ("startOauth", Sees404),
    ("oauthCallback", Apart),
    // Copies come from a CRM; the tests of these have a stranger ask for some.
    ("listRecords", Apart),
    ("exportRecords", Apart),
    ("getRecord", Sees404),
    ("changeRecord", Sees404),
    ("listConflicts", Apart),
    ("resolveConflict", Sees404),
    ("createWebhookSource", Apart),
    ("listWebhookSources", SeesNothing),
    ("getWebhookSource", Sees404),
    ("deleteWebhookSource", Sees404),
    ("rotateWebhookSecret", Sees404),
    ("testWebhookSource", Sees404),
    ("deliverWebhook", Apart),
    ("deliverWebhookByQuery", Apart),
    ("deliverWebhookToSecretUrl", Apart),
    ("listDeadLetters", SeesNothing),
    ("getDeadLetter", Sees404),
    ("replayDeadLetter", Sees404),
    ("discardDeadLetter", Sees404),
    ("replayDeadLetters", MatchesNothing),
    ("discardDeadLetters", MatchesNothing),
    ("listQueues", Common),
    ("pauseQueue", Common),
    ("resumeQueue", Common),
    ("limitQueue", Common),
    ("getOrganisationLimits", Staffs),
    ("limitOrganisation", Staffs),
    ("live", Common),
    ("ready", Common),
    ("metrics", Common),
    ("version", Common),
    ("describe", Common),
    ("docs", Common),
    ("docsStyle", Common),
    ("docsScript", Common),
];

/// One of everything, in one organisation.
struct Ours {
    waiting: String,
    dead: String,
    asset: String,
    source: String,
    schedule: String,
    connection: String,
}

impl Ours {
    async fn make(client: &Client) -> Result<Self> {
        let waiting = client.post("/v1/jobs", &json!({ "kind": "probe", "delay_ms": 3_600_000 })).await?.expect(202)?;
        let dead = client.submit("probe", &json!({ "outcome": "fail" })).await?;
        let uploaded = client.upload("ours.txt", "Words that are ours alone.").await?.expect(202)?;
        for job in [&dead["id"], &uploaded["job"]["id"]] {
            client.wait_job(job.as_str().context("no id")?, Duration::from_secs(30)).await?;
        }
        let source = json!({ "name": "Ours", "scheme": { "type": "github" }, "kind": "probe" });
        let source = client.post("/v1/webhook-sources", &source).await?.expect(201)?;
        let schedule = json!({ "name": "Ours", "kind": "probe", "every": "1d" });
        let schedule = client.post("/v1/schedules", &schedule).await?.expect(201)?;
        let auth = json!({ "type": "token", "token": "ours" });
        let connection = json!({ "name": "Ours", "provider": "hubspot", "auth": auth });
        let connection = client.post("/v1/connections", &connection).await?.expect(201)?;
        let id = |value: &Value| value.as_str().map(str::to_owned).context("no id");
        Ok(Self {
            waiting: id(&waiting["id"])?,
            dead: id(&dead["id"])?,
            asset: id(&uploaded["asset"]["id"])?,
            source: id(&source["id"])?,
            schedule: id(&schedule["id"])?,
            connection: id(&connection["id"])?,
        })
    }

    fn fill(&self, operation: &Operation) -> String {
        let id = match operation.tag.as_str() {
            "Assets" => &self.asset,
            "Webhooks" => &self.source,
            "Schedules" => &self.schedule,
            "CRM" => &self.connection,
            _ => &self.waiting,
        };
        operation.path.replace("{id}", id).replace("{job_id}", &self.dead).replace("{queue}", "probe")
    }

    async fn assert_untouched(&self, client: &Client) -> Result<()> {
        let waiting = client.get(&format!("/v1/jobs/{}", self.waiting)).await?.expect(200)?;
        assert_eq!(waiting["state"], "delayed");
        client.get(&format!("/v1/dead-letters/{}", self.dead)).await?.expect(200)?;
        let source = client.get(&format!("/v1/webhook-sources/{}", self.source)).await?.expect(200)?;
        assert_eq!(source["secrets"].as_array().map(Vec::len), Some(1));
        let schedule = client.get(&format!("/v1/schedules/{}", self.schedule)).await?.expect(200)?;
        assert_eq!((&schedule["paused"], &schedule["last_job_id"]), (&json!(false), &Value::Null));
        let connection = client.get(&format!("/v1/connections/{}", self.connection)).await?.expect(200)?;
        assert_eq!(connection["conflict_policy"], "crm_wins");
        let text = client.get(&format!("/v1/assets/{}/text", self.asset)).await?;
        assert_eq!((text.status, text.text().trim()), (200, "Words that are ours alone."));
        Ok(())
    }
}

async fn call(client: &Client, operation: &Operation, path: &str) -> Result<Reply> {
    let query = if operation.id == "search" { "?q=alone" } else { "" };
    let mut request = client.request(operation.method.clone(), &format!("{path}{query}"));
    if operation.body.as_deref() == Some("application/json") && operation.body_is_required {
        request = request.json(&match operation.id.as_str() {
            "rotateWebhookSecret" | "changeSchedule" | "syncConnection" => json!({}),
            "changeConnection" => json!({ "conflict_policy": "manual" }),
            "replaceCredentials" => json!({ "auth": { "type": "token", "token": "theirs" } }),
            "changeRecord" => json!({ "fields": { "name": "Theirs" } }),
            "resolveConflict" => json!({ "take": "crm" }),
            "testWebhookSource" => json!({ "headers": {}, "body": "" }),
            _ => json!({ "filter": {} }),
        });
    }
    client.send(request).await
}

#[tokio::test]
async fn another_organisations_anything_does_not_exist() -> Result<()> {
    let stack = Stack::builder().env("MILLRACE_ENCRYPTION_KEYS", KEYS).start().await?;
    let ours = Ours::make(stack.client()).await?;
    let stranger = stack.client_of_other_org().await?;

    let operations = operations(stack.client()).await?;
    for (id, _) in TABLE {
        assert!(operations.iter().any(|operation| operation.id == *id), "{id} is in the table and is no route");
    }
    for operation in &operations {
        let row = TABLE.iter().find(|(id, _)| *id == operation.id);
        let (_, stranger_gets) = row.with_context(|| format!("{} has no row in this test's table", operation.id))?;
        let place = format!("{} {}", operation.method, operation.path);
        match stranger_gets {
            Sees404 => {
                let theirs = call(&stranger, operation, &ours.fill(operation)).await?;
                let mut theirs = problem(&theirs, 404, "not_found");
                let nobodys = Ours {
                    waiting: nobody(),
                    dead: nobody(),
                    asset: nobody(),
                    source: nobody(),
                    schedule: nobody(),
                    connection: nobody(),
                };
                let mut nobodys =
                    problem(&call(&stranger, operation, &nobodys.fill(operation)).await?, 404, "not_found");
                theirs["request_id"].take();
                nobodys["request_id"].take();
                assert_eq!(theirs, nobodys, "{place} tells that the id exists");
            }
            SeesNothing => {
                let list = call(&stranger, operation, &operation.path).await?.expect(200)?;
                assert_eq!(list["items"], json!([]), "{place}");
                let own = call(stack.client(), operation, &operation.path).await?.expect(200)?;
                assert_ne!(own["items"], json!([]), "{place} shows its owner nothing, which proves nothing");
            }
            MatchesNothing => {
                let outcome = call(&stranger, operation, &operation.path).await?.expect(200)?;
                assert_eq!((&outcome["matched"], &outcome["done"]), (&json!(0), &json!(0)), "{place}");
            }
            Apart | Common | Staffs => {}
        }
    }
    ours.assert_untouched(stack.client()).await?;
    stack.drain().await
}

fn nobody() -> String {
    uuid::Uuid::now_v7().to_string()
}

#[tokio::test]
async fn what_a_stranger_submits_reaches_nothing_of_ours() -> Result<()> {
    let stack = Stack::builder().env("MILLRACE_ENCRYPTION_KEYS", KEYS).start().await?;
    let ours = Ours::make(stack.client()).await?;
    let stranger = stack.client_of_other_org().await?;

    // A job for our document.
    let job = json!({ "kind": "asset.process", "payload": { "asset_id": ours.asset } });
    invalid(&stranger.post("/v1/jobs", &job).await?, "payload.asset_id");
    let batch = json!({ "jobs": [{ "kind": "probe" }, job] });
    invalid(&stranger.post("/v1/jobs/batch", &batch).await?, "jobs[1].payload.asset_id");

    // The same bytes are a document of their own.
    let theirs = stranger.upload("theirs.txt", "Words that are ours alone.").await?.expect(202)?;
    assert_eq!(theirs["duplicate"], false);
    assert_ne!(theirs["asset"]["id"], ours.asset.as_str());

    // The same idempotency key and the same unique key are theirs alone.
    let body = json!({ "kind": "probe", "delay_ms": 60_000, "unique_key": "shared" });
    let mut ids = Vec::new();
    for client in [stack.client(), &stranger] {
        let request = client.request(reqwest::Method::POST, "/v1/jobs").header("Idempotency-Key", "shared").json(&body);
        ids.push(client.send(request).await?.expect(202)?["id"].clone());
    }
    assert_ne!(ids[0], ids[1]);

    // An organisation in the body, the query or a header is not asked for.
    let request = stranger.request(reqwest::Method::GET, "/v1/jobs").header("x-org-id", stack.org());
    let seen = stranger.send(request).await?.expect(200)?;
    assert!(!seen.to_string().contains(&ours.waiting), "{seen}");
    ours.assert_untouched(stack.client()).await?;
    stack.drain().await
}
