//! Webhooks: what verifies becomes a job once, what does not is refused without a word, and secrets stay secret.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hmac::{Hmac, KeyInit as _, Mac as _};
use millrace_harness::{Client, Reply, Stack, StackBuilder};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use sqlx::{Connection as _, PgConnection};

use super::description::{invalid, problem};

const PATIENCE: Duration = Duration::from_secs(60);
pub const PUBLIC: &str = "https://hooks.example.org";
/// Planted where no log may show it.
const SECRET: &str = "planted-secret-of-the-weir";
const PERSON: &str = "planted.person@example.org";

/// A key by which secrets are sealed.
pub const KEYS: &str = "test:dGhpcnR5LXR3byByYW5kb20gYnl0ZXMgb2Yga2V5ISE=";

pub fn builder() -> StackBuilder {
    Stack::builder()
        .env("MILLRACE_ENCRYPTION_KEYS", KEYS)
        .env("MILLRACE_PUBLIC_URL", PUBLIC)
        .worker_env("MILLRACE_QUEUES", "crm=4,probe=4")
}

fn signature(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length will do");
    mac.update(body.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes a source whose deliveries are signed as GitHub does, and gives its path.
async fn source(client: &Client, kind: &str) -> Result<(String, String)> {
    let body = json!({ "name": "Weir", "scheme": { "type": "github" }, "kind": kind, "secret": SECRET });
    let made = client.post("/v1/webhook-sources", &body).await?.expect(201)?;
    ensure!(made["secret"].is_null(), "one that was given is not shown: {made}");
    let id = made["id"].as_str().context("no id")?.to_owned();
    let url = made["url"].as_str().context("no url")?;
    let path = url.strip_prefix(PUBLIC).context("the URL is not public")?.to_owned();
    Ok((id, path))
}

async fn deliver(stack: &Stack, path: &str, body: &str, signature: Option<&str>) -> Result<Reply> {
    let sender = Client::anonymous(stack.client().base())?;
    let mut request =
        sender.request(Method::POST, path).body(body.to_owned()).header("content-type", "application/json");
    if let Some(signature) = signature {
        request = request.header("x-hub-signature-256", format!("sha256={signature}"));
    }
    sender.send(request).await
}

pub async fn jobs_of(client: &Client, kind: &str) -> Result<Vec<Value>> {
    let page = client.get(&format!("/v1/jobs?kind={kind}&limit=200")).await?.expect(200)?;
    Ok(page["items"].as_array().context("no items")?.clone())
}

pub async fn only_job_of(client: &Client, kind: &str) -> Result<Value> {
    let jobs = jobs_of(client, kind).await?;
    ensure!(jobs.len() == 1, "{jobs:?}");
    client.wait_job(jobs[0]["id"].as_str().context("no id")?, PATIENCE).await
}

#[tokio::test]
async fn a_verified_delivery_becomes_a_job_once() -> Result<()> {
    let stack = builder().start().await?;
    let client = stack.client();
    let (_, path) = source(client, "probe").await?;
    let body = json!({ "sleep_ms": 5 }).to_string();
    let signed = signature(SECRET, &body);
    let mut deliveries = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (sender, path, body, signed) =
            (Client::anonymous(client.base())?, path.clone(), body.clone(), signed.clone());
        deliveries.spawn(async move {
            let request = sender.request(Method::POST, &path).body(body);
            sender
                .send(request.header("x-hub-signature-256", format!("sha256={signed}")))
                .await
                .map(|reply| reply.status)
        });
    }
    while let Some(status) = deliveries.join_next().await {
        assert_eq!(status??, 200);
    }
    let delivered = only_job_of(client, "webhook.deliver").await?;
    assert_eq!(delivered["state"], "succeeded", "{delivered}");
    let made = delivered["result"]["job_id"].as_str().context("no job was made")?;
    let made = client.wait_job(made, PATIENCE).await?;
    assert_eq!((&made["kind"], &made["state"]), (&json!("probe"), &json!("succeeded")));
    assert_eq!(deliver(&stack, &path, &body, Some(&signed)).await?.status, 200);
    only_job_of(client, "webhook.deliver").await?;
    // What was said is forgotten, that it was said is not.
    let mut database = PgConnection::connect(stack.database_url()).await?;
    let kept: Vec<Option<Vec<u8>>> =
        sqlx::query_scalar("SELECT body FROM webhook_events").fetch_all(&mut database).await?;
    assert_eq!(kept, [None]);
    stack.drain().await
}

#[tokio::test]
async fn whatever_is_wrong_is_refused_alike() -> Result<()> {
    let stack = builder().start().await?;
    let (id, path) = source(stack.client(), "probe").await?;
    let body = json!({ "note": PERSON }).to_string();
    let signed = signature(SECRET, &body);
    let other = signature("another secret", &body);
    let unknown = format!("/v1/webhooks/{}", uuid::Uuid::now_v7());
    let mut answers = Vec::new();
    for (path, body, signed) in [
        (path.as_str(), body.as_str(), Some(other.as_str())),
        (&path, &body, None),
        (&path, &format!("{body} "), Some(&signed)),
        (&path, &body, Some("")),
        (&unknown, &body, Some(&signed)),
        ("/v1/webhooks/no-id", &body, Some(&signed)),
        ("/v1/webhooks/%ff", &body, Some(&signed)),
        (&format!("{path}/%ff"), &body, Some(&signed)),
        (&format!("{path}/a-secret"), &body, Some(&other)),
    ] {
        let reply = deliver(&stack, path, body, signed).await?;
        problem(&reply, 401, "unauthenticated");
        let mut answer = reply.json()?;
        answer.as_object_mut().context("no object")?.remove("request_id");
        answers.push(answer);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    assert!(jobs_of(stack.client(), "webhook.deliver").await?.is_empty());
    let metrics = Client::anonymous(stack.client().base())?.get("/metrics").await?.text();
    for (source, outcome, count) in
        [(id.as_str(), "wrong_signature", 4), (&id, "missing_header", 1), ("unknown", "unknown_source", 4)]
    {
        let line = metrics.lines().find(|line| {
            line.starts_with("millrace_webhooks_total") && line.contains(source) && line.contains(outcome)
        });
        assert!(line.is_some_and(|line| line.ends_with(&format!(" {count}"))), "{source} {outcome}: {line:?}");
    }
    stack.drain().await
}

#[tokio::test]
async fn a_delivery_that_crosses_the_deletion_of_its_source_is_refused() -> Result<()> {
    let stack = builder().workers(0).start().await?;
    let (_, path) = source(stack.client(), "probe").await?;
    let signed = signature(SECRET, "{}");
    let mut database = PgConnection::connect(stack.database_url()).await?;
    let mut deletion = database.begin().await?;
    sqlx::query("DELETE FROM webhook_sources").execute(&mut *deletion).await?;
    let crossed = async {
        let mut other = PgConnection::connect(stack.database_url()).await?;
        let waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)";
        while !sqlx::query_scalar::<_, bool>(waits).fetch_one(&mut other).await? {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(deletion.commit().await?)
    };
    let (reply, crossed) = tokio::join!(deliver(&stack, &path, "{}", Some(&signed)), crossed);
    crossed?;
    problem(&reply?, 401, "unauthenticated");
    assert!(jobs_of(stack.client(), "webhook.deliver").await?.is_empty());
    stack.drain().await
}

#[tokio::test]
async fn a_replaced_secret_goes_on_as_long_as_was_said() -> Result<()> {
    let stack = builder().start().await?;
    let client = stack.client();
    let (id, path) = source(client, "probe").await?;
    let status = async |secret: &str, body: &str| -> Result<u16> {
        Ok(deliver(&stack, &path, body, Some(&signature(secret, body))).await?.status)
    };
    let rotate = async |body: Value| client.post(&format!("/v1/webhook-sources/{id}/rotate"), &body).await?.expect(200);
    assert_eq!(status(SECRET, r#"{"sleep_ms":0}"#).await?, 200);
    let rotated = rotate(json!({})).await?;
    let second = rotated["secret"].as_str().context("one that was made is shown")?.to_owned();
    assert_eq!(rotated["secrets"].as_array().map(Vec::len), Some(2), "{rotated}");
    assert_eq!(status(SECRET, r#"{"sleep_ms":1}"#).await?, 200);
    assert_eq!(status(&second, r#"{"sleep_ms":2}"#).await?, 200);
    rotate(json!({ "secret": "the third secret", "overlap_seconds": 0 })).await?;
    assert_eq!(status(SECRET, r#"{"sleep_ms":3}"#).await?, 401);
    assert_eq!(status(&second, r#"{"sleep_ms":4}"#).await?, 401);
    assert_eq!(status("the third secret", r#"{"sleep_ms":5}"#).await?, 200);
    let shown = client.get(&format!("/v1/webhook-sources/{id}")).await?;
    assert_eq!(shown.expect(200)?["secrets"].as_array().map(Vec::len), Some(1));
    assert!(!shown.text().contains("third secret") && !shown.text().contains(&second));
    assert_eq!(client.delete(&format!("/v1/webhook-sources/{id}")).await?.status, 204);
    assert_eq!(status("the third secret", r#"{"sleep_ms":6}"#).await?, 401);
    stack.drain().await
}

#[tokio::test]
async fn what_does_not_fit_is_a_dead_letter_that_can_be_replayed() -> Result<()> {
    let stack = builder().start().await?;
    let client = stack.client();
    let (_, path) = source(client, "probe").await?;
    for (body, class) in
        [("no json, but planted words", "webhook_not_json"), (r#"{"sleep_ms":"x"}"#, "webhook_payload")]
    {
        let before = jobs_of(client, "webhook.deliver").await?.len();
        assert_eq!(deliver(&stack, &path, body, Some(&signature(SECRET, body))).await?.status, 200);
        let jobs = jobs_of(client, "webhook.deliver").await?;
        assert_eq!(jobs.len(), before + 1);
        let id = jobs[0]["id"].as_str().context("no id")?;
        let job = client.wait_job(id, PATIENCE).await?;
        assert_eq!((&job["state"], &job["error"]["class"]), (&json!("dead"), &json!(class)), "{job}");
        assert!(!job.to_string().contains("planted words"), "{job}");
        let operator = stack.client_with_role("operator").await?;
        operator.post_empty(&format!("/v1/dead-letters/{id}/replay")).await?.expect(202)?;
        let again = client.wait_job(id, PATIENCE).await?;
        assert_eq!(again["error"]["class"], class, "what was delivered is there for a replay: {again}");
    }
    stack.drain().await
}

#[tokio::test]
async fn a_source_belongs_to_its_organisation_and_its_secret_to_nobody() -> Result<()> {
    let stack = builder().start().await?;
    let (ours, theirs) = (stack.client(), stack.client_of_other_org().await?);
    let (id, path) = source(ours, "probe").await?;
    let at = format!("/v1/webhook-sources/{id}");
    for reply in [
        theirs.get(&at).await?,
        theirs.delete(&at).await?,
        theirs.post(&format!("{at}/rotate"), &json!({})).await?,
        theirs.post(&format!("{at}/test"), &json!({ "headers": {}, "body": "" })).await?,
    ] {
        problem(&reply, 404, "not_found");
    }
    assert_eq!(theirs.get("/v1/webhook-sources").await?.expect(200)?["items"], json!([]));
    let listed = ours.get("/v1/webhook-sources").await?;
    assert_eq!(listed.expect(200)?["items"][0]["id"], json!(id));
    let body = json!({ "note": PERSON }).to_string();
    deliver(&stack, &path, &body, Some(&signature(SECRET, &body))).await?;
    deliver(&stack, &path, &body, Some(&signature("wrong-planted-secret", &body))).await?;
    only_job_of(ours, "webhook.deliver").await?;
    let mut database = PgConnection::connect(stack.database_url()).await?;
    let sealed: Vec<u8> = sqlx::query_scalar("SELECT sealed FROM webhook_secrets").fetch_one(&mut database).await?;
    assert!(!sealed.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()));
    let dir = stack.dir().to_owned();
    stack.drain().await?;
    let mut logs = 0;
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let log = std::fs::read_to_string(&path)?;
            assert!(!log.contains("planted"), "{}", path.display());
            logs += 1;
        }
    }
    assert!(logs >= 2, "the logs of API and worker were read");
    Ok(())
}

#[tokio::test]
async fn a_test_says_what_would_be_answered_and_why() -> Result<()> {
    let stack = builder().start().await?;
    let client = stack.client();
    let body = json!({ "name": "Shop", "scheme": { "type": "stripe" }, "kind": "probe", "secret": SECRET });
    let made = client.post("/v1/webhook-sources", &body).await?.expect(201)?;
    let at = format!("/v1/webhook-sources/{}/test", made["id"].as_str().context("no id")?);
    let signed = signature(SECRET, "1700000000.{}");
    let test = async |header: String, time: &str| {
        client
            .post(&at, &json!({ "headers": { "Stripe-Signature": header }, "body": "{}", "at": time }))
            .await?
            .expect(200)
    };
    let near = "2023-11-14T22:15:00Z";
    let verdict = test(format!("t=1700000000,v1={signed}"), near).await?;
    assert_eq!((&verdict["accepted"], &verdict["code"]), (&json!(true), &Value::Null));
    for (header, time, code) in [
        (format!("t=1700000000,v1={signed}"), "2023-11-14T23:15:00Z", "too_old"),
        (format!("t=1700000000,v1={signed}"), "2023-11-14T21:15:00Z", "too_new"),
        (format!("t=1700000001,v1={signed}"), near, "wrong_signature"),
        (signed.clone(), near, "malformed_header"),
    ] {
        let verdict = test(header, time).await?;
        assert_eq!((&verdict["accepted"], &verdict["code"]), (&json!(false), &json!(code)), "{verdict}");
        assert!(verdict["detail"].as_str().is_some_and(|detail| detail.len() > 20), "{verdict}");
    }
    assert!(jobs_of(client, "webhook.deliver").await?.is_empty(), "nothing is taken in");
    stack.drain().await
}

#[tokio::test]
async fn a_source_that_cannot_work_is_refused_by_its_field() -> Result<()> {
    let stack = builder().start().await?;
    let client = stack.client();
    let with = |changes: Value| {
        let mut body = json!({ "name": "Weir", "scheme": { "type": "github" }, "kind": "probe", "secret": SECRET });
        body.as_object_mut().into_iter().for_each(|body| body.extend(changes.as_object().cloned().unwrap_or_default()));
        body
    };
    for (changes, field) in [
        (json!({ "name": "" }), "name"),
        (json!({ "kind": "no.such" }), "kind"),
        (json!({ "kind": "webhook.deliver" }), "kind"),
        (json!({ "secret": "short" }), "secret"),
        (json!({ "tolerance_seconds": 0 }), "tolerance_seconds"),
        (json!({ "scheme": { "type": "basic" } }), "secret"),
        (
            json!({ "scheme": { "type": "hmac", "header": "a b", "encoding": "hex", "algorithm": "hmac_sha256" } }),
            "scheme.header",
        ),
    ] {
        invalid(&client.post("/v1/webhook-sources", &with(changes)).await?, field);
    }
    let large = "x".repeat((1 << 20) + 1);
    let (_, path) = source(client, "probe").await?;
    problem(&deliver(&stack, &path, &large, Some(&signature(SECRET, &large))).await?, 413, "too_large");
    stack.drain().await?;

    let bare = Stack::builder().start().await?;
    let reply = bare.client().post("/v1/webhook-sources", &with(json!({}))).await?;
    problem(&reply, 409, "not_configured");
    bare.drain().await
}

#[tokio::test]
async fn senders_that_sign_nothing_prove_a_secret() -> Result<()> {
    let stack = builder().start().await?;
    let client = stack.client();
    let make = async |kind: &str| {
        client
            .post("/v1/webhook-sources", &json!({ "name": kind, "scheme": { "type": kind }, "kind": "probe" }))
            .await?
            .expect(201)
    };
    let status = async |path: String, authorization: Option<String>| -> Result<u16> {
        let sender = Client::anonymous(client.base())?;
        let mut request = sender.request(Method::POST, &path).body("{}");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        Ok(sender.send(request).await?.status)
    };
    let path_of = |made: &Value| made["url"].as_str().unwrap_or_default().trim_start_matches(PUBLIC).to_owned();
    let made = make("secret_url").await?;
    let (path, secret) = (path_of(&made), made["secret"].as_str().context("no secret")?);
    assert_eq!(status(format!("{path}/{secret}"), None).await?, 200);
    assert_eq!(status(path.clone(), None).await?, 401);
    assert_eq!(status(format!("{path}/{secret}x"), None).await?, 401);

    let made = make("basic").await?;
    let (path, secret) = (path_of(&made), made["secret"].as_str().context("no secret")?);
    let basic = |text: &str| {
        use base64::Engine as _;
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text))
    };
    assert_eq!(status(path.clone(), Some(basic(secret))).await?, 200);
    assert_eq!(status(path.clone(), Some(basic("millrace:guess"))).await?, 401);
    assert_eq!(status(path, None).await?, 401);
    stack.drain().await
}
