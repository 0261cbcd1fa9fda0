//! What logs must not hold: payloads, documents, names, keys, tokens, passwords.

use std::{
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use millrace_harness::{PostgresOptions, Signal, Stack, Until};
use millrace_tests::{Line, PATIENCE, audit, effect_probe, short_lease, submit, until};
use serde_json::{Value, json};

/// A word that stands nowhere else.
fn plant(what: &str) -> Result<String> {
    Ok(format!("planted{what}{}", millrace_harness::random_hex(6)?))
}

fn password_of(url: &str) -> Result<String> {
    let (credentials, _) = url.split_once('@').context("a URL without credentials")?;
    Ok(credentials.rsplit(':').next().context("no password")?.to_owned())
}

#[tokio::test]
async fn logs_hold_no_payload_no_document_no_credential_and_no_password() -> Result<()> {
    let builder = short_lease(Stack::builder()).env("MILLRACE_LOG", "debug").own_postgres(PostgresOptions::default());
    let mut line = Line::start(builder).await?;
    let [text, name, unique, wrong, subject, idempotency] =
        ["text", "name", "unique", "wrong", "subject", "idempotency"].map(plant);
    let (text, name, unique, wrong, subject, idempotency) = (text?, name?, unique?, wrong?, subject?, idempotency?);

    // Documents that are read, that cannot be read, and that are not taken.
    let client = line.client();
    for (label, content) in [
        ("txt", format!("A note about {text}.").into_bytes()),
        ("pdf", [b"%PDF-1.7\n".as_slice(), text.as_bytes(), b"\ntrailer<<"].concat()),
        ("docx", [b"PK\x03\x04 word/document.xml ".as_slice(), text.as_bytes()].concat()),
    ] {
        let uploaded = client.upload(&format!("{name}.{label}"), content).await?;
        ensure!(uploaded.status < 500, "{}", uploaded.text());
        if let Some(job) = uploaded.json()?["job"]["id"].as_str() {
            line.wait_end(job).await?;
        }
    }
    // Jobs: keys of the client's choosing, payloads that miss their schema, attempts that fail in each way.
    let body = json!({ "kind": "probe", "payload": { "sleep_ms": 1 }, "unique_key": unique });
    let keyed = client.request(reqwest::Method::POST, "/v1/jobs").header("idempotency-key", &idempotency).json(&body);
    client.send(keyed).await?.expect(202)?;
    for payload in [json!({ "outcome": wrong }), json!({ (wrong.as_str()): 1 }), json!(wrong)] {
        client.post("/v1/jobs", &json!({ "kind": "probe", "payload": payload })).await?.expect(422)?;
    }
    client.post("/v1/jobs", &json!({ "kind": wrong })).await?.expect(422)?;
    let misread = client.request(reqwest::Method::POST, "/v1/jobs").header("content-type", "application/json");
    assert_eq!(client.send(misread.body(format!("{{\"kind\": {wrong}"))).await?.status, 400);
    for outcome in ["fail", "panic", "retry"] {
        let body =
            json!({ "kind": "probe", "payload": { "outcome": outcome }, "max_attempts": 1, "unique_key": unique });
        let id = submit(client, &body).await?;
        line.wait_end(&id).await?;
    }
    // Credentials, good and bad.
    let token = |secret: &str| -> Result<String> {
        let expiry = SystemTime::now().duration_since(UNIX_EPOCH)? + Duration::from_secs(600);
        let claims: Value =
            json!({ "sub": subject, "org": line.stack.org(), "role": "operator", "exp": expiry.as_secs() });
        Ok(encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(secret.as_bytes()))?)
    };
    let (good, forged) = (token(line.stack.jwt_secret())?, token(&plant("forged")?)?);
    assert_eq!(client.with_key(&good).get("/v1/queues").await?.status, 200);
    assert_eq!(client.with_key(&forged).get("/v1/queues").await?.status, 401);
    let wrong_key = format!("mr_{}", plant("key")?);
    assert_eq!(client.with_key(&wrong_key).get("/v1/queues").await?.status, 401);

    // And everything that makes processes complain.
    let lost = submit(line.client(), &effect_probe(2_000)).await?;
    line.wait_state(&lost, "running").await?;
    line.stack.workers[0].kill().await?;
    line.stack.workers[0].start_again(Until::Ready).await?;
    line.wait_end(&lost).await?;
    line.stack.redis.stop().await?;
    let accepted = submit(line.client(), &effect_probe(0)).await?;
    line.stack.redis.start_again().await?;
    line.stack.postgres.stop().await?;
    assert_eq!(line.client().post("/v1/jobs", &body).await?.status, 503);
    let log = || line.stack.workers[0].process().log_tail(2_000);
    until("the worker complains", PATIENCE, async || Ok(log().contains("not claiming"))).await?;
    line.stack.postgres.start_again().await?;
    audit(&line, &[lost, accepted], PATIENCE).await?;
    line.stack.api.process().signal(Signal::TERM)?;
    line.stack.drain().await?;

    let key = line.client().key().context("a key")?.to_owned();
    let secrets = [
        ("a document's text", text),
        ("a document's name", name),
        ("a unique key", unique),
        ("a refused payload", wrong),
        ("a token's subject", subject),
        ("an idempotency key", idempotency),
        ("an API key", key),
        ("a wrong API key", wrong_key),
        ("a token", good),
        ("a forged token", forged),
        ("the JWT secret", line.stack.jwt_secret().to_owned()),
        ("the password of Postgres", password_of(line.stack.database_url())?),
        ("the password of Redis", password_of(line.stack.redis.url())?),
    ];
    let mut read = 0;
    for service in std::iter::once(&line.stack.api).chain(&line.stack.workers) {
        let path = service.process().log();
        let log = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        for (number, logged) in log.lines().enumerate() {
            read += 1;
            for (what, secret) in &secrets {
                ensure!(
                    !logged.contains(secret.as_str()),
                    "{what} is in line {number} of {}: {logged}",
                    path.display()
                );
            }
        }
    }
    ensure!(read > 50, "the logs hold only {read} lines");
    Ok(())
}
