//! Scans through the whole line: uploaded, recognised, found; and no tesseract outlives its job or its worker.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use millrace_harness::{Signal, Stack, workspace_root};
use millrace_tests::{PATIENCE, until};
use serde_json::json;

/// Two builds may share the machine.
const LONG: Duration = Duration::from_secs(120);
const SLEEP: &str = "sleep\x0040009\0";

fn scan() -> Result<Vec<u8>> {
    Ok(std::fs::read(workspace_root().join("fixtures/scans/sluice-en.png"))?)
}

/// Whether somebody sleeps as long as the program that stands in for tesseract.
fn is_asleep() -> bool {
    let mut processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.any(|entry| std::fs::read(entry.path().join("cmdline")).is_ok_and(|command| command == SLEEP.as_bytes()))
}

#[tokio::test]
async fn an_uploaded_scan_is_found_by_its_words() -> Result<()> {
    let stack = Stack::builder().worker_env("MILLRACE_OCR_LANGUAGES", "eng").start().await?;
    let client = stack.client();
    let uploaded = client.upload("scan.pdf", scan()?).await?.expect(202)?;
    let asset = uploaded["asset"]["id"].as_str().context("no asset")?;
    client.wait_job(uploaded["job"]["id"].as_str().context("no job")?, LONG).await?;
    let read = client.get(&format!("/v1/assets/{asset}")).await?.expect(200)?;
    assert_eq!((&read["state"], &read["media_type"]), (&json!("ready"), &json!("image/png")));
    assert_eq!((&read["pages"], &read["language"]), (&json!(1), &json!("en")));
    assert_eq!((&read["warnings"][0]["code"], &read["warnings"][0]["page"]), (&json!("read_by_ocr"), &json!(1)));
    let found = client.get("/v1/search?q=waterwheel").await?.expect(200)?;
    let hit = &found["items"][0];
    assert_eq!((&hit["asset"]["id"], &hit["page"]), (&json!(asset), &json!(1)), "{found}");
    stack.drain().await
}

#[tokio::test]
async fn tesseract_ends_with_a_cancelled_job_and_with_its_worker() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("tesseract");
    std::fs::write(&program, "#!/bin/sh\n[ \"$1\" = --list-langs ] && { echo eng; exit; }\nexec sleep 40009\n")?;
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
    let builder = Stack::builder()
        .worker_env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()))
        .worker_env("MILLRACE_OCR_LANGUAGES", "eng")
        .worker_env("MILLRACE_DRAIN_TIMEOUT", "1s");
    let stack = builder.start().await?;
    let client = stack.client();

    let uploaded = client.upload("scan.png", scan()?).await?.expect(202)?;
    until("tesseract runs", LONG, async || Ok(is_asleep())).await?;
    let job = uploaded["job"]["id"].as_str().context("no job")?;
    client.post_empty(&format!("/v1/jobs/{job}/cancel")).await?.expect(200)?;
    until("it is gone with its job", PATIENCE, async || Ok(!is_asleep())).await?;

    // The same picture in other bytes: what follows its end is ignored.
    client.upload("again.png", [scan()?, vec![0]].concat()).await?.expect(202)?;
    until("tesseract runs again", LONG, async || Ok(is_asleep())).await?;
    let worker = stack.workers[0].process();
    worker.signal(Signal::TERM)?;
    assert_eq!(worker.wait_within(PATIENCE).await?.code(), Some(0));
    ensure!(!is_asleep(), "it outlived its worker");
    Ok(())
}
