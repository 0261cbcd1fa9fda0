//! SIGTERM while jobs run: short ones end, long ones are handed back, and nothing counts as a failure.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use millrace_harness::Client;
use serde_json::{Value, json};

use super::project::Project;
use crate::show;

const EACH: usize = 3;
/// Ends within the drain timeout of the compose file (25 s).
const SHORT_MS: u64 = 8_000;
/// Does not, and is still within the kind's time limit (60 s).
const LONG_MS: u64 = 40_000;
const RUNNING: Duration = Duration::from_secs(30);
const ENDED: Duration = Duration::from_secs(120);

pub(super) async fn prove(project: &Project<'_>, client: &Client) -> Result<()> {
    show::heading("SIGTERM while jobs run");
    let short = submit(client, SHORT_MS).await?;
    let long = submit(client, LONG_MS).await?;
    for id in short.iter().chain(&long) {
        wait_running(client, id).await?;
    }
    let began = Instant::now();
    project.stop().await?;
    show::done(&format!("stopped in {} with {} jobs running", show::duration(began.elapsed()), 2 * EACH));
    for service in ["api", "worker", "redis", "postgres"] {
        let state = &project.inspect(service).await?["State"];
        ensure!(state["Running"] == false, "{service} still runs");
        ensure!(
            state["ExitCode"] == 0,
            "{service} ended with {}:\n{}",
            state["ExitCode"],
            project.logs_of(service).await?
        );
    }
    check_farewell(&project.logs_of("worker").await?)?;
    show::done("every service ended with exit code 0, and the worker says that it drained");

    project.up(&["postgres", "redis", "api"]).await?;
    project.wait_healthy(&["postgres", "redis", "api"]).await?;
    for id in &short {
        let job = get(client, id).await?;
        ensure!(job["state"] == "succeeded" && job["attempt"] == 1, "a short job was not finished: {job:#}");
    }
    for id in &long {
        let job = get(client, id).await?;
        let untouched = job["attempt"] == 0 && job["attempts"].as_array().is_some_and(Vec::is_empty);
        ensure!(job["state"] == "queued" && untouched, "a long job was not handed back as it was: {job:#}");
    }
    show::done("what was short was finished, and what was long is queued, with no attempt used");

    project.up(&["worker"]).await?;
    for id in &long {
        let job = client.wait_job(id, ENDED).await?;
        let once = job["attempt"] == 1 && job["attempts"].as_array().is_some_and(|attempts| attempts.len() <= 1);
        ensure!(job["state"] == "succeeded" && once, "a job that was handed back did not end well: {job:#}");
    }
    show::done("the next worker finished it, in the first attempt");
    Ok(())
}

async fn submit(client: &Client, sleep_ms: u64) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    for _ in 0..EACH {
        let job = client.submit("probe", &json!({ "sleep_ms": sleep_ms })).await?;
        ids.push(job["id"].as_str().context("the API's answer to a submission has no `id`")?.to_owned());
    }
    Ok(ids)
}

async fn get(client: &Client, id: &str) -> Result<Value> {
    client.get(&format!("/v1/jobs/{id}")).await?.expect(200)
}

async fn wait_running(client: &Client, id: &str) -> Result<()> {
    let began = Instant::now();
    loop {
        let job = get(client, id).await?;
        if job["state"] == "running" {
            return Ok(());
        }
        ensure!(began.elapsed() < RUNNING, "job {id} does not run: {job:#}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The worker's last words, in JSON.
fn check_farewell(logs: &str) -> Result<()> {
    let said = logs.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let drained =
        said.into_iter().find(|line| contains(line, "message", &json!("drained"))).context("it did not say so")?;
    ensure!(contains(&drained, "jobs.handed_back", &json!(EACH)), "it should have handed {EACH} jobs back: {drained}");
    Ok(())
}

/// Whether a log line has this field, at its top or among its `fields`.
fn contains(line: &Value, name: &str, value: &Value) -> bool {
    line.get(name) == Some(value) || line["fields"].get(name) == Some(value)
}
