//! What workers write of the runs that do not end a job, and of those that do.

use millrace_shared::{
    db::{attempts, jobs::JobState, runs},
    ids::{JobId, OrgId},
    jobs::NewJob,
};
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn beginning_tells_what_the_envelope_does_not_know() {
    let db = Db::new().await;
    let row = db.queued(OrgId::new()).await;
    assert!(matches!(db.begin(row.id, 0).await, Some(runs::Begun::AsTold(id)) if id == row.id));
    let known = db.begin_known(row.id, -1).await;
    assert_eq!((known.id, known.org_id, known.is_unique), (row.id, row.org_id, false));
    assert_eq!((known.attempt, known.max_attempts, known.timeout_ms), (0, row.max_attempts, row.timeout_ms));
    assert_eq!(known.payload, Some(row.payload.clone()), "there is no copy of this revision");
    assert!(db.retry(&failure(&row, 1), SECOND).await);
    let known = db.begin_known(row.id, 0).await;
    assert_eq!((known.attempt, known.payload), (1, None), "an attempt is used up, and the copy is good");
}

#[tokio::test]
async fn a_batch_is_begun_whatever_it_is_made_of() {
    let db = Db::new().await;
    let org = OrgId::new();
    let rows = [db.queued(org).await, db.queued(org).await, db.queued(org).await, db.queued(org).await];
    db.succeed(org, rows[1].id).await.unwrap();
    db.retry(&failure(&rows[2], 1), SECOND).await;
    // Not in the order of the ids, to which the revisions belong all the same.
    let ids = [rows[3].id, rows[2].id, rows[1].id, rows[0].id];
    let begun = runs::begin(&mut db.connection().await, &ids, &[-1, 0, 0, 0]).await.unwrap();
    let (mut as_told, mut known) = (Vec::new(), Vec::new());
    for one in begun {
        match one {
            runs::Begun::AsTold(id) => as_told.push(id),
            runs::Begun::Otherwise(job) => known.push((job.id, job.payload.is_some(), job.attempt)),
        }
    }
    known.sort_unstable();
    assert_eq!(as_told, [rows[0].id]);
    assert_eq!(known, [(rows[2].id, false, 1), (rows[3].id, true, 0)]);
}

#[tokio::test]
async fn a_job_that_has_ended_or_that_nobody_knows_is_not_begun() {
    let db = Db::new().await;
    let org = OrgId::new();
    let rows = [db.queued(org).await, db.queued(org).await, db.queued(org).await];
    db.succeed(org, rows[0].id).await.unwrap();
    db.cancel(org, rows[1].id).await.unwrap();
    db.bury(&failure(&rows[2], 1)).await.unwrap();
    for id in rows.map(|row| row.id).into_iter().chain([JobId::new()]) {
        assert!(db.begin(id, 0).await.is_none());
    }
}

#[tokio::test]
async fn a_retry_writes_its_attempt_once_however_often_it_is_written() {
    let db = Db::new().await;
    let org = OrgId::new();
    let row = db.queued(org).await;
    for _ in 0..2 {
        assert!(db.retry(&failure(&row, 1), SECOND * 30).await);
    }
    let now = db.row(row.id).await;
    assert_eq!((now.state, now.attempt, now.error_class.as_deref()), (JobState::Queued, 1, Some("upstream")));
    assert!((25_000..=30_000).contains(&now.delay_ms), "{}", now.delay_ms);
    assert_eq!(now.to_queue().unwrap().meta.attempt, 1, "so that a rebuilt Redis knows it too");
    assert!(db.retry(&failure(&row, 2), SECOND).await);
    let attempts = attempts::of_job(&mut db.connection().await, org, row.id).await.unwrap();
    assert_eq!(attempts.iter().map(|attempt| attempt.attempt).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((attempts[0].outcome.as_str(), attempts[0].worker.as_str()), ("failed", WORKER));
    assert_eq!((attempts[0].ended_at - attempts[0].started_at).num_seconds(), 1);
}

#[tokio::test]
async fn a_zombies_late_retry_does_not_turn_the_count_back() {
    let db = Db::new().await;
    let row = db.queued(OrgId::new()).await;
    assert!(db.retry(&failure(&row, 3), SECOND).await);
    db.retry(&failure(&row, 1), SECOND).await;
    assert_eq!(db.row(row.id).await.attempt, 3);
}

#[tokio::test]
async fn an_ended_job_is_neither_retried_nor_put_off() {
    let db = Db::new().await;
    let org = OrgId::new();
    let row = db.queued(org).await;
    db.cancel(org, row.id).await.unwrap();
    assert!(!db.retry(&failure(&row, 1), SECOND).await);
    assert!(!runs::snooze(&mut db.connection().await, row.id, 1, SECOND).await.unwrap());
    assert_eq!(db.count("job_attempts").await, 0);
    assert_eq!(db.row(row.id).await.attempt, 0);
}

#[tokio::test]
async fn a_snooze_uses_no_attempt() {
    let db = Db::new().await;
    let row = db.queued(OrgId::new()).await;
    assert!(runs::snooze(&mut db.connection().await, row.id, 3, SECOND * 60).await.unwrap());
    let now = db.row(row.id).await;
    assert_eq!((now.attempt, now.snoozes), (0, 3));
    assert!(now.delay_ms > 50_000);
    assert_eq!(db.count("job_attempts").await, 0);
}

#[tokio::test]
async fn a_second_success_changes_nothing() {
    let db = Db::new().await;
    let org = OrgId::new();
    let row = db.queued(org).await;
    let ended = db.succeed(org, row.id).await.unwrap().row;
    assert_eq!((ended.state, ended.attempt, ended.result), (JobState::Succeeded, 1, Some(json!({ "ok": true }))));
    assert_eq!((ended.finished_at.unwrap() - ended.started_at.unwrap()).num_seconds(), 1);
    assert!(db.succeed(org, row.id).await.is_none());
    assert_eq!(db.row(row.id).await.finished_at, ended.finished_at);
}

#[tokio::test]
async fn a_batch_of_successes_tells_which_it_ended() {
    let db = Db::new().await;
    let org = OrgId::new();
    let rows = [db.queued(org).await, db.queued(org).await, db.queued(org).await];
    db.cancel(org, rows[1].id).await.unwrap();
    let batch: Vec<_> = rows.iter().map(|row| success(row.id)).chain([success(JobId::new())]).collect();
    let mut ended = runs::succeed(&mut db.connection().await, WORKER, &batch).await.unwrap();
    ended.sort_unstable();
    assert_eq!(ended, [rows[0].id, rows[2].id]);
    assert_eq!(db.row(rows[1].id).await.state, JobState::Cancelled);
}

#[tokio::test]
async fn progress_and_checkpoint_are_kept_through_a_retry() {
    let db = Db::new().await;
    let row = db.queued(OrgId::new()).await;
    let mut connection = db.connection().await;
    runs::progress(&mut connection, row.id, 255, "grinding").await.unwrap();
    runs::checkpoint(&mut connection, row.id, &json!({ "page": 7 })).await.unwrap();
    assert!(db.retry(&failure(&row, 1), SECOND).await);
    let now = db.row(row.id).await;
    assert_eq!((now.progress_percent, now.progress_message.as_deref()), (Some(100), Some("grinding")));
    assert_eq!(db.begin_known(row.id, 0).await.checkpoint, Some(json!({ "page": 7 })));
}

#[tokio::test]
async fn what_is_due_is_paged_by_time_without_a_gap_or_a_repetition() {
    let db = Db::new().await;
    let org = OrgId::new();
    let jobs: Vec<NewJob> = (0..25).map(|_| probe()).collect();
    db.accept(org, &jobs).await;
    let late = millrace_shared::jobs::RunAt::After(SECOND * 3_600);
    db.accept_one(org, &NewJob { run_at: late, ..probe() }).await;
    let mut connection = db.connection().await;
    let until = millrace_shared::db::jobs::now(&mut connection).await.unwrap();
    let (mut seen, mut after) = (0, (chrono::DateTime::UNIX_EPOCH, JobId(uuid::Uuid::nil())));
    loop {
        let queue = jobs[0].queue;
        let page = millrace_shared::db::jobs::due_page(&mut connection, queue, after, until, 10).await.unwrap();
        seen += page.len();
        if page.len() < 10 {
            break;
        }
        // All have one time, so that only their ids tell them apart.
        after = (db.row(jobs[0].id).await.run_at, jobs[seen - 1].id);
    }
    assert_eq!(seen, 25);
}
