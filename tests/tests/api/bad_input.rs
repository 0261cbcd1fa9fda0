//! Nothing that a client sends gives a 500, and every refusal says what to change.

use anyhow::{Context as _, Result};
use millrace_harness::{Client, Reply, Stack};
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::description::{Operation, invalid, operations, problem};
use super::webhooks::KEYS;

/// A body that each route takes: what is changed in it is the one thing wrong. A new route with a body needs a row here.
fn good_body(operation: &str) -> Option<Value> {
    Some(match operation {
        "uploadAsset" => json!({ "url": "https://example.org/report.pdf", "name": "Report" }),
        "submitJob" => json!({ "kind": "probe", "delay_ms": 3_600_000 }),
        "submitJobs" => json!({ "jobs": [{ "kind": "probe", "delay_ms": 3_600_000 }] }),
        "limitQueue" => json!({ "concurrency": 1000 }),
        "limitOrganisation" => json!({ "queue": "probe", "weight": 2, "concurrency": 1000 }),
        "createWebhookSource" => {
            json!({ "name": "Weir", "scheme": { "type": "github" }, "kind": "probe", "secret": "long enough" })
        }
        "createConnection" => {
            let auth = json!({ "type": "token", "token": "long enough" });
            json!({ "name": "Weir", "provider": "pipedrive", "account": "weir", "objects": ["deals"], "conflict_policy": "manual", "auth": auth })
        }
        "changeConnection" => json!({ "conflict_policy": "manual" }),
        "replaceCredentials" => json!({ "auth": { "type": "token", "token": "long enough" } }),
        "syncConnection" => json!({ "mode": "full" }),
        "changeRecord" => json!({ "fields": { "name": "Weir" } }),
        "resolveConflict" => json!({ "take": "crm" }),
        "createSchedule" => json!({ "name": "Weir", "kind": "probe", "payload": {}, "every": "15m" }),
        "changeSchedule" => json!({ "paused": true }),
        "rotateWebhookSecret" => json!({ "secret": "long enough", "overlap_seconds": 60 }),
        "testWebhookSource" => json!({ "headers": { "a": "b" }, "body": "", "path": "", "at": "2026-01-31T08:00:00Z" }),
        "replayDeadLetter" => json!({}),
        "replayDeadLetters" | "discardDeadLetters" => json!({ "filter": {}, "dry_run": true }),
        _ => return None,
    })
}

fn fill(path: &str) -> String {
    let nobody = uuid::Uuid::now_v7().to_string();
    path.replace("{id}", &nobody).replace("{job_id}", &nobody).replace("{queue}", "probe")
}

async fn send(client: &Client, operation: &Operation, content_type: Option<&str>, body: Vec<u8>) -> Result<Reply> {
    let mut request = client.request(operation.method.clone(), &fill(&operation.path)).body(body);
    if let Some(content_type) = content_type {
        request = request.header(CONTENT_TYPE, content_type);
    }
    client.send(request).await
}

async fn send_json(client: &Client, operation: &Operation, body: &Value) -> Result<Reply> {
    send(client, operation, Some("application/json"), body.to_string().into_bytes()).await
}

/// An answer to nonsense: a refusal in our own shape, or, where the nonsense means something after all, a success.
fn assert_sane(reply: &Reply, what: &str) {
    assert!(reply.status < 500, "{what}: {} {}", reply.status, reply.text());
    if reply.status >= 400 {
        assert_eq!(reply.content_type(), Some("application/problem+json"), "{what}: {} {}", reply.status, reply.text());
    }
}

#[tokio::test]
async fn every_body_is_checked() -> Result<()> {
    let stack = Stack::builder().workers(0).env("MILLRACE_ENCRYPTION_KEYS", KEYS).start().await?;
    let client = stack.client();
    let bodies =
        operations(client).await?.into_iter().filter(|operation| operation.body.as_deref() == Some("application/json"));
    for operation in bodies {
        let good =
            good_body(&operation.id).with_context(|| format!("{} has no row in this test's table", operation.id))?;
        let reply = send_json(client, &operation, &good).await?;
        assert!(reply.status < 300 || reply.status == 404, "{}: {}", operation.id, reply.text());

        for content_type in [
            None,
            Some("text/plain"),
            Some("application/x-www-form-urlencoded"),
            Some("json"),
            Some("multipart/form-data"),
        ] {
            if content_type.is_some_and(|content_type| operation.bodies.iter().any(|body| body == content_type)) {
                continue;
            }
            let reply = send(client, &operation, content_type, good.to_string().into()).await?;
            problem(&reply, 415, "unsupported_media_type");
        }
        for charset in ["application/json; charset=utf-8", "APPLICATION/JSON", "application/merge-patch+json"] {
            let reply = send(client, &operation, Some(charset), good.to_string().into()).await?;
            assert_ne!(reply.status, 415, "{charset}");
        }
        for malformed in [
            "{",
            "{} x",
            "nonsense",
            "{'kind':1}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":1e999}",
            "\u{feff}{}",
            "{\"a\":\"\u{1}\"}",
        ] {
            let reply = send(client, &operation, Some("application/json"), malformed.into()).await?;
            problem(&reply, 400, "malformed_request");
        }
        for invalid_utf8 in [&b"\xff\xfe{}"[..], b"{\"a\":\"\xff\"}"] {
            problem(
                &send(client, &operation, Some("application/json"), invalid_utf8.into()).await?,
                400,
                "malformed_request",
            );
        }
        for wrong in [json!([]), json!("text"), json!(7)] {
            invalid(&send_json(client, &operation, &wrong).await?, "body");
        }
        let mut unknown = good.clone();
        unknown["unknown_field"] = json!(1);
        invalid(&send_json(client, &operation, &unknown).await?, "unknown_field");
        let mut nul = good.clone();
        nul["nul\u{0}"] = json!("a\u{0}b");
        invalid(&send_json(client, &operation, &nul).await?, "nul\\u0000");

        let padding = vec![b' '; 2 << 20];
        let large = [good.to_string().as_bytes(), &padding].concat();
        problem(&send(client, &operation, Some("application/json"), large).await?, 413, "too_large");
    }
    stack.drain().await
}

#[tokio::test]
async fn no_value_of_any_field_gives_a_500() -> Result<()> {
    let stack = Stack::builder().workers(0).env("MILLRACE_ENCRYPTION_KEYS", KEYS).start().await?;
    let client = stack.client();
    let long = "x".repeat(100_000);
    let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1e308),
        json!(-1e-308),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1.5),
        json!(""),
        json!(" "),
        json!("\u{0}"),
        json!("\u{fffe}\u{202e}🦀"),
        json!("'; DROP TABLE jobs; --"),
        json!(long),
        json!("9999-12-31T23:59:59Z"),
        json!("+262142-01-01T00:00:00Z"),
        json!("-262143-01-01T00:00:00Z"),
        json!("0001-01-01T00:00:00Z"),
        json!([]),
        json!([null]),
        json!({}),
        json!({ "a\u{0}": 1 }),
        json!({ "$ref": "#" }),
        deep,
    ];
    for operation in operations(client).await? {
        let Some(good) = good_body(&operation.id) else { continue };
        for field in &operation.fields {
            for value in &values {
                let mut body = good.clone();
                body[field] = value.clone();
                let reply = send_json(client, &operation, &body).await?;
                assert_sane(&reply, &format!("{} {field}={:.80}", operation.id, value.to_string()));
            }
        }
    }
    for path in ["/v1/dead-letters/replay", "/v1/dead-letters/discard"] {
        invalid(&client.post(path, &json!({ "filter": [] })).await?, "filter");
        invalid(&client.post(path, &json!({})).await?, "filter");
    }
    invalid(&client.post("/v1/jobs/batch", &json!({ "jobs": [["probe"]] })).await?, "jobs[0]");
    // The fields below the first level that reach Postgres.
    for value in &values {
        for path in [
            json!({ "kind": "probe", "payload": { "sleep_ms": value } }),
            json!({ "kind": "asset.process", "payload": { "asset_id": value } }),
            json!({ "kind": value, "payload": value }),
        ] {
            assert_sane(&client.post("/v1/jobs", &path).await?, &format!("{:.120}", path.to_string()));
            assert_sane(&client.post("/v1/jobs/batch", &json!({ "jobs": [path] })).await?, "batch");
        }
        for field in ["queue", "kind", "error", "since"] {
            let body = json!({ "filter": { field: value }, "dry_run": true });
            let reply = client.post("/v1/dead-letters/replay", &body).await?;
            assert_sane(&reply, &format!("filter {field}={:.80}", value.to_string()));
        }
    }
    stack.drain().await
}

#[tokio::test]
async fn no_parameter_gives_a_500() -> Result<()> {
    let stack = Stack::builder().workers(0).start().await?;
    let client = stack.client();
    let long = "x".repeat(6000);
    let values = [
        "",
        "%00",
        "%ff",
        "%",
        "%u1234",
        "+",
        "-1",
        "0",
        "1e9",
        "99999999999999999999999",
        "NaN",
        "%F0%9F%A6%80",
        "null",
        "a%00b",
        "9999-12-31T23:59:59Z",
        "%2B262142-01-01T00:00:00Z",
        "-262143-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "AAAA",
        "AAAAAAAAAAAAAAAAAAAAAA",
        "_____________________w",
        "%27%3B%20DROP%20TABLE%20jobs",
        "{}",
        "%5C",
        "30",
        "1000000h",
        &long,
    ];
    for operation in operations(client).await? {
        let path = fill(&operation.path);
        for name in &operation.query {
            for value in values {
                let reply = client.get(&format!("{path}?{name}={value}")).await?;
                if operation.id == "oauthCallback" {
                    // Who comes back from a CRM is a person, and gets a page.
                    assert_eq!((reply.status, reply.content_type()), (400, Some("text/html")));
                    continue;
                }
                assert_sane(&reply, &format!("{} {name}={value:.60}", operation.id));
            }
            let twice = client.get(&format!("{path}?{name}=1&{name}=1")).await?;
            assert!((400..500).contains(&twice.status), "{} {name} twice: {}", operation.id, twice.text());
        }
        // A delivery that cannot be verified is told nothing else.
        if !operation.query.is_empty() && !operation.id.starts_with("deliverWebhook") && operation.id != "oauthCallback"
        {
            invalid(&client.get(&format!("{path}?unknown_parameter=1")).await?, "unknown_parameter");
        }
        for value in ["x", "%00", "%ff", "..", "%2e%2e%2f", "🦀", &long] {
            let mut path = operation.path.clone();
            for name in ["{id}", "{job_id}", "{queue}"] {
                path = path.replace(name, value);
            }
            if path != operation.path && value != ".." {
                let reply = client.send(client.request(operation.method.clone(), &path)).await?;
                assert_sane(&reply, &format!("{} {path:.80}", operation.method));
                assert!(reply.status >= 400, "{} {path:.80} gave {}", operation.method, reply.status);
            }
        }
    }
    for (path, field) in [
        ("/v1/jobs?limit=201", "limit"),
        ("/v1/jobs?cursor=nonsense", "cursor"),
        ("/v1/jobs?state=sleeping", "state"),
        ("/v1/jobs?queue=mail", "queue"),
        ("/v1/jobs?since=yesterday", "since"),
        ("/v1/assets?state=lost", "state"),
        ("/v1/dead-letters?since=0", "since"),
        ("/v1/jobs/not-a-uuid", "id"),
        ("/v1/jobs/0193e4a8-6f4e-7c3a-9d55-0f6a3c1b2d7e?wait=2m", "wait"),
        ("/v1/dead-letters/not-a-uuid", "job_id"),
        ("/v1/assets/not-a-uuid/text", "id"),
        ("/v1/schedules?cursor=nonsense", "cursor"),
        ("/v1/schedules/not-a-uuid", "id"),
    ] {
        invalid(&client.get(path).await?, field);
    }
    stack.drain().await
}

#[tokio::test]
async fn headers_are_checked() -> Result<()> {
    let stack = Stack::builder().workers(0).start().await?;
    let client = stack.client();
    let body = json!({ "kind": "probe", "delay_ms": 3_600_000 });
    let long = "k".repeat(256);
    for key in [&b""[..], b"two words", b"\xe4", long.as_bytes()] {
        let request = client.request(reqwest::Method::POST, "/v1/jobs").header("Idempotency-Key", key).json(&body);
        invalid(&client.send(request).await?, "Idempotency-Key");
    }
    for trace in ["", "nonsense", "00-0-0-00"] {
        let request = client.request(reqwest::Method::POST, "/v1/jobs").header("traceparent", trace).json(&body);
        client.send(request).await?.expect(202)?;
    }
    stack.drain().await
}

#[tokio::test]
async fn a_submission_names_every_field_that_is_wrong() -> Result<()> {
    let stack = Stack::builder().workers(0).start().await?;
    let client = stack.client();
    for (body, field) in [
        (json!({}), "kind"),
        (json!({ "kind": "nothing" }), "kind"),
        (json!({ "kind": "probe", "payload": { "sleep_ms": -1 } }), "payload.sleep_ms"),
        (json!({ "kind": "probe", "payload": { "colour": 1 } }), "payload.colour"),
        (json!({ "kind": "probe", "payload": [] }), "payload"),
        (json!({ "kind": "probe", "payload": { "colour": "a\u{0}" } }), "payload.colour"),
        (json!({ "kind": "probe", "priority": "urgent" }), "priority"),
        (json!({ "kind": "probe", "run_at": "tomorrow" }), "run_at"),
        (json!({ "kind": "probe", "run_at": "9999-01-01T00:00:00Z" }), "run_at"),
        (json!({ "kind": "probe", "run_at": "2030-01-01T00:00:00Z", "delay_ms": 1 }), "delay_ms"),
        (json!({ "kind": "probe", "delay_ms": u64::MAX }), "delay_ms"),
        (json!({ "kind": "probe", "max_attempts": 0 }), "max_attempts"),
        (json!({ "kind": "probe", "max_attempts": 101 }), "max_attempts"),
        (json!({ "kind": "probe", "timeout_ms": 0 }), "timeout_ms"),
        (json!({ "kind": "probe", "unique_key": "" }), "unique_key"),
        (json!({ "kind": "asset.process" }), "payload.asset_id"),
        (json!({ "kind": "asset.process", "payload": { "asset_id": "x" } }), "payload"),
        (json!({ "kind": "asset.process", "payload": { "asset_id": uuid::Uuid::now_v7() } }), "payload.asset_id"),
    ] {
        invalid(&client.post("/v1/jobs", &body).await?, field);
    }
    let none = client.get("/v1/jobs").await?.expect(200)?;
    assert_eq!(none["items"], json!([]), "nothing was taken in");
    stack.drain().await
}
