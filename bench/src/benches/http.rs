//! `http`: submissions by HTTP, on connections that are kept open. Errors are counted and told; they are no reason to stop.

use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use hyper::StatusCode;
use serde_json::json;

use super::durable::batch_body;
use crate::{
    Options,
    http::{Call, Load, Target, allow_open_files},
    report::{Params, Report},
    site::{Form, Site, payload},
};

const LASTING: Duration = Duration::from_secs(5);
const BATCH: usize = 500;
/// The most connections, and what a process needs beside them.
const OPEN_FILES: u64 = 4_096;

/// A case: connections, jobs in a request, workers that do the jobs meanwhile.
const CASES: [(usize, usize, usize); 6] =
    [(1, 1, 0), (64, 1, 0), (1_000, 1, 0), (1, BATCH, 0), (8, BATCH, 0), (64, 1, 1)];

pub(crate) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    allow_open_files(OPEN_FILES)?;
    let mut site = Site::start(Form::Durable, options).await?;
    for (connections, batch, workers) in CASES {
        site.start_workers(workers, None).await?;
        let params = Params::default().with("connections", connections).with("batch", batch).with("workers", workers);
        for round in 1..=options.rounds {
            report.say(&format!("{connections} connections, {batch} jobs in a request, round {round}"));
            measure(&site, options, report, (&params, connections, batch)).await?;
            if workers > 0 {
                site.wait_empty().await?;
            }
            site.empty().await?;
        }
    }
    site.stop().await?;
    report.flush("Submissions by HTTP: POST /v1/jobs, and POST /v1/jobs/batch");
    Ok(())
}

async fn measure(
    site: &Site,
    options: &Options,
    report: &mut Report,
    (params, connections, batch): (&Params, usize, usize),
) -> Result<()> {
    let load = Load::submissions(connections, batch, options.lasting(LASTING));
    let before = site.cpu();
    let mut answers = load.run(&site.target()?).await?;
    let cpu = site.cpu().since(&before);
    let requests = answers.accepted.len();
    report.rate("requests", params, (requests, answers.elapsed));
    report.rate("jobs", params, (requests * batch, answers.elapsed));
    report.percentiles(["latency_p50", "latency_p95", "latency_p99"], params, &mut answers.accepted);
    #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
    report.add("errors", params, answers.error_count() as f64, "requests");
    cpu.report(report, params, requests * batch);
    for (error, count) in &answers.errors {
        report.say(&format!("{count} requests failed: {error}"));
    }
    Ok(())
}

impl Load {
    /// One job a request, or batches.
    pub(crate) fn submissions(connections: usize, batch: usize, lasting: Duration) -> Self {
        let (path, body): (_, Bytes) = if batch == 1 {
            ("/v1/jobs", json!({ "kind": "probe", "payload": payload() }).to_string().into())
        } else {
            ("/v1/jobs/batch", batch_body(batch))
        };
        let make = Box::new(move |target: &Target| Call::of_ours(target, path, body.clone()));
        Self { make, wanted: StatusCode::ACCEPTED, connections, lasting }
    }
}
