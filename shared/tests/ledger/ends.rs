//! The ends of jobs, and what depends on them.

use millrace_shared::{
    db::{
        assets::AssetState,
        jobs::{self, JobState},
    },
    ids::{AssetId, JobId, OrgId},
    jobs::{JobRequest, NewJob},
};
use serde_json::json;

use crate::support::*;

fn processing(db: &Db, asset: AssetId) -> NewJob {
    JobRequest::new("asset.process", json!({ "asset_id": asset })).check(&db.kinds).unwrap()
}

/// A queued job and the asset that waits for it.
async fn asset_and_job(db: &Db, org: OrgId) -> (AssetId, NewJob) {
    let id = JobId::new();
    let asset = db.asset(org, id).await;
    let job = NewJob { id, ..processing(db, asset) };
    db.accept_one(org, &job).await;
    (asset, job)
}

#[tokio::test]
async fn a_buried_job_is_a_dead_letter_with_its_reason_and_its_last_attempt() {
    let db = Db::new().await;
    let row = db.queued(OrgId::new()).await;
    assert!(db.retry(&failure(&row, 1), SECOND).await);
    let dead = db.bury(&failure(&row, 2)).await.unwrap().row;
    assert_eq!((dead.state, dead.attempt, dead.dead_reason.as_deref()), (JobState::Dead, 2, Some("failed")));
    assert_eq!((dead.error_class.as_deref(), dead.worker.as_deref()), (Some("upstream"), Some(WORKER)));
    assert!(dead.finished_at.is_some());
    assert_eq!(db.count("job_attempts").await, 2);
    assert!(db.bury(&failure(&row, 2)).await.is_none(), "once");
}

#[tokio::test]
async fn a_job_ends_in_one_way_only() {
    let db = Db::new().await;
    let org = OrgId::new();
    for first in 0..3 {
        let row = db.queued(org).await;
        let state = match first {
            0 => db.succeed(org, row.id).await,
            1 => db.bury(&failure(&row, 1)).await,
            _ => db.cancel(org, row.id).await,
        };
        let state = state.unwrap().row.state;
        assert!(db.succeed(org, row.id).await.is_none());
        assert!(db.bury(&failure(&row, 1)).await.is_none());
        assert!(db.cancel(org, row.id).await.is_none());
        assert_eq!(db.row(row.id).await.state, state);
    }
}

#[tokio::test]
async fn who_waits_for_jobs_is_told_which_have_ended() {
    let db = Db::new().await;
    let org = OrgId::new();
    let (ended, queued) = (db.dead(org).await, db.queued(org).await);
    let told = jobs::ended(&mut db.connection().await, &[queued.id, ended.id, JobId::new()]).await.unwrap();
    assert_eq!(told, [ended.id]);
}

#[tokio::test]
async fn an_asset_fails_with_its_job_and_waits_again_when_that_is_replayed() {
    let db = Db::new().await;
    let org = OrgId::new();
    let (asset, job) = asset_and_job(&db, org).await;
    db.bury(&failure(&db.row(job.id).await, 1)).await.unwrap();
    let failed = db.asset_row(org, asset).await;
    assert_eq!((failed.state, failed.error_code.as_deref()), (AssetState::Failed, Some("upstream")));
    assert!(failed.error_message.unwrap().contains("The Mill stopped"));
    db.replay(Some(org), job.id, None).await.unwrap();
    let pending = db.asset_row(org, asset).await;
    assert_eq!((pending.state, pending.error_code, pending.job_id), (AssetState::Pending, None, job.id));
}

#[tokio::test]
async fn an_asset_fails_when_its_job_is_cancelled() {
    let db = Db::new().await;
    let org = OrgId::new();
    let (asset, job) = asset_and_job(&db, org).await;
    db.cancel(org, job.id).await.unwrap();
    let failed = db.asset_row(org, asset).await;
    assert_eq!((failed.state, failed.error_code.as_deref()), (AssetState::Failed, Some("cancelled")));
}

#[tokio::test]
async fn an_asset_does_not_fail_by_a_job_that_is_not_the_one_that_processes_it() {
    let db = Db::new().await;
    let org = OrgId::new();
    let (asset, _) = asset_and_job(&db, org).await;
    let other = NewJob { unique_key: Some("another key".to_owned()), ..processing(&db, asset) };
    db.accept_one(org, &other).await;
    db.cancel(org, other.id).await.unwrap();
    assert_eq!(db.asset_row(org, asset).await.state, AssetState::Pending);
}

#[tokio::test]
async fn an_asset_of_another_organisation_is_out_of_reach() {
    let db = Db::new().await;
    let (owner, other) = (OrgId::new(), OrgId::new());
    let id = JobId::new();
    let asset = db.asset(owner, id).await;
    db.accept_one(other, &NewJob { id, ..processing(&db, asset) }).await;
    db.bury(&failure(&db.row(id).await, 1)).await.unwrap();
    assert_eq!(db.asset_row(owner, asset).await.state, AssetState::Pending);
}
