//! The demo: real documents go in, text and chunks come out; a job fails, is found in the dead letters and replayed.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use chrono::{DateTime, FixedOffset};
use comfy_table::Cell;
use serde_json::{Value, json};

use crate::{
    show::{self, Column},
    site::{Site, documents},
};

/// How long one document may take, in the slowest build on the slowest machine.
const DOCUMENT_DEADLINE: Duration = Duration::from_secs(180);
const PROBE_DEADLINE: Duration = Duration::from_secs(60);

pub(crate) async fn run(site: &Site) -> Result<()> {
    let processed = show_documents(site).await?;
    if site.workers.is_empty() {
        println!("\n  Nothing runs them (--no-worker), so the demo ends here.");
    } else {
        show_dead_letter(site).await?;
    }
    show::heading("Queues");
    site.show_cli(&["queues"]).await?;
    site.print_addresses();
    ensure!(processed == Processed::All, "not every document was processed: see the table above");
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Processed {
    All,
    NotAll,
}

/// An accepted upload.
struct Upload {
    file: String,
    asset_id: String,
    job_id: Option<String>,
}

async fn show_documents(site: &Site) -> Result<Processed> {
    show::heading("Documents");
    let documents = documents();
    if documents.is_empty() {
        println!("  There are none in fixtures/documents.");
        return Ok(Processed::All);
    }
    let began = Instant::now();
    let mut uploads = Vec::new();
    for document in &documents {
        uploads.push(upload(site, document).await?);
    }
    let mut table = show::table(&[
        Column::Text("file"),
        Column::Text("type"),
        Column::Number("pages"),
        Column::Number("words"),
        Column::Number("chunks"),
        Column::Number("ms in queue"),
        Column::Number("ms of work"),
        Column::Text("state"),
    ]);
    let mut totals = [0_i64; 3];
    let mut failures = Vec::new();
    for upload in &uploads {
        let job = job_of(site, upload).await?;
        let asset = site.client.get(&format!("/v1/assets/{}", upload.asset_id)).await?.expect(200)?;
        let counts = ["pages", "words", "chunks"].map(|name| asset[name].as_i64());
        for (total, count) in totals.iter_mut().zip(counts) {
            *total += count.unwrap_or_default();
        }
        let state = asset["state"].as_str().unwrap_or("?");
        if state == "failed" {
            failures.push(format!("{}: {}", upload.file, in_words(&asset["error"])));
        }
        let mut row =
            vec![Cell::new(&upload.file), Cell::new(show::media_type(asset["media_type"].as_str().unwrap_or("–")))];
        row.extend(counts.map(|count| Cell::new(show::number(count))));
        row.push(Cell::new(show::number(ms_between(&job, "created_at", "started_at"))));
        row.push(Cell::new(show::number(ms_between(&job, "started_at", "finished_at"))));
        row.push(show::state(state));
        table.add_row(row);
    }
    show::print_table(&mut table);
    for failure in &failures {
        println!("  {} {failure}", show::red("✗"));
    }
    let [pages, words, chunks] = totals.map(|total| show::number(Some(total)));
    let count = uploads.len();
    let took = show::duration(began.elapsed());
    println!("  {}", show::dim(&format!("{count} documents, {pages} pages, {words} words, {chunks} chunks in {took}")));
    Ok(if failures.is_empty() { Processed::All } else { Processed::NotAll })
}

async fn upload(site: &Site, document: &Path) -> Result<Upload> {
    let file = document.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let accepted =
        site.client.upload_file(document).await?.expect(202).with_context(|| format!("{file} was not accepted"))?;
    let asset_id = accepted["asset"]["id"].as_str().context("the API's answer to an upload has no `asset.id`")?;
    let job_id = accepted["job"]["id"].as_str().map(str::to_owned);
    Ok(Upload { file, asset_id: asset_id.to_owned(), job_id })
}

/// The upload's job: at its end if somebody works, as it is otherwise; null if there is none.
async fn job_of(site: &Site, upload: &Upload) -> Result<Value> {
    let Some(id) = &upload.job_id else {
        return Ok(Value::Null);
    };
    if site.workers.is_empty() {
        return site.client.get(&format!("/v1/jobs/{id}")).await?.expect(200);
    }
    site.client.wait_job(id, DOCUMENT_DEADLINE).await.with_context(|| format!("{} was not processed", upload.file))
}

async fn show_dead_letter(site: &Site) -> Result<()> {
    show::heading("A job that always fails");
    let job = site.client.submit("probe", &json!({ "outcome": "fail" })).await?;
    let id = job["id"].as_str().context("the API's answer to a submission has no `id`")?;
    let dead = site.client.wait_job(id, PROBE_DEADLINE).await?;
    if dead["state"] != "dead" {
        bail!("the job that always fails ended as {}", dead["state"]);
    }
    println!("  probe {id} is dead: {}", in_words(&dead["error"]));
    let listed = site.show_cli(&["dlq", "list", "--org", &site.org]).await?;
    ensure!(listed.contains(id), "`millrace dlq list` does not show the dead job {id}");

    show::heading("The same job, replayed");
    site.show_cli(&["dlq", "replay", id, "--yes"]).await?;
    let again = site.client.wait_job(id, PROBE_DEADLINE).await?;
    let runs = |job: &Value| job["attempts"].as_array().map_or(0, Vec::len);
    ensure!(runs(&again) > runs(&dead), "the replayed job {id} did not run again: {again:#}");
    println!(
        "  it kept its id and history, ran again ({} attempts in all), and is {} once more, as it was told to",
        runs(&again),
        in_words(&again["state"]),
    );
    Ok(())
}

/// A JSON value without the quotes of a string.
fn in_words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(fields) => fields.get("message").map_or_else(|| value.to_string(), in_words),
        Value::Null => "no reason given".into(),
        other => other.to_string(),
    }
}

fn ms_between(job: &Value, from: &str, to: &str) -> Option<i64> {
    let time = |name: &str| -> Option<DateTime<FixedOffset>> { DateTime::parse_from_rfc3339(job[name].as_str()?).ok() };
    Some((time(to)? - time(from)?).num_milliseconds())
}
