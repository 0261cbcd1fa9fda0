//! Webhooks: what happens to records is told to receivers, as each vendor tells it, and as badly as a test asks for.
//!
//! What is told is made when it happens, under the account's lock; who delivers it is a task for each receiver, which ends with the account.

mod deliver;
mod hubspot;
mod kommo;
mod pipedrive;

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::account::State;
use crate::provider::Provider;
use crate::rows::{Change, Store};

/// How a receiver can tell who sends.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum HookScheme {
    /// `X-HubSpot-Signature-v3` and `X-HubSpot-Request-Timestamp`.
    HubspotV3 {
        /// The application's client secret.
        secret: String,
    },
    /// HTTP Basic, as Pipedrive does it.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// Nothing, as Kommo does it.
    None,
}

/// A receiver of webhooks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiverSpec {
    /// Where deliveries are sent.
    pub url: String,
    /// The URL that is signed, where it is not the same.
    #[serde(default)]
    pub public_url: Option<String>,
    /// How they are signed.
    pub scheme: HookScheme,
    /// Whether events come out of order.
    #[serde(default)]
    pub shuffled: bool,
    /// With this probability a delivery is made twice.
    #[serde(default)]
    pub duplicates: f64,
    /// With this probability an event is never delivered.
    #[serde(default)]
    pub lost: f64,
    /// The pauses before each further attempt, in place of the vendor's.
    #[serde(default)]
    pub retry_ladder_s: Option<Vec<f64>>,
    /// What these pauses are multiplied by: 0.001 makes a second of each quarter of an hour.
    #[serde(default = "unscaled")]
    pub time_scale: f64,
    /// For so long events are gathered before they are delivered.
    #[serde(default = "gathering")]
    pub gather_ms: u64,
    /// The most events of a delivery; the vendor's number unless given.
    #[serde(default)]
    pub batch: Option<usize>,
    /// How long an answer may take; the vendor's time unless given.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

fn unscaled() -> f64 {
    1.0
}

fn gathering() -> u64 {
    20
}

/// An attempt to deliver.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Delivery {
    /// Where to.
    pub url: String,
    /// The same for all attempts of a delivery.
    pub delivery: u64,
    /// From 0.
    pub attempt: u32,
    /// How many events it carries.
    pub events: usize,
    /// What was sent.
    pub body: String,
    /// What was answered; none where there was no answer in time.
    pub status: Option<u16>,
    /// Whether the vendor takes that as received.
    pub accepted: bool,
    /// When it was sent, in milliseconds of Unix time.
    pub at_ms: i64,
}

/// What was delivered to a receiver.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) is_disabled: bool,
    /// Events that were told and not yet delivered, refused for good or lost.
    pub(crate) open: usize,
}

/// A log that its receiver and its account share.
pub(crate) type SharedLog = Arc<Mutex<Log>>;

pub(crate) fn locked(log: &SharedLog) -> std::sync::MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is told of a change.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// An element of the vendor's list of events.
    Listed(Value),
    /// A document of its own.
    Json(Value),
    /// A form of its own.
    Form(Vec<(String, String)>),
}

#[derive(Debug)]
struct Receiver {
    spec: ReceiverSpec,
    events: mpsc::UnboundedSender<Vec<Event>>,
    log: SharedLog,
}

/// The receivers of an account.
#[derive(Debug, Default)]
pub(crate) struct Receivers {
    all: Vec<Receiver>,
    told: u64,
}

impl Receivers {
    /// Adds a receiver; must be called within a runtime.
    pub(crate) fn add(&mut self, provider: Provider, spec: ReceiverSpec, http: reqwest::Client) {
        let (events, incoming) = mpsc::unbounded_channel();
        let log = SharedLog::default();
        tokio::spawn(deliver::run(deliver::Sender::new(provider, spec.clone(), http, Arc::clone(&log)), incoming));
        self.all.push(Receiver { spec, events, log });
    }

    pub(crate) fn clear(&mut self) {
        self.all.clear();
    }

    /// What the control API tells of them.
    pub(crate) fn told(&self) -> Value {
        let all = self.all.iter().map(|receiver| {
            let log = locked(&receiver.log);
            serde_json::json!({
                "url": receiver.spec.url,
                "disabled": log.is_disabled,
                "open_events": log.open,
                "deliveries": log.deliveries,
            })
        });
        all.collect()
    }
}

impl State {
    /// Tells receivers what changed since the last call.
    pub(crate) fn publish_changes(&mut self, now_ms: i64) {
        let changes = self.store.take_changes();
        if changes.is_empty() || self.receivers.all.is_empty() {
            return;
        }
        let mut events = Vec::new();
        for change in &changes {
            self.receivers.told += 1;
            let told = Telling { store: &self.store, account: &self.name, number: self.receivers.told, now_ms };
            events.extend(told.events(change));
        }
        for receiver in &self.receivers.all {
            locked(&receiver.log).open += events.len();
            // A receiver that has ended takes no more, as a webhook that was disabled.
            let _ = receiver.events.send(events.clone());
        }
    }
}

/// What an event is made with.
#[derive(Debug)]
struct Telling<'a> {
    store: &'a Store,
    account: &'a str,
    number: u64,
    now_ms: i64,
}

impl Telling<'_> {
    fn events(&self, change: &Change) -> Vec<Event> {
        match self.store.provider {
            Provider::Hubspot => hubspot::events(self, change),
            Provider::Kommo => kommo::events(self, change),
            Provider::Pipedrive => pipedrive::events(self, change),
            Provider::Salesforce => Vec::new(),
        }
    }
}
