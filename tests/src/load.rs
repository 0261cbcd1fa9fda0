//! Making work: probes, batches, and traffic that goes on while something breaks.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use millrace_harness::Client;
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

/// A probe's submission.
#[must_use]
pub fn probe(payload: &Value) -> Value {
    json!({ "kind": "probe", "payload": payload })
}

/// A probe that sleeps and then leaves a row in `probe_effects`.
#[must_use]
pub fn effect_probe(sleep_ms: u64) -> Value {
    probe(&json!({ "sleep_ms": sleep_ms, "effect": true }))
}

/// Submits one job with all its fields and gives its id.
///
/// # Errors
/// When it is not accepted.
pub async fn submit(client: &Client, body: &Value) -> Result<String> {
    let job = client.post("/v1/jobs", body).await?.expect(202)?;
    job["id"].as_str().map(str::to_owned).context("an accepted job has no id")
}

/// Submits jobs in as few requests as possible and gives their ids in order.
///
/// # Errors
/// When one is not accepted.
pub async fn submit_all(client: &Client, bodies: &[Value]) -> Result<Vec<String>> {
    let mut ids = Vec::with_capacity(bodies.len());
    for batch in bodies.chunks(1000) {
        let accepted = client.post("/v1/jobs/batch", &json!({ "jobs": batch })).await?.expect(202)?;
        ids.extend(ids_of(&accepted["jobs"])?);
    }
    Ok(ids)
}

/// The ids of a list of jobs.
///
/// # Errors
/// When it is none.
pub fn ids_of(jobs: &Value) -> Result<Vec<String>> {
    let jobs = jobs.as_array().context("no list of jobs")?;
    jobs.iter().map(|job| job["id"].as_str().map(str::to_owned).context("a job without an id")).collect()
}

/// Clients that submit one job after another until they are told to stop.
#[derive(Debug)]
pub struct Traffic {
    stop: Arc<AtomicBool>,
    clients: JoinSet<Submitted>,
}

/// What became of the requests of some traffic.
#[derive(Clone, Debug, Default)]
pub struct Submitted {
    /// Jobs that were answered with 202.
    pub accepted: Vec<String>,
    /// Every other answer: status and `Retry-After`.
    pub refused: Vec<(u16, Option<String>)>,
    /// Requests without an answer.
    pub unanswered: Vec<String>,
    /// The longest that an answer took.
    pub slowest: Duration,
}

impl Traffic {
    /// Starts `clients` clients that each submit `body` again and again, with `pause` between two requests.
    #[must_use]
    pub fn start(client: &Client, clients: usize, pause: Duration, body: &Value) -> Self {
        let body = body.clone();
        Self::varied(client, clients, pause, move |_| body.clone())
    }

    /// As [`start`](Self::start), with a body for each request: `body` gets its number, counted over all clients.
    #[must_use]
    pub fn varied(
        client: &Client,
        clients: usize,
        pause: Duration,
        body: impl Fn(u64) -> Value + Send + Sync + 'static,
    ) -> Self {
        let (stop, next, body) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(body));
        let mut set = JoinSet::new();
        for _ in 0..clients {
            let (client, body, next, stop) = (client.clone(), Arc::clone(&body), Arc::clone(&next), Arc::clone(&stop));
            set.spawn(async move {
                let mut submitted = Submitted::default();
                while !stop.load(Ordering::Relaxed) {
                    submitted.one(&client, &body(next.fetch_add(1, Ordering::Relaxed))).await;
                    sleep(pause).await;
                }
                submitted
            });
        }
        Self { stop, clients: set }
    }

    /// Lets requests that are on their way end, and tells what became of all.
    pub async fn stop(self) -> Submitted {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Submitted::default();
        for one in self.clients.join_all().await {
            all.accepted.extend(one.accepted);
            all.refused.extend(one.refused);
            all.unanswered.extend(one.unanswered);
            all.slowest = all.slowest.max(one.slowest);
        }
        all
    }
}

impl Submitted {
    async fn one(&mut self, client: &Client, body: &Value) {
        let start = Instant::now();
        match client.post("/v1/jobs", body).await {
            Ok(reply) if reply.status == 202 => {
                let id = reply.json().ok().and_then(|job| job["id"].as_str().map(str::to_owned));
                self.accepted.extend(id);
            }
            Ok(reply) => self.refused.push((reply.status, reply.header("retry-after").map(str::to_owned))),
            Err(error) => self.unanswered.push(format!("{error:#}")),
        }
        self.slowest = self.slowest.max(start.elapsed());
    }
}

impl fmt::Display for Submitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, refused, unanswered, slowest } = self;
        write!(f, "{} accepted, {} refused, {} unanswered", accepted.len(), refused.len(), unanswered.len())?;
        write!(f, ", the slowest answer after {slowest:.1?}")
    }
}
