//! `crm`: a simulated account is copied, copied once more though nothing has changed, and called within a rate. The ledger is asked afterwards
//! whether all of it is there.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Utc};
use millrace_harness::{Account, PostgresOptions, RunDir, Simulator, Stack, StackBuilder, encryption_key};
use millrace_shared::{config::DatabaseConfig, db};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::{
    Options,
    cpu::Cpu,
    process::{cpu_us, peak_rss_bytes, rss_bytes},
    report::{Params, Report},
};

const PROVIDERS: [&str; 4] = ["hubspot", "kommo", "pipedrive", "salesforce"];
const RECORDS: usize = 200_000;
/// Of them are contacts; companies, deals and notes are half as many each.
const CONTACTS_SHARE: usize = 5;
/// Users and pipelines, which every account has.
const BESIDE_AT_MOST: i64 = 50;
const TOKEN: &str = "token-of-the-benchmark";
const WORKERS: [usize; 2] = [1, 4];
/// Kommo's calls per second.
const KOMMO_RATE: u32 = 7;
const LASTING: Duration = Duration::from_secs(30);
/// A sync that says nothing new for so long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);

pub(crate) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    for provider in PROVIDERS {
        let crm = Crm::start(options, |builder| builder.workers(1).worker_env("MILLRACE_CRM_RATES", NO_RATES)).await?;
        let account = crm.account(provider, options.count(RECORDS, 50)).await?;
        for round in 1..=options.rounds {
            report.say(&format!("{provider}, round {round}"));
            crm.copy(&account, options, report).await?;
        }
        crm.stop().await?;
    }
    report.flush("Copies of an account, by one worker and without a rate (early: after a tenth of the records)");
    for workers in WORKERS {
        report.say(&format!("Kommo's rate, {workers} workers"));
        within_rate(workers, options, report).await?;
    }
    report.flush("Calls of an account while more of them wait than its rate allows");
    Ok(())
}

const NO_RATES: &str = "kommo=off,hubspot=off,hubspot.search=off,salesforce=off,pipedrive=off";

/// A simulator, and a stack that takes it for the world's CRMs.
struct Crm {
    stack: Stack,
    pool: PgPool,
    simulator: Simulator,
    _dir: RunDir,
}

/// One sync, as the ledger has it.
#[derive(sqlx::FromRow)]
struct Sync {
    id: Uuid,
    started_at: DateTime<Utc>,
    finished_at: Option<DateTime<Utc>>,
    counts: Value,
    error: Option<String>,
}

impl Sync {
    fn count(&self, what: &str) -> u64 {
        let objects = self.counts.as_object().into_iter().flat_map(|objects| objects.values());
        objects.filter_map(|counts| counts[what].as_u64()).sum()
    }

    fn elapsed(&self) -> Duration {
        let elapsed = self.finished_at.unwrap_or(self.started_at) - self.started_at;
        elapsed.to_std().unwrap_or_default()
    }
}

impl Crm {
    async fn start(options: &Options, change: impl FnOnce(StackBuilder) -> StackBuilder) -> Result<Self> {
        let dir = RunDir::create()?;
        let simulator = Simulator::start(dir.path()).await?;
        let mut builder = Stack::builder()
            .own_postgres(PostgresOptions::default())
            .env("MILLRACE_ENCRYPTION_KEYS", encryption_key("bench")?)
            .env("MILLRACE_PUBLIC_URL", "https://hooks.example.org")
            .env("MILLRACE_CRM_ENDPOINTS", simulator.endpoints())
            .worker_env("MILLRACE_QUEUES", "crm=8");
        for (name, value) in &options.env {
            builder = builder.env(name, value);
        }
        let stack = change(builder).start().await?;
        let config = DatabaseConfig { url: stack.database_url().into(), max_connections: 2 };
        let pool = db::pool(&config, "millrace-bench")?;
        Ok(Self { stack, pool, simulator, _dir: dir })
    }

    /// An account with so many records.
    async fn account(&self, provider: &'static str, records: usize) -> Result<Account> {
        let each = records / CONTACTS_SHARE;
        // What Salesforce has in the place of notes are tasks.
        let notes = if provider == "salesforce" { "tasks" } else { "notes" };
        let mut seed = json!({ "contacts": records - 3 * each, "companies": each, "deals": each });
        seed[notes] = json!(each);
        let spec = json!({ "tokens": [TOKEN], "seed": seed, "switches": { "requests": 0, "searches_per_second": 0 } });
        self.simulator.account(provider, "acme", &spec).await
    }

    /// Connects the account, which begins its first sync; gives the connection's id.
    async fn connect(&self, account: &Account) -> Result<Uuid> {
        let auth = json!({ "type": "token", "token": TOKEN });
        let mut body = json!({ "name": "Bench", "provider": account.provider, "auth": auth });
        if account.provider != "hubspot" {
            body["account"] = json!(account.name);
        }
        let made = self.stack.client().post("/v1/connections", &body).await?.expect(201)?;
        made["id"].as_str().context("no id")?.parse().context("no id")
    }

    async fn copy(&self, account: &Account, options: &Options, report: &mut Report) -> Result<()> {
        let records = options.count(RECORDS, 50);
        let params = Params::default().with("provider", account.provider).with("records", records);
        let (before, pid) = (self.cpu(), self.stack.workers[0].process().pid());
        let connection = self.connect(account).await?;
        let mut early = None;
        let first = self.ended(connection, None, |sync| {
            if early.is_none() && sync.count("read") >= records as u64 / 10 {
                early = rss_bytes(pid);
            }
        });
        let first = first.await?;
        let (cpu, simulated) = self.cpu();
        self.check(connection, records).await?;
        report.rate("backfill", &params, (records, first.elapsed()));
        report.add("rss_early", &params, mb(early.or_else(|| rss_bytes(pid))), "MB");
        report.add("rss_peak", &params, mb(peak_rss_bytes(pid)), "MB");
        let path = format!("/v1/connections/{connection}/sync");
        let begun = self.stack.client().post(&path, &json!({ "mode": "full" })).await?.expect(202)?;
        let again = begun["job_id"].as_str().context("no job")?.parse()?;
        let again = self.ended(connection, Some(again), |_| ()).await?;
        let touched = again.count("created") + again.count("updated") + again.count("deleted");
        ensure!(touched == 0, "nothing has changed, and {touched} records were written");
        report.rate("resync", &params, (records, again.elapsed()));
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let each = (simulated - before.1) as f64 / records as f64;
        let ratio = first.elapsed().as_secs_f64() / again.elapsed().as_secs_f64();
        report.add("ratio", &params, ratio, "times the backfill's");
        cpu.since(&before.0).report(report, &params, records);
        report.add("cpu_simulator_us_per_job", &params, each, "us");
        Ok(())
    }

    /// What the parts have used, and what the simulator has.
    fn cpu(&self) -> (Cpu, u64) {
        let pids: Vec<u32> = self.stack.workers.iter().map(|worker| worker.process().pid()).collect();
        let api = self.stack.api.process().pid();
        let cpu = Cpu::now(&pids, self.stack.redis.pid(), self.stack.postgres.pid(), Some(api));
        (cpu, cpu_us(self.simulator.pid()).unwrap_or(0))
    }

    /// Waits for the end of a sync, the first one unless its id is told. `look` sees how far it is.
    async fn ended(&self, connection: Uuid, id: Option<Uuid>, mut look: impl FnMut(&Sync)) -> Result<Sync> {
        let (mut read, mut since) = (0, Instant::now());
        loop {
            let sync: Option<Sync> = sqlx::query_as(
                "SELECT id, started_at, finished_at, counts, error FROM crm_syncs
                 WHERE connection_id = $1 AND ($2::uuid IS NULL OR id = $2)",
            )
            .bind(connection)
            .bind(id)
            .fetch_optional(&self.pool)
            .await?;
            if let Some(sync) = sync {
                look(&sync);
                if sync.finished_at.is_some() {
                    return Ok(sync);
                }
                if sync.count("read") > read {
                    (read, since) = (sync.count("read"), Instant::now());
                }
                let told = sync.error.as_deref().unwrap_or("nothing is told");
                ensure!(since.elapsed() < STUCK_AFTER, "sync {} is stuck: {told}", sync.id);
            }
            ensure!(since.elapsed() < STUCK_AFTER, "no sync begins{}", self.stack.workers[0].process().log_excerpt());
            sleep(LOOK).await;
        }
    }

    /// Wants the copy to have every record.
    async fn check(&self, connection: Uuid, records: usize) -> Result<()> {
        let held: i64 =
            sqlx::query_scalar("SELECT count(*) FROM crm_records WHERE connection_id = $1 AND deleted_at IS NULL")
                .bind(connection)
                .fetch_one(&self.pool)
                .await?;
        let records = i64::try_from(records)?;
        ensure!(
            (records..records + BESIDE_AT_MOST).contains(&held),
            "of {records} records, users and pipelines not counted, the copy holds {held}"
        );
        Ok(())
    }

    async fn stop(self) -> Result<()> {
        self.pool.close().await;
        self.stack.drain().await
    }
}

/// How much of Kommo's rate is used while more jobs want to call than it allows, and whether it is ever exceeded.
async fn within_rate(workers: usize, options: &Options, report: &mut Report) -> Result<()> {
    let rates = format!("kommo={KOMMO_RATE}/1s");
    let crm = Crm::start(options, |builder| builder.workers(workers).worker_env("MILLRACE_CRM_RATES", rates)).await?;
    // Shorter than a few periods it would tell of none.
    let lasting = options.lasting(LASTING).max(Duration::from_secs(3));
    let calls = usize::try_from(lasting.as_secs() + 10)? * usize::try_from(KOMMO_RATE)?;
    let account = crm.account("kommo", calls * CONTACTS_SHARE / (CONTACTS_SHARE - 3)).await?;
    account.post("/switches", &json!({ "requests": KOMMO_RATE, "window_ms": 1_000, "block_after": 1 })).await?;
    let connection = crm.connect(&account).await?;
    crm.ended(connection, None, |_| ()).await?;
    let contacts = account.truth("contacts").await?;
    let jobs = contacts["rows"].as_array().into_iter().flatten().take(calls).map(|row| {
        let payload = json!({ "connection_id": connection, "object": "contacts", "external_id": row["id"] });
        json!({ "kind": "crm.sync_record", "payload": payload })
    });
    let jobs: Vec<Value> = jobs.collect();
    account.delete("/stats").await?;
    crm.stack.client().post("/v1/jobs/batch", &json!({ "jobs": jobs })).await?.expect(202)?;
    let begun = Instant::now();
    while account.stat("requests").await? < u64::from(KOMMO_RATE) * 2 {
        ensure!(begun.elapsed() < STUCK_AFTER, "no job calls{}", crm.stack.workers[0].process().log_excerpt());
        sleep(LOOK).await;
    }
    let (from, since) = (account.stat("requests").await?, Instant::now());
    sleep(lasting).await;
    let (stats, elapsed) = (account.get("/stats").await?, since.elapsed().as_secs_f64());
    let count = |name: &str| stats[name].as_f64().with_context(|| format!("no {name}"));
    let params = Params::default().with("rate", format!("{KOMMO_RATE}/s")).with("workers", workers);
    #[expect(clippy::cast_precision_loss, reason = "a count of calls")]
    let rate = (count("requests")? - from as f64) / elapsed;
    report.add("calls", &params, rate, "calls/s");
    report.add("used", &params, rate / f64::from(KOMMO_RATE) * 100.0, "% of the rate");
    report.add("most", &params, count("max_in_one_second")?, "calls in one second");
    report.add("refused", &params, count("rate_refusals")? + count("block_refusals")?, "calls");
    crm.stop().await
}

#[expect(clippy::cast_precision_loss, reason = "a size of memory")]
fn mb(bytes: Option<u64>) -> f64 {
    bytes.unwrap_or(0) as f64 / 1e6
}
