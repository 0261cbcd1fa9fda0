//! The calling side of the control API.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::account::AccountSpec;
use crate::faults::Fault;
use crate::mutate::{Mutation, Operation};
use crate::oauth::Revoked;
use crate::provider::Provider;
use crate::stats::Stats;
use crate::webhooks::ReceiverSpec;

/// Controls one account of a running simulator.
#[derive(Clone, Debug)]
pub struct Control {
    http: reqwest::Client,
    root: String,
    provider: Provider,
    account: String,
}

/// Why a call has failed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The simulator cannot be reached, or its answer is not understood.
    #[error("the simulator cannot be asked")]
    Http(#[from] reqwest::Error),
    /// It refuses.
    #[error("the simulator refuses ({status}): {message}")]
    Refused {
        /// The status.
        status: u16,
        /// What it said.
        message: String,
    },
}

type Result<T> = std::result::Result<T, ControlError>;

impl Control {
    /// Of the account `account` at the simulator with this base URL (`http://127.0.0.1:1234`), which need not exist yet.
    ///
    /// # Errors
    /// When no HTTP client can be built.
    pub fn new(base: &str, provider: Provider, account: &str) -> Result<Self> {
        // Fails if it was done before, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build()?;
        Ok(Self { http, root: base.trim_end_matches('/').to_owned(), provider, account: account.to_owned() })
    }

    /// Where the vendor's own paths of this account begin.
    #[must_use]
    pub fn base_url(&self) -> String {
        match self.provider {
            Provider::Hubspot => format!("{}/hubspot", self.root),
            provider => format!("{}/{}/{}", self.root, provider.name(), self.account),
        }
    }

    /// Makes the account, in place of the one that there was; gives the vendor's id of it.
    ///
    /// # Errors
    /// When the simulator cannot be reached or refuses.
    pub async fn create(&self, spec: &AccountSpec) -> Result<String> {
        let made: Value = self.call(reqwest::Method::PUT, "", Some(spec)).await?;
        Ok(made["account_id"].as_str().unwrap_or_default().to_owned())
    }

    /// Removes the account.
    ///
    /// # Errors
    /// When the simulator cannot be reached.
    pub async fn remove(&self) -> Result<()> {
        self.delete("").await
    }

    /// What a copy must hold of this kind of records (`contacts`, `companies`, `deals`, `notes`, `tasks`, `owners`, `pipelines`): the
    /// README has the form.
    ///
    /// # Errors
    /// When the simulator cannot be reached or refuses.
    pub async fn truth(&self, object: &str) -> Result<Value> {
        self.get(&format!("/truth?object={object}")).await
    }

    /// Changes records now; gives which.
    ///
    /// # Errors
    /// When the simulator cannot be reached or refuses.
    pub async fn rows(&self, operations: &[Operation]) -> Result<Vec<Value>> {
        let mut done: Value = self.post("/rows", &json!({"operations": operations})).await?;
        Ok(done["applied"].as_array_mut().map(std::mem::take).unwrap_or_default())
    }

    /// Changes records in the middle of a scan.
    ///
    /// # Errors
    /// When the simulator cannot be reached or refuses.
    pub async fn mutate(&self, mutation: &Mutation) -> Result<()> {
        self.post("/mutate", mutation).await.map(|_: Value| ())
    }

    /// How many mutations still wait, and what was done to which records (`{"waiting": n, "applied": […]}`).
    ///
    /// # Errors
    /// When the simulator cannot be reached.
    pub async fn mutations(&self) -> Result<Value> {
        self.get("/mutate").await
    }

    /// Adds faults.
    ///
    /// # Errors
    /// When the simulator cannot be reached or refuses.
    pub async fn faults(&self, faults: &[Fault]) -> Result<()> {
        self.post("/faults", &json!({"faults": faults})).await.map(|_: Value| ())
    }

    /// How often each fault has happened, in the order in which they were added.
    ///
    /// # Errors
    /// When the simulator cannot be reached.
    pub async fn fired(&self) -> Result<Vec<u64>> {
        let told: Value = self.get("/faults").await?;
        Ok(told["faults"].as_array().into_iter().flatten().map(|fault| fault["fired"].as_u64().unwrap_or(0)).collect())
    }

    /// Takes all faults away.
    ///
    /// # Errors
    /// When the simulator cannot be reached.
    pub async fn mend(&self) -> Result<()> {
        self.delete("/faults").await
    }

    /// What the account was asked.
    ///
    /// # Errors
    /// When the simulator cannot be reached.
    pub async fn stats(&self) -> Result<Stats> {
        self.get("/stats").await
    }

    /// Begins to count from zero.
    ///
    /// # Errors
    /// When the simulator cannot be reached.
    pub async fn reset_stats(&self) -> Result<()> {
        self.delete("/stats").await
    }

    /// Sets switches, by name.
    ///
    /// # Errors
    /// When the simulator cannot be reached or refuses.
    pub async fn switch(&self, switches: &Map<String, Value>) -> Result<()> {
        self.post("/switches", switches).await.map(|_: Value| ())
    }

    /// New tokens, as if a user had consented: the access token and the refresh token.
    ///
    /// # Errors
    /// When the simulator cannot be reached.
    pub async fn grant(&self) -> Result<(String, String)> {
        let given: Value = self.post("/tokens", &json!("grant")).await?;
        let token = |name: &str| given[name].as_str().unwrap_or_default().to_owned();
        Ok((token("access_token"), token("refresh_token")))
    }

    /// Makes tokens void.
    ///
    /// # Errors
    /// When the simulator cannot be reached.
    pub async fn revoke(&self, which: Revoked) -> Result<()> {
        self.post("/tokens", &json!({"revoke": which})).await.map(|_: Value| ())
    }

    /// Lets access tokens end now.
    ///
    /// # Errors
    /// When the simulator cannot be reached.
    pub async fn expire(&self) -> Result<()> {
        self.post("/tokens", &json!("expire")).await.map(|_: Value| ())
    }

    /// Gives the account another name, which this client goes on with.
    ///
    /// # Errors
    /// When the simulator cannot be reached, or the name is taken.
    pub async fn move_to(&mut self, name: &str) -> Result<()> {
        self.post("/move", &json!({"to": name})).await.map(|_: Value| ())?;
        name.clone_into(&mut self.account);
        Ok(())
    }

    /// Registers a receiver of webhooks.
    ///
    /// # Errors
    /// When the simulator cannot be reached or refuses.
    pub async fn register(&self, receiver: &ReceiverSpec) -> Result<()> {
        self.post("/webhooks", receiver).await.map(|_: Value| ())
    }

    /// The receivers and what was delivered to them (`[{"url", "disabled", "open_events", "deliveries": […]}]`).
    ///
    /// # Errors
    /// When the simulator cannot be reached.
    pub async fn receivers(&self) -> Result<Value> {
        let mut told: Value = self.get("/webhooks").await?;
        Ok(told["receivers"].take())
    }

    /// Moves the simulator's clock, which all its accounts share; gives the new time in milliseconds of Unix time.
    ///
    /// # Errors
    /// When the simulator cannot be reached.
    pub async fn advance_clock(&self, by_ms: i64) -> Result<i64> {
        let request = self.http.post(format!("{}/_sim/clock", self.root)).json(&json!({"advance_ms": by_ms}));
        let told: Value = read(request.send().await?).await?;
        Ok(told["now_ms"].as_i64().unwrap_or_default())
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.call::<Value, T>(reqwest::Method::GET, path, None).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.call(reqwest::Method::POST, path, Some(body)).await
    }

    async fn delete(&self, path: &str) -> Result<()> {
        self.call::<Value, Value>(reqwest::Method::DELETE, path, None).await.map(drop)
    }

    async fn call<B: Serialize, T: DeserializeOwned>(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<T> {
        let url = format!("{}/_sim/{}/{}{path}", self.root, self.provider.name(), self.account);
        let mut request = self.http.request(method, url);
        if let Some(body) = body {
            request = request.json(body);
        }
        read(request.send().await?).await
    }
}

async fn read<T: DeserializeOwned>(response: reqwest::Response) -> Result<T> {
    let status = response.status();
    if status.is_success() {
        return Ok(response.json().await?);
    }
    Err(ControlError::Refused { status: status.as_u16(), message: response.text().await? })
}
