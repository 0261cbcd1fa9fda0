//! `queue`: the engine and Redis, without a ledger. Jobs of 100 bytes that do nothing; one worker process.

use std::time::{Duration, Instant};

use anyhow::Result;
use millrace_shared::queue::{MAX_BATCH, QueueJob, Queues};
use tokio::task::JoinSet;

use crate::{
    Options,
    report::{Params, Report},
    site::{Form, Site, jobs},
};

/// How many callers push at once where pushes are pipelined.
const PIPELINED: usize = 256;

pub(crate) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    enqueue(options, report).await?;
    drain(options, report).await
}

async fn enqueue(options: &Options, report: &mut Report) -> Result<()> {
    let site = Site::start(Form::QueueAlone, options).await?;
    for round in 1..=options.rounds {
        report.say(&format!("enqueue, round {round}"));
        for (name, count, callers, batch) in [
            ("enqueue_single", options.count(10_000, 100), 1, 1),
            ("enqueue_pipelined", options.count(100_000, PIPELINED), PIPELINED, 1),
            ("enqueue_bulk", options.count(100_000, MAX_BATCH), 1, MAX_BATCH),
            ("enqueue_bulk", options.count(100_000, MAX_BATCH), 4, MAX_BATCH),
        ] {
            let params = Params::default().with("callers", callers).with("batch", batch).with("jobs", count);
            let before = site.cpu();
            let elapsed = push(site.queues(), count, callers, batch).await?;
            let cpu = site.cpu().since(&before);
            report.rate(name, &params, (count, elapsed));
            cpu.report(report, &params, count);
            site.empty().await?;
        }
    }
    site.stop().await?;
    report.flush("Enqueue: jobs pushed into Redis by one process");
    Ok(())
}

/// Has callers push `count` jobs in batches, each its share one batch after another.
pub(super) async fn push(queues: &Queues, count: usize, callers: usize, batch: usize) -> Result<Duration> {
    let all: Vec<QueueJob> = jobs(count, 1).collect();
    let shares: Vec<Vec<QueueJob>> = all.chunks(count.div_ceil(callers)).map(<[_]>::to_vec).collect();
    drop(all);
    let mut pushing = JoinSet::new();
    let start = Instant::now();
    for share in shares {
        let queues = queues.clone();
        pushing.spawn(async move {
            for batch in share.chunks(batch) {
                queues.push(batch).await?;
            }
            redis::RedisResult::Ok(())
        });
    }
    for pushed in pushing.join_all().await {
        pushed?;
    }
    Ok(start.elapsed())
}

async fn drain(options: &Options, report: &mut Report) -> Result<()> {
    let mut site = Site::start(Form::QueueAlone, options).await?;
    site.start_workers(1, None).await?;
    let count = options.count(200_000, 1_000);
    for round in 1..=options.rounds {
        for orgs in [1, 100, 10_000] {
            report.say(&format!("drain, {orgs} organisations, round {round}"));
            let params = Params::default().with("orgs", orgs).with("slots", options.slots).with("jobs", count);
            let (elapsed, cpu) = site.drain(count, orgs).await?;
            report.rate("drain", &params, (count, elapsed));
            cpu.report(report, &params, count);
        }
    }
    site.stop().await?;
    report.flush("Drain: a backlog done by one worker");
    Ok(())
}
