//! `latency`: on an idle system a job every 20 ms; from its submission to the start of its handler.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use millrace_shared::{
    ids::{JobId, OrgId},
    queue::Queues,
};
use serde_json::{Value, json};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::{
    Options, clock,
    http::Connection,
    report::{Params, Report},
    site::{Form, Site, payload, probe},
    starts,
    stats::Samples,
};

const EVERY: Duration = Duration::from_millis(20);
/// The first jobs find cold caches and are not counted.
const FIRST: usize = 25;
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    let count = options.count(1_000, 20);
    for form in Form::BOTH {
        report.say(&format!("one job every {EVERY:?}, {}", form.as_str()));
        let mut site = Site::start(form, options).await?;
        let notes = site.dir().join("starts");
        site.start_workers(1, Some(&notes)).await?;
        let before = site.cpu();
        let mut waits = measure(&site, &notes, count).await?;
        let cpu = site.cpu().since(&before);
        site.stop().await?;

        let params = Params::default()
            .with("form", form.as_str())
            .with("every_ms", u64::try_from(EVERY.as_millis())?)
            .with("jobs", waits.len());
        report.percentiles(["pickup_p50", "pickup_p95", "pickup_p99"], &params, &mut waits);
        cpu.report(report, &params, FIRST + count);
    }
    report.flush("Pickup: submission → handler start on an idle system (push → start; POST → start)");
    Ok(())
}

/// How long jobs wait for their handlers to start.
pub(super) async fn measure(site: &Site, notes: &Path, count: usize) -> Result<Samples> {
    let submitted = submit(site, FIRST + count).await?;
    let ids: Vec<JobId> = submitted.iter().map(|(id, _)| *id).collect();
    let starts = starts::read(notes, &ids, PATIENCE).await?;
    Ok(submitted[FIRST..].iter().map(|(id, at)| starts[id].saturating_sub(*at)).collect())
}

/// Submits jobs at a steady pace; gives when each was about to be.
async fn submit(site: &Site, count: usize) -> Result<Vec<(JobId, u64)>> {
    let org = OrgId::new();
    let mut connection = match site.form() {
        Form::QueueAlone => None,
        Form::Durable => Some(Connection::open(&site.target()?).await?),
    };
    let mut clock = ticks(EVERY);
    let mut submitted = Vec::with_capacity(count);
    for _ in 0..count {
        clock.tick().await;
        submitted.push(match &mut connection {
            None => push_one(site.queues(), org).await?,
            Some(connection) => post_one(connection).await?,
        });
    }
    Ok(submitted)
}

/// Pushes a job into Redis; gives when it was about to be.
pub(crate) async fn push_one(queues: &Queues, org: OrgId) -> Result<(JobId, u64)> {
    let job = probe(org);
    let (id, at) = (job.id, clock::now_ns());
    queues.push(&[job]).await?;
    Ok((id, at))
}

/// Posts a job; gives when it was about to be.
pub(crate) async fn post_one(connection: &mut Connection) -> Result<(JobId, u64)> {
    let body: Bytes = json!({ "kind": "probe", "payload": payload() }).to_string().into();
    let at = clock::now_ns();
    let (status, said) = connection.post("/v1/jobs", body).await?;
    ensure!(status == 202, "a job was answered with {status}: {}", String::from_utf8_lossy(&said));
    Ok((id_of(&said)?, at))
}

/// A tick `every` so often; after one that was late the next is not hurried.
pub(crate) fn ticks(every: Duration) -> Interval {
    let mut clock = interval(every);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    clock
}

/// The id of an accepted job.
fn id_of(answer: &[u8]) -> Result<JobId> {
    let job: Value = serde_json::from_slice(answer).context("the answer to a submission is no JSON")?;
    job["id"].as_str().and_then(|id| id.parse().ok()).context("the answer to a submission has no `id`")
}
