//! Plain jobs are accepted as they were given.

use std::time::Duration;

use chrono::Utc;
use millrace_shared::{
    db::jobs::JobState,
    ids::OrgId,
    jobs::{NewJob, OnConflict, Priority, RunAt},
    ledger::{Accepted, HORIZON, near},
};
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn a_job_is_stored_as_it_was_given() {
    let db = Db::new().await;
    let org = OrgId::new();
    let job = NewJob {
        priority: Priority::High,
        payload: json!({ "bytes": 7 }),
        max_attempts: 9,
        timeout: Duration::from_millis(1_234),
        trace_context: Some("00-aa-bb-01".to_owned()),
        ..probe()
    };
    assert!(matches!(db.accept_one(org, &job).await, Accepted::New(_)));
    let row = db.row(job.id).await;
    assert_eq!(
        (row.org_id, row.kind.as_str(), row.queue.as_str(), row.state),
        (org, "probe", "probe", JobState::Queued)
    );
    assert_eq!((row.priority(), &row.payload, row.revision), (Priority::High, &job.payload, 0));
    assert_eq!((row.attempt, row.max_attempts, row.timeout_ms), (0, 9, 1_234));
    assert_eq!((row.delay_ms, row.blocked_by, row.started_at), (0, None, None));
    assert_eq!(row.trace_context, job.trace_context);
    let queued = row.to_queue().expect("it is to run");
    assert_eq!((queued.id, queued.envelope.org, queued.delay), (job.id, org, Duration::ZERO));
}

#[tokio::test]
async fn a_batch_is_answered_in_its_order_whatever_has_unique_keys() {
    let db = Db::new().await;
    let jobs: Vec<NewJob> = (0..100_u32)
        .map(|n| match n % 3 {
            // Keys in the opposite order of the batch.
            0 => unique(&format!("key-{:03}", 100 - n), OnConflict::Keep, n),
            _ => probe(),
        })
        .collect();
    let accepted = db.accept(OrgId::new(), &jobs).await;
    let ids: Vec<_> = accepted.iter().map(|accepted| accepted.row().id).collect();
    assert_eq!(ids, jobs.iter().map(|job| job.id).collect::<Vec<_>>());
    assert!(accepted.iter().all(|accepted| matches!(accepted, Accepted::New(_))));
}

#[tokio::test]
async fn no_jobs_are_accepted_without_complaint() {
    let db = Db::new().await;
    assert!(db.accept(OrgId::new(), &[]).await.is_empty());
}

#[tokio::test]
async fn a_batch_is_accepted_with_its_transaction_or_not_at_all() {
    let db = Db::new().await;
    let mut transaction = db.pool.begin().await.unwrap();
    let jobs = [probe(), unique("a", OnConflict::Keep, 1)];
    millrace_shared::ledger::accept(&mut transaction, OrgId::new(), &jobs).await.unwrap();
    transaction.rollback().await.unwrap();
    assert_eq!((db.count("jobs").await, db.count("job_uniques").await), (0, 0));
}

#[tokio::test]
async fn a_delay_counts_from_postgres_clock_and_a_time_in_the_past_is_now() {
    let db = Db::new().await;
    let at = |seconds| RunAt::At(Utc::now() + chrono::Duration::seconds(seconds));
    let jobs = [RunAt::Now, RunAt::After(Duration::from_secs(90)), at(120), at(-3_600)]
        .map(|run_at| NewJob { run_at, ..probe() });
    let accepted = db.accept(OrgId::new(), &jobs).await;
    let delays: Vec<i64> = accepted.iter().map(|accepted| accepted.row().delay_ms).collect();
    assert_eq!((delays[0], delays[1], delays[3]), (0, 90_000, 0));
    assert!((110_000..=121_000).contains(&delays[2]), "{delays:?}");
    let past = accepted[3].row();
    assert_eq!(past.run_at, past.created_at);
}

#[tokio::test]
async fn what_is_due_far_ahead_waits_in_the_ledger_alone() {
    let db = Db::new().await;
    let jobs = [HORIZON, HORIZON + SECOND].map(|delay| NewJob { run_at: RunAt::After(delay), ..probe() });
    let accepted = db.accept(OrgId::new(), &jobs).await;
    let near: Vec<_> = near(accepted.iter().map(Accepted::row)).iter().map(|job| job.id).collect();
    assert_eq!(near, [jobs[0].id]);
}

#[tokio::test]
async fn the_longest_allowed_delay_is_a_time_that_postgres_knows() {
    let db = Db::new().await;
    let delay = millrace_shared::jobs::MAX_DELAY;
    let row = db.accept_one(OrgId::new(), &NewJob { run_at: RunAt::After(delay), ..probe() }).await.row().clone();
    assert_eq!(u128::try_from(row.delay_ms).unwrap(), delay.as_millis());
    for delay in [Duration::MAX, delay * 2] {
        assert!(db.retry(&failure(&row, 1), delay).await, "and no longer one is ever written");
    }
}
