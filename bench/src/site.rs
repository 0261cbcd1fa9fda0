//! What a benchmark runs on: private servers, an API where one is needed, workers in processes of their own. Dropping it ends all of it.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use millrace_harness::{
    Inherit, PostgresOptions, RedisOptions, RedisServer, RunDir, Service, ServiceSpec, Stack, Until, file_url,
};
use millrace_shared::{
    config::DatabaseConfig,
    db,
    ids::{JobId, OrgId},
    jobs::{Priority, QUEUES, QueueName},
    queue::{Envelope, Meta, QueueJob, Queues, Settings, json_of},
};
use serde_json::{Value, json, value::RawValue};
use sqlx::PgPool;

use crate::{Options, cpu::Cpu, http::Target, worker};

/// The queue of the probes.
pub(crate) const QUEUE: QueueName = QUEUES[3];
const REDIS_TIMEOUT: Duration = Duration::from_secs(30);
const DRAIN_DEADLINE: Duration = Duration::from_secs(60);
/// A queue that gets no shorter for this long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(60);
/// How often to look whether all is done: towards the end often enough for the shortest of measurements.
const LOOK_OFTEN: Duration = Duration::from_millis(1);
const LOOK_SELDOM: Duration = Duration::from_millis(100);
/// Rows of one statement when a backlog is made.
const FILL_BATCH: usize = 5_000;

/// What a measurement goes through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// Redis and the engine, without a ledger.
    QueueAlone,
    /// Accepted in Postgres, done in Postgres.
    Durable,
}

impl Form {
    pub(crate) const BOTH: [Self; 2] = [Self::QueueAlone, Self::Durable];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::QueueAlone => "queue",
            Self::Durable => "durable",
        }
    }
}

enum Servers {
    Redis { redis: RedisServer, run: RunDir },
    All(Box<Stack>),
}

/// A running system. Its workers serve the probes alone.
pub(crate) struct Site {
    form: Form,
    queues: Queues,
    ledger: Option<PgPool>,
    options: Options,
    // Before the servers, so that workers end first.
    workers: Vec<Service>,
    servers: Servers,
}

impl Site {
    /// Starts the servers, and the API where there is a ledger. No worker yet.
    pub(crate) async fn start(form: Form, options: &Options) -> Result<Self> {
        let servers = match form {
            Form::QueueAlone => {
                let run = RunDir::create()?;
                Servers::Redis { redis: RedisServer::start(run.path(), RedisOptions::default()).await?, run }
            }
            Form::Durable => {
                let mut builder = Stack::builder().workers(0).own_postgres(PostgresOptions::default());
                for (name, value) in &options.env {
                    builder = builder.env(name, value);
                }
                Servers::All(Box::new(builder.start().await?))
            }
        };
        let redis = match &servers {
            Servers::Redis { redis, .. } => redis,
            Servers::All(stack) => &stack.redis,
        };
        let queues = Queues::connect(&redis.url().into(), REDIS_TIMEOUT)?;
        let ledger = match &servers {
            Servers::Redis { .. } => None,
            Servers::All(stack) => {
                let config = DatabaseConfig { url: stack.database_url().into(), max_connections: 10 };
                Some(db::pool(&config, "millrace-bench")?)
            }
        };
        Ok(Self { form, queues, ledger, options: options.clone(), workers: Vec::new(), servers })
    }

    pub(crate) fn form(&self) -> Form {
        self.form
    }

    pub(crate) fn queues(&self) -> &Queues {
        &self.queues
    }

    /// The ledger's pool.
    pub(crate) fn ledger(&self) -> Result<&PgPool> {
        self.ledger.as_ref().context("there is no ledger here")
    }

    /// The servers and the API, where there is a ledger.
    pub(crate) fn stack(&self) -> Result<&Stack> {
        match &self.servers {
            Servers::All(stack) => Ok(stack),
            Servers::Redis { .. } => bail!("there is no API here"),
        }
    }

    /// The API, as the admin of the organisation that is there from the start.
    pub(crate) fn target(&self) -> Result<Target> {
        let stack = self.stack()?;
        Ok(Target { address: stack.api.address(), key: stack.client().key().unwrap_or_default().to_owned() })
    }

    pub(crate) fn dir(&self) -> &Path {
        match &self.servers {
            Servers::Redis { run, .. } => run.path(),
            Servers::All(stack) => stack.dir(),
        }
    }

    pub(crate) fn redis(&self) -> &RedisServer {
        match &self.servers {
            Servers::Redis { redis, .. } => redis,
            Servers::All(stack) => &stack.redis,
        }
    }

    pub(crate) fn worker_pids(&self) -> Vec<u32> {
        self.workers.iter().map(|worker| worker.process().pid()).collect()
    }

    /// The processor time that each part has used so far.
    pub(crate) fn cpu(&self) -> Cpu {
        let (postgres, api) = match &self.servers {
            Servers::Redis { .. } => (None, None),
            Servers::All(stack) => (stack.postgres.pid(), Some(stack.api.process().pid())),
        };
        Cpu::now(&self.worker_pids(), self.redis().pid(), postgres, api)
    }

    /// Starts workers, and waits until they take jobs. With `starts` they note there when handlers start.
    pub(crate) async fn start_workers(&mut self, count: usize, starts: Option<&Path>) -> Result<()> {
        for _ in 0..count {
            // Without a ledger it never says that it is ready.
            let until = if self.form == Form::Durable { Until::Ready } else { Until::Listening };
            let spec = self.worker_spec(starts)?;
            self.workers.push(Service::start(spec, until).await?);
        }
        if count > 0 { self.warm_up().await } else { Ok(()) }
    }

    fn worker_spec(&self, starts: Option<&Path>) -> Result<ServiceSpec> {
        let mut environment = match &self.servers {
            Servers::Redis { redis, run } => vec![
                // Asked for by the configuration, and not used.
                ("DATABASE_URL".to_owned(), "postgres://127.0.0.1:1/none".to_owned()),
                ("REDIS_URL".to_owned(), redis.url().to_owned()),
                ("MILLRACE_STORAGE_URL".to_owned(), file_url(&run.path().join("storage"))?),
                ("MILLRACE_PROBE".to_owned(), "1".to_owned()),
            ],
            Servers::All(stack) => stack.environment().to_vec(),
        };
        environment.push(("MILLRACE_QUEUES".to_owned(), format!("{QUEUE}={}", self.options.slots)));
        environment.extend(self.options.env.iter().cloned());
        let own = std::env::current_exe().context("the path of this program is not known")?;
        let (program, mut arguments): (PathBuf, Vec<String>) = match (&self.servers, starts) {
            (Servers::Redis { .. }, _) => (own, vec![worker::QUEUE_ALONE.to_owned()]),
            (Servers::All(stack), None) => (stack.binaries().worker(), Vec::new()),
            (Servers::All(_), Some(_)) => (own, vec![worker::WHOLE.to_owned()]),
        };
        arguments.extend(starts.map(|path| format!("--starts={}", path.display())));
        Ok(ServiceSpec {
            name: format!("bench-worker-{}", self.workers.len()),
            program,
            arguments,
            bind_variable: "MILLRACE_WORKER_BIND",
            bind: "127.0.0.1:0".into(),
            environment,
            inherit: Inherit::NoSettings,
            dir: self.dir().to_owned(),
        })
    }

    /// Runs single jobs until they are done promptly: then connections are open and the workers listen.
    async fn warm_up(&self) -> Result<()> {
        let deadline = Instant::now() + STUCK_AFTER;
        let mut prompt = 0;
        while prompt < 10 {
            ensure!(Instant::now() < deadline, "the workers do not get going");
            let start = Instant::now();
            self.fill(jobs(1, 1)).await?;
            self.wait_empty().await?;
            prompt = if start.elapsed() < Duration::from_millis(200) { prompt + 1 } else { 0 };
        }
        Ok(())
    }

    /// Brings jobs to the ledger, if there is one, and to Redis.
    pub(crate) async fn fill(&self, mut jobs: impl Iterator<Item = QueueJob> + Send) -> Result<()> {
        loop {
            let batch: Vec<QueueJob> = jobs.by_ref().take(FILL_BATCH).collect();
            if batch.is_empty() {
                return Ok(());
            }
            if let Some(pool) = &self.ledger {
                insert(pool, &batch).await.context("a backlog cannot be put into the ledger")?;
            }
            self.queues.push(&batch).await.context("a backlog cannot be put into Redis")?;
        }
    }

    /// Keeps workers from claiming.
    pub(crate) async fn pause(&self) -> Result<()> {
        self.set_paused(true).await
    }

    /// Lets workers claim; gives when.
    pub(crate) async fn resume(&self) -> Result<Instant> {
        let start = Instant::now();
        self.set_paused(false).await?;
        Ok(start)
    }

    async fn set_paused(&self, paused: bool) -> Result<()> {
        let settings = Settings { paused, ..Settings::default() };
        if let Some(pool) = &self.ledger {
            let mut connection = pool.acquire().await?;
            db::queues::set(&mut connection, QUEUE, settings).await?;
        }
        self.queues.apply_settings(QUEUE, settings).await.context("the queue cannot be paused or resumed")
    }

    /// Takes everything out of Redis, and what is not done out of the ledger: what a measurement of submissions leaves.
    pub(crate) async fn empty(&self) -> Result<()> {
        if let Some(pool) = &self.ledger {
            sqlx::query("TRUNCATE jobs CASCADE").execute(pool).await.context("the ledger cannot be emptied")?;
        }
        let client = redis::Client::open(self.redis().url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd("FLUSHALL").query_async(&mut connection).await.context("Redis cannot be emptied")
    }

    /// Jobs that Redis holds, running ones included.
    pub(crate) async fn depth(&self) -> Result<u64> {
        let stats = self.queues.stats(QUEUE).await?;
        Ok(stats.ready.iter().sum::<u64>() + stats.delayed + stats.running)
    }

    /// Waits until Redis holds no job any more, which is after their ends were committed where there is a ledger.
    pub(crate) async fn wait_empty(&self) -> Result<()> {
        let (start, first) = (Instant::now(), self.depth().await?);
        let (mut depth, mut least, mut since, mut pause) = (first, first, start, LOOK_OFTEN);
        while depth > 0 {
            ensure!(since.elapsed() < STUCK_AFTER, "{depth} jobs are left and nothing moves{}", self.worker_logs());
            // Half of the time that it will still take, so that looking costs little and the end is seen at once; but what there is to go by is
            // little at first.
            let done = first.saturating_sub(depth).max(1);
            #[expect(clippy::cast_precision_loss, reason = "counts of jobs")]
            let left = start.elapsed().mul_f64(depth as f64 / done as f64 / 2.0);
            pause = left.min(pause * 2).clamp(LOOK_OFTEN, LOOK_SELDOM);
            tokio::time::sleep(pause).await;
            depth = self.depth().await?;
            if depth < least {
                (least, since) = (depth, Instant::now());
            }
        }
        Ok(())
    }

    fn worker_logs(&self) -> String {
        self.workers.iter().map(|worker| worker.process().log_excerpt()).collect()
    }

    /// How long the workers take for a backlog, and what it cost.
    pub(crate) async fn drain(&self, count: usize, orgs: usize) -> Result<(Duration, Cpu)> {
        self.pause().await?;
        self.fill(jobs(count, orgs)).await?;
        let before = self.cpu();
        let start = self.resume().await?;
        self.wait_empty().await?;
        let (elapsed, cpu) = (start.elapsed(), self.cpu().since(&before));
        self.check_all_done().await?;
        Ok((elapsed, cpu))
    }

    /// Wants the ledger to have no unfinished job.
    pub(crate) async fn check_all_done(&self) -> Result<()> {
        let Some(pool) = &self.ledger else { return Ok(()) };
        let left: i64 =
            sqlx::query_scalar("SELECT count(*) FROM jobs WHERE finished_at IS NULL").fetch_one(pool).await?;
        ensure!(left == 0, "Redis is empty, but {left} jobs are not done in the ledger");
        Ok(())
    }

    /// Drains the workers.
    pub(crate) async fn stop_workers(&mut self) -> Result<()> {
        for worker in std::mem::take(&mut self.workers) {
            let status = worker.process().terminate(DRAIN_DEADLINE).await?;
            ensure!(status.success(), "a worker drained with {status}{}", worker.process().log_excerpt());
        }
        Ok(())
    }

    /// Ends everything in good order.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.stop_workers().await?;
        if let Some(pool) = &self.ledger {
            pool.close().await;
        }
        if let Servers::All(stack) = &self.servers {
            stack.drain().await?;
        }
        Ok(())
    }
}

/// A payload of about 100 bytes that asks for nothing.
pub(crate) fn payload() -> Value {
    json!({
        "sleep_ms": 0, "fail_attempts": 0, "snoozes": 0, "snooze_ms": 0, "outcome": "succeed", "effect": false, "bytes": 0
    })
}

/// Jobs that do nothing, dealt out to `orgs` organisations in turn.
pub(crate) fn jobs(count: usize, orgs: usize) -> impl Iterator<Item = QueueJob> + Send {
    let orgs: Vec<OrgId> = (0..orgs).map(|_| OrgId::new()).collect();
    orgs.into_iter().cycle().take(count).map(probe)
}

/// A job that does nothing.
pub(crate) fn probe(org: OrgId) -> QueueJob {
    let envelope = Envelope {
        org,
        priority: Priority::Normal,
        kind: "probe".to_owned(),
        timeout: Duration::from_secs(60),
        max_attempts: 5,
        revision: 0,
        trace_context: None,
        payload: Some(json_of(&payload())),
    };
    QueueJob { id: JobId::new(), queue: QUEUE, envelope, delay: Duration::ZERO, meta: Meta::default() }
}

/// The same job, made to wait so long while it runs.
pub(crate) fn sleeping(mut job: QueueJob, sleep_ms: u64) -> QueueJob {
    let mut payload = payload();
    payload["sleep_ms"] = json!(sleep_ms);
    job.envelope.payload = Some(json_of(&payload));
    job
}

async fn insert(pool: &PgPool, jobs: &[QueueJob]) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO jobs (id, org_id, kind, queue, priority, payload, max_attempts, attempt_budget, timeout_ms) \
         SELECT new.id, new.org, 'probe', 'probe', 2, new.payload::jsonb, 5, 5, 60000 \
         FROM UNNEST($1::uuid[], $2::uuid[], $3::text[]) AS new (id, org, payload)",
    )
    .bind(jobs.iter().map(|job| job.id).collect::<Vec<_>>())
    .bind(jobs.iter().map(|job| job.envelope.org).collect::<Vec<_>>())
    .bind(jobs.iter().map(|job| job.envelope.payload.as_deref().map(RawValue::get)).collect::<Vec<_>>())
    .execute(pool)
    .await
    .map(drop)
}
