//! How much the statements read where the ledger is large and has many partitions: counted by Postgres itself, not guessed from a plan.

use millrace_shared::{
    db::{
        attempts,
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

/// 10,000 jobs on each of ten days before today: of 100, one belongs to one of ten small organisations and the rest to a large one; 1 in 50 is
/// dead, 1 in 20 queued and the rest succeeded. A partition of a few rows would be read whole, being the quickest way, so none is left with few.
const FILL: &str = "
    INSERT INTO jobs (id, org_id, kind, queue, priority, state, payload, max_attempts, attempt_budget, timeout_ms, run_at,
                      created_at, finished_at, error, error_class)
    SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7000' || lpad(to_hex(n), 16, '8'))::uuid,
           CASE WHEN n % 100 = 0 THEN $1[1 + n / 100 % 10] ELSE $2 END, 'probe', CASE WHEN n % 7 = 0 THEN 'asset' ELSE 'probe' END, 2,
           CASE WHEN n % 50 = 1 THEN 'dead' WHEN n % 20 = 0 THEN 'queued' ELSE 'succeeded' END, '{}', 5, 5, 1000, at, at,
           CASE WHEN n % 20 = 0 AND n % 50 <> 1 THEN NULL ELSE at END, 'x', 'y'
    FROM (SELECT n, $3 - (100001 - n) * interval '8.64 seconds' AS at FROM generate_series(1, 100000) AS n) AS numbers";

const PAST: i64 = 10;
/// A list in the order of ids looks at one row of each partition: those of the past, today's, three ahead and the default one.
const EACH: i64 = PAST + 5;

struct Large {
    db: Db,
    connection: PgConnection,
    small: OrgId,
    large: OrgId,
}

impl Large {
    async fn new() -> Self {
        let mut ledger = Self::empty().await;
        ledger.fill().await;
        sqlx::raw_sql("VACUUM ANALYZE jobs").execute(&mut ledger.connection).await.unwrap();
        ledger
    }

    /// Partitions of a day, with nothing in them and statistics that say so.
    async fn empty() -> Self {
        let db = Db::with_past(PAST).await;
        // One of the pool's, with its settings.
        let mut connection = db.pool.acquire().await.unwrap().detach();
        sqlx::raw_sql("VACUUM ANALYZE jobs").execute(&mut connection).await.unwrap();
        Self { db, connection, small: OrgId::new(), large: OrgId::new() }
    }

    async fn fill(&mut self) {
        let mut small: Vec<OrgId> = (0..10).map(|_| OrgId::new()).collect();
        small[3] = self.small;
        sqlx::query(FILL).bind(&small).bind(self.large).bind(midnight(0)).execute(&mut self.connection).await.unwrap();
    }

    /// How many rows of `jobs` one more run of a query reads, after so many that Postgres has settled for a plan.
    async fn reads(&mut self, query: impl AsyncFn(&mut PgConnection)) -> i64 {
        for _ in 0..8 {
            query(&mut self.connection).await;
        }
        let count =
            "SELECT sum(seq_tup_read + idx_tup_fetch)::bigint FROM pg_stat_xact_user_tables WHERE relname ~ '^jobs_'";
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
    let recent = midnight(0) - chrono::Duration::seconds(1_000);
    let of = |org| JobFilter { org: Some(org), ..JobFilter::default() };
    // Filter, what it may read: an organisation's page, all of a small organisation at most, all of a day at most.
    let cases = [
        (of(small), 60 + EACH),
        (of(large), 60 + EACH),
        (JobFilter::default(), 60 + EACH),
        (JobFilter { state: Some(JobState::Cancelled), ..of(small) }, 120),
        (JobFilter { state: Some(JobState::Queued), ..of(large) }, 3_000),
        (JobFilter { since: Some(recent), kind: Some("none".to_owned()), ..of(large) }, 11_000),
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
    let cases = [(of(ledger.large), 60 + EACH), (of(ledger.small), 60 + EACH), (DeadLetterFilter::default(), 3_000)];
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
    assert!(reads <= 520 + EACH, "{reads} rows for the first page");
    let after = (now - chrono::Duration::seconds(500_000), JobId(Uuid::nil()));
    let reads = ledger.reads(async |c| drop(jobs::due_page(c, QUEUES[3], after, now, 500).await.unwrap())).await;
    assert!(reads <= 520 + EACH, "{reads} rows for a page in the middle");
    let running: Vec<JobId> = (0..1_000).map(|_| JobId::new()).collect();
    let reads = ledger.reads(async |c| _ = jobs::oldest_due(c, QUEUES[3], &running).await.unwrap()).await;
    assert!(reads <= 5 + EACH, "{reads} rows for the oldest");
}

#[tokio::test]
async fn workers_read_the_rows_that_they_have_claimed() {
    let mut ledger = Large::new().await;
    let yesterday = "SELECT id FROM jobs WHERE state = 'queued' AND id < $1 ORDER BY id DESC LIMIT 100";
    let claimed: Vec<JobId> =
        sqlx::query_scalar(yesterday).bind(JobId::lowest_at(midnight(0))).fetch_all(&ledger.db.pool).await.unwrap();
    let reads = ledger.reads(async |c| drop(runs::begin(c, &claimed, &[0; 100]).await.unwrap())).await;
    assert!(reads <= 100, "{reads} rows to begin 100");
    let reads = ledger.reads(async |c| drop(jobs::ended(c, &claimed).await.unwrap())).await;
    assert!(reads <= 100, "{reads} rows to ask for 100");
    let batch: Vec<_> = claimed.iter().map(|id| success(*id)).collect();
    let reads = ledger.reads(async |c| drop(runs::succeed(c, WORKER, &batch).await.unwrap())).await;
    assert!(reads <= 300, "{reads} rows to end 100");
}

/// Asserts of every statement on a batch that it reads no more than the batch, in one partition or in all of them. Batches are
/// small because partitions are: where those are as small as a batch, reading all of one is the quickest way.
async fn assert_batches_read_themselves(ledger: &mut Large, when: &str) {
    let mut batches: Vec<Vec<JobId>> = Vec::new();
    for ids in [
        "SELECT id FROM jobs WHERE id < $1 ORDER BY id DESC LIMIT 20",
        "(SELECT id FROM jobs WHERE id < $1 ORDER BY id DESC LIMIT 19) UNION ALL (SELECT id FROM jobs WHERE id < $1 ORDER BY id LIMIT 1)",
        "SELECT id FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM jobs WHERE id < $1) AS numbered WHERE n % 4500 = 7 LIMIT 20",
    ] {
        let today = JobId::lowest_at(midnight(0));
        batches.push(sqlx::query_scalar(ids).bind(today).fetch_all(&mut ledger.connection).await.unwrap());
    }
    for ids in batches {
        let most = i64::try_from(ids.len()).unwrap();
        assert!(most >= 20, "{most}");
        let reads = ledger.reads(async |c| drop(runs::begin(c, &ids, &vec![0; ids.len()]).await.unwrap())).await;
        assert!(reads <= 2 * most, "{when}: {reads} rows to begin {most} jobs");
        let reads = ledger.reads(async |c| drop(jobs::ended(c, &ids).await.unwrap())).await;
        assert!(reads <= 2 * most, "{when}: {reads} rows to ask for {most} jobs");
        let reads = ledger.reads(async |c| drop(jobs::many(c, &ids).await.unwrap())).await;
        assert!(reads <= 2 * most, "{when}: {reads} rows to read {most} jobs");
        let reads = ledger.reads(async |c| drop(attempts::of_jobs(c, &ids).await.unwrap())).await;
        assert!(reads <= most, "{when}: {reads} rows for the attempts of {most} jobs");
        let batch: Vec<_> = ids.iter().map(|id| success(*id)).collect();
        let reads = ledger.reads(async |c| drop(runs::succeed(c, WORKER, &batch).await.unwrap())).await;
        assert!(reads <= 5 * most, "{when}: {reads} rows to end {most} jobs");
    }
}

#[tokio::test]
async fn a_batch_reads_its_own_rows_alone() {
    let mut ledger = Large::new().await;
    assert_batches_read_themselves(&mut ledger, "fresh statistics").await;
}

/// Statistics are always of an earlier time, and a queue that was empty then may be full now.
#[tokio::test]
async fn a_batch_reads_its_own_rows_alone_whatever_the_statistics_say() {
    let mut ledger = Large::new().await;
    let fill = "UPDATE jobs SET state = 'queued', finished_at = NULL";
    for statement in ["UPDATE jobs SET state = 'succeeded', finished_at = now()", "VACUUM ANALYZE jobs", fill] {
        sqlx::raw_sql(statement).execute(&mut ledger.connection).await.unwrap();
    }
    assert_batches_read_themselves(&mut ledger, "statistics of a time when all had ended").await;
}

/// What a connection has prepared, it keeps the plan of.
#[tokio::test]
async fn a_batch_reads_its_own_rows_alone_by_a_plan_from_when_partitions_were_empty() {
    let mut ledger = Large::empty().await;
    let ids: Vec<JobId> = (0..500).map(|_| JobId::new()).collect();
    let batch: Vec<_> = ids.iter().map(|id| success(*id)).collect();
    ledger.reads(async |c| drop(runs::begin(c, &ids, &[0; 500]).await.unwrap())).await;
    ledger.reads(async |c| drop(jobs::ended(c, &ids).await.unwrap())).await;
    ledger.reads(async |c| drop(jobs::many(c, &ids).await.unwrap())).await;
    ledger.reads(async |c| drop(runs::succeed(c, WORKER, &batch).await.unwrap())).await;
    ledger.fill().await;
    assert_batches_read_themselves(&mut ledger, "plans of empty partitions").await;
}

/// How many partitions a statement looks into: each look is a descent of an index there.
#[tokio::test]
async fn a_batch_of_one_day_looks_into_that_day_alone() {
    let mut ledger = Large::new().await;
    let ids: Vec<JobId> = sqlx::query_scalar("SELECT id FROM jobs ORDER BY id DESC LIMIT 100")
        .fetch_all(&mut ledger.connection)
        .await
        .unwrap();
    let batch: Vec<_> = ids.iter().map(|id| success(*id)).collect();
    let touched = "SELECT count(*) FROM pg_stat_xact_user_tables WHERE relname ~ '^jobs_' AND idx_scan + seq_scan > 0";
    let statements = async |c: &mut PgConnection| {
        runs::begin(c, &ids, &[0; 100]).await.unwrap();
        jobs::ended(c, &ids).await.unwrap();
        jobs::find_any(c, ids[0]).await.unwrap();
        runs::succeed(c, WORKER, &batch).await.unwrap();
    };
    for _ in 0..8 {
        statements(&mut ledger.connection).await;
    }
    // What the transactions before have counted is to be gone.
    sqlx::raw_sql("SELECT pg_stat_force_next_flush()").execute(&mut ledger.connection).await.unwrap();
    let mut transaction = sqlx::Connection::begin(&mut ledger.connection).await.unwrap();
    statements(&mut transaction).await;
    let touched: i64 = sqlx::query_scalar(touched).fetch_one(&mut *transaction).await.unwrap();
    transaction.rollback().await.unwrap();
    assert!(touched <= 2, "{touched} partitions");
}
