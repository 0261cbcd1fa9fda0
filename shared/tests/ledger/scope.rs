//! An organisation sees and changes its own, and nothing else.

use chrono::Utc;
use millrace_shared::{
    db::{
        attempts,
        jobs::{self, JobFilter, JobState},
        runs::Failure,
    },
    ids::{JobId, OrgId},
    jobs::{NewJob, QUEUES, RunAt},
};

use crate::support::*;

#[tokio::test]
async fn nothing_of_another_organisation_is_found_or_changed() {
    let db = Db::new().await;
    let (owner, other) = (OrgId::new(), OrgId::new());
    let row = db.queued(owner).await;
    assert!(db.retry(&failure(&row, 1), SECOND).await);
    let mut connection = db.connection().await;
    assert!(jobs::find(&mut connection, other, row.id).await.unwrap().is_none());
    assert!(attempts::of_job(&mut connection, other, row.id).await.unwrap().is_empty());
    assert_eq!(attempts::of_job(&mut connection, owner, row.id).await.unwrap().len(), 1);
    let theirs = JobFilter { org: Some(other), ..JobFilter::default() };
    assert!(jobs::list(&mut connection, &theirs, None, 10).await.unwrap().is_empty());
    assert!(db.cancel(other, row.id).await.is_none());
    let failure = Failure { org: other, ..failure(&row, 2) };
    assert!(!db.retry(&failure, SECOND).await);
    assert!(db.bury(&failure).await.is_none());
    assert_eq!(db.row(row.id).await.state, JobState::Queued);
    assert_eq!(db.count("job_attempts").await, 1);
}

#[tokio::test]
async fn a_success_in_another_organisations_name_is_rolled_back_with_its_transaction() {
    let db = Db::new().await;
    let row = db.queued(OrgId::new()).await;
    let mut transaction = db.pool.begin().await.unwrap();
    let ended =
        millrace_shared::ledger::succeed_one(&mut transaction, WORKER, OrgId::new(), &success(row.id)).await.unwrap();
    assert!(ended.is_none());
    transaction.rollback().await.unwrap();
    assert_eq!(db.row(row.id).await.state, JobState::Queued);
}

#[tokio::test]
async fn a_list_is_filtered_by_everything_that_is_known_of_a_job() {
    let db = Db::new().await;
    let org = OrgId::new();
    let a = db.queued(org).await.id;
    let late = NewJob { run_at: RunAt::After(SECOND * 60), ..probe() };
    let b = db.accept_one(org, &late).await.row().id;
    let c = db.dead(org).await.id;
    db.queued(OrgId::new()).await;
    let list = async |filter: JobFilter| -> Vec<JobId> {
        let rows = jobs::list(&mut db.connection().await, &filter, None, 10).await.unwrap();
        rows.iter().map(|row| row.id).collect()
    };
    let own = || JobFilter { org: Some(org), ..JobFilter::default() };
    assert_eq!(list(own()).await, [c, b, a], "the newest first");
    assert_eq!(list(JobFilter::default()).await.len(), 4);
    assert_eq!(list(JobFilter { state: Some(JobState::Queued), ..own() }).await, [b, a]);
    assert_eq!(list(JobFilter { state: Some(JobState::Queued), due: Some(true), ..own() }).await, [a]);
    assert_eq!(list(JobFilter { state: Some(JobState::Queued), due: Some(false), ..own() }).await, [b]);
    assert_eq!(list(JobFilter { kind: Some("asset.process".to_owned()), ..own() }).await, [] as [JobId; 0]);
    assert_eq!(list(JobFilter { queue: Some(QUEUES[3]), ..own() }).await, [c, b, a]);
    assert_eq!(list(JobFilter { among: Some(vec![a, c]), ..own() }).await, [c, a]);
    assert_eq!(list(JobFilter { without: vec![b], ..own() }).await, [c, a]);
    let since = |seconds: i64| Some(Utc::now() + chrono::Duration::seconds(seconds));
    assert_eq!(list(JobFilter { since: since(-60), ..own() }).await, [c, b, a]);
    assert_eq!(list(JobFilter { since: since(60), ..own() }).await, [] as [JobId; 0]);
    assert_eq!(list(JobFilter { since: Some(chrono::DateTime::UNIX_EPOCH), ..own() }).await, [c, b, a]);
    assert_eq!(
        list(JobFilter { since: Some(chrono::DateTime::<Utc>::MAX_UTC - chrono::Duration::days(400)), ..own() }).await,
        [] as [JobId; 0]
    );
    let older = jobs::list(&mut db.connection().await, &own(), Some(c), 1).await.unwrap();
    assert_eq!(older[0].id, b);
}
