//! Documents that go, what goes with them, and what it costs to find that out.

use std::time::Duration;

use millrace_shared::{
    db::{
        asset_parts::{self, NewPart, family::Going},
        stray_objects,
    },
    ids::{AssetId, JobId, OrgId},
    jobs::{JobRequest, NewJob},
    ledger::{self, Ended, Removal},
    storage::ObjectKey,
};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};

use crate::support::*;

fn part(child: AssetId) -> NewPart {
    NewPart { name: "a.txt".to_owned(), media_type: None, size_bytes: None, child: Some(child), reason: None }
}

impl Db {
    /// Makes a document hold these and nothing else. Gives what it let go of.
    async fn hold(&self, org: OrgId, parent: AssetId, children: &[AssetId]) -> Vec<AssetId> {
        let parts: Vec<NewPart> = children.iter().copied().map(part).collect();
        asset_parts::replace(&mut self.connection().await, org, parent, &parts).await.unwrap()
    }

    /// A document that was found in another one, with a job that has not begun.
    async fn found(&self, org: OrgId, root: AssetId) -> (AssetId, JobId) {
        let id = JobId::new();
        let asset = self.asset(org, id).await;
        asset_parts::mark_found(&mut self.connection().await, org, asset, 1, root).await.unwrap();
        let job = JobRequest::new("asset.process", json!({ "asset_id": asset })).check(&self.kinds).unwrap();
        self.accept_one(org, &NewJob { id, ..job }).await;
        (asset, id)
    }

    /// Returns when a statement waits for a lock.
    async fn somebody_waits(&self) {
        let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')";
        while !sqlx::query_scalar::<_, bool>(waits).fetch_one(&self.pool).await.unwrap() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn assets(&self) -> Vec<AssetId> {
        sqlx::query_scalar("SELECT id FROM assets ORDER BY id").fetch_all(&self.pool).await.unwrap()
    }
}

async fn remove(connection: &mut PgConnection, org: OrgId, going: &Going) -> Vec<Ended> {
    match ledger::remove(connection, org, going).await.unwrap() {
        Removal::Done(cancelled) => cancelled,
        other => panic!("{other:?}"),
    }
}

async fn due(db: &Db) -> Vec<ObjectKey> {
    let mut due = stray_objects::lock_due(&mut db.connection().await, 100).await.unwrap();
    due.sort_unstable_by_key(ToString::to_string);
    due
}

#[tokio::test]
async fn what_a_document_lets_go_of_goes_with_its_job_unless_something_else_holds_it() {
    let (db, org) = (Db::new().await, OrgId::new());
    let (parent, other) = (db.asset(org, JobId::new()).await, db.asset(org, JobId::new()).await);
    let uploaded = db.asset(org, JobId::new()).await;
    let ((loose, job), (below, job_below)) = (db.found(org, parent).await, db.found(org, parent).await);
    let ((shared, shared_job), (below_shared, _)) = (db.found(org, parent).await, db.found(org, parent).await);
    let (kept, _) = db.found(org, parent).await;
    db.hold(org, parent, &[loose, shared, uploaded, kept, kept]).await;
    db.hold(org, loose, &[below, shared]).await;
    db.hold(org, shared, &[below_shared]).await;
    db.hold(org, other, &[shared]).await;

    let mut let_go = db.hold(org, parent, &[kept]).await;
    let_go.sort_unstable();
    let mut expected = vec![loose, shared, uploaded];
    expected.sort_unstable();
    assert_eq!(let_go, expected);
    let going = Going::LetGo { by: parent, children: let_go };
    let mut cancelled: Vec<JobId> =
        remove(&mut db.connection().await, org, &going).await.iter().map(|ended| ended.row.id).collect();
    cancelled.sort_unstable();
    assert_eq!(cancelled, [job, job_below]);
    let mut left = [parent, other, uploaded, shared, below_shared, kept];
    left.sort_unstable();
    assert_eq!(db.assets().await, left);
    let mut noted = [loose, below].map(|id| ObjectKey::asset(org, id));
    noted.sort_unstable_by_key(ToString::to_string);
    assert_eq!(due(&db).await, noted);
    assert_eq!(db.row(shared_job).await.state, millrace_shared::db::jobs::JobState::Queued);

    // What the other document holds counts for that one now.
    let counted = async |id| asset_parts::place(&mut db.connection().await, org, id).await.unwrap().unwrap().parts;
    assert_eq!((counted(parent).await, counted(other).await), (0, 1));
    assert!(matches!(
        ledger::remove(&mut db.connection().await, org, &Going::Document(loose)).await,
        Ok(Removal::Nothing)
    ));
}

#[tokio::test]
async fn two_holders_that_go_at_the_same_time_take_along_what_both_hold() {
    let (db, org) = (Db::new().await, OrgId::new());
    let (one, other) = (db.asset(org, JobId::new()).await, db.asset(org, JobId::new()).await);
    let (shared, _) = db.found(org, one).await;
    for parent in [one, other] {
        db.hold(org, parent, &[shared]).await;
    }
    let (mut first, mut second) = (db.connection().await, db.connection().await);
    let mut first = first.begin().await.unwrap();
    remove(&mut first, org, &Going::Document(one)).await;
    let removing = async {
        let mut second = second.begin().await.unwrap();
        remove(&mut second, org, &Going::Document(other)).await;
        second.commit().await.unwrap();
    };
    let committing = async {
        db.somebody_waits().await;
        first.commit().await.unwrap();
    };
    let both = tokio::time::timeout(Duration::from_secs(30), async { tokio::join!(removing, committing) }).await;
    both.expect("the second waits for what both hold, and goes on when the first is gone");
    assert_eq!(db.assets().await, []);
}

/// A deletion locks the child's job before that of its document, being the older one: whoever ends the document's job must not hold that yet.
#[tokio::test]
async fn jobs_of_what_goes_are_locked_in_one_order_whoever_asks() {
    let (db, org) = (Db::new().await, OrgId::new());
    let parent = db.asset(org, JobId::new()).await;
    let (child, older) = db.found(org, parent).await;
    db.hold(org, parent, &[child]).await;
    let own = db.queued(org).await.id;
    let lock = "SELECT id FROM jobs WHERE id = $1 FOR UPDATE NOWAIT";
    let (mut deleting, mut ending) = (db.connection().await, db.connection().await);
    let mut deleting = deleting.begin().await.unwrap();
    sqlx::query(lock).bind(older).execute(&mut *deleting).await.unwrap();
    let going = Going::LetGo { by: parent, children: vec![child] };
    let end = async {
        let mut ending = ending.begin().await.unwrap();
        ledger::lock_jobs(&mut ending, org, &going, own).await.unwrap();
        ending.commit().await.unwrap();
    };
    let delete = async {
        db.somebody_waits().await;
        sqlx::query(lock).bind(own).execute(&mut *deleting).await.expect("nobody has locked it yet");
        deleting.commit().await.unwrap();
    };
    let both = tokio::time::timeout(Duration::from_secs(30), async { tokio::join!(end, delete) }).await;
    both.expect("nobody waits for ever");
}

/// 20,000 mails that hold the same picture.
const MAILS: &str = "
    WITH mails AS (
        INSERT INTO assets (id, org_id, name, media_type, size_bytes, sha256, storage_key, job_id)
        SELECT gen_random_uuid(), $1, 'm', 'message/rfc822', 1, sha256(n::text::bytea), 'mail' || n, gen_random_uuid()
        FROM generate_series(1, 20000) AS n RETURNING id
    )
    INSERT INTO asset_parts (org_id, parent_id, ordinal, name, child_id) SELECT $1, id, 0, 'picture', $2 FROM mails";

#[tokio::test]
async fn a_deletion_does_not_read_who_else_holds_what_stays() {
    let (db, org) = (Db::new().await, OrgId::new());
    let parent = db.asset(org, JobId::new()).await;
    let ((picture, _), (own, _)) = (db.found(org, parent).await, db.found(org, parent).await);
    sqlx::query(MAILS).bind(org).bind(picture).execute(&db.pool).await.unwrap();
    sqlx::raw_sql("ANALYZE assets, asset_parts").execute(&db.pool).await.unwrap();
    db.hold(org, parent, &[picture, own]).await;
    let mut connection = db.pool.acquire().await.unwrap().detach();
    let count =
        "SELECT (seq_tup_read + idx_tup_fetch)::bigint FROM pg_stat_xact_user_tables WHERE relname = 'asset_parts'";
    sqlx::raw_sql("SELECT pg_stat_force_next_flush()").execute(&mut connection).await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    let before: i64 = sqlx::query_scalar(count).fetch_one(&mut *transaction).await.unwrap();
    remove(&mut transaction, org, &Going::Document(parent)).await;
    let after: i64 = sqlx::query_scalar(count).fetch_one(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
    assert!(after - before <= 100, "{} links were read", after - before);
    assert_eq!(db.count("assets").await, 20_001);
}

#[tokio::test]
async fn keys_are_adopted_all_or_not_at_all_and_put_off_within_bounds() {
    let (db, org) = (Db::new().await, OrgId::new());
    let keys: Vec<ObjectKey> = (0..3).map(|_| ObjectKey::asset(org, AssetId::new())).collect();
    let mut connection = db.connection().await;
    let hour = Duration::from_secs(3600);
    stray_objects::note(&mut connection, org, &keys[..2], hour).await.unwrap();
    assert!(!stray_objects::adopt(&mut connection, OrgId::new(), &keys[..1]).await.unwrap(), "another organisation's");
    let mut transaction = connection.begin().await.unwrap();
    assert!(!stray_objects::adopt(&mut transaction, org, &keys).await.unwrap(), "one was never noted");
    transaction.rollback().await.unwrap();
    assert!(stray_objects::adopt(&mut connection, org, &keys[..1]).await.unwrap());
    assert_eq!(due(&db).await, []);
    stray_objects::note(&mut connection, org, &keys[1..], Duration::ZERO).await.unwrap();
    assert_eq!(due(&db).await.len(), 2, "the second one is due earlier than was said first");

    for _ in 0..15 {
        stray_objects::postpone(&mut connection, &keys[1..2]).await.unwrap();
    }
    let waits = "SELECT failures, extract(epoch FROM due_at - now())::int FROM stray_objects WHERE failures > 0";
    let (failures, seconds): (i32, i32) = sqlx::query_as(waits).fetch_one(&mut connection).await.unwrap();
    assert!(failures == 15 && (3_590..=3_600).contains(&seconds), "{failures} {seconds}");
}
