//! Accounts in simulated CRMs, and what a copy of them must hold.
//!
//! The simulator is a process of its own, `millrace-crm-simulator`; its README has the forms of what is sent to it here.

mod compare;
mod connected;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use millrace_harness::{Binaries, Client, Process, Signal};
use reqwest::Method;
use serde_json::{Value, json};

pub use connected::{Connected, crm_stack};

/// The providers, as both sides call them.
pub const PROVIDERS: [&str; 4] = ["hubspot", "kommo", "pipedrive", "salesforce"];

/// What is synced.
pub const OBJECTS: [&str; 6] = ["owners", "pipelines", "companies", "contacts", "deals", "notes"];

/// A running simulator of all providers.
#[derive(Debug)]
pub struct Simulator {
    process: Process,
    address: String,
}

impl Simulator {
    /// Starts one whose files are in `dir`.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start(dir: &Path) -> Result<Self> {
        let program = Binaries::for_tests().await?.crm_simulator();
        let file = dir.join("simulator.address");
        let mut command = Command::new(program);
        command.args(["--bind", "127.0.0.1:0", "--address-file"]).arg(&file);
        let process = Process::spawn("simulator", command, &dir.join("simulator.log"), Signal::KILL)?;
        let mut address = String::new();
        crate::until("the simulator listens", Duration::from_secs(20), async || {
            ensure!(process.status().is_none(), "the simulator has ended{}", process.log_excerpt());
            address = std::fs::read_to_string(&file).unwrap_or_default().trim().to_owned();
            Ok(!address.is_empty())
        })
        .await?;
        Ok(Self { process, address })
    }

    /// The value of `MILLRACE_CRM_ENDPOINTS` that leads here.
    #[must_use]
    pub fn endpoints(&self) -> String {
        let at = &self.address;
        format!(
            "hubspot=http://{at}/hubspot,kommo=http://{at}/kommo/{{account}},pipedrive=http://{at}/pipedrive/{{account}},\
             salesforce=http://{at}/salesforce/{{account}}"
        )
    }

    /// Makes an account.
    ///
    /// # Errors
    /// When the simulator refuses.
    pub async fn account(&self, provider: &'static str, name: &str, spec: &Value) -> Result<Account> {
        let client = Client::anonymous(&format!("http://{}", self.address))?;
        let account = Account { client, provider, name: name.to_owned() };
        account.call(Method::PUT, "", Some(spec)).await?;
        Ok(account)
    }

    /// Where it writes what it has to say.
    #[must_use]
    pub fn log(&self) -> &Path {
        self.process.log()
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
