//! How much the statements read where the ledger is large: counted by Postgres itself, not guessed from a plan.

use millrace_shared::{
    db::{
        dead_letters::{self, DeadLetterFilter},
        jobs::{self, JobFilter, JobState},
        queues, runs,
    },
    ids::{JobId, OrgId},
    jobs::QUEUES,
};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::support::*;

/// 100,000 jobs, one every ten seconds up to now: of 100, one belongs to one of ten small organisations and the rest to a large one; 1 in 50 is
/// dead, 1 in 20 queued and the rest succeeded.
const FILL: &str = "
    INSERT INTO jobs (id, org_id, kind, queue, priority, state, payload, max_attempts, attempt_budget, timeout_ms, run_at,
                      created_at, finished_at, error, error_class)
    SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7000' || lpad(to_hex(n), 16, '8'))::uuid,
           CASE WHEN n % 100 = 0 THEN $1[1 + n / 100 % 10] ELSE $2 END, 'probe', CASE WHEN n % 7 = 0 THEN 'asset' ELSE 'probe' END, 2,
           CASE WHEN n % 50 = 1 THEN 'dead' WHEN n % 20 = 0 THEN 'queued' ELSE 'succeeded' END, '{}', 5, 5, 1000, at, at,
           CASE WHEN n % 20 = 0 AND n % 50 <> 1 THEN NULL ELSE at END, 'x', 'y'
    FROM (SELECT n, now() - (100000 - n) * interval '10 seconds' AS at FROM generate_series(1, 100000) AS n) AS numbers";

struct Large {
    db: Db,
    connection: PgConnection,
    small: OrgId,
    large: OrgId,
}

impl Large {
    async fn new() -> Self {
        let db = Db::new().await;
        let mut connection = db.connection().await;
        let small: Vec<OrgId> = (0..10).map(|_| OrgId::new()).collect();
        let large = OrgId::new();
        sqlx::query(FILL).bind(&small).bind(large).execute(&mut connection).await.unwrap();
        sqlx::raw_sql("VACUUM ANALYZE jobs").execute(&mut connection).await.unwrap();
        Self { db, connection, small: small[3], large }
    }

    /// How many rows of `jobs` one more run of a query reads, after so many that Postgres has settled for a plan.
    async fn reads(&mut self, query: impl AsyncFn(&mut PgConnection)) -> i64 {
        for _ in 0..8 {
            query(&mut self.connection).await;
        }
        let count = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'jobs'";
        let mut transaction = sqlx::Connection::begin(&mut self.connection).await.unwrap();
        // What earlier transactions read may not have been reported yet and is counted in.
        let before: i64 = sqlx::query_scalar(count).fetch_one(&mut *transaction).await.unwrap();
        query(&mut transaction).await;
        let after: i64 = sqlx::query_scalar(count).fetch_one(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
        after - before
    }
}

#[tokio::test]
async fn lists_read_little_more_than_they_show() {
    let mut ledger = Large::new().await;
    let (small, large) = (ledger.small, ledger.large);
    let recent = chrono::Utc::now() - chrono::Duration::seconds(1_000);
    let of = |org| JobFilter { org: Some(org), ..JobFilter::default() };
    // Filter, what it may read: an organisation's page, all of a small organisation at most, all after a time at most.
    let cases = [
        (of(small), 60),
        (of(large), 60),
        (JobFilter::default(), 60),
        (JobFilter { state: Some(JobState::Cancelled), ..of(small) }, 120),
        (JobFilter { state: Some(JobState::Queued), ..of(large) }, 3_000),
        (JobFilter { since: Some(recent), kind: Some("none".to_owned()), ..of(large) }, 10_000),
        (JobFilter { among: Some(vec![JobId::new()]), ..of(large) }, 2),
    ];
    for (filter, most) in cases {
        let reads = ledger.reads(async |c| drop(jobs::list(c, &filter, None, 50).await.unwrap())).await;
        assert!(reads <= most, "{reads} rows for {filter:?}");
    }
}

#[tokio::test]
async fn dead_letters_are_read_by_themselves() {
    let mut ledger = Large::new().await;
    let of = |org| DeadLetterFilter { org: Some(org), ..DeadLetterFilter::default() };
    let cases = [(of(ledger.large), 60), (of(ledger.small), 60), (DeadLetterFilter::default(), 3_000)];
    for (filter, most) in cases {
        let reads = ledger.reads(async |c| drop(dead_letters::list(c, &filter, None, 50).await.unwrap())).await;
        assert!(reads <= most, "{reads} rows for a list of {filter:?}");
        let reads = ledger.reads(async |c| _ = dead_letters::count(c, &filter).await.unwrap()).await;
        assert!(reads <= 2_000, "{reads} rows for a count of {filter:?}");
    }
    let reads = ledger.reads(async |c| _ = queues::dead_count(c, QUEUES[3]).await.unwrap()).await;
    assert!(reads <= 2_000, "{reads} rows for a queue's count");
}

#[tokio::test]
async fn what_is_due_is_read_in_its_order() {
    let mut ledger = Large::new().await;
    let start = (chrono::DateTime::UNIX_EPOCH, JobId(Uuid::nil()));
    let now = chrono::Utc::now();
    let reads = ledger.reads(async |c| drop(jobs::due_page(c, QUEUES[3], start, now, 500).await.unwrap())).await;
    assert!(reads <= 520, "{reads} rows for the first page");
    let after = (now - chrono::Duration::seconds(500_000), JobId(Uuid::nil()));
    let reads = ledger.reads(async |c| drop(jobs::due_page(c, QUEUES[3], after, now, 500).await.unwrap())).await;
    assert!(reads <= 520, "{reads} rows for a page in the middle");
    let running: Vec<JobId> = (0..1_000).map(|_| JobId::new()).collect();
    let reads = ledger.reads(async |c| _ = jobs::oldest_due(c, QUEUES[3], &running).await.unwrap()).await;
    assert!(reads <= 5, "{reads} rows for the oldest");
}

#[tokio::test]
async fn workers_read_the_rows_that_they_have_claimed() {
    let mut ledger = Large::new().await;
    let claimed: Vec<JobId> = sqlx::query_scalar("SELECT id FROM jobs WHERE state = 'queued' LIMIT 100")
        .fetch_all(&ledger.db.pool)
        .await
        .unwrap();
    let reads = ledger.reads(async |c| drop(runs::begin(c, &claimed, &[0; 100]).await.unwrap())).await;
    assert!(reads <= 100, "{reads} rows to begin 100");
    let reads = ledger.reads(async |c| drop(jobs::ended(c, &claimed).await.unwrap())).await;
    assert!(reads <= 100, "{reads} rows to ask for 100");
    let batch: Vec<_> = claimed.iter().map(|id| success(*id)).collect();
    let reads = ledger.reads(async |c| drop(runs::succeed(c, WORKER, &batch).await.unwrap())).await;
    assert!(reads <= 300, "{reads} rows to end 100");
}

/// Statistics are always of an earlier time, and a queue that was empty then may be full now.
#[tokio::test]
async fn a_batch_reads_its_own_rows_alone_whatever_the_statistics_say() {
    let mut ledger = Large::new().await;
    let fill = "UPDATE jobs SET state = 'queued', finished_at = NULL";
    for statement in ["UPDATE jobs SET state = 'succeeded', finished_at = now()", "VACUUM ANALYZE jobs", fill] {
        sqlx::raw_sql(statement).execute(&mut ledger.connection).await.unwrap();
    }
    let ids: Vec<JobId> = sqlx::query_scalar("SELECT id FROM jobs ORDER BY id LIMIT 500")
        .fetch_all(&mut ledger.connection)
        .await
        .unwrap();
    let revisions = vec![0; ids.len()];
    let reads = ledger.reads(async |c| drop(runs::begin(c, &ids, &revisions).await.unwrap())).await;
    assert!(reads <= 1_000, "{reads} rows to begin 500 jobs");
    let batch: Vec<_> = ids.iter().map(|id| success(*id)).collect();
    let reads = ledger.reads(async |c| drop(runs::succeed(c, WORKER, &batch).await.unwrap())).await;
    assert!(reads <= 2_500, "{reads} rows to end 500 jobs");
}
