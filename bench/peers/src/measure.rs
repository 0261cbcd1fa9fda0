//! What is measured, the same of every peer.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::{process::Child, task::JoinSet, time::MissedTickBehavior};

use crate::{
    clock,
    process::{cpu_of_family_us, cpu_us, rss_bytes},
    starts,
    stats::Samples,
};

const CALLERS: usize = 4;
pub(crate) const BATCH: usize = 1_000;
const PATIENCE: Duration = Duration::from_secs(120);
const EVERY: Duration = Duration::from_millis(20);
/// How often the queue's storage is asked what is left. Seldom, because some answer by counting rows.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The first jobs find cold caches and are not counted.
const FIRST: usize = 25;

#[derive(Args, Clone, Debug)]
pub(crate) struct Size {
    /// Jobs of a drain
    #[arg(long, default_value_t = 20_000)]
    jobs: usize,
    /// How often enqueue and drain are measured
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Jobs of the measurement of pickup
    #[arg(long, default_value_t = 500)]
    pickups: usize,
    /// The server's process, whose processor time is told
    #[arg(long)]
    server_pid: u32,
    /// Where the notes of starts go
    #[arg(long)]
    dir: PathBuf,
}

/// A job of about 100 bytes of JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Payload {
    pub(crate) number: u64,
    filler: String,
}

impl Payload {
    pub(crate) fn new(number: u64) -> Self {
        Self { number, filler: "x".repeat(70) }
    }
}

/// A job queue.
pub(crate) trait Peer: Clone + Send + Sized + 'static {
    /// Its name on the command line.
    const NAME: &'static str;
    /// How it is set up, for people.
    const SETTINGS: &'static str;
    /// The longest backlog that it bears.
    const LONGEST_BACKLOG: usize;

    /// Connects, and makes what it needs on the server.
    fn prepare() -> impl Future<Output = Result<Self>>;

    /// Enqueues the jobs with these numbers, at most [`BATCH`] of them, by its own way of doing many at once.
    fn enqueue(&mut self, numbers: std::ops::Range<u64>) -> impl Future<Output = Result<()>> + Send;

    /// Enqueues one job.
    fn enqueue_one(&mut self, number: u64) -> impl Future<Output = Result<()>> + Send;

    /// How many jobs are not done, as its storage has it.
    fn unfinished(&mut self) -> impl Future<Output = Result<u64>> + Send;
}

/// Measures, and prints a JSON object a line.
pub(crate) async fn run<P: Peer>(size: &Size) -> Result<()> {
    let mut peer = P::prepare().await?;
    let mut next = 0_u64;
    for round in 0..size.rounds {
        drain(&mut peer, size, &mut next, round).await?;
    }
    pickup(&mut peer, size, &mut next).await
}

/// A backlog, in as many parts as the peer needs: enqueued without a worker, then done by one.
async fn drain<P: Peer>(peer: &mut P, size: &Size, next: &mut u64, round: usize) -> Result<()> {
    let (mut enqueuing, mut draining) = (Duration::ZERO, Duration::ZERO);
    let (mut cpu, mut cpu_server, mut rss) = (0, 0, 0);
    let mut left = size.jobs;
    let mut part = 0;
    while left > 0 {
        let count = left.min(P::LONGEST_BACKLOG);
        let start = Instant::now();
        enqueue_all(peer, *next..*next + count as u64).await?;
        enqueuing += start.elapsed();
        *next += count as u64;

        let server_before = cpu_of_family_us(size.server_pid).unwrap_or(0);
        let worker = Worker::start::<P>(&size.dir.join(format!("{}-{round}-{part}", P::NAME)))?;
        worker.wait_starts(count).await?;
        let deadline = Instant::now() + PATIENCE;
        while peer.unfinished().await? > 0 {
            ensure!(Instant::now() < deadline, "{}: jobs were started and are not done", P::NAME);
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let done = clock::now_ns();
        let first = starts::read(&worker.starts).into_values().min().context("no job was started")?;
        draining += Duration::from_nanos(done.saturating_sub(first));
        cpu += cpu_us(worker.pid).unwrap_or(0);
        cpu_server += cpu_of_family_us(size.server_pid).unwrap_or(0).saturating_sub(server_before);
        rss = rss.max(rss_bytes(worker.pid).unwrap_or(0));
        worker.stop().await?;
        left -= count;
        part += 1;
    }
    let rate = |elapsed: Duration| size.jobs as f64 / elapsed.as_secs_f64();
    print::<P>("enqueue_bulk", rate(enqueuing), "jobs/s");
    print::<P>("drain", rate(draining), "jobs/s");
    print::<P>("cpu_worker_us_per_job", cpu as f64 / size.jobs as f64, "us");
    print::<P>("cpu_server_us_per_job", cpu_server as f64 / size.jobs as f64, "us");
    print::<P>("rss", rss as f64 / 1e6, "MB");
    Ok(())
}

async fn enqueue_all<P: Peer>(peer: &P, numbers: std::ops::Range<u64>) -> Result<()> {
    let share = (numbers.end - numbers.start).div_ceil(CALLERS as u64).max(1);
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS as u64 {
        let mut peer = peer.clone();
        let begin = (numbers.start + caller * share).min(numbers.end);
        let end = (begin + share).min(numbers.end);
        callers.spawn(async move {
            for begin in (begin..end).step_by(BATCH) {
                peer.enqueue(begin..(begin + BATCH as u64).min(end)).await?;
            }
            anyhow::Ok(())
        });
    }
    callers.join_all().await.into_iter().collect()
}

/// One job after another on an idle queue.
async fn pickup<P: Peer>(peer: &mut P, size: &Size, next: &mut u64) -> Result<()> {
    let worker = Worker::start::<P>(&size.dir.join(format!("{}-pickup", P::NAME)))?;
    peer.enqueue_one(*next).await?;
    *next += 1;
    worker.wait_starts(1).await?;
    let idle = rss_bytes(worker.pid).unwrap_or(0);
    let mut clock = tokio::time::interval(EVERY);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut submitted = Vec::new();
    for _ in 0..FIRST + size.pickups {
        clock.tick().await;
        submitted.push((*next, clock::now_ns()));
        peer.enqueue_one(*next).await?;
        *next += 1;
    }
    worker.wait_starts(1 + submitted.len()).await?;
    let starts = starts::read(&worker.starts);
    worker.stop().await?;
    let counted = submitted[FIRST..].iter();
    let mut waits: Samples = counted.filter_map(|(number, at)| Some(starts.get(number)?.saturating_sub(*at))).collect();
    ensure!(waits.len() == size.pickups, "{}: not every job was started", P::NAME);
    let [half, most, nearly_all] = waits.percentiles_ms([0.5, 0.95, 0.99]);
    for (metric, value) in [("pickup_p50", half), ("pickup_p95", most), ("pickup_p99", nearly_all)] {
        print::<P>(metric, value, "ms");
    }
    print::<P>("rss_idle", idle as f64 / 1e6, "MB");
    Ok(())
}

fn print<P: Peer>(metric: &str, value: f64, unit: &str) {
    println!("{}", json!({ "peer": P::NAME, "settings": P::SETTINGS, "metric": metric, "value": value, "unit": unit }));
}

/// A worker process.
struct Worker {
    child: Child,
    pid: u32,
    starts: PathBuf,
}

impl Worker {
    fn start<P: Peer>(starts: &Path) -> Result<Self> {
        let child = tokio::process::Command::new(std::env::current_exe()?)
            .args(["worker", P::NAME, "--starts"])
            .arg(starts)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("the worker does not start")?;
        let pid = child.id().context("the worker has ended at once")?;
        Ok(Self { child, pid, starts: starts.to_owned() })
    }

    async fn wait_starts(&self, count: usize) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while starts::count(&self.starts) < count {
            let seen = starts::count(&self.starts);
            ensure!(Instant::now() < deadline, "{seen} of {count} jobs have started after {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Nothing of it is left to do.
    async fn stop(mut self) -> Result<()> {
        self.child.kill().await.context("the worker cannot be ended")
    }
}
