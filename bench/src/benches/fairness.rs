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
    site::{Form, Site, jobs, sleeping},
    starts,
    stats::Samples,
};

const OTHERS: usize = 99;
const FLOOD: usize = 100_000;
/// What the jobs of floods do: nothing, which keeps all processors busy, or wait for some time up to so many milliseconds, as most jobs do most
/// of the time, which keeps all slots busy.
const FLOODS: [(&str, u64); 2] = [("no-ops", 0), ("1 to 40 ms", 40)];
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
        let params = |flood: &str| Params::default().with("form", form.as_str()).with("flood", flood);
        let (mut idle, mut flooded) = (Samples::default(), FLOODS.map(|_| (Samples::default(), u64::MAX)));
        let flooding = |longest_ms: u64| {
            let lengths = (0..).map(move |number: u64| if longest_ms == 0 { 0 } else { 1 + number * 611 % longest_ms });
            jobs(flood, 1).zip(lengths).map(|(job, sleep_ms)| sleeping(job, sleep_ms))
        };
        for number in 1..=options.count(WAVES, 1) {
            report.say(&format!("{}, wave {number}", form.as_str()));
            idle.merge(wave(&site, &mut submitters, &notes).await?);
            site.wait_empty().await?;

            for ((_, longest_ms), (samples, left)) in FLOODS.iter().zip(&mut flooded) {
                site.pause().await?;
                site.fill(flooding(*longest_ms)).await?;
                site.resume().await?;
                tokio::time::sleep(HEAD_START).await;
                let submitted = submit_all(&site, &mut submitters).await?;
                *left = site.depth().await?.min(*left);
                samples.merge(waits(&submitted, &notes).await?);
                site.wait_empty().await?;
            }
        }
        site.stop().await?;

        let names = ["pickup_p50", "pickup_p95", "pickup_p99"];
        report.percentiles(names, &params("none"), &mut idle);
        for ((flood, _), (mut samples, left)) in FLOODS.into_iter().zip(flooded) {
            report.percentiles(names, &params(flood), &mut samples);
            #[expect(clippy::cast_precision_loss, reason = "a count of jobs")]
            report.add("flood_left", &params(flood), left as f64, "jobs");
            for (name, metric) in [("ratio_p50", names[0]), ("ratio_p99", names[2])] {
                let value = |flood| report.value(metric, &params(flood)).context("a figure is missing");
                let ratio = value(flood)? / value("none")?;
                report.add(name, &params(flood), ratio, "flooded/idle");
            }
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
