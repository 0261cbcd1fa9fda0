//! Documents by their URL: a real API, a real worker, and web servers that behave well, badly and worse.

mod fetching;
mod held;
mod refusals;
mod versions;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use millrace_harness::{Client, Reply, Stack, StackBuilder};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(90);

/// A stack that fetches from 127.0.0.1, which is not public, at any port.
fn fetching() -> StackBuilder {
    Stack::builder().env("MILLRACE_FETCH_PORTS", "any").env("MILLRACE_FETCH_ALLOW_ADDRESSES", "127.0.0.1")
}

async fn post(client: &Client, url: &str) -> Result<Reply> {
    client.post("/v1/assets", &json!({ "url": url })).await
}

fn path(taken: &Value) -> Result<String> {
    Ok(format!("/v1/assets/{}", taken["asset"]["id"].as_str().context("no asset")?))
}

fn job_of(taken: &Value) -> Result<&str> {
    taken["job"]["id"].as_str().context("no job")
}

/// Waits for the job of a submission; gives it and the asset as it is then.
async fn ended(client: &Client, taken: &Value) -> Result<(Value, Value)> {
    let job = client.wait_job(job_of(taken)?, PATIENCE).await?;
    Ok((job, client.get(&path(taken)?).await?.expect(200)?))
}

/// Fetches and reads a URL.
async fn fetch(client: &Client, url: &str) -> Result<(Value, Value)> {
    let taken = post(client, url).await?.expect(202)?;
    ended(client, &taken).await
}

/// Waits until the first attempt of a job has failed; gives its class of error.
async fn first_failure(client: &Client, taken: &Value) -> Result<String> {
    let mut class = String::new();
    millrace_tests::until("an attempt has failed", PATIENCE, async || {
        let job = client.get(&format!("/v1/jobs/{}", job_of(taken)?)).await?.expect(200)?;
        class = job["error"]["class"].as_str().unwrap_or_default().to_owned();
        Ok(!class.is_empty())
    })
    .await?;
    Ok(class)
}

async fn text(client: &Client, taken: &Value) -> Result<String> {
    Ok(client.get(&format!("{}/text", path(taken)?)).await?.text().trim().to_owned())
}

/// Files below the stack's storage.
fn stored(stack: &Stack) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![stack.dir().join("storage")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.path().is_dir() { directories.push(entry.path()) } else { files.push(entry.path()) }
        }
    }
    files
}
