//! The demo's documents, through the containers.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use millrace_harness::Client;

use crate::{show, site::documents};

const DEADLINE: Duration = Duration::from_secs(180);

/// Uploads every document of `fixtures/documents` and waits until each is ready and has its text.
pub(super) async fn prove(client: &Client) -> Result<()> {
    let documents = documents();
    ensure!(!documents.is_empty(), "there are no documents in fixtures/documents");
    let mut uploads = Vec::new();
    for document in &documents {
        let name = document.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let accepted =
            client.upload_file(document).await?.expect(202).with_context(|| format!("{name} was refused"))?;
        let id = |what: &str| accepted[what]["id"].as_str().map(str::to_owned).with_context(|| format!("no {what}.id"));
        uploads.push((name, id("asset")?, id("job")?));
    }
    let mut words = 0;
    for (name, asset, job) in &uploads {
        let job = client.wait_job(job, DEADLINE).await.with_context(|| name.clone())?;
        let asset = client.get(&format!("/v1/assets/{asset}")).await?.expect(200)?;
        ensure!(job["state"] == "succeeded" && asset["state"] == "ready", "{name} failed: {job:#}\n{asset:#}");
        words += asset["words"].as_i64().unwrap_or_default();
    }
    ensure!(words > 0, "the documents are ready, but no text came out of them");
    let count = uploads.len();
    show::done(&format!("{count} documents uploaded and ready, with {} words", show::number(Some(words))));
    Ok(())
}
