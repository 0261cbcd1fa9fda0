//! `webhooks`: deliveries by several schemes, on connections that are kept open, while no worker runs. No two of them are the same, so that each is
//! verified, kept as an event, and has a job; the ledger is asked afterwards whether it is so.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use hyper::{
    StatusCode,
    header::{CONTENT_TYPE, HeaderName},
};
use millrace_harness::encryption_key;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{
    Options,
    http::{Call, Connection, Load, allow_open_files},
    report::{Params, Report},
    site::{Form, Site},
};

const LASTING: Duration = Duration::from_secs(5);
const CONNECTIONS: [usize; 3] = [1, 64, 256];
/// The most connections, and what a process needs beside them.
const OPEN_FILES: u64 = 1_024;
/// What senders take for the API's address, and sign where they sign the URL.
const PUBLIC: &str = "https://hooks.example.org";
/// As many as HubSpot sends together at most.
const EVENTS: usize = 100;
/// By how much the first signed time is in the past, so that later ones may go ahead of the clock: all within the tolerance of five minutes.
const BEHIND: Duration = Duration::from_secs(240);

pub(crate) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    allow_open_files(OPEN_FILES)?;
    let ours = [("MILLRACE_ENCRYPTION_KEYS", encryption_key("bench")?), ("MILLRACE_PUBLIC_URL", PUBLIC.to_owned())];
    let ours = ours.map(|(name, value)| (name.to_owned(), value)).into_iter();
    let with_keys = Options { env: ours.chain(options.env.iter().cloned()).collect(), ..options.clone() };
    let site = Site::start(Form::Durable, &with_keys).await?;
    for vendor in Vendor::ALL {
        let source = Source::make(&site, vendor).await?;
        for connections in CONNECTIONS {
            for round in 1..=options.rounds {
                report.say(&format!("{}, {connections} connections, round {round}", vendor.scheme()));
                measure(&site, options, report, (&source, connections)).await?;
            }
        }
    }
    site.stop().await?;
    report.flush("Deliveries of webhooks: POST /v1/webhooks/{source}");
    Ok(())
}

async fn measure(
    site: &Site,
    options: &Options,
    report: &mut Report,
    (source, connections): (&Source, usize),
) -> Result<()> {
    let signer = Signer::new(source)?;
    let params = Params::default()
        .with("scheme", source.vendor.scheme())
        .with("body_bytes", signer.call().body.len())
        .with("connections", connections);
    let lasting = options.lasting(LASTING);
    let load = Load { make: Box::new(move |_| signer.call()), wanted: StatusCode::OK, connections, lasting };
    let before = site.cpu();
    let mut answers = load.run(&site.target()?).await?;
    let cpu = site.cpu().since(&before);
    let (safe, failed) = (answers.accepted.len(), answers.error_count());
    report.rate("deliveries", &params, (safe, answers.elapsed));
    report.percentiles(["latency_p50", "latency_p95", "latency_p99"], &params, &mut answers.accepted);
    #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
    report.add("errors", &params, failed as f64, "requests");
    cpu.report(report, &params, safe);
    for (error, count) in &answers.errors {
        report.say(&format!("{count} deliveries failed: {error}"));
    }
    check(site, safe, failed).await?;
    sqlx::query("TRUNCATE webhook_events").execute(site.ledger()?).await.context("the events cannot be emptied")?;
    site.empty().await
}

/// Wants an event and a job of each delivery that was answered with 200, and of no other that was answered.
async fn check(site: &Site, safe: usize, failed: usize) -> Result<()> {
    let (events, jobs): (i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM webhook_events), (SELECT count(*) FROM jobs WHERE kind = 'webhook.deliver')",
    )
    .fetch_one(site.ledger()?)
    .await?;
    let events = usize::try_from(events)?;
    ensure!(usize::try_from(jobs)? == events, "{events} deliveries have {jobs} jobs");
    ensure!(
        (safe..=safe + failed).contains(&events),
        "{safe} deliveries were answered with 200, and {events} are kept"
    );
    Ok(())
}

/// Whose manner of signing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Vendor {
    StandardWebhooks,
    HubspotV3,
    Github,
    SecretUrl,
}

impl Vendor {
    const ALL: [Self; 4] = [Self::StandardWebhooks, Self::HubspotV3, Self::Github, Self::SecretUrl];

    fn scheme(self) -> &'static str {
        match self {
            Self::StandardWebhooks => "standard_webhooks",
            Self::HubspotV3 => "hubspot_v3",
            Self::Github => "github",
            Self::SecretUrl => "secret_url",
        }
    }
}

/// A source of the API.
struct Source {
    vendor: Vendor,
    /// With the secret behind it, where that is what proves the sender.
    path: Arc<str>,
    /// What signatures are made with.
    key: Vec<u8>,
}

impl Source {
    async fn make(site: &Site, vendor: Vendor) -> Result<Self> {
        let body = json!({ "name": vendor.scheme(), "scheme": { "type": vendor.scheme() }, "kind": "probe" });
        let mut connection = Connection::open(&site.target()?).await?;
        let (status, said) = connection.post("/v1/webhook-sources", body.to_string().into()).await?;
        ensure!(status == StatusCode::CREATED, "no source of {}: {}", vendor.scheme(), String::from_utf8_lossy(&said));
        let made: Value = serde_json::from_slice(&said)?;
        let secret = made["secret"].as_str().context("no secret")?;
        let path = format!("/v1/webhooks/{}", made["id"].as_str().context("no id")?);
        let path = if vendor == Vendor::SecretUrl { format!("{path}/{secret}") } else { path };
        let key = match secret.strip_prefix("whsec_") {
            Some(encoded) => STANDARD.decode(encoded)?,
            None => secret.as_bytes().to_vec(),
        };
        Ok(Self { vendor, path: path.into(), key })
    }
}

/// Makes deliveries, each unlike all before it.
struct Signer {
    vendor: Vendor,
    path: Arc<str>,
    key: Hmac<Sha256>,
    body: Bytes,
    /// When the first one says that it was signed.
    from_ms: u64,
    count: AtomicU64,
}

impl Signer {
    fn new(source: &Source) -> Result<Self> {
        let mut key = Hmac::<Sha256>::new_from_slice(&source.key).context("no key")?;
        let body = match source.vendor {
            Vendor::StandardWebhooks => text_of(1_000),
            Vendor::Github => text_of(8_000),
            Vendor::HubspotV3 => events(),
            Vendor::SecretUrl => form(),
        };
        if source.vendor == Vendor::HubspotV3 {
            // What all of them begin with is worked off once, because it is the API's work that is to be measured.
            for piece in ["POST", PUBLIC, &source.path, &body] {
                key.update(piece.as_bytes());
            }
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH)? - BEHIND;
        let from_ms = u64::try_from(now.as_millis())?;
        let count = AtomicU64::new(0);
        Ok(Self { vendor: source.vendor, path: Arc::clone(&source.path), key, body: body.into(), from_ms, count })
    }

    fn call(&self) -> Call {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let seconds = (self.from_ms / 1_000 + BEHIND.as_secs()).to_string();
        let (media_type, body, headers) = match self.vendor {
            Vendor::StandardWebhooks => {
                let id = format!("msg_{number}");
                let mac = self.mac(&[id.as_bytes(), b".", seconds.as_bytes(), b".", &self.body]);
                let signature = format!("v1,{}", STANDARD.encode(mac));
                let headers =
                    vec![("webhook-id", id), ("webhook-timestamp", seconds), ("webhook-signature", signature)];
                ("application/json", self.body.clone(), headers)
            }
            Vendor::HubspotV3 => {
                let time = (self.from_ms + number).to_string();
                let signature = STANDARD.encode(self.mac(&[time.as_bytes()]));
                let headers = vec![("x-hubspot-signature-v3", signature), ("x-hubspot-request-timestamp", time)];
                ("application/json", self.body.clone(), headers)
            }
            Vendor::Github => {
                let body = self.numbered(&format!("{{\"number\":{number},"), 1);
                let hex: String = self.mac(&[&body]).iter().map(|byte| format!("{byte:02x}")).collect();
                ("application/json", body, vec![("x-hub-signature-256", format!("sha256={hex}"))])
            }
            Vendor::SecretUrl => {
                let body = self.numbered(&format!("leads[update][0][id]={number}&"), 0);
                ("application/x-www-form-urlencoded", body, Vec::new())
            }
        };
        let headers = headers.into_iter().map(|(name, value)| (HeaderName::from_static(name), value));
        let headers = headers.chain([(CONTENT_TYPE, media_type.to_owned())]).collect();
        Call { path: Arc::clone(&self.path), headers, body }
    }

    fn mac(&self, pieces: &[&[u8]]) -> Vec<u8> {
        let mut mac = self.key.clone();
        for piece in pieces {
            mac.update(piece);
        }
        mac.finalize().into_bytes().to_vec()
    }

    /// The body with another beginning, in the place of its first bytes.
    fn numbered(&self, beginning: &str, in_place_of: usize) -> Bytes {
        [beginning.as_bytes(), &self.body[in_place_of..]].concat().into()
    }
}

/// An event of about so many bytes of JSON.
fn text_of(bytes: usize) -> String {
    let event = json!({ "type": "weir.level", "timestamp": "2026-11-21T08:00:00Z", "data": { "id": 320_720, "level_mm": 1_843 } });
    let filler = "The level of the mill pond has changed; its sluice was opened by two turns. ";
    let mut event = event;
    event["note"] = filler.repeat(bytes / filler.len()).into();
    event.to_string()
}

/// A batch as HubSpot sends it.
fn events() -> String {
    let event = |number: usize| {
        json!({
            "eventId": 3_816_279_340_u64 + number as u64, "subscriptionId": 25, "portalId": 33, "appId": 1_160_452,
            "occurredAt": 1_763_712_000_000_u64 + number as u64, "subscriptionType": "contact.propertyChange", "attemptNumber": 0,
            "objectId": 1_246_965 + number, "propertyName": "lifecyclestage", "propertyValue": "subscriber",
            "changeSource": "AUTOMATION_PLATFORM", "sourceId": "userId:2194",
        })
    };
    Value::from((0..EVENTS).map(event).collect::<Vec<_>>()).to_string()
}

/// A changed lead as Kommo sends it, but for its id.
fn form() -> String {
    let mut pairs = vec!["account[id]=32720107".to_owned(), "account[subdomain]=weir".to_owned()];
    for (name, value) in [
        ("name", "Mill%20wheel"),
        ("status_id", "142"),
        ("old_status_id", "141"),
        ("price", "1200"),
        ("responsible_user_id", "7215"),
        ("last_modified", "1763712000"),
        ("modified_user_id", "7215"),
        ("created_user_id", "7215"),
        ("date_create", "1763700000"),
        ("pipeline_id", "4419"),
        ("account_id", "32720107"),
    ] {
        pairs.push(format!("leads[update][0][{name}]={value}"));
    }
    for field in 0..10 {
        pairs.push(format!("leads[update][0][custom_fields][{field}][id]={}", 1_000 + field));
        pairs.push(format!("leads[update][0][custom_fields][{field}][values][0][value]=stone%20{field}"));
    }
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn signer(vendor: Vendor) -> Signer {
        Signer::new(&Source { vendor, path: "/v1/webhooks/x".into(), key: vec![7; 32] }).expect("a signer")
    }

    #[test]
    fn no_two_deliveries_are_the_same() {
        for vendor in Vendor::ALL {
            let signer = signer(vendor);
            let calls: HashSet<String> =
                (0..50).map(|_| signer.call()).map(|call| format!("{:?} {:?}", call.headers, call.body)).collect();
            assert_eq!(calls.len(), 50, "{vendor:?}");
        }
    }

    #[test]
    fn bodies_are_what_vendors_send() {
        for vendor in [Vendor::StandardWebhooks, Vendor::HubspotV3, Vendor::Github] {
            let body = signer(vendor).call().body;
            serde_json::from_slice::<Value>(&body).unwrap_or_else(|error| panic!("{vendor:?}: {error}"));
        }
        let batch: Vec<Value> = serde_json::from_str(&events()).expect("a list");
        assert_eq!(batch.len(), EVENTS);
        assert!((20_000..40_000).contains(&events().len()), "{}", events().len());
    }
}
