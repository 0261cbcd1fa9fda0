//! A stack that is connected to a simulated account.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use millrace_harness::{Client, Stack, StackBuilder};
use serde_json::{Value, json};

use super::compare::differences;
use super::{Account, OBJECTS, Simulator};

/// Syncs of a few thousand records on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// A key by which secrets are sealed.
const KEYS: &str = "test:dGhpcnR5LXR3byByYW5kb20gYnl0ZXMgb2Yga2V5ISE=";

/// A stack whose CRMs are the simulator's, called as fast as they answer, and whose pauses are short.
#[must_use]
pub fn crm_stack(simulator: &Simulator) -> StackBuilder {
    Stack::builder()
        .env("MILLRACE_ENCRYPTION_KEYS", KEYS)
        .env("MILLRACE_PUBLIC_URL", "https://millrace.example.org")
        .env("MILLRACE_CRM_ENDPOINTS", simulator.endpoints())
        .worker_env("MILLRACE_QUEUES", "crm=8")
        .worker_env("MILLRACE_CRM_RATES", "kommo=off,hubspot=off,hubspot.search=off,salesforce=off,pipedrive=off")
        .worker_env("MILLRACE_CRM_TIMEOUT", "5s")
        .worker_env("MILLRACE_CRM_BREAKER_PAUSE", "500ms")
}

/// An account that is connected.
#[derive(Debug)]
pub struct Connected {
    /// What is there.
    pub account: Account,
    /// Our connection to it.
    pub id: String,
    client: Client,
}

impl Connected {
    /// Connects an account by its token. The first sync has begun.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn by_token(client: &Client, account: Account, token: &str) -> Result<Self> {
        Self::with(client, account, &json!({ "type": "token", "token": token })).await
    }

    /// Connects an account by what it proves itself with.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn with(client: &Client, account: Account, auth: &Value) -> Result<Self> {
        let mut body = json!({ "name": "Simulated", "provider": account.provider, "auth": auth });
        if account.provider != "hubspot" {
            body["account"] = json!(account.name);
        }
        let made = client.post("/v1/connections", &body).await?.expect(201)?;
        let id = made["id"].as_str().context("no id")?.to_owned();
        Ok(Self { account, id, client: client.clone() })
    }

    /// The connection as it is shown.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn shown(&self) -> Result<Value> {
        self.client.get(&format!("/v1/connections/{}", self.id)).await?.expect(200)
    }

    /// Waits until the connection is in this state.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn wait_state(&self, state: &str) -> Result<Value> {
        let mut shown = Value::Null;
        crate::until(&format!("the connection is {state}"), PATIENCE, async || {
            shown = self.shown().await?;
            Ok(shown["state"] == state)
        })
        .await
        .with_context(|| format!("{shown}"))?;
        Ok(shown)
    }

    /// Begins a sync; gives its job.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn begin_sync(&self, mode: &str) -> Result<String> {
        let path = format!("/v1/connections/{}/sync", self.id);
        let begun = self.client.post(&path, &json!({ "mode": mode })).await?.expect(202)?;
        Ok(begun["job_id"].as_str().context("no job")?.to_owned())
    }

    /// Syncs, and waits until that has ended well.
    ///
    /// # Errors
    /// When it does not.
    pub async fn sync(&self, mode: &str) -> Result<Value> {
        let job = self.begin_sync(mode).await?;
        self.ended_well(&job).await
    }

    /// Waits until a job has ended well.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ended_well(&self, job: &str) -> Result<Value> {
        let job = self.client.wait_job(job, PATIENCE).await?;
        ensure!(job["state"] == "succeeded", "{job:#}");
        Ok(job)
    }

    /// Waits until the first sync has ended well; gives it.
    ///
    /// # Errors
    /// When it does not.
    pub async fn first_sync(&self) -> Result<Value> {
        self.wait_state("active").await?;
        let mut sync = Value::Null;
        crate::until("the first sync has ended", PATIENCE, async || {
            let page = self.client.get(&format!("/v1/connections/{}/syncs", self.id)).await?.expect(200)?;
            sync = page["items"][0].clone();
            ensure!(sync["state"] != "dead", "{sync:#}");
            Ok(sync["state"] == "succeeded")
        })
        .await
        .with_context(|| format!("{sync:#}"))?;
        Ok(sync)
    }

    /// All copies, deleted ones too.
    ///
    /// # Errors
    /// When the API refuses, or its answer broke off.
    pub async fn copies(&self, object: &str) -> Result<Vec<Value>> {
        let path = format!("/v1/records/export?connection={}&object={object}&deleted=true", self.id);
        let reply = self.client.get(&path).await?;
        ensure!(reply.status == 200, "{}", reply.text());
        let mut lines: Vec<Value> =
            reply.text().lines().map(serde_json::from_str).collect::<Result<_, _>>().context("a line is no JSON")?;
        ensure!(lines.pop() == Some(json!({ "end": true })), "the export broke off");
        Ok(lines)
    }

    /// What is different between the account and its copy; nothing: they are the same.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub async fn differences(&self) -> Result<Vec<String>> {
        let mut all = Vec::new();
        let mut truths = Vec::new();
        let mut live = BTreeSet::new();
        for object in OBJECTS {
            let truth = self.account.truth(object).await?;
            let ids = truth["rows"].as_array().into_iter().flatten().filter_map(|row| row["id"].as_str());
            live.extend(ids.map(|id| format!("{object} {id}")));
            truths.push((object, truth));
        }
        for (object, truth) in truths {
            all.extend(differences((self.account.provider, object), &truth, &self.copies(object).await?, &live)?);
        }
        Ok(all)
    }

    /// Asserts that the copy is what is there.
    ///
    /// # Errors
    /// When it is not: what is different, the first twenty things.
    pub async fn is_a_copy(&self) -> Result<()> {
        let all = self.differences().await?;
        if all.is_empty() {
            return Ok(());
        }
        let first = &all[..all.len().min(20)];
        bail!("{} things are different in {}:\n{}", all.len(), self.account.provider, first.join("\n"))
    }

    /// Waits until the copy is what is there.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn becomes_a_copy(&self, patience: Duration) -> Result<()> {
        let mut last = Vec::new();
        let same = crate::until("the copy is what is there", patience, async || {
            last = self.differences().await?;
            Ok(last.is_empty())
        });
        let ended = same.await;
        ended
            .with_context(|| format!("{} things are different:\n{}", last.len(), last[..last.len().min(20)].join("\n")))
    }
}
