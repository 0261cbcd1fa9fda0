//! Processor time by part of the system.

use crate::{
    process::{cpu_of_family_us, cpu_us},
    report::{Params, Report},
};

/// Processor time in µs, by part.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    worker: Option<u64>,
    redis: Option<u64>,
    postgres: Option<u64>,
    api: Option<u64>,
    client: Option<u64>,
}

impl Cpu {
    /// What these processes, and this one, which is the client, have used so far.
    pub(crate) fn now(workers: &[u32], redis: Option<u32>, postgres: Option<u32>, api: Option<u32>) -> Self {
        Self {
            worker: (!workers.is_empty()).then(|| workers.iter().filter_map(|pid| cpu_us(*pid)).sum()),
            redis: redis.and_then(cpu_us),
            postgres: postgres.and_then(cpu_of_family_us),
            api: api.and_then(cpu_us),
            client: cpu_us(std::process::id()),
        }
    }

    /// What was used since then.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let used = |now: Option<u64>, before: Option<u64>| Some(now?.saturating_sub(before?));
        Self {
            worker: used(self.worker, before.worker),
            redis: used(self.redis, before.redis),
            postgres: used(self.postgres, before.postgres),
            api: used(self.api, before.api),
            client: used(self.client, before.client),
        }
    }

    /// Adds what a job cost the worker, and all servers together.
    pub(crate) fn report_worker_and_server(&self, report: &mut Report, params: &Params, jobs: usize) {
        let servers = self.redis.unwrap_or(0) + self.postgres.unwrap_or(0);
        for (name, used) in [("cpu_worker_us_per_job", self.worker.unwrap_or(0)), ("cpu_server_us_per_job", servers)] {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
            report.add(name, params, used as f64 / jobs as f64, "us");
        }
    }

    /// Adds what a job cost each part.
    pub(crate) fn report(&self, report: &mut Report, params: &Params, jobs: usize) {
        for (name, used) in [
            ("cpu_worker_us_per_job", self.worker),
            ("cpu_api_us_per_job", self.api),
            ("cpu_redis_us_per_job", self.redis),
            ("cpu_postgres_us_per_job", self.postgres),
            ("cpu_client_us_per_job", self.client),
        ] {
            if let Some(used) = used.filter(|_| jobs > 0) {
                #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
                report.add(name, params, used as f64 / jobs as f64, "us");
            }
        }
    }
}
