//! graphile_worker, set up as its authors' own throughput benchmark does it.

use std::{ops::Range, time::Duration};

use anyhow::{Context, Result, anyhow};
use graphile_worker::{
    IntoTaskHandlerResult, JobSpec, LocalQueueConfig, RawJobSpec, TaskHandler, WorkerContext, WorkerOptions,
    WorkerUtils,
};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use std::sync::Arc;

use crate::{
    measure::{Payload, Peer},
    starts, variable,
};

#[derive(Deserialize, Serialize)]
struct Task(Payload);

impl TaskHandler for Task {
    const IDENTIFIER: &'static str = "peer";

    async fn run(self, _: WorkerContext) -> impl IntoTaskHandlerResult {
        starts::started(self.0.number);
        Ok::<(), String>(())
    }
}

#[derive(Clone)]
pub(crate) struct GraphileWorker {
    utils: Arc<WorkerUtils>,
    pool: PgPool,
}

fn options() -> Result<WorkerOptions> {
    Ok(WorkerOptions::default()
        .database_url(&variable("DATABASE_URL")?)
        .max_pg_conn(20)
        .concurrency(500)
        .poll_interval(Duration::from_millis(5))
        .complete_job_batch_delay(Duration::from_millis(5))
        .local_queue(LocalQueueConfig::default().with_size(5_000))
        .define_job::<Task>())
}

impl Peer for GraphileWorker {
    const NAME: &'static str = "graphile-worker";
    const SETTINGS: &'static str =
        "0.14.1, concurrency 500, local queue 5000, completions batched for 5 ms, poll 5 ms, 20 connections";
    const LONGEST_BACKLOG: usize = usize::MAX;

    async fn prepare() -> Result<Self> {
        let worker = options()?.init().await.map_err(|error| anyhow!("{error}"))?;
        let pool = PgPool::connect(&variable("DATABASE_URL")?).await?;
        Ok(Self { utils: Arc::new(worker.create_utils()), pool })
    }

    async fn enqueue(&mut self, numbers: Range<u64>) -> Result<()> {
        let jobs = numbers.map(|number| {
            let payload = serde_json::to_value(Task(Payload::new(number)))?;
            Ok(RawJobSpec { identifier: Task::IDENTIFIER.into(), payload, spec: JobSpec::default() })
        });
        let jobs: Vec<RawJobSpec> = jobs.collect::<Result<_>>()?;
        self.utils.add_raw_jobs(&jobs).await.map_err(|error| anyhow!("{error}"))?;
        Ok(())
    }

    async fn enqueue_one(&mut self, number: u64) -> Result<()> {
        let task = Task(Payload::new(number));
        self.utils.add_job(task, JobSpec::default()).await.map_err(|error| anyhow!("{error}"))?;
        Ok(())
    }

    /// It deletes what is done.
    async fn unfinished(&mut self) -> Result<u64> {
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM graphile_worker._private_jobs")
            .fetch_one(&self.pool)
            .await
            .context("the jobs cannot be counted")?;
        Ok(left.unsigned_abs())
    }
}

pub(crate) async fn work() -> Result<()> {
    let worker = options()?.init().await.map_err(|error| anyhow!("{error}"))?;
    worker.run().await.map_err(|error| anyhow!("{error}"))
}
