//! A database for one test, and short words for what the tests do with it.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use chrono::{DateTime, TimeDelta, Utc};
use millrace_harness::{PostgresOptions, PostgresServer, RunDir, TEST_POSTGRES, TEST_TEMPLATE};
use millrace_shared::{
    config::DatabaseConfig,
    db::{
        self,
        assets::{Asset, NewAsset},
        jobs::{self, JobRow},
        partitions,
        runs::{self, Failure, Outcome, Success},
    },
    ids::{AssetId, JobId, OrgId},
    jobs::{JobRequest, KindSet, Kinds, NewJob, OnConflict},
    ledger::{self, Accepted, Ended},
    storage::ObjectKey,
};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::sync::Mutex;

pub const WORKER: &str = "worker-1";
pub const SECOND: Duration = Duration::from_secs(1);

struct Server {
    postgres: PostgresServer,
    _dir: RunDir,
}

/// The server that the run provides, or else one that the tests of this process share for as long as any of them runs.
async fn server() -> Arc<Server> {
    static SHARED: Mutex<Weak<Server>> = Mutex::const_new(Weak::new());
    let mut shared = SHARED.lock().await;
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let dir = RunDir::create().unwrap();
    if let Some(url) = set(TEST_POSTGRES) {
        return Arc::new(Server { postgres: PostgresServer::external(&url), _dir: dir });
    }
    let settings = vec![("fsync".to_owned(), "off".to_owned())];
    let options = PostgresOptions { settings, ..PostgresOptions::default() };
    let server = Arc::new(Server { postgres: PostgresServer::start(dir.path(), options).await.unwrap(), _dir: dir });
    *shared = Arc::downgrade(&server);
    server
}

fn set(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}

/// A migrated database with nothing in it.
pub struct Db {
    pub pool: PgPool,
    pub url: String,
    pub kinds: Kinds,
    _server: Arc<Server>,
}

impl Db {
    pub async fn new() -> Self {
        let template = set(TEST_TEMPLATE);
        let db = Self::made(template.as_deref()).await;
        db::migrate(&db.pool).await.unwrap();
        db
    }

    /// A database without tables.
    pub async fn empty() -> Self {
        Self::made(None).await
    }

    async fn made(template: Option<&str>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let server = server().await;
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("millrace_test_ledger_{}_{}_{count}", std::process::id(), since_epoch.as_millis());
        let url = match template {
            Some(template) => server.postgres.copy_database(&name, template).await.unwrap(),
            None => server.postgres.create_database(&name).await.unwrap(),
        };
        let config = DatabaseConfig { url: url.clone().into(), max_connections: 12 };
        let pool = db::pool(&config, "test").unwrap();
        Self { pool, url, kinds: Kinds::new(KindSet::WorkAndProbe), _server: server }
    }

    /// A ledger that has partitions of a day for `days` past days, today and some days to come, as if it had been kept for that long.
    pub async fn with_past(days: i64) -> Self {
        let db = Self::new().await;
        let mut connection = db.connection().await;
        sqlx::raw_sql("DROP TABLE jobs_first; DROP TABLE job_attempts_first").execute(&mut connection).await.unwrap();
        for day in -days..=3 {
            let partition = partitions::between(midnight(day), midnight(day + 1));
            partitions::make(&mut connection, &partition).await.unwrap();
        }
        db
    }

    /// A plain job in the ledger with an id of `days` ago.
    pub async fn queued_before(&self, org: OrgId, days: i64) -> JobRow {
        self.accept_one(org, &before(days)).await.row().clone()
    }

    /// Makes a job have ended, if it has, that many days ago.
    pub async fn age_end(&self, id: JobId, days: i32) {
        sqlx::query(
            "UPDATE jobs SET finished_at = now() - $2 * interval '1 day' WHERE id = $1 AND finished_at IS NOT NULL",
        )
        .bind(id)
        .bind(days)
        .execute(&self.pool)
        .await
        .unwrap();
    }

    /// The table that holds a job.
    pub async fn place_of(&self, id: JobId) -> Option<String> {
        let table = sqlx::query_scalar("SELECT tableoid::regclass::text FROM jobs WHERE id = $1").bind(id);
        table.fetch_optional(&self.pool).await.unwrap()
    }

    pub async fn connection(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }

    pub async fn accept(&self, org: OrgId, jobs: &[NewJob]) -> Vec<Accepted> {
        let mut transaction = self.pool.begin().await.unwrap();
        let accepted = ledger::accept(&mut transaction, org, jobs).await.unwrap();
        transaction.commit().await.unwrap();
        accepted
    }

    pub async fn accept_one(&self, org: OrgId, job: &NewJob) -> Accepted {
        self.accept(org, std::slice::from_ref(job)).await.remove(0)
    }

    /// A plain job in the ledger.
    pub async fn queued(&self, org: OrgId) -> JobRow {
        self.accept_one(org, &probe()).await.row().clone()
    }

    pub async fn row(&self, id: JobId) -> JobRow {
        let mut connection = self.pool.acquire().await.unwrap();
        jobs::find_any(&mut connection, id).await.unwrap().unwrap()
    }

    pub async fn begin(&self, id: JobId, revision: i32) -> Option<runs::Begun> {
        let mut connection = self.pool.acquire().await.unwrap();
        runs::begin(&mut connection, &[id], &[revision]).await.unwrap().pop()
    }

    /// Begins a job of which the ledger knows more than its envelope.
    pub async fn begin_known(&self, id: JobId, revision: i32) -> runs::Known {
        match self.begin(id, revision).await {
            Some(runs::Begun::Otherwise(known)) => *known,
            other => panic!("{other:?}"),
        }
    }

    pub async fn succeed(&self, org: OrgId, id: JobId) -> Option<Ended> {
        let mut transaction = self.pool.begin().await.unwrap();
        let ended = ledger::succeed_one(&mut transaction, WORKER, org, &success(id)).await.unwrap();
        transaction.commit().await.unwrap();
        ended
    }

    pub async fn retry(&self, failure: &Failure, delay: Duration) -> bool {
        let mut transaction = self.pool.begin().await.unwrap();
        let counted = runs::retry(&mut transaction, WORKER, failure, delay).await.unwrap();
        transaction.commit().await.unwrap();
        counted
    }

    pub async fn bury(&self, failure: &Failure) -> Option<Ended> {
        let mut transaction = self.pool.begin().await.unwrap();
        let ended = ledger::bury(&mut transaction, WORKER, failure, "failed").await.unwrap();
        transaction.commit().await.unwrap();
        ended
    }

    pub async fn cancel(&self, org: OrgId, id: JobId) -> Option<Ended> {
        let mut transaction = self.pool.begin().await.unwrap();
        let ended = ledger::cancel(&mut transaction, org, id).await.unwrap();
        transaction.commit().await.unwrap();
        ended
    }

    /// A dead letter.
    pub async fn dead(&self, org: OrgId) -> JobRow {
        let row = self.queued(org).await;
        self.bury(&failure(&row, 1)).await.unwrap().row
    }

    pub async fn replay(
        &self,
        org: Option<OrgId>,
        id: JobId,
        payload: Option<Value>,
    ) -> Result<JobRow, ledger::ReplayError> {
        let mut transaction = self.pool.begin().await.unwrap();
        let replayed = ledger::replay(&mut transaction, &self.kinds, org, id, payload).await;
        transaction.commit().await.unwrap();
        replayed
    }

    /// An asset that waits for `job`.
    pub async fn asset(&self, org: OrgId, job: JobId) -> AssetId {
        let mut connection = self.pool.acquire().await.unwrap();
        sqlx::query("INSERT INTO organisations (id) VALUES ($1) ON CONFLICT DO NOTHING")
            .bind(org)
            .execute(&mut *connection)
            .await
            .unwrap();
        let id = AssetId::new();
        let mut sha256 = [0; 32];
        sha256[..16].copy_from_slice(id.as_bytes());
        let key = ObjectKey::asset(org, id);
        let media_type = "text/plain";
        let new = NewAsset { id, org, name: "a.txt", media_type, size_bytes: 1, sha256, storage_key: &key, job };
        db::assets::insert(&mut connection, &new).await.unwrap().unwrap();
        id
    }

    pub async fn asset_row(&self, org: OrgId, id: AssetId) -> Asset {
        let mut connection = self.pool.acquire().await.unwrap();
        db::assets::get(&mut connection, org, id).await.unwrap().unwrap()
    }

    pub async fn count(&self, table: &'static str) -> i64 {
        let statement = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        sqlx::query_scalar(statement).fetch_one(&self.pool).await.unwrap()
    }
}

/// The midnight (UTC) with which the day begins that is `days` from today.
pub fn midnight(days: i64) -> DateTime<Utc> {
    let today = Utc::now().date_naive().and_time(chrono::NaiveTime::MIN).and_utc();
    today + TimeDelta::days(days)
}

/// A probe with an id of a host whose clock is `days` behind, or of one whose submission was that long ago.
pub fn before(days: i64) -> NewJob {
    let mut job = probe();
    let mut bytes = *job.id.as_bytes();
    bytes[..6].copy_from_slice(&JobId::lowest_at(Utc::now() - TimeDelta::days(days)).as_bytes()[..6]);
    job.id = JobId(uuid::Uuid::from_bytes(bytes));
    job
}

pub fn probe() -> NewJob {
    JobRequest::new("probe", json!({})).check(&Kinds::new(KindSet::WorkAndProbe)).unwrap()
}

/// A job with a unique key. `bytes` tells payloads apart.
pub fn unique(key: &str, on_conflict: OnConflict, bytes: u32) -> NewJob {
    NewJob { unique_key: Some(key.to_owned()), on_conflict, payload: json!({ "bytes": bytes }), ..probe() }
}

pub fn success(id: JobId) -> Success {
    Success { id, attempt: 1, elapsed: SECOND, result: Some(json!({ "ok": true })) }
}

pub fn failure(row: &JobRow, attempt: u32) -> Failure {
    Failure {
        id: row.id,
        org: row.org_id,
        attempt,
        elapsed: SECOND,
        outcome: Outcome::Failed,
        class: "upstream".to_owned(),
        error: format!("attempt {attempt}: The Mill stopped"),
    }
}
