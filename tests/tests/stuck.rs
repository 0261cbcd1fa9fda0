//! A handler that blocks its thread, which no time limit can stop, costs that thread and nothing else.

use anyhow::{Context as _, Result};
use millrace_harness::Stack;
use millrace_tests::{Line, PATIENCE, effect_probe, short_lease, submit, submit_all};
use serde_json::{Value, json};

#[tokio::test]
async fn handler_that_blocks_its_thread_holds_up_nobody_and_its_job_ends_by_its_time_limit() -> Result<()> {
    let builder = short_lease(Stack::builder()).worker_env("MILLRACE_QUEUES", "probe=8");
    let line = Line::start(builder.worker_env("MILLRACE_DRAIN_TIMEOUT", "2s")).await?;
    let stuck = json!({ "kind": "probe", "payload": { "outcome": "block" }, "timeout_ms": 500, "max_attempts": 1 });
    let id = submit(line.client(), &stuck).await?;
    line.wait_state(&id, "running").await?;

    // Its neighbours outlive several leases, and lose none of them.
    let others = submit_all(line.client(), &vec![effect_probe(6000); 6]).await?;
    for other in &others {
        let job = line.wait_end(other).await?;
        assert_eq!((&job["state"], &job["attempt"]), (&json!("succeeded"), &json!(1)));
        assert_eq!(job["attempts"].as_array().map(Vec::len), Some(1), "{job:#}");
    }
    assert_eq!(line.client().get(&format!("/v1/jobs/{id}")).await?.expect(200)?["state"], "running");

    let job = line.client().wait_job(&id, PATIENCE * 3).await?;
    assert_eq!((&job["state"], &job["error"]["class"]), (&json!("dead"), &json!("timeout")), "{job:#}");
    let attempts: &Vec<Value> = job["attempts"].as_array().context("no attempts")?;
    assert_eq!(attempts.len(), 1, "{job:#}");

    // What cannot be stopped does not keep the worker from going either.
    let status = line.stack.workers[0].terminate(PATIENCE).await?;
    assert_eq!(status.code(), Some(0));
    Ok(())
}
