//! The simulator as a client meets it: over HTTP, in this process.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod faults;
mod hubspot;
mod kommo;
mod pipedrive;
mod salesforce;
mod webhooks;

use std::net::SocketAddr;

use millrace_crm_simulator::{AccountSpec, Control, Provider, Seed};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const TOKEN: &str = "token-of-the-test";

/// A simulator with one account.
struct Account {
    control: Control,
    address: SocketAddr,
    http: Client,
    serving: JoinHandle<()>,
}

impl Drop for Account {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Few records and no limits, unless `switches` has them.
async fn begin(provider: Provider, seed: Seed, mut switches: Value) -> Account {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        millrace_crm_simulator::serve(listener).await.map(drop).unwrap();
    });
    let control = Control::new(&format!("http://{address}"), provider, "acme").unwrap();
    if switches["requests"].is_null() {
        switches["requests"] = 0.into();
        switches["searches_per_second"] = 0.into();
    }
    let spec = AccountSpec {
        tokens: vec![TOKEN.to_owned()],
        seed,
        seed_number: 7,
        switches: switches.as_object().unwrap().clone(),
        ..AccountSpec::default()
    };
    control.create(&spec).await.unwrap();
    let policy = reqwest::redirect::Policy::none();
    let http = Client::builder().no_proxy().redirect(policy).build().unwrap();
    Account { control, address, http, serving }
}

fn seed(contacts: u64) -> Seed {
    Seed { contacts, companies: contacts / 4, deals: contacts / 2, notes: contacts / 2, ..Seed::default() }
}

impl Account {
    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.control.base_url())
    }

    fn request(&self, path: &str) -> RequestBuilder {
        self.http.get(self.url(path)).bearer_auth(TOKEN)
    }

    async fn get(&self, path: &str) -> Response {
        self.request(path).send().await.unwrap()
    }

    /// The status and the body.
    async fn ask(&self, path: &str) -> (u16, Value) {
        read(self.get(path).await).await
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        read(self.http.post(self.url(path)).bearer_auth(TOKEN).json(&body).send().await.unwrap()).await
    }

    async fn patch(&self, path: &str, body: Value) -> (u16, Value) {
        read(self.http.patch(self.url(path)).bearer_auth(TOKEN).json(&body).send().await.unwrap()).await
    }

    async fn switch(&self, switches: Value) {
        self.control.switch(switches.as_object().unwrap()).await.unwrap();
    }

    async fn fault(&self, fault: Value) {
        self.control.faults(&[serde_json::from_value(fault).unwrap()]).await.unwrap();
    }

    async fn change(&self, operation: Value) -> Vec<String> {
        let applied = self.control.rows(&[serde_json::from_value(operation).unwrap()]).await.unwrap();
        applied.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    }

    /// The ids of the truth.
    async fn true_ids(&self, object: &str) -> Vec<String> {
        ids(&self.control.truth(object).await.unwrap()["rows"])
    }
}

async fn read(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let body = response.bytes().await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

/// Ids as texts, however they are given.
fn ids(rows: &Value) -> Vec<String> {
    let id = |row: &Value| row["id"].as_str().map_or_else(|| row["id"].to_string(), str::to_owned);
    rows.as_array().unwrap().iter().map(id).collect()
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids
}

#[tokio::test]
async fn same_seed_makes_the_same_records_and_another_one_others() {
    let one = begin(Provider::Hubspot, seed(50), json!({})).await;
    let other = begin(Provider::Hubspot, seed(50), json!({})).await;
    assert_eq!(one.control.truth("contacts").await.unwrap(), other.control.truth("contacts").await.unwrap());
    let spec = AccountSpec { seed: seed(50), seed_number: 8, ..AccountSpec::default() };
    other.control.create(&spec).await.unwrap();
    assert_ne!(one.control.truth("contacts").await.unwrap(), other.control.truth("contacts").await.unwrap());
}
