//! `fairness`: one organisation floods the queue, 99 others submit one job each. How long these wait for their handlers to start, against how
//! long the same ones wait on an idle system.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use millrace_shared::{
    auth::{ApiKey, Role},
    db::{api_keys, organisations},
    ids::{JobId, OrgId},
};

use super::latency::{PATIENCE, post_one, push_one, ticks};
use crate::{
    Options,
    http::{Connection, Target},
    report::{Params, Report},
    site::{Form, Site, jobs},
    starts,
    stats::Samples,
};

const OTHERS: usize = 99;
const FLOOD: usize = 100_000;
/// Waves of the 99, so that a percentile of 99 is not one job's luck.
const WAVES: usize = 5;
const EVERY: Duration = Duration::from_millis(4);
/// How long the flood runs before the others come.
const HEAD_START: Duration = Duration::from_millis(30);

/// An organisation that submits.
enum Submitter {
    Push(OrgId),
    Post(Box<Connection>),
}

pub(crate) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    for form in Form::BOTH {
        let mut site = Site::start(form, options).await?;
        let notes = site.dir().join("starts");
        site.start_workers(1, Some(&notes)).await?;
        let mut submitters = submitters(&site).await?;
        let flood = options.count(FLOOD, 500);
        let params = |system: &str| Params::default().with("form", form.as_str()).with("system", system);
        let (mut idle, mut flooded, mut left) = (Samples::default(), Samples::default(), u64::MAX);
        for number in 1..=options.count(WAVES, 1) {
            report.say(&format!("{}, wave {number}", form.as_str()));
            idle.merge(wave(&site, &mut submitters, &notes).await?);
            site.wait_empty().await?;

            site.pause().await?;
            site.fill(jobs(flood, 1)).await?;
            site.resume().await?;
            tokio::time::sleep(HEAD_START).await;
            let submitted = submit_all(&site, &mut submitters).await?;
            left = left.min(site.depth().await?);
            flooded.merge(waits(&submitted, &notes).await?);
            site.wait_empty().await?;
        }
        site.stop().await?;

        let names = ["pickup_p50", "pickup_p95", "pickup_p99"];
        report.percentiles(names, &params("idle"), &mut idle);
        report.percentiles(names, &params("flooded"), &mut flooded);
        #[expect(clippy::cast_precision_loss, reason = "a count of jobs")]
        report.add("flood_left", &params("flooded"), left as f64, "jobs");
        for (name, metric) in [("ratio_p50", names[0]), ("ratio_p99", names[2])] {
            let value = |system| report.value(metric, &params(system)).context("a figure is missing");
            let ratio = value("flooded")? / value("idle")?;
            report.add(name, &params("flooded"), ratio, "flooded/idle");
        }
    }
    report.flush("Waits of 99 organisations with one job each, idle and beside one that floods the queue");
    Ok(())
}

async fn submitters(site: &Site) -> Result<Vec<Submitter>> {
    let mut submitters = Vec::with_capacity(OTHERS);
    for _ in 0..OTHERS {
        let org = OrgId::new();
        submitters.push(match site.form() {
            Form::QueueAlone => Submitter::Push(org),
            Form::Durable => {
                let key = ApiKey::generate();
                let mut connection = site.ledger()?.acquire().await?;
                organisations::create(&mut connection, org).await?;
                api_keys::create(&mut connection, org, Role::Submitter, "fairness", &key).await?;
                let target = Target { key: key.reveal().to_owned(), ..site.target()? };
                Submitter::Post(Box::new(Connection::open(&target).await?))
            }
        });
    }
    Ok(submitters)
}

async fn wave(site: &Site, submitters: &mut [Submitter], notes: &Path) -> Result<Samples> {
    let submitted = submit_all(site, submitters).await?;
    waits(&submitted, notes).await
}

/// Has each submit one job; gives when.
async fn submit_all(site: &Site, submitters: &mut [Submitter]) -> Result<Vec<(JobId, u64)>> {
    let mut clock = ticks(EVERY);
    let mut submitted = Vec::with_capacity(submitters.len());
    for submitter in submitters {
        clock.tick().await;
        submitted.push(match submitter {
            Submitter::Push(org) => push_one(site.queues(), *org).await?,
            Submitter::Post(connection) => post_one(connection).await?,
        });
    }
    Ok(submitted)
}

async fn waits(submitted: &[(JobId, u64)], notes: &Path) -> Result<Samples> {
    let ids: Vec<JobId> = submitted.iter().map(|(id, _)| *id).collect();
    let starts = starts::read(notes, &ids, PATIENCE).await?;
    Ok(submitted.iter().map(|(id, at)| starts[id].saturating_sub(*at)).collect())
}
