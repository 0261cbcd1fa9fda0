//! What docs/webhooks.md says of sources and deliveries, where no other test does.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use millrace_harness::{Client, Stack};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use sqlx::{Connection as _, PgConnection};

use super::description::{invalid, problem};
use super::webhooks::{KEYS, PUBLIC, builder};

const SECRET: &str = "a secret of the sluice";

fn mac(message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length will do");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

async fn source(client: &Client, body: Value) -> Result<Value> {
    let mut whole = json!({ "name": "Weir", "kind": "probe", "secret": SECRET });
    whole.as_object_mut().into_iter().for_each(|whole| whole.extend(body.as_object().cloned().unwrap_or_default()));
    client.post("/v1/webhook-sources", &whole).await?.expect(201)
}

fn path_of(made: &Value) -> Result<String> {
    Ok(format!("/v1/webhooks/{}", made["id"].as_str().context("no id")?))
}

#[tokio::test]
async fn a_url_is_verified_by_the_configured_address_whatever_the_headers_say() -> Result<()> {
    let stack = builder().workers(0).start().await?;
    let made = source(stack.client(), json!({ "scheme": { "type": "hubspot_v3" } })).await?;
    let path = format!("{}?from=hubspot", path_of(&made)?);
    assert_eq!(made["url"], format!("{PUBLIC}{}", path_of(&made)?));
    let sender = Client::anonymous(stack.client().base())?;
    let near = format!("{}{path}", stack.client().base());
    for (signed, expected) in [
        (format!("{PUBLIC}{path}"), 200),
        (near, 401),
        (format!("https://evil.example{path}"), 401),
        (format!("{PUBLIC}{}", path_of(&made)?), 401),
        (path.clone(), 401),
    ] {
        let time = Utc::now().timestamp_millis().to_string();
        let signature = mac(format!("POST{signed}[]{time}").as_bytes());
        let request = sender
            .request(Method::POST, &path)
            .header("host", "evil.example")
            .header("x-forwarded-host", "evil.example")
            .header("x-forwarded-proto", "https")
            .header("x-hubspot-request-timestamp", &time)
            .header("x-hubspot-signature-v3", base64::engine::general_purpose::STANDARD.encode(signature))
            .body("[]");
        assert_eq!(sender.send(request).await?.status, expected, "{signed}");
    }
    stack.drain().await?;

    // Where that address is not known, nothing that signs it can be verified, and everything else can.
    let stack = Stack::builder().workers(0).env("MILLRACE_ENCRYPTION_KEYS", KEYS).start().await?;
    for scheme in ["hubspot_v2", "hubspot_v3"] {
        let body = json!({ "name": "Weir", "kind": "probe", "scheme": { "type": scheme } });
        problem(&stack.client().post("/v1/webhook-sources", &body).await?, 409, "not_configured");
    }
    let made = source(stack.client(), json!({ "scheme": { "type": "github" } })).await?;
    assert_eq!(made["url"], path_of(&made)?);
    stack.drain().await
}

#[tokio::test]
async fn each_source_tolerates_what_was_set_and_otherwise_five_minutes() -> Result<()> {
    let stack = builder().workers(0).start().await?;
    let signed = DateTime::from_timestamp(1_700_000_000, 0).context("a time")?;
    let hex: String = mac(b"1700000000.{}").iter().map(|byte| format!("{byte:02x}")).collect();
    for (settings, tolerated) in
        [(json!({}), 300), (json!({ "tolerance_seconds": 10 }), 10), (json!({ "tolerance_seconds": 86_400 }), 86_400)]
    {
        let mut body = settings.clone();
        body["scheme"] = json!({ "type": "stripe" });
        let made = source(stack.client(), body).await?;
        assert_eq!(made["tolerance_seconds"], tolerated);
        let at = format!("/v1/webhook-sources/{}/test", made["id"].as_str().context("no id")?);
        for (seconds, accepted) in
            [(tolerated, true), (-tolerated, true), (tolerated + 1, false), (-tolerated - 1, false)]
        {
            let delivery = json!({
                "headers": { "Stripe-Signature": format!("t=1700000000,v1={hex}") },
                "body": "{}",
                "at": (signed + TimeDelta::seconds(seconds)).to_rfc3339(),
            });
            let verdict = stack.client().post(&at, &delivery).await?.expect(200)?;
            assert_eq!(verdict["accepted"], accepted, "{settings}, {seconds} seconds: {verdict}");
        }
    }
    stack.drain().await
}

#[tokio::test]
async fn a_replaced_secret_goes_on_for_a_day_unless_told_otherwise_and_seven_at_most() -> Result<()> {
    let stack = builder().workers(0).start().await?;
    let client = stack.client();
    for (told, seconds) in [(json!({}), 86_400), (json!({ "overlap_seconds": 604_800 }), 604_800)] {
        let made = source(client, json!({ "scheme": { "type": "github" } })).await?;
        let at = format!("/v1/webhook-sources/{}/rotate", made["id"].as_str().context("no id")?);
        let rotated = client.post(&at, &told).await?.expect(200)?;
        assert!(rotated["secret"].is_string() && rotated["secrets"][0]["valid_until"].is_null(), "{rotated}");
        let until: DateTime<Utc> = rotated["secrets"][1]["valid_until"].as_str().context("no end")?.parse()?;
        let left = (until - Utc::now()).num_seconds();
        assert!((seconds - 60..=seconds + 5).contains(&left), "{left} seconds are left");
        invalid(&client.post(&at, &json!({ "overlap_seconds": 604_801 })).await?, "overlap_seconds");
        // One that ends soon is not made to go on by the next rotation.
        client.post(&at, &json!({ "overlap_seconds": 604_800 })).await?.expect(200)?;
        let listed = client.get(&format!("/v1/webhook-sources/{}", made["id"].as_str().context("no id")?)).await?;
        let still: DateTime<Utc> =
            listed.expect(200)?["secrets"][2]["valid_until"].as_str().context("no end")?.parse()?;
        assert_eq!(still, until);
        assert!(!listed.text().contains(rotated["secret"].as_str().context("no secret")?), "it is shown once");
    }
    stack.drain().await
}

#[tokio::test]
async fn what_is_stored_are_the_bytes_that_came_and_the_log_says_why_others_were_refused() -> Result<()> {
    let stack = builder().workers(0).start().await?;
    let made = source(stack.client(), json!({ "scheme": { "type": "github" } })).await?;
    let sender = Client::anonymous(stack.client().base())?;
    let body = b"{ \"a\" : 1.0,\r\n\t\"a\": \"\xff\xfe\" }\n".to_vec();
    let hex: String = mac(&body).iter().map(|byte| format!("{byte:02x}")).collect();
    let deliver = async |signature: &str| -> Result<u16> {
        let request =
            sender.request(Method::POST, &path_of(&made)?).header("content-type", "text/x-weir; charset=koi8-r");
        let request = request.header("x-hub-signature-256", format!("sha256={signature}")).body(body.clone());
        Ok(sender.send(request).await?.status)
    };
    assert_eq!(deliver(&hex).await?, 200);
    let mut database = PgConnection::connect(stack.database_url()).await?;
    let stored: (Vec<u8>, String) =
        sqlx::query_as("SELECT body, content_type FROM webhook_events").fetch_one(&mut database).await?;
    assert_eq!(stored, (body.clone(), "text/x-weir; charset=koi8-r".to_owned()));

    assert_eq!(deliver(&hex.to_uppercase()).await?, 401);
    let id = made["id"].as_str().context("no id")?;
    let log = stack.api.process().log_tail(200);
    let line = log.lines().find(|line| line.contains("a webhook was refused")).context("the log says nothing")?;
    assert!(line.contains(id) && line.contains("wrong_signature") && line.contains(stack.org()), "{line}");
    stack.drain().await
}
