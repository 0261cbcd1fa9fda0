//! Unique jobs: one waits, one runs, and at most one comes after it.

use millrace_shared::{
    db::jobs::{JobRow, JobState},
    ids::{JobId, OrgId},
    jobs::OnConflict::{self, Keep, Replace},
    ledger::Accepted,
};
use serde_json::json;

use crate::support::*;

async fn submit(db: &Db, org: OrgId, on_conflict: OnConflict, bytes: u32) -> Accepted {
    db.accept_one(org, &unique("key", on_conflict, bytes)).await
}

/// A running holder of the key and its successor.
async fn holder_and_successor(db: &Db, org: OrgId) -> (JobRow, JobRow) {
    let holder = submit(db, org, Replace, 1).await.row().clone();
    db.begin(holder.id, 0).await.unwrap();
    let Accepted::Successor(successor) = submit(db, org, Replace, 2).await else { panic!("a successor") };
    assert_eq!(successor.blocked_by, Some(holder.id));
    assert!(successor.to_queue().is_none(), "it is not to run yet");
    (holder, successor)
}

async fn key_holder(db: &Db) -> Option<(JobId, Option<JobId>)> {
    sqlx::query_as("SELECT job_id, successor_id FROM job_uniques").fetch_optional(&db.pool).await.unwrap()
}

#[tokio::test]
async fn keep_gives_back_the_job_that_waits() {
    let db = Db::new().await;
    let org = OrgId::new();
    let first = submit(&db, org, Keep, 1).await.row().id;
    let Accepted::Existing(row) = submit(&db, org, Keep, 2).await else { panic!("the existing one") };
    assert_eq!((row.id, row.payload), (first, json!({ "bytes": 1 })));
    assert_eq!(db.count("jobs").await, 1);
}

#[tokio::test]
async fn keep_gives_back_the_job_that_runs() {
    let db = Db::new().await;
    let org = OrgId::new();
    let first = submit(&db, org, Keep, 1).await.row().id;
    db.begin(first, 0).await.unwrap();
    assert!(matches!(submit(&db, org, Keep, 2).await, Accepted::Existing(row) if row.id == first));
}

#[tokio::test]
async fn replace_gives_the_waiting_job_the_new_payload() {
    let db = Db::new().await;
    let org = OrgId::new();
    let first = submit(&db, org, Replace, 1).await.row().id;
    for revision in 1..4 {
        let bytes = 10 + revision as u32;
        let Accepted::Replaced(row) = submit(&db, org, Replace, bytes).await else { panic!("replaced") };
        assert_eq!((row.id, row.payload, row.revision), (first, json!({ "bytes": bytes }), revision));
    }
}

#[tokio::test]
async fn a_key_belongs_to_one_organisation_and_one_kind() {
    let db = Db::new().await;
    submit(&db, OrgId::new(), Keep, 1).await;
    assert!(matches!(submit(&db, OrgId::new(), Keep, 2).await, Accepted::New(_)), "another organisation's");
}

#[tokio::test]
async fn the_same_key_twice_in_one_batch_is_one_job() {
    let db = Db::new().await;
    let org = OrgId::new();
    let kept = db.accept(org, &[unique("kept", Keep, 1), probe(), unique("kept", Keep, 2)]).await;
    assert!(
        matches!((&kept[0], &kept[2]), (Accepted::New(first), Accepted::Existing(second)) if first.id == second.id)
    );
    let replaced = db.accept(org, &[unique("replaced", Replace, 1), unique("replaced", Replace, 2)]).await;
    let Accepted::Replaced(row) = &replaced[1] else { panic!("replaced") };
    assert_eq!((row.id, &row.payload), (replaced[0].row().id, &json!({ "bytes": 2 })), "the last one counts");
}

#[tokio::test]
async fn behind_a_running_job_there_is_one_successor_whose_payload_is_the_last() {
    let db = Db::new().await;
    let org = OrgId::new();
    let (holder, successor) = holder_and_successor(&db, org).await;
    let Accepted::Replaced(row) = submit(&db, org, Replace, 3).await else { panic!("replaced") };
    assert_eq!((row.id, row.payload), (successor.id, json!({ "bytes": 3 })));
    assert_eq!(db.row(holder.id).await.payload, json!({ "bytes": 1 }), "what runs is left alone");
    assert_eq!(db.count("jobs").await, 2);
}

#[tokio::test]
async fn what_was_submitted_last_is_done_last_even_if_the_holder_waits_for_a_retry() {
    let db = Db::new().await;
    let org = OrgId::new();
    let (holder, successor) = holder_and_successor(&db, org).await;
    assert!(db.retry(&failure(&holder, 1), SECOND).await);
    let Accepted::Replaced(row) = submit(&db, org, Replace, 3).await else { panic!("replaced") };
    assert_eq!(row.id, successor.id, "the successor, or its older payload would be done after the newer one");
}

#[tokio::test]
async fn a_job_that_waits_for_a_retry_can_be_replaced_again() {
    let db = Db::new().await;
    let org = OrgId::new();
    let first = submit(&db, org, Replace, 1).await.row().clone();
    db.begin(first.id, 0).await.unwrap();
    assert!(db.retry(&failure(&first, 1), SECOND).await);
    assert!(matches!(submit(&db, org, Replace, 2).await, Accepted::Replaced(row) if row.id == first.id));
}

#[tokio::test]
async fn a_successor_is_unblocked_by_its_holders_success_death_and_cancellation() {
    for how in ["success", "death", "cancellation"] {
        let db = Db::new().await;
        let org = OrgId::new();
        let (holder, successor) = holder_and_successor(&db, org).await;
        let ended = match how {
            "success" => db.succeed(org, holder.id).await,
            "death" => db.bury(&failure(&holder, 1)).await,
            _ => db.cancel(org, holder.id).await,
        };
        let unblocked = ended.unwrap().unblocked.expect("the successor");
        assert_eq!((unblocked.id, unblocked.blocked_by), (successor.id, None), "{how}");
        assert!(unblocked.to_queue().is_some(), "{how}");
        assert_eq!(key_holder(&db).await, Some((successor.id, None)), "{how}");
        assert!(matches!(submit(&db, org, Replace, 3).await, Accepted::Replaced(row) if row.id == successor.id));
        assert!(db.succeed(org, successor.id).await.unwrap().unblocked.is_none());
        assert_eq!(key_holder(&db).await, None, "{how}: the key is free in the end");
        assert!(matches!(submit(&db, org, Replace, 4).await, Accepted::New(_)));
    }
}

#[tokio::test]
async fn a_successor_cancelled_before_its_turn_leaves_the_key_with_the_holder() {
    let db = Db::new().await;
    let org = OrgId::new();
    let (holder, successor) = holder_and_successor(&db, org).await;
    assert!(db.cancel(org, successor.id).await.unwrap().unblocked.is_none());
    assert_eq!(key_holder(&db).await, Some((holder.id, None)));
    let Accepted::Successor(second) = submit(&db, org, Replace, 3).await else { panic!("another successor") };
    assert_eq!(db.succeed(org, holder.id).await.unwrap().unblocked.unwrap().id, second.id);
}

#[tokio::test]
async fn a_blocked_job_is_not_begun() {
    let db = Db::new().await;
    let (_, successor) = holder_and_successor(&db, OrgId::new()).await;
    assert!(db.begin(successor.id, 0).await.is_none());
}

#[tokio::test]
async fn beginning_marks_a_unique_job_as_started_and_gives_the_newest_payload() {
    let db = Db::new().await;
    let org = OrgId::new();
    let row = submit(&db, org, Replace, 1).await.row().clone();
    submit(&db, org, Replace, 2).await;
    let begun = db.begin_known(row.id, row.revision).await;
    assert!(begun.is_unique);
    assert_eq!(begun.payload, Some(json!({ "bytes": 2 })));
    assert!(db.row(row.id).await.started_at.is_some());
    assert!(matches!(submit(&db, org, Replace, 3).await, Accepted::Successor(_)), "it is too late to replace");
}

/// Through this module no job ends without handing its key on. Should it happen, the key must not be lost for ever.
#[tokio::test]
async fn a_key_whose_holder_is_gone_is_taken_over() {
    for gone in
        ["DELETE FROM jobs WHERE id = $1", "UPDATE jobs SET state = 'succeeded', finished_at = now() WHERE id = $1"]
    {
        let db = Db::new().await;
        let org = OrgId::new();
        let first = submit(&db, org, Keep, 1).await.row().id;
        sqlx::query(gone).bind(first).execute(&db.pool).await.unwrap();
        let Accepted::New(row) = submit(&db, org, Keep, 2).await else { panic!("a new one") };
        assert_eq!((row.state, key_holder(&db).await), (JobState::Queued, Some((row.id, None))));

        db.begin(row.id, 0).await.unwrap();
        let next = submit(&db, org, Replace, 3).await.row().id;
        sqlx::query(gone).bind(row.id).execute(&db.pool).await.unwrap();
        assert!(
            matches!(submit(&db, org, Replace, 4).await, Accepted::Replaced(row) if row.id == next && row.blocked_by.is_none())
        );
    }
}
