//! Who may do what.

use anyhow::{Context as _, Result};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use millrace_harness::Stack;
use serde_json::{Value, json};

use super::description::{operations, problem};

fn in_seconds(seconds: i64) -> Result<i64> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    Ok(i64::try_from(now)? + seconds)
}

fn token(stack: &Stack, claims: &Value) -> Result<String> {
    Ok(encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(stack.jwt_secret().as_bytes()))?)
}

fn claims(org: &str, role: &str) -> Result<Value> {
    Ok(json!({ "sub": "importer", "org": org, "role": role, "exp": in_seconds(600)? }))
}

#[tokio::test]
async fn tokens_are_accepted_for_what_they_claim_and_refused_for_anything_wrong() -> Result<()> {
    let stack = Stack::builder().workers(0).start().await?;
    let client = stack.client();
    let good = claims(stack.org(), "submitter")?;
    let job = client.with_key(&token(&stack, &good)?).submit("probe", &json!({})).await?;
    let path = format!("/v1/jobs/{}", job["id"].as_str().context("no id")?);
    client.get(&path).await?.expect(200)?;

    let mut wrong = Vec::new();
    for (name, value) in [
        ("exp", json!(in_seconds(-60)?)),
        ("exp", Value::Null),
        ("nbf", json!(in_seconds(600)?)),
        ("org", json!(uuid::Uuid::now_v7())),
        ("org", json!("*")),
        ("role", json!("root")),
        ("sub", json!("")),
    ] {
        let mut claims = good.clone();
        claims[name] = value;
        wrong.push(token(&stack, &claims)?);
    }
    for name in ["exp", "org", "role", "sub"] {
        let mut claims = good.clone();
        claims.as_object_mut().context("no object")?.remove(name);
        wrong.push(token(&stack, &claims)?);
    }
    wrong.push(encode(&Header::new(Algorithm::HS256), &good, &EncodingKey::from_secret(&[7; 32]))?);
    wrong.push(encode(
        &Header::new(Algorithm::HS512),
        &good,
        &EncodingKey::from_secret(stack.jwt_secret().as_bytes()),
    )?);
    // {"alg":"none","typ":"JWT"}
    let unsigned = token(&stack, &good)?;
    let payload = unsigned.split('.').nth(1).context("no payload")?;
    wrong.push(format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{payload}."));
    for credential in wrong {
        problem(&client.with_key(&credential).get(&path).await?, 401, "unauthenticated");
    }
    stack.drain().await
}

/// What a submitter may not do. Every other closed route is theirs.
const OPERATORS: &[&str] = &[
    "replayDeadLetter",
    "discardDeadLetter",
    "replayDeadLetters",
    "discardDeadLetters",
    "listQueues",
    "pauseQueue",
    "resumeQueue",
    "limitQueue",
    "getOrganisationLimits",
    "limitOrganisation",
    "resolveConflict",
];

#[tokio::test]
async fn each_role_may_do_what_the_table_says() -> Result<()> {
    let stack = Stack::builder().workers(0).start().await?;
    let submitter = stack.client_with_role("submitter").await?;
    let operator = stack.client_with_role("operator").await?;
    let admin = stack.client();
    for operation in operations(admin).await?.into_iter().filter(|operation| operation.tag != "System") {
        // What is delivered proves itself, and by no role.
        if operation.id.starts_with("deliverWebhook") {
            continue;
        }
        let nobody = uuid::Uuid::now_v7().to_string();
        let path = operation.path.replace("{id}", &nobody).replace("{job_id}", &nobody).replace("{queue}", "probe");
        for (client, allowed) in
            [(&submitter, !OPERATORS.contains(&operation.id.as_str())), (&operator, true), (admin, true)]
        {
            let reply = client.send(client.request(operation.method.clone(), &path)).await?;
            assert_ne!(reply.status, 401, "{}", operation.id);
            if allowed {
                assert_ne!(reply.status, 403, "{}: {}", operation.id, reply.text());
            } else {
                let body = problem(&reply, 403, "forbidden");
                assert!(body["detail"].as_str().is_some_and(|text| text.contains("operator")), "{body}");
            }
        }
        problem(&admin.with_key("mr_nonsense").get("/v1/jobs").await?, 401, "unauthenticated");
    }
    stack.drain().await
}

#[tokio::test]
async fn a_revoked_key_is_refused_at_once() -> Result<()> {
    let stack = Stack::builder().workers(0).start().await?;
    let said = stack.cli_stdout(&["keys", "create", "--org", stack.org(), "--role", "submitter", "--json"]).await?;
    let created: Value = serde_json::from_str(&said)?;
    let client = stack.client().with_key(created["key"].as_str().context("no key")?);
    client.get("/v1/jobs").await?.expect(200)?;
    stack.cli_stdout(&["keys", "revoke", created["id"].as_str().context("no id")?]).await?;
    problem(&client.get("/v1/jobs").await?, 401, "unauthenticated");
    stack.drain().await
}

#[tokio::test]
async fn requests_that_arrive_together_are_each_answered_for_their_own_key() -> Result<()> {
    let stack = Stack::builder().workers(0).start().await?;
    let mut callers = vec![(stack.client().with_key(&format!("mr_{}", "A".repeat(43))), None)];
    for _ in 0..4 {
        let said = stack.cli_stdout(&["keys", "create", "--org", "new", "--role", "submitter", "--json"]).await?;
        let created: Value = serde_json::from_str(&said)?;
        let client = stack.client().with_key(created["key"].as_str().context("no key")?);
        let job = client.submit("probe", &json!({})).await?;
        callers.push((client, Some(job["id"].clone())));
    }
    let all = callers.iter().cycle().take(200).map(|(client, own)| async move {
        let reply = client.get("/v1/jobs").await?;
        match own {
            Some(own) => {
                let items = reply.expect(200)?["items"].clone();
                assert_eq!(items.as_array().map(Vec::len), Some(1), "{items}");
                assert_eq!(&items[0]["id"], own);
            }
            None => drop(problem(&reply, 401, "unauthenticated")),
        }
        anyhow::Ok(())
    });
    futures_util::future::try_join_all(all).await?;
    stack.drain().await
}
