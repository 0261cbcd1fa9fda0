//! CRMs to sync with: the simulator of all providers as a child, and the accounts in it.
//!
//! The simulator is a process of its own, `millrace-crm-simulator`; its README has the forms of what is sent to it here.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    binaries::Binaries,
    client::Client,
    service::{Inherit, Service, ServiceSpec, Until},
};

/// A running simulator of all providers.
#[derive(Debug)]
pub struct Simulator(Service);

impl Simulator {
    /// Starts one whose files are in `dir`.
    ///
    /// # Errors
    /// When it does not come up; the message carries the end of its log.
    pub async fn start(dir: &Path) -> Result<Self> {
        let spec = ServiceSpec {
            name: "simulator".into(),
            program: Binaries::for_tests().await?.crm_simulator(),
            arguments: Vec::new(),
            bind_variable: "MILLRACE_SIMULATOR_BIND",
            bind: "127.0.0.1:0".into(),
            environment: Vec::new(),
            inherit: Inherit::NoSettings,
            dir: dir.to_owned(),
        };
        Service::start(spec, Until::Listening).await.map(Self)
    }

    /// The value of `MILLRACE_CRM_ENDPOINTS` that leads here.
    #[must_use]
    pub fn endpoints(&self) -> String {
        let at = self.0.url();
        format!(
            "hubspot={at}/hubspot,kommo={at}/kommo/{{account}},pipedrive={at}/pipedrive/{{account}},\
             salesforce={at}/salesforce/{{account}}"
        )
    }

    /// Makes an account.
    ///
    /// # Errors
    /// When the simulator refuses.
    pub async fn account(&self, provider: &'static str, name: &str, spec: &Value) -> Result<Account> {
        let client = Client::anonymous(&self.0.url())?;
        let account = Account { client, provider, name: name.to_owned() };
        account.call(Method::PUT, "", Some(spec)).await?;
        Ok(account)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.process().pid()
    }

    /// Where it writes what it has to say.
    #[must_use]
    pub fn log(&self) -> &Path {
        self.0.process().log()
    }
}

/// A simulated account.
#[derive(Clone, Debug)]
pub struct Account {
    client: Client,
    /// The CRM.
    pub provider: &'static str,
    /// What stands for it in its addresses.
    pub name: String,
}

impl Account {
    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let path = format!("/_sim/{}/{}{path}", self.provider, self.name);
        let mut request = self.client.request(method, &path);
        if let Some(body) = body {
            request = request.json(body);
        }
        let reply = self.client.send(request).await?;
        ensure!(
            (200..300).contains(&reply.status),
            "the simulator answered {} to {path}: {}",
            reply.status,
            reply.text()
        );
        if reply.body.is_empty() { Ok(Value::Null) } else { reply.json() }
    }

    /// Asks for something.
    ///
    /// # Errors
    /// When the simulator refuses.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.call(Method::GET, path, None).await
    }

    /// Tells it something.
    ///
    /// # Errors
    /// When the simulator refuses.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// Takes something back.
    ///
    /// # Errors
    /// When the simulator refuses.
    pub async fn delete(&self, path: &str) -> Result<Value> {
        self.call(Method::DELETE, path, None).await
    }

    /// Changes records.
    ///
    /// # Errors
    /// When the simulator refuses.
    pub async fn change(&self, operations: Value) -> Result<Vec<Value>> {
        let done = self.post("/rows", &json!({ "operations": operations })).await?;
        Ok(done["applied"].as_array().cloned().unwrap_or_default())
    }

    /// Spoils requests.
    ///
    /// # Errors
    /// When the simulator refuses.
    pub async fn spoil(&self, faults: Value) -> Result<()> {
        self.post("/faults", &json!({ "faults": faults })).await.map(drop)
    }

    /// A count of its statistics.
    ///
    /// # Errors
    /// When the simulator refuses, or counts no such thing.
    pub async fn stat(&self, name: &str) -> Result<u64> {
        let stats = self.get("/stats").await?;
        stats[name].as_u64().with_context(|| format!("no {name} in {stats}"))
    }

    /// What is there: the simulator's own account of it.
    ///
    /// # Errors
    /// When the simulator refuses.
    pub async fn truth(&self, object: &str) -> Result<Value> {
        // What Salesforce has in the place of notes are tasks.
        let name = if self.provider == "salesforce" && object == "notes" { "tasks" } else { object };
        self.get(&format!("/truth?object={name}")).await
    }
}
