//! Delivers events to one receiver: gathers, shuffles, doubles, signs, sends, and tries again by the vendor's ladder.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use tokio::sync::{Semaphore, mpsc};

use super::{Delivery, Event, HookScheme, ReceiverSpec, SharedLog, locked};
use crate::dice::Dice;
use crate::provider::Provider;

/// So many deliveries are under way to a receiver at once.
const AT_ONCE: usize = 10;

/// More invalid answers than this within two hours, the last one invalid, and Kommo sends no more.
const KOMMO_PATIENCE: usize = 100;
const KOMMO_MEMORY: Duration = Duration::from_secs(2 * 3600);

/// Who delivers to one receiver.
#[derive(Debug)]
pub(super) struct Sender {
    provider: Provider,
    spec: ReceiverSpec,
    http: reqwest::Client,
    log: SharedLog,
    slots: Semaphore,
    /// When receivers gave invalid answers, as far back as the vendor remembers.
    invalid: Mutex<Vec<Instant>>,
}

impl Sender {
    pub(super) fn new(provider: Provider, spec: ReceiverSpec, http: reqwest::Client, log: SharedLog) -> Self {
        Self { provider, spec, http, log, slots: Semaphore::new(AT_ONCE), invalid: Mutex::default() }
    }
}

/// Delivers until the account is gone.
pub(super) async fn run(sender: Sender, mut incoming: mpsc::UnboundedReceiver<Vec<Event>>) {
    let sender = Arc::new(sender);
    let mut dice = Dice::new(1);
    let mut number = 0;
    while let Some(mut events) = incoming.recv().await {
        tokio::time::sleep(Duration::from_millis(sender.spec.gather_ms)).await;
        while let Ok(more) = incoming.try_recv() {
            events.extend(more);
        }
        for batch in sender.batches(events, &mut dice) {
            let times = if dice.chance(sender.spec.duplicates) { 2 } else { 1 };
            locked(&sender.log).open += (times - 1) * batch.len();
            for _ in 0..times {
                number += 1;
                tokio::spawn(deliver(Arc::clone(&sender), number, batch.clone()));
            }
        }
    }
}

/// How long the vendor waits for an answer.
fn patience(provider: Provider) -> Duration {
    match provider {
        Provider::Kommo => Duration::from_secs(2),
        Provider::Hubspot => Duration::from_secs(5),
        Provider::Salesforce | Provider::Pipedrive => Duration::from_secs(10),
    }
}

/// The pauses before each further attempt, in seconds.
fn ladder(provider: Provider, dice: &mut Dice) -> Vec<f64> {
    match provider {
        Provider::Kommo => vec![300.0, 900.0, 900.0, 3600.0],
        // Ten times within 24 hours, with jitter.
        Provider::Hubspot => {
            (0..10).map(|_| 8640.0 * f64::from(u32::try_from(50 + dice.below(51)).unwrap_or(100)) / 100.0).collect()
        }
        // Not told by the vendor.
        Provider::Salesforce | Provider::Pipedrive => vec![3.0, 30.0, 150.0],
    }
}

impl Sender {
    fn batches(&self, mut events: Vec<Event>, dice: &mut Dice) -> Vec<Vec<Event>> {
        let told = events.len();
        events.retain(|_| !dice.chance(self.spec.lost));
        let lost = told - events.len();
        let mut log = locked(&self.log);
        log.open = log.open.saturating_sub(lost);
        drop(log);
        if self.spec.shuffled {
            dice.shuffle(&mut events);
        }
        let most = if self.provider == Provider::Hubspot { 100 } else { 1 };
        let most = self.spec.batch.unwrap_or(most).clamp(1, most);
        let mut batches: Vec<Vec<Event>> = events.chunks(most).map(<[Event]>::to_vec).collect();
        if self.spec.shuffled {
            dice.shuffle(&mut batches);
        }
        batches
    }

    /// The body and its type.
    fn body(&self, events: &[Event], attempt: u32) -> (String, &'static str) {
        match events {
            [Event::Json(value)] => (value.to_string(), "application/json"),
            [Event::Form(pairs)] => {
                let mut form = url::form_urlencoded::Serializer::new(String::new());
                form.extend_pairs(pairs);
                (form.finish(), "application/x-www-form-urlencoded")
            }
            events => {
                let listed = events.iter().filter_map(|event| match event {
                    Event::Listed(value) => {
                        let mut value = value.clone();
                        value["attemptNumber"] = attempt.into();
                        Some(value)
                    }
                    _ => None,
                });
                (listed.collect::<Value>().to_string(), "application/json")
            }
        }
    }

    /// Sends once; gives the status of the answer, if there was one in time.
    async fn send(&self, body: String, content_type: &'static str) -> Option<u16> {
        let mut request = self.http.post(&self.spec.url).header("content-type", content_type);
        match &self.spec.scheme {
            HookScheme::HubspotV3 { secret } => {
                let at = now_ms().to_string();
                let url = self.spec.public_url.as_ref().unwrap_or(&self.spec.url);
                let signature = sign(secret, url, &body, &at);
                request = request.header("x-hubspot-signature-v3", signature).header("x-hubspot-request-timestamp", at);
            }
            HookScheme::Basic { user, password } => {
                let credentials = STANDARD.encode(format!("{user}:{password}"));
                request = request.header("authorization", format!("Basic {credentials}"));
            }
            HookScheme::None => {}
        }
        let patience = self.spec.timeout_ms.map_or_else(|| patience(self.provider), Duration::from_millis);
        let sent = tokio::time::timeout(patience, request.body(body).send()).await;
        Some(sent.ok()?.ok()?.status().as_u16())
    }

    fn accepts(&self, status: Option<u16>) -> bool {
        let taken = if self.provider == Provider::Kommo { 100..300 } else { 200..300 };
        status.is_some_and(|status| taken.contains(&status))
    }

    /// Notes an attempt, after which Kommo may have had enough.
    fn note(&self, delivery: Delivery) {
        let is_invalid = self.provider == Provider::Kommo && !delivery.accepted;
        let mut log = locked(&self.log);
        log.deliveries.push(delivery);
        if is_invalid {
            let memory = KOMMO_MEMORY.mul_f64(self.spec.time_scale.max(0.0));
            let mut invalid = self.invalid.lock().unwrap_or_else(PoisonError::into_inner);
            invalid.push(Instant::now());
            invalid.retain(|at| at.elapsed() < memory);
            log.is_disabled |= invalid.len() > KOMMO_PATIENCE;
        }
    }
}

async fn deliver(sender: Arc<Sender>, number: u64, events: Vec<Event>) {
    let mut dice = Dice::new(number);
    let ladder = sender.spec.retry_ladder_s.clone().unwrap_or_else(|| ladder(sender.provider, &mut dice));
    let mut pauses = ladder.into_iter();
    for attempt in 0.. {
        if locked(&sender.log).is_disabled {
            break;
        }
        let Ok(slot) = sender.slots.acquire().await else { break };
        let (body, content_type) = sender.body(&events, attempt);
        let at_ms = now_ms();
        let status = sender.send(body.clone(), content_type).await;
        drop(slot);
        let accepted = sender.accepts(status);
        let url = sender.spec.url.clone();
        let events = events.len();
        sender.note(Delivery { url, delivery: number, attempt, events, body, status, accepted, at_ms });
        if accepted {
            break;
        }
        let Some(pause) = pauses.next() else { break };
        tokio::time::sleep(Duration::from_secs_f64((pause * sender.spec.time_scale).max(0.0))).await;
    }
    let mut log = locked(&sender.log);
    log.open = log.open.saturating_sub(events.len());
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Base64 of the HMAC-SHA256 of method, URL, body and time, by the vendor's third version of signatures.
fn sign(secret: &str, url: &str, body: &str, at: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    for part in ["POST", &decoded(url), body, at] {
        mac.update(part.as_bytes());
    }
    STANDARD.encode(mac.finalize().into_bytes())
}

/// The URL with the characters that the vendor names in place of their codes.
fn decoded(url: &str) -> String {
    const CODES: [(&str, &str); 12] = [
        ("%3A", ":"),
        ("%2F", "/"),
        ("%3F", "?"),
        ("%40", "@"),
        ("%21", "!"),
        ("%24", "$"),
        ("%27", "'"),
        ("%28", "("),
        ("%29", ")"),
        ("%2A", "*"),
        ("%2C", ","),
        ("%3B", ";"),
    ];
    CODES.iter().fold(url.to_owned(), |url, (code, character)| {
        url.replace(code, character).replace(&code.to_lowercase(), character)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of the vendor's Python client.
    #[test]
    fn signature_is_the_vendors() {
        let signature = sign(
            "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy",
            "https://www.example.com/webhook_uri",
            "{'example_field':'example_value'}",
            "1693657560000",
        );
        assert_eq!(signature, "K36dawei4A+QBNolUOqo7s91KQDWQ5MXZ/QufNYuk/Y=");
    }
}
